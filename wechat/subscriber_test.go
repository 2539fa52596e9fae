// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

func TestSubscriber(t *testing.T) {
	for _, tt := range []struct {
		name    string
		bound   string // account of the open platform
		follows bool
		want    func(p *wechattest.Phone) Subscriber
	}{
		{"bound", "ours", true, func(p *wechattest.Phone) Subscriber { return Subscriber{true, p.UnionID(testAppID)} }},
		{"not bound", "", true, func(*wechattest.Phone) Subscriber { return Subscriber{true, ""} }},
		{"no follower", "ours", false, func(*wechattest.Phone) Subscriber { return Subscriber{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := messageWorld(t, wechattest.VerifiedService, func(a *wechattest.Account) { a.OpenPlatform = tt.bound })
			alice := s.Phone("alice")
			if tt.follows {
				if err := alice.Follow(t.Context(), testAppID); err != nil {
					t.Fatal(err)
				}
			}
			// A token that WeChat no longer takes is replaced once, as everywhere.
			s.Fail(wechattest.EndpointSubscriber, 1, wechattest.Failure{ErrCode: 40001, ErrMsg: "invalid credential"})
			got, err := c.Subscriber(t.Context(), alice.OpenID(testAppID))
			if err != nil || got != tt.want(alice) {
				t.Errorf("Subscriber = %+v, %v", got, err)
			}
		})
	}
}

func TestSubscriber_Refused(t *testing.T) {
	s, c := messageWorld(t, wechattest.PersonalSubscription)
	_, err := c.Subscriber(t.Context(), s.Phone("alice").OpenID(testAppID))
	refusal, ok := errors.AsType[*Error](err)
	if !ok || refusal.Code != 48001 || !refusal.Permanent() || strings.Contains(refusal.Cure(), "QR code") {
		t.Errorf("an account without the right: %v", err)
	}
	s, c = messageWorld(t, wechattest.VerifiedService)
	if _, err := c.Subscriber(t.Context(), "oNobody"); err == nil || !strings.Contains(err.Error(), "40003") {
		t.Errorf("an openid of another account: %v", err)
	}
	before := s.Calls(wechattest.EndpointSubscriber)
	for _, openID := range []string{"", "o&appid=x", "../o"} {
		if _, err := c.Subscriber(t.Context(), openID); err == nil {
			t.Errorf("%q: no error", openID)
		}
	}
	if after := s.Calls(wechattest.EndpointSubscriber); after != before {
		t.Errorf("%d calls for what is no openid", after-before)
	}
}

// What the answer says of somebody else, or in another form, is not believed.
func TestSubscriber_HostileAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"another person":  `{"subscribe":1,"openid":"oBob","unionid":"uBob"}`,
		"nobody":          `{"subscribe":1,"unionid":"uAlice"}`,
		"no unionid":      `{"subscribe":1,"openid":"oAlice","unionid":"u\u0000"}`,
		"a list":          `[]`,
		"no JSON":         `<html>`,
		"another type":    `{"subscribe":1,"openid":"oAlice","unionid":{"a":1}}`,
		"nothing":         ``,
		"a long unionid":  `{"subscribe":1,"openid":"oAlice","unionid":"` + strings.Repeat("u", 200) + `"}`,
		"only an errcode": `{"errcode":0,"errmsg":"ok"}`,
	} {
		t.Run(name, func(t *testing.T) {
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "stable_token") {
					_, _ = w.Write([]byte(`{"access_token":"TOKEN","expires_in":7200}`))
					return
				}
				_, _ = w.Write([]byte(body))
			}))
			t.Cleanup(api.Close)
			c, err := NewClient(Config{AppID: testAppID, Secret: testSecret, APIURL: api.URL})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			got, err := c.Subscriber(t.Context(), "oAlice")
			if !errors.Is(err, ErrUnavailable) || got != (Subscriber{}) || strings.Contains(err.Error(), "TOKEN") {
				t.Errorf("Subscriber = %+v, %v", got, err)
			}
		})
	}
}
