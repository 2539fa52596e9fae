// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewClient_RefusesBadConfig(t *testing.T) {
	good := Config{AppID: testAppID, Secret: testSecret}
	tests := []struct {
		name   string
		change func(*Config)
	}{
		{"no app id", func(c *Config) { c.AppID = "" }},
		{"app id with a space", func(c *Config) { c.AppID = "wx 1" }},
		{"no secret", func(c *Config) { c.Secret = "" }},
		{"secret with a line break", func(c *Config) { c.Secret = testSecret + "\n" }},
		{"URL without scheme", func(c *Config) { c.APIURL = "api.weixin.qq.com" }},
		{"URL of another scheme", func(c *Config) { c.APIURL = "ftp://api.weixin.qq.com" }},
		{"URL with a password", func(c *Config) { c.APIURL = "https://u:" + testSecret + "@api.weixin.qq.com" }},
		{"URL with a query", func(c *Config) { c.APIURL = "https://api.weixin.qq.com?a=b" }},
		{"URL that is none", func(c *Config) { c.APIURL = "https://%" + testSecret }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good
			tt.change(&cfg)
			c, err := NewClient(cfg)
			if err == nil {
				c.Close()
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), testSecret) {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
	c, err := NewClient(good)
	if err != nil {
		t.Fatal(err)
	}
	if c.AppID() != testAppID {
		t.Errorf("AppID = %q", c.AppID())
	}
	c.Close()
	c.Close() // idempotent
}

// TestCall_HostileAnswers lets the API, or what stands in its place, answer in
// every wrong way. Each must end in a clear error without a secret, soon and
// with little memory, and with at most one request.
func TestCall_HostileAnswers(t *testing.T) {
	var stolen atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	defer thief.Close()
	tests := []struct {
		name    string
		says    string
		handler http.HandlerFunc
	}{
		{"HTML", "not the JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>"+testSecret)
		}},
		{"HTTP 502 with a body that quotes the request", "", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.Copy(w, r.Body)
		}},
		{"redirect that keeps the POST and its secret", "redirected with HTTP 307", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL+"/?"+testSecret, http.StatusTemporaryRedirect)
		}},
		{"oversize", "larger than", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"`+strings.Repeat("a", maxAnswer)+`","expires_in":7200}`)
		}},
		{"endless", "larger than", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
					return
				}
			}
		}},
		{"deep JSON", "not the JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("[", 1<<19)) }},
		{"connection broken off", "broke off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"body broken off", "broke off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"access_token":"abc"`)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(tt.handler)
			defer srv.Close()
			c, err := NewClient(Config{AppID: testAppID, Secret: testSecret, APIURL: srv.URL})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.AccessToken(t.Context())
			if !errors.Is(err, ErrUnavailable) {
				t.Fatalf("error = %v, want ErrUnavailable", err)
			}
			if tt.says != "" && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v, want it to say %q", err, tt.says)
			}
			assertNoSecret(t, err)
		})
	}
	if stolen.Load() != 0 {
		t.Error("the client followed a redirect")
	}
}

func assertNoSecret(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, secret := range []string{testSecret, "token-1", "access_token=", "secret="} {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), secret) {
				t.Errorf("the error holds %q: %#v", secret, e)
			}
		}
	}
}

// Every way in which a call with an access token in its URL can fail.
func TestErrors_HoldNoSecret(t *testing.T) {
	leaky := errors.New("https://user:" + testSecret + "@proxy?access_token=token-1")
	failures := map[string]error{
		"unknown":  leaky,
		"url":      &url.Error{Op: "Post", URL: "https://api.weixin.qq.com/?access_token=token-1", Err: leaky},
		"dns":      &net.DNSError{Err: "no such host", Name: "api.weixin.qq.com"},
		"dial":     &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")},
		"deadline": context.DeadlineExceeded,
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				c := newTestClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
					if strings.HasSuffix(r.URL.Path, qrcodeEndpoint) {
						return nil, failure
					}
					return fake.RoundTrip(r)
				}), nil)
				_, err := c.CreateQRCode(t.Context(), "a", time.Minute)
				if !errors.Is(err, ErrUnavailable) {
					t.Errorf("error = %v, want ErrUnavailable", err)
				}
				assertNoSecret(t, err)
				c.Close()
			})
		})
	}
	t.Run("errmsg", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fake := newFake()
			c := newTestClient(t, fake, nil)
			mustToken(t, c)
			fake.answerWith(func(string, bool) string {
				return `{"errcode":48001,"errmsg":"token-1 ` + testSecret + `\r\nforged log line rid: 1"}`
			})
			_, err := c.CreateQRCode(t.Context(), "a", time.Minute)
			assertNoSecret(t, err)
			if strings.ContainsAny(err.Error(), "\r\n") || !strings.Contains(err.Error(), "rid: 1") {
				t.Errorf("error = %q, want one line with the rid", err)
			}
			c.Close()
		})
	})
}

func TestCall_CallerGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		c := newTestClient(t, fake, nil)
		mustToken(t, c)
		fake.delay = func(string) time.Duration { return time.Second }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		_, err := c.CreateQRCode(ctx, "a", time.Minute)
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
			t.Errorf("error = %v, want context.Canceled alone", err)
		}
		c.Close()
	})
}

func TestCall_HTTPStatusDoesNotDecide(t *testing.T) {
	c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
		return respond(http.StatusInternalServerError, `{"access_token":"abc","expires_in":"7200","errcode":0}`), nil
	}), nil)
	if got := mustToken(t, c); got != "abc" {
		t.Errorf("token = %q, want abc", got)
	}
}

// WeChat writes what people have entered, control characters included, into its
// JSON without escaping them.
func TestCall_RawControlCharacters(t *testing.T) {
	c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
		return respond(http.StatusOK, "{\x14\"access_token\":\"abc\",\"expires_in\":7200,\"note\":\"a\x00\x07\x14\x1f\r\nb\"}\x00"), nil
	}), nil)
	if got := mustToken(t, c); got != "abc" {
		t.Errorf("token = %q, want abc", got)
	}
	c = newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
		return respond(http.StatusOK, "{\"errcode\":40013,\"errmsg\":\"invalid \x14appid\"}"), nil
	}), nil)
	_, err := c.AccessToken(t.Context())
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Code != 40013 {
		t.Errorf("error = %v, want 40013", err)
	}
}

func TestCall_SendsJSONThatWeChatReads(t *testing.T) {
	var got string
	c := newTestClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.String() + " " + r.Header.Get("Content-Type") + " " + string(body)
		return respond(http.StatusOK, `{"access_token":"abc","expires_in":7200}`), err
	}), nil)
	mustToken(t, c)
	want := `POST http://wechat.test/cgi-bin/stable_token application/json ` +
		`{"grant_type":"client_credential","appid":"` + testAppID + `","secret":"` + testSecret + `","force_refresh":false}`
	if strings.TrimSpace(got) != want {
		t.Errorf("request = %s\nwant      %s", got, want)
	}
}

func TestLooseInt(t *testing.T) {
	tests := []struct {
		in   string
		want looseInt
		ok   bool
	}{
		{"0", 0, true},
		{"40001", 40001, true},
		{"-1", -1, true},
		{`"40164"`, 40164, true},
		{`""`, 0, true},
		{"null", 0, true},
		{"1.5", 0, false},
		{`"a"`, 0, false},
		{"[]", 0, false},
		{"true", 0, false},
	}
	for _, tt := range tests {
		var n looseInt
		err := n.UnmarshalJSON([]byte(tt.in))
		if (err == nil) != tt.ok || (tt.ok && n != tt.want) {
			t.Errorf("%s: %d, %v", tt.in, n, err)
		}
	}
}
