// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package watch wakes those on this node who wait for something in the store to
// change, such as a browser for its attempt.
package watch

import (
	"sync"
	"time"
)

const (
	// Batch is how many ids WakeSlowly wakes at a time.
	Batch = 200
	// Pause is how long it waits between two batches.
	Pause = 20 * time.Millisecond
)

// Watchers are those who wait, by the id of what they wait for. The zero value is
// ready to use.
type Watchers struct {
	mu   sync.Mutex
	byID map[string]map[chan struct{}]struct{}
}

// Watch returns a channel that gets a value whenever the id is woken, until stop is
// called. Several times may be one value: read the state anew after each.
func (w *Watchers) Watch(id string) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = make(map[string]map[chan struct{}]struct{})
	}
	if w.byID[id] == nil {
		w.byID[id] = make(map[chan struct{}]struct{})
	}
	w.byID[id][c] = struct{}{}
	return c, func() { w.remove(id, c) }
}

func (w *Watchers) remove(id string, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if delete(w.byID[id], c); len(w.byID[id]) == 0 {
		delete(w.byID, id)
	}
}

// Watched returns how many ids somebody waits for.
func (w *Watchers) Watched() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.byID)
}

// Wake wakes those who wait for one id.
func (w *Watchers) Wake(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wake(w.byID[id])
}

// WakeAll wakes everybody.
func (w *Watchers) WakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, waiting := range w.byID {
		wake(waiting)
	}
}

// WakeSlowly wakes everybody, one batch after the other: they ask the store, and so do
// those of all other nodes.
func (w *Watchers) WakeSlowly() {
	w.mu.Lock()
	defer w.mu.Unlock()
	after, n := time.Duration(0), 0
	for id := range w.byID {
		time.AfterFunc(after, func() { w.Wake(id) })
		if n++; n%Batch == 0 {
			after += Pause
		}
	}
}

func wake(waiting map[chan struct{}]struct{}) {
	for c := range waiting {
		select {
		case c <- struct{}{}:
		default: // a wake-up is waiting already
		}
	}
}
