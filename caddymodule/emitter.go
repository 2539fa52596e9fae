// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// maxQueued is how many events wait for slow handlers.
	maxQueued = 1024
	// warnLostEvery is how often the log says that events were lost.
	warnLostEvery = time.Minute
	// lastEmissions is how long the handlers have for what is queued in the end.
	lastEmissions = 5 * time.Second
)

// emission is an event for the handlers of Caddy's events app.
type emission struct {
	name string
	data map[string]any
}

// emitter calls the handlers one event at a time: they may take long, which no
// visitor waits for. It runs a goroutine while there is something to do.
type emitter struct {
	emit   func(emission)
	cancel func() // tells handlers to stop
	log    *zap.Logger

	mu      sync.Mutex
	queue   []emission
	running bool
	closed  bool
	idle    chan struct{} // closed when closed and no longer running
	lost    int
	warned  time.Time // when the log last said so
}

func newEmitter(emit func(emission), cancel func(), log *zap.Logger) *emitter {
	return &emitter{emit: emit, cancel: cancel, log: log, idle: make(chan struct{})}
}

// add queues an event. Where too many wait it is lost: the log line remains.
func (q *emitter) add(e emission) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.queue) >= maxQueued {
		q.lose()
		return
	}
	q.queue = append(q.queue, e)
	if !q.running {
		q.running = true
		go q.run()
	}
}

// lose takes note of a lost event, under the lock.
func (q *emitter) lose() {
	q.lost++
	if now := time.Now(); now.Sub(q.warned) >= warnLostEvery {
		q.log.Warn("event handlers are too slow or have ended; they miss events, which the log wechat.audit has", zap.Int("lost", q.lost))
		q.lost, q.warned = 0, now
	}
}

func (q *emitter) run() {
	for {
		e, ok := q.next()
		if !ok {
			return
		}
		q.emit(e)
	}
}

// next takes the oldest event; where there is none the goroutine ends.
func (q *emitter) next() (e emission, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		q.running = false
		if q.closed {
			close(q.idle)
		}
		return emission{}, false
	}
	e = q.queue[0]
	q.queue = q.queue[1:]
	return e, true
}

// close emits what is queued, and tells handlers that take too long to stop.
func (q *emitter) close() {
	q.mu.Lock()
	first := !q.closed
	q.closed = true
	if first && !q.running {
		close(q.idle)
	}
	q.mu.Unlock()
	select {
	case <-q.idle:
	case <-time.After(lastEmissions):
	}
	q.cancel()
}
