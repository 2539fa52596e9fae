// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// reference keeps the contract in the plainest way: one lock, one map.
type reference struct {
	mu      sync.Mutex
	now     time.Duration
	entries map[string]refEntry
	subs    map[*refSub]string
}

type refEntry struct {
	value   []byte
	expires time.Duration
}

type refSub struct {
	fn       func(store.Notice)
	messages chan string
	stop     sync.Once
	done     chan struct{}
	gone     chan struct{}
}

func newReference() *reference {
	return &reference{entries: make(map[string]refEntry), subs: make(map[*refSub]string)}
}

func (r *reference) Advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now += d
}

func (r *reference) step(ctx context.Context, key string, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if key == "" || len(key) > store.MaxKeyLen {
		return store.ErrTooLarge
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return fn()
}

func (r *reference) current(key string) ([]byte, bool) {
	e, found := r.entries[key]
	if !found || e.expires != 0 && e.expires <= r.now {
		return nil, false
	}
	return append([]byte{}, e.value...), true
}

func (r *reference) put(key string, value []byte, ttl time.Duration) error {
	if len(value) > store.MaxValueLen {
		return store.ErrTooLarge
	}
	if ttl < 0 {
		return fmt.Errorf("negative ttl %s", ttl)
	}
	e := refEntry{value: bytes.Clone(value)}
	if ttl > 0 {
		e.expires = r.now + ttl
	}
	r.entries[key] = e
	return nil
}

func (r *reference) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = r.step(ctx, key, func() error { value, found = r.current(key); return nil })
	return value, found, err
}

func (r *reference) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return r.step(ctx, key, func() error { return r.put(key, value, ttl) })
}

func (r *reference) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (created bool, err error) {
	err = r.step(ctx, key, func() error {
		if _, found := r.current(key); found {
			return nil
		}
		created = true
		return r.put(key, value, ttl)
	})
	return created && err == nil, err
}

func (r *reference) Take(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = r.step(ctx, key, func() error {
		value, found = r.current(key)
		delete(r.entries, key)
		return nil
	})
	return value, found, err
}

func (r *reference) Update(ctx context.Context, key string, change func([]byte, bool) ([]byte, time.Duration, error), announce ...store.Announcement) error {
	return r.step(ctx, key, func() error {
		next, ttl, err := change(r.current(key))
		if err != nil || next == nil {
			return err
		}
		if err := r.put(key, next, ttl); err != nil {
			return err
		}
		r.announce(announce)
		return nil
	})
}

func (r *reference) Delete(ctx context.Context, key string, announce ...store.Announcement) (existed bool, err error) {
	err = r.step(ctx, key, func() error {
		_, existed = r.current(key)
		delete(r.entries, key)
		r.announce(announce)
		return nil
	})
	return existed, err
}

// announce is called with the lock held, as the write is.
func (r *reference) announce(all []store.Announcement) {
	for _, a := range all {
		r.tell(a.Topic, a.Payload)
	}
}

func (r *reference) tell(topic, payload string) {
	for sub, of := range r.subs {
		if of != topic {
			continue
		}
		select {
		case sub.messages <- payload:
		case <-sub.done:
		}
	}
}

func (r *reference) List(ctx context.Context, prefix, cursor string, limit int) (items []store.Item, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("limit %d", limit)
	}
	err = r.step(ctx, "any", func() error {
		for _, key := range slices.Sorted(maps.Keys(r.entries)) {
			value, found := r.current(key)
			if !found || !strings.HasPrefix(key, prefix) || key <= cursor {
				continue
			}
			if len(items) == limit {
				next = items[limit-1].Key
				return nil
			}
			items = append(items, store.Item{Key: key, Value: value, TTL: r.ttlLeft(key)})
		}
		return nil
	})
	return items, next, err
}

func (r *reference) ttlLeft(key string) time.Duration {
	if expires := r.entries[key].expires; expires != 0 {
		return expires - r.now
	}
	return 0
}

func (r *reference) Publish(ctx context.Context, topic, payload string) error {
	return r.step(ctx, "any", func() error {
		r.tell(topic, payload)
		return nil
	})
}

func (r *reference) Subscribe(topic string, fn func(store.Notice)) (cancel func()) {
	sub := &refSub{fn: fn, messages: make(chan string, 100_000), done: make(chan struct{}), gone: make(chan struct{})}
	go sub.run()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subs[sub] = topic
	return func() {
		sub.stop.Do(func() { close(sub.done) })
		<-sub.gone
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.subs, sub)
	}
}

func (s *refSub) run() {
	defer close(s.gone)
	for {
		select {
		case <-s.done:
			return
		case m := <-s.messages:
			select {
			case <-s.done:
				return
			default:
				s.fn(store.Notice{Payload: m})
			}
		}
	}
}

func (r *reference) Ping(ctx context.Context) error { return ctx.Err() }

func TestRun_ReferencePasses(t *testing.T) {
	Run(t, func(*testing.T) Harness {
		r := newReference()
		return Harness{Store: r, Advance: r.Advance, FakeClock: true}
	})
}

// verdict is a testing.TB that keeps to itself whether a check failed.
type verdict struct {
	testing.TB
	failed   atomic.Bool
	mu       sync.Mutex
	cleanups []func()
}

func (v *verdict) Helper()               {}
func (v *verdict) Error(...any)          { v.failed.Store(true) }
func (v *verdict) Errorf(string, ...any) { v.failed.Store(true) }
func (v *verdict) Fail()                 { v.failed.Store(true) }
func (v *verdict) Failed() bool          { return v.failed.Load() }
func (v *verdict) Log(...any)            {}
func (v *verdict) Logf(string, ...any)   {}
func (v *verdict) Fatal(...any)          { v.FailNow() }
func (v *verdict) Fatalf(string, ...any) { v.FailNow() }
func (v *verdict) FailNow()              { v.failed.Store(true); runtime.Goexit() }

func (v *verdict) Cleanup(fn func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cleanups = append(v.cleanups, fn)
}

// fails says whether the check finds fault with the store.
func fails(t *testing.T, c check, h Harness) bool {
	v := &verdict{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(v, h)
	}()
	<-done
	for _, cleanup := range v.cleanups {
		cleanup()
	}
	return v.failed.Load()
}

// Each of these stores breaks the contract in one point, as a real one might; the
// check named must find it.
func TestRun_FindsBrokenStores(t *testing.T) {
	// The failures are wanted: rapid need not keep them in a file.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	for _, b := range brokenStores {
		t.Run(b.name, func(t *testing.T) {
			r := newReference()
			h := Harness{Store: b.wrap(r), Advance: r.Advance, FakeClock: true}
			for _, c := range allChecks() {
				if c.name == b.check || strings.HasPrefix(c.name, b.check+"/") {
					if !fails(t, c, h) {
						t.Errorf("%s finds no fault", c.name)
					}
					return
				}
			}
			t.Fatalf("there is no check %s", b.check)
		})
	}
}
