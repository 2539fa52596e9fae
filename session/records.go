// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/record"
)

const (
	// cachedSessions bounds how many sessions are kept in memory, at roughly 1 KiB each.
	cachedSessions = 50_000
	// touchQueue bounds how many "last seen" updates may wait to be written. One
	// that finds the queue full is tried again by a later request.
	touchQueue = 1024
	// expiryCheck is how long a connection may outlive its session.
	expiryCheck = time.Second
	// recheckInterval is how often the sessions with open connections are looked
	// at while their revocation would not be heard of.
	recheckInterval = 300 * time.Millisecond
	// recheckTimeout and rechecksAtOnce bound that.
	recheckTimeout = 2 * time.Second
	rechecksAtOnce = 16
	// deletesAtOnce is how many sessions of one user are ended at a time.
	deletesAtOnce = 16
	// readsAtOnce is how many sessions of one user are read at a time.
	readsAtOnce = 16
	// touchTimeout bounds one "last seen" update.
	touchTimeout = 5 * time.Second
)

// ErrSignedOut says that a session was ended before it began.
var ErrSignedOut = errors.New("the person has signed out everywhere in the meantime")

// live is a Session and the moment it was last used on this node.
type live struct {
	Session
	seen atomic.Int64 // Unix nanoseconds
}

// Records holds the sessions of one store. It outlives the configurations that
// use it, and with it the cache and the open connections of each session.
type Records struct {
	set    *record.Set[live]
	owners owners
	now    func() time.Time
	open   openConns

	touches chan touch
	gap     chan struct{} // has a value when revocations may have been missed
	stop    context.CancelFunc
	done    chan struct{}
}

type touch struct {
	id   string
	seen time.Time
	ttl  time.Duration
}

// NewRecords returns the sessions kept in s. now is the clock; nil means time.Now.
// Close stops its goroutine.
func NewRecords(s store.Store, now func() time.Time) *Records {
	if now == nil {
		now = time.Now
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Records{
		owners:  owners{store: s, now: now},
		set:     record.New[live](record.Config{Store: s, Kind: "session", Size: cachedSessions, Now: now}),
		now:     now,
		touches: make(chan touch, touchQueue),
		gap:     make(chan struct{}, 1),
		stop:    stop,
		done:    make(chan struct{}),
	}
	r.set.OnChange(r.open.end)
	r.set.OnGap(r.lookAgain)
	go r.run(ctx)
	return r
}

// lookAgain has the sessions with open connections looked at.
func (r *Records) lookAgain() {
	select {
	case r.gap <- struct{}{}:
	default: // one waits already
	}
}

// Close ends the subscription and the goroutine.
func (r *Records) Close() {
	r.stop()
	<-r.done
	r.set.Close()
}

// run does what happens behind the requests.
func (r *Records) run(ctx context.Context) {
	defer close(r.done)
	expiry, recheck := time.NewTicker(expiryCheck), time.NewTicker(recheckInterval)
	defer expiry.Stop()
	defer recheck.Stop()
	due := false // whether a revocation may have been missed since the last whole look
	for {
		select {
		case <-ctx.Done():
			return
		case <-expiry.C:
			r.open.endExpired(r.now())
		case <-recheck.C:
			if due || !r.set.Flowing() {
				due = !r.recheck(ctx)
			}
		case <-r.gap:
			due = !r.recheck(ctx)
		case t := <-r.touches:
			r.writeTouch(ctx, t)
		}
	}
}

// recheck ends the connections of sessions that have been revoked without this
// node hearing of it, and says whether it could look at all. While the store is
// away they stay: nothing is known against them.
func (r *Records) recheck(ctx context.Context) (complete bool) {
	ctx, cancel := context.WithTimeout(ctx, recheckTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(rechecksAtOnce)
	for _, id := range r.open.sessions() {
		group.Go(func() error {
			_, found, err := r.set.Reload(ctx, id)
			if err == nil && !found {
				r.open.end(id)
			}
			return err
		})
	}
	return group.Wait() == nil // what is left will be looked at the next time
}

// writeTouch records in the store when a session was last seen. A failure costs
// nothing: the next request that finds the session unseen for long enough tries
// again.
func (r *Records) writeTouch(ctx context.Context, t touch) {
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	_ = r.set.UpdateQuietly(ctx, t.id, t.ttl, func(l *live) (bool, error) {
		if !t.seen.After(l.LastSeenAt) {
			return false, nil
		}
		l.LastSeenAt = t.seen
		return true, nil
	})
}

// add writes a new session. The list of the user's sessions comes first: a
// crash in between leaves an entry without a session, which goes by itself, and
// never a session that "sign out everywhere" would miss.
func (r *Records) add(ctx context.Context, s Session, ttl time.Duration) error {
	surplus, err := r.owners.add(ctx, s.UserID, s.ID, s.ExpiresAt)
	if err != nil {
		return err
	}
	if _, err := r.set.Create(ctx, s.ID, &live{Session: s}, ttl); err != nil {
		return err
	}
	// "Sign out everywhere" may have come in between. It takes all sessions off the
	// list and then looks once more, so one of the two sees the other.
	ids, err := r.owners.list(ctx, s.UserID)
	if err == nil && !slices.Contains(ids, s.ID) {
		err = ErrSignedOut
	}
	if err != nil {
		_, _ = r.set.Delete(ctx, s.ID) // nobody has its cookie
		return err
	}
	for _, id := range surplus {
		_, err = r.set.Delete(ctx, id)
		r.open.end(id)
		if err != nil {
			return err
		}
	}
	return nil
}

// Revoke ends a session on every node and closes the connections it opened. It
// says whether there was such a session.
func (r *Records) Revoke(ctx context.Context, id string) (bool, error) {
	l, known, err := r.set.Get(ctx, id, 0)
	if err != nil {
		return false, err
	}
	// What is in memory may have ended elsewhere a moment ago: the store decides.
	existed, err := r.set.Delete(ctx, id)
	r.open.end(id) // even if the other nodes could not be told
	if err != nil {
		return false, err
	}
	if known {
		// Should it fail, as in a store that is full, the entry goes by itself.
		_ = r.owners.remove(ctx, l.UserID, id)
	}
	return existed, nil
}

// RevokeUser ends all sessions of a user and says how many there were.
func (r *Records) RevokeUser(ctx context.Context, userID string) (int, error) {
	return r.RevokeOthers(ctx, userID, "")
}

// RevokeOthers ends all sessions of a user but one and says how many there were.
func (r *Records) RevokeOthers(ctx context.Context, userID, keep string) (int, error) {
	ids, err := r.owners.list(ctx, userID)
	if err != nil {
		return 0, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == keep })
	ended, rest, err := r.endAll(ctx, ids)
	if err != nil {
		_ = r.owners.remove(ctx, userID, ended...) // the next try has less to do
		return len(ended), err
	}
	// Should it fail, as in a store that is full, the entries go by themselves.
	_ = r.owners.remove(ctx, userID, ids...)
	// What was not there may have been about to be issued: see add.
	late, _, err := r.endAll(ctx, rest)
	return len(ended) + len(late), err
}

// endAll ends sessions, and says which there were and which not.
func (r *Records) endAll(ctx context.Context, ids []string) (ended, rest []string, err error) {
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(deletesAtOnce)
	for _, id := range ids {
		group.Go(func() error {
			existed, err := r.set.Delete(ctx, id)
			r.open.end(id)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
			case existed:
				ended = append(ended, id)
			default:
				rest = append(rest, id)
			}
			return err
		})
	}
	err = group.Wait()
	return ended, rest, err
}

// List returns the sessions of a user, the latest first.
func (r *Records) List(ctx context.Context, userID string) ([]Session, error) {
	ids, err := r.owners.list(ctx, userID)
	if err != nil {
		return nil, err
	}
	all := make([]*live, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for i, id := range ids {
		group.Go(func() error {
			l, _, err := r.set.Get(ctx, id, 0)
			all[i] = l
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var sessions []Session
	for _, l := range all {
		if l != nil && l.UserID == userID {
			s := l.Session
			if seen := time.Unix(0, l.seen.Load()).UTC(); seen.After(s.LastSeenAt) {
				s.LastSeenAt = seen
			}
			sessions = append(sessions, s)
		}
	}
	slices.SortFunc(sessions, func(a, b Session) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return sessions, nil
}

// Find returns a session as the store has it, or ErrInvalid.
func (r *Records) Find(ctx context.Context, id string) (Session, error) {
	l, found, err := r.set.Reload(ctx, id)
	if err != nil {
		return Session{}, err
	}
	if !found {
		return Session{}, ErrInvalid
	}
	return l.Session, nil
}

// Online returns the users whose sessions have connections open on this node.
func (r *Records) Online() []string { return r.open.users() }

// EndConnections closes the connections on this node that sessions of the user
// opened, as when what the user may do has changed: who still may comes back.
func (r *Records) EndConnections(userID string) { r.open.endUser(userID) }

// EndOutdated closes those connections that Track was told to be of another state of
// the user's than the one given.
func (r *Records) EndOutdated(userID string, asOf time.Time) { r.open.endOutdated(userID, asOf) }

// Track calls end when the session ends, by revocation or by time, until what it
// returns is released. It is how a WebSocket that a session opened is closed with it.
// asOf says by which state of the user the request was let in, for EndOutdated; here it
// is compared and nothing else.
func (r *Records) Track(s *Session, asOf time.Time, end func()) *Tracked {
	return r.open.add(s, asOf, end)
}

// Live returns nil where the session has not been revoked, as far as is known: asked
// after Track, no revocation can come in between unnoticed. While revocations are
// not heard of at once, the store need not be asked twice for each request: open
// connections are looked at anyway. While they are, a session that a notice has thrown out
// of memory must not pass: the error is ErrInvalid where it is no more, and any other
// means that it cannot be known. One that is in memory still, from before a gap, was
// good enough for Check, and has the open connections looked at.
func (r *Records) Live(ctx context.Context, id string) error {
	if !r.set.Flowing() {
		return nil
	}
	_, found, err := r.set.Get(ctx, id, 0)
	switch {
	case err == nil && !found:
		return ErrInvalid
	case err != nil && r.set.Flowing():
		if ctx.Err() != nil || !r.set.Remembered(id) {
			return unavailable(err)
		}
		r.lookAgain()
		return nil
	default: // or the notices were lost meanwhile, which has the session looked at
		return nil
	}
}
