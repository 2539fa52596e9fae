// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	oldMail, newMail   = "old@example.com", "new@example.com"
	oldPhone, newPhone = "+8613800000001", "+8613800000002"
)

// crashScenario is something that writes several keys.
type crashScenario struct {
	name   string
	before func(w *world) (id string)
	do     func(w *world, r *Records, id string) error
	// after checks what must be so once it has been done, after any crash.
	after func(w *world, id string)
	// claims are the keys that may lead to a user who does not name them yet, as
	// long as nobody has done it again: what was proven, and is not recorded.
	claims []string
	// gone says that to do it again may find that it was done: there is no such
	// user any more.
	gone bool
	// leftOver says that the user who was absorbed may be left, if the person comes
	// back by another way than the one that crashed.
	leftOver bool
}

// The process ends at each write of each operation in turn, before or after the write
// has happened. No pointer is left then from an address that its user has given up,
// and whoever does the same again gets what he wanted, with nothing left over.
func TestRecords_CrashAtEveryWrite(t *testing.T) {
	for _, sc := range crashScenarios() {
		for _, after := range []bool{false, true} {
			for n := int64(1); ; n++ {
				crashed := false
				t.Run(fmt.Sprintf("%s/write %d/after=%v", sc.name, n, after), func(t *testing.T) {
					crashed = sc.run(newTestWorld(t), n, after)
				})
				if !crashed {
					if n == 1 {
						t.Errorf("%s writes nothing", sc.name)
					}
					break
				}
			}
		}
	}
}

// run lets the scenario crash at the write n, and says whether it got so far.
func (sc crashScenario) run(w *world, n int64, after bool) (crashed bool) {
	id := sc.before(w)
	w.failAfter = after
	w.failAt.Store(n)
	err := sc.do(w, w.records(), id)
	if crashed = errors.Is(err, errCrash); err != nil && !crashed {
		w.t.Fatalf("%v", err)
	}
	w.failAt.Store(0)
	w.wantNoStaleAddress(sc.claims)
	if crashed {
		if err := sc.do(w, w.records(), id); err != nil && (!sc.gone || !errors.Is(err, ErrNotFound)) {
			w.t.Fatalf("done again: %v", err)
		}
	}
	if sc.leftOver {
		w.deleteLeftOver()
	}
	w.wantWhole()
	sc.after(w, id)
	return crashed
}

// deleteLeftOver deletes, as an operator can, a user to whom nothing leads any more:
// the crash came between the moving of the last pointer and his deletion. He is no
// user any more, and goes as somebody asks for him.
func (w *world) deleteLeftOver() {
	w.t.Helper()
	for _, u := range w.users() {
		if slices.ContainsFunc(u.keys(), func(key string) bool { return w.owner(key) == u.ID }) {
			continue
		}
		if _, err := w.records().Delete(w.t.Context(), u.ID); err != nil && !errors.Is(err, ErrNotFound) {
			w.t.Fatalf("%v", err)
		}
	}
}

// wantNoStaleAddress fails the test where an address leads to a user who does not
// name it: whoever gets the address next would be taken for that user.
func (w *world) wantNoStaleAddress(claims []string) {
	w.t.Helper()
	named := claims
	for _, u := range w.users() {
		for _, key := range u.addressKeys() {
			named = append(named, key+"="+u.ID)
		}
	}
	for _, key := range w.pointers() {
		if isAddress := !strings.HasPrefix(key, identityPrefix) && !strings.HasPrefix(key, unionPrefix); isAddress && !slices.Contains(named, key) && !slices.Contains(named, key+"="+w.owner(key)) {
			w.t.Errorf("%s leads to %s, who does not name it", key, w.owner(key))
		}
	}
}

func crashScenarios() []crashScenario {
	return slices.Concat(changeScenarios(), bindScenarios(), importScenarios())
}

func changeScenarios() []crashScenario {
	bound := func(w *world) string { return w.person("Alice", Rule{Email, oldMail}, Rule{Phone, oldPhone}).ID }
	return []crashScenario{
		{
			name: "change", before: bound,
			do: func(w *world, r *Records, id string) error {
				_, _, err := r.Change(w.t.Context(), id, Change{Status: new(Disabled), Roles: &[]string{"b", "a"}})
				return err
			},
			after: func(w *world, id string) {
				if u := w.find(id); u.Status != Disabled || !slices.Equal(u.Roles, []string{"a", "b"}) {
					w.t.Errorf("the change is lost: %+v", u)
				}
			},
		},
		{
			name: "rename", before: bound,
			do: func(w *world, r *Records, id string) error { return r.Rename(w.t.Context(), id, "Ali") },
			after: func(w *world, id string) {
				if u := w.find(id); u.Name != "Ali" || !u.NameChosen {
					w.t.Errorf("the name is lost: %+v", u)
				}
			},
		},
		{
			name: "delete", gone: true,
			before: func(w *world) string {
				w.person("Bob", Rule{Email, newMail})
				id := bound(w)
				w.signIn(w.directory(Open), Identity{AppID: appB, OpenID: "oB", UnionID: "uAlice"})
				return id
			},
			do: func(w *world, r *Records, id string) error {
				_, err := r.Delete(w.t.Context(), id)
				return err
			},
			after: func(w *world, id string) {
				if all := w.users(); len(all) != 1 || all[0].Name != "Bob" || len(w.keys()) != 4 {
					w.t.Errorf("the store holds %v", w.keys())
				}
				if u := w.person("Alice"); u.ID == id || u.Status != Active || u.Email != "" {
					w.t.Errorf("a deleted person comes back as %+v", u)
				}
			},
		},
	}
}

func bindScenarios() []crashScenario {
	bind := func(ch Channel, address string) func(w *world, r *Records, id string) error {
		return func(w *world, r *Records, id string) error {
			_, err := r.Bind(w.t.Context(), id, ch, address)
			return err
		}
	}
	wantMail := func(w *world, id string) {
		if u := w.find(id); u.Email != newMail || w.owner("email:"+newMail) != id || w.owner("email:"+oldMail) != "" {
			w.t.Errorf("the address is not bound to %+v: %v", u, w.pointers())
		}
	}
	merged := func(status Status) func(w *world, id string) {
		return func(w *world, id string) {
			all := w.users()
			if len(all) != 1 || all[0].ID == id || len(all[0].Identities) != 2 || all[0].Email != newMail || all[0].Phone != newPhone || all[0].Status != status || !slices.Equal(all[0].Roles, []string{"a", "b"}) {
				w.t.Errorf("one person is %+v", all)
			}
			if got := w.owner(identityKey(Identity{AppID: appA, OpenID: "oAlice"})); got != all[0].ID {
				w.t.Errorf("the identity leads to %s", got)
			}
		}
	}
	// two are one person who has been two users, each with an e-mail address.
	two := func(status Status) func(w *world) string {
		return func(w *world) string {
			other, u := w.person("Bob", Rule{Email, newMail}), w.person("Alice", Rule{Email, oldMail}, Rule{Phone, newPhone})
			w.change(other.ID, Change{Status: &status, Roles: &[]string{"b"}})
			w.change(u.ID, Change{Roles: &[]string{"a"}})
			return u.ID
		}
	}
	claims := []string{"email:" + newMail}
	return []crashScenario{
		{name: "bind", before: func(w *world) string { return w.person("Alice").ID }, do: bind(ByEmail, newMail), after: wantMail, claims: claims},
		{name: "bind another address", before: func(w *world) string { return w.person("Alice", Rule{Email, oldMail}).ID }, do: bind(ByEmail, newMail), after: wantMail, claims: claims},
		{
			name: "bind an address of somebody deleted by halves", do: bind(ByEmail, newMail), after: wantMail, claims: claims,
			before: func(w *world) string {
				if err := w.store.Set(w.t.Context(), "email:"+newMail, []byte("gone"), 0); err != nil {
					w.t.Fatalf("%v", err)
				}
				return w.person("Alice", Rule{Email, oldMail}).ID
			},
		},
		{name: "bind another user's address", before: two(Active), do: bind(ByEmail, newMail), after: merged(Active), gone: true},
		{name: "bind a disabled user's address", before: two(Disabled), do: bind(ByEmail, newMail), after: merged(Disabled), gone: true},
		{
			name: "sign in with another user's number", claims: []string{"phone:" + newPhone}, leftOver: true,
			before: func(w *world) string { w.person("Bob", Rule{Phone, newPhone}); return "" },
			do: func(w *world, r *Records, _ string) error {
				_, _, err := w.under(r, Policy{Registration: Open, Bind: []Channel{ByPhone}}).SignIn(w.t.Context(), Identity{AppID: appB, OpenID: "oB", Phone: newPhone})
				return err
			},
			after: func(w *world, _ string) {
				if all := w.users(); len(all) != 1 || len(all[0].Identities) != 2 || all[0].Name != "Bob" {
					w.t.Errorf("one person is %+v", all)
				}
			},
		},
		{
			name:   "sign in with a new number where numbers are not bound",
			before: func(w *world) string { return w.person("Alice", Rule{Phone, oldPhone}).ID },
			do: func(w *world, r *Records, _ string) error {
				_, _, err := w.under(r, Policy{Registration: Open}).SignIn(w.t.Context(), Identity{AppID: appA, OpenID: "oAlice", Phone: newPhone})
				if err == nil {
					_, err = r.Bind(w.t.Context(), w.owner(identityPrefix+appA+":oAlice"), ByPhone, newPhone)
				}
				return err
			},
			after: func(w *world, id string) {
				if u := w.find(id); u.Phone != newPhone {
					w.t.Errorf("the number is lost: %+v", u)
				}
			},
			claims: []string{"phone:" + newPhone},
		},
	}
}

func importScenarios() []crashScenario {
	entry := Entry{Email: newMail, Phone: newPhone, AppID: appA, OpenID: "oAlice", UnionID: "uAlice", Name: "Ali", Roles: []string{"b", "a"}}
	load := func(e Entry) func(w *world, r *Records, id string) error {
		return func(w *world, r *Records, id string) error {
			entry := e
			if e.ID == "same" {
				entry.ID = id
			}
			_, _, err := r.Import(w.t.Context(), entry, false)
			return err
		}
	}
	want := func(w *world, id string) {
		all := w.users()
		if len(all) != 1 || id != "" && all[0].ID != id || all[0].Email != newMail || all[0].Phone != newPhone || all[0].Name != "Ali" || len(all[0].Identities) != 1 || !slices.Equal(all[0].Roles, []string{"a", "b"}) {
			w.t.Errorf("the entry has become %+v", all)
		}
		if before, after, err := w.records().Import(w.t.Context(), entry, false); err != nil || OutcomeOf(before, after) != Unchanged {
			w.t.Errorf("imported again %+v is %+v, %v", before, after, err)
		}
	}
	withID := entry
	withID.ID = "same"
	claims := []string{"email:" + newMail, "phone:" + newPhone}
	nobody := func(*world) string { return "" }
	return []crashScenario{
		{name: "import", before: nobody, do: load(entry), after: want, claims: claims},
		{name: "import with an id", before: func(*world) string { return "alice" }, do: load(withID), after: want, claims: claims},
		{name: "import what is known by its openid", before: func(w *world) string { return w.person("Alice", Rule{Email, oldMail}, Rule{Phone, oldPhone}).ID }, do: load(entry), after: want, claims: claims},
		{name: "import what is known by its id", before: func(w *world) string { return w.person("Alice", Rule{Email, oldMail}, Rule{Phone, oldPhone}).ID }, do: load(withID), after: want, claims: claims},
		{
			name: "import who has registered by halves", do: load(entry), after: want, claims: claims,
			before: func(w *world) string {
				if err := w.store.Set(w.t.Context(), identityPrefix+appA+":oAlice", []byte("halfway"), 0); err != nil {
					w.t.Fatalf("%v", err)
				}
				return "halfway"
			},
		},
	}
}

// change changes a user as an operator does.
func (w *world) change(id string, c Change) {
	w.t.Helper()
	if _, _, err := w.records().Change(w.t.Context(), id, c); err != nil {
		w.t.Fatalf("%v", err)
	}
}
