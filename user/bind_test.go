// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/store"
)

func (w *world) bind(id string, ch Channel, address string) (owner string) {
	w.t.Helper()
	owner, err := w.records().Bind(w.t.Context(), id, ch, address)
	if err != nil {
		w.t.Fatalf("binding %s: %v", address, err)
	}
	return owner
}

func TestBind(t *testing.T) {
	w := newTestWorld(t)
	u := w.person("Alice")
	for _, tt := range []struct {
		name         string
		ch           Channel
		address      string
		email, phone string
	}{
		{"new", ByEmail, "Old@Example.com", oldMail, ""},
		{"again", ByEmail, oldMail, oldMail, ""},
		{"the other channel", ByPhone, "138 0000 0001", oldMail, oldPhone},
		{"changed", ByEmail, newMail, newMail, oldPhone},
		{"back", ByEmail, oldMail, oldMail, oldPhone},
		{"number changed", ByPhone, newPhone, oldMail, newPhone},
	} {
		if owner := w.bind(u.ID, tt.ch, tt.address); owner != u.ID {
			t.Errorf("%s: the address is %s's", tt.name, owner)
		}
		if got := w.find(u.ID); got.Email != tt.email || got.Phone != tt.phone {
			t.Errorf("%s: %+v; want %q, %q", tt.name, got, tt.email, tt.phone)
		}
		w.wantWhole()
	}
}

func TestBind_Wrong(t *testing.T) {
	w := newTestWorld(t)
	u := w.person("Alice")
	keys := w.store.Keys()
	for _, tt := range []struct {
		name    string
		id      string
		ch      Channel
		address string
		want    error
	}{
		{"no address", u.ID, ByEmail, "alice", ErrAddress},
		{"no number", u.ID, ByPhone, oldMail, ErrAddress},
		{"no channel", u.ID, "fax", oldPhone, ErrAddress},
		{"nobody", "nobody", ByEmail, oldMail, ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if owner, err := w.records().Bind(t.Context(), tt.id, tt.ch, tt.address); !errors.Is(err, tt.want) || owner != "" {
				t.Errorf("Bind = %q, %v; want %v", owner, err, tt.want)
			}
			if diff := cmp.Diff(keys, w.store.Keys()); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

// An address that is another user's makes one person of the two, who is the one that
// had it: it may be the account that the site has known for years.
func TestBind_Another(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		mine, theirs, status Status
	}{
		{"both active", Active, Active, Active},
		{"imported, and new", Pending, Active, Active},
		{"waits, and was approved", Active, Pending, Active},
		{"disabled other", Active, Disabled, Disabled},
		{"pending, disabled other", Pending, Disabled, Disabled},
		// Nobody gets rid of a ban by proving an address.
		{"disabled one", Disabled, Active, Disabled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newTestWorld(t)
			alice := w.person("Alice", Rule{Email, oldMail}, Rule{Phone, newPhone})
			bob := w.person("Bob", Rule{Email, newMail})
			w.change(alice.ID, Change{Status: &tt.mine, Roles: &[]string{"a", "c"}})
			w.change(bob.ID, Change{Status: &tt.theirs, Roles: &[]string{"b", "c"}})
			if err := w.records().Rename(t.Context(), alice.ID, "艾丽丝"); err != nil {
				t.Fatal(err)
			}
			if owner := w.bind(alice.ID, ByEmail, newMail); owner != bob.ID {
				t.Errorf("the address is %s's, want %s", owner, bob.ID)
			}
			all := w.users()
			if len(all) != 1 {
				t.Fatalf("%d users: %+v", len(all), all)
			}
			if u := all[0]; u.ID != bob.ID || u.Status != tt.status || u.Email != newMail || u.Phone != newPhone || u.Name != "艾丽丝" || len(u.Identities) != 2 || !slices.Equal(u.Roles, []string{"a", "b", "c"}) {
				t.Errorf("one person is %+v", u)
			}
			if got := w.owner("email:" + oldMail); got != "" {
				t.Errorf("the address that was given up leads to %q", got)
			}
			w.wantWhole()
		})
	}
}

// The pointer from an address leads to somebody who was deleted meanwhile.
func TestBind_StalePointer(t *testing.T) {
	w := newTestWorld(t)
	u := w.person("Alice")
	if err := w.store.Set(t.Context(), "email:"+newMail, []byte("gone"), 0); err != nil {
		t.Fatal(err)
	}
	if owner := w.bind(u.ID, ByEmail, newMail); owner != u.ID {
		t.Errorf("the address is %q's", owner)
	}
	w.wantWhole()
}

// A user is deleted while an address is being bound: nobody has it then.
func TestBind_DeletedMeanwhile(t *testing.T) {
	w := newTestWorld(t)
	u, r := w.person("Alice"), w.records()
	var once sync.Once
	w.store.After = func(ctx context.Context, method, key string) error {
		if method == "Update" && key == "email:"+newMail {
			once.Do(func() {
				if _, err := w.records().Delete(ctx, u.ID); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	}
	if _, err := r.Bind(t.Context(), u.ID, ByEmail, newMail); !errors.Is(err, ErrNotFound) {
		t.Errorf("Bind = %v", err)
	}
	if keys := w.keys(); len(keys) != 0 {
		t.Errorf("%v is left", keys)
	}
}

// Several users prove one address at the same time, on two nodes: one person is left,
// with every identity, whoever was first.
func TestBind_OneAddressConcurrently(t *testing.T) {
	for range 20 {
		w := newTestWorld(t)
		nodes := []*Records{w.records(), w.records()}
		people := []*User{w.person("Alice", Rule{Email, oldMail}), w.person("Bob"), w.person("Carol", Rule{Phone, oldPhone})}
		var all sync.WaitGroup
		for i, u := range people {
			all.Go(func() {
				// Who was merged into another meanwhile is no user any more.
				if _, err := nodes[i%2].Bind(t.Context(), u.ID, ByEmail, newMail); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		left := w.users()
		if len(left) != 1 || len(left[0].Identities) != 3 || left[0].Email != newMail || left[0].Phone != oldPhone {
			t.Fatalf("one person is %+v", left)
		}
		w.wantWhole()
	}
}

// One user proves several addresses at the same time: one of them stays.
func TestBind_SeveralAddressesConcurrently(t *testing.T) {
	for range 20 {
		w := newTestWorld(t)
		u := w.person("Alice", Rule{Email, oldMail})
		nodes := []*Records{w.records(), w.records()}
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				if _, err := nodes[i%2].Bind(t.Context(), u.ID, ByEmail, fmt.Sprintf("alice%d@example.com", i)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := w.find(u.ID); got.Email == oldMail {
			t.Errorf("no address was bound: %+v", got)
		}
		w.wantWhole()
	}
}

func TestBind_Outage(t *testing.T) {
	w := newTestWorld(t)
	u, r := w.person("Alice"), w.records()
	w.failAt.Store(1)
	if _, err := r.Bind(t.Context(), u.ID, ByEmail, oldMail); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Bind = %v", err)
	}
}

// TestG7AnothersNumber: without bind phone WeChat's word for a number leads nowhere,
// and the number may be another user's. Whoever merges with somebody who shows such a
// number gets neither its pointer nor its rules.
func TestG7AnothersNumber(t *testing.T) {
	w := newTestWorld(t)
	r := w.records()
	d := w.under(r, Policy{Registration: Open, Bind: []Channel{ByEmail}})
	holder := Entry{ID: "holder", Phone: "13800138000", Roles: []string{"admin"}}
	if _, _, err := r.Import(t.Context(), holder, false); err != nil {
		t.Fatal(err)
	}
	mallory := w.signIn(d, Identity{AppID: appA, OpenID: "oMallory"})
	if _, err := d.Bind(t.Context(), mallory.ID, ByEmail, "mallory@example.com"); err != nil {
		t.Fatal(err)
	}
	second := w.signIn(d, Identity{AppID: appB, OpenID: "oSecond", Phone: "+8613800138000"})
	if owner, err := d.Bind(t.Context(), second.ID, ByEmail, "mallory@example.com"); err != nil || owner != mallory.ID {
		t.Fatalf("Bind = %q, %v; want %q", owner, err, mallory.ID)
	}
	if owner := w.owner("phone:+8613800138000"); owner != "holder" {
		t.Errorf("the number leads to %q", owner)
	}
	if got := w.find(mallory.ID).Phone; got != "" {
		t.Errorf("the merged user has the number %q", got)
	}
	if _, _, err := r.Import(t.Context(), holder, false); err != nil {
		t.Errorf("importing the holder again: %v", err)
	}
	byPhone := w.under(r, Policy{Registration: Open, Bind: []Channel{ByPhone}})
	if u := w.signIn(byPhone, Identity{AppID: appB, OpenID: "oHolder", Phone: "+8613800138000"}); u.ID != "holder" {
		t.Errorf("who has the number is %q", u.ID)
	}
}

// TestG5DisabledBindsNothing: a disabled person signs in with the number of somebody
// else, who would be disabled with him.
func TestG5DisabledBindsNothing(t *testing.T) {
	w := newTestWorld(t)
	d := w.under(w.records(), Policy{Registration: Open, Bind: []Channel{ByPhone}})
	victim := w.signIn(d, Identity{AppID: appA, OpenID: "oVictim", Phone: "+8613800138000"})
	out := Identity{AppID: appA, OpenID: "oOut", Phone: "+8613900139000"}
	w.setStatus(d, w.signIn(d, out).ID, Disabled)
	out.Phone = "+8613800138000"
	w.wantDenied(d, out, ReasonDisabled)
	if got := w.find(victim.ID); got == nil || got.Status != Active {
		t.Errorf("the one who has the number is %+v", got)
	}
}

// TestBind_AfterOneThatBrokeOff: somebody once began to bind an address and went. Who
// has it now, and proves it, is nobody but himself.
func TestBind_AfterOneThatBrokeOff(t *testing.T) {
	w := newTestWorld(t)
	d := w.under(w.records(), Policy{Registration: Open, Bind: []Channel{ByEmail}})
	former, present := w.signIn(d, Identity{AppID: appA, OpenID: "oFormer"}), w.signIn(d, Identity{AppID: appA, OpenID: "oPresent"})
	if _, err := d.claimAddress(t.Context(), former.ID, ByEmail, "desk@example.com"); err != nil {
		t.Fatal(err)
	}
	if owner, err := d.Bind(t.Context(), present.ID, ByEmail, "desk@example.com"); err != nil || owner != present.ID {
		t.Errorf("Bind = %q, %v; want %q", owner, err, present.ID)
	}
	if got := w.find(former.ID); got == nil || got.Email != "" {
		t.Errorf("the former one is %+v", got)
	}
	w.wantWhole()
}

// Whoever was imported, and never came, was seen when the person was who turns out to
// be the same.
func TestBind_ImportedIsSeen(t *testing.T) {
	seen := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	earlier := seen.Add(-time.Hour)
	for _, tt := range []struct {
		name                   string
		imported, person, want time.Time
	}{
		{"never came", time.Time{}, seen, seen},
		{"came earlier", earlier, seen, seen},
		{"came later", seen, earlier, seen},
	} {
		u := &User{ID: "imported", CreatedAt: earlier, LastSeenAt: tt.imported}
		u.absorb(&User{ID: "stranger", CreatedAt: seen, LastSeenAt: tt.person})
		if !u.LastSeenAt.Equal(tt.want) || !u.CreatedAt.Equal(earlier) {
			t.Errorf("%s: seen %v, created %v", tt.name, u.LastSeenAt, u.CreatedAt)
		}
	}
}
