// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"sync"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// topics hands messages to the subscribers within this process.
type topics struct {
	mu            sync.Mutex
	closed        bool
	subscriptions map[string]map[*subscription]struct{}
}

// publish queues payload for every subscriber before it returns, and waits for
// none of them.
func (t *topics) publish(topic, payload string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for sub := range t.subscriptions[topic] {
		sub.push(store.Notice{Kind: store.Message, Payload: payload})
	}
}

func (t *topics) subscribe(topic string, fn func(store.Notice)) (cancel func()) {
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
	return func() {
		t.forget(topic, sub)
		sub.cancel()
	}
}

func (t *topics) forget(topic string, sub *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.subscriptions[topic], sub)
	if len(t.subscriptions[topic]) == 0 {
		delete(t.subscriptions, topic)
	}
}

// close cancels every subscription.
func (t *topics) close() {
	for _, sub := range t.forgetAll() {
		sub.cancel()
	}
}

func (t *topics) forgetAll() (all []*subscription) {
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
