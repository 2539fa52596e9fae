// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// accessTopic carries the ids of users who may do less, or more, than before.
	accessTopic = "user-access"
	// lookInterval is how often those online are looked at while notices are lost,
	// and lookTimeout and looksAtOnce bound one look.
	lookInterval = 300 * time.Millisecond
	lookTimeout  = 2 * time.Second
	looksAtOnce  = 16
)

// accessEnded tells that a user may do nothing any more.
func accessEnded(id string) store.Announcement {
	return store.Announcement{Topic: accessTopic, Payload: id}
}

// accessChanged tells that a user has another AccessAt. What begins after the change may
// be there before the notice, and is not meant.
func accessChanged(id string, at time.Time) store.Announcement {
	return store.Announcement{Topic: accessTopic, Payload: id + " " + at.UTC().Format(time.RFC3339Nano)}
}

func readAccess(payload string) (id string, at time.Time, ended bool) {
	id, rest, changed := strings.Cut(payload, " ")
	at, err := time.Parse(time.RFC3339Nano, rest)
	return id, at, !changed || err != nil
}

// Connections are what users have open on this node. Its methods must return quickly.
type Connections interface {
	// Online returns the users who have something open.
	Online() []string
	// EndConnections ends all that the user has open.
	EndConnections(userID string)
	// EndOutdated ends what the user was let into when his AccessAt was another.
	EndOutdated(userID string, accessAt time.Time)
}

// access ends the connections of somebody whose access has changed.
type access struct {
	records *Records
	open    Connections

	mu      sync.Mutex
	lost    bool // notices are
	gaps    int  // how many there have been
	looking bool // the goroutine is under way

	turned chan struct{} // has a value when lost has changed
	// ctx ends with the Records; looks is the goroutine.
	ctx   context.Context //nolint:containedctx // of a goroutine that outlives the notice
	stop  context.CancelFunc
	looks sync.WaitGroup
}

// OnAccess ends what a user has open when his status, roles or addresses have changed, or
// he was deleted, on any node. In a gap of the notices, and after it, those online are
// looked at. It is to be called once, before the first change.
func (r *Records) OnAccess(open Connections) {
	a := &access{records: r, open: open, turned: make(chan struct{}, 1)}
	a.ctx, a.stop = context.WithCancel(context.Background())
	cancel := r.store.Subscribe(accessTopic, a.notice)
	r.cancels = append(r.cancels, func() {
		cancel()
		a.stop()
		a.looks.Wait()
	})
}

func (a *access) notice(n store.Notice) {
	switch n.Kind {
	case store.Message:
		// Whose connection ends may come back at once: what was known of him must be
		// gone by then.
		id, at, ended := readAccess(n.Payload)
		a.records.set.Forget(id)
		if ended {
			a.open.EndConnections(id)
		} else {
			a.open.EndOutdated(id, at)
		}
	case store.Lost, store.Restored:
		a.turn(n.Kind == store.Lost)
	}
}

// turn begins or ends a gap.
func (a *access) turn(lost bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lost == lost {
		return
	}
	if a.lost = lost; lost {
		a.gaps++
	}
	if lost && !a.looking {
		a.looking = true
		a.looks.Go(a.lookOut)
		return
	}
	select {
	case a.turned <- struct{}{}:
	default: // it knows
	}
}

// lookOut looks for changes that nobody tells of, until everybody was looked at after
// the last gap.
func (a *access) lookOut() {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for r := (round{access: a}); ; {
		r.look()
		if r.last() {
			return
		}
		select {
		case <-a.ctx.Done():
			return
		case <-a.turned:
		case <-tick.C:
		}
	}
}

// round is a look at everybody online; where they are many it takes several ticks.
type round struct {
	*access
	// gap is the one after which it began, 0 for in the middle of one.
	gap    int
	todo   []string        // are still to be looked at
	failed map[string]bool // could not be
}

// begin begins the next round. After the last gap only those are left who could not be
// looked at since then: one record that cannot be read shall not have all others read
// for ever.
func (r *round) begin() {
	r.mu.Lock()
	gap, flowing := r.gaps, !r.lost
	r.mu.Unlock()
	// Who comes to be online from here on is looked at by Renew, if notices flow for it.
	flowing = flowing && r.records.set.Flowing()
	online := r.open.Online()
	switch {
	case !flowing:
		gap = 0
	case r.gap == gap:
		online = slices.DeleteFunc(online, func(id string) bool { return !r.failed[id] })
	}
	r.gap, r.todo, r.failed = gap, online, make(map[string]bool)
}

// last says whether nobody is left to be looked at and no gap has begun since, which
// ends the goroutine.
func (r *round) last() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gap != r.gaps || len(r.todo)+len(r.failed) > 0 {
		return false
	}
	r.looking = false
	return true
}

// look looks at as many as the time allows.
func (r *round) look() {
	if len(r.todo) == 0 {
		r.begin()
	}
	ctx, cancel := context.WithTimeout(r.ctx, lookTimeout)
	defer cancel()
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(looksAtOnce)
	for len(r.todo) > 0 && ctx.Err() == nil {
		id := r.todo[0]
		r.todo = r.todo[1:]
		group.Go(func() error {
			if r.lookAt(ctx, id) != nil {
				mu.Lock()
				defer mu.Unlock()
				r.failed[id] = true
			}
			return nil
		})
	}
	_ = group.Wait() // none returns an error
}

// lookAt ends what a user has open who may do something else than when it began. While
// the store cannot be asked nothing is known against him.
func (a *access) lookAt(ctx context.Context, id string) error {
	u, err := a.records.Find(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		a.open.EndConnections(id)
	case err != nil:
		return err
	default:
		a.open.EndOutdated(id, u.AccessAt)
	}
	return nil
}
