// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	shardCount = 64

	// maxVolatileBytes bounds what the volatile entries take together, so that a
	// flood of attempts meets an error instead of taking the machine's memory.
	maxVolatileBytes = 256 << 20

	// entryOverhead is what an entry takes besides key and value: its slot in
	// the map, the slice header and the allocator's rounding.
	entryOverhead = 128
)

var errFull = fmt.Errorf("%w: writing a volatile value: the %d MiB kept for them are full; entries that expire make room", store.ErrUnavailable, maxVolatileBytes>>20)

// volatile keeps entries in memory. Each key belongs to one shard, whose lock
// makes a step on the key atomic.
type volatile struct {
	now    func() time.Time
	seed   maphash.Seed
	size   atomic.Int64 // bytes, of all shards
	shards [shardCount]shard
}

type shard struct {
	mu      sync.RWMutex
	entries map[string]entry
}

type entry struct {
	value   []byte
	expires int64
}

func newVolatile(now func() time.Time) *volatile {
	v := &volatile{now: now, seed: maphash.MakeSeed()}
	for i := range v.shards {
		v.shards[i].entries = make(map[string]entry)
	}
	return v
}

func (v *volatile) shard(key string) *shard {
	return &v.shards[maphash.String(v.seed, key)%shardCount]
}

func (v *volatile) get(key string) ([]byte, bool) {
	sh := v.shard(key)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return lockedShard{v, sh}.get(key)
}

func (v *volatile) write(key string, step func(view) error) error {
	sh := v.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return step(lockedShard{v, sh})
}

// list returns the first limit entries of shard i with prefix, in order of their
// keys, that come after the key named.
func (v *volatile) list(i int, prefix, after string, limit int) []store.Item {
	sh, now := &v.shards[i], v.now()
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	var keys []string
	for key, e := range sh.entries {
		if key > after && strings.HasPrefix(key, prefix) && !expired(e.expires, now) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	keys = keys[:min(limit, len(keys))]
	items := make([]store.Item, 0, len(keys))
	for _, key := range keys {
		items = append(items, store.Item{Key: key, Value: bytes.Clone(sh.entries[key].value), TTL: ttlLeft(sh.entries[key].expires, now)})
	}
	return items
}

// sweep removes what has expired, one shard at a time.
func (v *volatile) sweep() {
	now := v.now()
	for i := range v.shards {
		v.sweepShard(&v.shards[i], now)
	}
}

func (v *volatile) sweepShard(sh *shard, now time.Time) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for key, e := range sh.entries {
		if expired(e.expires, now) {
			lockedShard{v, sh}.remove(key)
		}
	}
}

// lockedShard is the view of a shard whose lock is held.
type lockedShard struct {
	v  *volatile
	sh *shard
}

func (l lockedShard) get(key string) ([]byte, bool) {
	e, found := l.sh.entries[key]
	if !found || expired(e.expires, l.v.now()) {
		return nil, false
	}
	return append([]byte{}, e.value...), true
}

func (l lockedShard) put(key string, value []byte, expires int64) error {
	grown := entrySize(key, value) - l.sizeOf(key)
	if size := l.v.size.Add(grown); size > maxVolatileBytes && grown > 0 {
		l.v.size.Add(-grown)
		return errFull
	}
	l.sh.entries[key] = entry{value: append([]byte{}, value...), expires: expires}
	return nil
}

func (l lockedShard) remove(key string) {
	l.v.size.Add(-l.sizeOf(key))
	delete(l.sh.entries, key)
}

// sizeOf returns the bytes that key takes now, which an expired entry does too
// until it is swept.
func (l lockedShard) sizeOf(key string) int64 {
	e, found := l.sh.entries[key]
	if !found {
		return 0
	}
	return entrySize(key, e.value)
}

func entrySize(key string, value []byte) int64 {
	return int64(entryOverhead + len(key) + len(value))
}
