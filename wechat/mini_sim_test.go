// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/wechat"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	simApp    = "wx00000000000000a1"
	simSecret = "0123456789abcdef0123456789abcdef"
)

// simulation is a simulated WeChat with one mini program and its client.
type simulation struct {
	weixin *wechattest.Server
	mini   *wechattest.MiniProgramHandle
	client *wechat.Client
}

func newSimulation(t *testing.T, change func(*wechattest.MiniProgram)) simulation {
	t.Helper()
	weixin := wechattest.NewServer(wechattest.Options{})
	t.Cleanup(weixin.Close)
	m := wechattest.MiniProgram{
		Account: wechattest.Account{AppID: simApp, Secret: simSecret, OpenPlatform: "one"},
		Pages:   []string{"pages/index/index", "pages/login/login"},
	}
	if change != nil {
		change(&m)
	}
	h, err := weixin.AddMiniProgram(m)
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(weixin)
	t.Cleanup(api.Close)
	client, err := wechat.NewClient(wechat.Config{AppID: simApp, Secret: simSecret, APIURL: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return simulation{weixin, h, client}
}

// The whole way: a code is made, a person scans its picture, and the codes that
// the page gets say who the person is and which number they have.
func TestMiniProgram_WholeLogin(t *testing.T) {
	for _, transparent := range []bool{false, true} {
		sim := newSimulation(t, nil)
		scene := rand.Text()
		picture, err := sim.client.CreateMiniProgramCode(t.Context(), wechat.MiniProgramCode{
			Scene: scene, Page: "pages/login/login", Transparent: transparent,
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{false: "image/jpeg", true: "image/png"}[transparent]; picture.ContentType != want {
			t.Errorf("content type %s, want %s", picture.ContentType, want)
		}
		bob := sim.weixin.Phone("bob")
		page, err := bob.ScanPicture(picture.Data)
		if err != nil {
			t.Fatal(err)
		}
		if page.Scene() != scene || page.Path != "pages/login/login" {
			t.Errorf("page %+v, want scene %s", page, scene)
		}
		user, err := sim.client.Code2Session(t.Context(), page.Login())
		want := wechat.MiniProgramUser{OpenID: bob.OpenID(simApp), UnionID: bob.UnionID(simApp)}
		if diff := cmp.Diff(want, user); diff != "" || err != nil {
			t.Errorf("user (-want +got):\n%s%v", diff, err)
		}
		code, err := page.GetPhoneNumber(true)
		if err != nil {
			t.Fatal(err)
		}
		number, err := sim.client.PhoneNumber(t.Context(), code)
		if own := bob.PhoneNumber(); err != nil || number.E164() != "+"+own.CountryCode+own.National {
			t.Errorf("number %+v, %v, want %+v", number, err, own)
		}
	}
}

func TestMiniProgram_Link(t *testing.T) {
	sim := newSimulation(t, nil)
	scene := rand.Text()
	link, err := sim.client.CreateURLLink(t.Context(), wechat.URLLink{Path: "pages/login/login", Query: "scene=" + scene, TTL: 2 * time.Minute})
	if err != nil || !strings.HasPrefix(link, "https://wxaurl.cn/") {
		t.Fatalf("link %q, %v", link, err)
	}
	page, err := sim.weixin.Phone("bob").OpenURLLink(link)
	if err != nil || page.Scene() != scene {
		t.Errorf("page %+v, %v", page, err)
	}
}

// Two requests bring one code at the same time: one learns who it is. Login and
// phone codes do not stand for one another.
func TestMiniProgram_CodesAreGoodOnce(t *testing.T) {
	sim := newSimulation(t, nil)
	page, err := sim.weixin.Phone("bob").OpenMiniProgram(simApp)
	if err != nil {
		t.Fatal(err)
	}
	code, results := page.Login(), make(chan error, 50)
	var wg sync.WaitGroup
	for range cap(results) {
		wg.Go(func() {
			_, err := sim.client.Code2Session(t.Context(), code)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, wechat.ErrInvalidCode):
			t.Errorf("error %v, want ErrInvalidCode", err)
		case strings.Contains(err.Error(), code):
			t.Error("the error holds the code")
		}
	}
	if won != 1 {
		t.Errorf("the code was good %d times", won)
	}
	if _, err := sim.client.PhoneNumber(t.Context(), page.Login()); !errors.Is(err, wechat.ErrInvalidCode) {
		t.Errorf("PhoneNumber with a login code: %v", err)
	}
}

// A code of another mini program, the attacker's own, must not sign anybody in.
func TestMiniProgram_CodeOfAnotherApp(t *testing.T) {
	sim := newSimulation(t, nil)
	_, err := sim.weixin.AddMiniProgram(wechattest.MiniProgram{Account: wechattest.Account{AppID: "wxevil", Secret: "x"}, Pages: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	page, err := sim.weixin.Phone("victim").OpenMiniProgram("wxevil")
	if err != nil {
		t.Fatal(err)
	}
	if user, err := sim.client.Code2Session(t.Context(), page.Login()); !errors.Is(err, wechat.ErrInvalidCode) {
		t.Errorf("user %+v, %v", user, err)
	}
	code, err := page.GetPhoneNumber(true)
	if err != nil {
		t.Fatal(err)
	}
	if number, err := sim.client.PhoneNumber(t.Context(), code); !errors.Is(err, wechat.ErrInvalidCode) {
		t.Errorf("number %+v, %v", number, err)
	}
}

// What an operator does wrong must come back as what to do about it.
func TestMiniProgram_OperatorsMistakes(t *testing.T) {
	code := func(t *testing.T, sim simulation) error {
		t.Helper()
		_, err := sim.client.CreateMiniProgramCode(t.Context(), wechat.MiniProgramCode{Scene: "a", Page: "pages/login/login"})
		return err
	}
	session := func(t *testing.T, sim simulation) error {
		t.Helper()
		_, err := sim.client.Code2Session(t.Context(), "0a3")
		return err
	}
	link := func(t *testing.T, sim simulation) error {
		t.Helper()
		_, err := sim.client.CreateURLLink(t.Context(), wechat.URLLink{Path: "pages/login/login", TTL: time.Hour})
		return err
	}
	phone := func(t *testing.T, sim simulation) error {
		t.Helper()
		_, err := sim.client.PhoneNumber(t.Context(), "e31")
		return err
	}
	individual := func(m *wechattest.MiniProgram) { m.Individual = true }
	tests := []struct {
		name   string
		change func(*wechattest.MiniProgram)
		do     func(*testing.T, simulation) error
		want   int
		cure   string
	}{
		{"nothing published", func(m *wechattest.MiniProgram) { m.Pages = nil }, code, 41030, "发布"},
		{"page not published", func(m *wechattest.MiniProgram) { m.Pages = m.Pages[:1] }, code, 41030, "发布"},
		{"link to a page not published", func(m *wechattest.MiniProgram) { m.Pages = m.Pages[:1] }, link, 40165, "发布"},
		{"link into nothing published", func(m *wechattest.MiniProgram) { m.Pages = nil }, link, 85079, "发布"},
		{"link of an individual", individual, link, 40002, "individual"},
		{"phone number for an individual", individual, phone, 48001, "individual"},
		{"address not allowed", func(m *wechattest.MiniProgram) { m.IPWhitelist = []string{"192.0.2.1"} }, code, 40164, "IP白名单"},
		{"wrong secret", func(m *wechattest.MiniProgram) { m.Secret = "other" }, session, 40125, "AppSecret"},
		{"frozen secret", func(m *wechattest.MiniProgram) { m.SecretFrozen = true }, session, 40243, "解冻"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do(t, newSimulation(t, tt.change))
			refusal, ok := errors.AsType[*wechat.Error](err)
			if !ok || refusal.Code != tt.want || !refusal.Permanent() || !strings.Contains(refusal.Cure(), tt.cure) {
				t.Errorf("error %v, want %d with the cure %q", err, tt.want, tt.cure)
			}
		})
	}
}

// WeChat in all its moods, at every endpoint: an error that says so, in time, and
// afterwards it works again.
func TestMiniProgram_Disturbances(t *testing.T) {
	endpoints := map[string]func(*testing.T, simulation) error{
		wechattest.EndpointMiniCode: func(t *testing.T, sim simulation) error {
			_, err := sim.client.CreateMiniProgramCode(t.Context(), wechat.MiniProgramCode{Scene: "a"})
			return err
		},
		wechattest.EndpointCode2Session: func(t *testing.T, sim simulation) error {
			page, err := sim.weixin.Phone("bob").OpenMiniProgram(simApp)
			if err != nil {
				return err
			}
			_, err = sim.client.Code2Session(t.Context(), page.Login())
			return err
		},
		wechattest.EndpointURLLink: func(t *testing.T, sim simulation) error {
			_, err := sim.client.CreateURLLink(t.Context(), wechat.URLLink{TTL: time.Hour})
			return err
		},
	}
	failures := map[string]wechattest.Failure{
		"HTML":      {HTTPStatus: 502, HTML: true},
		"empty":     {HTTPStatus: 503},
		"oversize":  {Oversize: true},
		"cut":       {Truncated: true},
		"redirect":  {Redirect: "https://evil.example/"},
		"blocked":   {ErrCode: 40226, ErrMsg: "code blocked"},
		"busy":      {ErrCode: -1, ErrMsg: "system error"},
		"text/html": {ContentType: "text/html"}, // no disturbance
	}
	for endpoint, do := range endpoints {
		for name, failure := range failures {
			t.Run(fmt.Sprint(endpoint, " ", name), func(t *testing.T) {
				sim := newSimulation(t, nil)
				sim.weixin.Fail(endpoint, 2, failure) // the second is for the retry of "busy"
				err := do(t, sim)
				switch name {
				case "text/html":
					if err != nil {
						t.Errorf("a wrong content type disturbs: %v", err)
					}
				case "blocked":
					if !errors.Is(err, wechat.ErrUserBlocked) {
						t.Errorf("error %v, want ErrUserBlocked", err)
					}
				default:
					if !errors.Is(err, wechat.ErrUnavailable) {
						t.Errorf("error %v, want ErrUnavailable", err)
					}
				}
				sim.weixin.ClearFailures(endpoint)
				if err := do(t, sim); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		}
	}
}

// Neither the session key nor anything else that is secret may be in what the
// client returns.
func TestMiniProgram_DropsTheSessionKey(t *testing.T) {
	sim := newSimulation(t, nil)
	page, err := sim.weixin.Phone("bob").OpenMiniProgram(simApp)
	if err != nil {
		t.Fatal(err)
	}
	user, err := sim.client.Code2Session(t.Context(), page.Login())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range sim.mini.SessionKeys() {
		if strings.Contains(fmt.Sprintf("%#v", user), key) {
			t.Error("the session key is in the answer")
		}
	}
}

// A program shows a mini program code; the mini program sends the code of
// wx.login, and the program learns who scanned.
func ExampleClient_CreateMiniProgramCode() {
	weixin := wechattest.NewServer(wechattest.Options{})
	defer weixin.Close()
	_, err := weixin.AddMiniProgram(wechattest.MiniProgram{
		Account: wechattest.Account{AppID: "wx00000000000000a1", Secret: "APPSECRET"},
		Pages:   []string{"pages/login/login"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	api := httptest.NewServer(weixin)
	defer api.Close()
	client, err := wechat.NewClient(wechat.Config{
		AppID:  "wx00000000000000a1",
		Secret: "APPSECRET",
		APIURL: api.URL, // leave out to call WeChat
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	ctx := context.Background()
	picture, err := client.CreateMiniProgramCode(ctx, wechat.MiniProgramCode{Scene: "attempt-1", Page: "pages/login/login"})
	if err != nil {
		fmt.Println(err)
		return
	}
	page, err := weixin.Phone("小明").ScanPicture(picture.Data) // the person scans
	if err != nil {
		fmt.Println(err)
		return
	}
	user, err := client.Code2Session(ctx, page.Login())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(picture.ContentType, page.Scene(), user.OpenID == weixin.Phone("小明").OpenID("wx00000000000000a1"))
	// Output: image/jpeg attempt-1 true
}
