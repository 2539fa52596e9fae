// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

// away is a store that cannot be read for a while.
type away struct {
	*storetest.Memory
	is atomic.Bool
}

// Get implements store.Store.
func (a *away) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if a.is.Load() {
		return nil, false, fmt.Errorf("reading: %w", store.ErrUnavailable)
	}
	return a.Memory.Get(ctx, key)
}

// A node that was cut off hears messages again before it can read again. That it
// could not look at once whether a session was revoked meanwhile must not leave the
// session's WebSocket open for ever.
func TestRecords_ConnectionsEndThoughTheFirstLookFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &away{Memory: new(storetest.Memory)}
		r := NewRecords(s, nil)
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
		ended := make(chan struct{}, 100)
		defer r.Track(&revoked, time.Time{}, func() { ended <- struct{}{} }).Release()

		s.is.Store(true)
		s.Tell("session", store.Notice{Kind: store.Lost})
		synctest.Wait()
		if _, err := s.Delete(t.Context(), "session:"+revoked.ID); err != nil {
			t.Fatal(err)
		}
		s.Tell("session", store.Notice{Kind: store.Restored})
		synctest.Wait()
		s.is.Store(false)
		begun := time.Now()
		select {
		case <-ended:
			if after := time.Since(begun); after > 2*time.Second {
				t.Errorf("ended after %v", after)
			}
		case <-time.After(time.Minute):
			t.Fatal("the connection goes on")
		}
	})
}
