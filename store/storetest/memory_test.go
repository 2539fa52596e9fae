// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// The store that other packages test with keeps the contract, too: all of it but
// that publishers wait for no subscriber, so that tests need not wait either.
func TestMemory_Contract(t *testing.T) {
	for _, c := range keyChecks() {
		t.Run(c.name, func(t *testing.T) {
			var passed atomic.Int64
			m := &Memory{Now: func() time.Time { return time.Unix(1_800_000_000, passed.Load()) }}
			h := Harness{Store: m, Advance: func(d time.Duration) { passed.Add(int64(d)) }, FakeClock: true}
			c.run(t, h, func(name string) string { return "kept:" + name })
		})
	}
}

// A failure before the operation leaves nothing behind, one after it does.
func TestMemory_Hooks(t *testing.T) {
	failure := errors.New("broken")
	fail := func(context.Context, string, string) error { return failure }
	before, after := &Memory{Before: fail}, &Memory{After: fail}
	for _, m := range []*Memory{before, after} {
		if err := m.Set(t.Context(), "key", []byte("value"), 0); !errors.Is(err, failure) {
			t.Errorf("Set = %v; want the hook's error", err)
		}
	}
	if got := before.Keys(); len(got) != 0 {
		t.Errorf("a write that was kept from happening left %v", got)
	}
	if got := after.Keys(); len(got) != 1 {
		t.Errorf("a write that lost its answer left %v, want the key", got)
	}
}
