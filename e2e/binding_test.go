// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

func TestQ2OtherBrowsersSeeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm off"})
	a := w.browser().begin()
	scene, ticket, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	w.scan(w.wechat.Phone("alice"), a)
	other, none := w.browser(), w.browser()
	other.begin() // has a binding cookie of its own
	for name, thief := range map[string]*browser{"another browser": other, "no cookie": none} {
		for _, call := range []struct{ method, path string }{
			{http.MethodGet, ""},
			{http.MethodGet, "?wait=5"},
			{http.MethodGet, "/events"},
			{http.MethodDelete, ""},
			{http.MethodPost, "/session"},
		} {
			unknown := thief.do(call.method, "/_wechat/attempts/"+rand.Text()+call.path, nil)
			for _, id := range []string{a.ID, scene, url.PathEscape(ticket)} {
				got := thief.do(call.method, "/_wechat/attempts/"+id+call.path, nil)
				if got.Status != http.StatusNotFound || got.Status != unknown.Status || got.Body != unknown.Body {
					t.Errorf("%s, %s %s: %d %s; an unknown attempt: %d %s", name, call.method, call.path, got.Status, got.Body, unknown.Status, unknown.Body)
				}
				if len(got.Header["Set-Cookie"]) > 0 {
					t.Errorf("%s, %s %s sets a cookie", name, call.method, call.path)
				}
			}
		}
	}
	if got := a.state(); got != "confirmed" {
		t.Errorf("the attempt is %s now", got)
	}
	a.consume()
}

func TestQ3DoubleConsume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm off"})
	a := w.browser().begin()
	w.scan(w.wechat.Phone("alice"), a)
	bound := header("Cookie", a.browser.cookieValue())
	var mu sync.Mutex
	statuses, cookies := make(map[int]int), make(map[string]bool)
	var all sync.WaitGroup
	for range 200 {
		b := w.browser() // a connection of its own, the same cookie
		all.Go(func() {
			got := b.do(http.MethodPost, "/_wechat/attempts/"+a.ID+"/session", nil, bound)
			mu.Lock()
			defer mu.Unlock()
			statuses[got.Status]++
			for _, c := range got.Header["Set-Cookie"] {
				cookies[c] = true
			}
		})
	}
	all.Wait()
	if statuses[http.StatusOK] != 1 || statuses[http.StatusGone] != 199 || len(cookies) != 1 {
		t.Errorf("answers %v with %d different cookies, want one 200 and 199 times 410", statuses, len(cookies))
	}
	if got := a.session(); got.Status != http.StatusGone || got.json(t)["error"] != "consumed" {
		t.Errorf("afterwards: %d %s", got.Status, got.Body)
	}
}

func TestQ4Guessing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	a := w.browser().begin()
	link := w.scan(w.wechat.Phone("alice"), a)
	token := link[strings.LastIndex(link, "/")+1:]
	scene, _, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{a.ID, scene, token, strings.TrimPrefix(a.browser.cookieValue(), "wechat_browser=")} {
		if len(secret) < 26 { // of 32 letters and digits: 130 bits
			t.Errorf("%q has fewer than 128 bits", secret)
		}
	}
	stranger, limited := w.browser(), 0
	for i := range 100 {
		guess := fmt.Sprintf("%s%02d", token[:24], i)
		if guess == token { // one token in thirty ends with two digits
			continue
		}
		switch got := stranger.get("/_wechat/confirm/" + guess); got.Status {
		case http.StatusNotFound:
		case http.StatusTooManyRequests:
			limited++
		default:
			t.Fatalf("a guess is answered %d %s", got.Status, got.Body)
		}
	}
	if limited < 60 {
		t.Errorf("%d of 100 guesses are refused", limited)
	}
}

func TestQ5ClientChoosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	b := w.browser()
	forged := map[string]any{
		"method": "official_qr", "return_to": "/", "id": "EVIL", "scene": "EVIL", "state": "confirmed", "number": "42", "choices": []string{"42"},
		"token": "EVIL", "openid": "oEVIL", "browser": "EVIL", "session_id": "EVIL", "app_id": "wxEVIL", "confirm": "off", "expires_at": "2099-01-01T00:00:00Z",
	}
	got := b.do(http.MethodPost, "/_wechat/attempts?scene=EVIL&id=EVIL&state=confirmed", forged, header("Cookie", "wechat_browser=EVIL"))
	if got.Status != http.StatusCreated || strings.Contains(got.Body, "EVIL") || strings.Contains(got.Body, "2099") || got.json(t)["state"] != "pending" {
		t.Fatalf("POST attempts: %d %s", got.Status, got.Body)
	}
	if cookies := got.Header["Set-Cookie"]; len(cookies) != 1 || strings.Contains(cookies[0], "EVIL") {
		t.Errorf("the planted browser cookie is adopted: %v", cookies)
	}
	for _, code := range b.get("/").Header["Set-Cookie"] {
		t.Errorf("looking at the page sets a cookie: %s", code)
	}
}

func TestQ6IdentityFromParameters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm off"})
	mallory, victim := w.wechat.Phone("mallory"), w.wechat.Phone("victim").OpenID(appID)
	a := w.browser().begin()
	scene, ticket, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	// WeChat's query has an openid too; it is not signed and does not count.
	raw := w.wechat.SignedPush(appID, event(mallory.OpenID(appID), "SCAN", scene, ticket), wechattest.WithOpenID(victim))
	if status, _, err := w.wechat.Send(t.Context(), w.pushURL(appID), raw); err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	got := a.browser.do(http.MethodPost, "/_wechat/attempts/"+a.ID+"/session?openid="+victim+"&user_id="+victim,
		map[string]string{"openid": victim, "user_id": victim}, header("X-User-Openid", victim), header("X-User-Id", victim))
	if got.Status != http.StatusOK {
		t.Fatalf("POST session: %d %s", got.Status, got.Body)
	}
	a.browser.get("/?openid=" + victim)
	if got := w.upstream.last(t).Header["X-User-Openid"]; len(got) != 1 || got[0] != mallory.OpenID(appID) {
		t.Errorf("signed in as %q", got)
	}
}

func TestQ7AnswersNameNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	path := "/_wechat/attempts/" + a.ID
	get := func() string { return a.browser.do(http.MethodGet, path, nil).Body }
	said := []string{get()}
	link := w.scan(phone, a)
	said = append(said, get())
	w.choose(phone, link, a.Number)
	said = append(said, get(), a.session().Body, get())
	said = append(said, a.browser.do(http.MethodGet, path+"/events", nil).Body, a.browser.do(http.MethodGet, "/_wechat/me", nil).Body)
	scene, _, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range said {
		for what, secret := range map[string]string{
			"openid": phone.OpenID(appID), "token": link[strings.LastIndex(link, "/")+1:], "scene": scene, "field": "openid", "nickname": "alice",
		} {
			if strings.Contains(body, secret) {
				t.Errorf("answer %d holds the %s: %s", i, what, body)
			}
		}
	}
}

func TestQ11LoginCSRF(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm off"})
	a := w.browser().begin()
	w.scan(w.wechat.Phone("mallory"), a)
	victim := w.browser()
	victim.begin()
	if got := victim.do(http.MethodPost, "/_wechat/attempts/"+a.ID+"/session", nil); got.Status != http.StatusNotFound || victim.signedIn() {
		t.Errorf("the victim's browser: %d %s", got.Status, got.Body)
	}
	for _, origin := range []string{"https://evil.example", "null", "https://" + w.addr, ""} {
		b := w.browser()
		b.client.Jar = a.browser.client.Jar
		got := b.do(http.MethodPost, "/_wechat/attempts/"+a.ID+"/session", nil, func(r *http.Request) {
			r.Header.Set("Origin", origin)
			if origin == "" {
				r.Header.Del("Origin")
			}
		})
		if got.Status != http.StatusForbidden {
			t.Errorf("origin %q: %d %s", origin, got.Status, got.Body)
		}
	}
}

func TestQ12NothingToLeak(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm off"})
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	link := w.scan(phone, a)
	if got := a.session(); got.json(t)["redirect"] != "/after?x=1" {
		t.Errorf("the browser is sent to %s", got.Body)
	}
	for name, got := range map[string]answer{
		"login": w.browser().get("/_wechat/login?return_to=/x"), "in place": w.browser().get("/secret?code=1"), "confirm": w.openLink(phone, link),
	} {
		if policy := got.Header.Get("Referrer-Policy"); policy != "no-referrer" && policy != "strict-origin" {
			t.Errorf("%s: Referrer-Policy %q", name, policy)
		}
		if got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, got.Header.Get("Cache-Control"))
		}
	}
}

func TestQ13Frames(t *testing.T) {
	t.Parallel()
	const xss = `"'><script>alert(1)</script>{{.}}`
	w := newWorld(t, options{gate: "wechat_auth {\n title `" + xss + "`\n}"})
	phone := w.wechat.Phone("alice")
	b := w.browser()
	a := b.begin()
	link := w.scan(phone, a)
	var count atomic.Int32
	check := func(name string, got answer) {
		t.Helper()
		count.Add(1)
		csp := got.Header.Get("Content-Security-Policy")
		for _, part := range []string{"frame-ancestors 'none'", "default-src 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: %d with the policy %q", name, got.Status, csp)
			}
		}
		if strings.Contains(csp, "unsafe-") || strings.Contains(csp, "http:") || strings.Contains(csp, "https:") || strings.Contains(csp, "*") {
			t.Errorf("%s: the policy %q is not strict", name, csp)
		}
		if got.Header.Get("X-Frame-Options") != "DENY" || got.Header.Get("X-Content-Type-Options") != "nosniff" || got.Header.Get("Referrer-Policy") == "" {
			t.Errorf("%s: %d with the headers %v", name, got.Status, got.Header)
		}
		if strings.Contains(got.Body, "<script>alert") || strings.Contains(got.Body, "<no value>") {
			t.Errorf("%s reflects a script: %s", name, got.Body)
		}
	}
	query := "?return_to=" + url.QueryEscape("/"+xss) + "&x=" + url.QueryEscape(xss)
	for _, path := range []string{
		"/_wechat/login" + query, "/_wechat/logout" + query, "/_wechat/me" + query, "/_wechat/healthz", "/_wechat/nothing/" + url.PathEscape(xss),
		"/_wechat/attempts/" + b.begin().ID, "/_wechat/attempts/" + url.PathEscape(xss), "/_wechat/confirm/" + url.PathEscape(xss), "/_wechat/push/" + appID,
		"/_wechat/assets/nothing.js", "/site/" + url.PathEscape(xss) + query,
	} {
		check("page "+path, b.get(path, header("User-Agent", xss), header("Accept-Language", xss)))
		check("script "+path, b.do(http.MethodGet, path, nil))
		check("post "+path, b.do(http.MethodPost, path, nil))
		check("foreign "+path, b.do(http.MethodPost, path, nil, header("Origin", "https://evil.example")))
		check("delete "+path, b.do(http.MethodDelete, path, nil))
	}
	for _, asset := range strings.Split(b.get("/").Body, `/_wechat/assets/`)[1:] {
		name, _, _ := strings.Cut(asset, `"`)
		check("asset "+name, b.get("/_wechat/assets/"+name))
	}
	s := a.stream()
	check("events", answer{http.StatusOK, s.Header, ""})
	check("confirm", w.openLink(phone, link))
	check("confirmed", w.choose(phone, link, a.Number))
	s.expect("scanned", "confirmed")
	check("session", a.session())
	check("signed-in login", b.get("/_wechat/login"))
	check("signed-in logout", b.get("/_wechat/logout"))
	check("logged out", b.do(http.MethodPost, "/_wechat/logout", url.Values{}))
	if count.Load() < 60 {
		t.Errorf("%d answers looked at", count.Load())
	}
}
