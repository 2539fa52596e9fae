// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
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
	if got, want := []string{<-told, <-told}, []string{ids[0], ids[1]}; !slices.Equal(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
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
