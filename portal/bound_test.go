// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/user"
)

const shared = "alice@example.com"

// twice is Alice with two WeChat accounts, of which the site knows the first by her
// address. She is about to prove it with the second.
func twice(t *testing.T) (d *desk, first, second *visitor) {
	t.Helper()
	d = newDesk(t, byEmail(user.Approval))
	first = d.enter("oFirst")
	if w := first.prove(shared); w.Code != http.StatusOK {
		t.Fatalf("binding: %d %s", w.Code, w.Body)
	}
	active, roles := user.Active, []string{"editor"}
	if _, _, err := d.Users.Change(t.Context(), first.userID, user.Change{Status: &active, Roles: &roles}); err != nil {
		t.Fatal(err)
	}
	d.events = nil
	return d, first, d.enter("oSecond")
}

// TestBindKnownAddress: an address that is a user's already attaches the new WeChat
// identity to that user. The browser goes on as that user, by the way it came.
func TestBindKnownAddress(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{asForm, asJSON} {
		d, first, second := twice(t)
		before := second.cookie
		second.askCode(shared)
		w := second.post("/_wechat/bind", contentType, "channel", "email", "address", shared, "code", d.box.code(t, shared), "return_to", "/x")
		if want := map[string]int{asForm: http.StatusSeeOther, asJSON: http.StatusOK}[contentType]; w.Code != want || second.cookie == before {
			t.Fatalf("POST bind: %d %s", w.Code, w.Body)
		}
		of := audit.Event{Result: audit.OK, UserID: first.userID, Channel: "email", Address: shared}
		sent, bound, merged := of, of, of
		sent.Action, sent.UserID, bound.Action = audit.SendCode, second.userID, audit.Bind
		merged.Action, merged.Before, merged.After = audit.Merge, second.userID, first.userID
		d.wantEvents(sent, bound, merged)
		if !second.inside() || !first.inside() {
			t.Error("somebody is not in")
		}
		all, err := d.Sessions.List(t.Context(), first.userID)
		if err != nil || len(all) != 2 {
			t.Fatalf("%d sessions (%v)", len(all), err)
		}
		for _, s := range all {
			if s.OpenID == "oSecond" && (s.Method != login.OfficialQR || s.AppID != outageApp || s.IP == "") {
				t.Errorf("the new session: %+v", s)
			}
		}
		second.cookie = before
		if second.inside() {
			t.Error("the session of the user who is no more goes on")
		}
		if again := d.enter("oSecond"); again.userID != first.userID {
			t.Error("the second WeChat account is somebody else still")
		}
		d.quiet()
	}
}

// TestBindDisabledAddress: G5. Mallory, whom the operator has disabled, comes with
// another WeChat account and proves the same address: he is disabled still.
func TestBindDisabledAddress(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{asForm, asJSON} {
		d, first, second := twice(t)
		disabled := user.Disabled
		if _, _, err := d.Users.Change(t.Context(), first.userID, user.Change{Status: &disabled}); err != nil {
			t.Fatal(err)
		}
		second.askCode(shared)
		w := second.post("/_wechat/bind", contentType, "channel", "email", "address", shared, "code", d.box.code(t, shared))
		if w.Code != http.StatusForbidden {
			t.Fatalf("POST bind: %d %s", w.Code, w.Body)
		}
		if cookie := w.Header().Get("Set-Cookie"); !strings.Contains(cookie, "Max-Age=0") {
			t.Errorf("the cookie stays: %q", cookie)
		}
		if second.inside() {
			t.Error("in")
		}
		// None but what was there before, which the operator's own tools would have ended.
		if all, err := d.Sessions.List(t.Context(), first.userID); err != nil || len(all) != 1 {
			t.Errorf("%d sessions (%v)", len(all), err)
		}
		last := d.events[len(d.events)-1]
		if last.Action != audit.SignIn || last.Result != audit.Refused || last.Reason != "disabled" || last.UserID != first.userID {
			t.Errorf("the last event is %+v", last)
		}
		if _, _, err := d.Users.SignIn(t.Context(), user.Identity{AppID: outageApp, OpenID: "oSecond"}); err == nil {
			t.Error("signed in by the second account")
		}
	}
}

// TestBindStoreFails: wherever the store fails once the code is right, the browser has
// something to try again: its session and another code, or another sign-in. In the
// end the two users are one, and nobody is somebody else.
func TestBindStoreFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, key string }{
		{"checking the code", "tmp:sent-code:"},
		{"claiming the address", "email:"},
		{"writing the user", "user:"},
		{"moving the identity", "identity:"},
		{"recording the session", "session:"},
		{"listing the session", "sessions-of:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, first, second := twice(t)
			second.askCode(shared)
			d.store.fail.Store(&tt.key)
			w := second.give(shared, d.box.code(t, shared))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
				t.Fatalf("POST bind: %d %s", w.Code, w.Body)
			}
			if cookie := w.Header().Get("Set-Cookie"); cookie != "" {
				t.Errorf("the browser loses what it has: %q", cookie)
			}
			d.store.fail.Store(nil)
			switch w := second.send(http.MethodGet, "/_wechat/bind", "text/html", ""); w.Code {
			case http.StatusOK:
				if w := second.prove(shared); w.Code != http.StatusOK {
					t.Errorf("another code: %d %s", w.Code, w.Body)
				}
			case http.StatusUnauthorized:
				second = d.enter("oSecond")
			default:
				t.Errorf("GET bind: %d", w.Code)
			}
			if !second.inside() || !first.inside() {
				t.Error("somebody is not in")
			}
			if again := d.enter("oSecond"); again.userID != first.userID {
				t.Error("the second WeChat account is somebody else still")
			}
		})
	}
}

// TestBindWhileShownOut: an operator ends the session just as the browser is given
// the one that takes its place. That one must not outlive it.
func TestBindWhileShownOut(t *testing.T) {
	t.Parallel()
	d, first, second := twice(t)
	second.askCode(shared)
	old, err := d.Sessions.List(t.Context(), second.userID)
	if err != nil || len(old) != 1 {
		t.Fatal(len(old), err)
	}
	done := false
	showOut := func(key string) {
		if strings.HasPrefix(key, "session:") && !done {
			done = true
			if _, err := d.Sessions.Revoke(t.Context(), old[0].ID); err != nil {
				t.Error(err)
			}
		}
	}
	d.store.before.Store(&showOut)
	w := second.give(shared, d.box.code(t, shared))
	if !done || w.Code != http.StatusUnauthorized || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("POST bind: %d %s %v", w.Code, w.Body, w.Header())
	}
	if all, err := d.Sessions.List(t.Context(), first.userID); err != nil || len(all) != 1 {
		t.Errorf("%d sessions are left (%v), want that of the first browser", len(all), err)
	}
}

// TestBindWhileDeleted: an operator deletes the user while he types the code.
func TestBindWhileDeleted(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	alice := d.enter("oAlice")
	alice.askCode(shared)
	remove := func(key string) {
		if strings.HasPrefix(key, "tmp:sent-code:") {
			d.store.before.Store(nil)
			if _, err := d.Users.Delete(t.Context(), alice.userID); err != nil {
				t.Error(err)
			}
		}
	}
	d.store.before.Store(&remove)
	if w := alice.post("/_wechat/bind", asForm, "channel", "email", "address", shared, "code", d.box.code(t, shared)); w.Code != http.StatusUnauthorized {
		t.Errorf("POST bind: %d %s", w.Code, w.Body)
	}
	if _, found, err := d.store.Get(t.Context(), "email:"+shared); found || err != nil {
		t.Errorf("the address leads somewhere (%v)", err)
	}
}
