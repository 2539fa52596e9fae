// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// between does act, on another node, before the operation n of do on the store, and
// says whether there were so many.
func (w *world) between(n int, act, do func()) (reached bool) {
	count := 0
	w.store.Before = func(context.Context, string, string) error {
		if count++; count == n {
			act()
		}
		return nil
	}
	do()
	w.store.Before = nil
	return count >= n
}

// merging is a way in which Mallory, an admin, turns out to be the user owner.
type merging struct {
	name  string
	begin func(w *world) (mallory, owner string)
	do    func(w *world, r *Records, mallory string) error
}

var malloryA = Identity{AppID: appA, OpenID: "oMallory"}

func mergings() []merging {
	union := malloryA
	union.UnionID = "uMallory"
	begin := func(theirs Identity) func(w *world) (string, string) {
		return func(w *world) (string, string) {
			d := w.directory(Open)
			owner, u := w.signIn(d, theirs), w.signIn(d, malloryA)
			w.bind(owner.ID, ByEmail, newMail)
			w.change(u.ID, Change{Roles: &[]string{"admin"}})
			return u.ID, owner.ID
		}
	}
	return []merging{
		{"by an address", begin(Identity{AppID: appB, OpenID: "oB"}), func(w *world, r *Records, mallory string) error {
			_, err := r.Bind(w.t.Context(), mallory, ByEmail, newMail)
			return err
		}},
		{"by unionid", begin(Identity{AppID: appB, OpenID: "oB", UnionID: "uMallory"}), func(w *world, r *Records, _ string) error {
			_, _, err := NewDirectory(r, Policy{Registration: Open}, 0).SignIn(w.t.Context(), union)
			return err
		}},
	}
}

// A sign-in of Mallory's is on its way while another browser of his shows that he is
// another user. He must not come back as who he was: an operator who then disables
// the one whom he sees would leave the other.
func TestSignIn_MergedMeanwhile(t *testing.T) {
	for _, m := range mergings() {
		for _, id := range []Identity{malloryA, {AppID: appA, OpenID: "oMallory", UnionID: "uMallory"}} {
			for n, reached := 1, true; reached; n++ {
				t.Run(fmt.Sprintf("%s/as %q/operation %d", m.name, id.UnionID, n), func(t *testing.T) {
					w := newTestWorld(t)
					mallory, owner := m.begin(w)
					d := w.directory(Open)
					var session string
					reached = w.between(n, func() {
						if err := m.do(w, w.records(), mallory); err != nil {
							t.Error(err)
						}
					}, func() { session = w.signIn(d, id).ID })
					if !reached {
						w.wantMerged(m.do(w, w.records(), mallory))
					}
					w.wantNoGhost(session, owner)
				})
			}
		}
	}
}

// wantNoGhost fails the test unless one user is left, and nobody gets in as soon as he
// is disabled: neither with a session begun as either, nor with a new one.
func (w *world) wantNoGhost(session, owner string) {
	w.t.Helper()
	if all := w.users(); len(all) != 1 || all[0].ID != owner {
		w.t.Errorf("one person is %+v", all)
	}
	w.wantWhole()
	w.change(owner, Change{Status: new(Disabled)})
	d := w.directory(Open)
	if m, err := d.Get(w.t.Context(), session); err == nil && m.Admission != IsDisabled {
		w.t.Errorf("a session of %s passes", session)
	}
	w.wantDenied(d, malloryA, ReasonDisabled)
}

// The same without anybody's planning: many sign-ins and one merge at the same time, on
// a store that lets others go first.
func TestSignIn_ManyWhileMerged(t *testing.T) {
	for range 100 {
		w := newTestWorld(t)
		m := mergings()[0]
		mallory, owner := m.begin(w)
		d := w.directory(Open)
		w.store.Before = func(context.Context, string, string) error { runtime.Gosched(); return nil }
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if _, _, err := d.SignIn(t.Context(), malloryA); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			if err := m.do(w, d.Records, mallory); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		w.wantNoGhost(mallory, owner)
	}
}

// Two who are registered at the same time are one whom the second to write it would
// bring back, had he been merged in between.
func TestSignIn_RegisteredAndMergedMeanwhile(t *testing.T) {
	for n, reached := 1, true; reached; n++ {
		w := newTestWorld(t)
		owner := w.person("Bob", Rule{Email, newMail}).ID
		merge := func() { w.bind(w.signIn(w.directory(Open), malloryA).ID, ByEmail, newMail) }
		var session string
		reached = w.between(n, merge, func() { session = w.signIn(w.directory(Open), malloryA).ID })
		if !reached {
			merge()
		}
		w.wantNoGhost(session, owner)
	}
}

// An operator deletes Mallory while he signs in: whoever comes after that is a stranger.
func TestSignIn_DeletedMeanwhile(t *testing.T) {
	for n, reached := 1, true; reached; n++ {
		w := newTestWorld(t)
		u := w.signIn(w.directory(Open), malloryA)
		d := w.directory(Open)
		reached = w.between(n, func() {
			if _, err := w.records().Delete(t.Context(), u.ID); err != nil {
				t.Error(err)
			}
		}, func() { _ = w.signIn(d, malloryA) })
		if !reached {
			break
		}
		again := w.signIn(d, malloryA)
		if all := w.users(); len(all) != 1 || again.ID == u.ID {
			t.Errorf("operation %d: %s was deleted, and there are %+v", n, u.ID, all)
		}
		w.wantWhole()
	}
}

// An operator disables Mallory, or takes his roles, while he turns out to be another.
// Where he is told that it is done it holds for that other.
func TestMerge_OperatorMeanwhile(t *testing.T) {
	disable, demote := Change{Status: new(Disabled)}, Change{Roles: &[]string{}}
	for _, m := range mergings() {
		for _, tt := range []struct {
			name    string
			change  Change
			ofOwner bool
		}{{"disable", disable, false}, {"demote", demote, false}, {"disable the other", disable, true}} {
			done := 0
			for n, reached := 1, true; reached; n++ {
				w := newTestWorld(t)
				mallory, owner := m.begin(w)
				target := mallory
				if tt.ofOwner {
					target = owner
				}
				var told error
				reached = w.between(n, func() { _, _, told = w.records().Change(t.Context(), target, tt.change) },
					func() { w.wantMerged(m.do(w, w.records(), mallory)) })
				u := w.find(owner)
				switch holds := u.Status == Disabled || tt.change.Status == nil && !slices.Contains(u.Roles, "admin"); {
				case !reached:
				case told == nil && !holds:
					t.Errorf("%s, %s, operation %d: it is done, and lost: %+v", m.name, tt.name, n, u)
				case told == nil:
					done++
				case !errors.Is(told, ErrNotFound):
					t.Errorf("%s, %s, operation %d: %v", m.name, tt.name, n, told)
				}
				if all := w.users(); len(all) != 1 {
					t.Errorf("%s, %s, operation %d: one person is %+v", m.name, tt.name, n, all)
				}
				w.wantWhole()
			}
			if done == 0 {
				t.Errorf("%s, %s: never done", m.name, tt.name)
			}
		}
	}
}

// wantMerged fails the test on an error, but for that the merged one is out.
func (w *world) wantMerged(err error) {
	w.t.Helper()
	var denied *DeniedError
	if err != nil && !errors.As(err, &denied) && !errors.Is(err, ErrNotFound) {
		w.t.Errorf("merging: %v", err)
	}
}

// Each of two users proves the address of the other at the same time. One is left.
func TestBind_EachOthersAddress(t *testing.T) {
	for n, reached := 1, true; reached; n++ {
		w := newTestWorld(t)
		alice, bob := w.person("Alice", Rule{Email, oldMail}), w.person("Bob", Rule{Email, newMail})
		reached = w.between(n, func() {
			_, err := w.records().Bind(t.Context(), bob.ID, ByEmail, oldMail)
			w.wantMerged(err)
		}, func() {
			_, err := w.records().Bind(t.Context(), alice.ID, ByEmail, newMail)
			w.wantMerged(err)
		})
		if all := w.users(); len(all) != 1 || len(all[0].Identities) != 2 {
			t.Errorf("operation %d: one person is %+v", n, all)
		}
		w.wantWhole()
	}
}

// A merge ended half-way. Who was merged is nobody from then on, and whoever asks for
// him completes it: his session does not pass, and an operator finds the other.
func TestMerge_EndedHalfWay(t *testing.T) {
	w := newTestWorld(t)
	m := mergings()[0]
	mallory, owner := m.begin(w)
	if _, err := w.records().retire(t.Context(), mallory, owner); err != nil {
		t.Fatal(err)
	}
	if _, err := w.directory(Open).Get(t.Context(), mallory); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
	if _, err := w.records().Find(t.Context(), mallory); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find = %v", err)
	}
	if u := w.signIn(w.directory(Open), malloryA); u.ID != owner || !slices.Contains(u.Roles, "admin") {
		t.Errorf("signed in as %+v", u)
	}
	w.wantNoGhost(mallory, owner)
}

// A merge into a user who is no more is undone.
func TestMerge_IntoNobody(t *testing.T) {
	w := newTestWorld(t)
	u := w.signIn(w.directory(Open), malloryA)
	if _, err := w.records().retire(t.Context(), u.ID, "nobody"); err != nil {
		t.Fatal(err)
	}
	w.change(u.ID, Change{Roles: &[]string{"a"}})
	if got := w.find(u.ID); got.Status != Active || !slices.Equal(got.Roles, []string{"a"}) {
		t.Errorf("he is %+v", got)
	}
	w.wantWhole()
}

// An entry that names a merged user by his identity alone is of the one he is now.
func TestImport_OfSomebodyMerged(t *testing.T) {
	w := newTestWorld(t)
	m := mergings()[0]
	mallory, owner := m.begin(w)
	w.wantMerged(m.do(w, w.records(), mallory))
	if err := w.store.Set(t.Context(), identityKey(malloryA), []byte(mallory), time.Hour); err != nil {
		t.Fatal(err)
	}
	_, u, err := w.records().Import(t.Context(), Entry{AppID: appA, OpenID: "oMallory", Name: "M"}, false)
	if err != nil || u.ID != owner {
		t.Errorf("Import = %+v, %v", u, err)
	}
}

// Where three have absorbed one another in a circle nobody is left, and notes that lead
// round: who signs in then is a stranger, and does not wait for ever.
func TestSignIn_NotesInACircle(t *testing.T) {
	w := newTestWorld(t)
	for id, heir := range map[string]string{"a": "b", "b": "c", "c": "a"} {
		if err := w.store.Set(t.Context(), gonePrefix+id, []byte(heir), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.store.Set(t.Context(), identityKey(malloryA), []byte("b"), 0); err != nil {
		t.Fatal(err)
	}
	if u := w.signIn(w.directory(Open), malloryA); len(u.ID) < 2 {
		t.Errorf("signed in as %s", u.ID)
	}
	w.wantWhole()
}
