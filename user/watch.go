// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"sync"
	"time"
)

// Those who wait are woken after a gap so many at a time, with a pause in between:
// they ask the store, and so do those of all other nodes.
const (
	wakeBatch = 200
	wakePause = 20 * time.Millisecond
)

// watchers are those who wait for users to change.
type watchers struct {
	mu  sync.Mutex
	all map[string]map[chan struct{}]struct{}
}

// Watch returns a channel that gets a value whenever the user may have changed, on
// any node, until stop is called. Several changes may be one value: read the user
// after each.
func (r *Records) Watch(id string) (changed <-chan struct{}, stop func()) {
	w := &r.watch
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[string]map[chan struct{}]struct{})
	}
	if w.all[id] == nil {
		w.all[id] = make(map[chan struct{}]struct{})
	}
	w.all[id][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.all[id], ch); len(w.all[id]) == 0 {
			delete(w.all, id)
		}
	}
}

func (w *watchers) wake(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wake(w.all[id])
}

// wakeAll follows a gap in the notices, in which anybody may have changed.
func (w *watchers) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	after, n := time.Duration(0), 0
	for id := range w.all {
		time.AfterFunc(after, func() { w.wake(id) })
		if n++; n%wakeBatch == 0 {
			after += wakePause
		}
	}
}

func wake(waiting map[chan struct{}]struct{}) {
	for ch := range waiting {
		select {
		case ch <- struct{}{}:
		default: // a value waits there already
		}
	}
}
