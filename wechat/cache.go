// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Cache is where access tokens and the nonces of pushes are shared between
// processes. Every key begins with "wechat:", names the app id and has a time to
// live. Each method is one atomic step on one key, safe for concurrent use, and
// gives up when ctx is done.
//
// The values are secrets: whoever reads the cache can act as the account.
type Cache interface {
	// Get returns the value of key, or found == false.
	Get(ctx context.Context, key string) (value []byte, found bool, err error)
	// Set writes value, whether or not key exists.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Create writes value only where key does not exist, and says whether it did.
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) (created bool, err error)
	// Delete removes key and says whether it was there.
	Delete(ctx context.Context, key string) (existed bool, err error)
}

// maxMemoryEntries bounds a memoryCache. Only signed pushes add entries, each
// kept for at most twice the window, so this stands for some 200 pushes a second.
const maxMemoryEntries = 1 << 17

var errMemoryFull = errors.New("the in-memory cache is full; share a Cache or wait until its entries expire")

// memoryCache is the Cache of a process that shares nothing. It refuses new
// entries when full, because dropping a nonce would let a push be replayed.
type memoryCache struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[string]memoryEntry
	sweepAt int // number of entries at which expired ones are removed
}

type memoryEntry struct {
	value   []byte
	expires time.Time
}

const firstSweep = 1024

func newMemoryCache(now func() time.Time) *memoryCache {
	return &memoryCache{now: now, entries: make(map[string]memoryEntry), sweepAt: firstSweep}
}

func (c *memoryCache) Get(_ context.Context, key string) ([]byte, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, found := c.live(key)
	return value, found, nil
}

func (c *memoryCache) Set(_ context.Context, key string, value []byte, ttl time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(key, value, ttl)
}

func (c *memoryCache) Create(_ context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.live(key); found {
		return false, nil
	}
	err := c.put(key, value, ttl)
	return err == nil, err
}

func (c *memoryCache) Delete(_ context.Context, key string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, found := c.live(key)
	delete(c.entries, key)
	return found, nil
}

func (c *memoryCache) live(key string) ([]byte, bool) {
	e, found := c.entries[key]
	if !found || !c.now().Before(e.expires) {
		return nil, false
	}
	return e.value, true
}

func (c *memoryCache) put(key string, value []byte, ttl time.Duration) error {
	if len(c.entries) >= c.sweepAt {
		c.sweep()
	}
	if len(c.entries) >= maxMemoryEntries {
		return errMemoryFull
	}
	c.entries[key] = memoryEntry{value: value, expires: c.now().Add(ttl)}
	return nil
}

// sweep removes expired entries, and sets the next sweep to when the map has
// doubled, which keeps the cost of each write constant on average.
func (c *memoryCache) sweep() {
	now := c.now()
	for key, e := range c.entries {
		if !now.Before(e.expires) {
			delete(c.entries, key)
		}
	}
	c.sweepAt = min(max(firstSweep, 2*len(c.entries)), maxMemoryEntries)
}

var _ Cache = (*memoryCache)(nil)
