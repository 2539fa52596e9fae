// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package topics hands notices to the subscribers within one process: the part
// of publishing that every store has.
package topics

import (
	"sync"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// Topics are the subscribers of one store, by topic. The zero value has none and
// is ready to use.
type Topics struct {
	mu            sync.Mutex
	closed        bool
	lost          bool
	subscriptions map[string]map[*subscription]struct{}
}

// Publish queues a message for every subscriber of a topic before it returns, and
// waits for none of them.
func (t *Topics) Publish(topic, payload string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for sub := range t.subscriptions[topic] {
		sub.push(store.Notice{Kind: store.Message, Payload: payload})
	}
}

// Lose tells every subscriber, and those to come, that messages may be missing.
func (t *Topics) Lose() { t.flow(true, store.Lost) }

// Restore tells every subscriber that messages flow again.
func (t *Topics) Restore() { t.flow(false, store.Restored) }

func (t *Topics) flow(lost bool, kind store.NoticeKind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost == lost {
		return
	}
	t.lost = lost
	for _, subs := range t.subscriptions {
		for sub := range subs {
			sub.push(store.Notice{Kind: kind})
		}
	}
}

// Subscribe calls fn for each notice of a topic; see store.Store.
func (t *Topics) Subscribe(topic string, fn func(store.Notice)) (cancel func()) {
	sub := &subscription{fn: fn}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return func() {}
	}
	if t.subscriptions == nil {
		t.subscriptions = make(map[string]map[*subscription]struct{})
	}
	if t.subscriptions[topic] == nil {
		t.subscriptions[topic] = make(map[*subscription]struct{})
	}
	t.subscriptions[topic][sub] = struct{}{}
	if t.lost {
		sub.push(store.Notice{Kind: store.Lost})
	}
	return func() {
		t.forget(topic, sub)
		sub.cancel()
	}
}

func (t *Topics) forget(topic string, sub *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.subscriptions[topic], sub)
	if len(t.subscriptions[topic]) == 0 {
		delete(t.subscriptions, topic)
	}
}

// Close cancels every subscription.
func (t *Topics) Close() {
	for _, sub := range t.forgetAll() {
		sub.cancel()
	}
}

func (t *Topics) forgetAll() (all []*subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, subs := range t.subscriptions {
		for sub := range subs {
			all = append(all, sub)
		}
	}
	t.subscriptions = nil
	return all
}

// subscription calls fn for the notices in queue, in order. Its goroutine lives
// only while there are any.
type subscription struct {
	fn func(store.Notice)

	mu        sync.Mutex
	queue     []store.Notice
	running   bool
	cancelled bool
	drainer   sync.WaitGroup
}

func (s *subscription) push(n store.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancelled {
		return
	}
	s.queue = append(s.queue, n)
	if !s.running {
		s.running = true
		s.drainer.Go(s.drain)
	}
}

func (s *subscription) drain() {
	for n, ok := s.pop(); ok; n, ok = s.pop() {
		s.fn(n)
	}
}

func (s *subscription) pop() (n store.Notice, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.running = false
		return store.Notice{}, false
	}
	n, s.queue = s.queue[0], s.queue[1:]
	return n, true
}

// cancel drops what is queued and waits for the call that is running, so that
// none runs once it has returned.
func (s *subscription) cancel() {
	s.mu.Lock()
	s.cancelled = true
	s.queue = nil
	s.mu.Unlock()
	s.drainer.Wait()
}
