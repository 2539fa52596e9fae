// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"sync"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// Watch returns a channel that gets a value whenever the attempt may have
// changed, until stop is called. Several changes may be one value: read the
// attempt after each.
func (v *Service) Watch(id string) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	v.watchers.add(id, c)
	return c, func() { v.watchers.remove(id, c) }
}

// watchers are the browsers of this node that wait, by attempt. The zero value
// is ready to use.
type watchers struct {
	mu   sync.Mutex
	byID map[string][]chan struct{}
}

func (w *watchers) add(id string, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = make(map[string][]chan struct{})
	}
	w.byID[id] = append(w.byID[id], c)
}

func (w *watchers) remove(id string, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := w.byID[id][:0:0]
	for _, other := range w.byID[id] {
		if other != c {
			left = append(left, other)
		}
	}
	if len(left) == 0 {
		delete(w.byID, id)
		return
	}
	w.byID[id] = left
}

// notice wakes the browsers of one attempt, or all of them where it is not
// known what was missed.
func (w *watchers) notice(n store.Notice) {
	switch n.Kind {
	case store.Message:
	case store.Lost: // what they know is still true
		return
	case store.Restored:
		w.wakeSlowly()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	wake(w.byID[n.Payload])
}

// wakeSlowly wakes all of them, one batch after the other: they ask the store, and
// so do those of all other nodes.
func (w *watchers) wakeSlowly() {
	w.mu.Lock()
	defer w.mu.Unlock()
	after, n := time.Duration(0), 0
	for id := range w.byID {
		time.AfterFunc(after, func() { w.wakeOne(id) })
		if n++; n%wakeBatch == 0 {
			after += wakePause
		}
	}
}

const (
	wakeBatch = 200
	wakePause = 20 * time.Millisecond
)

func (w *watchers) wakeOne(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wake(w.byID[id])
}

func (w *watchers) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, cs := range w.byID {
		wake(cs)
	}
}

func wake(cs []chan struct{}) {
	for _, c := range cs {
		select {
		case c <- struct{}{}:
		default: // a wake-up is waiting already
		}
	}
}
