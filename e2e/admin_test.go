// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// newAdminWorld is a site that people wait to be let into, with alice as its admin.
func newAdminWorld(t *testing.T) (w *world, alice *browser) {
	t.Helper()
	w = newWorld(t, options{
		users: "registration approval\nallow openid oNobody\nrole boss openid oNobody",
		gate:  "wechat_auth {\nadmin role boss\n}",
	})
	openID := w.wechat.Phone("alice").OpenID(appID)
	w.reloadWith("allow openid oNobody\nrole boss openid oNobody", "allow openid "+openID+"\nrole boss openid "+openID)
	return w, w.signIn("alice")
}

// idOf returns the user id of somebody who is let in.
func idOf(t *testing.T, b *browser) string {
	t.Helper()
	id, _ := b.do(http.MethodGet, "/_wechat/me", nil).json(t)["id"].(string)
	return id
}

// only returns the user whom a search of the admin's finds.
func (w *world) only(admin *browser, query string) (id string) {
	w.t.Helper()
	got := admin.get("/_wechat/admin?q=" + url.QueryEscape(query))
	_, row, _ := strings.Cut(got.Body, `<th scope="row"><a href="/_wechat/admin/users/`)
	id, _, _ = strings.Cut(row, `"`)
	if got.Status != http.StatusOK || id == "" || strings.Count(got.Body, `<th scope="row">`) != 1 {
		w.t.Fatalf("searching for %q: %d %s", query, got.Status, got.Body)
	}
	return id
}

// order has an admin do something to a user, confirmed.
func order(admin *browser, id, do string, more url.Values) answer {
	admin.t.Helper()
	form := url.Values{"do": {do}, "confirmed": {"yes"}}
	maps.Copy(form, more)
	return admin.do(http.MethodPost, "/_wechat/admin/users/"+id, form, header("Accept", "text/html"))
}

// TestAdminPageShowsOut: bob waits, is approved, gets a role, and is shown out again;
// each is in force at once, also for the WebSocket that he has open (G4). The log of
// requests does not say whom alice looked for, and the audit log says what she did.
func TestAdminPageShowsOut(t *testing.T) {
	t.Parallel()
	w, alice := newAdminWorld(t)
	ended := w.upstream.longLived()
	bob := w.signIn("bob")
	bobs := w.wechat.Phone("bob").OpenID(appID)
	for path, status := range map[string]int{"/": http.StatusForbidden, "/_wechat/admin": http.StatusForbidden} {
		if got := bob.get(path); got.Status != status {
			t.Errorf("bob, who waits, at %s: %d", path, got.Status)
		}
	}
	if got := alice.get("/_wechat/admin"); !strings.Contains(got.Body, "(1)") || !strings.Contains(got.Body, `value="approve"`) {
		t.Errorf("alice sees %d %s", got.Status, got.Body)
	}
	id := w.only(alice, bobs)
	if got := order(alice, id, "approve", nil); got.Status != http.StatusSeeOther || !bob.signedIn() {
		t.Fatalf("approved: %d to %q, signed in %v", got.Status, got.Header.Get("Location"), bob.signedIn())
	}
	connected := w.connect(bob)
	begun := time.Now()
	order(alice, id, "roles", url.Values{"roles": {"editor"}, "was": {""}})
	connected.expectEnd(ended)
	if roles := bob.do(http.MethodGet, "/_wechat/me", nil).Body; !strings.Contains(roles, `"roles":["editor"]`) {
		t.Errorf("with the role: %s", roles)
	}
	connected = w.connect(bob)
	order(alice, id, "disable", nil)
	connected.expectEnd(ended)
	if got := bob.get("/"); got.Status == http.StatusOK || time.Since(begun) > 2*time.Second {
		t.Errorf("disabled: %d after %v", got.Status, time.Since(begun))
	}
	if got := w.confirmed("bob").session(); got.Status != http.StatusForbidden || got.json(t)["reason"] != "disabled" {
		t.Errorf("signing in again: %d %s", got.Status, got.Body)
	}
	w.audited(t, "admin_refused", "change_status", "change_roles", "revoke_sessions")
	if strings.Contains(w.output.String(), "admin?q=") {
		t.Error("the access log says whom the admin has looked for")
	}
}

// audited fails the test unless the audit log has a line of each action.
func (w *world) audited(t *testing.T, actions ...string) {
	t.Helper()
	for _, action := range actions {
		found := false
		for line := range strings.Lines(w.output.String()) {
			var entry struct{ Logger, Action, Actor, IP, Site string }
			if json.Unmarshal([]byte(line), &entry) == nil && strings.HasSuffix(entry.Logger, "wechat.audit") && entry.Action == action {
				found = entry.IP == "127.0.0.1" && entry.Site == w.origin() && entry.Actor != ""
			}
		}
		if !found {
			t.Errorf("the audit log has no %s", action)
		}
	}
}

// TestOwnSessions: alice left herself signed in elsewhere. From her own page she ends
// that session, and the WebSocket it has open; bob cannot.
func TestOwnSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	ended := w.upstream.longLived()
	here, elsewhere, bob := w.signIn("alice"), w.signIn("alice"), w.signIn("bob")
	connected := w.connect(elsewhere)
	var list struct {
		Sessions []struct {
			ID      string
			Current bool
		}
	}
	got := here.do(http.MethodGet, "/_wechat/sessions", nil, header("Accept", "application/json"))
	if err := json.Unmarshal([]byte(got.Body), &list); err != nil || len(list.Sessions) != 2 {
		t.Fatalf("%d %s", got.Status, got.Body)
	}
	other := list.Sessions[0].ID
	if list.Sessions[0].Current {
		other = list.Sessions[1].ID
	}
	if got := bob.do(http.MethodPost, "/_wechat/sessions", map[string]string{"end": other}); got.Status != http.StatusNotFound || !elsewhere.signedIn() {
		t.Errorf("bob ends the session of alice: %d %s", got.Status, got.Body)
	}
	begun := time.Now()
	if got := here.do(http.MethodPost, "/_wechat/sessions", url.Values{"end": {other}}, header("Accept", "text/html")); got.Status != http.StatusSeeOther {
		t.Errorf("ending it: %d %s", got.Status, got.Body)
	}
	connected.expectEnd(ended)
	if took := time.Since(begun); took > time.Second || elsewhere.signedIn() || !here.signedIn() || !bob.signedIn() {
		t.Errorf("ended after %v; elsewhere %v, here %v, bob %v", took, elsewhere.signedIn(), here.signedIn(), bob.signedIn())
	}
}

// as opens a path in a browser window of its own, with the cookies of b.
func (w *world) as(b *browser, path string) *chrometest.Tab {
	w.t.Helper()
	tab := chrometest.OpenAlone(w.t)
	u, err := url.Parse(w.origin())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		tab.Run(chrometest.Command(network.SetCookie, network.SetCookieParams{Name: c.Name, Value: c.Value, URL: w.origin()}))
	}
	tab.Run(chromedp.Navigate(w.origin() + path))
	w.t.Cleanup(func() { tab.Clean(w.addr) })
	return tab
}

func button(text string) chrometest.Action {
	return chromedp.Click(chromedp.Search(`//button[text()="` + text + `"]`))
}

// TestBrowserApproves: bob looks at the page that says to wait; in a window of her own
// alice approves him, and his opens by itself. She looks for him, finds him and
// disables him: the WebSocket that he has open closes within a second.
func TestBrowserApproves(t *testing.T) {
	w, alice := newAdminWorld(t)
	ended := w.upstream.longLived()
	bob := w.signIn("bob")
	waiting := w.as(bob, "/after?x=1")
	waiting.Sees("Waiting for approval")
	admin := w.as(alice, "/_wechat/admin")
	admin.Sees("Waiting for approval (1)")
	admin.Run(button("Approve"))
	admin.Sees("Approve this person?")
	admin.Run(button("Approve"))
	admin.Sees("Approved.")
	waiting.Sees("hello " + idOf(t, bob))
	if got := chrometest.Eval[string](waiting, `location.pathname + location.search`); got != "/after?x=1" {
		t.Errorf("bob is at %q", got)
	}

	admin.Run(
		chromedp.SendKeys(chromedp.CSS(`input[name=q]`), w.wechat.Phone("bob").OpenID(appID)),
		button("Search"),
	)
	admin.Sees("People (1)")
	admin.Run(chromedp.Click(chromedp.CSS(`tbody a`)), button("Disable"))
	admin.Sees("Disable this person?")
	connected := w.connect(bob)
	begun := time.Now()
	admin.Run(button("Disable"))
	connected.expectEnd(ended)
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the WebSocket closes after %v", took)
	}
	admin.Sees("Disabled and signed out everywhere.")
	if bob.signedIn() {
		t.Error("bob is still signed in")
	}
}
