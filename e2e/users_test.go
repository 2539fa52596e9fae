// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestRegistrationClosed: only those on the allow list get in. The others are told
// so, get no session, and cannot try again with the same attempt.
func TestRegistrationClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{users: "registration closed\nallow openid oNobody"})
	alice := w.wechat.Phone("alice").OpenID(appID)
	a := w.confirmed("alice")
	got := a.session()
	if got.Status != http.StatusForbidden || got.json(t)["error"] != "denied" || got.json(t)["reason"] != "registration_closed" || len(got.Header["Set-Cookie"]) > 0 {
		t.Fatalf("a stranger: %d %s", got.Status, got.Body)
	}
	if got := a.state(); got != "denied" || a.Reason != "registration_closed" {
		t.Errorf("the attempt is %s, %s", got, a.Reason)
	}
	for name, value := range map[string]string{"case": strings.ToUpper(alice), "part": alice[:27], "longer": alice + "x"} {
		w.reloadWith("allow openid oNobody", "allow openid "+value)
		if got := w.confirmed("alice").session(); got.Status != http.StatusForbidden {
			t.Errorf("allowed is %s, a look-alike by %s: %d", value, name, got.Status)
		}
		w.reloadWith("allow openid "+value, "allow openid oNobody")
	}
	if got := a.session(); got.Status != http.StatusForbidden || got.json(t)["reason"] != "registration_closed" || a.browser.signedIn() {
		t.Errorf("again: %d %s", got.Status, got.Body)
	}
	w.reloadWith("allow openid oNobody", "allow openid oNobody "+alice)
	w.signIn("alice")
}

// TestRegistrationApproval: a new person is known, but let in by nobody yet.
func TestRegistrationApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{users: "registration approval\nallow openid oNobody"})
	b := w.signIn("bob")
	if got := b.get("/"); got.Status != http.StatusForbidden || !strings.Contains(got.Body, "<html") {
		t.Errorf("the site: %d %q", got.Status, got.Body)
	}
	for _, path := range []string{"/api", "/_wechat/me"} {
		if got := b.do(http.MethodGet, path, nil); got.Status != http.StatusForbidden || got.json(t)["reason"] != "pending" {
			t.Errorf("%s: %d %s", path, got.Status, got.Body)
		}
	}
	if len(w.upstream.requests()) > 0 {
		t.Error("the request reached the upstream")
	}
	w.reloadWith("allow openid oNobody", "allow openid "+w.wechat.Phone("bob").OpenID(appID))
	if !b.signedIn() {
		t.Error("on the allow list, and still shut out")
	}
}

// confirmed is an attempt that a person has confirmed.
func (w *world) confirmed(person string) *attempt {
	w.t.Helper()
	a, phone := w.browser().begin(), w.wechat.Phone(person)
	link := w.scan(phone, a)
	if got := w.choose(phone, link, a.Number); got.Status != http.StatusOK {
		w.t.Fatalf("confirming: %d", got.Status)
	}
	return a
}

// reloadWith changes the configuration and loads it.
func (w *world) reloadWith(before, after string) {
	w.t.Helper()
	changed := strings.Replace(w.caddyfile, before, after, 1)
	if changed == w.caddyfile {
		w.t.Fatalf("the configuration has no %q", before)
	}
	w.caddyfile = changed
	if err := w.reload(); err != nil {
		w.t.Fatal(err)
	}
}

// TestLogout: one session ends by its own logout, all of a person's by "everywhere",
// nobody else's. A copied cookie is of no use afterwards.
func TestLogout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	first, second, other := w.signIn("alice"), w.signIn("alice"), w.signIn("bob")
	third := w.signIn("alice")
	copied := w.browser()
	stolen := []string{first.cookieValue(), second.cookieValue()}
	if got := first.get("/_wechat/logout"); got.Status != http.StatusOK || !first.signedIn() {
		t.Fatalf("looking at the page: %d", got.Status)
	}
	if got := first.do(http.MethodPost, "/_wechat/logout", url.Values{}); got.Status != http.StatusSeeOther || got.Header.Get("Location") != "/" {
		t.Errorf("logout: %d to %q", got.Status, got.Header.Get("Location"))
	}
	if first.signedIn() || !second.signedIn() || !third.signedIn() || !other.signedIn() {
		t.Error("the logout ends the wrong sessions")
	}
	got := third.do(http.MethodPost, "/_wechat/logout", url.Values{"everywhere": {"true"}}, header("Accept", "application/json"))
	if got.Status != http.StatusNoContent {
		t.Errorf("logout everywhere: %d", got.Status)
	}
	if second.signedIn() || third.signedIn() || !other.signedIn() {
		t.Error("the logout everywhere ends the wrong sessions")
	}
	for _, cookie := range stolen {
		for _, path := range []string{"/", "/_wechat/me"} {
			if got := copied.do(http.MethodGet, path, nil, header("Cookie", cookie)); got.Status != http.StatusUnauthorized {
				t.Errorf("a cookie from before the logout at %s: %d", path, got.Status)
			}
		}
	}
}

// TestMe: who is signed in, and 401 for who is not.
func TestMe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	b := w.browser()
	if got := b.do(http.MethodGet, "/_wechat/me", nil); got.Status != http.StatusUnauthorized || got.json(t)["error"] != "login_required" {
		t.Errorf("without a session: %d %s", got.Status, got.Body)
	}
	w.signInWith(b, "alice")
	got := b.do(http.MethodGet, "/_wechat/me", nil)
	me := got.json(t)
	for _, field := range []string{"id", "name", "avatar", "roles", "expires_at"} {
		if _, ok := me[field]; !ok {
			t.Errorf("%s has no %s", got.Body, field)
		}
	}
	if len(me) != 5 || me["id"] == "" || got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", got.Status, got.Body, got.Header)
	}
}

// TestHealthz: for load balancers, without a session, one JSON line for each part.
func TestHealthz(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	got := w.browser().do(http.MethodGet, "/_wechat/healthz", nil)
	if got.Status != http.StatusOK || got.Body != `{"part":"store","status":"ok"}`+"\n" || len(got.Header["Set-Cookie"]) > 0 {
		t.Errorf("%d %q", got.Status, got.Body)
	}
}
