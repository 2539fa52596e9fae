// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
)

// listEverything goes through all pages and counts them. between is called after
// the first of them.
func listEverything(t testing.TB, s *Store, prefix string, between ...func()) (items map[string][]byte, pages int) {
	t.Helper()
	items = make(map[string][]byte)
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := s.List(t.Context(), prefix, cursor, 20)
		if err != nil {
			t.Fatalf("List(%q): %v", prefix, err)
		}
		for _, item := range page {
			items[item.Key] = item.Value
		}
		cursor = next
		if pages++; pages == 1 {
			for _, f := range between {
				f()
			}
		}
	}
	return items, pages
}

func fillKeys(t testing.TB, s *Store, prefix string, n int) {
	t.Helper()
	for i := range n {
		if err := s.Set(t.Context(), fmt.Sprintf("%s%d", prefix, i), []byte("v"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
}

// What happens between two pages must not hide an entry that was there throughout.
func TestList_CompleteWhateverHappensInBetween(t *testing.T) {
	server := redistest.Start(t)
	for _, test := range []struct {
		name    string
		between func(t *testing.T, s *Store)
	}{
		// Redis makes its table larger, and smaller.
		{"many keys more", func(t *testing.T, s *Store) { fillKeys(t, s, "kept:more:", 2000) }},
		{"many keys less", func(t *testing.T, s *Store) {
			for i := range 2000 {
				if _, err := s.Delete(t.Context(), fmt.Sprintf("kept:more:%d", i)); err != nil {
					t.Fatal(err)
				}
			}
		}},
		// Its cursors mean something else then.
		{"restart", func(_ *testing.T, _ *Store) { server.Stop(); server.Start() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t, configOf(server.Addr()))
			fillKeys(t, s, "kept:listed:", 300)
			items, pages := listEverything(t, s, "kept:listed:", func() {
				test.between(t, s)
				eventually(t, "the store to work", func() bool { return s.Ping(t.Context()) == nil })
			})
			if len(items) != 300 || pages < 3 {
				t.Errorf("%d of 300 entries were listed on %d pages", len(items), pages)
			}
		})
	}
}

// The Redis is shared with an application that has many keys: a listing ends, and
// soon.
func TestList_ManyForeignKeys(t *testing.T) {
	server := redistest.Start(t)
	server.Do(t, "EVAL", "for i = 1, 10000 do redis.call('SET', 'foreign' .. i, '') end", "0")
	s := openStore(t, configOf(server.Addr()))
	if items, pages := listEverything(t, s, "kept:"); len(items) != 0 || pages > 10 {
		t.Errorf("%d entries on %d pages; want none, on a few", len(items), pages)
	}
	fillKeys(t, s, "kept:", 3)
	if items, pages := listEverything(t, s, "kept:"); len(items) != 3 || pages > 20 {
		t.Errorf("%d entries on %d pages; want 3, on a few", len(items), pages)
	}
}

// A foreign value under our prefix is an error, and no panic.
func TestList_ValueOfAnotherType(t *testing.T) {
	server := redistest.Start(t)
	server.Do(t, "LPUSH", "wechat:kept:list", "x")
	s := openStore(t, configOf(server.Addr()))
	for _, op := range []func() error{
		func() error { _, _, err := s.List(t.Context(), "kept:", "", 10); return err },
		func() error { _, _, err := s.Get(t.Context(), "kept:list"); return err },
		func() error { _, _, err := s.Take(t.Context(), "kept:list"); return err },
		func() error { return increment(t.Context(), s, "kept:list") },
	} {
		if err := op(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%v; want ErrUnavailable", err)
		}
	}
}

// A cursor comes back in a URL: who changes it gets an error, and no key of another
// prefix.
func TestList_RefusesForeignCursors(t *testing.T) {
	s := openStore(t, alone(configOf(sharedServer().Addr())))
	fillKeys(t, s, "kept:", 100)
	if err := s.Set(t.Context(), "secret:key", []byte("s"), 0); err != nil {
		t.Fatal(err)
	}
	stolen := position{found: []string{s.prefix + "secret:key"}, scanned: true}.cursor()
	for _, cursor := range []string{"garbage", "!", "AAAA", "_____w", stolen, position{address: "a", run: "r"}.cursor()[1:]} {
		items, _, err := s.List(t.Context(), "kept:", cursor, 10)
		if err == nil || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("List with the cursor %q = %v, %v; want an error about the cursor", cursor, items, err)
		}
	}
	// One of another Redis begins anew.
	other := position{address: "192.0.2.1:6379", run: "another", scan: 17}.cursor()
	seen := make(map[string]bool)
	for more := true; more; more = other != "" {
		items, next, err := s.List(t.Context(), "kept:", other, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			seen[item.Key] = true
		}
		other = next
	}
	if len(seen) != 100 {
		t.Errorf("%d of 100 entries were listed", len(seen))
	}
}
