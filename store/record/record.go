// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package record keeps one kind of JSON record in a store, and in memory as long
// as the store's notices say that what is in memory is true. It is what lets a
// signed-in request pass without asking the store.
package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// loadPatience is how long a request waits for one record. It reads two, its
	// session and its user, and shall not wait longer than a second. It is the
	// store that takes note of a server which does not answer, and then refuses
	// at once.
	loadPatience = 500 * time.Millisecond
	// loadTimeout bounds a read of a store that knows no patience.
	loadTimeout = time.Second
)

// Config says which records a Set keeps.
type Config struct {
	Store store.Store
	// Kind names the records: it begins their keys and is the topic of their notices.
	Kind string
	// Size bounds how many records are kept in memory.
	Size int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Set keeps the records of one kind. T is decoded from JSON; what Get returns is
// shared and must not be changed.
type Set[T any] struct {
	store  store.Store
	prefix string
	topic  string
	now    func() time.Time
	cache  *otter.Cache[string, *entry[T]]
	flight singleflight.Group
	cancel func()

	// mu orders the arrival of notices and the caching of what was read before them.
	mu       sync.Mutex
	reads    map[*reading]struct{} // under way
	onChange []func(id string)
	onGap    []func()

	// period is the present one.
	period atomic.Pointer[period]
}

// period is a time with notices, or one without. What was read in one is kept
// true by notices only as long as that same one lasts.
type period struct {
	flowing bool
	ended   atomic.Pointer[time.Time]
}

// entry is one record, and when it was read.
type entry[T any] struct {
	value  *T
	read   time.Time
	period *period
}

// vouched is the last moment at which the record was known to be true, unless
// its period lasts: notices kept it so until they were lost.
func (e *entry[T]) vouched() time.Time {
	if end := e.period.ended.Load(); e.period.flowing && end != nil && end.After(e.read) {
		return *end
	}
	return e.read
}

// New returns a Set. Close ends its subscription.
func New[T any](c Config) *Set[T] {
	s := &Set[T]{
		store:  c.Store,
		prefix: c.Kind + ":",
		topic:  c.Kind,
		now:    c.Now,
		reads:  make(map[*reading]struct{}),
		cache:  otter.Must(&otter.Options[string, *entry[T]]{MaximumSize: c.Size}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.period.Store(&period{flowing: true})
	s.cancel = c.Store.Subscribe(s.topic, s.notice)
	return s
}

// Close ends the subscription; the Set must not be used any more.
func (s *Set[T]) Close() { s.cancel() }

// OnChange calls fn with the id of each record that has been changed or deleted,
// on any node. fn must return quickly.
func (s *Set[T]) OnChange(fn func(id string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onChange = append(s.onChange, fn)
}

// OnGap calls fn when notices are lost, and when they flow again and what changed
// in between is unknown. fn must return quickly.
func (s *Set[T]) OnGap(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onGap = append(s.onGap, fn)
}

// Get returns the record, or found == false. A record in memory that notices
// keep true costs no call of the store. Where the store fails, a record that
// was known to be true within the last grace still serves; else the error wraps
// store.ErrUnavailable.
func (s *Set[T]) Get(ctx context.Context, id string, grace time.Duration) (value *T, found bool, err error) {
	e, cached := s.cache.GetIfPresent(id)
	if cached && e.period.flowing && e.period == s.period.Load() {
		return e.value, true, nil
	}
	value, found, err = s.load(ctx, id)
	if err != nil && cached && errors.Is(err, store.ErrUnavailable) && s.now().Sub(e.vouched()) <= grace {
		return e.value, true, nil
	}
	return value, found, err
}

// Reload is Get without regard to what is in memory.
func (s *Set[T]) Reload(ctx context.Context, id string) (value *T, found bool, err error) {
	return s.load(ctx, id)
}

// Remembered says whether a record is in memory, be it out of date: no notice has come
// that it was changed.
func (s *Set[T]) Remembered(id string) bool {
	_, ok := s.cache.GetIfPresent(id)
	return ok
}

// Flowing says whether notices flow: while they do not, what Get returns may
// cost a call of the store each time.
func (s *Set[T]) Flowing() bool { return s.period.Load().flowing }

// load reads the record from the store, once for all who ask at the same time.
func (s *Set[T]) load(ctx context.Context, id string) (*T, bool, error) {
	// The read outlives a visitor who gives up, and has a patience of its own:
	// others may wait for it.
	ch := s.flight.DoChan(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		return s.read(store.WithPatience(ctx, loadPatience), id)
	})
	patience := store.PatienceOf(ctx)
	late := time.NewTimer(patience.Left(2 * loadTimeout))
	patience.Begin()
	defer patience.End()
	defer late.Stop()
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case <-late.C:
		return nil, false, fmt.Errorf("reading %s: %w: it is too slow for this request", s.topic, store.ErrUnavailable)
	case r := <-ch:
		if r.Err != nil {
			return nil, false, r.Err
		}
		v, _ := r.Val.(*T)
		return v, v != nil, nil
	}
}

// read reads and caches the record; nil means that there is none.
func (s *Set[T]) read(ctx context.Context, id string) (*T, error) {
	r := s.begin(id)
	defer s.end(r)
	raw, found, err := s.store.Get(ctx, s.prefix+id)
	switch {
	case err != nil:
		if !errors.Is(err, store.ErrUnavailable) { // our own time-out
			err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		return nil, fmt.Errorf("reading %s: %w", s.topic, err)
	case !found:
		s.cache.Invalidate(id)
		return nil, nil //nolint:nilnil // load turns nil into found == false
	}
	v, err := s.decode(raw)
	if err != nil {
		return nil, err
	}
	s.keep(r, &entry[T]{value: v, read: s.now(), period: r.period})
	return v, nil
}

func (s *Set[T]) decode(raw []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", s.topic, err)
	}
	return v, nil
}

// reading is a read under way.
type reading struct {
	id     string
	period *period
	// stale says that the record has been changed since the read began.
	stale bool
}

func (s *Set[T]) begin(id string) *reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &reading{id: id, period: s.period.Load()}
	s.reads[r] = struct{}{}
	return r
}

func (s *Set[T]) end(r *reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.reads, r)
}

// keep caches what a read has brought, unless it is known to be out of date.
func (s *Set[T]) keep(r *reading, e *entry[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !r.stale && r.period == s.period.Load() {
		s.cache.Set(r.id, e)
	}
}

// changed takes note, under the lock, that a record is another than what is in
// memory, or on its way there.
func (s *Set[T]) changed(id string) {
	// Who asks from now on must not share a read that began before.
	s.flight.Forget(id)
	s.cache.Invalidate(id)
	for r := range s.reads {
		r.stale = r.stale || r.id == id
	}
}

// notice is told by the store what other writers have done.
func (s *Set[T]) notice(n store.Notice) {
	s.mu.Lock()
	switch n.Kind {
	case store.Lost, store.Restored:
		// What is in memory stays: it may have to serve in the next outage.
		s.turn(n.Kind == store.Restored)
	case store.Message:
		s.changed(n.Payload)
	}
	onChange, onGap := s.onChange, s.onGap
	s.mu.Unlock()
	if n.Kind != store.Message {
		for _, fn := range onGap {
			fn()
		}
		return
	}
	for _, fn := range onChange {
		fn(n.Payload)
	}
}

// turn begins a period.
func (s *Set[T]) turn(flowing bool) {
	last := s.period.Load()
	if last.flowing == flowing {
		return
	}
	for r := range s.reads { // whoever asks from now on begins a read of his own
		s.flight.Forget(r.id)
	}
	now := s.now()
	last.ended.Store(&now)
	s.period.Store(&period{flowing: flowing})
}

// Create writes a new record, and says whether there was none of that id.
func (s *Set[T]) Create(ctx context.Context, id string, v *T, ttl time.Duration) (bool, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return false, fmt.Errorf("encoding %s: %w", s.topic, err)
	}
	created, err := s.store.Create(ctx, s.prefix+id, raw, ttl)
	if err != nil {
		return false, fmt.Errorf("creating %s: %w", s.topic, err)
	}
	return created, nil
}

// Introduce is Create for a record that other nodes must hear of at once.
func (s *Set[T]) Introduce(ctx context.Context, id string, v *T, ttl time.Duration) (created bool, err error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return false, fmt.Errorf("encoding %s: %w", s.topic, err)
	}
	defer s.Forget(id)
	err = s.store.Update(ctx, s.prefix+id, func(_ []byte, found bool) ([]byte, time.Duration, error) {
		if created = !found; found {
			return nil, 0, nil
		}
		return raw, ttl, nil
	}, store.Announcement{Topic: s.topic, Payload: id})
	if err != nil {
		return false, fmt.Errorf("creating %s: %w", s.topic, err)
	}
	return created, nil
}

// Each calls fn for each record, some perhaps twice, page by page of so many. What
// comes or goes meanwhile may be missed.
func (s *Set[T]) Each(ctx context.Context, page int, fn func(*T)) error {
	for cursor := ""; ; {
		items, next, err := s.store.List(ctx, s.prefix, cursor, page)
		if err != nil {
			return fmt.Errorf("listing %s: %w", s.topic, err)
		}
		for _, item := range items {
			v, err := s.decode(item.Value)
			if err != nil {
				return err
			}
			fn(v)
		}
		if next == "" {
			return nil
		}
		cursor = next
	}
}

// Update changes a record in one atomic step and tells all nodes. change gets a
// copy of its own and says whether to write it; it is not called where there is
// no record, and may be called more than once. The record as it is then
// is returned, nil where there is none. What else is to be announced goes out in
// the same step.
func (s *Set[T]) Update(ctx context.Context, id string, ttl time.Duration, change func(*T) (write bool, err error), announce ...store.Announcement) (*T, error) {
	defer s.Forget(id)
	return s.update(ctx, id, ttl, change, append(announce, store.Announcement{Topic: s.topic, Payload: id})...)
}

// UpdateQuietly is Update for changes that other nodes need not hear of.
func (s *Set[T]) UpdateQuietly(ctx context.Context, id string, ttl time.Duration, change func(*T) (write bool, err error)) error {
	_, err := s.update(ctx, id, ttl, change)
	return err
}

func (s *Set[T]) update(ctx context.Context, id string, ttl time.Duration, change func(*T) (bool, error), announce ...store.Announcement) (v *T, err error) {
	err = s.store.Update(ctx, s.prefix+id, func(raw []byte, found bool) ([]byte, time.Duration, error) {
		v = nil
		if !found {
			return nil, 0, nil
		}
		current, err := s.decode(raw)
		if err != nil {
			return nil, 0, err
		}
		v = current
		if write, err := change(v); err != nil || !write {
			return nil, 0, err
		}
		next, err := json.Marshal(v)
		return next, ttl, err
	}, announce...)
	if err != nil {
		return nil, fmt.Errorf("updating %s: %w", s.topic, err)
	}
	return v, nil
}

// Delete removes a record, tells all nodes, and says whether it was there. What
// else is to be announced goes out in the same step.
func (s *Set[T]) Delete(ctx context.Context, id string, announce ...store.Announcement) (bool, error) {
	defer s.Forget(id)
	existed, err := s.store.Delete(ctx, s.prefix+id, append(announce, store.Announcement{Topic: s.topic, Payload: id})...)
	if err != nil {
		return false, fmt.Errorf("deleting %s: %w", s.topic, err)
	}
	return existed, nil
}

// Forget drops what is in memory of a record that has been changed. After a write it
// spares this node the wait for its own announcement; also after one that failed,
// which may have happened.
func (s *Set[T]) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed(id)
}
