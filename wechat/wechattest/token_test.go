// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestToken_Refusals(t *testing.T) {
	const good = "grant_type=client_credential&appid=" + testApp + "&secret=" + testSecret
	jsonBody := func(grant, app, secret string) string {
		return string(encodeJSON(credentials{GrantType: grant, AppID: app, Secret: secret}))
	}
	tests := []struct {
		name, method, target, body string
		frozen                     bool
		whitelist                  []string
		want                       int
	}{
		{name: "token by POST", method: "POST", target: EndpointToken + "?" + good, want: 43001},
		{name: "token without grant type", method: "GET", target: EndpointToken + "?appid=" + testApp + "&secret=" + testSecret, want: 40002},
		{name: "token without app id", method: "GET", target: EndpointToken + "?grant_type=client_credential&secret=x", want: 41002},
		{name: "token without secret", method: "GET", target: EndpointToken + "?grant_type=client_credential&appid=" + testApp, want: 41004},
		{name: "token of unknown app", method: "GET", target: EndpointToken + "?grant_type=client_credential&appid=wx0&secret=x", want: 40013},
		{name: "token with wrong secret", method: "GET", target: EndpointToken + "?" + good + "0", want: 40125},
		{name: "token of frozen secret", method: "GET", target: EndpointToken + "?" + good, frozen: true, want: 40243},
		{name: "token from another address", method: "GET", target: EndpointToken + "?" + good, whitelist: []string{"10.0.0.0/8", "::1"}, want: 40164},
		{name: "token from a listed address", method: "GET", target: EndpointToken + "?" + good, whitelist: []string{"192.0.2.1"}},
		{name: "stable by GET", method: "GET", target: EndpointStableToken + "?" + good, want: 43002},
		{name: "stable with a form", method: "POST", target: EndpointStableToken, body: good, want: 47001},
		{name: "stable with an empty body", method: "POST", target: EndpointStableToken + "?" + good, want: 47001},
		{name: "stable with a trailing brace", method: "POST", target: EndpointStableToken, body: jsonBody("client_credential", testApp, testSecret) + "}", want: 47001},
		{name: "stable with bad grant type", method: "POST", target: EndpointStableToken, body: jsonBody("authorization_code", testApp, testSecret), want: 40002},
		{name: "stable without app id", method: "POST", target: EndpointStableToken, body: jsonBody("client_credential", "", testSecret), want: 41002},
		{name: "stable without secret", method: "POST", target: EndpointStableToken, body: jsonBody("client_credential", testApp, ""), want: 41004},
		{name: "stable of unknown app", method: "POST", target: EndpointStableToken, body: jsonBody("client_credential", "wx0", testSecret), want: 40013},
		{name: "stable with wrong secret", method: "POST", target: EndpointStableToken, body: jsonBody("client_credential", testApp, "x"), want: 40125},
		{name: "stable from another address", method: "POST", target: EndpointStableToken, body: jsonBody("client_credential", testApp, testSecret), whitelist: []string{"10.0.0.1"}, want: 40164},
		{name: "stable of frozen secret", method: "POST", target: EndpointStableToken, body: jsonBody("client_credential", testApp, testSecret), frozen: true, want: 40243},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, Options{})
			addAccount(t, s, func(a *Account) { a.SecretFrozen, a.IPWhitelist = tt.frozen, tt.whitelist })
			got := callAPI(t, s, tt.method, tt.target, tt.body)
			if got.ErrCode != tt.want {
				t.Errorf("errcode %d, want %d: %s", got.ErrCode, tt.want, got.raw)
			}
			if (got.AccessToken == "") != (tt.want != 0) {
				t.Errorf("answer %s", got.raw)
			}
			if tt.want == 40164 && !strings.HasPrefix(got.ErrMsg, "invalid ip 192.0.2.1 ipv6 ::ffff:192.0.2.1, not in whitelist rid: ") {
				t.Errorf("the operator cannot read the address out of %q", got.ErrMsg)
			}
			if strings.Contains(got.raw, testSecret) {
				t.Error("the answer contains the secret")
			}
		})
	}
}

func TestToken_AnswerForm(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	for _, a := range []answer{getToken(t, s), stableToken(t, s, false)} {
		if strings.Contains(a.raw, "errcode") || a.ExpiresIn != 7200 {
			t.Errorf("a success must have expires_in 7200 and no errcode: %s", a.raw)
		}
		if n := len(a.AccessToken); n < 136 || n > 512 {
			t.Errorf("the token has %d characters", n)
		}
	}
	got := callAPI(t, s, "GET", EndpointToken, "")
	if !regexp.MustCompile(`^invalid grant_type rid: 662a2143-[0-9a-f]{8}-[0-9a-f]{8}$`).MatchString(got.ErrMsg) {
		t.Errorf("errmsg %q: want a rid that begins with the time 662a2143", got.ErrMsg)
	}
}

// check calls an endpoint that needs a token and returns its errcode.
func check(t *testing.T, s *Server, token string) int {
	t.Helper()
	return callAPI(t, s, "GET", EndpointCallbackIP+"?access_token="+token, "").ErrCode
}

func TestToken_EachCallReplacesTheLast(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	first, second := getToken(t, s).AccessToken, getToken(t, s).AccessToken
	if first == second {
		t.Fatal("two calls gave the same token")
	}
	c.Advance(5*time.Minute - time.Second)
	if got := check(t, s, first); got != 0 {
		t.Errorf("within five minutes the replaced token answers %d", got)
	}
	c.Advance(time.Second)
	if got := check(t, s, first); got != 40001 {
		t.Errorf("after five minutes the replaced token answers %d, want 40001", got)
	}
	if got := check(t, s, second); got != 0 {
		t.Errorf("the newest token answers %d", got)
	}
	c.Advance(2 * time.Hour)
	if got := check(t, s, second); got != 42001 {
		t.Errorf("the token whose time is over answers %d, want 42001", got)
	}
}

func TestStableToken_SameUntilTheLastFiveMinutes(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	first := stableToken(t, s, false)
	c.Advance(6900 * time.Second)
	if got := stableToken(t, s, false); got.AccessToken != first.AccessToken || got.ExpiresIn != 300 {
		t.Fatalf("with 300 s left: %s", got.raw)
	}
	c.Advance(time.Second)
	second := stableToken(t, s, false)
	if second.AccessToken == first.AccessToken || second.ExpiresIn != 7200 {
		t.Fatalf("with 299 s left: %s", second.raw)
	}
	if check(t, s, first.AccessToken) != 0 || check(t, s, second.AccessToken) != 0 {
		t.Error("old and new must both work in the last five minutes")
	}
	c.Advance(299 * time.Second)
	if got := check(t, s, first.AccessToken); got != 42001 {
		t.Errorf("the old token answers %d, want 42001", got)
	}
}

func TestStableToken_ForceRefresh(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	leaked := stableToken(t, s, false).AccessToken
	second := stableToken(t, s, true).AccessToken
	if leaked == second {
		t.Fatal("force_refresh gave the same token")
	}
	c.Advance(29 * time.Second)
	if got := stableToken(t, s, true); got.AccessToken != second || got.ExpiresIn != 7200-29 {
		t.Errorf("a forced refresh within 30 s must refresh nothing: %s", got.raw)
	}
	if got := check(t, s, leaked); got != 0 {
		t.Errorf("one forced refresh leaves five minutes, but the token answers %d", got)
	}
	c.Advance(time.Second)
	third := stableToken(t, s, true).AccessToken
	if third == second {
		t.Error("a forced refresh after 30 s must refresh")
	}
	for token, want := range map[string]int{leaked: 40001, second: 0, third: 0} {
		if got := check(t, s, token); got != want {
			t.Errorf("after two forced refreshes a token answers %d, want %d", got, want)
		}
	}
	c.Advance(5 * time.Minute)
	if got := check(t, s, second); got != 40001 {
		t.Errorf("after its grace the replaced token answers %d, want 40001", got)
	}
}

func TestStableToken_ForceRefreshTwentyTimesADay(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	seen := map[string]bool{}
	for range 25 {
		seen[stableToken(t, s, true).AccessToken] = true
		c.Advance(30 * time.Second)
	}
	if len(seen) != 20 {
		t.Errorf("25 forced refreshes gave %d tokens, want 20", len(seen))
	}
	c.Advance(24 * time.Hour)
	before := stableToken(t, s, false).AccessToken
	if stableToken(t, s, true).AccessToken == before {
		t.Error("the next day a forced refresh must refresh")
	}
}

func TestToken_EndpointsAreIsolated(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	stable, plain := stableToken(t, s, false).AccessToken, getToken(t, s).AccessToken
	for range 3 {
		getToken(t, s)
	}
	newest := getToken(t, s).AccessToken
	stableToken(t, s, true)
	c.Advance(30 * time.Second)
	stableToken(t, s, true)
	if got := check(t, s, newest); got != 0 {
		t.Errorf("stable_token ended a token of cgi-bin/token: %d", got)
	}
	if got := stableToken(t, s, false).AccessToken; got == stable || got == plain {
		t.Error("the tokens are mixed up")
	}
}

func TestToken_Quotas(t *testing.T) {
	tests := []struct {
		name string
		kind Kind
		want int
	}{
		{"verified service account", VerifiedService, 2000},
		{"test account", TestAccount, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			s := newTestServer(t, Options{Now: c.Now})
			addAccount(t, s, func(a *Account) { a.Kind = tt.kind })
			var last answer
			for range tt.want {
				last = getToken(t, s)
			}
			if last.ErrCode != 0 {
				t.Fatalf("call %d: %s", tt.want, last.raw)
			}
			if got := getToken(t, s); got.ErrCode != 45009 {
				t.Fatalf("call %d: %s", tt.want+1, got.raw)
			}
			clearBody := `{"appid":"` + testApp + `"}`
			if got := callAPI(t, s, "POST", EndpointClearQuota+"?access_token="+last.AccessToken, clearBody); got.ErrCode != 0 {
				t.Fatal(got.raw)
			}
			if got := getToken(t, s); got.ErrCode != 0 {
				t.Errorf("after clear_quota: %s", got.raw)
			}
		})
	}
}

func TestStableToken_MinuteQuota(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	for range 10_000 {
		stableToken(t, s, false)
	}
	if got := stableToken(t, s, false); got.ErrCode != 45011 {
		t.Errorf("call 10,001 in a minute: %s", got.raw)
	}
	c.Advance(time.Minute)
	if got := stableToken(t, s, false); got.ErrCode != 0 {
		t.Errorf("in the next minute: %s", got.raw)
	}
}

func TestClearQuota(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	target := EndpointClearQuota + "?access_token=" + stableToken(t, s, false).AccessToken
	for name, tt := range map[string]struct {
		method, body string
		want         int
	}{
		"GET":         {"GET", "", 43002},
		"no JSON":     {"POST", "appid=" + testApp, 47001},
		"another app": {"POST", `{"appid":"wx0"}`, 40013},
	} {
		if got := callAPI(t, s, tt.method, target, tt.body); got.ErrCode != tt.want {
			t.Errorf("%s: %s", name, got.raw)
		}
	}
	body := `{"appid":"` + testApp + `"}`
	for range 10 {
		if got := callAPI(t, s, "POST", target, body); got.ErrCode != 0 || !strings.HasPrefix(got.ErrMsg, "ok") {
			t.Fatal(got.raw)
		}
	}
	if got := callAPI(t, s, "POST", target, body); got.ErrCode != 48006 {
		t.Errorf("the eleventh reset in a month: %s", got.raw)
	}
}

func TestAccessToken_Errors(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	if got := check(t, s, ""); got != 41001 {
		t.Errorf("no token: %d, want 41001", got)
	}
	if got := check(t, s, "ACCESS_TOKEN"); got != 40014 {
		t.Errorf("malformed token: %d, want 40014", got)
	}
	if got := check(t, s, newAccessToken()); got != 40001 {
		t.Errorf("unknown token: %d, want 40001", got)
	}
	plain, stable := getToken(t, s).AccessToken, stableToken(t, s, false).AccessToken
	s.RevokeTokens(testApp)
	for _, token := range []string{plain, stable} {
		if got := check(t, s, token); got != 40001 {
			t.Errorf("revoked token: %d, want 40001", got)
		}
	}
	if got := check(t, s, stableToken(t, s, false).AccessToken); got != 0 {
		t.Errorf("the token after a revocation answers %d", got)
	}
	// A token that ended long ago is forgotten, then it is one never known.
	c.Advance(48 * time.Hour)
	stableToken(t, s, false)
	if n := len(s.tokens); n != 1 {
		t.Errorf("%d tokens are kept, want 1", n)
	}
	s.RevokeTokens("wx-unknown") // changes nothing
}

func TestCalls(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addAccount(t, s, nil)
	other, err := s.AddAccount(Account{AppID: "wx1", Secret: "x"})
	if err != nil {
		t.Fatal(err)
	}
	token := stableToken(t, s, false).AccessToken
	getToken(t, s)
	getToken(t, s)
	check(t, s, token)
	check(t, s, "bad")
	got := fmt.Sprint(
		h.Calls(EndpointStableToken), h.Calls(EndpointToken), h.Calls(EndpointCallbackIP), s.Calls(EndpointCallbackIP),
		other.Calls(EndpointToken), s.Calls(EndpointQRCode),
	)
	if got != "1 2 1 2 0 0" {
		t.Errorf("calls %s", got)
	}
}

func TestEndpoint_BodyTooLarge(t *testing.T) {
	s := newTestServer(t, Options{})
	w := serve(t, s, "POST", EndpointStableToken, strings.Repeat(" ", maxBody+1))
	if w.Code != 413 {
		t.Errorf("status %d, want 413", w.Code)
	}
}

func TestRemoteIP(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8::1]:1": "2001:db8::1", "pipe": "invalid IP",
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = addr
		if got := remoteIP(r).String(); got != want {
			t.Errorf("remoteIP(%s) = %s, want %s", addr, got, want)
		}
	}
}
