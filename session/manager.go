// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// reissuable is how long after its beginning a session can be given out once more:
// as long as a browser may try again whose first answer was lost.
const reissuable = 2 * time.Minute

// cachedCookies bounds how many cookies are remembered as rightly signed. Only
// those are kept, so garbage cannot push them out.
const cachedCookies = 50_000

// Config sets how sessions are issued and how long they live.
type Config struct {
	// TTL ends a session however busy it is.
	TTL time.Duration
	// Idle ends a session that is not used for so long.
	Idle time.Duration
	// Grace is how long a session known to be live passes while the store
	// cannot be asked.
	Grace time.Duration
	// Keys sign the cookies.
	Keys *Keys
}

// Manager issues sessions and checks cookies under one configuration.
type Manager struct {
	*Records
	config Config
	// signed remembers which session a cookie names whose signature was right.
	signed *otter.Cache[string, string]
}

// NewManager returns a Manager of the sessions in r.
func NewManager(r *Records, c Config) *Manager {
	return &Manager{
		Records: r,
		config:  c,
		signed:  otter.Must(&otter.Options[string, string]{MaximumSize: cachedCookies}),
	}
}

// NewID returns the id of a session to be issued.
func NewID() string { return rand.Text() }

// Issue records a new session with the id (from NewID), user, method, site and client
// of s, and returns it with the cookie value that names it.
func (m *Manager) Issue(ctx context.Context, s Session) (Session, string, error) {
	keys, err := m.config.Keys.load(ctx)
	if err != nil {
		return Session{}, "", err
	}
	now := m.now().UTC()
	s.CreatedAt, s.LastSeenAt, s.ExpiresAt = now, now, now.Add(m.config.TTL)
	cookie, err := signCookie(keys[0], s.ID, s.ExpiresAt)
	if err != nil {
		return Session{}, "", fmt.Errorf("signing the session cookie: %w", err)
	}
	if err := m.add(ctx, s, m.storeTTL(s, now)); err != nil {
		return Session{}, "", fmt.Errorf("recording the session: %w", err)
	}
	return s, cookie, nil
}

// Reissue returns a session that has just begun, and a cookie that names it. The
// error is ErrInvalid where there is none, or it is some minutes old. The store is
// asked in any case: that the session was revoked may not have been heard of yet.
func (m *Manager) Reissue(ctx context.Context, id string) (Session, string, error) {
	l, found, err := m.set.Reload(ctx, id)
	if err != nil {
		return Session{}, "", unavailable(err)
	}
	now := m.now()
	if !found || !now.Before(l.ExpiresAt) || now.Sub(l.CreatedAt) >= reissuable {
		return Session{}, "", ErrInvalid
	}
	keys, err := m.config.Keys.load(ctx)
	if err != nil {
		return Session{}, "", err
	}
	cookie, err := signCookie(keys[0], id, l.ExpiresAt)
	return l.Session, cookie, err
}

// Check returns the session that a cookie names. The error is ErrInvalid where
// there is none, or wraps ErrUnavailable where that cannot be known. The session
// is shared: it must not be changed.
func (m *Manager) Check(ctx context.Context, cookie string) (*Session, error) {
	id, err := m.sessionID(ctx, cookie)
	if err != nil {
		return nil, err
	}
	l, found, err := m.set.Get(ctx, id, m.config.Grace)
	if err != nil {
		return nil, unavailable(err)
	}
	if !found {
		return nil, ErrInvalid
	}
	return m.use(ctx, l)
}

// use refuses a session that is over and notes that a live one was seen.
func (m *Manager) use(ctx context.Context, l *live) (*Session, error) {
	now := m.now()
	if !now.Before(l.ExpiresAt) {
		return nil, ErrInvalid
	}
	if m.idle(l, now) >= m.config.Idle {
		// Another node may have seen it since this one read it.
		fresh, found, err := m.set.Reload(ctx, l.ID)
		if err != nil {
			return nil, unavailable(err)
		}
		if !found || m.idle(fresh, now) >= m.config.Idle {
			return nil, ErrInvalid
		}
		l = fresh
	}
	m.touch(l, now)
	return &l.Session, nil
}

func (m *Manager) idle(l *live, now time.Time) time.Duration {
	return now.Sub(time.Unix(0, max(l.seen.Load(), l.LastSeenAt.UnixNano())))
}

// touch has the moment recorded, at most once in a granularity.
func (m *Manager) touch(l *live, now time.Time) {
	before := l.seen.Load()
	if m.idle(l, now) < m.granularity() || !l.seen.CompareAndSwap(before, now.UnixNano()) {
		return
	}
	select {
	case m.touches <- touch{id: l.ID, seen: now.UTC(), ttl: m.storeTTL(l.Session, now)}:
	default:
		l.seen.Store(before) // a later request tries again
	}
}

// granularity is how exact "last seen" is: exact enough for Idle, coarse enough
// that a busy session costs the store next to nothing.
func (m *Manager) granularity() time.Duration {
	return min(m.config.Idle/20, 5*time.Minute)
}

// storeTTL lets the store forget a session that nobody uses any more.
func (m *Manager) storeTTL(s Session, now time.Time) time.Duration {
	return min(s.ExpiresAt.Sub(now), m.config.Idle+m.granularity())
}

// sessionID returns the id in a cookie that one of the keys signed.
func (m *Manager) sessionID(ctx context.Context, cookie string) (string, error) {
	if id, ok := m.signed.GetIfPresent(cookie); ok {
		return id, nil
	}
	if len(cookie) > MaxCookieLen {
		return "", ErrInvalid
	}
	keys, err := m.config.Keys.load(ctx)
	if err != nil {
		return "", unavailable(err)
	}
	id, err := parseCookie(keys, cookie, m.now)
	if err != nil {
		return "", err
	}
	m.signed.Set(cookie, id)
	return id, nil
}

// unavailable lets a failure of the store be told from a visitor who went away.
func unavailable(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}
