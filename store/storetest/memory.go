// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// Memory is a store for tests of what uses one: it keeps everything in memory,
// can be made to fail at any operation, and hands out notices before the call
// that caused them returns. The zero value is an empty store; set the fields
// before its first use.
type Memory struct {
	// Now is the clock that entries expire by. Default: time.Now.
	Now func() time.Time
	// Before is called before each operation, with the name of the method and
	// the key (List: the prefix, Publish: the topic). Its error is the
	// operation's, which then does not happen.
	Before func(ctx context.Context, method, key string) error
	// After is Before for an operation that has happened all the same, as when
	// the connection ends before the answer comes.
	After func(ctx context.Context, method, key string) error

	mu      sync.Mutex
	entries map[string]memoryEntry
	subs    []*memorySub
}

type memoryEntry struct {
	value   []byte
	expires time.Time // zero: never
}

type memorySub struct {
	topic     string
	fn        func(store.Notice)
	mu        sync.Mutex // held while fn runs
	cancelled bool
}

var errNegativeTTL = errors.New("negative ttl")

func (m *Memory) now() time.Time {
	if m.Now == nil {
		return time.Now()
	}
	return m.Now()
}

// do runs one operation between the hooks.
func (m *Memory) do(ctx context.Context, method, key string, step func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.Before != nil {
		if err := m.Before(ctx, method, key); err != nil {
			return err
		}
	}
	if err := m.locked(step); err != nil {
		return err
	}
	if m.After != nil {
		return m.After(ctx, method, key)
	}
	return nil
}

func (m *Memory) locked(step func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return step()
}

// onKey is do for an operation on one key.
func (m *Memory) onKey(ctx context.Context, method, key string, step func() error) error {
	if key == "" || len(key) > store.MaxKeyLen {
		return store.ErrTooLarge
	}
	return m.do(ctx, method, key, step)
}

func (m *Memory) get(key string) ([]byte, bool) {
	e, found := m.entries[key]
	if !found || !e.expires.IsZero() && !m.now().Before(e.expires) {
		return nil, false
	}
	return append([]byte{}, e.value...), true
}

func (m *Memory) put(key string, value []byte, ttl time.Duration) error {
	switch {
	case len(value) > store.MaxValueLen:
		return store.ErrTooLarge
	case ttl < 0:
		return errNegativeTTL
	}
	e := memoryEntry{value: bytes.Clone(value)}
	if ttl > 0 {
		e.expires = m.now().Add(ttl)
	}
	if m.entries == nil {
		m.entries = make(map[string]memoryEntry)
	}
	m.entries[key] = e
	return nil
}

// Get implements store.Store.
func (m *Memory) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = m.onKey(ctx, "Get", key, func() error {
		value, found = m.get(key)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return value, found, nil
}

// Set implements store.Store.
func (m *Memory) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return m.onKey(ctx, "Set", key, func() error { return m.put(key, value, ttl) })
}

// Create implements store.Store.
func (m *Memory) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (created bool, err error) {
	err = m.onKey(ctx, "Create", key, func() error {
		if _, found := m.get(key); found {
			return nil
		}
		created = true
		return m.put(key, value, ttl)
	})
	return created && err == nil, err
}

// Take implements store.Store.
func (m *Memory) Take(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = m.onKey(ctx, "Take", key, func() error {
		value, found = m.get(key)
		delete(m.entries, key)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return value, found, nil
}

// Update implements store.Store.
func (m *Memory) Update(ctx context.Context, key string, change func(current []byte, found bool) ([]byte, time.Duration, error), announce ...store.Announcement) error {
	written := false
	err := m.onKey(ctx, "Update", key, func() error {
		next, ttl, err := change(m.get(key))
		if err != nil || next == nil {
			return err
		}
		err = m.put(key, next, ttl)
		written = err == nil
		return err
	})
	if written {
		m.announce(announce)
	}
	return err
}

// Delete implements store.Store.
func (m *Memory) Delete(ctx context.Context, key string, announce ...store.Announcement) (existed bool, err error) {
	deleted := false
	err = m.onKey(ctx, "Delete", key, func() error {
		_, existed = m.get(key)
		delete(m.entries, key)
		deleted = true
		return nil
	})
	if deleted { // also where After makes the answer fail
		m.announce(announce)
	}
	return existed && err == nil, err
}

func (m *Memory) announce(all []store.Announcement) {
	for _, a := range all {
		m.Tell(a.Topic, store.Notice{Kind: store.Message, Payload: a.Payload})
	}
}

// List implements store.Store, in the order of the keys.
func (m *Memory) List(ctx context.Context, prefix, cursor string, limit int) (items []store.Item, next string, err error) {
	if limit <= 0 {
		return nil, "", errors.New("limit must be positive")
	}
	err = m.do(ctx, "List", prefix, func() error {
		for _, key := range m.keysAfter(prefix, cursor) {
			if len(items) == limit {
				next = items[limit-1].Key
				break
			}
			value, _ := m.get(key)
			items = append(items, store.Item{Key: key, Value: value, TTL: m.ttlLeft(key)})
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return items, next, nil
}

func (m *Memory) ttlLeft(key string) time.Duration {
	expires := m.entries[key].expires
	if expires.IsZero() {
		return 0
	}
	return expires.Sub(m.now())
}

func (m *Memory) keysAfter(prefix, cursor string) (keys []string) {
	for key := range m.entries {
		if _, found := m.get(key); found && strings.HasPrefix(key, prefix) && key > cursor {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Publish implements store.Store. It returns after the subscribers have been told.
func (m *Memory) Publish(ctx context.Context, topic, payload string) error {
	err := m.do(ctx, "Publish", topic, func() error { return nil })
	if err == nil {
		m.Tell(topic, store.Notice{Kind: store.Message, Payload: payload})
	}
	return err
}

// Tell gives the subscribers of a topic a notice, such as Lost.
func (m *Memory) Tell(topic string, n store.Notice) {
	m.mu.Lock()
	subs := slices.Clone(m.subs)
	m.mu.Unlock()
	for _, sub := range subs {
		if sub.topic == topic {
			sub.tell(n)
		}
	}
}

func (s *memorySub) tell(n store.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cancelled {
		s.fn(n)
	}
}

// Subscribe implements store.Store.
func (m *Memory) Subscribe(topic string, fn func(store.Notice)) (cancel func()) {
	sub := &memorySub{topic: topic, fn: fn}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subs = append(m.subs, sub)
	return func() {
		m.mu.Lock()
		m.subs = slices.DeleteFunc(m.subs, func(other *memorySub) bool { return other == sub })
		m.mu.Unlock()
		sub.mu.Lock()
		defer sub.mu.Unlock()
		sub.cancelled = true
	}
}

// Ping implements store.Store.
func (m *Memory) Ping(ctx context.Context) error {
	return m.do(ctx, "Ping", "", func() error { return nil })
}

// Keys returns the keys of all entries that have not expired, in order.
func (m *Memory) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keysAfter("", "")
}

var _ store.Store = (*Memory)(nil)
