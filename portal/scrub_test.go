// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testScrubber(secure bool) *scrubber {
	s := newScrubber(newCookies(DefaultCookie, "", secure), append(DefaultHeaders(), Header{Name: "X-Login", Field: FieldID}))
	return &s
}

func TestManaged(t *testing.T) {
	t.Parallel()
	s := testScrubber(true)
	for name, want := range map[string]bool{
		"X-User-Id": true, "x_user_id": true, "X.User.Id": true, "x-USER_id": true, "X!User~Id": true, "X-User-": true, "X-User-Anything": true,
		"X-Login": true, "x_login": true, "X.LOGIN": true,
		"X-User": false, "X-Users-Id": false, "XUserId": false, "X-Login-": false, "Y-User-Id": false, "": false, "X": false, "Cookie": false,
	} {
		if got := s.managed(name); got != want {
			t.Errorf("managed(%q) is %v", name, got)
		}
	}
}

func TestScrub(t *testing.T) {
	t.Parallel()
	type headers = http.Header
	for _, tt := range []struct {
		name       string
		sent, left headers
	}{
		{"nothing", headers{}, headers{}},
		{"others", headers{"Accept": {"a"}, "X-Usr-Id": {"b"}}, headers{"Accept": {"a"}, "X-Usr-Id": {"b"}}},
		{"spellings", headers{"X-User-Id": {"a", "b"}, "x_user_id": {"c"}, "X.login": {"d"}}, headers{}},
		{"Connection", headers{"Connection": {"close, X-User-Id", "x_login"}}, headers{"Connection": {"close"}}},
		{"Connection alone", headers{"Connection": {"X-User-Id"}}, headers{}},
		{"Trailer", headers{"Trailer": {"X-User-Id,X-Sum"}}, headers{"Trailer": {"X-Sum"}}},
		{"websocket", headers{"Upgrade": {"websocket"}}, headers{"Upgrade": {"websocket"}}},
		{"h2c", headers{"Upgrade": {"websocket", "foo, H2C"}}, headers{}},
		{"HTTP/2.0", headers{"Upgrade": {"HTTP/2.0"}}, headers{}},
		{"TLS", headers{"Upgrade": {"TLS/1.0"}}, headers{}},
		{"foreign cookies", headers{"Cookie": {"a=b; c=d"}}, headers{"Cookie": {"a=b; c=d"}}},
		{
			"our cookies in every guise",
			headers{"Cookie": {"a=b;__Host-wechat_session=1; __Secure-wechat_session=2;wechat_session=3 ; c=d", "wechat_browser=4", "e=f;wechat_session"}},
			headers{"Cookie": {"a=b; c=d", "e=f"}},
		},
		{"names that only contain ours", headers{"Cookie": {"my_wechat_session=1; x=wechat_browser"}}, headers{"Cookie": {"my_wechat_session=1; x=wechat_browser"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{Header: tt.sent.Clone()}
			testScrubber(true).scrub(r, nil)
			if diff := cmp.Diff(tt.left, r.Header); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestScrubReadsOnlyItsOwnCookies: a sibling host of a site over TLS can plant
// wechat_session and __Secure-wechat_session in a visitor's browser, and so sign
// him in as somebody else. It cannot plant __Host-wechat_session.
func TestScrubReadsOnlyItsOwnCookies(t *testing.T) {
	t.Parallel()
	const line = "wechat_session=plain; __Secure-wechat_session=secure; __Host-wechat_session=host; wechat_browser=PLAIN; __Secure-wechat_browser=SECURE; __Host-wechat_browser=HOST; wechat_browser=PLAIN"
	for _, tt := range []struct {
		name, domain     string
		secure           bool
		session, browser string
	}{
		{"loopback", "", false, "plain", "PLAIN"},
		{"host", "", true, "host", "HOST"},
		{"domain", "example.com", true, "secure", "HOST"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScrubber(newCookies(DefaultCookie, tt.domain, tt.secure), nil)
			got := s.scrub(&http.Request{Header: http.Header{"Cookie": {line}}}, nil)
			want := credentials{sessions: [maxCredentials]string{tt.session}, browser: tt.browser}
			if got != want {
				t.Errorf("it reads %+v, want %+v", got, want)
			}
		})
	}
}

// TestScrubAfterAnEarlierGate: what the first gate manages is the first gate's.
func TestScrubAfterAnEarlierGate(t *testing.T) {
	t.Parallel()
	first := newScrubber(newCookies(DefaultCookie, "", true), nil)
	r := &http.Request{Header: http.Header{"X-User-Id": {"set"}, "X-Login": {"forged"}, "x_login": {"forged"}}}
	testScrubber(true).scrub(r, &gateContext{Context: context.Background(), scrubber: &first})
	if diff := cmp.Diff(http.Header{"X-User-Id": {"set"}}, r.Header); diff != "" {
		t.Error(diff)
	}
}

// TestScrubTrailers: the server fills the trailers in when the body ends, behind
// the gate's back, whether they were announced or not.
func TestScrubTrailers(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		testScrubber(true).scrub(r, nil)
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r.Trailer
	}))
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.NopCloser(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = -1
	req.Trailer = http.Header{"X-User-Id": {"alice"}, "X_login": {"alice"}, "X-Sum": {"1"}}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if diff := cmp.Diff(http.Header{"X-Sum": {"1"}}, <-got); diff != "" {
		t.Error(diff)
	}
}

// FuzzScrub: whatever a client can get past a server's parser, nothing that an
// upstream folds to a managed name is left, nor a cookie of the gateway's, and
// what is not the gateway's stays.
func FuzzScrub(f *testing.F) {
	for _, seed := range []string{
		"X-User-Id: 1", "x_user_id: 1\r\nX.User.Id: 2", "Connection: X-User-Id, close", "Connection: a,,x_user_id\r\nconnection: b",
		"Cookie: wechat_session=1; a=b", "Cookie: __Host-wechat_session=1;;__Secure-wechat_session", "Cookie:  wechat_browser = x ;c", "Cookie: a=\"b; wechat_session=1\"",
		"Cookie: a=1, wechat_session=2", "Trailer: X-User-Id\r\nTransfer-Encoding: chunked", "Upgrade: h2c", "A: b\r\n X-User-Id: c", "X-Login: 1\r\nX~Login: 2",
		"Cookie: __Host-__Host-wechat_session=1", "Cookie: __Host- wechat_session=1",
	} {
		f.Add(seed)
	}
	s := testScrubber(true)
	f.Fuzz(func(t *testing.T, lines string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n\r\n")))
		if err != nil {
			return
		}
		foreign := maps.Clone(r.Header)
		s.scrub(r, nil)
		for name, values := range r.Header {
			if folded := foldAll(name); strings.HasPrefix(folded, "X_USER_") || folded == "X_LOGIN" {
				t.Fatalf("%q is left of %q", name, lines)
			}
			for _, line := range values {
				checkLine(t, name, line)
			}
		}
		for name := range r.Trailer {
			if strings.HasPrefix(foldAll(name), "X_USER_") {
				t.Fatalf("the trailer %q is left of %q", name, lines)
			}
		}
		for name, values := range foreign {
			kept := !slices.Contains([]string{"Connection", "Trailer", "Cookie", "Upgrade"}, name) && !strings.HasPrefix(foldAll(name), "X_USER_") && foldAll(name) != "X_LOGIN"
			if kept && !slices.Equal(values, r.Header[name]) {
				t.Fatalf("%q: %q became %q", name, values, r.Header[name])
			}
		}
	})
}

// checkLine looks for what must not be in a header that is left.
func checkLine(t *testing.T, name, line string) {
	t.Helper()
	switch name {
	case "Connection":
		for token := range strings.SplitSeq(line, ",") {
			if strings.HasPrefix(foldAll(strings.TrimSpace(token)), "X_USER_") {
				t.Fatalf("Connection: %q is left", line)
			}
		}
	case "Cookie":
		for pair := range strings.SplitSeq(line, ";") {
			cookie, _, _ := strings.Cut(strings.TrimSpace(pair), "=")
			switch strings.TrimSpace(cookie) {
			case "wechat_session", "__Host-wechat_session", "__Secure-wechat_session", "wechat_browser", "__Host-wechat_browser":
				t.Fatalf("Cookie: %q is left", line)
			}
		}
	}
}

// foldAll is what a CGI server makes of a header's name.
func foldAll(name string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x80 && (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
			return '_'
		}
		return c
	}, strings.ToUpper(name))
}
