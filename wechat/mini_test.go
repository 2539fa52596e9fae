// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	jpegMagic = "\xff\xd8\xff\xe0\x00\x10JFIF"
	pngMagic  = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
)

// miniAnswer is what a miniFake says.
type miniAnswer struct {
	status      int // 0: 200
	contentType string
	body        string
}

// miniFake gives out tokens, and the same answer at every other endpoint.
type miniFake struct {
	mu     sync.Mutex
	answer func(n int, call miniCall) miniAnswer
	tokens int
	calls  []miniCall // but for tokens
}

type miniCall struct{ method, path, query, body string }

func always(a miniAnswer) *miniFake {
	return &miniFake{answer: func(int, miniCall) miniAnswer { return a }}
}

func saying(body string) *miniFake { return always(miniAnswer{body: body}) }

func (f *miniFake) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, tokenEndpoint) {
		f.tokens++
		return respond(http.StatusOK, fmt.Sprintf(`{"access_token":"token-%d","expires_in":7200}`, f.tokens)), nil
	}
	call := miniCall{r.Method, r.URL.Path, r.URL.RawQuery, ""}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		call.body = string(body)
	}
	f.calls = append(f.calls, call)
	a := f.answer(len(f.calls), call)
	resp := respond(max(a.status, 0), a.body)
	if a.status == 0 {
		resp.StatusCode = http.StatusOK
	}
	resp.Header.Set("Content-Type", a.contentType)
	return resp, nil
}

// miniCalls are the calls that take nothing but what the test is about.
var miniCalls = []struct {
	name, endpoint string
	do             func(context.Context, *Client) error
}{
	{"code", miniCodeEndpoint, func(ctx context.Context, c *Client) error {
		_, err := c.CreateMiniProgramCode(ctx, MiniProgramCode{Scene: "a"})
		return err
	}},
	{"session", sessionEndpoint, func(ctx context.Context, c *Client) error {
		_, err := c.Code2Session(ctx, "0a3Secret")
		return err
	}},
	{"phone", phoneEndpoint, func(ctx context.Context, c *Client) error {
		_, err := c.PhoneNumber(ctx, "e31968a7f94c")
		return err
	}},
	{"link", linkEndpoint, func(ctx context.Context, c *Client) error {
		_, err := c.CreateURLLink(ctx, URLLink{TTL: time.Hour})
		return err
	}},
}

// What is wrong with an answer must be said as "unavailable", without a panic and
// without a secret, at each endpoint.
func TestMini_UnusableAnswers(t *testing.T) {
	answers := []struct {
		name string
		miniAnswer
	}{
		{"empty", miniAnswer{}},
		{"HTML", miniAnswer{status: 502, contentType: "text/html", body: "<html>Bad Gateway</html>"}},
		{"cut JSON", miniAnswer{body: `{"errcode":0,`}},
		{"a list", miniAnswer{body: `[]`}},
		{"nothing in it", miniAnswer{body: `{"errcode":0,"errmsg":"ok"}`}},
		{"a redirect", miniAnswer{status: 302, body: `{}`}},
		{"too large", miniAnswer{contentType: "image/jpeg", body: jpegMagic + strings.Repeat("x", maxAnswer)}},
		{"a picture with an error status", miniAnswer{status: 500, contentType: "image/jpeg", body: jpegMagic}},
		{"another picture", miniAnswer{contentType: "image/gif", body: "GIF89a"}},
		{"text that calls itself a picture", miniAnswer{contentType: "image/png", body: "hello"}},
		{"busy", miniAnswer{body: `{"errcode":-1,"errmsg":"system error"}`}},
	}
	for _, call := range miniCalls {
		for _, a := range answers {
			t.Run(call.name+"/"+a.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newTestClient(t, always(a.miniAnswer), nil)
					err := call.do(t.Context(), c)
					if !errors.Is(err, ErrUnavailable) {
						t.Errorf("error %v, want ErrUnavailable", err)
					}
					wantNoSecrets(t, err)
					c.Close()
				})
			})
		}
	}
}

func wantNoSecrets(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{testSecret, "token-1", "token-2", "0a3Secret", "e31968a7f94c", "SESSIONKEY"} {
		if strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
			t.Errorf("the error %q holds %q", err, secret)
		}
	}
}

// A server that echoes what it was sent, and a network error whose text has the
// URL, must not bring a secret into an error.
func TestMini_ErrorsHoldNoSecret(t *testing.T) {
	for _, call := range miniCalls {
		t.Run(call.name, func(t *testing.T) {
			echo := &miniFake{answer: func(_ int, call miniCall) miniAnswer {
				return miniAnswer{body: fmt.Sprintf(`{"errcode":40013,"errmsg":%q,"session_key":"SESSIONKEY"}`, call.query+call.body)}
			}}
			err := call.do(t.Context(), newTestClient(t, echo, nil))
			refusal, ok := errors.AsType[*Error](err)
			if !ok || refusal.Endpoint != call.endpoint || refusal.Code != 40013 {
				t.Fatalf("error %v", err)
			}
			wantNoSecrets(t, err)

			broken := roundTripper(func(r *http.Request) (*http.Response, error) {
				return nil, fmt.Errorf("dialling %s", r.URL)
			})
			err = call.do(t.Context(), newTestClient(t, broken, nil))
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("error %v", err)
			}
			wantNoSecrets(t, err)
		})
	}
}

// Where the account itself is refused, visitors who come meanwhile get the same
// answer without a call, until a cure can be seen.
func TestMini_LastingRefusalsAreHeld(t *testing.T) {
	tests := []struct {
		code     int
		held     time.Duration
		sessions bool // by the calls that are about one person, too
	}{
		{40013, 30 * time.Second, true},
		{40125, 30 * time.Second, true},
		{45009, time.Minute, false},
		{45011, time.Minute, false},
		{40029, 0, false},
		{40226, 0, false},
		{99999, 0, false},
	}
	for _, call := range miniCalls {
		for _, tt := range tests {
			t.Run(fmt.Sprint(call.name, " ", tt.code), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fake := saying(fmt.Sprintf(`{"errcode":"%d","errmsg":"no"}`, tt.code)) // as a string, as some do
					c := newTestClient(t, fake, nil)
					held := tt.held
					if (call.endpoint == sessionEndpoint || call.endpoint == phoneEndpoint) && !tt.sessions {
						held = 0
					}
					if call.endpoint == linkEndpoint && tt.code == codeDailyQuota {
						held = 5 * time.Minute
					}
					_ = call.do(t.Context(), c)
					if held > 0 {
						advance(held - time.Second)
						if err := call.do(t.Context(), c); err == nil || len(fake.calls) != 1 {
							t.Errorf("%d calls within %v, want 1 (%v)", len(fake.calls), held, err)
						}
						advance(time.Second)
					}
					_ = call.do(t.Context(), c)
					if len(fake.calls) != 2 {
						t.Errorf("%d calls in all, want 2", len(fake.calls))
					}
					c.Close()
				})
			})
		}
	}
}

// Another program superseded the token: one new token, one more try.
func TestMini_RetriesWithAnotherToken(t *testing.T) {
	for _, call := range miniCalls {
		if call.endpoint == sessionEndpoint {
			continue // it needs no token
		}
		t.Run(call.name, func(t *testing.T) {
			for _, code := range []int{40001, 42001} {
				fake := &miniFake{answer: func(n int, _ miniCall) miniAnswer {
					if n == 1 {
						return miniAnswer{body: fmt.Sprintf(`{"errcode":%d,"errmsg":"invalid credential"}`, code)}
					}
					return miniAnswer{body: `{"errcode":40013,"errmsg":"seen"}`}
				}}
				err := call.do(t.Context(), newTestClient(t, fake, nil))
				if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Code != 40013 {
					t.Errorf("%d: error %v, want that of the second try", code, err)
				}
				if len(fake.calls) != 2 || fake.calls[0].query != "access_token=token-1" || fake.calls[1].query != "access_token=token-2" {
					t.Errorf("%d: calls %+v", code, fake.calls)
				}
			}
		})
	}
}

func TestMiniCodes_Table(t *testing.T) {
	tests := []struct {
		endpoint  string
		code      int
		permanent bool
		retry     time.Duration
		cure      string
		is        error
	}{
		{miniCodeEndpoint, 41030, true, 30 * time.Second, "发布", nil},
		{miniCodeEndpoint, 45009, false, time.Minute, "a minute", nil},
		{miniCodeEndpoint, 48001, true, 30 * time.Second, "小程序", nil},
		{miniCodeEndpoint, 85096, true, 30 * time.Second, "rename", nil},
		{miniCodeEndpoint, 40129, true, 30 * time.Second, "bug", nil},
		{miniCodeEndpoint, 40164, true, 30 * time.Second, "IP白名单", nil},
		{sessionEndpoint, 40029, false, 5 * time.Second, "project.config.json", ErrInvalidCode},
		{sessionEndpoint, 40163, false, 5 * time.Second, "again", ErrInvalidCode},
		{sessionEndpoint, 40226, false, 5 * time.Second, "support", ErrUserBlocked},
		{sessionEndpoint, 45011, false, time.Minute, "minute", nil},
		{sessionEndpoint, 40001, true, 30 * time.Second, "AppSecret", nil},
		{sessionEndpoint, 40125, true, 30 * time.Second, "AppSecret", nil},
		{phoneEndpoint, 40029, false, 5 * time.Second, "button", ErrInvalidCode},
		{phoneEndpoint, 48001, true, 30 * time.Second, "individual", nil},
		{linkEndpoint, 45009, false, 5 * time.Minute, "tomorrow", nil},
		{linkEndpoint, 40002, true, 30 * time.Second, "individual", nil},
		{linkEndpoint, 40013, true, 30 * time.Second, "appeal", nil},
		{linkEndpoint, 85407, true, 30 * time.Second, "links off", nil},
		{linkEndpoint, 85408, true, 30 * time.Second, "links off", nil},
		{linkEndpoint, 85079, true, 30 * time.Second, "发布", nil},
		{linkEndpoint, 48001, true, 30 * time.Second, "公众号", nil},
		{linkEndpoint, 44993, false, 5 * time.Minute, "tomorrow", nil},
		{linkEndpoint, 40165, true, 30 * time.Second, "发布", nil},
		{linkEndpoint, 85401, true, 30 * time.Second, "clock", nil},
		{qrcodeEndpoint, 45009, false, 5 * time.Minute, "tomorrow", nil},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.endpoint, " ", tt.code), func(t *testing.T) {
			e := &Error{Endpoint: tt.endpoint, Code: tt.code}
			if e.Permanent() != tt.permanent || RetryAfter(e) != tt.retry || !strings.Contains(e.Cure(), tt.cure) {
				t.Errorf("permanent %v, retry %v, cure %q", e.Permanent(), RetryAfter(e), e.Cure())
			}
			for _, sentinel := range []error{ErrInvalidCode, ErrUserBlocked, ErrUnavailable} {
				if want := errors.Is(tt.is, sentinel); errors.Is(e, sentinel) != want {
					t.Errorf("errors.Is(%v) = %v", sentinel, errors.Is(e, sentinel))
				}
			}
		})
	}
	for endpoint, entries := range miniCodes {
		for code, entry := range entries {
			if entry.meaning == "" || entry.cure == "" {
				t.Errorf("%s: errcode %d lacks its meaning or its cure", endpoint, code)
			}
		}
	}
}

// FuzzMini feeds answers, and holds what is accepted to what callers rely on.
func FuzzMini(f *testing.F) {
	for _, body := range []string{
		"", "{}", "[]", jpegMagic, pngMagic, `{"errcode":"40029"}`, `{"errcode":1.5}`,
		`{"openid":"o","unionid":"u","session_key":"SESSIONKEY"}`, `{"openid":"<script>"}`, `{"openid":["o"]}`,
		phoneBody("13800138000", `"86"`, testAppID, watermarkTime), phoneBody("1", `9e9`, testAppID, watermarkTime),
		`{"errcode":0,"url_link":"https://wxaurl.cn/abc"}`, `{"url_link":"https://wxaurl.cn@evil.example/"}`,
	} {
		f.Add([]byte(body), "image/jpeg")
	}
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		c := newTestClient(t, always(miniAnswer{contentType: contentType, body: string(body)}), nil)
		c.now = func() time.Time { return time.Unix(watermarkTime, 0) }
		defer c.Close()
		ctx := t.Context()
		if picture, err := c.CreateMiniProgramCode(ctx, MiniProgramCode{Scene: "a"}); err == nil {
			if !bytes.Equal(picture.Data, body) || http.DetectContentType(body) != picture.ContentType {
				t.Errorf("accepted %q as %s", picture.Data, picture.ContentType)
			}
		}
		if user, err := c.Code2Session(ctx, "0a3"); err == nil {
			if !openIDPattern.MatchString(user.OpenID) || (user.UnionID != "" && !openIDPattern.MatchString(user.UnionID)) {
				t.Errorf("accepted %+v", user)
			}
		}
		if number, err := c.PhoneNumber(ctx, "e31"); err == nil && (len(number.E164()) > 16 || strings.Trim(number.E164()[1:], "0123456789") != "") {
			t.Errorf("accepted %+v", number)
		}
		if link, err := c.CreateURLLink(ctx, URLLink{TTL: time.Hour}); err == nil &&
			!strings.HasPrefix(link, "https://wxaurl.cn/") && !strings.HasPrefix(link, "https://wxmpurl.cn/") && !strings.HasPrefix(link, c.apiURL+"/") {
			t.Errorf("accepted %q", link)
		}
	})
}
