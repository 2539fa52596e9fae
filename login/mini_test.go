// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// minis stands in for WeChat and remembers what it was asked for.
type minis struct {
	asked             []string
	image             []byte
	imageErr, linkErr error
}

func (m *minis) MiniCode(_ context.Context, scene, page, env string) ([]byte, error) {
	m.asked = append(m.asked, "code "+scene+" "+page+" "+env)
	return m.image, m.imageErr
}

func (m *minis) MiniLink(_ context.Context, page, query, env string, ttl time.Duration) (string, error) {
	m.asked = append(m.asked, "link "+page+" "+query+" "+env+" "+ttl.String())
	return "https://wxaurl.cn/abc", m.linkErr
}

// TestMiniShows: a computer shows a code, a phone a link; where there is no link,
// the code is better than nothing.
func TestMiniShows(t *testing.T) {
	const (
		code = "code SCENE pages/login/login trial"
		link = "link pages/login/login scene=SCENE trial 5m0s"
	)
	picture := Shown{QR: &QR{Image: "data:image/png;base64,iVBORw0KGgo="}}
	for _, tt := range []struct {
		name           string
		onPhone, links bool
		linkErr        error
		want           Shown
		asked          []string
	}{
		{"computer", false, true, nil, picture, []string{code}},
		{"computer, no links", false, false, nil, picture, []string{code}},
		{"phone", true, true, nil, Shown{Link: "https://wxaurl.cn/abc"}, []string{link}},
		{"phone, no links", true, false, nil, picture, []string{code}},
		{"phone, link refused", true, true, errNoLinks, withTrouble(picture, errNoLinks), []string{link, code}},
		{"phone, WeChat away", true, true, wechat.ErrUnavailable, withTrouble(picture, wechat.ErrUnavailable), []string{link, code}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &minis{image: []byte("\x89PNG\r\n\x1a\n"), linkErr: tt.linkErr}
			m := &Mini{Codes: c, Page: "pages/login/login", Env: "trial", TTL: codeTTL, Confirm: ConfirmNumber, Links: tt.links}
			a := &Attempt{Scene: "SCENE", OnPhone: tt.onPhone, CreatedAt: epoch}
			got, err := m.Start(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateErrors()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.asked, c.asked); diff != "" {
				t.Error(diff)
			}
			if !a.ExpiresAt.Equal(epoch.Add(codeTTL)) || a.Confirm != ConfirmNumber || len(a.Choices) != choices {
				t.Errorf("the attempt is %+v", a)
			}
		})
	}
}

// errNoLinks is how WeChat refuses an individual's mini program.
var errNoLinks = &wechat.Error{Endpoint: "wxa/generate_urllink", Code: 40002}

func withTrouble(s Shown, err error) Shown {
	s.Trouble = err
	return s
}

// TestMiniNoLinks: an individual's mini program has no links. The operator hears of
// it once, and WeChat is not asked again for some minutes; a failure that passes is
// asked about each time.
func TestMiniNoLinks(t *testing.T) {
	c := &minis{image: []byte("\x89PNG\r\n\x1a\n"), linkErr: errNoLinks}
	m := &Mini{Codes: c, TTL: codeTTL, Links: true}
	start := func(after time.Duration) (asked int, trouble error) {
		t.Helper()
		c.asked = nil
		shown, err := m.Start(t.Context(), &Attempt{OnPhone: true, CreatedAt: epoch.Add(after)})
		if err != nil || shown.QR == nil {
			t.Fatalf("shown %+v, error %v", shown, err)
		}
		return len(c.asked) - 1, shown.Trouble
	}
	for _, tt := range []struct {
		after time.Duration
		asked int
		err   error
	}{
		{0, 1, errNoLinks}, {time.Second, 0, nil}, {noLinksFor - time.Second, 0, nil}, {noLinksFor, 1, errNoLinks}, {noLinksFor + time.Second, 0, nil},
	} {
		if asked, err := start(tt.after); asked != tt.asked || !errors.Is(err, tt.err) {
			t.Errorf("after %v: WeChat is asked %d times, and the trouble is %v; want %d and %v", tt.after, asked, err, tt.asked, tt.err)
		}
	}
	for _, err := range []error{wechat.ErrUnavailable, &wechat.Error{Code: 45009}} {
		m.noLinks.Store(0)
		c.linkErr = err
		for range 3 {
			if asked, got := start(0); asked != 1 || !errors.Is(got, err) {
				t.Errorf("%v: WeChat is asked %d times, and the trouble is %v", err, asked, got)
			}
		}
	}
}

// TestByScene: a scene is looked up without being used, by its own account alone,
// and nobody else's scene or id is one.
func TestByScene(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.with(MiniQR)
	for range 2 {
		got, err := f.ByScene(t.Context(), app, a.Scene)
		if err != nil || got.ID != a.ID || got.State != Pending || got.OpenID != "" {
			t.Errorf("got %+v, error %v", got, err)
		}
	}
	for _, tt := range []struct{ app, scene string }{
		{"wxother", a.Scene}, {app, a.ID}, {app, a.Token}, {app, strings.Repeat("A", idLen)}, {app, ""}, {app, a.Scene + "A"},
	} {
		if got, err := f.ByScene(t.Context(), tt.app, tt.scene); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s, %q: got %+v, error %v", tt.app, tt.scene, got, err)
		}
	}
	f.clock.advance(codeTTL)
	if got, err := f.ByScene(t.Context(), app, a.Scene); err != nil || got.State != Expired {
		t.Errorf("late: got %+v, error %v", got, err)
	}
}

// TestMiniFails: without a link and without a code there is no attempt, and the
// caller sees WeChat's error.
func TestMiniFails(t *testing.T) {
	refusal := &wechat.Error{Code: 41030}
	m := &Mini{Codes: &minis{linkErr: wechat.ErrUnavailable, imageErr: refusal}, TTL: codeTTL, Links: true}
	_, err := m.Start(t.Context(), &Attempt{OnPhone: true})
	if got, ok := errors.AsType[*wechat.Error](err); !ok || got != refusal {
		t.Errorf("got %v, want %v", err, refusal)
	}
}

// TestOnPhoneIsNotKept: whether the browser is on a phone counts when the attempt
// begins, and nobody else has to know.
func TestOnPhoneIsNotKept(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, shown, err := f.Begin(t.Context(), Request{Method: MiniQR, AppID: app, Browser: browser, OnPhone: true})
	if err != nil || shown.Link == "" {
		t.Fatalf("shown %+v, error %v", shown, err)
	}
	if got, err := f.Get(t.Context(), a.ID, browser); err != nil || got.OnPhone {
		t.Errorf("kept %+v, error %v", got, err)
	}
}

// TestDataURI: the kind of an image is read from the image itself.
func TestDataURI(t *testing.T) {
	for image, want := range map[string]string{
		"\xff\xd8\xff\xe0 JPEG":     "data:image/jpeg;base64,",
		"\x89PNG\r\n\x1a\n":         "data:image/png;base64,",
		"<script>alert(1)</script>": "data:text/html; charset=utf-8;base64,",
	} {
		got := NewImage([]byte(image))
		if !strings.HasPrefix(got, want) || strings.ContainsAny(got, "<>\"") {
			t.Errorf("%q becomes %q", image, got)
		}
	}
}

// TestAnswerTeaches: what the person adds on the phone counts with the consent
// alone; who refuses, or chooses wrong, has told nothing.
func TestAnswerTeaches(t *testing.T) {
	more := Person{OpenID: "oMallory", UnionID: "union", Name: "小明", Phone: "+8613800000000"}
	for _, tt := range []struct {
		name   string
		choice func(Attempt) string
		want   Person
	}{
		{"right", func(a Attempt) string { return a.Number }, Person{OpenID: person, UnionID: "union", Name: "小明", Phone: "+8613800000000"}},
		{"wrong", wrongChoice, alice},
		{"refused", func(Attempt) string { return ChoiceCancel }, alice},
		{"no answer", func(Attempt) string { return "" }, alice},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, ConfirmNumber)
			a, _ := f.with(MiniQR)
			f.scan(a, person)
			if _, _, err := f.Answer(t.Context(), a.Token, tt.choice(a), more); err != nil {
				t.Fatal(err)
			}
			got, err := f.Get(t.Context(), a.ID, browser)
			if err != nil || got.Person != tt.want {
				t.Errorf("the person is %+v (%v), want %+v", got.Person, err, tt.want)
			}
		})
	}
}

func wrongChoice(a Attempt) string {
	for _, c := range a.Choices {
		if c != a.Number {
			return c
		}
	}
	return ""
}
