// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// view is what a step sees of the entries while nothing else can write to its
// key. Values go in and out as copies; expired entries do not exist.
type view interface {
	get(key string) (value []byte, found bool)
	put(key string, value []byte, expires int64) error
	remove(key string)
}

// Get returns the value of key, or found == false.
func (s *Store) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	d, err := s.begin(ctx, key)
	if err != nil {
		return nil, false, err
	}
	if isVolatile(key) {
		value, found = s.volatile.get(key)
		return value, found, nil
	}
	return d.get(key)
}

// Set writes value, whether or not key exists.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	expires, err := s.checkWrite(value, ttl)
	if err != nil {
		return err
	}
	return s.write(ctx, key, func(v view) error {
		return v.put(key, value, expires)
	})
}

// Create writes value only where key does not exist yet, and says whether it did.
func (s *Store) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (created bool, err error) {
	expires, err := s.checkWrite(value, ttl)
	if err != nil {
		return false, err
	}
	err = s.write(ctx, key, func(v view) error {
		if _, found := v.get(key); found {
			return nil
		}
		created = true
		return v.put(key, value, expires)
	})
	return created && err == nil, err
}

// Take returns the value of key and deletes it; of concurrent callers one gets it.
func (s *Store) Take(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = s.write(ctx, key, func(v view) error {
		if value, found = v.get(key); found {
			v.remove(key)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return value, found, nil
}

// Update replaces the value of key with what change makes of it; see store.Store.
// Writers of durable keys wait for change, and so do other volatile keys: it
// should compute, not wait.
func (s *Store) Update(ctx context.Context, key string, change func(current []byte, found bool) (next []byte, ttl time.Duration, err error), announce ...store.Announcement) error {
	written := false
	err := s.write(ctx, key, func(v view) error {
		written = false
		next, ttl, err := change(v.get(key))
		if err != nil || next == nil {
			return err
		}
		expires, err := s.checkWrite(next, ttl)
		if err != nil {
			return err
		}
		written = true
		return v.put(key, next, expires)
	})
	if err == nil && written {
		s.announce(announce)
	}
	return err
}

// Delete removes key and says whether it was there.
func (s *Store) Delete(ctx context.Context, key string, announce ...store.Announcement) (existed bool, err error) {
	_, existed, err = s.Take(ctx, key)
	if err == nil {
		s.announce(announce)
	}
	return existed, err
}

// announce follows a write. Should the process end in between, so do all who
// listen.
func (s *Store) announce(all []store.Announcement) {
	for _, a := range all {
		s.topics.Publish(a.Topic, a.Payload)
	}
}

// Publish hands payload to the subscribers of topic in this process.
func (s *Store) Publish(ctx context.Context, topic, payload string) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	if _, err := s.ready(); err != nil { //nolint:contextcheck // see ready
		return err
	}
	s.topics.Publish(topic, payload)
	return nil
}

// Subscribe calls fn for each message of topic until cancel is called; see
// store.Store. On a closed store it never calls fn.
func (s *Store) Subscribe(topic string, fn func(store.Notice)) (cancel func()) {
	return s.topics.Subscribe(topic, fn)
}

// Ping commits an empty transaction, which writes to the file and syncs it.
// Concurrent pings share one.
func (s *Store) Ping(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	d, err := s.ready() //nolint:contextcheck // see ready
	if err != nil {
		return err
	}
	return d.ping(ctx)
}

// write runs step as one atomic step on key.
func (s *Store) write(ctx context.Context, key string, step func(view) error) error {
	d, err := s.begin(ctx, key)
	if err != nil {
		return err
	}
	if isVolatile(key) {
		return s.volatile.write(key, step)
	}
	return d.write(ctx, func(r *records) error { return step(r) })
}

// begin makes the checks that every operation on a key begins with.
func (s *Store) begin(ctx context.Context, key string) (*durable, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	if key == "" || len(key) > store.MaxKeyLen {
		return nil, fmt.Errorf("checking a key of %d bytes (1 to %d are allowed): %w", len(key), store.MaxKeyLen, store.ErrTooLarge)
	}
	return s.ready() //nolint:contextcheck // see ready
}

// checkWrite returns when a value written now with ttl expires, in nanoseconds
// since 1970; 0 is never.
func (s *Store) checkWrite(value []byte, ttl time.Duration) (expires int64, err error) {
	switch {
	case len(value) > store.MaxValueLen:
		return 0, fmt.Errorf("checking a value of %d bytes (at most %d are allowed): %w", len(value), store.MaxValueLen, store.ErrTooLarge)
	case ttl < 0:
		return 0, fmt.Errorf("checking a ttl of %s: it must not be negative", ttl)
	case ttl == 0:
		return 0, nil
	}
	now := s.now().UnixNano()
	if now > math.MaxInt64-int64(ttl) {
		return 0, nil // later than the year 2262
	}
	return now + int64(ttl), nil
}

func checkContext(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("asking the store: %w", err)
	}
	return nil
}

func isVolatile(key string) bool {
	return strings.HasPrefix(key, store.VolatilePrefix)
}

// ttlLeft is the ttl of an entry that has not expired; 0 is without end.
func ttlLeft(expires int64, now time.Time) time.Duration {
	if expires == 0 {
		return 0
	}
	return time.Duration(expires - now.UnixNano())
}

func expired(expires int64, now time.Time) bool {
	return expires != 0 && expires <= now.UnixNano()
}
