// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(withBrowser{m}) }

// withBrowser ends the browser of the tests before leaks are looked for.
type withBrowser struct{ m *testing.M }

func (w withBrowser) Run() int { return chrometest.Run(w.m) }

const (
	testApp    = "wx0123456789abcdef"
	testSecret = "0123456789abcdef0123456789abcdef"
	testToken  = "AAAAA"
	testAESKey = "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR" // its last character has stray bits
	testGH     = "gh_97417a04a28d"
)

// clock is a settable time.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_714_037_059, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newTestServer(tb testing.TB, opts Options) *Server {
	tb.Helper()
	s := NewServer(opts)
	tb.Cleanup(s.Close)
	return s
}

func addAccount(tb testing.TB, s *Server, change func(*Account)) *AccountHandle {
	tb.Helper()
	a := Account{AppID: testApp, Secret: testSecret, OriginalID: testGH, Token: testToken}
	if change != nil {
		change(&a)
	}
	h, err := s.AddAccount(a)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// answer is any of the API's JSON answers.
type answer struct {
	ErrCode       int    `json:"errcode"`
	ErrMsg        string `json:"errmsg"`
	AccessToken   string `json:"access_token"`
	ExpiresIn     int    `json:"expires_in"`
	Ticket        string `json:"ticket"`
	ExpireSeconds int    `json:"expire_seconds"`
	URL           string `json:"url"`
	raw           string
}

func serve(tb testing.TB, s *Server, method, target, body string) *httptest.ResponseRecorder {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), method, target, strings.NewReader(body))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// callAPI also checks what holds for every JSON answer: status 200, errors included.
func callAPI(tb testing.TB, s *Server, method, target, body string) answer {
	tb.Helper()
	w := serve(tb, s, method, target, body)
	if w.Code != http.StatusOK {
		tb.Fatalf("%s %s answered status %d, want 200", method, target, w.Code)
	}
	a := answer{raw: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		tb.Fatalf("%s %s answered %q: %v", method, target, w.Body, err)
	}
	return a
}

func getToken(tb testing.TB, s *Server) answer {
	tb.Helper()
	return callAPI(tb, s, "GET", EndpointToken+"?grant_type=client_credential&appid="+testApp+"&secret="+testSecret, "")
}

func stableToken(tb testing.TB, s *Server, force bool) answer {
	tb.Helper()
	body := encodeJSON(credentials{"client_credential", testApp, testSecret, force})
	return callAPI(tb, s, "POST", EndpointStableToken, string(body))
}

func createCode(tb testing.TB, s *Server, token, body string) answer {
	tb.Helper()
	return callAPI(tb, s, "POST", EndpointQRCode+"?access_token="+token, body)
}

// newCode creates a temporary code with a string scene.
func newCode(tb testing.TB, s *Server, scene string) answer {
	tb.Helper()
	a := createCode(tb, s, stableToken(tb, s, false).AccessToken,
		`{"expire_seconds":300,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"`+scene+`"}}}`)
	if a.ErrCode != 0 {
		tb.Fatal(a.raw)
	}
	return a
}
