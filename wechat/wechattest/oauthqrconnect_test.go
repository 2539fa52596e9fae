// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func getJSON[T any](tb testing.TB, s *Server, target string) (answer T, errcode int) {
	tb.Helper()
	a := callAPI(tb, s, "GET", target, "")
	if a.ErrCode == 0 {
		if err := json.Unmarshal([]byte(a.raw), &answer); err != nil {
			tb.Fatal(err)
		}
	}
	return answer, a.ErrCode
}

func qrconnectLink(appID, extra string) string {
	return EndpointQRConnect + "?appid=" + appID + "&redirect_uri=" + url.QueryEscape(siteBack) +
		"&response_type=code&scope=snsapi_login&state=" + siteState + extra
}

var qrImage = regexp.MustCompile(`<img class="js_qrcode_img[^"]*" src="(/connect/qrcode/[^"]+)"`)

// openQRConnect opens the page and returns the address of its picture.
func (w *world) openQRConnect(extra string) string {
	w.t.Helper()
	page := serve(w.t, w.Server, "GET", qrconnectLink(siteApp, extra), "").Body.String()
	match := qrImage.FindStringSubmatch(page)
	if match == nil {
		w.t.Fatalf("the page has no QR code: %s", page)
	}
	return html.UnescapeString(match[1])
}

func (w *world) scan(person, qr string) *WebLogin {
	w.t.Helper()
	login, err := w.Phone(person).ScanLogin(qr)
	if err != nil {
		w.t.Fatal(err)
	}
	return login
}

func (w *world) poll(qr, last string) string {
	w.t.Helper()
	uuid := strings.TrimPrefix(qr, "/connect/qrcode/")
	rec := serve(w.t, w.Server, "GET", EndpointQRConnectPoll+"?uuid="+uuid+last+"&_=1", "")
	if got := rec.Header().Get("Content-Type"); got != "text/javascript" {
		w.t.Errorf("content type %q", got)
	}
	return rec.Body.String()
}

func TestQRConnect_Links(t *testing.T) {
	w := newWorld(t, Options{})
	good := qrconnectLink(siteApp, "")
	back := url.QueryEscape(siteBack)
	script := EndpointQRConnect + "?appid=" + siteApp + "&scope=snsapi_login&redirect_uri=" + back + "&state=1&login_type=jssdk&self_redirect=default&styletype=&sizetype=&bgcolor=&rst=&style=white&href=https://a.example/a.css"
	replace := func(old, by string) string { return strings.Replace(good, old, by, 1) }
	tests := []struct{ name, target, want string }{
		{"good", good, ""},
		{"embedded", good + "&login_type=jssdk&self_redirect=true&style=white&stylelite=1&fast_login=0", ""},
		{"English", good + "&lang=en", ""},
		{"state missing a value", replace(siteState, ""), ""},
		{"as wxLogin.js builds it", script, ""},
		{"script order without login_type", strings.Replace(script, "&login_type=jssdk", "", 1), "order"},
		{"scope first", EndpointQRConnect + "?scope=snsapi_login&appid=" + siteApp + "&redirect_uri=" + back + "&response_type=code&state=1", "order"},
		{"unknown parameter", good + "&foo=1", "order"},
		{"token", replace("=code", "=token"), "order"},
		{"repeated", good + "&appid=" + siteApp, "repeated"},
		{"plain redirect_uri", replace(back, siteBack), "not URL-encoded"},
		{"wrong scope", replace("snsapi_login", "snsapi_userinfo"), "Scope"},
		{"unknown app", replace(siteApp, "wx0"), "AppID"},
		{"service account", replace(siteApp, testApp), "AppID"},
		{"other host", replace("gateway.example", "evil.example"), "该链接无法访问"},
		{"subdomain", replace("gateway.example", "a.gateway.example"), "该链接无法访问"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := serve(t, w.Server, "GET", tt.target, "")
			page := html.UnescapeString(rec.Body.String())
			if rec.Code != http.StatusOK || qrImage.MatchString(page) != (tt.want == "") || !strings.Contains(page, tt.want) {
				t.Errorf("status %d: %s", rec.Code, page)
			}
		})
	}
}

func TestQRConnect_MayBeFramed(t *testing.T) {
	w := newWorld(t, Options{})
	h := serve(t, w.Server, "GET", qrconnectLink(siteApp, ""), "").Header()
	if h.Get("X-Frame-Options") != "" || strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors") {
		t.Errorf("headers %v", h)
	}
}

func TestQRConnect_Confirm(t *testing.T) {
	w := newWorld(t, Options{})
	qr := w.openQRConnect("")
	login := w.scan("alice", qr)
	if login.AppID != siteApp || login.AppName != "我的网站" {
		t.Errorf("the phone shows %+v", login)
	}
	if got := w.poll(qr, ""); got != "window.wx_errcode=404;window.wx_code='';" {
		t.Errorf("scanned: %s", got)
	}
	back, err := login.Confirm()
	if err != nil {
		t.Fatal(err)
	}
	got := w.poll(qr, "&last=404")
	code := regexp.MustCompile(`^window\.wx_errcode=405;window\.wx_code='([A-Za-z0-9_-]{32})';$`).FindStringSubmatch(got)
	if code == nil || back != siteBack+"?code="+code[1]+"&state="+siteState {
		t.Fatalf("confirmed: %s, callback %s", got, back)
	}
	a, errcode := w.exchange(siteApp, code[1])
	if errcode != 0 || a.OpenID != w.Phone("alice").OpenID(siteApp) || a.UnionID != w.Phone("alice").UnionID(testApp) || a.Scope != "snsapi_login" {
		t.Errorf("errcode %d, %+v", errcode, a)
	}
}

func TestQRConnect_Refuse(t *testing.T) {
	for refusal, want := range map[Refusal]string{
		RefusalStays: "", RefusalStateOnly: siteBack + "?state=" + siteState, RefusalAuthDeny: siteBack + "?code=authdeny&state=" + siteState,
	} {
		w := newWorld(t, Options{Refusal: refusal})
		qr := w.openQRConnect("")
		back, err := w.scan("alice", qr).Refuse()
		if err != nil || back != want || !strings.Contains(w.poll(qr, "&last=404"), "wx_errcode=403;window.wx_code=''") {
			t.Errorf("refusal %d: %q, %v", refusal, back, err)
		}
	}
}

func TestQRConnect_WhoMayDecide(t *testing.T) {
	w := newWorld(t, Options{})
	qr := w.openQRConnect("")
	alice := w.scan("alice", qr)
	w.scan("alice", qr) // again
	if _, err := w.Phone("bob").ScanLogin(qr); !errors.Is(err, ErrTaken) {
		t.Errorf("second person: %v", err)
	}
	if _, err := alice.Confirm(); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Confirm(); !errors.Is(err, ErrTaken) {
		t.Errorf("confirmed twice: %v", err)
	}
	if _, err := alice.Refuse(); !errors.Is(err, ErrTaken) {
		t.Errorf("refused after all: %v", err)
	}
	for _, text := range []string{"", "https://open.weixin.qq.com/connect/confirm?uuid=x", "/connect/qrcode/x", "http://weixin.qq.com/q/x", "http://[bad"} {
		if _, err := w.Phone("bob").ScanLogin(text); !errors.Is(err, ErrUnknownCode) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestQRConnect_Expires(t *testing.T) {
	w := newWorld(t, Options{})
	waiting, scanned := w.openQRConnect(""), w.openQRConnect("")
	login := w.scan("alice", scanned)
	if codes := w.WebLogins(); len(codes) != 1 || codes[0].AppID != siteApp || codes[0].State != siteState || !strings.HasPrefix(codes[0].URL, openBase+confirmPath) {
		t.Errorf("in view: %+v", codes)
	}
	w.clock.Advance(loginLifetime)
	if _, err := w.Phone("alice").ScanLogin(waiting); !errors.Is(err, ErrExpiredCode) {
		t.Errorf("scan: %v", err)
	}
	if _, err := login.Confirm(); !errors.Is(err, ErrExpiredCode) {
		t.Errorf("confirm: %v", err)
	}
	if got := w.poll(waiting, ""); !strings.Contains(got, "=402;") {
		t.Errorf("poll: %s", got)
	}
	if got := w.poll("nonsense", ""); !strings.Contains(got, "=402;") {
		t.Errorf("poll of an unknown code: %s", got)
	}
	if len(w.WebLogins()) != 0 {
		t.Error("expired codes are in view")
	}
}

func TestQRConnect_LongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		qr := w.openQRConnect("")
		start := time.Now()
		if got := w.poll(qr, ""); !strings.Contains(got, "=408;") || time.Since(start) != pollTime {
			t.Errorf("%s after %v", got, time.Since(start))
		}
		answer := make(chan string)
		go func() { answer <- w.poll(qr, "") }()
		synctest.Wait()
		login := w.scan("alice", qr)
		if got := <-answer; !strings.Contains(got, "=404;") {
			t.Errorf("scanned: %s", got)
		}
		go func() { answer <- w.poll(qr, "&last=404") }()
		synctest.Wait()
		if _, err := login.Confirm(); err != nil {
			t.Fatal(err)
		}
		if got := <-answer; !strings.Contains(got, "=405;") {
			t.Errorf("confirmed: %s", got)
		}
		other := w.openQRConnect("")
		go func() { answer <- w.poll(other, "") }()
		synctest.Wait()
		w.Close()
		if got := <-answer; !strings.Contains(got, "=408;") {
			t.Errorf("closed: %s", got)
		}
	})
}

func TestQRConnect_Picture(t *testing.T) {
	w := newWorld(t, Options{})
	rec := serve(t, w.Server, "GET", w.openQRConnect(""), "")
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "image/jpeg" || !strings.HasPrefix(rec.Body.String(), "\xff\xd8") {
		t.Errorf("status %d, %v", rec.Code, rec.Header())
	}
	if rec := serve(t, w.Server, "GET", "/connect/qrcode/none", ""); rec.Code != 404 {
		t.Errorf("status %d", rec.Code)
	}
}

// The phone's page scans, shows who asks, and decides.
func TestPhonePage_WebLogin(t *testing.T) {
	w := newWorld(t, Options{QRBase: "http://192.168.1.5:8080"})
	b := &browse{t: t, s: w.Server}
	for _, decision := range []string{"allow", "refuse"} {
		qr := w.openQRConnect("")
		content := w.WebLogins()[0].URL
		expect(t, b.page("/phone/scan"), content, siteApp)
		rec := b.do("POST", "/phone/scan", url.Values{"qr": {content}})
		page := rec.Header().Get("Location")
		if rec.Code != http.StatusSeeOther || !strings.HasPrefix(page, "/phone/login/") {
			t.Fatalf("scan: %d %v", rec.Code, rec.Header())
		}
		expect(t, b.page(page), "我的网站", "允许")
		if rec := b.do("POST", page, url.Values{"decision": {decision}}, "Origin", "https://evil.example"); rec.Code != 403 {
			t.Errorf("foreign page: status %d", rec.Code)
		}
		if rec := b.do("POST", page, url.Values{"decision": {decision}}); rec.Code != http.StatusSeeOther {
			t.Errorf("%s: status %d", decision, rec.Code)
		}
		want := map[string]string{"allow": "=405;", "refuse": "=403;"}[decision]
		if got := w.poll(qr, "&last=404"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", decision, got)
		}
		if rec := b.do("POST", page, url.Values{"decision": {decision}}); rec.Code != http.StatusBadRequest {
			t.Errorf("twice: status %d", rec.Code)
		}
	}
	qr := w.openQRConnect("")
	if rec := b.do("GET", confirmPath+"?uuid="+strings.TrimPrefix(qr, "/connect/qrcode/"), nil); rec.Code != http.StatusSeeOther {
		t.Errorf("camera: status %d", rec.Code)
	}
	if rec := b.do("GET", confirmPath+"?uuid=none", nil); rec.Code != http.StatusBadRequest {
		t.Errorf("camera at nothing: status %d", rec.Code)
	}
}
