// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// TestEventStream follows an attempt as the page does, over HTTP/1.1 and HTTP/2,
// with access logs on: those put a writer in between that cannot flush by itself.
func TestEventStream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, proto string
		options     options
	}{{"HTTP/1.1", "HTTP/1.1", options{}}, {"HTTP/2", "HTTP/2.0", overTLS}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.options)
			phone := w.wechat.Phone("alice")
			a := w.browser().begin()
			s := a.stream()
			if s.Proto != tt.proto || s.Header.Get("Content-Type") != "text/event-stream" || s.Header.Get("Cache-Control") != "no-store" ||
				s.Header.Get("X-Accel-Buffering") != "no" {
				t.Errorf("%s with the headers %v", s.Proto, s.Header)
			}
			s.expect("pending")
			link := w.scan(phone, a)
			s.expect("scanned")
			if got := w.choose(phone, link, a.Number); got.Status != http.StatusOK {
				t.Fatalf("confirming: %d %s", got.Status, got.Body)
			}
			s.expect("confirmed")
			a.consume()
			s.expect("consumed")
			s.expectEnd()
			again := a.stream()
			again.expect("consumed")
			again.expectEnd()
			if !a.browser.signedIn() {
				t.Error("the browser is not signed in")
			}
		})
	}
}

// TestLongPoll waits for each state by requests that are held, as the page does
// where a proxy does not let event streams through.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	var link string
	for _, tt := range []struct {
		known, next string
		act         func()
	}{
		{"pending", "scanned", func() { link = w.scan(phone, a) }},
		{"scanned", "confirmed", func() { w.choose(phone, link, a.Number) }},
		{"confirmed", "consumed", func() { a.consume() }},
	} {
		got := make(chan answer, 1)
		go func() { got <- a.browser.do(http.MethodGet, "/_wechat/attempts/"+a.ID+"?wait=25&state="+tt.known, nil) }()
		tt.act()
		select {
		case got := <-got:
			if state := got.json(t)["state"]; state != tt.next {
				t.Fatalf("after %s: %v", tt.known, state)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the poll is held although the attempt is %s", tt.next)
		}
	}
	if got := a.browser.do(http.MethodGet, "/_wechat/attempts/"+a.ID+"?wait=25", nil); got.json(t)["state"] != "consumed" {
		t.Errorf("a final state: %s", got.Body)
	}
}

// TestExpired waits for the end of a code. The stream says that it has expired,
// after that nothing brings the attempt back, and who scans late is told so.
func TestExpired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "qr_ttl 30s"})
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	scene, ticket, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := a.stream()
	s.expect("pending")
	for comments := 0; ; {
		e, open := <-s.events // the server's own timer ends this
		if !open {
			t.Fatalf("the stream ends: %v", s.err)
		}
		if e.comment {
			comments++
			continue
		}
		if e.State != "expired" || comments == 0 {
			t.Fatalf("after %d comments: %s", comments, e.State)
		}
		break
	}
	s.expectEnd()
	if got := a.session(); got.Status != http.StatusGone || got.json(t)["error"] != "expired" {
		t.Errorf("POST session: %d %s", got.Status, got.Body)
	}
	// The scan happened in time, the push comes late.
	status, body := w.push(event(phone.OpenID(appID), "SCAN", scene, ticket))
	if status != http.StatusOK || !strings.Contains(body, "过期") {
		t.Errorf("the late push is answered %d %q", status, body)
	}
	if got := a.state(); got != "expired" {
		t.Errorf("after the late push: %s", got)
	}
}

// TestQ1ConsentPhishing: the attacker shows his own code to a victim, who scans it
// in good faith. What the victim then sees names the attacker's browser, address
// and time; and only the number that stands on the attacker's screen, which the
// victim cannot see, would sign that browser in. One wrong number ends it.
func TestQ1ConsentPhishing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{gate: "wechat_auth {\n title \"我的网站\"\n}"})
	victim := w.wechat.Phone("victim")
	for _, choice := range []string{"wrong number", "cancel", "no answer"} {
		b := w.browser()
		a := b.begin()
		link := w.scan(victim, a)
		for where, text := range map[string]string{"chat": lastReply(t, victim), "page": w.openLink(victim, link).Body} {
			for _, part := range []string{"我的网站", "127.0.0.1", a.Expires.Add(-5 * time.Minute).In(time.FixedZone("", 8*3600)).Format("15:04")} {
				if !strings.Contains(text, part) {
					t.Errorf("the %s does not name %q:\n%s", where, part, text)
				}
			}
		}
		if page := w.openLink(victim, link); len(offered(page.Body)) != 3 || !slices.Contains(offered(page.Body), a.Number) || !strings.Contains(page.Body, `value="cancel"`) {
			t.Errorf("the page offers %v", offered(page.Body))
		}
		want, status := "denied", http.StatusOK
		answer := choice
		switch choice {
		case "wrong number":
			answer = w.wrongNumber(victim, link, a)
		case "cancel":
			want = "cancelled"
		default:
			want, status = "scanned", http.StatusBadRequest
		}
		if got := w.choose(victim, link, answer); got.Status != status {
			t.Errorf("%s: %d", choice, got.Status)
		}
		if want != "scanned" { // the right number comes too late
			if got := w.choose(victim, link, a.Number); got.Status != http.StatusConflict {
				t.Errorf("%s, then the right number: %d", choice, got.Status)
			}
		}
		if got := a.state(); got != want {
			t.Errorf("%s: %s, want %s", choice, got, want)
		}
		if got := a.session(); got.Status == http.StatusOK || b.signedIn() {
			t.Errorf("%s: the attacker is signed in: %d %s", choice, got.Status, got.Body)
		}
	}
}

// TestQ1ThatWasNotMe: whoever has confirmed in error, or scanned where the
// operator has turned confirming off, ends the session by the link in the chat.
func TestQ1ThatWasNotMe(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"tap", "off"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{account: "confirm " + mode})
			victim := w.wechat.Phone("victim")
			a := w.browser().begin()
			link := w.scan(victim, a)
			if mode == "tap" {
				if a.state() != "scanned" || a.Number != "" {
					t.Fatalf("after the scan: %+v", a)
				}
				if got := w.choose(victim, link, "yes"); got.Status != http.StatusOK {
					t.Fatalf("confirming: %d", got.Status)
				}
			}
			if got := a.state(); got != "confirmed" {
				t.Fatalf("after confirming: %s", got)
			}
			a.consume()
			if !a.browser.signedIn() {
				t.Fatal("not signed in")
			}
			if page := w.openLink(victim, link); !strings.Contains(page.Body, `value="revoke"`) {
				t.Errorf("the page offers no way out: %s", page.Body)
			}
			if got := w.choose(victim, link, "revoke"); got.Status != http.StatusOK {
				t.Fatalf("revoking: %d", got.Status)
			}
			if a.browser.signedIn() {
				t.Error("the browser is still signed in")
			}
		})
	}
}

// TestQ1SecondScannerChangesNothing: two people scan one code. The second is told
// so, gets no link, and neither takes the attempt over nor spoils it.
func TestQ1SecondScannerChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	first, second := w.wechat.Phone("first"), w.wechat.Phone("second")
	a := w.browser().begin()
	link := w.scan(first, a)
	if got := w.scan(second, a); got != "" || !strings.Contains(lastReply(t, second), "其他人") {
		t.Fatalf("the second scanner gets the link %q and %q", got, lastReply(t, second))
	}
	if again := w.scan(first, a); again != link {
		t.Errorf("who scans twice gets %q, then %q", link, again)
	}
	w.choose(first, link, a.Number)
	if got := w.scan(second, a); got != "" {
		t.Errorf("once it is confirmed the second scanner gets the link %q", got)
	}
	a.consume()
	a.browser.get("/")
	if got := w.upstream.last(t).Header.Get("X-User-Openid"); got != first.OpenID(appID) {
		t.Errorf("signed in as %q, want the first scanner", got)
	}
}

// TestQ2OtherBrowsersSeeNothing: someone looks over the visitor's shoulder and
// knows the QR code, its scene and its ticket, and the attempt's id. With these,
// from another browser, with another cookie or none, the attempt does not exist:
// the answer is the very one that an invented id gets.
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

// TestQ3DoubleConsume: two hundred requests of one browser consume one attempt at
// the same moment. One gets a session, all others are told that it is gone.
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

// TestQ3LinkTwice: the confirm link is opened and answered twice, also after the
// session began. The second answer changes nothing.
func TestQ3LinkTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	link := w.scan(phone, a)
	w.choose(phone, link, a.Number)
	for _, choice := range []string{a.Number, "00", "yes", ""} {
		if got := w.choose(phone, link, choice); got.Status != http.StatusConflict {
			t.Errorf("%q again: %d", choice, got.Status)
		}
	}
	a.consume()
	for _, choice := range []string{a.Number, "00", "cancel"} {
		if got := w.choose(phone, link, choice); got.Status != http.StatusConflict {
			t.Errorf("%q after the session: %d", choice, got.Status)
		}
	}
	if !a.browser.signedIn() {
		t.Error("the late answers end the session")
	}
}

// TestQ4Guessing: ids, scenes and tokens that a stranger makes up hit nothing,
// and who guesses links is slowed down.
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

// TestQ5ClientChoosesNothing: the browser sends an id, a scene, a state, a number
// and a person of its own. All that it gets is the server's.
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

// TestQ6IdentityFromParameters: the attacker signs in as himself and names the
// victim wherever a request has room for it. He stays himself.
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

// TestQ7AnswersNameNobody: nothing that the browser is told of its attempt says
// who scanned, and nothing that would let it confirm by itself.
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

// TestQ11LoginCSRF: the attacker has a confirmed attempt and makes the victim's
// browser consume it, which would sign the victim in as the attacker. The attempt
// is bound to the attacker's own browser; and a planted cookie without the form of
// ours is not adopted.
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

// TestQ12NothingToLeak: no address that a browser or phone is left on after a
// step holds anything of value, and none is told to other sites.
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
		if policy := got.Header.Get("Referrer-Policy"); policy != "no-referrer" && policy != "same-origin" {
			t.Errorf("%s: Referrer-Policy %q", name, policy)
		}
		if got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, got.Header.Get("Cache-Control"))
		}
	}
}

// TestQ13Frames: another site cannot show any answer of the gateway in a frame,
// and what is reflected into one is text and runs nothing.
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
