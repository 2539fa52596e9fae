// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package embedded is the store of a gateway that runs on one machine: a bbolt
// file for what must survive, and memory for what need not.
//
// A write to a durable key returns once it is on the disk; concurrent writers
// share one transaction and so one fsync. Keys with store.VolatilePrefix live in
// memory only, are gone when the process ends, and together take at most 256 MiB:
// a write beyond that is refused with store.ErrUnavailable until entries expire
// or are deleted.
package embedded

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/internal/topics"
)

// FileName is the name of the database file in Config.Dir.
const FileName = "wechat.db"

// sweepInterval is how often expired entries are removed. They are invisible
// from the moment they expire; this bounds how long they take up space.
const sweepInterval = 30 * time.Second

// Config says where a Store keeps its file and what time it is.
type Config struct {
	// Dir is the directory of the database file. It is made, for the owner
	// alone, where it does not exist.
	Dir string

	// Now is the clock that entries expire by. Default: time.Now.
	Now func() time.Time
}

// Store implements store.Store. Lost and Restored notices never occur: messages
// stay within the process and wait in memory for a slow subscriber.
type Store struct {
	path     string
	now      func() time.Time
	volatile *volatile
	topics   topics.Topics

	durable  atomic.Pointer[durable] // nil before Open and after Close
	opening  singleflight.Group
	sweeping sync.WaitGroup

	mu     sync.Mutex // guards the fields below and is held while opening
	closed bool
	stop   context.CancelFunc // ends the sweeper; nil before the first Open
	damage *damage            // of the file, when last seen
}

// New returns a store for the file in cfg.Dir. It touches neither disk nor clock;
// see Open.
func New(cfg Config) *Store {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Store{
		path:     filepath.Join(cfg.Dir, FileName),
		now:      cfg.Now,
		volatile: newVolatile(cfg.Now),
	}
}

// Open opens the file, making it where it does not exist, and starts the sweeper.
// It does nothing where the store is open already. The first operation opens the
// store too, and after a failure each further one tries again. Errors wrap
// store.ErrUnavailable, name the file and say what to do.
func (s *Store) Open() error {
	_, err := s.ready()
	return err
}

// Close ends the subscriptions and the sweeper and closes the file. Operations
// that come later, from handlers that still run, fail with store.ErrUnavailable.
// It must not be called by a subscriber's fn.
func (s *Store) Close() error {
	d, stop := s.markClosed()
	if stop != nil {
		stop()
	}
	s.sweeping.Wait()
	s.topics.Close()
	if d == nil {
		return nil
	}
	return d.close()
}

// markClosed makes all further operations fail and returns what is still to be
// closed and stopped. The waiting is done without the lock, because a subscriber
// that Close waits for may itself be in an operation that wants it.
func (s *Store) markClosed() (*durable, context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.durable.Swap(nil), s.stop
}

// ready returns the open file. Callers that arrive while it is being opened
// share one attempt, so that a file locked elsewhere costs all of them together
// one time-out.
//
// The caller's context has no part in it: the sweeper that opening starts outlives
// the request.
func (s *Store) ready() (*durable, error) {
	if d := s.durable.Load(); d != nil && d.damage.Load() == nil {
		return d, nil
	}
	d, err, _ := s.opening.Do("", func() (any, error) { return s.open() })
	if err != nil {
		return nil, err
	}
	return d.(*durable), nil //nolint:forcetypeassert // open returns nothing else
}

func (s *Store) open() (*durable, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if d := s.durable.Load(); d != nil {
		if s.damage = d.damage.Load(); s.damage == nil {
			return d, nil
		}
		s.durable.Store(nil)
		_ = d.close()
	}
	return s.openFile()
}

// openFile opens the file, unless it is the one that was found damaged before.
func (s *Store) openFile() (*durable, error) {
	if s.damage != nil && s.damage.stands(s.path) {
		return nil, s.damage.err
	}
	d, err := openDurable(s.path, s.now)
	s.damage = nil
	if isDamage(err) {
		s.damage = newDamage(s.path, err)
	}
	if err != nil {
		return nil, err
	}
	s.durable.Store(d)
	if s.stop == nil {
		ctx, stop := context.WithCancel(context.Background()) //nolint:gosec // Close calls stop
		s.stop = stop
		s.sweeping.Go(func() { s.sweepUntilDone(ctx) })
	}
	return d, nil
}

func (s *Store) sweepUntilDone(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.volatile.sweep()
			if d := s.durable.Load(); d != nil {
				// A failure is no one's to hear of: nothing expired is visible, the
				// next tick tries again, and a broken disk shows at the next write.
				_ = d.sweep(ctx)
			}
		}
	}
}

var _ store.Store = (*Store)(nil)
