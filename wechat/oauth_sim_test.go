// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/wechat"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	oaApp  = "wx00000000000000b1"
	webApp = "wx00000000000000b2"
)

// signIn is a simulated WeChat, a service account and a website of one company,
// and a site that keeps what each callback brought.
type signIn struct {
	t       *testing.T
	weixin  *wechattest.Server
	url     string // of the simulated WeChat
	site    string
	oa, web *wechat.Client
	queries chan url.Values
}

func newSignIn(t *testing.T, opts wechattest.Options) *signIn {
	t.Helper()
	s := &signIn{t: t, weixin: wechattest.NewServer(opts), queries: make(chan url.Values, 8)}
	t.Cleanup(s.weixin.Close)
	open := httptest.NewServer(s.weixin)
	t.Cleanup(open.Close)
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { s.queries <- r.URL.Query() }))
	t.Cleanup(site.Close)
	s.url, s.site = open.URL, site.URL+"/callback?via=wechat"
	for appID, kind := range map[string]wechattest.Kind{oaApp: wechattest.VerifiedService, webApp: wechattest.Website} {
		if _, err := s.weixin.AddAccount(wechattest.Account{
			AppID: appID, Secret: simSecret, Kind: kind, CallbackDomain: "127.0.0.1", OpenPlatform: "ours",
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.oa, s.web = s.client(oaApp), s.client(webApp)
	return s
}

func (s *signIn) client(appID string) *wechat.Client {
	s.t.Helper()
	c, err := wechat.NewClient(wechat.Config{AppID: appID, Secret: simSecret, APIURL: s.url, OpenURL: s.url})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// authorize opens the link of the service account on a person's phone.
func (s *signIn) authorize(person string, scope wechat.Scope, opts ...wechattest.BrowseOption) *wechattest.Visit {
	s.t.Helper()
	link, err := s.oa.AuthorizeURL(wechat.Authorize{Scope: scope, RedirectURI: s.site, State: "S1"})
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := s.weixin.Phone(person).Browse(s.t.Context(), link, opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// page loads what a link to the website's QR code leads to.
func (s *signIn) page(q wechat.QRConnect) string {
	s.t.Helper()
	link, err := s.web.QRConnectURL(q)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.get(link)
}

func (s *signIn) get(link string) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, link, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return string(body)
}

// scan lets a person scan the newest QR code of a website.
func (s *signIn) scan(person string) *wechattest.WebLogin {
	s.t.Helper()
	login, err := s.weixin.Phone(person).ScanLogin(s.weixin.WebLogins()[0].URL)
	if err != nil {
		s.t.Fatal(err)
	}
	return login
}

// code is what the last callback brought.
func (s *signIn) code() (string, error) {
	s.t.Helper()
	var q url.Values
	select {
	case q = <-s.queries:
	case <-time.After(10 * time.Second):
		s.t.Fatal("no callback came")
	}
	if q.Get("state") != "S1" || q.Get("via") != "wechat" {
		s.t.Fatalf("callback with %v", q)
	}
	return wechat.ParseCallback(q)
}

func TestOAuth_InsideWeChat(t *testing.T) {
	s := newSignIn(t, wechattest.Options{})
	alice := s.weixin.Phone("alice")
	alice.SetProfile("小红\u202e 🌸", "http://thirdwx.qlogo.cn/mmopen/a/132")
	for _, scope := range []wechat.Scope{wechat.ScopeBase, wechat.ScopeUserInfo} {
		s.authorize("alice", scope)
		code, err := s.code()
		if err != nil {
			t.Fatal(err)
		}
		grant, err := s.oa.ExchangeCode(t.Context(), code)
		if err != nil || grant.OpenID != alice.OpenID(oaApp) || grant.Profile() != (scope == wechat.ScopeUserInfo) {
			t.Fatalf("%s: %+v, %v", scope, grant, err)
		}
		info, err := s.oa.UserInfo(t.Context(), grant)
		want := wechat.UserInfo{UnionID: alice.UnionID(oaApp), Nickname: "小红 🌸", AvatarURL: "https://thirdwx.qlogo.cn/mmopen/a/132"}
		if scope == wechat.ScopeUserInfo {
			if diff := cmp.Diff(want, info); diff != "" || err != nil || grant.UnionID != want.UnionID {
				t.Errorf("error %v, UserInfo (-want +got):\n%s", err, diff)
			}
		} else if err == nil || grant.UnionID != "" {
			t.Errorf("a silent authorisation gave %+v %+v", grant, info)
		}
	}
}

// A nickname with control characters, which WeChat sends raw, must not keep the
// person from signing in.
func TestOAuth_ControlCharactersInTheNickname(t *testing.T) {
	s := newSignIn(t, wechattest.Options{})
	for nickname, want := range map[string]string{"a\x14b": "a b", "小红\x07": "小红", "a\nb": "a b", `a\` + "\x00": `a\`} {
		s.weixin.Phone("alice").SetProfile(nickname, "")
		s.authorize("alice", wechat.ScopeUserInfo)
		code, err := s.code()
		if err != nil {
			t.Fatal(err)
		}
		grant, err := s.oa.ExchangeCode(t.Context(), code)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := s.oa.UserInfo(t.Context(), grant); err != nil || info.Nickname != want {
			t.Errorf("nickname %q: %+v, %v, want %q", nickname, info, err, want)
		}
	}
}

// WeChat opens the callback twice, or the person presses Back: the code is gone,
// and another one is needed.
func TestOAuth_CodeWorksOnce(t *testing.T) {
	s := newSignIn(t, wechattest.Options{})
	s.get(s.authorize("alice", wechat.ScopeBase).Callback)
	for i := range 2 {
		code, err := s.code()
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s.oa.ExchangeCode(t.Context(), code); errors.Is(err, wechat.ErrInvalidCode) != (i == 1) {
			t.Errorf("exchange %d: %v", i, err)
		}
	}
	// Nor does a code work for another app, or one that nobody gave.
	s.authorize("alice", wechat.ScopeBase)
	code, err := s.code()
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{code, "051InRkl22T3me4561ll2HK1I33Ixxxx"} {
		if _, err := s.web.ExchangeCode(t.Context(), code); !errors.Is(err, wechat.ErrInvalidCode) {
			t.Errorf("%v", err)
		}
	}
}

// A code that is exchanged many times at once names its person once (Q3).
func TestOAuth_CodeWorksOnceInParallel(t *testing.T) {
	s := newSignIn(t, wechattest.Options{})
	s.authorize("alice", wechat.ScopeBase)
	code, err := s.code()
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan error)
	for range 20 {
		go func() {
			_, err := s.oa.ExchangeCode(t.Context(), code)
			results <- err
		}()
	}
	worked := 0
	for range 20 {
		switch err := <-results; {
		case err == nil:
			worked++
		case !errors.Is(err, wechat.ErrInvalidCode):
			t.Error(err)
		}
	}
	if worked != 1 {
		t.Errorf("the code worked %d times", worked)
	}
}

func TestOAuth_VirtualUserIsNobody(t *testing.T) {
	s := newSignIn(t, wechattest.Options{})
	s.weixin.Phone("alice").SetSnapshot(true)
	for _, scope := range []wechat.Scope{wechat.ScopeBase, wechat.ScopeUserInfo} {
		s.authorize("alice", scope)
		code, err := s.code()
		if err != nil {
			t.Fatal(err)
		}
		if grant, err := s.oa.ExchangeCode(t.Context(), code); !errors.Is(err, wechat.ErrVirtualUser) || grant != (wechat.Grant{}) {
			t.Errorf("%s: %+v, %v", scope, grant, err)
		}
	}
}

func TestOAuth_Refusals(t *testing.T) {
	for _, refusal := range []wechattest.Refusal{wechattest.RefusalStateOnly, wechattest.RefusalAuthDeny} {
		s := newSignIn(t, wechattest.Options{Refusal: refusal})
		s.authorize("alice", wechat.ScopeUserInfo, wechattest.RefuseConsent())
		if _, err := s.code(); !errors.Is(err, wechat.ErrRefused) {
			t.Errorf("inside WeChat: %v", err)
		}
		s.page(wechat.QRConnect{RedirectURI: s.site, State: "S1"})
		back, err := s.scan("alice").Refuse()
		if err != nil {
			t.Fatal(err)
		}
		s.get(back)
		if _, err := s.code(); !errors.Is(err, wechat.ErrRefused) {
			t.Errorf("at the QR code: %v", err)
		}
	}
	s := newSignIn(t, wechattest.Options{})
	if v := s.authorize("alice", wechat.ScopeUserInfo, wechattest.RefuseConsent()); v.Callback != "" {
		t.Errorf("WeChat stays, but called %s", v.Callback)
	}
}

// The simulator, which reads links strictly, accepts every form of them, and a
// person has one unionid in both apps.
func TestOAuth_Website(t *testing.T) {
	s := newSignIn(t, wechattest.Options{})
	bob := s.weixin.Phone("bob")
	for _, q := range []wechat.QRConnect{
		{},
		{English: true},
		{Embed: &wechat.Embed{}},
		{Embed: &wechat.Embed{StyleLite: true, NoFastLogin: true}},
		{English: true, Embed: &wechat.Embed{SelfRedirect: true, White: true, Stylesheet: "data:text/css;base64,LmE="}},
	} {
		q.RedirectURI, q.State = s.site, "S1"
		if page := s.page(q); !strings.Contains(page, "js_qrcode_img") {
			t.Fatalf("%+v: %s", q, page)
		}
		back, err := s.scan("bob").Confirm()
		if err != nil {
			t.Fatal(err)
		}
		s.get(back)
		code, err := s.code()
		if err != nil {
			t.Fatal(err)
		}
		grant, err := s.web.ExchangeCode(t.Context(), code)
		if err != nil || grant.OpenID != bob.OpenID(webApp) || grant.UnionID != bob.UnionID(oaApp) || !grant.Profile() {
			t.Fatalf("%+v, %v", grant, err)
		}
		if info, err := s.web.UserInfo(t.Context(), grant); err != nil || info.Nickname != "bob" || !strings.HasPrefix(info.AvatarURL, "https://thirdwx.qlogo.cn/") {
			t.Errorf("%+v, %v", info, err)
		}
	}
}

// What WeChat refuses on its page is the operator's mistake, and is seen there.
func TestOAuth_WrongLinks(t *testing.T) {
	s := newSignIn(t, wechattest.Options{})
	for _, tt := range []struct {
		name, redirectURI, want string
		client                  *wechat.Client
	}{
		{"callback domain", "https://evil.example/", "10003", s.oa},
		{"website application inside WeChat", s.site, "10016", s.web},
	} {
		link, err := tt.client.AuthorizeURL(wechat.Authorize{Scope: wechat.ScopeBase, RedirectURI: tt.redirectURI, State: "S1"})
		if err != nil {
			t.Fatal(err)
		}
		if v, err := s.weixin.Phone("alice").Browse(t.Context(), link); err != nil || v.Callback != "" || !strings.Contains(string(v.Body), tt.want) {
			t.Errorf("%s: %s, %v", tt.name, v.Body, err)
		}
	}
	link, err := s.oa.QRConnectURL(wechat.QRConnect{RedirectURI: s.site, State: "S1"})
	if err != nil {
		t.Fatal(err)
	}
	if page := s.get(link); !strings.Contains(page, "AppID") {
		t.Errorf("service account at qrconnect: %s", page)
	}
}

// WeChat answers slowly, hugely, with HTML, with a redirect (R2).
func TestOAuth_Disturbances(t *testing.T) {
	s := newSignIn(t, wechattest.Options{})
	for _, tt := range []struct {
		name string
		wechattest.Failure
		want error // nil: it works all the same
	}{
		{"error page", wechattest.Failure{HTTPStatus: 502, HTML: true}, wechat.ErrUnavailable},
		{"huge", wechattest.Failure{Oversize: true}, wechat.ErrUnavailable},
		{"redirect", wechattest.Failure{Redirect: "http://192.0.2.1/steal"}, wechat.ErrUnavailable},
		{"truncated", wechattest.Failure{Truncated: true}, wechat.ErrUnavailable},
		{"busy once", wechattest.Failure{ErrCode: -1, ErrMsg: "system error"}, nil},
		{"content type", wechattest.Failure{ContentType: "text/plain; charset=ISO-8859-1"}, nil},
		{"hangs", wechattest.Failure{Hang: true}, wechat.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.authorize("alice", wechat.ScopeUserInfo)
			code, err := s.code()
			if err != nil {
				t.Fatal(err)
			}
			s.weixin.Fail(wechattest.EndpointOAuthToken, 1, tt.Failure)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = s.oa.ExchangeCode(ctx, code)
			if !errors.Is(err, tt.want) || (tt.want == nil) != (err == nil) {
				t.Errorf("%v", err)
			}
			if err != nil && (strings.Contains(err.Error(), code) || strings.Contains(err.Error(), simSecret)) {
				t.Errorf("%v shows a secret", err)
			}
		})
	}
}
