// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImportedByEmail: a site that is closed moves its members here, who were never
// seen in WeChat. A stranger who proves a member's address is that member, with the id
// and the roles from before, also in later sign-ins. Who proves another address stays
// outside.
func TestImportedByEmail(t *testing.T) {
	t.Parallel()
	box := newMailbox(t)
	w := newWorld(t, options{users: box.users("registration closed"), wechat: "limit codes off"})
	file := filepath.Join(w.dir, "members.csv")
	if err := os.WriteFile(file, []byte("id,name,email,roles\nmember-7,王小明,Ming@Example.com,editor;member\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.operate(0, "users", "import", file)
	ming, mallory := w.signIn("ming"), w.signIn("mallory")
	stranger := ming.cookieValue()
	for name, b := range map[string]*browser{"ming": ming, "mallory": mallory} {
		if got := b.do(http.MethodGet, "/api", nil); got.Status != http.StatusForbidden || got.json(t)["reason"] != "email_missing" {
			t.Errorf("%s, before: %d %s", name, got.Status, got.Body)
		}
	}
	if got := ming.prove(box, "ming@example.com", "/after"); got.Status != http.StatusSeeOther || got.Header.Get("Location") != "/after" {
		t.Fatalf("POST bind: %d %s", got.Status, got.Body)
	}
	mallory.prove(box, "mallory@example.com", "/after")
	openID := w.wechat.Phone("ming").OpenID(appID)
	for when, b := range map[string]*browser{"at once": ming, "signed in again": w.signIn("ming")} {
		got := w.identityOf(b)
		for field, want := range map[string]string{"Id": "member-7", "Roles": "editor,member", "Email": "ming@example.com", "Openid": openID} {
			if got.Get("X-User-"+field) != want {
				t.Errorf("%s: X-User-%s is %q, want %q", when, field, got.Get("X-User-"+field), want)
			}
		}
	}
	if got := w.browser().do(http.MethodGet, "/", nil, header("Cookie", stranger)); got.Status != http.StatusUnauthorized {
		t.Errorf("the session of the stranger that ming was: %d", got.Status)
	}
	if got := mallory.do(http.MethodGet, "/api", nil); got.Status != http.StatusForbidden || got.json(t)["reason"] != "registration_closed" {
		t.Errorf("mallory: %d %s", got.Status, got.Body)
	}
	if got := w.confirmed("mallory").session(); got.Status != http.StatusForbidden || got.json(t)["reason"] != "registration_closed" {
		t.Errorf("mallory again: %d %s", got.Status, got.Body)
	}
	// Another stranger asks for a code to his address: it goes to him, and she has to guess.
	eve := w.signIn("eve")
	form := map[string]string{"channel": "email", "address": "ming@example.com"}
	if got := eve.do(http.MethodPost, "/_wechat/bind/code", form); got.Status != http.StatusOK {
		t.Fatalf("POST bind/code: %d %s", got.Status, got.Body)
	}
	form["code"] = wrong(box.code("ming@example.com"))
	if got := eve.do(http.MethodPost, "/_wechat/bind", form); got.Status < http.StatusBadRequest {
		t.Errorf("a guess: %d %s", got.Status, got.Body)
	}
	if eve.admitted() {
		t.Error("eve is let in")
	}
	for _, seen := range w.upstream.requests() {
		if id := seen.Header.Get("X-User-Id"); id != "member-7" {
			t.Errorf("the site is reached by %q", id)
		}
	}
	if list := w.operate(0, "users", "list", "--query", "ming").stdout; strings.Count(list, "member-7") != 1 || strings.Count(list, "ming@") != 1 {
		t.Errorf("the users are\n%s", list)
	}
}
