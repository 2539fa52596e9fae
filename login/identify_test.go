// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	miniApp     = "wxminiminimini001"
	miniPath    = "pages/login/login"
	officialApp = "wxofficial0000001"
	appSecret   = "0123456789abcdef0123456789abcdef"
)

// tencent is a simulated WeChat with a mini program and a service account of one
// open platform account, and a site to which people are led back.
type tencent struct {
	*wechattest.Server
	t    *testing.T
	url  string
	site string
}

func newTencent(t *testing.T, individual bool) *tencent {
	t.Helper()
	site := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(site.Close)
	w := &tencent{t: t, Server: wechattest.NewServer(wechattest.Options{}), site: site.URL}
	front := httptest.NewServer(w.Server)
	w.url = front.URL
	t.Cleanup(func() {
		front.Close()
		w.Close()
	})
	_, err := w.AddMiniProgram(wechattest.MiniProgram{
		Account:    wechattest.Account{AppID: miniApp, Secret: appSecret, OpenPlatform: "ours"},
		Individual: individual, Pages: []string{miniPath}, TrialPages: []string{miniPath}, Members: []string{"alice"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.AddAccount(wechattest.Account{
		AppID: officialApp, Secret: appSecret, OpenPlatform: "ours", CallbackDomain: strings.TrimPrefix(site.URL, "http://"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *tencent) client(appID string) WeChat {
	w.t.Helper()
	c, err := wechat.NewClient(wechat.Config{AppID: appID, Secret: appSecret, APIURL: w.url, OpenURL: w.url})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return WeChat{c}
}

// begin begins an attempt of the mini program.
func (w *tencent) begin(env string, onPhone bool) (Attempt, Shown, error) {
	w.t.Helper()
	a := Attempt{Scene: "SCENESCENESCENESCENESCENE2", OnPhone: onPhone, CreatedAt: time.Now()}
	m := &Mini{Codes: w.client(miniApp), Page: miniPath, Env: env, TTL: codeTTL, Confirm: ConfirmTap, Links: true}
	shown, err := m.Start(w.t.Context(), &a)
	return a, shown, err
}

// TestMiniProgramIsScanned: the image on the page, scanned by a phone, opens the page
// of the mini program with the scene; its wx.login says who scanned, and its button
// the phone number.
func TestMiniProgramIsScanned(t *testing.T) {
	for _, env := range []string{"release", "trial"} {
		t.Run(env, func(t *testing.T) {
			w := newTencent(t, false)
			a, shown, err := w.begin(env, false)
			if err != nil {
				t.Fatal(err)
			}
			phone := w.Phone("alice")
			opened, err := phone.ScanPicture(decodeDataURI(t, shown.QR.Image))
			if err != nil || opened.Scene() != a.Scene || opened.Path != miniPath || opened.EnvVersion != env {
				t.Fatalf("opened %+v, error %v", opened, err)
			}
			w.checkIdentified(opened, phone)
		})
	}
}

// checkIdentified says that WeChat tells who has opened the page, once for a code.
func (w *tencent) checkIdentified(opened *wechattest.MiniPage, phone *wechattest.Phone) {
	w.t.Helper()
	c, code := w.client(miniApp), opened.Login()
	who, err := c.Session(w.t.Context(), code)
	if err != nil || who.OpenID == "" || who != (Person{OpenID: who.OpenID, UnionID: phone.UnionID(miniApp)}) {
		w.t.Errorf("the person is %+v, error %v", who, err)
	}
	for _, bad := range []string{code, "", "no such code", strings.Repeat("x", 5000)} {
		if who, err := c.Session(w.t.Context(), bad); !errors.Is(err, wechat.ErrInvalidCode) || who != (Person{}) {
			w.t.Errorf("code %.20q: %+v, %v", bad, who, err)
		}
	}
	phoneCode, err := opened.GetPhoneNumber(true)
	if err != nil {
		w.t.Fatal(err)
	}
	if got, err := c.PhoneNumber(w.t.Context(), phoneCode); err != nil || !strings.HasPrefix(got, "+86") {
		w.t.Errorf("the number is %q, error %v", got, err)
	}
	if got, err := c.PhoneNumber(w.t.Context(), phoneCode); !errors.Is(err, wechat.ErrInvalidCode) || got != "" {
		w.t.Errorf("a second time the number is %q, error %v", got, err)
	}
}

// TestMiniProgramIsOpenedByLink: on a phone a link does what the image does; an
// individual's mini program has none, and its image is shown.
func TestMiniProgramIsOpenedByLink(t *testing.T) {
	w := newTencent(t, false)
	a, shown, err := w.begin("release", true)
	if err != nil || shown.QR != nil {
		t.Fatalf("shown %+v, error %v", shown, err)
	}
	phone := w.Phone("alice")
	opened, err := phone.OpenURLLink(shown.Link)
	if err != nil || opened.Query["scene"] != a.Scene {
		t.Fatalf("opened %+v, error %v", opened, err)
	}
	w.checkIdentified(opened, phone)

	w = newTencent(t, true)
	if _, shown, err := w.begin("release", true); err != nil || shown.Link != "" || shown.QR == nil {
		t.Errorf("an individual's mini program shows %+v, error %v", shown, err)
	}
}

// TestExchange: WeChat names the person who has authorized, with name and avatar
// where the scope asks for them, once for a code.
func TestExchange(t *testing.T) {
	w := newTencent(t, false)
	c, phone := w.client(officialApp), w.Phone("alice")
	phone.SetProfile("小明", "https://thirdwx.qlogo.cn/a.png")
	for _, tt := range []struct {
		scope wechat.Scope
		want  Person
	}{
		{wechat.ScopeBase, Person{}},
		{wechat.ScopeUserInfo, Person{Name: "小明", Avatar: "https://thirdwx.qlogo.cn/a.png", UnionID: phone.UnionID(officialApp)}},
	} {
		t.Run(string(tt.scope), func(t *testing.T) {
			code := w.authorize(c, phone, tt.scope)
			who, err := c.Exchange(t.Context(), code)
			tt.want.OpenID = who.OpenID
			if tt.scope == wechat.ScopeBase {
				tt.want.UnionID = who.UnionID // with this scope WeChat may or may not name it
			}
			if err != nil || who.OpenID == "" || who != tt.want {
				t.Errorf("the person is %+v, want %+v, error %v", who, tt.want, err)
			}
			if who, err := c.Exchange(t.Context(), code); !errors.Is(err, wechat.ErrInvalidCode) || who != (Person{}) {
				t.Errorf("a second time: %+v, %v", who, err)
			}
		})
	}
}

// TestQ15VirtualUser: who looks at a snapshot of the page is nobody's account.
func TestQ15VirtualUser(t *testing.T) {
	w := newTencent(t, false)
	c, phone := w.client(officialApp), w.Phone("alice")
	phone.SetSnapshot(true)
	if who, err := c.Exchange(t.Context(), w.authorize(c, phone, wechat.ScopeUserInfo)); !errors.Is(err, wechat.ErrVirtualUser) || who != (Person{}) {
		t.Errorf("the person is %+v, error %v", who, err)
	}
}

// authorize has the person agree on WeChat's page and returns the code that it
// leads back with.
func (w *tencent) authorize(c WeChat, phone *wechattest.Phone, scope wechat.Scope) string {
	w.t.Helper()
	link, err := c.AuthorizeURL(wechat.Authorize{Scope: scope, RedirectURI: w.site + "/_wechat" + CallbackPath, State: "STATE"})
	if err != nil {
		w.t.Fatal(err)
	}
	visit, err := phone.Browse(w.t.Context(), link)
	if err != nil {
		w.t.Fatal(err)
	}
	back, err := url.Parse(visit.Callback)
	if err != nil || back.Query().Get("code") == "" {
		w.t.Fatalf("WeChat leads to %q, error %v: %s", visit.Callback, err, visit.Body)
	}
	return back.Query().Get("code")
}

func decodeDataURI(t *testing.T, uri string) []byte {
	t.Helper()
	_, encoded, ok := strings.Cut(uri, ";base64,")
	if !ok {
		t.Fatalf("%.40q is no data URI", uri)
	}
	image, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return image
}
