// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"strings"
	"testing"
)

func TestSubscriber(t *testing.T) {
	s := newTestServer(t, Options{})
	account := addAccount(t, s, func(a *Account) { a.OpenPlatform = "ours" })
	alice := s.Phone("alice")
	at := EndpointSubscriber + "?access_token=" + stableToken(t, s, false).AccessToken + "&openid="
	if got, want := callAPI(t, s, "GET", at+alice.OpenID(testApp), "").raw, `{"subscribe":0,"openid":"`+alice.OpenID(testApp)+`"}`; got != want {
		t.Errorf("who does not follow: %s, want %s", got, want)
	}
	if err := alice.Follow(t.Context(), testApp); err != nil {
		t.Fatal(err)
	}
	got := callAPI(t, s, "GET", at+alice.OpenID(testApp), "").raw
	for _, part := range []string{`"subscribe":1`, `"nickname":""`, `"headimgurl":""`, `"unionid":"` + alice.UnionID(testApp) + `"`, `"tagid_list":[]`} {
		if !strings.Contains(got, part) {
			t.Errorf("%s lacks %s", got, part)
		}
	}
	for name, tt := range map[string]struct {
		method, target string
		want           int
	}{
		"POST":               {"POST", at + alice.OpenID(testApp), 43001},
		"no token":           {"GET", EndpointSubscriber + "?openid=" + alice.OpenID(testApp), 41001},
		"a wrong token":      {"GET", EndpointSubscriber + "?access_token=x&openid=" + alice.OpenID(testApp), 40014},
		"nobody":             {"GET", at + "oNobody", 40003},
		"no openid":          {"GET", at, 40003},
		"of another account": {"GET", at + openID("wxother", "alice"), 40003},
	} {
		if got := callAPI(t, s, tt.method, tt.target, "").ErrCode; got != tt.want {
			t.Errorf("%s: errcode %d, want %d", name, got, tt.want)
		}
	}
	for kind, want := range map[Kind]int{UnverifiedService: 48001, PersonalSubscription: 48001, VerifiedSubscription: 0, TestAccount: 0} {
		if err := account.Configure(func(a *Account) { a.Kind, a.OpenPlatform = kind, "" }); err != nil {
			t.Fatal(err)
		}
		if got := callAPI(t, s, "GET", at+alice.OpenID(testApp), "").ErrCode; got != want {
			t.Errorf("kind %d: errcode %d, want %d", kind, got, want)
		}
	}
}
