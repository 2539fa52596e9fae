// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// messageWorld is a simulated WeChat with an account, and a client of it.
func messageWorld(t *testing.T, kind wechattest.Kind, more ...func(*wechattest.Account)) (*wechattest.Server, *Client) {
	t.Helper()
	s := wechattest.NewServer(wechattest.Options{})
	t.Cleanup(s.Close)
	account := wechattest.Account{AppID: testAppID, Secret: testSecret, Kind: kind}
	for _, change := range more {
		change(&account)
	}
	if _, err := s.AddAccount(account); err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(s)
	t.Cleanup(api.Close)
	c, err := NewClient(Config{AppID: testAppID, Secret: testSecret, APIURL: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

// The text arrives in the chat as it was written: links, quotes, line breaks and
// Chinese, and not as \u003c.
func TestSendCustomMessage(t *testing.T) {
	s, c := messageWorld(t, wechattest.VerifiedService)
	alice := s.Phone("alice")
	if err := alice.Follow(t.Context(), testAppID); err != nil {
		t.Fatal(err)
	}
	const text = "【站点】有新的登录\n\n不是你本人？<a href=\"https://site.example/c?a=1&b=2\">点击</a>"
	if err := c.SendCustomMessage(t.Context(), alice.OpenID(testAppID), text); err != nil {
		t.Fatal(err)
	}
	chat := alice.Chat(testAppID)
	if len(chat) != 1 || chat[0].Text != text || !chat[0].FromAccount {
		t.Fatalf("the chat holds %+v", chat)
	}
	if links := alice.Links(testAppID); len(links) != 1 || links[0] != "https://site.example/c?a=1&b=2" {
		t.Errorf("the links are %q", links)
	}
}

// Whom WeChat passes nothing on to, and what an account may not do at all, are told
// apart: the first is no matter for an operator.
func TestSendCustomMessage_Refused(t *testing.T) {
	for _, tt := range []struct {
		name        string
		code        int
		unreachable bool
		permanent   bool
		cure        string
	}{
		{"out of time", 45015, true, false, ""},
		{"too many", 45047, true, false, ""},
		{"nobody's openid", 40003, true, false, ""},
		{"no follower", 43004, true, false, ""},
		{"wants no messages", 48002, true, false, ""},
		{"no permission", 48001, false, true, "notify off"},
		{"too long", 45002, false, true, "new_sign_in"},
		{"daily quota", 45009, false, false, "clear_quota"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := messageWorld(t, wechattest.VerifiedService)
			s.Fail(wechattest.EndpointMessage, 1, wechattest.Failure{ErrCode: tt.code, ErrMsg: "refused"})
			err := c.SendCustomMessage(t.Context(), "oAlice", "hello")
			refusal, ok := errors.AsType[*Error](err)
			if !ok || refusal.Code != tt.code || errors.Is(err, ErrUnreachable) != tt.unreachable || refusal.Permanent() != tt.permanent {
				t.Fatalf("%v: unreachable %v", err, errors.Is(err, ErrUnreachable))
			}
			if !strings.Contains(err.Error(), tt.cure) || strings.Contains(err.Error(), "not known here") {
				t.Errorf("%v lacks %q", err, tt.cure)
			}
		})
	}
	if err := (&Error{Endpoint: qrcodeEndpoint, Code: 40003}); errors.Is(err, ErrUnreachable) {
		t.Error("an errcode of another endpoint is about a message")
	}
}

// What cannot be sent costs no call, and no quota.
func TestSendCustomMessage_RefusesBadArguments(t *testing.T) {
	s, c := messageWorld(t, wechattest.VerifiedService)
	for name, args := range map[string][2]string{
		"no openid": {"", "hello"}, "hostile openid": {"o\"},{", "hello"}, "no text": {"oAlice", ""},
		"too long": {"oAlice", strings.Repeat("字", MaxMessageLen/3+1)}, "no UTF-8": {"oAlice", "\xff"},
	} {
		if err := c.SendCustomMessage(t.Context(), args[0], args[1]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n := s.Calls(wechattest.EndpointMessage); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// A token that WeChat no longer takes is replaced once, as everywhere.
func TestSendCustomMessage_RenewsTheToken(t *testing.T) {
	s, c := messageWorld(t, wechattest.TestAccount)
	alice := s.Phone("alice")
	if err := alice.Follow(t.Context(), testAppID); err != nil {
		t.Fatal(err)
	}
	s.Fail(wechattest.EndpointMessage, 1, wechattest.Failure{ErrCode: 42001, ErrMsg: "access_token expired"})
	if err := c.SendCustomMessage(t.Context(), alice.OpenID(testAppID), strings.Repeat("a", MaxMessageLen)); err != nil {
		t.Fatal(err)
	}
	s.Fail(wechattest.EndpointMessage, 1, wechattest.Failure{HTTPStatus: http.StatusBadGateway, HTML: true})
	if err := c.SendCustomMessage(t.Context(), alice.OpenID(testAppID), "a"); !errors.Is(err, ErrUnavailable) || RetryAfter(err) <= 0 || RetryAfter(err) > time.Minute {
		t.Errorf("a proxy's error page: %v", err)
	}
}
