// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// TestStolenSession: Mallory has Alice's session for a minute. He has a code sent to an
// address of his own, to be Alice for good once he proves it with his own WeChat. Her
// address stays.
func TestStolenSession(t *testing.T) {
	t.Parallel()
	const mallorys = "mallory@evil.example"
	d := newDesk(t, byEmail(user.Open))
	d.enter("oAlice").prove(shared)
	stolen := d.enter("oAlice")
	roles := []string{"admin"}
	if _, _, err := d.Users.Change(t.Context(), stolen.userID, user.Change{Roles: &roles}); err != nil {
		t.Fatal(err)
	}
	// A code that he had sent for another user of his does not do either.
	mallory := d.enter("oMallory")
	mallory.askCode(mallorys)
	code := d.box.code(t, mallorys)
	d.events = nil
	for _, path := range []string{"/_wechat/bind/code", "/_wechat/bind"} {
		w := stolen.post(path, asJSON, "channel", "email", "address", mallorys, "code", code)
		if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), `"error":"already_bound"`) {
			t.Errorf("POST %s: %d %s", path, w.Code, w.Body)
		}
		w = stolen.post(path, asForm, "channel", "email", "address", mallorys, "code", code)
		if body := w.Body.String(); w.Code != http.StatusConflict || !strings.Contains(body, "a…@example.com") || strings.Contains(body, shared) || strings.Contains(body, `name="address"`) {
			t.Errorf("the form %s: %d %s", path, w.Code, body)
		}
	}
	refused := audit.Event{Action: audit.SendCode, Result: audit.Refused, Reason: "already_bound", UserID: stolen.userID, Channel: "email", Address: mallorys}
	tried := refused
	tried.Action = audit.Bind
	d.wantEvents(refused, tried) // one of each in a minute
	if n := d.box.count(); n != 2 {
		t.Errorf("%d codes went out, want Alice's and Mallory's own", n)
	}
	if _, err := d.Sessions.RevokeUser(t.Context(), stolen.userID); err != nil {
		t.Fatal(err)
	}
	if w := mallory.give(mallorys, code); w.Code != http.StatusOK {
		t.Fatalf("Mallory proves his own address: %d %s", w.Code, w.Body)
	}
	if again := d.enter("oMallory"); again.userID == stolen.userID || stolen.inside() {
		t.Error("Mallory is Alice")
	}
	u, err := d.Users.Find(t.Context(), stolen.userID)
	if err != nil || u.Email != shared {
		t.Errorf("Alice is %+v (%v)", u, err)
	}
}

// TestBindAgain: a person who has the address already may prove it once more, which
// completes what broke off. The page says which it is, and asks for no other.
func TestBindAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	alice := d.enter("oAlice")
	for range 2 {
		if w := alice.prove(shared); w.Code != http.StatusOK {
			t.Fatalf("POST bind: %d %s", w.Code, w.Body)
		}
	}
	w := alice.send(http.MethodGet, "/_wechat/bind", "text/html", "")
	if body := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(body, "a…@example.com") || strings.Contains(body, "<form") {
		t.Errorf("GET bind: %d %s", w.Code, body)
	}
}

// TestBindOperatorReplaces: the operator gives Alice another address. It is hers at
// once, the old one is anybody's who proves it, and that is another user.
func TestBindOperatorReplaces(t *testing.T) {
	t.Parallel()
	const next = "next@example.com"
	d := newDesk(t, byEmail(user.Open))
	alice := d.enter("oAlice")
	alice.prove(shared)
	if _, u, err := d.Users.Import(t.Context(), user.Entry{ID: alice.userID, Email: next}, false); err != nil || u.ID != alice.userID || u.Email != next {
		t.Fatal(u, err)
	}
	if w := alice.send(http.MethodGet, "/_wechat/bind", "text/html", ""); !strings.Contains(w.Body.String(), "n…@example.com") {
		t.Errorf("the page says %s", w.Body)
	}
	bob := d.enter("oBob")
	if w := bob.prove(shared); w.Code != http.StatusOK {
		t.Fatalf("the old address: %d %s", w.Code, w.Body)
	}
	if again := d.enter("oBob"); again.userID == alice.userID {
		t.Error("the old address leads to Alice still")
	}
	second := d.enter("oAliceToo")
	if w := second.prove(next); w.Code != http.StatusOK {
		t.Fatalf("the new address: %d %s", w.Code, w.Body)
	}
	if again := d.enter("oAliceToo"); again.userID != alice.userID {
		t.Error("the new address does not lead to Alice")
	}
}

// TestMiniReplacesNumber: WeChat itself says which number is Alice's now. That goes on
// replacing the one before, and the audit log has it.
func TestMiniReplacesNumber(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{Registration: user.Open, Bind: []user.Channel{user.ByPhone}})
	a := login.Attempt{Method: login.MiniQR, AppID: outageApp}
	for _, number := range []string{"+8613800138000", "+8613900139000"} {
		a.Person = login.Person{OpenID: "oAlice", Phone: number}
		d.signInBy(a)
		u, err := d.Users.Find(t.Context(), d.ownerOf("oAlice"))
		if err != nil || u.Phone != number {
			t.Fatalf("Alice is %+v (%v), want %s", u, err, number)
		}
		d.wantEvents(audit.Event{
			Action: audit.Bind, Result: audit.OK, UserID: u.ID, Method: login.MiniQR, Account: outageApp, OpenID: "oAlice",
			Channel: "phone", Address: number,
		})
		d.signInBy(a) // nothing new
		d.wantEvents()
	}
}

// TestSignInMergeIsRecorded: by the number that WeChat knows, two users turn out to be
// one person. The audit log says who is no more.
func TestSignInMergeIsRecorded(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{Registration: user.Open, Bind: []user.Channel{user.ByPhone}})
	const number = "+8613800138000"
	first := login.Attempt{Method: login.MiniQR, AppID: outageApp, Person: login.Person{OpenID: "oFirst", Phone: number}}
	d.signInBy(first)
	second := login.Attempt{Method: login.MiniQR, AppID: outageApp, Person: login.Person{OpenID: "oSecond"}}
	d.signInBy(second)
	gone, kept := d.ownerOf("oSecond"), d.ownerOf("oFirst")
	d.events = nil
	second.Phone = number
	d.signInBy(second)
	bound := audit.Event{
		Action: audit.Bind, Result: audit.OK, UserID: kept, Method: login.MiniQR, Account: outageApp, OpenID: "oSecond",
		Channel: "phone", Address: number,
	}
	merged := bound
	merged.Action, merged.Channel, merged.Address, merged.Before, merged.After = audit.Merge, "", "", gone, kept
	d.wantEvents(bound, merged)
	if gone == kept {
		t.Error("the two were one before")
	}
}

// signInBy goes as far as the directory takes part in a sign-in. There is no such
// attempt in the store, so no session comes of it.
func (d *desk) signInBy(a login.Attempt) {
	d.t.Helper()
	r := httptest.NewRequestWithContext(d.t.Context(), http.MethodPost, outageOrigin+"/_wechat/attempts/x/session", nil)
	if _, err := d.Portal.enter(r, a); err == nil {
		d.t.Fatal("a session came of it")
	}
}

func (d *desk) ownerOf(openID string) string {
	d.t.Helper()
	id, err := d.Users.Owner(d.t.Context(), outageApp, openID)
	if err != nil || id == "" {
		d.t.Fatalf("%s is nobody (%v)", openID, err)
	}
	return id
}

// scanned signs a browser in by a scan of Alice's, and returns it with the link that
// she has got in the chat.
func (d *desk) scanned() (v *visitor, link string) {
	d.t.Helper()
	id, scene := d.begin()
	w, _ := d.push(scene)
	_, link, _ = strings.Cut(w.Body.String(), outageOrigin)
	link, _, _ = strings.Cut(link, `"`)
	w = d.serve(http.MethodPost, "/_wechat/attempts/"+id+"/session", "")
	cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	if w.Code != http.StatusOK || cookie == "" {
		d.t.Fatalf("POST session: %d %s", w.Code, w.Body)
	}
	return &visitor{d: d, userID: d.ownerOf("oAlice"), cookie: cookie}, link
}

// TestDisownAfterMerge: Mallory has had Alice scan his code, and proves an address in
// the session: she is his user now, and his browser has another session. Her "that was
// not me" ends that one.
func TestDisownAfterMerge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	mallory := d.enter("oMallory")
	mallory.prove("mallory@evil.example")
	v, link := d.scanned()
	if w := v.prove("mallory@evil.example"); w.Code != http.StatusOK || !v.inside() {
		t.Fatalf("the merge: %d %s", w.Code, w.Body)
	}
	list, err := d.Sessions.List(t.Context(), mallory.userID)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d sessions (%v), want his own and the one that took the place of hers", len(list), err)
	}
	d.events = nil
	if w := d.serve(http.MethodPost, link, "choice=revoke"); w.Code != http.StatusOK {
		t.Fatalf("POST %s: %d %s", link, w.Code, w.Body)
	}
	if v.inside() {
		t.Error("the session that took its place lives")
	}
	of := audit.Event{Result: audit.OK, Method: login.OfficialQR, Account: outageApp, OpenID: "oAlice"}
	ended, disowned := of, of
	ended.Action, ended.UserID, ended.SessionID, ended.Count = audit.RevokeSession, mallory.userID, list[0].ID, 1
	disowned.Action = audit.Disown
	for _, e := range d.events {
		if e.Actor.Kind != audit.Person || e.Actor.ID != "" { // she has no user any more
			t.Errorf("%s is laid to %+v", e.Action, e.Actor)
		}
	}
	d.wantEvents(ended, disowned)
}

// TestDisownOne: a session that is still the one it was ends alone.
func TestDisownOne(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{Registration: user.Open})
	other := d.enter("oAlice")
	v, link := d.scanned()
	if w := d.serve(http.MethodPost, link, "choice=revoke"); w.Code != http.StatusOK || v.inside() || !other.inside() {
		t.Errorf("POST %s: %d, the session lives %v, the other one %v", link, w.Code, v.inside(), other.inside())
	}
}

// trackless is a store in which it cannot be read which session took another's place.
type trackless struct{ store.Store }

// Get implements store.Store.
func (s trackless) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if strings.HasPrefix(key, handedPrefix) {
		return nil, false, fmt.Errorf("reading: %w", store.ErrUnavailable)
	}
	return s.Store.Get(ctx, key)
}

// TestDisownFails: Alice is not told that the session has ended while it may live, and
// once the store is back her second try ends it.
func TestDisownFails(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	d.enter("oMallory").prove("mallory@evil.example")
	v, link := d.scanned()
	v.prove("mallory@evil.example")
	whole := d.store.Store
	d.store.Store = trackless{whole}
	w := d.serve(http.MethodPost, link, "choice=revoke")
	if w.Code != http.StatusServiceUnavailable || !v.inside() {
		t.Errorf("POST %s: %d %s", link, w.Code, w.Body)
	}
	d.store.Store = whole
	if w := d.serve(http.MethodPost, link, "choice=revoke"); w.Code != http.StatusOK || v.inside() {
		t.Errorf("POST %s again: %d, the session lives %v", link, w.Code, v.inside())
	}
}

// TestShownOutWhileTheSessionIsIssued: an operator disables or deletes the person, and
// ends his sessions, just before the new one is recorded. It must not be there once he
// is enabled again.
func TestShownOutWhileTheSessionIsIssued(t *testing.T) {
	t.Parallel()
	disable := func(d *desk, id string) error {
		off := user.Disabled
		_, _, err := d.Users.Change(d.t.Context(), id, user.Change{Status: &off})
		return err
	}
	remove := func(d *desk, id string) error {
		_, err := d.Users.Delete(d.t.Context(), id)
		return err
	}
	for _, tt := range []struct {
		name   string
		do     func(d *desk, id string) error
		status int
	}{
		{"disabled", disable, http.StatusForbidden},
		{"deleted", remove, http.StatusGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, user.Policy{Registration: user.Open})
			id, scene := d.begin()
			d.push(scene)
			d.showOutAt("session:", func() error { return tt.do(d, onlyUser(t, d.store)) })
			w := d.serve(http.MethodPost, "/_wechat/attempts/"+id+"/session", "")
			if w.Code != tt.status || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("POST session: %d %s", w.Code, w.Body)
			}
			if items, _, err := d.store.List(t.Context(), "session:", "", 10); err != nil || len(items) != 0 {
				t.Errorf("%d sessions are left (%v)", len(items), err)
			}
		})
	}
}

// TestBindDisabledMeanwhile: the same, of the session that takes the place of another.
func TestBindDisabledMeanwhile(t *testing.T) {
	t.Parallel()
	d, first, second := twice(t)
	second.askCode(shared)
	off := user.Disabled
	d.showOutAt("session:", func() error {
		_, _, err := d.Users.Change(t.Context(), first.userID, user.Change{Status: &off})
		return err
	})
	w := second.give(shared, d.box.code(t, shared))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("POST bind: %d %s", w.Code, w.Body)
	}
	if all, err := d.Sessions.List(t.Context(), first.userID); err != nil || len(all) != 1 {
		t.Errorf("%d sessions are left (%v), want that of the first browser", len(all), err)
	}
}

// showOutAt does something once, before a write to such a key.
func (d *desk) showOutAt(prefix string, do func() error) {
	before := func(key string) {
		if strings.HasPrefix(key, prefix) {
			d.store.before.Store(nil)
			if err := do(); err != nil {
				d.t.Error(err)
			}
		}
	}
	d.store.before.Store(&before)
}

// TestBindLeavesHalfWay: a visitor hangs up between the steps by which an address
// becomes his. It becomes his all the same, and nobody else is half of him.
func TestBindLeavesHalfWay(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	alice := d.enter("oAlice")
	alice.askCode(shared)
	ctx, leave := context.WithCancel(t.Context())
	d.showOutAt("user:", func() error { leave(); return nil })
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, outageOrigin+"/_wechat/bind",
		strings.NewReader(fmt.Sprintf(`{"channel":"email","address":%q,"code":%q}`, shared, d.box.code(t, shared))))
	r.Header = http.Header{"Cookie": {alice.cookie}, "Origin": {outageOrigin}, "Content-Type": {asJSON}}
	if err := d.Serve(httptest.NewRecorder(), r, nil); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() == nil {
		t.Fatal("nobody hung up")
	}
	if u, err := d.Users.Find(t.Context(), alice.userID); err != nil || u.Email != shared {
		t.Errorf("Alice is %+v (%v)", u, err)
	}
}
