// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var listChecks = []keyCheck{
	{"List_PrefixBoundaries", checkListPrefix},
	{"List_EveryLimitIsComplete", checkListLimits},
	{"List_CompleteWhileOthersWrite", checkListWhileWriting},
	{"List_RefusesBadLimit", checkListBadLimit},
	{"List_TellsTTL", checkListTTL},
}

func checkListPrefix(t testing.TB, h Harness, key func(string) string) {
	names := []string{
		"a", "a:", "a:1", "a:1:x", "a:2", "a;", "a9", "ab:1", "b", "A:1",
		"a*:1", "a?:1", "a[b]:1", "a\\:1", "\xff", "\xff\xff", "\xff\xfe", "\x00", "\x00\x00",
	}
	all := make(map[string]string)
	for _, name := range names {
		all[key(name)] = "of " + name
		set(t, h.Store, key(name), "of "+name, 0)
	}
	for _, prefix := range append(names, "", "a*", "a?", "a[b]", "a[", "c", "a:1:x:") {
		want := make(map[string]string)
		for k, v := range all {
			if len(k) >= len(key(prefix)) && k[:len(key(prefix))] == key(prefix) {
				want[k] = v
			}
		}
		got := listAll(t.Context(), t, h.Store, key(prefix), 3)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("List(%q) (-want +got):\n%s", key(prefix), diff)
		}
	}
	if diff := cmp.Diff(all, listAll(t.Context(), t, h.Store, "", 4)); diff != "" {
		t.Errorf("List of everything (-want +got):\n%s", diff)
	}
}

func checkListLimits(t testing.TB, h Harness, key func(string) string) {
	want := make(map[string]string)
	for i := range 12 {
		k := key(fmt.Sprintf("a%d", i))
		want[k] = fmt.Sprint(i)
		set(t, h.Store, k, fmt.Sprint(i), 0)
	}
	for _, limit := range []int{1, 2, 3, 6, 11, 12, 13, 1000} {
		got := listAll(t.Context(), t, h.Store, key("a"), limit)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("List with limit %d (-want +got):\n%s", limit, diff)
		}
	}
}

// The operator lists the users while people sign in and out: whoever was there
// all the time is in the list.
func checkListWhileWriting(t testing.TB, h Harness, key func(string) string) {
	want := make(map[string]string)
	for i := range 100 {
		k := key(fmt.Sprintf("list:%03d", 2*i))
		want[k] = fmt.Sprint(i)
		set(t, h.Store, k, fmt.Sprint(i), 0)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		name := func(i int) string { return key(fmt.Sprintf("list:%03d", 2*(i*7%100)+1+200*w)) }
		writers.Go(func() { writeUntil(t, h.Store, stop, name) })
	}
	for range 3 {
		got := listAll(t.Context(), t, h.Store, key("list:"), 7)
		for k, v := range want {
			if got[k] != v {
				t.Errorf("List missed %q, or its value: %q; want %q", k, got[k], v)
			}
		}
	}
	close(stop)
	writers.Wait()
}

// writeUntil sets and deletes the keys that name makes until stop is closed.
func writeUntil(t testing.TB, s store.Store, stop <-chan struct{}, name func(i int) string) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		if err := s.Set(t.Context(), name(i), []byte("passing"), time.Hour); err != nil {
			t.Errorf("Set: %v", err)
		}
		if _, err := s.Delete(t.Context(), name(i/2)); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
}

// Whoever copies the entries to another store must not make them immortal.
func checkListTTL(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("forever"), "v", 0)
	set(t, h.Store, key("hour"), "v", time.Hour)
	set(t, h.Store, key("year"), "v", 365*24*time.Hour)
	want := map[string]time.Duration{key("forever"): 0, key("hour"): time.Hour, key("year"): 365 * 24 * time.Hour}
	for cursor, more := "", true; more; more = cursor != "" {
		items, next, err := h.Store.List(t.Context(), key(""), cursor, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			if ttl := want[item.Key]; item.TTL > ttl || item.TTL < ttl-time.Minute {
				t.Errorf("List says that %q has %v left; want %v", item.Key, item.TTL, ttl)
			}
		}
		cursor = next
	}
}

func checkListBadLimit(t testing.TB, h Harness, key func(string) string) {
	for _, limit := range []int{0, -1} {
		if _, _, err := h.Store.List(t.Context(), key(""), "", limit); err == nil || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("List with limit %d = %v; want an error about the limit", limit, err)
		}
	}
}
