// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// pending is one caller's write that waits to be committed.
type pending struct {
	step     func(*records) error
	done     chan struct{} // closed when the fields below are set
	err      error
	panicked any // of step; for its own caller, whoever ran it
}

// errUnchanged ends a transaction in which no step wrote: there is nothing to sync.
var errUnchanged = errors.New("nothing changed")

// write returns when step and its transaction are on the disk. Those who wait
// while a transaction is being synced go into the next one together, run by the
// first of them that gets the token: a lone writer is never delayed, and a crowd
// costs as few syncs as it can.
//
// A write that has begun is waited for even when ctx ends, so that an error of
// the context always means that nothing was written.
func (d *durable) write(ctx context.Context, step func(*records) error) error {
	p := &pending{step: step, done: make(chan struct{})}
	d.enqueue(p)
	select {
	case d.lead <- struct{}{}:
		d.commitQueue()
	case <-p.done:
	case <-ctx.Done():
		if d.withdraw(p) {
			return checkContext(ctx)
		}
	}
	<-p.done
	if p.panicked != nil {
		panic(p.panicked)
	}
	return p.err
}

func (d *durable) enqueue(p *pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, p)
}

// withdraw takes p out of the queue, unless it has been taken to be committed.
func (d *durable) withdraw(p *pending) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.queue, p)
	if i < 0 {
		return false
	}
	d.queue = slices.Delete(d.queue, i, i+1)
	return true
}

func (d *durable) takeQueue() []*pending {
	d.mu.Lock()
	defer d.mu.Unlock()
	queue := d.queue
	d.queue = nil
	return queue
}

// commitQueue commits what waits and gives the token back, whatever happens.
func (d *durable) commitQueue() {
	queue := d.takeQueue()
	err := d.unavailable("writing", errors.New("a step did not return"))
	defer func() {
		for _, p := range queue {
			p.finish(err)
		}
		<-d.lead
	}()
	err = d.commit(queue)
}

// commit runs the steps, in order, in one transaction. A step's own error stays
// its own: it has written nothing, and the others are not concerned.
func (d *durable) commit(queue []*pending) error {
	return d.transact("writing", func() error {
		err := d.db.Update(func(tx *bolt.Tx) error {
			r := newRecords(tx, d.now())
			for _, p := range queue {
				p.run(r)
			}
			if r.err == nil && !r.changed {
				return errUnchanged
			}
			return r.err
		})
		if errors.Is(err, errUnchanged) {
			return nil
		}
		return err
	})
}

func (p *pending) run(r *records) {
	defer func() { p.panicked = recover() }()
	p.err = p.step(r)
}

// finish tells the caller the outcome; err is that of the whole transaction.
func (p *pending) finish(err error) {
	if err != nil {
		p.err = err
	}
	close(p.done)
}
