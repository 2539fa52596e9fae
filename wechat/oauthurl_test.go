// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"net/url"
	"strings"
	"testing"
)

const (
	testRedirect = "https://example.com/_wechat/oauth/callback"
	testState    = "A3bC9"
)

func newOpenClient(tb testing.TB, openURL string) *Client {
	tb.Helper()
	c, err := NewClient(Config{AppID: testAppID, Secret: testSecret, OpenURL: openURL})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// The links are compared as text: their order is part of WeChat's interface.
func TestAuthorizeURL(t *testing.T) {
	tests := []struct {
		name, openURL string
		a             Authorize
		want          string
	}{
		{
			"silent", "",
			Authorize{Scope: ScopeBase, RedirectURI: testRedirect, State: testState},
			"https://open.weixin.qq.com/connect/oauth2/authorize?appid=wxba5fad812f8e6fb9&redirect_uri=https%3A%2F%2Fexample.com%2F_wechat%2Foauth%2Fcallback&response_type=code&scope=snsapi_base&state=A3bC9#wechat_redirect",
		},
		{
			"asking, through a proxy", "http://127.0.0.1:8080/wx/",
			Authorize{Scope: ScopeUserInfo, RedirectURI: "http://localhost:8080/a b?c=d+e&f", State: testState, ForcePopup: true},
			"http://127.0.0.1:8080/wx/connect/oauth2/authorize?appid=wxba5fad812f8e6fb9&redirect_uri=http%3A%2F%2Flocalhost%3A8080%2Fa%20b%3Fc%3Dd%2Be%26f&response_type=code&scope=snsapi_userinfo&state=A3bC9&forcePopup=true#wechat_redirect",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := newOpenClient(t, tt.openURL).AuthorizeURL(tt.a)
			if err != nil || got != tt.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestQRConnectURL(t *testing.T) {
	const begin = "https://open.weixin.qq.com/connect/qrconnect?appid=wxba5fad812f8e6fb9&redirect_uri=https%3A%2F%2Fexample.com%2F_wechat%2Foauth%2Fcallback&response_type=code&scope=snsapi_login&state=A3bC9"
	tests := []struct {
		name    string
		english bool
		embed   *Embed
		want    string
	}{
		{"page", false, nil, begin + "#wechat_redirect"},
		{"page in English", true, nil, begin + "&lang=en#wechat_redirect"},
		{"frame", false, &Embed{}, begin + "&login_type=jssdk&self_redirect=false#wechat_redirect"},
		{"new look", false, &Embed{StyleLite: true, NoFastLogin: true}, begin + "&login_type=jssdk&self_redirect=false&stylelite=1&fast_login=0#wechat_redirect"},
		{"old look", true, &Embed{SelfRedirect: true, White: true, Stylesheet: "data:text/css;base64,LmE="}, begin + "&lang=en&login_type=jssdk&self_redirect=true&style=white&href=data%3Atext%2Fcss%3Bbase64%2CLmE%3D#wechat_redirect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := newOpenClient(t, "").QRConnectURL(QRConnect{RedirectURI: testRedirect, State: testState, English: tt.english, Embed: tt.embed})
			if err != nil || got != tt.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestOpenLinks_Refusals(t *testing.T) {
	c := newOpenClient(t, "")
	for _, redirect := range []string{
		"", "/callback", "example.com/callback", "//example.com/callback", "ftp://example.com/", "javascript:alert(1)",
		"https:///callback", "https://:80/", "https://user@example.com/", "https://example.com/#/login", "https://example.com/#", "https://example.com/\n", "http://[bad",
	} {
		if got, err := c.QRConnectURL(QRConnect{RedirectURI: redirect, State: testState}); err == nil {
			t.Errorf("redirect URI %q: %s", redirect, got)
		}
	}
	for _, state := range []string{"", "a-b", "a b", "状态", "a\n", strings.Repeat("a", 129)} {
		if got, err := c.AuthorizeURL(Authorize{Scope: ScopeBase, RedirectURI: testRedirect, State: state}); err == nil {
			t.Errorf("state %q: %s", state, got)
		}
	}
	for _, scope := range []Scope{"", "snsapi_login", "snsapi_base&x=y"} {
		if got, err := c.AuthorizeURL(Authorize{Scope: scope, RedirectURI: testRedirect, State: testState}); err == nil {
			t.Errorf("scope %q: %s", scope, got)
		}
	}
	for _, embed := range []Embed{
		{Stylesheet: "http://example.com/a.css"},
		{Stylesheet: "javascript:alert(1)"},
		{Stylesheet: "https://example.com/a.css", StyleLite: true},
	} {
		if got, err := c.QRConnectURL(QRConnect{RedirectURI: testRedirect, State: testState, Embed: &embed}); err == nil {
			t.Errorf("%+v: %s", embed, got)
		}
	}
	if _, err := NewClient(Config{AppID: testAppID, Secret: testSecret, OpenURL: "open.weixin.qq.com"}); err == nil || !strings.Contains(err.Error(), "open URL") {
		t.Errorf("an open URL without scheme: %v", err)
	}
}

func FuzzOpenLink(f *testing.F) {
	f.Add(testRedirect, testState)
	f.Add("https://example.com/?a=%20+&b#c", "A&scope=x")
	f.Fuzz(func(t *testing.T, redirect, state string) {
		got, err := newOpenClient(t, "").AuthorizeURL(Authorize{Scope: ScopeBase, RedirectURI: redirect, State: state})
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil || u.Host != "open.weixin.qq.com" || u.Fragment != "wechat_redirect" {
			t.Fatalf("%q, %q made %q, %v", redirect, state, got, err)
		}
		q, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(q) != 5 || q.Get("redirect_uri") != redirect || q.Get("state") != state {
			t.Errorf("%q, %q made %q", redirect, state, got)
		}
	})
}
