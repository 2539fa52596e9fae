// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var limitChecks = []check{
	{"Sizes_BeyondRefused", checkTooLarge},
	{"TTL_NegativeRefused", checkNegativeTTL},
	{"Context_EndedIsItsOwnError", checkContexts},
	{"List_EmptyPrefixFindsBothKinds", checkListBothKinds},
	{"Ping_OfAWorkingStore", checkPing},
}

// calls are the methods that take a key, as calls that write or read it.
var calls = []struct {
	name string
	call func(ctx context.Context, s store.Store, key string, value []byte, ttl time.Duration) error
}{
	{"Get", func(ctx context.Context, s store.Store, key string, _ []byte, _ time.Duration) error {
		_, _, err := s.Get(ctx, key)
		return err
	}},
	{"Set", func(ctx context.Context, s store.Store, key string, value []byte, ttl time.Duration) error {
		return s.Set(ctx, key, value, ttl)
	}},
	{"Create", func(ctx context.Context, s store.Store, key string, value []byte, ttl time.Duration) error {
		_, err := s.Create(ctx, key, value, ttl)
		return err
	}},
	{"Take", func(ctx context.Context, s store.Store, key string, _ []byte, _ time.Duration) error {
		_, _, err := s.Take(ctx, key)
		return err
	}},
	{"Update", func(ctx context.Context, s store.Store, key string, value []byte, ttl time.Duration) error {
		return s.Update(ctx, key, func([]byte, bool) ([]byte, time.Duration, error) { return value, ttl, nil })
	}},
	{"Delete", func(ctx context.Context, s store.Store, key string, _ []byte, _ time.Duration) error {
		_, err := s.Delete(ctx, key)
		return err
	}},
}

// takesValue says which of calls write what they are given.
func takesValue(name string) bool {
	return name == "Set" || name == "Create" || name == "Update"
}

func checkTooLarge(t testing.TB, h Harness) {
	for _, c := range calls {
		for _, key := range []string{"", strings.Repeat("k", store.MaxKeyLen+1), store.VolatilePrefix + strings.Repeat("k", store.MaxKeyLen)} {
			if err := c.call(t.Context(), h.Store, key, []byte("v"), 0); !errors.Is(err, store.ErrTooLarge) {
				t.Errorf("%s with a key of %d bytes = %v; want ErrTooLarge", c.name, len(key), err)
			}
		}
		if !takesValue(c.name) {
			continue
		}
		for _, key := range []string{"kept:a", store.VolatilePrefix + "a"} {
			if err := c.call(t.Context(), h.Store, key, make([]byte, store.MaxValueLen+1), 0); !errors.Is(err, store.ErrTooLarge) {
				t.Errorf("%s with a value beyond the maximum = %v; want ErrTooLarge", c.name, err)
			}
			wantAbsent(t, h.Store, key)
		}
	}
}

func checkNegativeTTL(t testing.TB, h Harness) {
	for _, c := range calls {
		if !takesValue(c.name) {
			continue
		}
		for _, key := range []string{"kept:a", store.VolatilePrefix + "a"} {
			err := c.call(t.Context(), h.Store, key, []byte("v"), -1)
			if err == nil || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s with a negative ttl = %v; want an error about the ttl", c.name, err)
			}
			wantAbsent(t, h.Store, key)
		}
	}
}

// A visitor who closes the page must not make the gate believe that the store is
// down, and what was cancelled before it began must not be done.
func checkContexts(t testing.TB, h Harness) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, key := range []string{"kept:a", store.VolatilePrefix + "a"} {
		set(t, h.Store, key, "kept", 0)
		for _, c := range calls {
			wantContextError(t, c.name, c.call(cancelled, h.Store, key, []byte("v"), 0), context.Canceled)
			wantContextError(t, c.name, c.call(late, h.Store, key, []byte("v"), 0), context.DeadlineExceeded)
		}
		wantValue(t, h.Store, key, "kept")
	}
	_, _, err := h.Store.List(cancelled, "kept:", "", 10)
	wantContextError(t, "List", err, context.Canceled)
	wantContextError(t, "Publish", h.Store.Publish(cancelled, "topic", "payload"), context.Canceled)
	wantContextError(t, "Ping", h.Store.Ping(cancelled), context.Canceled)
}

func wantContextError(t testing.TB, method string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%s under an ended context = %v; want %v and not ErrUnavailable", method, err, want)
	}
}

func checkListBothKinds(t testing.TB, h Harness) {
	keys := []string{"a", "kept:a", "t", "tm", "tmp", "tmp9", "z", store.VolatilePrefix + "a", store.VolatilePrefix + "b"}
	for _, key := range keys {
		set(t, h.Store, key, "value", 0)
	}
	for _, prefix := range []string{"", "t", "tm", "tmp", store.VolatilePrefix, "kept:"} {
		got := listAll(t.Context(), t, h.Store, prefix, 2)
		for _, key := range keys {
			if _, found := got[key]; found != strings.HasPrefix(key, prefix) {
				t.Errorf("List(%q) contains %q: %v", prefix, key, found)
			}
		}
	}
}

func checkPing(t testing.TB, h Harness) {
	if err := h.Store.Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v", err)
	}
	if got := listAll(t.Context(), t, h.Store, "", 10); len(got) != 0 {
		t.Errorf("Ping left %v behind", got)
	}
}
