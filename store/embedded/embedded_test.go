// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

func TestMain(m *testing.M) {
	runChild()
	goleak.VerifyTestMain(m)
}

// clock is a clock that only the test moves.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ns.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time { return time.Unix(0, c.ns.Load()) }

func (c *clock) Advance(d time.Duration) { c.ns.Add(int64(d)) }

// open returns an open store in dir that is closed at the end of the test.
func open(t testing.TB, dir string, now func() time.Time) *Store {
	t.Helper()
	s := New(Config{Dir: dir, Now: now})
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestStore_Contract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		c := newClock()
		return storetest.Harness{Store: open(t, t.TempDir(), c.Now), Advance: c.Advance, FakeClock: true}
	})
}
