// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// The operator adds a new key before the old one, and later removes the old one.
func TestKeys_Rotation(t *testing.T) {
	w := newWorld(t)
	before := w.node()     // A
	during := w.node(keyB) // B, A
	onlyB, err := FixedKeys(keyB)
	if err != nil {
		t.Fatal(err)
	}
	after := w.nodeWith(Config{TTL: testTTL, Idle: testIdle, Grace: testGrace, Keys: onlyB})

	_, old := w.issue(before, "alice")
	w.wantValid(before, old)
	w.wantValid(during, old)
	w.wantInvalid(after, old)

	_, fresh := w.issue(during, "alice")
	w.wantValid(during, fresh)
	w.wantValid(after, fresh)
	w.wantInvalid(before, fresh)
}

func TestFixedKeys_TooShort(t *testing.T) {
	if _, err := FixedKeys(); err == nil {
		t.Error("no key at all is accepted")
	}
	short := "too-short-a-secret"
	_, err := FixedKeys(keyA, short)
	if err == nil || !strings.Contains(err.Error(), "signing key 2") || strings.Contains(err.Error(), short) {
		t.Errorf("FixedKeys = %v; want an error that names the second key and does not show it", err)
	}
	if _, err := FixedKeys(strings.Repeat("k", MinKeyLen-1)); err == nil {
		t.Error("a key of 31 bytes is accepted")
	}
	if _, err := FixedKeys(strings.Repeat("k", MinKeyLen)); err != nil {
		t.Errorf("a key of 32 bytes: %v", err)
	}
}

// Many nodes start at the same time on an empty store. They agree on one key, so
// that the cookie of each is good on all.
func TestStoredKeys_MadeOnce(t *testing.T) {
	w := newWorld(t)
	const nodes = 50
	ids := make([]string, nodes)
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() {
			keys, err := StoredKeys(w.store).load(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = keys[0].id
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Fatalf("the nodes sign with different keys: %v", ids)
		}
	}
}

func TestStoredKeys_Outage(t *testing.T) {
	w := newWorld(t)
	keys := StoredKeys(w.store)
	w.down.Store(true)
	if _, err := keys.load(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("load = %v; want ErrUnavailable", err)
	}
	w.down.Store(false)
	if _, err := keys.load(t.Context()); err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

// A stored key that is too short, by whatever hand, is not signed with.
func TestStoredKeys_DamagedKey(t *testing.T) {
	w := newWorld(t)
	if err := w.store.Set(t.Context(), storedKeyName, nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := StoredKeys(w.store).load(t.Context()); err == nil || !strings.Contains(err.Error(), storedKeyName) {
		t.Errorf("load = %v; want an error that names the key to delete", err)
	}
}
