// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChange(t *testing.T) {
	w := newTestWorld(t)
	u, r := w.person("Alice", Rule{Email, oldMail}), w.records()
	before, after, err := r.Change(t.Context(), u.ID, Change{Status: new(Pending), Roles: &[]string{"b", "a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(u, before); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	want := clone(u)
	want.Status, want.Roles = Pending, []string{"a", "b"}
	if want.AccessAt = after.AccessAt; !after.AccessAt.After(u.AccessAt) {
		t.Errorf("the change is dated %v, that before %v", after.AccessAt, u.AccessAt)
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, w.find(u.ID)); diff != "" {
		t.Errorf("in the store (-want +got):\n%s", diff)
	}
	// What is nil stays, what is empty goes.
	if _, after, err = r.Change(t.Context(), u.ID, Change{Status: new(Active)}); err != nil || after.Status != Active || len(after.Roles) != 2 {
		t.Errorf("Change of the status = %+v, %v", after, err)
	}
	if _, after, err = r.Change(t.Context(), u.ID, Change{Roles: &[]string{}}); err != nil || after.Status != Active || len(after.Roles) != 0 {
		t.Errorf("Change of the roles = %+v, %v", after, err)
	}
	if before, after, err := r.Change(t.Context(), "nobody", Change{Status: new(Active)}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Change of nobody = %v, %v, %v", before, after, err)
	}
}

// Two operators decide about the same person: the second one is told.
func TestChange_If(t *testing.T) {
	w := newTestWorld(t)
	u, r := w.person("Alice"), w.records()
	isActive := func(u *User) bool { return u.Status == Active }
	if _, _, err := r.Change(t.Context(), u.ID, Change{Status: new(Disabled), If: isActive}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Change(t.Context(), u.ID, Change{Status: new(Pending), If: isActive}); !errors.Is(err, ErrChanged) {
		t.Errorf("Change = %v, want ErrChanged", err)
	}
	if got := w.find(u.ID); got.Status != Disabled {
		t.Errorf("the user is %q", got.Status)
	}
}

func TestChange_Validate(t *testing.T) {
	many := slices.Repeat([]string{"a"}, maxRoles+1)
	for _, tt := range []struct {
		name   string
		change Change
		want   string // part of the error; empty: none
	}{
		{"nothing", Change{}, ""},
		{"status", Change{Status: new(Disabled)}, ""},
		{"no roles", Change{Roles: &[]string{}}, ""},
		{"roles", Change{Roles: &[]string{"a", "b"}}, ""},
		{"empty status", Change{Status: new(Status(""))}, "unknown"},
		{"other status", Change{Status: new(Status("Active"))}, "unknown"},
		{"other role", Change{Roles: &[]string{"a", "b,c"}}, "cannot be a role"},
		{"too many roles", Change{Roles: &many}, "too many"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.change.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Validate = %v; want %q", err, tt.want)
			}
		})
	}
}

// Changes of one user at the same time on two nodes: none is lost.
func TestChange_Concurrently(t *testing.T) {
	w := newTestWorld(t)
	u := w.person("Alice")
	nodes := []*Records{w.records(), w.records()}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := nodes[i%2].Rename(t.Context(), u.ID, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if _, _, err := nodes[i%2].Change(t.Context(), u.ID, Change{Status: new(Disabled)}); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if _, _, err := nodes[i%2].Change(t.Context(), u.ID, Change{Roles: &[]string{"a"}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, r := range nodes {
		got, err := r.Find(t.Context(), u.ID)
		if err != nil || got.Status != Disabled || len(got.Roles) != 1 || got.Name == "Alice" {
			t.Errorf("after all changes: %+v, %v", got, err)
		}
	}
}

// A chosen name stays, whatever nickname comes with the next sign-in.
func TestRename(t *testing.T) {
	w := newTestWorld(t)
	u, r := w.person("Alice"), w.records()
	if err := r.Rename(t.Context(), u.ID, "艾丽丝"); err != nil {
		t.Fatal(err)
	}
	if again := w.person("Alice"); again.ID != u.ID || again.Name != "艾丽丝" {
		t.Errorf("after another sign-in: %+v", again)
	}
	if err := r.Rename(t.Context(), "nobody", "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Rename of nobody = %v", err)
	}
}

// Nothing of a deleted person is left in the store but that his id was one, and nobody
// else is touched.
func TestDelete(t *testing.T) {
	w := newTestWorld(t)
	w.person("Bob", Rule{Email, "bob@example.com"}, Rule{Phone, "+8613900139000"})
	kept := w.store.Keys()
	u := w.person("Alice", Rule{Email, oldMail}, Rule{Phone, oldPhone})
	w.signIn(w.directory(Open), Identity{AppID: appB, OpenID: "oB", UnionID: "uAlice"})
	r := w.records()
	deleted, err := r.Delete(t.Context(), u.ID)
	if err != nil || deleted.Email != oldMail || len(deleted.Identities) != 2 {
		t.Errorf("Delete = %+v, %v", deleted, err)
	}
	if diff := cmp.Diff(kept, w.keys()); diff != "" {
		t.Errorf("keys in the store (-want +got):\n%s", diff)
	}
	if _, err := r.Delete(t.Context(), u.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a second Delete = %v", err)
	}
	if again := w.person("Alice"); again.ID == u.ID {
		t.Error("a deleted person comes back as who she was")
	}
}

// The address of a user to be deleted is another one's by now: his pointer stays.
func TestDelete_LeavesWhatIsAnothers(t *testing.T) {
	w := newTestWorld(t)
	u, bob := w.person("Alice", Rule{Email, oldMail}), w.person("Bob")
	if err := w.store.Set(t.Context(), "email:"+oldMail, []byte(bob.ID), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.records().Delete(t.Context(), u.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.owner("email:" + oldMail); got != bob.ID {
		t.Errorf("the address leads to %q", got)
	}
}

func TestOwner(t *testing.T) {
	w := newTestWorld(t)
	u, r := w.person("Alice"), w.records()
	if id, err := r.Owner(t.Context(), appA, "oAlice"); err != nil || id != u.ID {
		t.Errorf("Owner = %q, %v", id, err)
	}
	if id, err := r.Owner(t.Context(), appB, "oAlice"); err != nil || id != "" {
		t.Errorf("Owner at another app = %q, %v", id, err)
	}
}

// Every node hears of each change of what a user may do, whatever made it, and of
// nothing else: open connections are closed on its strength.
func TestOnAccess(t *testing.T) {
	w := newTestWorld(t)
	alice, bob, carol := w.person("Alice", Rule{Email, oldMail}), w.person("Bob", Rule{Email, newMail}), w.person("Carol")
	r := w.records()
	for _, tt := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"sign-in", func() error { w.person("Alice"); return nil }, nil},
		{"name", func() error { return r.Rename(t.Context(), alice.ID, "Ali") }, nil},
		{"the same address", func() error { _, err := r.Bind(t.Context(), alice.ID, ByEmail, oldMail); return err }, nil},
		{"dry run", func() error {
			_, _, err := r.Import(t.Context(), Entry{ID: alice.ID, Status: Disabled}, true)
			return err
		}, nil},
		{"unchanged import", func() error {
			_, _, err := r.Import(t.Context(), Entry{ID: alice.ID, Email: oldMail}, false)
			return err
		}, nil},
		{"new user", func() error { w.person("Dora"); return nil }, nil},
		{"status", func() error { _, _, err := r.Change(t.Context(), alice.ID, Change{Status: new(Pending)}); return err }, []string{alice.ID}},
		{"roles", func() error {
			_, _, err := r.Change(t.Context(), alice.ID, Change{Roles: &[]string{"a"}})
			return err
		}, []string{alice.ID}},
		{"import", func() error {
			_, _, err := r.Import(t.Context(), Entry{ID: alice.ID, Roles: []string{"b"}}, false)
			return err
		}, []string{alice.ID}},
		{"another address", func() error { _, err := r.Bind(t.Context(), alice.ID, ByEmail, "third@example.com"); return err }, []string{alice.ID}},
		{"two users become one", func() error { _, err := r.Bind(t.Context(), alice.ID, ByEmail, newMail); return err }, []string{alice.ID, bob.ID, alice.ID}},
		{"delete", func() error { _, err := r.Delete(t.Context(), carol.ID); return err }, []string{carol.ID, carol.ID}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var here openHere
			other := NewRecords(w.store, nil)
			defer other.Close()
			other.OnAccess(&here)
			for _, u := range []*User{alice, bob, carol} {
				if _, err := other.Find(t.Context(), u.ID); err == nil {
					here.connect(t, other, u.ID)
				}
			}
			if err := tt.do(); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(here.ended, tt.want) {
				t.Errorf("ended are those of %v, want %v", here.ended, tt.want)
			}
		})
	}
}
