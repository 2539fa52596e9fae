// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func sendMessage(tb testing.TB, s *Server, body string) int {
	tb.Helper()
	return callAPI(tb, s, "POST", EndpointMessage+"?access_token="+stableToken(tb, s, false).AccessToken, body).ErrCode
}

func messageTo(openid, text string) string {
	return fmt.Sprintf(`{"touser":%q,"msgtype":"text","text":{"content":%q}}`, openid, text)
}

// How many messages an account may write, and for how long, depends on what the
// person did last; WeChat counts each kind by itself.
func TestSendMessage_Windows(t *testing.T) {
	follow := func(t *testing.T, s *Server, p *Phone) {
		t.Helper()
		if err := p.Follow(t.Context(), testApp); err != nil {
			t.Fatal(err)
		}
	}
	text := func(t *testing.T, _ *Server, p *Phone) {
		t.Helper()
		if _, err := p.SendText(t.Context(), testApp, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	scan := func(t *testing.T, s *Server, p *Phone) {
		t.Helper()
		if _, err := p.Scan(t.Context(), newCode(t, s, "a").URL); err != nil {
			t.Fatal(err)
		}
	}
	hour := func(t *testing.T, s *Server, _ *Phone) {
		t.Helper()
		s.opts.Now = func() time.Time { return time.Now().Add(time.Hour) }
	}
	type act = func(*testing.T, *Server, *Phone)
	for _, tt := range []struct {
		name  string
		did   []act
		sends int // how many arrive
		then  int // the errcode of the next
	}{
		{"nothing", nil, 0, 45015},
		{"follow", []act{follow}, 3, 45047},
		{"follow, an hour later", []act{follow, hour}, 0, 45015},
		{"scan", []act{follow, hour, scan}, 3, 45047},
		{"message", []act{follow, text, hour}, 5, 45047},
		{"message, twice", []act{follow, text, text, hour}, 5, 45047},
		{"message and scan", []act{follow, text, hour, scan}, 8, 45047},
		{"left", []act{follow, text, func(t *testing.T, _ *Server, p *Phone) {
			t.Helper()
			if err := p.Unfollow(t.Context(), testApp); err != nil {
				t.Fatal(err)
			}
		}}, 0, 45015},
		{"two days later", []act{follow, text, func(t *testing.T, s *Server, _ *Phone) {
			t.Helper()
			s.opts.Now = func() time.Time { return time.Now().Add(48*time.Hour + time.Second) }
		}}, 0, 45015},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, Options{})
			addAccount(t, s, nil)
			alice := s.Phone("alice")
			for _, act := range tt.did {
				act(t, s, alice)
			}
			before := len(alice.Chat(testApp))
			for i := range tt.sends {
				if code := sendMessage(t, s, messageTo(alice.OpenID(testApp), "hi")); code != 0 {
					t.Fatalf("message %d: errcode %d", i+1, code)
				}
			}
			if code := sendMessage(t, s, messageTo(alice.OpenID(testApp), "hi")); code != tt.then {
				t.Errorf("one more: errcode %d, want %d", code, tt.then)
			}
			if got := len(alice.Chat(testApp)) - before; got != tt.sends {
				t.Errorf("%d messages arrived, want %d", got, tt.sends)
			}
		})
	}
}

func TestSendMessage_Refuses(t *testing.T) {
	s := newTestServer(t, Options{})
	account := addAccount(t, s, nil)
	alice := s.Phone("alice")
	if err := alice.Follow(t.Context(), testApp); err != nil {
		t.Fatal(err)
	}
	to := alice.OpenID(testApp)
	for _, tt := range []struct {
		name, body string
		want       int
	}{
		{"no JSON", "touser=" + to, 47001},
		{"empty", messageTo(to, ""), 44004},
		{"too long", messageTo(to, strings.Repeat("字", 683)), 45002},
		{"a picture", `{"touser":"` + to + `","msgtype":"image"}`, 40008},
		{"a stranger", messageTo("oNobody", "hi"), 40003},
		{"an openid of another account", messageTo(openID("wxother", "alice"), "hi"), 40003},
	} {
		if got := sendMessage(t, s, tt.body); got != tt.want {
			t.Errorf("%s: errcode %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := callAPI(t, s, "GET", EndpointMessage+"?access_token="+stableToken(t, s, false).AccessToken, "").ErrCode; got != 43002 {
		t.Errorf("GET: errcode %d", got)
	}
	if got := callAPI(t, s, "POST", EndpointMessage, messageTo(to, "hi")).ErrCode; got != 41001 {
		t.Errorf("no token: errcode %d", got)
	}
	for kind, want := range map[Kind]int{UnverifiedService: 48001, PersonalSubscription: 48001, VerifiedSubscription: 0, TestAccount: 0} {
		if err := account.Configure(func(a *Account) { a.Kind = kind }); err != nil {
			t.Fatal(err)
		}
		if got := sendMessage(t, s, messageTo(to, "hi")); got != want {
			t.Errorf("kind %d: errcode %d, want %d", kind, got, want)
		}
	}
}

// The phone's page shows the message with its link, as it shows the answers.
func TestSendMessage_OnThePhonesPage(t *testing.T) {
	s := newTestServer(t, Options{})
	addAccount(t, s, nil)
	alice := s.Phone("alice")
	if err := alice.Follow(t.Context(), testApp); err != nil {
		t.Fatal(err)
	}
	if code := sendMessage(t, s, messageTo(alice.OpenID(testApp), `new <a href="https://site.example/x">not me</a>`)); code != 0 {
		t.Fatal(code)
	}
	page := serve(t, s, "GET", "/phone/chat/"+testApp+"?person=alice", "").Body.String()
	if !strings.Contains(page, `href="https://site.example/x"`) || !strings.Contains(page, "not me") {
		t.Errorf("the page shows %s", page)
	}
}
