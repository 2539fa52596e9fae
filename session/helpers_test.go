// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testTTL   = 7 * 24 * time.Hour
	testIdle  = 24 * time.Hour
	testGrace = 5 * time.Minute

	keyA = "key-a-0123456789abcdef0123456789"
	keyB = "key-b-0123456789abcdef0123456789"
)

// clock is a clock that only the test moves.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ns.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) Advance(d time.Duration) { c.ns.Add(int64(d)) }

// world is a store that nodes share.
type world struct {
	t     testing.TB
	clock *clock
	store *storetest.Memory
	calls atomic.Int64
	down  atomic.Bool
	// hook, if set, runs before each operation of the store.
	hook atomic.Pointer[func(ctx context.Context, method, key string) error]
	// written gets the key of each update that the store has done.
	written chan string
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, clock: newClock(), written: make(chan string, 100)}
	w.store = &storetest.Memory{Now: w.clock.Now}
	w.store.Before = func(ctx context.Context, method, key string) error {
		w.calls.Add(1)
		if fn := w.hook.Load(); fn != nil {
			if err := (*fn)(ctx, method, key); err != nil {
				return err
			}
		}
		if w.down.Load() {
			return fmt.Errorf("%w: connection refused", store.ErrUnavailable)
		}
		return nil
	}
	w.store.After = func(_ context.Context, method, key string) error {
		if method == "Update" && strings.HasPrefix(key, "session:") {
			w.written <- key
		}
		return nil
	}
	return w
}

// before has fn run before each operation of the store from now on.
func (w *world) before(fn func(ctx context.Context, method, key string) error) { w.hook.Store(&fn) }

// node returns one gateway on the store.
func (w *world) node(secrets ...string) *Manager {
	w.t.Helper()
	keys, err := FixedKeys(append(secrets, keyA)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.nodeWith(Config{TTL: testTTL, Idle: testIdle, Grace: testGrace, Keys: keys})
}

func (w *world) nodeWith(c Config) *Manager {
	w.t.Helper()
	r := NewRecords(w.store, w.clock.Now)
	w.t.Cleanup(r.Close)
	return NewManager(r, c)
}

func (w *world) issue(m *Manager, userID string) (Session, string) {
	w.t.Helper()
	s, cookie, err := m.Issue(w.t.Context(), Session{
		ID: NewID(), UserID: userID, Method: "official_qr", AppID: "wx0123456789abcdef", OpenID: "oABCD" + userID,
		IP: "192.0.2.1", UserAgent: "Mozilla/5.0",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s, cookie
}

func (w *world) wantValid(m *Manager, cookie string) *Session {
	w.t.Helper()
	s, err := m.Check(w.t.Context(), cookie)
	if err != nil {
		w.t.Fatalf("Check = %v; want a session", err)
	}
	return s
}

func (w *world) wantInvalid(m *Manager, cookie string) {
	w.t.Helper()
	if s, err := m.Check(w.t.Context(), cookie); !errors.Is(err, ErrInvalid) || s != nil {
		w.t.Errorf("Check = %v, %v; want ErrInvalid", s, err)
	}
}

func (w *world) wantUnavailable(m *Manager, cookie string) {
	w.t.Helper()
	if s, err := m.Check(w.t.Context(), cookie); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) || s != nil {
		w.t.Errorf("Check = %v, %v; want ErrUnavailable", s, err)
	}
}

// awaitTouch waits until the store has noted when the session was last seen.
func (w *world) awaitTouch(id string) {
	w.t.Helper()
	select {
	case key := <-w.written:
		if !strings.HasSuffix(key, id) {
			w.t.Fatalf("%s was written, want session %s", key, id)
		}
	case <-time.After(20 * time.Second):
		w.t.Fatal("that the session was seen is not recorded")
	}
}

// wantNoTouch fails the test if anything was written; asked after something that
// the same goroutine does later, nothing can be under way.
func (w *world) wantNoTouch() {
	w.t.Helper()
	select {
	case key := <-w.written:
		w.t.Errorf("%s was written", key)
	default:
	}
}
