// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

// TestOnAccess_AfterAGap: while a node hears nothing, an operator takes roles and
// deletes people who have WebSockets open there. Once it hears again it knows whose
// to close; those of others stay open.
func TestOnAccess_AfterAGap(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	longAgo := time.Now().Add(-time.Hour)
	old := NewRecords(w.store, func() time.Time { return longAgo })
	defer old.Close()
	var ids []string
	for _, name := range []string{"oAlice", "oBob", "oCarol", "oDave"} {
		ids = append(ids, w.signIn(d, Identity{AppID: appA, OpenID: name}).ID)
	}
	change := func(r *Records, id string) {
		t.Helper()
		if _, _, err := r.Change(t.Context(), id, Change{Roles: &[]string{"a"}}); err != nil {
			t.Fatal(err)
		}
	}
	change(old, ids[3]) // long before the gap

	deaf := NewRecords(w.store, nil)
	defer deaf.Close()
	told := make(chan string, 100)
	online := []string{ids[3], ids[2], ids[0], ids[1]} // those to be told of come last
	deaf.OnAccess(func(id string) { told <- id }, func() []string { return online })
	w.store.Tell(accessTopic, store.Notice{Kind: store.Lost})
	w.store.Tell(accessTopic, store.Notice{Kind: store.Lost})
	change(d.Records, ids[0])
	if _, err := d.Delete(t.Context(), ids[1]); err != nil {
		t.Fatal(err)
	}
	for len(told) > 0 {
		<-told // this store has told all the same
	}
	w.store.Tell(accessTopic, store.Notice{Kind: store.Restored})
	w.store.Tell(accessTopic, store.Notice{Kind: store.Restored}) // of no gap
	got, want := []string{<-told, <-told}, []string{ids[0], ids[1]}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
}

// TestOnAccess_InAGap: a node that hears nothing finds out by itself, soon, and once for
// each change: whoever comes back with other roles may stay. Where the store is away
// when the gap ends, it looks again.
func TestOnAccess_InAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		s := &storetest.Memory{Before: func(_ context.Context, method, _ string) error {
			if away.Load() && method == "Get" {
				return store.ErrUnavailable
			}
			return nil
		}}
		here, there := NewRecords(s, nil), NewRecords(s, nil)
		defer here.Close()
		defer there.Close()
		for _, id := range []string{"alice", "bob"} {
			if _, _, err := there.Import(t.Context(), Entry{ID: id}, false); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour) //nolint:forbidigo // in a bubble
		var told, others atomic.Int32
		here.OnAccess(func(id string) {
			if id != "alice" {
				others.Add(1)
			}
			told.Add(1)
		}, func() []string { return []string{"alice", "bob"} })
		expect := func(when string, want int32) {
			t.Helper()
			time.Sleep(lookInterval + time.Millisecond) //nolint:forbidigo // in a bubble
			synctest.Wait()
			if told.Load() != want || others.Load() != 0 {
				t.Errorf("%s: told of a change %d times, want %d; of others %d times", when, told.Load(), want, others.Load())
			}
		}
		change := func(roles ...string) {
			t.Helper()
			if _, _, err := there.Change(t.Context(), "alice", Change{Roles: &roles}); err != nil {
				t.Fatal(err)
			}
			told.Add(-1) // this store has told all the same
		}
		s.Tell(accessTopic, store.Notice{Kind: store.Lost})
		expect("nothing has changed", 0)
		change("a")
		expect("a change", 1)
		expect("no other change", 1)
		change("b")
		expect("another change", 2)
		away.Store(true)
		expect("the store is away", 2)
		away.Store(false)
		change("c")
		away.Store(true)
		s.Tell(accessTopic, store.Notice{Kind: store.Restored})
		expect("heard again, the store is away", 2)
		away.Store(false)
		expect("the store is back", 3)
		change("d")
		expect("after the gap", 3)
	})
}

// TestOnAccess_NothingOldIsLeft: whoever is told of a change may look at once, and so may
// somebody whose connection is closed and who comes back: nobody finds the roles of before.
func TestOnAccess_NothingOldIsLeft(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	u := w.signIn(d, Identity{AppID: appA, OpenID: "oAlice"})
	role := []string{"staff"}
	if _, _, err := d.Change(t.Context(), u.ID, Change{Roles: &role}); err != nil {
		t.Fatal(err)
	}
	if m, err := d.Get(t.Context(), u.ID); err != nil || !m.HasRole("staff") { // and now it is in memory
		t.Fatalf("Get = %+v, %v", m, err)
	}
	var found []string
	d.OnAccess(func(id string) {
		if m, err := d.Get(t.Context(), id); err == nil {
			found = append(found, m.RolesText)
		}
	}, func() []string { return nil })
	other := NewRecords(w.store, nil) // another node
	defer other.Close()
	if _, _, err := other.Change(t.Context(), u.ID, Change{Roles: &[]string{}}); err != nil {
		t.Fatal(err)
	}
	if want := []string{""}; !slices.Equal(found, want) {
		t.Errorf("found the roles %q", found)
	}
}
