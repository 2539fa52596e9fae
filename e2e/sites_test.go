// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// addSite adds another site to the gateway's own wechat block.
func (w *world) addSite(address, gate string) {
	w.t.Helper()
	w.caddyfile += fmt.Sprintf("%s {\n%s\nreverse_proxy %s\n}\n", address, gate, w.upstream.addr())
	if err := w.reload(); err != nil {
		w.t.Fatal(err)
	}
}

// browserOf is a new browser that has a site open which another host names.
func (w *world) browserOf(origin string) *browser {
	w.t.Helper()
	b := w.browser()
	b.origin = origin
	b.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, w.addr)
	}
	return b
}

// otherHost is the address of the gateway under another name.
func (w *world) otherHost(host string) string {
	_, port, _ := strings.Cut(w.addr, ":")
	return "http://" + host + ":" + port
}

// TestG9SessionOfAnotherSite: whoever runs, or has broken into, one site takes the
// cookie of a visitor to the other site of the same gateway. It is no session there.
func TestG9SessionOfAnotherSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm off"})
	other := w.otherHost("localhost")
	w.addSite(other, "wechat_auth")
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	w.scan(phone, a)
	a.consume()
	stolen := header("Cookie", a.browser.cookieValue())
	for _, path := range []string{"/", "/_wechat/me"} {
		if got := w.browserOf(other).do(http.MethodGet, path, nil, stolen); got.Status != http.StatusUnauthorized {
			t.Errorf("the other site, %s: %d %s", path, got.Status, got.Body)
		}
	}
	// Nor can it be ended from there.
	if got := w.browserOf(other).do(http.MethodPost, "/_wechat/logout", nil, stolen); got.Status != http.StatusNoContent && got.Status != http.StatusSeeOther {
		t.Errorf("signing out at the other site: %d %s", got.Status, got.Body)
	}
	if !a.browser.signedIn() {
		t.Error("the session has ended at its own site")
	}
	// The same person signs in there with the same user, and the other way round.
	b := w.browserOf(other)
	there := b.begin()
	w.scan(phone, there) // the push comes to the first site
	there.consume()
	if !b.signedIn() || !a.browser.signedIn() {
		t.Error("signed in at both sites, and not let in")
	}
	if got := w.browser().do(http.MethodGet, "/", nil, header("Cookie", b.cookieValue())); got.Status != http.StatusUnauthorized {
		t.Errorf("the other site's cookie at the first: %d", got.Status)
	}
}

// TestG9AttemptOfAnotherSite: an attempt exists at the site where it was begun, also
// where a browser sends the binding cookie to both, as it does to two ports of a
// host. The answers elsewhere are those for an attempt that there never was.
func TestG9AttemptOfAnotherSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm tap"})
	samePort, sameHost := w.otherHost("localhost"), "http://"+freeAddr(t)
	w.addSite(samePort, "wechat_auth")
	w.addSite(sameHost, "wechat_auth")
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	bound := header("Cookie", a.browser.cookieValue())
	link := w.scan(phone, a)
	path := strings.TrimPrefix(link, w.origin())
	for _, origin := range []string{samePort, sameHost} {
		b := w.browser()
		b.origin = origin
		if origin == samePort {
			b = w.browserOf(origin)
		}
		for _, call := range []struct{ method, path string }{
			{http.MethodGet, ""}, {http.MethodGet, "?wait=5"}, {http.MethodGet, "/events"}, {http.MethodDelete, ""}, {http.MethodPost, "/session"},
		} {
			got := b.do(call.method, "/_wechat/attempts/"+a.ID+call.path, nil, bound)
			unknown := b.do(call.method, "/_wechat/attempts/"+rand.Text()+call.path, nil, bound)
			if got.Status != http.StatusNotFound || got.Body != unknown.Body {
				t.Errorf("%s: %s %s: %d %s", origin, call.method, call.path, got.Status, got.Body)
			}
		}
		if got := b.get(path); got.Status != http.StatusNotFound {
			t.Errorf("%s: the link of the chat: %d", origin, got.Status)
		}
		if got := b.do(http.MethodPost, path, url.Values{"choice": {"yes"}}); got.Status != http.StatusNotFound {
			t.Errorf("%s: confirming: %d", origin, got.Status)
		}
	}
	if got := a.state(); got != "scanned" {
		t.Fatalf("the attempt is %s now", got)
	}
	if got := w.choose(phone, link, "yes"); got.Status != http.StatusOK {
		t.Fatalf("confirming at its own site: %d", got.Status)
	}
	b := w.browser()
	b.origin = sameHost
	if got := b.do(http.MethodPost, "/_wechat/attempts/"+a.ID+"/session", nil, bound); got.Status != http.StatusNotFound || len(got.Header["Set-Cookie"]) > 0 {
		t.Errorf("the confirmed attempt at the other site: %d %s", got.Status, got.Body)
	}
	a.consume()
}

// TestG9CallbackOfAnotherSite: a code of WeChat's page that came back for one site
// is brought to another one, with the browser that began it. It is not used there.
func TestG9CallbackOfAnotherSite(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	other := m.otherHost("localhost")
	m.addSite(other, "wechat_auth")
	b := m.browser()
	s := b.beginBy("website_qr")
	callback := m.agree(m.wechat.Phone("alice"), s)
	got := m.browserOf(other).get(callback, header("Cookie", b.cookieValue()))
	if len(got.Header["Set-Cookie"]) > 0 || got.Status == http.StatusOK || s.state() != "pending" {
		t.Errorf("at the other site: %d %v; the attempt is %s", got.Status, got.Header, s.state())
	}
	if got := b.get(callback); got.Status != http.StatusSeeOther || !b.signedIn() {
		t.Errorf("at its own site: %d %s", got.Status, got.Body)
	}
}

// TestG9AccountsOfASite: a site that names its accounts lets nobody sign in by
// another, and still takes its pushes, since WeChat knows one push URL.
func TestG9AccountsOfASite(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	other := m.otherHost("localhost")
	m.addSite(other, "wechat_auth {\naccounts "+websiteAppID+"\n}")
	phone := m.wechat.Phone("alice")
	s := m.browser().beginBy("mini_qr")
	page := m.openMini(phone, s)
	body := map[string]string{"scene": page.Scene(), "code": page.Login()}
	there := m.browserOf(other).do(http.MethodPost, "/_wechat/mini/"+miniAppID+"/scan", body)
	if there.Status != http.StatusNotFound || there.json(t)["error"] != "unknown_account" || s.state() != "pending" {
		t.Errorf("the mini program of another site: %d %s; the attempt is %s", there.Status, there.Body, s.state())
	}
	a := m.browser().begin()
	scene, ticket, err := m.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	raw := m.wechat.SignedPush(appID, event(phone.OpenID(appID), "SCAN", scene, ticket))
	if status, _, err := m.wechat.Send(t.Context(), other+"/_wechat/push/"+appID, raw); err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	if got := a.state(); got != "scanned" {
		t.Errorf("a push at the other site: the attempt is %s", got)
	}
}

// TestG9MiniProgramOfSeveralSites: a mini program sends all to one address, and signs
// people in at every site that offers it.
func TestG9MiniProgramOfSeveralSites(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	other := m.otherHost("localhost")
	m.addSite(other, "wechat_auth")
	b := m.browserOf(other)
	m.byMini(b, m.wechat.Phone("alice")) // the simulated phone sends to the first site
	if !b.signedIn() {
		t.Error("not signed in at the other site")
	}
}

// TestOneLoginForADomain: with a domain, whoever signs in at one site is signed in at
// all, and signed out of all. An attempt still belongs to its site.
func TestOneLoginForADomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm off", wechat: "session {\n domain example.com\n }"})
	app, wiki := w.otherHost("app.example.com"), w.otherHost("wiki.example.com")
	w.addSite(app, "wechat_auth")
	w.addSite(wiki, "wechat_auth")
	b := w.browserOf(app)
	a := b.begin()
	bound := header("Cookie", b.cookieValue())
	w.scan(w.wechat.Phone("alice"), a)
	if got := w.browserOf(wiki).do(http.MethodPost, "/_wechat/attempts/"+a.ID+"/session", nil, bound); got.Status != http.StatusNotFound {
		t.Errorf("the attempt at the other site: %d %s", got.Status, got.Body)
	}
	a.consume()
	for _, origin := range []string{wiki, app} {
		b.origin = origin
		if !b.signedIn() {
			t.Errorf("not signed in at %s", origin)
		}
	}
	b.origin = wiki
	b.do(http.MethodPost, "/_wechat/logout", nil)
	b.origin = app
	if b.signedIn() {
		t.Error("signed out at one site, and still in at the other")
	}
}
