// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	netmail "net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/emersion/go-smtp"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// mailbox is an SMTP server that takes mail for everybody.
type mailbox struct {
	t     testing.TB
	port  int
	mails chan letter
}

// letter is one e-mail, as the server got it.
type letter struct {
	to   string
	body string
}

func newMailbox(t testing.TB) *mailbox {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{t: t, port: ln.Addr().(*net.TCPAddr).Port, mails: make(chan letter, 64)}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{box: m}, nil }))
	server.Domain = "localhost"
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return m
}

// mailSession is a connection of a client.
type mailSession struct {
	box *mailbox
	to  string
}

// Mail implements smtp.Session.
func (*mailSession) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt implements smtp.Session.
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error { s.to = to; return nil }

// Data implements smtp.Session.
func (s *mailSession) Data(r io.Reader) error {
	msg, err := netmail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(msg.Body)
	s.box.mails <- letter{s.to, string(body)}
	return err
}

// Reset implements smtp.Session.
func (*mailSession) Reset() {}

// Logout implements smtp.Session.
func (*mailSession) Logout() error { return nil }

var sixDigits = regexp.MustCompile(`\b[0-9]{6}\b`)

// code waits for the next mail, which must be to that address, and reads its code.
func (m *mailbox) code(to string) string {
	m.t.Helper()
	select {
	case l := <-m.mails:
		code := sixDigits.FindString(l.body)
		if l.to != to || code == "" {
			m.t.Fatalf("a mail to %s, want one to %s: %s", l.to, to, l.body)
		}
		return code
	case <-time.After(patience):
		m.t.Fatalf("no mail to %s", to)
		return ""
	}
}

// users is the configuration by which e-mail addresses are asked for.
func (m *mailbox) users(more string) string {
	return fmt.Sprintf("%s\nbind email {\nsender smtp {\nhost 127.0.0.1\nport %d\ntls off\nfrom gate@example.com\n}\n}", more, m.port)
}

// prove binds an address as a person does: by the forms in place of a page.
func (b *browser) prove(box *mailbox, address, returnTo string) answer {
	b.t.Helper()
	form := url.Values{"channel": {"email"}, "address": {address}, "return_to": {returnTo}}
	if got := b.do(http.MethodPost, "/_wechat/bind/code", form); got.Status != http.StatusOK {
		b.t.Fatalf("POST bind/code: %d %s", got.Status, got.Body)
	}
	form.Set("code", box.code(address))
	return b.do(http.MethodPost, "/_wechat/bind", form)
}

// TestBindEmail: a person proves an address by a code that comes by real SMTP. Until
// then the site hears nothing of him; then it hears the address. With another WeChat
// account and the same address he is the same user.
func TestBindEmail(t *testing.T) {
	t.Parallel()
	box := newMailbox(t)
	w := newWorld(t, options{users: box.users("registration open"), wechat: "limit codes off"})
	alice := w.signIn("alice")
	got := alice.get("/after?x=1")
	if got.Status != http.StatusForbidden || !strings.Contains(got.Body, `value="/after?x=1"`) || !strings.Contains(got.Body, `action="/_wechat/bind/code"`) {
		t.Fatalf("GET /after: %d %s", got.Status, got.Body)
	}
	got = alice.do(http.MethodGet, "/api", nil)
	if v := got.json(t); got.Status != http.StatusForbidden || v["reason"] != "email_missing" || v["bind_url"] != w.origin()+"/_wechat/bind" {
		t.Errorf("GET /api: %d %s", got.Status, got.Body)
	}
	if all := w.upstream.requests(); len(all) > 0 {
		t.Fatalf("the site is reached: %+v", all)
	}
	if got := alice.prove(box, "alice@example.com", "/after?x=1"); got.Status != http.StatusSeeOther || got.Header.Get("Location") != "/after?x=1" {
		t.Fatalf("POST bind: %d %s", got.Status, got.Body)
	}
	first := w.identityOf(alice)
	if first.Get("X-User-Email") != "alice@example.com" {
		t.Errorf("the site is told %v", first)
	}
	second := w.signIn("alice's other phone")
	old := second.cookie()
	if got := second.prove(box, "alice@example.com", "/"); got.Status != http.StatusSeeOther || second.cookie() == old {
		t.Fatalf("POST bind by the other account: %d %s", got.Status, got.Body)
	}
	if id := w.identityOf(second); id.Get("X-User-Id") != first.Get("X-User-Id") || id.Get("X-User-Openid") == first.Get("X-User-Openid") {
		t.Errorf("the other account is %v, the first %v", id, first)
	}
	if got := w.browser().get("/", func(r *http.Request) { r.Header.Set("Cookie", strings.TrimPrefix(old, "Cookie: ")) }); got.Status != http.StatusUnauthorized {
		t.Errorf("the session of the user who is no more: %d", got.Status)
	}
	bob := w.signIn("bob")
	if got := bob.do(http.MethodPost, "/_wechat/bind", map[string]string{"channel": "email", "address": "alice@example.com", "code": "000000"}); got.Status != http.StatusGone {
		t.Errorf("a guess: %d %s", got.Status, got.Body)
	}
	w.quietAbout("alice@example.com")
	w.noPanic()
}

// TestBindLimitOfAllSites: the codes that a client may have sent are counted at all sites
// together, since they cost one operator.
func TestBindLimitOfAllSites(t *testing.T) {
	t.Parallel()
	box := newMailbox(t)
	w := newWorld(t, options{account: "confirm off", users: box.users("registration open"), wechat: "limit codes 2/1h"})
	other := w.otherHost("localhost")
	w.addSite(other, "wechat_auth")
	ask := func(b *browser, name string) int {
		a := b.begin()
		w.scan(w.wechat.Phone(name), a)
		a.consume()
		return b.do(http.MethodPost, "/_wechat/bind/code", map[string]string{"channel": "email", "address": name + "@example.com"}).Status
	}
	var got []int
	for name, b := range map[string]*browser{"alice": w.browser(), "bob": w.browserOf(other)} {
		got = append(got, ask(b, name))
	}
	got = append(got, ask(w.browser(), "carol"), ask(w.browserOf(other), "dave"))
	if want := []int{200, 200, 429, 429}; !slices.Equal(got, want) {
		t.Errorf("asked at either site: %v, want %v", got, want)
	}
}

// identityOf is what the site is told of who is signed in.
func (w *world) identityOf(b *browser) http.Header {
	w.t.Helper()
	w.upstream.requests()
	if got := b.get("/identity"); got.Status != http.StatusOK {
		w.t.Fatalf("the site: %d %s", got.Status, got.Body)
	}
	return w.upstream.last(w.t).Header
}

// quietAbout fails the test where a log of ours but the audit log names an address.
func (w *world) quietAbout(address string) {
	w.t.Helper()
	ours := 0
	for line := range strings.Lines(w.output.String()) {
		var entry struct{ Logger string }
		if json.Unmarshal([]byte(line), &entry) != nil || !strings.Contains(entry.Logger, "wechat") || strings.HasSuffix(entry.Logger, ".audit") {
			continue
		}
		if ours++; strings.Contains(line, address) {
			w.t.Errorf("the log names %s: %s", address, line)
		}
	}
	if ours == 0 {
		w.t.Error("no log line is ours")
	}
}

// TestBindEmailDown: while the mail server is away people are told to come again, and
// the operator is told what is wrong.
func TestBindEmailDown(t *testing.T) {
	t.Parallel()
	box := newMailbox(t)
	users := strings.ReplaceAll(box.users("registration open"), fmt.Sprint(box.port), freePort(t))
	w := newWorld(t, options{users: users})
	alice := w.signIn("alice")
	told := w.output.expect("a code could not be sent")
	got := alice.do(http.MethodPost, "/_wechat/bind/code", map[string]string{"channel": "email", "address": "alice@example.com"})
	if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || got.json(t)["error"] != "sender_unavailable" {
		t.Errorf("POST bind/code: %d %s", got.Status, got.Body)
	}
	await(t, told, "a log line for the operator")
	w.quietAbout("alice@example.com")
}

func freePort(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestH8ChosenNames: a name that a person has chosen is any text, and nothing expands,
// splits or runs it: in the header, on the page and in the logs.
func TestH8ChosenNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{users: "registration open\nask_name", site: "header X-Greeting {http.auth.user.name}"})
	alice := w.signIn("alice")
	if got := alice.get("/after"); got.Status != http.StatusForbidden || !strings.Contains(got.Body, `action="/_wechat/name"`) {
		t.Fatalf("GET /after: %d %s", got.Status, got.Body)
	}
	for _, tt := range []struct{ typed, want string }{
		{"张三", "张三"},
		{"{env.WECHAT_SECRET}", "{env.WECHAT_SECRET}"},
		{"{file./etc/passwd}", "{file./etc/passwd}"},
		{`"><script>alert(1)</script>`, `"><script>alert(1)</script>`},
		{"a\r\nX-User-Roles: admin", "a  X-User-Roles: admin"},
		{"a\x00\u202eb", "ab"},
		{"🎉 %0d%0a", "🎉 %0d%0a"},
	} {
		got := alice.do(http.MethodPost, "/_wechat/name", url.Values{"name": {tt.typed}, "return_to": {"/after"}})
		if got.Status != http.StatusSeeOther || got.Header.Get("Location") != "/after" {
			t.Fatalf("POST name %q: %d %s", tt.typed, got.Status, got.Body)
		}
		header := w.identityOf(alice)
		if name, err := url.PathUnescape(header.Get("X-User-Name")); err != nil || name != tt.want || header.Get("X-User-Roles") != "" {
			t.Errorf("the site is told %q for %q (%v)", name, tt.typed, err)
		}
		page := alice.get("/_wechat/name").Body
		if !strings.Contains(html.UnescapeString(page), `value="`+tt.want+`"`) || strings.Contains(page, "<script>alert") {
			t.Errorf("%q is shown as %s", tt.want, page)
		}
	}
	w.noSecrets(w.output.String())
	w.noPanic()
}

// TestRenameEverywhere: a name chosen at one node is in the header at all of them
// within a second, though they had the old one in memory.
func TestRenameEverywhere(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{})
	f.each(func(i int, _ *world) { f.healthy(i) })
	alice := f.signIn(0, "alice")
	name := func(i int) string {
		f.upstream.requests()
		if got := f.via(alice, i).get("/identity"); got.Status != http.StatusOK {
			t.Fatalf("node %d: %d", i, got.Status)
		}
		return f.upstream.last(t).Header.Get("X-User-Name")
	}
	for _, chosen := range []string{"Alice", "Bob"} {
		for i := range fleetSize {
			name(i)
		}
		if got := f.via(alice, 1).do(http.MethodPost, "/_wechat/name", url.Values{"name": {chosen}}); got.Status != http.StatusSeeOther {
			t.Fatalf("POST name: %d %s", got.Status, got.Body)
		}
		if got := name(1); got != chosen {
			t.Errorf("at the node itself: %q", got)
		}
		for i := range fleetSize {
			if took := poll(t, "the new name", func() bool { return name(i) == chosen }); took > time.Second {
				t.Errorf("node %d calls Alice %s after %v only", i, chosen, took)
			}
		}
	}
}

// TestBrowserBinds signs in as a person does who has to prove an address first, and
// choose a name: both pages come in place of the one asked for.
func TestBrowserBinds(t *testing.T) {
	box := newMailbox(t)
	w := newWorld(t, options{account: "confirm off", users: box.users("registration open\nask_name")})
	tab := w.open("/after?x=1")
	if _, err := w.wechat.Phone("alice").Scan(t.Context(), readQR(t, tab)); err != nil {
		t.Fatal(err)
	}
	tab.Until(`document.activeElement?.id === 'address'`)
	tab.Run(chromedp.KeyEvent("alice@example.com" + kb.Enter))
	code := box.code("alice@example.com")
	tab.Until(`document.activeElement?.id === 'code'`)
	tab.Run(chromedp.KeyEvent(wrong(code) + kb.Enter))
	tab.Until(`document.querySelector('[role=alert]') !== null && document.activeElement?.id === 'code'`)
	tab.Run(chromedp.KeyEvent(code + kb.Enter))
	tab.Until(`document.activeElement?.id === 'name'`)
	tab.Run(chromedp.KeyEvent("Alice 🎉" + kb.Enter))
	tab.Sees("hello")
	if at := chrometest.Eval[string](tab, `location.pathname + location.search`); at != "/after?x=1" {
		t.Errorf("the browser is at %q", at)
	}
	if got := w.upstream.last(t).Header; got.Get("X-User-Email") != "alice@example.com" || got.Get("X-User-Name") != "Alice%20%F0%9F%8E%89" {
		t.Errorf("the site is told %v", got)
	}
}

// wrong is a code that is not this one.
func wrong(code string) string {
	other := bytes.Repeat([]byte{'0'}, len(code))
	if code[0] == '0' {
		other[0] = '1'
	}
	return string(other)
}
