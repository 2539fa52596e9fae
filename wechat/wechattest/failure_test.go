// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFail_Answers(t *testing.T) {
	tests := []struct {
		name        string
		failure     Failure
		status      int
		contentType string // its beginning
		body        string // a pattern
		length      int    // at least
		broken      bool
	}{
		{name: "errcode", failure: Failure{ErrCode: 45009, ErrMsg: "reach max"}, status: 200, contentType: "application/json", body: `^{"errcode":45009,"errmsg":"reach max rid: [0-9a-f-]+"}$`},
		{name: "busy", failure: Failure{ErrCode: -1, ErrMsg: "system error"}, status: 200, contentType: "application/json", body: `^{"errcode":-1,`},
		{name: "HTML", failure: Failure{HTML: true}, status: 200, contentType: "text/html", body: `^<!DOCTYPE html>`},
		{name: "HTML with status", failure: Failure{HTML: true, HTTPStatus: 502}, status: 502, contentType: "text/html", body: `^<!DOCTYPE html>`},
		{name: "status alone", failure: Failure{HTTPStatus: 500}, status: 500, body: `^$`},
		{name: "content type", failure: Failure{ContentType: "text/plain"}, status: 200, contentType: "text/plain", body: `^{"access_token":"`},
		{name: "redirect", failure: Failure{Redirect: "http://elsewhere.example/"}, status: 302},
		{name: "oversize", failure: Failure{Oversize: true}, status: 200, contentType: "application/json", body: `^{"access_token":".* }$`, length: oversize},
		{name: "truncated", failure: Failure{Truncated: true}, status: 200, body: `^{"access_token":"[^}]*$`, broken: true},
		{name: "slow", failure: Failure{Slow: time.Millisecond}, status: 200, body: `^{"access_token":"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, Options{})
			addAccount(t, s, nil)
			web := httptest.NewServer(s)
			defer web.Close()
			s.Fail(EndpointStableToken, 1, tt.failure)
			status, contentType, body, err := post(t, web)
			if status != tt.status || !strings.HasPrefix(contentType, tt.contentType) ||
				!regexp.MustCompile(tt.body).Match(body) || len(body) < tt.length || errors.Is(err, io.ErrUnexpectedEOF) != tt.broken {
				t.Errorf("status %d, content type %q, %d bytes %.80q, %v", status, contentType, len(body), body, err)
			}
			if _, _, body, err = post(t, web); err != nil || !strings.Contains(string(body), "access_token") {
				t.Errorf("the answer after the failure: %q, %v", body, err)
			}
		})
	}
}

func post(t *testing.T, web *httptest.Server) (status int, contentType string, body []byte, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", web.URL+EndpointStableToken,
		strings.NewReader(`{"grant_type":"client_credential","appid":"`+testApp+`","secret":"`+testSecret+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	client := web.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Content-Type"), body, err
}

func TestFail_CountsAndQueue(t *testing.T) {
	s := newTestServer(t, Options{})
	addAccount(t, s, nil)
	s.Fail(EndpointStableToken, 2, Failure{ErrCode: -1})
	s.Fail(EndpointStableToken, 0, Failure{ErrCode: 40125})
	got := make([]int, 0, 6)
	for range 5 {
		got = append(got, stableToken(t, s, false).ErrCode)
	}
	s.ClearFailures(EndpointStableToken)
	got = append(got, stableToken(t, s, false).ErrCode)
	for i, want := range []int{-1, -1, 40125, 40125, 40125, 0} {
		if got[i] != want {
			t.Fatalf("errcodes %v", got)
		}
	}
	if n := s.Calls(EndpointStableToken); n != 6 {
		t.Errorf("%d calls, want the failed ones counted too", n)
	}
}

// An injected error replaces the work of the endpoint: no token is issued.
func TestFail_ErrorHasNoEffect(t *testing.T) {
	s := newTestServer(t, Options{})
	addAccount(t, s, nil)
	s.Fail(EndpointToken, 1, Failure{ErrCode: -1})
	getToken(t, s)
	if len(s.tokens) != 0 {
		t.Error("a token was issued")
	}
}

func TestFail_HangAndSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, Options{})
		addAccount(t, s, nil)
		s.Fail(EndpointToken, 1, Failure{Hang: true})
		s.Fail(EndpointToken, 1, Failure{Slow: 3 * time.Second})
		s.Fail(EndpointToken, 1, Failure{Slow: time.Hour})
		s.Fail(EndpointToken, 1, Failure{Hang: true})
		get := func(timeout time.Duration) (took time.Duration, body string) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			w, start := httptest.NewRecorder(), time.Now()
			target := EndpointToken + "?grant_type=client_credential&appid=" + testApp + "&secret=" + testSecret
			s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", target, nil))
			return time.Since(start), w.Body.String()
		}
		if took, body := get(time.Minute); took != time.Minute || body != "" {
			t.Errorf("hang: %q after %v", body, took)
		}
		if took, body := get(time.Minute); took != 3*time.Second || !strings.Contains(body, "access_token") {
			t.Errorf("slow: %q after %v", body, took)
		}
		if took, body := get(time.Minute); took != time.Minute || body != "" {
			t.Errorf("too slow: %q after %v", body, took)
		}
		time.AfterFunc(time.Second, s.Close)
		if took, body := get(time.Minute); took != time.Second || body != "" {
			t.Errorf("hang until Close: %q after %v", body, took)
		}
	})
}
