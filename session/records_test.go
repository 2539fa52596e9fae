// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

func (w *world) list(m *Manager, userID string) (ids []string) {
	w.t.Helper()
	all, err := m.List(w.t.Context(), userID)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

// A person sees the sessions on all nodes, the latest first, and nobody else's.
func TestList(t *testing.T) {
	w := newWorld(t)
	here, there := w.node(), w.node()
	if got := w.list(here, "alice"); len(got) != 0 {
		t.Errorf("who never signed in has %v", got)
	}
	var want []string
	for i := range 20 {
		m := []*Manager{here, there}[i%2]
		s, _ := w.issue(m, "alice")
		w.issue(m, "bob")
		want = append([]string{s.ID}, want...)
		w.clock.Advance(time.Minute)
	}
	for _, m := range []*Manager{here, there} {
		if diff := cmp.Diff(want, w.list(m, "alice")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if found, err := there.Revoke(t.Context(), want[3]); !found || err != nil {
		t.Fatal(found, err)
	}
	if diff := cmp.Diff(append(append([]string{}, want[:3]...), want[4:]...), w.list(here, "alice")); diff != "" {
		t.Errorf("after one was ended elsewhere (-want +got):\n%s", diff)
	}
	w.clock.Advance(testTTL)
	if got := w.list(here, "alice"); len(got) != 0 {
		t.Errorf("sessions that are over: %v", got)
	}
}

// "Last seen" is when this node saw it, before the store has been told.
func TestList_LastSeen(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, cookie := w.issue(m, "alice")
	w.clock.Advance(time.Hour)
	w.wantValid(m, cookie)
	all, err := m.List(t.Context(), "alice")
	if err != nil || len(all) != 1 || !all[0].LastSeenAt.Equal(w.clock.Now()) || !all[0].CreatedAt.Equal(s.CreatedAt) {
		t.Errorf("List = %+v, %v; want last seen %v", all, err, w.clock.Now())
	}
	w.awaitTouch(s.ID)
}

// A session in the list of a user that is another one's is not shown.
func TestList_SomebodyElses(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, _ := w.issue(m, "bob")
	if _, err := m.owners.add(t.Context(), "alice", s.ID, s.ExpiresAt); err != nil {
		t.Fatal(err)
	}
	if got := w.list(m, "alice"); len(got) != 0 {
		t.Errorf("alice sees %v", got)
	}
}

func TestFind(t *testing.T) {
	w := newWorld(t)
	here, there := w.node(), w.node()
	s, _ := w.issue(here, "alice")
	got, err := there.Find(t.Context(), s.ID)
	if diff := cmp.Diff(s, got); err != nil || diff != "" {
		t.Errorf("Find: %v (-want +got):\n%s", err, diff)
	}
	if _, err := here.Revoke(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{s.ID, NewID(), "x"} {
		if got, err := there.Find(t.Context(), id); !errors.Is(err, ErrInvalid) || got.ID != "" {
			t.Errorf("Find of none = %+v, %v", got, err)
		}
	}
	w.down.Store(true)
	if _, err := there.Find(t.Context(), s.ID); err == nil || errors.Is(err, ErrInvalid) {
		t.Errorf("Find without the store = %v", err)
	}
	if _, err := there.List(t.Context(), "alice"); err == nil {
		t.Error("List without the store says that there are none")
	}
}

// What one user may do has changed: the connections of all sessions are closed, the
// sessions live on, and nobody else is touched.
func TestEndConnections(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	ended := map[string]int{}
	for i, userID := range []string{"alice", "alice", "bob"} {
		s, _ := w.issue(m, userID)
		for n := range 2 {
			defer m.Track(&s, time.Time{}, func() { ended[fmt.Sprintf("%s%d%d", userID, i, n)]++ }).Release()
		}
	}
	m.EndConnections("alice")
	m.EndConnections("nobody")
	if diff := cmp.Diff(map[string]int{"alice00": 1, "alice01": 1, "alice10": 1, "alice11": 1}, ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	if got := w.list(m, "alice"); len(got) != 2 {
		t.Errorf("the sessions are %v", got)
	}
}

// A look at the user ends what was judged by another state of his, once for each: not
// what was begun, or judged again, by this one, and nobody else's.
func TestEndOutdated(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	before, after := time.Unix(1, 1), time.Unix(1, 2)
	ended := map[string]int{}
	track := func(userID, name string, asOf time.Time) *Tracked {
		s, _ := w.issue(m, userID)
		c := m.Track(&s, asOf, func() { ended[name]++ })
		t.Cleanup(c.Release)
		return c
	}
	track("alice", "before", before)
	track("alice", "never changed", time.Time{})
	track("alice", "after", after)
	track("alice", "judged again", before).Judged(after)
	track("bob", "bob's", before)
	for range 3 {
		m.EndOutdated("alice", after.UTC())
		m.EndOutdated("nobody", after)
	}
	if diff := cmp.Diff(map[string]int{"before": 1, "never changed": 1}, ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	m.EndOutdated("alice", before) // as after a failover that has lost the change
	if diff := cmp.Diff(map[string]int{"before": 2, "never changed": 2, "after": 1, "judged again": 1}, ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
}

// "Everywhere else" leaves the session it was asked from.
func TestRevokeOthers(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	kept, cookie := w.issue(m, "alice")
	_, other := w.issue(w.node(), "alice")
	_, bobs := w.issue(m, "bob")
	n, err := m.RevokeOthers(t.Context(), "alice", kept.ID)
	if n != 1 || err != nil {
		t.Errorf("RevokeOthers = %d, %v", n, err)
	}
	w.wantValid(m, cookie)
	w.wantValid(m, bobs)
	w.wantInvalid(m, other)
	if diff := cmp.Diff([]string{kept.ID}, w.list(m, "alice")); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// The session has been ended elsewhere and the notice of it is on its way: that there
// was one is what the store says, not what is in memory.
func TestRevoke_EndedElsewhere(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, cookie := w.issue(m, "alice")
	w.wantValid(m, cookie)
	if _, err := w.store.Delete(t.Context(), "session:"+s.ID); err != nil { // announced to nobody
		t.Fatal(err)
	}
	w.wantValid(m, cookie)
	if found, err := m.Revoke(t.Context(), s.ID); found || err != nil {
		t.Errorf("Revoke = %v, %v; want none", found, err)
	}
	w.wantInvalid(m, cookie)
}

// However many others are here, to end one user's connections costs no more: every
// request waits for the lock meanwhile.
func BenchmarkEndConnections(b *testing.B) {
	for _, others := range []int{10, 50_000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			var o openConns
			for i := range others {
				o.add(&Session{ID: fmt.Sprint("s", i), UserID: fmt.Sprint("u", i)}, time.Time{}, func() {})
			}
			for b.Loop() {
				o.endUser("u7")
			}
		})
	}
}

// One tracked request costs one allocation.
func TestTrack_Allocations(t *testing.T) {
	var o openConns
	s := &Session{ID: "s", UserID: "u"}
	end := func() {}
	o.add(s, time.Time{}, end).Release() // the lists come to be
	if n := testing.AllocsPerRun(1000, func() { o.add(s, time.Time{}, end).Release() }); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}

// A person may have 500 sessions. Although Redis takes its time, he sees and ends them:
// what is asked at the same time is waited for once.
func TestList_FarAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(storetest.Memory)
		r := NewRecords(s, nil)
		defer r.Close()
		keys, err := FixedKeys(keyA)
		if err != nil {
			t.Fatal(err)
		}
		m := NewManager(r, Config{TTL: time.Hour, Idle: time.Hour, Keys: keys})
		for range 500 {
			if _, _, err := m.Issue(t.Context(), Session{ID: NewID(), UserID: "alice"}); err != nil {
				t.Fatal(err)
			}
		}
		s.Before = func(context.Context, string, string) error {
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // in a bubble
			return nil
		}
		all, err := m.List(store.WithPatience(t.Context(), time.Second), "alice")
		if err != nil || len(all) != 500 {
			t.Errorf("List: %d, %v", len(all), err)
		}
	})
}
