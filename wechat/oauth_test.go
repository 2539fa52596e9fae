// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	testCode   = "051InRkl22T3me4561ll2HK1I33Ixxxx"
	testOpenID = "oGZUI0egBJY1zhBYw2KhdUfwVJJE"
	testUnion  = "ocMvos6NjeKLIBqg5Mr9QjxrP1FA"
	userToken  = "user-token-secret"
)

func TestParseCallback(t *testing.T) {
	tests := []struct {
		name, query string
		code        string
		err         error
	}{
		{"agreed", "code=" + testCode + "&state=abc", testCode, nil},
		{"agreed, without state", "code=" + testCode, testCode, nil},
		{"refused: state alone", "state=abc", "", ErrRefused},
		{"refused: empty code", "code=&state=abc", "", ErrRefused},
		{"refused: a code that says so", "code=authdeny&state=abc&reason=", "", ErrRefused},
		{"refused: the same without a state", "state=&code=authdeny", "", ErrRefused},
		{"nothing", "", "", ErrMalformedCallback},
		{"empty values", "code=&state=", "", ErrMalformedCallback},
		{"two codes", "code=a&code=b&state=abc", "", ErrMalformedCallback},
		{"two states", "code=a&state=abc&state=def", "", ErrMalformedCallback},
		{"a code with a slash", "code=a/b&state=abc", "", ErrMalformedCallback},
		{"a line break", "code=a%0d%0ab&state=abc", "", ErrMalformedCallback},
		{"markup", "code=%3Cscript%3E&state=abc", "", ErrMalformedCallback},
		{"too long", "code=" + strings.Repeat("a", 513) + "&state=abc", "", ErrMalformedCallback},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			query, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			if code, err := ParseCallback(query); code != tt.code || !errors.Is(err, tt.err) {
				t.Errorf("ParseCallback = %q, %v", code, err)
			}
		})
	}
}

func FuzzParseCallback(f *testing.F) {
	f.Add("code=" + testCode + "&state=abc")
	f.Add("state=abc")
	f.Add("code=authdeny&state=%00")
	f.Add("code=a&code=b")
	f.Fuzz(func(t *testing.T, raw string) {
		query, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		code, err := ParseCallback(query)
		switch {
		case err == nil && (!codePattern.MatchString(code) || len(query["code"]) != 1 || code == deniedCode):
			t.Errorf("accepted %q", code)
		case err != nil && code != "":
			t.Errorf("a code %q beside %v", code, err)
		case err != nil && !errors.Is(err, ErrRefused) && !errors.Is(err, ErrMalformedCallback):
			t.Errorf("unexpected error %v", err)
		}
	})
}

// snsClient is a client to which each call gets the next of the answers.
func snsClient(t *testing.T, seen *[]*http.Request, answers ...string) *Client {
	t.Helper()
	return newTestClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		*seen = append(*seen, r)
		body := answers[min(len(*seen), len(answers))-1]
		resp := respond(http.StatusOK, body)
		resp.Header.Set("Content-Type", "text/plain; charset=ISO-8859-1")
		return resp, nil
	}), nil)
}

func exchangeBody(extra string) string {
	return `{"access_token":"` + userToken + `","expires_in":7200,"refresh_token":"R","openid":"` + testOpenID + `","scope":"snsapi_userinfo"` + extra + `}`
}

func TestExchangeCode(t *testing.T) {
	tests := []struct {
		name, body string
		want       Grant
		err        error
	}{
		{"with unionid", exchangeBody(`,"unionid":"` + testUnion + `"`), Grant{OpenID: testOpenID, UnionID: testUnion, Scope: "snsapi_userinfo"}, nil},
		{"without", exchangeBody(""), Grant{OpenID: testOpenID, Scope: "snsapi_userinfo"}, nil},
		{"errcode 0", exchangeBody(`,"errcode":0,"errmsg":"ok","is_snapshotuser":0`), Grant{OpenID: testOpenID, Scope: "snsapi_userinfo"}, nil},
		{"virtual user", exchangeBody(`,"is_snapshotuser":1`), Grant{}, ErrVirtualUser},
		{"virtual user, as a text", exchangeBody(`,"is_snapshotuser":"1"`), Grant{}, ErrVirtualUser},
		{"unknown code", `{"errcode":40029,"errmsg":"invalid code rid: 1-2-3"}`, Grant{}, ErrInvalidCode},
		{"used code", `{"errcode":40163,"errmsg":"code been used, rid: 1-2-3"}`, Grant{}, ErrInvalidCode},
		{"expired code", `{"errcode":42003,"errmsg":"code expired"}`, Grant{}, ErrInvalidCode},
		{"no openid", `{"access_token":"T","scope":"snsapi_base"}`, Grant{}, ErrUnavailable},
		{"no token", `{"openid":"` + testOpenID + `","scope":"snsapi_base"}`, Grant{}, ErrUnavailable},
		{"hostile openid", `{"access_token":"T","openid":"a\u000ab","scope":"snsapi_base"}`, Grant{}, ErrUnavailable},
		{"hostile unionid", exchangeBody(`,"unionid":"<b>"`), Grant{}, ErrUnavailable},
		{"hostile scope", strings.Replace(exchangeBody(""), "snsapi_userinfo", "a b", 1), Grant{}, ErrUnavailable},
		{"HTML", "<html>", Grant{}, ErrUnavailable},
		{"list", "[]", Grant{}, ErrUnavailable},
		{"busy", `{"errcode":-1,"errmsg":"system error"}`, Grant{}, ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen []*http.Request
				c := snsClient(t, &seen, tt.body)
				got, err := c.ExchangeCode(t.Context(), testCode)
				if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(Grant{})); diff != "" || !errors.Is(err, tt.err) {
					t.Errorf("error %v, Grant (-want +got):\n%s", err, diff)
				}
				c.Close()
			})
		})
	}
}

func TestExchangeCode_Request(t *testing.T) {
	var seen []*http.Request
	c := snsClient(t, &seen, exchangeBody(""))
	if _, err := c.ExchangeCode(t.Context(), testCode); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"appid": {testAppID}, "secret": {testSecret}, "code": {testCode}, "grant_type": {"authorization_code"}}
	if r := seen[0]; r.Method != http.MethodGet || r.URL.Host+r.URL.Path != "wechat.test/sns/oauth2/access_token" || !cmp.Equal(r.URL.Query(), want) {
		t.Errorf("%s %s", r.Method, r.URL)
	}
}

// What cannot be a code is not sent: neither to burn quota nor to reach WeChat's logs.
func TestExchangeCode_ChecksBeforeCalling(t *testing.T) {
	var seen []*http.Request
	c := snsClient(t, &seen, exchangeBody(""))
	for _, code := range []string{"", "a b", "a&secret=x", "状态", "a\n", strings.Repeat("a", 513)} {
		if _, err := c.ExchangeCode(t.Context(), code); !errors.Is(err, ErrMalformedCallback) {
			t.Errorf("%q: %v", code, err)
		}
	}
	if len(seen) != 0 {
		t.Errorf("%d calls", len(seen))
	}
}

// "System busy" is repeated once; a refusal never, because it has used the code up.
func TestExchangeCode_Repeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for first, want := range map[string]int{
			`{"errcode":-1,"errmsg":"system error"}`:    2,
			`{"errcode":40029,"errmsg":"invalid code"}`: 1,
			`{"errcode":40001,"errmsg":"invalid"}`:      1,
		} {
			var seen []*http.Request
			c := snsClient(t, &seen, first, exchangeBody(""))
			if _, err := c.ExchangeCode(t.Context(), testCode); (err == nil) != (want == 2) || len(seen) != want {
				t.Errorf("%s: %d calls, %v", first, len(seen), err)
			}
			c.Close()
		}
	})
}

func TestOAuth_Unreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}), nil)
		start := time.Now()
		if _, err := c.ExchangeCode(t.Context(), testCode); !errors.Is(err, ErrUnavailable) || time.Since(start) != callTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.ExchangeCode(ctx, testCode); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
			t.Errorf("cancelled: %v", err)
		}
		c.Close()
	})
}

// No error and no formatting shows the secret, the code or the token of the
// person, even where WeChat sends them back or a transport puts the URL into its error.
func TestOAuth_NoSecretsShown(t *testing.T) {
	texts := []string{}
	for _, transport := range []roundTripper{
		func(r *http.Request) (*http.Response, error) {
			return respond(200, fmt.Sprintf(`{"errcode":40029,"errmsg":"invalid code in %s"}`, r.URL.RawQuery)), nil
		},
		func(r *http.Request) (*http.Response, error) { return nil, fmt.Errorf("getting %s failed", r.URL) },
		func(r *http.Request) (*http.Response, error) {
			resp := respond(302, "")
			resp.Header.Set("Location", "https://evil.example/?"+r.URL.RawQuery)
			return resp, nil
		},
	} {
		c := newTestClient(t, transport, nil)
		_, err := c.ExchangeCode(t.Context(), testCode)
		texts = append(texts, fmt.Sprintf("%v %+v %#v", err, err, err))
		_, err = c.UserInfo(t.Context(), testGrant(""))
		texts = append(texts, fmt.Sprintf("%v %+v %#v", err, err, err))
	}
	grant := testGrant("")
	texts = append(texts, fmt.Sprintf("%v %+v %#v %+v", grant, grant, grant, struct{ g Grant }{grant}))
	for _, text := range texts {
		for _, secret := range []string{testSecret, testCode, userToken} {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows %q", text, secret)
			}
		}
	}
}

func testGrant(unionID string) Grant {
	token := userToken
	return Grant{OpenID: testOpenID, UnionID: unionID, Scope: string(ScopeUserInfo), token: &token}
}

func TestGrant_Profile(t *testing.T) {
	for scope, want := range map[string]bool{
		"snsapi_base": false, "snsapi_userinfo": true, "snsapi_login": true, "snsapi_base,snsapi_userinfo": true, "": false, "xsnsapi_login": false,
	} {
		if got := (Grant{Scope: scope}).Profile(); got != want {
			t.Errorf("%q: %t", scope, got)
		}
	}
}

// The errcodes of a person's code or token are told apart from those of the
// account: one person must not make the account look broken.
func TestError_OAuthTable(t *testing.T) {
	tests := []struct {
		endpoint  string
		code      int
		permanent bool
		invalid   bool
		cure      string
	}{
		{exchangeEndpoint, 40029, false, true, "sign in again"},
		{exchangeEndpoint, 40163, false, true, "twice"},
		{exchangeEndpoint, 42003, false, true, "sign in again"},
		{exchangeEndpoint, 41008, true, false, "query"},
		{exchangeEndpoint, 40125, true, false, "AppSecret"},
		{exchangeEndpoint, 40013, true, false, "AppID"},
		{userInfoEndpoint, 40001, false, false, "sign in again"},
		{userInfoEndpoint, 42001, false, false, "sign in again"},
		{userInfoEndpoint, 40003, false, false, "sign in again"},
		{userInfoEndpoint, 48001, false, false, "使用完整服务"},
		{qrcodeEndpoint, 48001, true, false, "已认证的服务号"},
		{qrcodeEndpoint, 40029, false, false, "look the errcode up"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s_%d", tt.endpoint, tt.code), func(t *testing.T) {
			e := &Error{Endpoint: tt.endpoint, Code: tt.code}
			if e.Permanent() != tt.permanent || errors.Is(e, ErrInvalidCode) != tt.invalid || !strings.Contains(e.Error(), tt.cure) {
				t.Errorf("permanent %t, invalid code %t: %v", e.Permanent(), errors.Is(e, ErrInvalidCode), e)
			}
		})
	}
}
