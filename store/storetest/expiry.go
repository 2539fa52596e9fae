// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"
)

var expiryChecks = []keyCheck{
	{"TTL_EntryExpires", checkExpiry},
	{"TTL_WriteReplacesTTL", checkNewTTL},
	{"TTL_ExpiredIsAbsentForEveryMethod", checkExpiredAbsent},
}

func checkExpiry(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("short"), "value", shortTTL)
	set(t, h.Store, key("long"), "value", time.Hour)
	set(t, h.Store, key("forever"), "value", 0)
	wantValue(t, h.Store, key("short"), "value")
	if h.FakeClock {
		h.Advance(shortTTL - time.Millisecond)
		wantValue(t, h.Store, key("short"), "value")
	}
	h.Advance(shortTTL)
	wantAbsent(t, h.Store, key("short"))
	wantValue(t, h.Store, key("long"), "value")
	wantValue(t, h.Store, key("forever"), "value")
}

// A session that is renewed lives on; one whose ttl is shortened does not.
func checkNewTTL(t testing.TB, h Harness, key func(string) string) {
	to := func(ttl time.Duration) func([]byte, bool) ([]byte, time.Duration, error) {
		return func([]byte, bool) ([]byte, time.Duration, error) { return []byte("new"), ttl, nil }
	}
	set(t, h.Store, key("set longer"), "old", shortTTL)
	set(t, h.Store, key("set longer"), "new", time.Hour)
	set(t, h.Store, key("set forever"), "old", shortTTL)
	set(t, h.Store, key("set forever"), "new", 0)
	set(t, h.Store, key("set shorter"), "old", 0)
	set(t, h.Store, key("set shorter"), "new", shortTTL)
	set(t, h.Store, key("update longer"), "old", shortTTL)
	update(t, h.Store, key("update longer"), to(time.Hour))
	set(t, h.Store, key("update forever"), "old", shortTTL)
	update(t, h.Store, key("update forever"), to(0))
	set(t, h.Store, key("update shorter"), "old", time.Hour)
	update(t, h.Store, key("update shorter"), to(shortTTL))
	if _, err := h.Store.Create(t.Context(), key("refused"), []byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Store.Create(t.Context(), key("refused"), []byte("other"), shortTTL); err != nil {
		t.Fatal(err)
	}
	h.Advance(shortTTL)
	for _, name := range []string{"set longer", "set forever", "update longer", "update forever", "refused"} {
		wantValue(t, h.Store, key(name), "new")
	}
	wantAbsent(t, h.Store, key("set shorter"))
	wantAbsent(t, h.Store, key("update shorter"))
}

// An entry that has expired and was not removed yet must not be seen by any way:
// not be taken, not block a Create, not be counted by a Delete.
func checkExpiredAbsent(t testing.TB, h Harness, key func(string) string) {
	for _, name := range []string{"create", "take", "delete", "update", "list"} {
		created, err := h.Store.Create(t.Context(), key(name), []byte("old"), shortTTL)
		if err != nil || !created {
			t.Fatalf("Create = %v, %v; want true", created, err)
		}
	}
	h.Advance(shortTTL)
	if got := listAll(t.Context(), t, h.Store, key(""), 10); len(got) != 0 {
		t.Errorf("List returned expired entries: %v", got)
	}
	if value, found, err := h.Store.Take(t.Context(), key("take")); err != nil || found {
		t.Errorf("Take of an expired entry = %q, %v, %v; want it absent", value, found, err)
	}
	if existed, err := h.Store.Delete(t.Context(), key("delete")); err != nil || existed {
		t.Errorf("Delete of an expired entry = %v, %v; want false", existed, err)
	}
	update(t, h.Store, key("update"), func(current []byte, found bool) ([]byte, time.Duration, error) {
		if found || current != nil {
			t.Errorf("Update saw the expired value %q, %v", current, found)
		}
		return []byte("new"), 0, nil
	})
	wantValue(t, h.Store, key("update"), "new")
	if created, err := h.Store.Create(t.Context(), key("create"), []byte("new"), 0); err != nil || !created {
		t.Errorf("Create over an expired entry = %v, %v; want true", created, err)
	}
	wantValue(t, h.Store, key("create"), "new")
}
