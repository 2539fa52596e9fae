// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// browse is a browser on the phone's page.
type browse struct {
	t      *testing.T
	s      *Server
	cookie string
}

func (b *browse) do(method, target string, form url.Values, header ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", b.cookie)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.s.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookie = c.Name + "=" + c.Value
	}
	return w
}

func (b *browse) page(target string) string {
	b.t.Helper()
	w := b.do("GET", target, nil)
	if w.Code != http.StatusOK {
		b.t.Fatalf("GET %s: status %d", target, w.Code)
	}
	return html.UnescapeString(w.Body.String())
}

func expect(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
}

func newPage(t *testing.T, reply string) (*browse, *Server) {
	t.Helper()
	s := newTestServer(t, Options{QRBase: "http://192.168.1.5:8080", HTTPClient: &http.Client{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return respond(200, textReply(r.URL.Query().Get("openid"), reply))
		}),
	}})
	addAccount(t, s, func(a *Account) { a.Name, a.PushURL = "微信网关", "https://gateway.example/push" })
	return &browse{t: t, s: s}, s
}

func TestPhonePage_Walk(t *testing.T) {
	b, s := newPage(t, `<a href="https://gateway.example/confirm/T">点此登录</a> <b>&`)
	expect(t, b.page("/phone/"), "小明", "微信网关", "未关注")
	b.page("/phone/?person=alice")
	if !strings.Contains(b.cookie, "=alice") {
		t.Fatalf("cookie %q", b.cookie)
	}
	code := newCode(t, s, "scene-of-this-code")
	expect(t, b.page("/phone/scan"), "scene-of-this-code", code.URL, "alice")

	w := b.do("POST", "/phone/scan", url.Values{"qr": {code.URL}})
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/phone/chat/"+testApp {
		t.Fatalf("scan: status %d, %v", w.Code, w.Header())
	}
	chat := b.do("GET", "/phone/chat/"+testApp, nil).Body.String()
	expect(t, chat, `<a href="https://gateway.example/confirm/T">点此登录</a> &lt;b&gt;&amp;`)

	b.do("POST", "/phone/chat/"+testApp, url.Values{"text": {"验证码 123"}})
	expect(t, b.page("/phone/chat/"+testApp), "验证码 123")
	if !s.Phone("alice").Follows(testApp) || s.Phone("小明").Follows(testApp) {
		t.Error("another person has scanned")
	}
	b.do("POST", "/phone/unfollow/"+testApp, nil)
	if s.Phone("alice").Follows(testApp) {
		t.Error("alice still follows")
	}
	b.do("POST", "/phone/follow/"+testApp, nil)
	if !s.Phone("alice").Follows(testApp) {
		t.Error("alice does not follow")
	}
	expect(t, b.page("/phone/me"), "alice", "小明", "bob")
}

// A phone's camera knows no WeChat: it opens the link in the code.
func TestPhonePage_CameraOpensCode(t *testing.T) {
	b, s := newPage(t, "hi")
	code := newCode(t, s, "x")
	w := b.do("GET", strings.TrimPrefix(code.URL, "http://192.168.1.5:8080"), nil)
	if w.Code != http.StatusSeeOther || !s.Phone("小明").Follows(testApp) {
		t.Errorf("status %d", w.Code)
	}
	if w := b.do("GET", "/q/02unknown", nil); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "不是微信的二维码") {
		t.Errorf("unknown code: %d %s", w.Code, w.Body)
	}
}

func TestPhonePage_Refusals(t *testing.T) {
	b, s := newPage(t, "hi")
	code := newCode(t, s, "x")
	tests := []struct {
		name, method, target string
		form                 url.Values
		header               []string
		want                 int
	}{
		{"foreign page", "POST", "/phone/scan", url.Values{"qr": {code.URL}}, []string{"Origin", "https://evil.example"}, 403},
		{"foreign frame", "POST", "/phone/follow/" + testApp, nil, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"unknown code", "POST", "/phone/scan", url.Values{"qr": {"https://example.com"}}, nil, 400},
		{"no code", "POST", "/phone/scan", nil, nil, 400},
		{"text before follow", "POST", "/phone/chat/" + testApp, url.Values{"text": {"hi"}}, nil, 400},
		{"text too long", "POST", "/phone/chat/" + testApp, url.Values{"text": {strings.Repeat("x", 2049)}}, nil, 400},
		{"unfollow before follow", "POST", "/phone/unfollow/" + testApp, nil, nil, 400},
		{"unknown account", "GET", "/phone/chat/wx0", nil, nil, 400},
		{"unknown page", "GET", "/phone/nothing", nil, nil, 404},
		{"unknown asset", "GET", "/phone/assets/secret", nil, nil, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if w := b.do(tt.method, tt.target, tt.form, tt.header...); w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
		})
	}
	if len(s.Log()) != 0 {
		t.Errorf("pushed %v", s.Log())
	}
}

func TestPhonePage_AssetsAndHeaders(t *testing.T) {
	b, _ := newPage(t, "hi")
	for name, want := range map[string]string{"phone.css": "text/css", "phone.js": "text/javascript"} {
		w := b.do("GET", "/phone/assets/"+name, nil)
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), want) {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	w := b.do("GET", "/phone/", nil)
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	if strings.Contains(w.Body.String(), "https://") || strings.Contains(w.Body.String(), "http://") {
		t.Error("the page refers to another host")
	}
	if w := b.do("GET", "/phone", nil); w.Header().Get("Location") != "/phone/" {
		t.Errorf("headers %v", w.Header())
	}
}

func TestPhonePage_VersionTellsOfChanges(t *testing.T) {
	b, s := newPage(t, "hi")
	before := b.page("/phone/version")
	if b.page("/phone/version") != before {
		t.Error("the version changed by itself")
	}
	expect(t, b.page("/phone/"), `data-version="`+before+`"`)
	newCode(t, s, "x")
	if b.page("/phone/version") == before {
		t.Error("a new code left the version as it was")
	}
}

// The server that is pushed to hangs: the page must not hang with it.
func TestPhonePage_DoesNotWaitForSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serverAnswering(t, Options{}, "hang")
		b := &browse{t: t, s: s}
		start := time.Now()
		if w := b.do("POST", "/phone/follow/"+testApp, nil); w.Code != http.StatusSeeOther || time.Since(start) != pageWait {
			t.Errorf("status %d after %v", w.Code, time.Since(start))
		}
		<-time.After(15 * time.Second) // virtual
		expect(t, b.page("/phone/chat/"+testApp), ServiceFailure)
		s.Close()
		if w := b.do("POST", "/phone/unfollow/"+testApp, nil); w.Code != http.StatusBadRequest {
			t.Errorf("after Close: status %d", w.Code)
		}
	})
}

func TestPhonePage_ShowsNewestCodesFirst(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	for i := range 25 {
		newCode(t, s, fmt.Sprintf("scene-%02d.", i))
		c.Advance(10 * time.Second)
	}
	page := (&browse{t: t, s: s}).page("/phone/scan")
	if first, second := strings.Index(page, "scene-24."), strings.Index(page, "scene-23."); first < 0 || second < first {
		t.Error("the newest code is not first")
	}
	if strings.Contains(page, "scene-04.") {
		t.Error("more than twenty codes are shown")
	}
	c.Advance(time.Hour)
	if strings.Contains((&browse{t: t, s: s}).page("/phone/scan"), "scene-24.") {
		t.Error("an expired code is shown")
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"": "", " a \n b ": "a b", "\xff": "", strings.Repeat("明", 40): strings.Repeat("明", 32),
	} {
		if got := cleanName(in); got != want {
			t.Errorf("cleanName(%q) = %q, want %q", in, got, want)
		}
	}
}
