// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// accessTopic carries the ids of users who may do less, or more, than before.
	accessTopic = "user-access"
	// clockSkew is how much the clocks of two nodes may differ.
	clockSkew = time.Minute
	// lookInterval is how often those online are looked at while notices are lost,
	// and lookTimeout and looksAtOnce bound one look.
	lookInterval = 300 * time.Millisecond
	lookTimeout  = 2 * time.Second
	looksAtOnce  = 16
)

func accessChanged(id string) store.Announcement {
	return store.Announcement{Topic: accessTopic, Payload: id}
}

// access tells somebody whose access has changed.
type access struct {
	records *Records
	tell    func(id string)
	online  func() []string

	mu       sync.Mutex
	restored chan struct{} // closed when the present gap ends; nil while notices flow

	// ctx ends with the Records; gaps are the goroutines under way.
	ctx  context.Context //nolint:containedctx // of goroutines that outlive the notice
	stop context.CancelFunc
	gaps sync.WaitGroup
}

// OnAccess calls tell with the id of each user whose status, roles or addresses have
// changed, or who was deleted, on any node. In a gap of the notices, and after it, it is
// called for those of online whose notice may have been lost; perhaps for some more.
// Both must return quickly. It is to be called before the first change.
func (r *Records) OnAccess(tell func(id string), online func() []string) {
	a := &access{records: r, tell: tell, online: online}
	a.ctx, a.stop = context.WithCancel(context.Background())
	cancel := r.store.Subscribe(accessTopic, a.notice)
	r.cancels = append(r.cancels, func() {
		cancel()
		a.stop()
		a.gaps.Wait()
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
		if a.restored == nil {
			restored, since := make(chan struct{}), a.records.now().Add(-clockSkew)
			a.restored = restored
			a.gaps.Go(func() { a.sitOut(since, restored) })
		}
	case store.Restored:
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.restored != nil {
			close(a.restored)
			a.restored = nil
		}
	}
}

// sitOut looks for changes that nobody tells of, until a look after the gap was whole.
func (a *access) sitOut(since time.Time, restored <-chan struct{}) {
	g := gap{access: a, since: since, told: make(map[string]time.Time)}
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for over, whole := false, false; !over || !whole; {
		select {
		case <-a.ctx.Done():
			return
		case <-restored:
			over, restored = true, nil
		case <-tick.C:
		}
		whole = g.look()
	}
}

// gap is a time without notices.
type gap struct {
	*access
	since time.Time

	mu sync.Mutex
	// told is the change of which somebody was told last, by the user's id: he may
	// have come back since then.
	told map[string]time.Time
}

// look tells of everybody online whose access has changed, and says whether all could
// be looked at. While the store cannot be asked nothing is known against them.
func (g *gap) look() (whole bool) {
	ctx, cancel := context.WithTimeout(g.ctx, lookTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(looksAtOnce)
	for _, id := range g.online() {
		group.Go(func() error {
			u, err := g.records.Find(ctx, id)
			switch {
			case errors.Is(err, ErrNotFound):
				g.tell(id)
			case err != nil:
				return err
			case u.AccessAt.After(g.since) && g.isNews(id, u.AccessAt):
				g.tell(id)
			}
			return nil
		})
	}
	return group.Wait() == nil
}

// isNews says whether nobody was told yet of a change that was made then.
func (g *gap) isNews(id string, at time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.told[id].Equal(at) {
		return false
	}
	g.told[id] = at
	return true
}
