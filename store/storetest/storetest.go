// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package storetest says whether an implementation of store.Store keeps the
// contract: a test of the implementation calls Run.
package storetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// Harness is an empty store and the clock it lives by.
type Harness struct {
	Store store.Store

	// Advance lets d pass on the store's clock. A store with a clock of its own
	// moves it; for a real server it waits until the server's clock has moved.
	Advance func(d time.Duration)

	// FakeClock says that Advance takes no time, so that the suite may call it
	// often, and that the clock stands still in between.
	FakeClock bool
}

// shortTTL is the ttl of entries that shall expire within a test: short enough
// to be waited for, long enough for the calls before.
const shortTTL = 2 * time.Second

// patience bounds the wait for an event that must come. Only a failing test
// takes so long.
const patience = 20 * time.Second

// check is one test of the suite.
type check struct {
	name string
	run  func(t testing.TB, h Harness)
}

// keyCheck is a test that must hold for durable and for volatile keys. key makes
// a key of the kind from a name.
type keyCheck struct {
	name string
	run  func(t testing.TB, h Harness, key func(name string) string)
}

// Run runs the suite. open returns a store that holds nothing, and releases it
// through t.Cleanup; it is called once for each test.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for _, c := range allChecks() {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func allChecks() []check {
	checks := storeChecks()
	for _, prefix := range []string{"kept:", store.VolatilePrefix} {
		key := func(name string) string { return prefix + name }
		for _, c := range keyChecks() {
			checks = append(checks, check{
				name: c.name + "/" + prefix[:len(prefix)-1],
				run:  func(t testing.TB, h Harness) { c.run(t, h, key) },
			})
		}
	}
	return checks
}

func keyChecks() []keyCheck {
	return slices.Concat(valueChecks, expiryChecks, updateChecks, announceChecks, contentionChecks, listChecks)
}

func storeChecks() []check {
	return slices.Concat(limitChecks, messageChecks, []check{{"Model", checkModel}})
}

// Helpers that the checks share. Each fails the test where the store returns an
// error, so that a check reads as what it is about.

func set(t testing.TB, s store.Store, key, value string, ttl time.Duration) {
	t.Helper()
	if err := s.Set(t.Context(), key, []byte(value), ttl); err != nil {
		t.Fatalf("Set(%q): %v", key, err)
	}
}

func wantValue(t testing.TB, s store.Store, key, want string) {
	t.Helper()
	value, found, err := s.Get(t.Context(), key)
	if err != nil || !found || string(value) != want {
		t.Fatalf("Get(%q) = %q, %v, %v; want %q", key, value, found, err, want)
	}
}

func wantAbsent(t testing.TB, s store.Store, key string) {
	t.Helper()
	value, found, err := s.Get(t.Context(), key)
	if err != nil || found || value != nil {
		t.Fatalf("Get(%q) = %q, %v, %v; want it absent", key, value, found, err)
	}
}

func update(t testing.TB, s store.Store, key string, change func(current []byte, found bool) ([]byte, time.Duration, error)) {
	t.Helper()
	if err := s.Update(t.Context(), key, change); err != nil {
		t.Fatalf("Update(%q): %v", key, err)
	}
}

// listAll goes through all pages and returns what they hold. An entry may come
// twice; its last value counts.
func listAll(ctx context.Context, t testing.TB, s store.Store, prefix string, limit int) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for cursor, more := "", true; more; more = cursor != "" {
		items, next, err := s.List(ctx, prefix, cursor, limit)
		if err != nil {
			t.Fatalf("List(%q, %q, %d): %v", prefix, cursor, limit, err)
		}
		if len(items) > limit {
			t.Fatalf("List(%q, %q, %d) returned %d entries", prefix, cursor, limit, len(items))
		}
		for _, item := range items {
			all[item.Key] = string(item.Value)
		}
		cursor = next
	}
	return all
}

// wait returns when event is closed.
func wait(t testing.TB, event <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(patience):
		t.Fatalf("waited %s in vain for %s", patience, what)
	}
}
