// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// accessTopic carries the ids of users who may do less, or more, than before.
	accessTopic = "user-access"
	// clockSkew is how much the clocks of two nodes may differ.
	clockSkew = time.Minute
	// accessTimeout bounds the look at those whose notices were lost.
	accessTimeout = 30 * time.Second
)

func accessChanged(id string) store.Announcement {
	return store.Announcement{Topic: accessTopic, Payload: id}
}

// access tells somebody whose access has changed.
type access struct {
	records *Records
	tell    func(id string)
	online  func() []string

	mu   sync.Mutex
	lost time.Time // zero while notices flow

	// ctx ends with the Records; looks are the goroutines under way.
	ctx   context.Context //nolint:containedctx // of goroutines that outlive the notice
	stop  context.CancelFunc
	looks sync.WaitGroup
}

// OnAccess calls tell with the id of each user whose status, roles or addresses have
// changed, or who was deleted, on any node. After a gap in the notices it is called
// for those of online whose notice may have been lost; perhaps for some more. Both
// must return quickly. It is to be called before the first change.
func (r *Records) OnAccess(tell func(id string), online func() []string) {
	a := &access{records: r, tell: tell, online: online}
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
		// Who is told may look the user up, or somebody who comes back at once: what
		// was known of him must be gone by then.
		a.records.set.Forget(n.Payload)
		a.tell(n.Payload)
	case store.Lost:
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.lost.IsZero() {
			a.lost = a.records.now()
		}
	case store.Restored:
		a.mu.Lock()
		defer a.mu.Unlock()
		if since := a.lost; !since.IsZero() {
			a.lost = time.Time{}
			a.looks.Go(func() { a.look(since.Add(-clockSkew)) })
		}
	}
}

// look tells of everybody online whose access has changed since then. While the store
// cannot be asked nothing is known against them.
func (a *access) look(since time.Time) {
	ctx, cancel := context.WithTimeout(a.ctx, accessTimeout)
	defer cancel()
	for _, id := range a.online() {
		u, err := a.records.Find(ctx, id)
		if errors.Is(err, ErrNotFound) || err == nil && u.AccessAt.After(since) {
			a.tell(id)
		}
	}
}
