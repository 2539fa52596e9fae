// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// faulty is a store with some of its methods replaced.
type faulty struct {
	*reference
	get       func(ctx context.Context, key string) ([]byte, bool, error)
	set       func(ctx context.Context, key string, value []byte, ttl time.Duration) error
	create    func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error)
	take      func(ctx context.Context, key string) ([]byte, bool, error)
	update    func(ctx context.Context, key string, change func([]byte, bool) ([]byte, time.Duration, error), announce ...store.Announcement) error
	remove    func(ctx context.Context, key string, announce ...store.Announcement) (bool, error)
	list      func(ctx context.Context, prefix, cursor string, limit int) ([]store.Item, string, error)
	publish   func(ctx context.Context, topic, payload string) error
	subscribe func(topic string, fn func(store.Notice)) func()
	ping      func(ctx context.Context) error
}

func newFaulty(r *reference) *faulty {
	return &faulty{
		reference: r, get: r.Get, set: r.Set, create: r.Create, take: r.Take, update: r.Update,
		remove: r.Delete, list: r.List, publish: r.Publish, subscribe: r.Subscribe, ping: r.Ping,
	}
}

func (f *faulty) Get(ctx context.Context, key string) ([]byte, bool, error) { return f.get(ctx, key) }

func (f *faulty) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return f.set(ctx, key, value, ttl)
}

func (f *faulty) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	return f.create(ctx, key, value, ttl)
}

func (f *faulty) Take(ctx context.Context, key string) ([]byte, bool, error) { return f.take(ctx, key) }

func (f *faulty) Update(ctx context.Context, key string, change func([]byte, bool) ([]byte, time.Duration, error), announce ...store.Announcement) error {
	return f.update(ctx, key, change, announce...)
}

func (f *faulty) Delete(ctx context.Context, key string, announce ...store.Announcement) (bool, error) {
	return f.remove(ctx, key, announce...)
}

func (f *faulty) List(ctx context.Context, prefix, cursor string, limit int) ([]store.Item, string, error) {
	return f.list(ctx, prefix, cursor, limit)
}

func (f *faulty) Publish(ctx context.Context, topic, payload string) error {
	return f.publish(ctx, topic, payload)
}

func (f *faulty) Subscribe(topic string, fn func(store.Notice)) func() { return f.subscribe(topic, fn) }

func (f *faulty) Ping(ctx context.Context) error { return f.ping(ctx) }

var brokenStores = []struct {
	name  string
	check string
	wrap  func(r *reference) store.Store
}{
	{"empty value taken for absent", "Set_AnyBytesAndEmptyValue", func(r *reference) store.Store {
		f := newFaulty(r)
		f.get = func(ctx context.Context, key string) ([]byte, bool, error) {
			value, found, err := r.Get(ctx, key)
			return value, found && len(value) > 0, err
		}
		return f
	}},
	{"ttl ignored", "TTL_EntryExpires", func(r *reference) store.Store {
		f := newFaulty(r)
		f.set = func(ctx context.Context, key string, value []byte, _ time.Duration) error {
			return r.Set(ctx, key, value, 0)
		}
		return f
	}},
	{"create checks, then writes", "Create_OneOfManyWins", func(r *reference) store.Store {
		f, between := newFaulty(r), newGap()
		f.create = func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
			if _, found, err := r.Get(ctx, key); found || err != nil {
				return false, err
			}
			between.meet()
			return true, r.Set(ctx, key, value, ttl)
		}
		return f
	}},
	{"take reads, then deletes", "Take_OneOfManyWins", func(r *reference) store.Store {
		f, between := newFaulty(r), newGap()
		f.take = func(ctx context.Context, key string) ([]byte, bool, error) {
			value, found, err := r.Get(ctx, key)
			between.meet()
			if err == nil {
				_, err = r.Delete(ctx, key)
			}
			return value, found, err
		}
		return f
	}},
	{"update reads, then writes", "Update_CountsEveryIncrement", func(r *reference) store.Store {
		f, between := newFaulty(r), newGap()
		f.update = func(ctx context.Context, key string, change func([]byte, bool) ([]byte, time.Duration, error), _ ...store.Announcement) error {
			value, found, err := r.Get(ctx, key)
			if err != nil {
				return err
			}
			next, ttl, err := change(value, found)
			if err != nil || next == nil {
				return err
			}
			between.meet()
			return r.Set(ctx, key, next, ttl)
		}
		return f
	}},
	{"nil next resets the ttl", "Update_NilLeavesValueAndTTL", func(r *reference) store.Store {
		f := newFaulty(r)
		f.update = func(ctx context.Context, key string, change func([]byte, bool) ([]byte, time.Duration, error), _ ...store.Announcement) error {
			return r.Update(ctx, key, func(current []byte, found bool) ([]byte, time.Duration, error) {
				next, ttl, err := change(current, found)
				if next == nil && found {
					return current, 0, err
				}
				return next, ttl, err
			})
		}
		return f
	}},
	{"update's error is wrapped", "Update_ErrorLeavesValue", func(r *reference) store.Store {
		f := newFaulty(r)
		f.update = func(ctx context.Context, key string, change func([]byte, bool) ([]byte, time.Duration, error), _ ...store.Announcement) error {
			if err := r.Update(ctx, key, change); err != nil {
				return errors.Join(store.ErrUnavailable, err)
			}
			return nil
		}
		return f
	}},
	{"announces what was not written", "Announce_FollowsWhatIsWritten", func(r *reference) store.Store {
		f := newFaulty(r)
		f.update = func(ctx context.Context, key string, change func([]byte, bool) ([]byte, time.Duration, error), all ...store.Announcement) error {
			err := r.Update(ctx, key, change)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.announce(all)
			return err
		}
		return f
	}},
	{"announces only the first delete", "Announce_EveryDelete", func(r *reference) store.Store {
		f := newFaulty(r)
		f.remove = func(ctx context.Context, key string, all ...store.Announcement) (bool, error) {
			if _, found, err := r.Get(ctx, key); !found || err != nil {
				return false, err
			}
			return r.Delete(ctx, key, all...)
		}
		return f
	}},
	{"ttl not told", "List_TellsTTL", func(r *reference) store.Store {
		f := newFaulty(r)
		f.list = func(ctx context.Context, prefix, cursor string, limit int) ([]store.Item, string, error) {
			items, next, err := r.List(ctx, prefix, cursor, limit)
			for i := range items {
				items[i].TTL = 0
			}
			return items, next, err
		}
		return f
	}},
	{"delete always existed", "Delete_SaysWhetherKeyExisted", func(r *reference) store.Store {
		f := newFaulty(r)
		f.remove = func(ctx context.Context, key string, _ ...store.Announcement) (bool, error) {
			_, err := r.Delete(ctx, key)
			return true, err
		}
		return f
	}},
	{"prefix read as a pattern", "List_PrefixBoundaries", func(r *reference) store.Store {
		f := newFaulty(r)
		f.list = func(ctx context.Context, prefix, cursor string, limit int) ([]store.Item, string, error) {
			prefix, _, _ = strings.Cut(prefix, "*")
			return r.List(ctx, prefix, cursor, limit)
		}
		return f
	}},
	{"each page loses an entry", "List_EveryLimitIsComplete", func(r *reference) store.Store {
		f := newFaulty(r)
		f.list = func(ctx context.Context, prefix, cursor string, limit int) ([]store.Item, string, error) {
			items, next, err := r.List(ctx, prefix, cursor, limit)
			if next != "" {
				next += "\x00\xff"
				items = items[1:]
			}
			return items, next, err
		}
		return f
	}},
	{"cancelled caller means outage", "Context_EndedIsItsOwnError", func(r *reference) store.Store {
		f := newFaulty(r)
		f.get = func(ctx context.Context, key string) ([]byte, bool, error) {
			value, found, err := r.Get(ctx, key)
			if err != nil {
				err = errors.Join(store.ErrUnavailable, err)
			}
			return value, found, err
		}
		return f
	}},
	{"topics read as patterns", "Publish_TopicsAreIsolated", func(r *reference) store.Store {
		f := newFaulty(r)
		f.publish = func(ctx context.Context, topic, payload string) error {
			return r.Publish(ctx, strings.ToLower(topic), payload)
		}
		f.subscribe = func(topic string, fn func(store.Notice)) func() {
			return r.Subscribe(strings.ToLower(topic), fn)
		}
		return f
	}},
	{"cancel does not wait", "Subscribe_CancelWaitsForRunningCall", func(r *reference) store.Store {
		f := newFaulty(r)
		f.subscribe = func(topic string, fn func(store.Notice)) func() {
			cancel := r.Subscribe(topic, fn)
			return func() { go cancel() }
		}
		return f
	}},
	{"messages overtake one another", "Publish_EverySubscriberInOrder", func(r *reference) store.Store {
		f := newFaulty(r)
		held := ""
		f.publish = func(ctx context.Context, topic, payload string) error {
			if payload == "10" {
				held = payload
				return nil
			}
			err := r.Publish(ctx, topic, payload)
			if held != "" && err == nil {
				payload, held = held, ""
				err = r.Publish(ctx, topic, payload)
			}
			return err
		}
		return f
	}},
	{"ping leaves a key", "Ping_OfAWorkingStore", func(r *reference) store.Store {
		f := newFaulty(r)
		f.ping = func(ctx context.Context) error { return r.Set(ctx, "ping", nil, 0) }
		return f
	}},
	{"expired entries still block", "TTL_ExpiredIsAbsentForEveryMethod", func(r *reference) store.Store {
		f := newFaulty(r)
		f.create = func(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
			r.mu.Lock()
			_, exists := r.entries[key]
			r.mu.Unlock()
			if exists {
				return false, nil
			}
			return r.Create(ctx, key, value, ttl)
		}
		return f
	}},
	{"largest value refused", "Sizes_MaximaAccepted", func(r *reference) store.Store {
		f := newFaulty(r)
		f.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
			if len(value) == store.MaxValueLen {
				return store.ErrTooLarge
			}
			return r.Set(ctx, key, value, ttl)
		}
		return f
	}},
	{"negative ttl taken for none", "TTL_NegativeRefused", func(r *reference) store.Store {
		f := newFaulty(r)
		f.set = func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
			return r.Set(ctx, key, value, max(ttl, 0))
		}
		return f
	}},
	{"a state that only sequences find", "Model", func(r *reference) store.Store {
		f := newFaulty(r)
		f.take = func(ctx context.Context, key string) ([]byte, bool, error) {
			value, found, err := r.Take(ctx, key)
			if found && len(value) == 0 { // comes back
				err = r.Set(ctx, key, value, 0)
			}
			return value, found, err
		}
		return f
	}},
}

// gap is the time between two steps that should be one: whoever comes first stays in
// it until a second one has come, so that the race is run and not only possible.
type gap struct {
	arrived atomic.Int32
	met     chan struct{}
}

func newGap() *gap { return &gap{met: make(chan struct{})} }

func (g *gap) meet() {
	if g.arrived.Add(1) == 2 {
		close(g.met)
	}
	<-g.met
}
