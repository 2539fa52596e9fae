// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

// A session is revoked on another node while this one hears nothing. Its open
// WebSocket must not outlive the cut, and nobody else's is closed.
func TestRecords_ConnectionsEndThoughTheRevocationWasMissed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		again bool // whether notices flow again
	}{
		{"revoked while cut off, which lasts", false},
		{"revoked while cut off, then heard again", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := new(storetest.Memory)
				r := NewRecords(m, nil)
				defer r.Close()
				keys, err := FixedKeys(keyA)
				if err != nil {
					t.Fatal(err)
				}
				manager := NewManager(r, Config{TTL: time.Hour, Idle: time.Hour, Grace: time.Minute, Keys: keys})
				revoked, _, err := manager.Issue(t.Context(), Session{ID: NewID(), UserID: "alice"})
				if err != nil {
					t.Fatal(err)
				}
				kept, _, err := manager.Issue(t.Context(), Session{ID: NewID(), UserID: "bob"})
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan struct{}, 100)
				defer r.Track(&revoked, time.Time{}, func() { ended <- struct{}{} }).Release()
				defer r.Track(&kept, time.Time{}, func() { t.Error("another session's connection is ended") }).Release()

				m.Tell("session", store.Notice{Kind: store.Lost})
				synctest.Wait()
				if _, err := m.Delete(t.Context(), "session:"+revoked.ID); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				if tt.again {
					m.Tell("session", store.Notice{Kind: store.Restored})
				}
				<-ended
				if after := time.Since(begun); after > recheckInterval {
					t.Errorf("ended after %v, want at most %v", after, recheckInterval)
				}
			})
		})
	}
}

// The store is away: nothing is known against the session, and its connections stay.
func TestRecords_ConnectionsOutliveAnOutage(t *testing.T) {
	w := newWorld(t)
	manager := w.node()
	s, _ := w.issue(manager, "alice")
	defer manager.Track(&s, time.Time{}, func() { t.Error("a connection is ended while the store is away") }).Release()
	w.down.Store(true)
	manager.recheck(t.Context())
}

// Somebody's script signs in again and again: the list stays within what a store
// takes, and the session that would end first is ended.
func TestManager_TooManySessionsOfOneUser(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	_, first := w.issue(m, "alice")
	_, bobs := w.issue(m, "bob")
	for range maxSessions - 1 {
		w.clock.Advance(time.Second)
		w.issue(m, "alice")
	}
	w.wantValid(m, first)
	w.clock.Advance(time.Second)
	_, last := w.issue(m, "alice")
	w.wantInvalid(m, first)
	w.wantValid(m, last)
	w.wantValid(m, bobs)
	if n, err := m.RevokeUser(t.Context(), "alice"); n != maxSessions || err != nil {
		t.Errorf("RevokeUser = %d, %v; want %d", n, err, maxSessions)
	}
	w.wantInvalid(m, last)
}

// Sessions that have ended leave the list, so that it does not grow for ever.
func TestOwners_ForgetWhatHasEnded(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	for range 3 {
		w.issue(m, "alice")
	}
	w.clock.Advance(testTTL + time.Minute)
	s, _ := w.issue(m, "alice")
	raw, _, err := w.store.Get(t.Context(), ownerPrefix+"alice")
	if want := fmt.Sprintf(`{%q:%d}`, s.ID, s.ExpiresAt.Unix()); err != nil || string(raw) != want {
		t.Errorf("listed are %s, %v; want %s", raw, err, want)
	}
}
