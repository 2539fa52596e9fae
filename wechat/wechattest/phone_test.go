// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recordEvents returns a Server whose account's pushes all succeed.
func recordEvents(t *testing.T) (*Server, *AccountHandle) {
	t.Helper()
	s := newTestServer(t, Options{Now: newClock().Now, HTTPClient: &http.Client{
		Transport: roundTripper(func(*http.Request) (*http.Response, error) { return respond(200, "success") }),
	}})
	return s, addAccount(t, s, func(a *Account) { a.PushURL = "https://gateway.example/push" })
}

// The four rows of the table of events, and what has been seen besides.
func TestPhone_Events(t *testing.T) {
	type event struct{ Event, Key, Ticket string }
	s, h := recordEvents(t)
	ctx := t.Context()
	code := newCode(t, s, "abc")
	const number = `{"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":99999999999}}}`
	big := createCode(t, s, stableToken(t, s, false).AccessToken, number)
	p := s.Phone("a")
	scan := func(p *Phone, url string, opts ...ScanOption) []event {
		t.Helper()
		d, err := p.Scan(ctx, url, opts...)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Attempts) == 0 {
			return nil
		}
		m := d.Event
		if m.ToUserName != testGH || m.FromUserName != p.OpenID(testApp) || m.MsgType != "event" || m.CreateTime != 1714037059 {
			t.Errorf("event %+v", m)
		}
		return []event{{m.Event, m.EventKey, m.Ticket}}
	}
	steps := []struct {
		name string
		got  []event
		want []event
	}{
		{"looks only", scan(p, code.URL, NoFollow()), nil},
		{"first scan", scan(p, code.URL), []event{{"subscribe", "qrscene_abc", code.Ticket}}},
		{"second scan", scan(p, code.URL), []event{{"SCAN", "abc", code.Ticket}}},
		{"a follower's options do not matter", scan(p, code.URL, NoFollow(), FollowBySearch()), []event{{"SCAN", "abc", code.Ticket}}},
		{"over-range number", scan(p, big.URL), []event{{"SCAN", "4294967295", big.Ticket}}},
		{"another person", scan(s.Phone("b"), code.URL), []event{{"subscribe", "qrscene_abc", code.Ticket}}},
		{"follows by another way", scan(s.Phone("c"), code.URL, FollowBySearch()), []event{{"subscribe", "", ""}}},
		{"account's own code", scan(s.Phone("d"), h.CardURL()), []event{{"subscribe", "", ""}}},
		{"account's own code again", scan(s.Phone("d"), h.CardURL()), nil},
	}
	for _, step := range steps {
		if diff := cmp.Diff(step.want, step.got); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
	}
}

func TestPhone_FollowAndUnfollow(t *testing.T) {
	s, _ := recordEvents(t)
	ctx := t.Context()
	p := s.Phone("a")
	if err := p.Unfollow(ctx, testApp); !errors.Is(err, ErrNotFollower) {
		t.Errorf("unfollow before follow: %v", err)
	}
	if _, err := p.SendText(ctx, testApp, "hi"); !errors.Is(err, ErrNotFollower) {
		t.Errorf("text before follow: %v", err)
	}
	for range 2 { // the second follow does nothing
		if err := p.Follow(ctx, testApp); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Unfollow(ctx, testApp); err != nil || p.Follows(testApp) {
		t.Fatal(err)
	}
	log := s.Log()
	bodies := make([]string, 0, len(log))
	for _, e := range log {
		bodies = append(bodies, string(e.Push.Body))
	}
	if len(bodies) != 2 || !strings.Contains(bodies[0], "[subscribe]") || !strings.Contains(bodies[0], "<EventKey><![CDATA[]]></EventKey>") ||
		strings.Contains(bodies[0], "Ticket") || !strings.Contains(bodies[1], "[unsubscribe]") {
		t.Errorf("pushed %q", bodies)
	}
}

func TestPhone_UnknownAccount(t *testing.T) {
	s, _ := recordEvents(t)
	p, ctx := s.Phone("a"), t.Context()
	if p.Links(testApp) != nil {
		t.Error("an empty chat has links")
	}
	if p.Follow(ctx, "wx-unknown") == nil || p.Unfollow(ctx, "wx-unknown") == nil {
		t.Error("an unknown account was followed")
	}
	if _, err := p.SendText(ctx, "wx-unknown", "hi"); err == nil {
		t.Error("a message went to an unknown account")
	}
}

func TestPhone_ScanRefusesForeignCodes(t *testing.T) {
	s, h := recordEvents(t)
	good := newCode(t, s, "x").URL
	for _, u := range []string{
		"", "hello", "http://weixin.qq.com/q/", "http://weixin.qq.com/q/02unknown", "https://evil.example/q/" + good[len(good)-22:],
		good + "/", good + "?a=b", "http://weixin.qq.com/r/unknown", "http://weixin.qq.com" + good[len(weixinBase)+2:],
		strings.Replace(h.CardURL(), "/r/", "/q/", 1), "http://weixin.qq.com/" + good[len(good)-22:],
	} {
		if _, err := s.Phone("a").Scan(t.Context(), u); !errors.Is(err, ErrUnknownCode) {
			t.Errorf("Scan(%q) = %v", u, err)
		}
	}
}

func TestPhone_OpenID(t *testing.T) {
	s := newTestServer(t, Options{})
	seen := map[string]string{}
	for _, app := range []string{"wx1", "wx2"} {
		for _, name := range []string{"a", "b", "小明"} {
			id := s.Phone(name).OpenID(app)
			if len(id) != 28 || id[0] != 'o' || id != s.Phone(name).OpenID(app) {
				t.Errorf("openid %q", id)
			}
			if other, dup := seen[id]; dup {
				t.Errorf("%s/%s and %s share an openid", app, name, other)
			}
			seen[id] = app + "/" + name
		}
	}
}

func TestChatMessage_Links(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"none", "你好 hello", nil},
		{"anchor", `请<a href="https://a.example/confirm/T?x=1&y=2">点这里</a>确认`, []string{"https://a.example/confirm/T?x=1&y=2"}},
		{"bare", "打开 https://a.example/x。", []string{"https://a.example/x"}},
		{"bare at a full stop", "Open https://a.example/x.", []string{"https://a.example/x"}},
		{"both, in order", `http://b.example/ <a  class="c" href="http://c.example">x</a>`, []string{"http://b.example/", "http://c.example"}},
		{"anchor around a URL counts once", `<a href="http://a.example">http://a.example</a>`, []string{"http://a.example"}},
		{"single quotes are no link", `<a href='x'>y</a>`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, ChatMessage{FromAccount: true, Text: tt.text}.Links()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A whole conversation: scan, tap the link in the answer, be known by a cookie.
func TestPhone_ChatAndBrowser(t *testing.T) {
	mux := http.NewServeMux()
	gateway := httptest.NewServer(mux)
	defer gateway.Close()
	s := newTestServer(t, Options{})
	addAccount(t, s, func(a *Account) { a.PushURL = gateway.URL + "/push" })
	p := s.Phone("a")
	mux.HandleFunc("POST /push", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, textReply(r.URL.Query().Get("openid"), `<a href="`+gateway.URL+`/confirm">确认</a>`))
	})
	mux.HandleFunc("GET /confirm", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.UserAgent(), "MicroMessenger") || r.Header.Get("Origin") != "" {
			t.Errorf("headers %v", r.Header)
		}
		http.SetCookie(w, &http.Cookie{Name: "c", Value: "v"})
	})
	mux.HandleFunc("POST /confirm", func(_ http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("c"); err != nil || c.Value != "v" || r.Header.Get("Origin") != gateway.URL {
			t.Errorf("headers %v", r.Header)
		}
	})
	d, err := p.Scan(t.Context(), newCode(t, s, "x").URL)
	if err != nil || d.Err != nil {
		t.Fatal(err, d.Err)
	}
	if _, err := p.SendText(t.Context(), testApp, "http://mine.example"); err != nil {
		t.Fatal(err)
	}
	if chat := p.Chat(testApp); len(chat) != 3 || !chat[0].FromAccount || chat[1].FromAccount || !chat[2].FromAccount {
		t.Errorf("chat %+v", chat)
	}
	links := p.Links(testApp)
	if diff := cmp.Diff([]string{gateway.URL + "/confirm"}, links); diff != "" {
		t.Fatal(diff)
	}
	openLink(t, p, "GET", links[0])
	openLink(t, p, "POST", links[0])
	if s.Phone("b").Browser() == p.Browser() {
		t.Error("two persons share a browser")
	}
}

func openLink(t *testing.T, p *Phone, method, link string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.Browser().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

func TestPhone_ManyAtOnce(t *testing.T) {
	s, _ := recordEvents(t)
	code := newCode(t, s, "x").URL
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			p := s.Phone(fmt.Sprint("person ", i%50))
			if _, err := p.Scan(t.Context(), code); err != nil {
				t.Error(err)
			}
			if _, err := p.SendText(t.Context(), testApp, "hi"); err != nil {
				t.Error(err)
			}
			p.Chat(testApp)
		})
	}
	wg.Wait()
	subscribed := 0
	for _, e := range s.Log() {
		if strings.Contains(string(e.Push.Body), "[subscribe]") {
			subscribed++
		}
	}
	if subscribed != 50 || len(s.Log()) != 400 {
		t.Errorf("%d of %d pushes are first follows, want 50 of 400", subscribed, len(s.Log()))
	}
}

func TestPhone_ChatIsBounded(t *testing.T) {
	s, _ := recordEvents(t)
	p := s.Phone("a")
	for range maxChat + 10 {
		p.show(testApp, ChatMessage{Text: "x"})
	}
	if n := len(p.Chat(testApp)); n != maxChat {
		t.Errorf("%d messages are kept, want %d", n, maxChat)
	}
}
