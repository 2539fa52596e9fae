// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	tokenEndpoint = "cgi-bin/stable_token" //nolint:gosec // a path, no credential

	// renewBefore is when a token is renewed, before it expires. WeChat gives a
	// new one in the last 5 minutes only, and keeps the old one valid meanwhile;
	// the half minute less leaves room for clocks that differ.
	renewBefore = 4*time.Minute + 30*time.Second

	// A token that is already so near its end is renewed after renewSoon, or at
	// half of its life. Lives too short for that are fetched when needed.
	renewSoon   = 30 * time.Second
	minRenewal  = 5 * time.Second
	maxLifetime = 30 * 24 * time.Hour

	// After a failed renewal the pause doubles from the one to the other.
	firstBackoff = 10 * time.Second
	maxBackoff   = time.Minute

	// pollInterval and pollTime are how often and how long a process looks for
	// the token that another one is fetching. Then it asks WeChat itself, which
	// is safe, because stable_token gives all who ask the same token.
	pollInterval = 100 * time.Millisecond
	pollTime     = 2 * time.Second

	maxTokenLen = 4096 // WeChat: reserve at least 512
)

var errClosed = fmt.Errorf("getting an access token: %w: this client was closed; use the one that replaced it", ErrUnavailable)

// fetchFunc asks WeChat for the token of the account.
type fetchFunc func(ctx context.Context, force bool) (accessToken, error)

// tokenSource keeps one valid access token. In this process one goroutine at a
// time fetches and the others wait for its result; between processes the lock
// in the cache does the same.
type tokenSource struct {
	fetch    fetchFunc
	shared   *tokenCache
	now      func() time.Time
	flights  singleflight.Group
	hold     hold // of the token endpoint
	lifetime context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	current  accessToken
	used     bool        // since the last renewal
	timer    *time.Timer // of the next renewal, nil where none is planned
	plans    int         // made and undone: tells a timer that it is no longer the one
	failures int         // of renewals in a row
	closed   bool
}

func newTokenSource(fetch fetchFunc, shared *tokenCache, now func() time.Time) *tokenSource {
	lifetime, cancel := context.WithCancel(context.Background())
	return &tokenSource{fetch: fetch, shared: shared, now: now, lifetime: lifetime, cancel: cancel}
}

func (s *tokenSource) close() {
	s.mu.Lock()
	s.closed = true
	s.unplan()
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
}

// get returns a valid token, from memory where there is one.
func (s *tokenSource) get(ctx context.Context) (string, error) {
	if t, ok := s.local(); ok {
		return t.value, nil
	}
	anyValid := func(accessToken) bool { return true }
	return s.fly(ctx, "get", func(ctx context.Context) (accessToken, error) {
		return s.obtain(ctx, anyValid, func(ctx context.Context) (accessToken, error) {
			return s.fetch(ctx, false)
		})
	})
}

// replace returns a token other than rejected, which WeChat refused with cause.
// All who bring the same rejected token share one replacement.
func (s *tokenSource) replace(ctx context.Context, rejected string, cause error) (string, error) {
	another := func(t accessToken) bool { return t.value != rejected }
	s.drop(rejected)
	return s.fly(ctx, "replace "+rejected, func(ctx context.Context) (accessToken, error) {
		return s.obtain(ctx, another, func(ctx context.Context) (accessToken, error) {
			return s.fetchAnother(ctx, rejected, cause)
		})
	})
}

// fetchAnother forces a new token only where WeChat itself still takes the
// rejected one for valid and hands it out again.
func (s *tokenSource) fetchAnother(ctx context.Context, rejected string, cause error) (accessToken, error) {
	s.shared.forget(ctx, rejected)
	t, err := s.fetch(ctx, false)
	if err != nil || t.value != rejected {
		return t, err
	}
	if !s.shared.mayForce(ctx) {
		return accessToken{}, cause
	}
	t, err = s.fetch(ctx, true)
	if err == nil && t.value == rejected {
		err = cause
	}
	return t, err
}

// fly runs fn once for all who ask under the same key. It outlives a caller who
// goes away, so that one impatient visitor does not fail the others.
func (s *tokenSource) fly(ctx context.Context, key string, fn fetchOnce) (string, error) {
	results := s.flights.DoChan(key, func() (any, error) { //nolint:contextcheck // outlives the caller on purpose
		if !s.begin() {
			return accessToken{}, errClosed
		}
		defer s.running.Done()
		ctx, cancel := context.WithTimeout(s.lifetime, callTimeout)
		defer cancel()
		t, err := fn(ctx)
		if err != nil && s.lifetime.Err() != nil {
			err = errClosed // not the caller's own context that was canceled
		}
		return t, err
	})
	select {
	case <-ctx.Done():
		return "", contextError(ctx, "waiting for the access token")
	case r := <-results:
		t, _ := r.Val.(accessToken)
		return t.value, r.Err
	}
}

type fetchOnce func(ctx context.Context) (accessToken, error)

// obtain returns a token that is wanted: from memory, from the cache, from the
// process that is fetching it now, or else from WeChat.
func (s *tokenSource) obtain(ctx context.Context, wanted func(accessToken) bool, fetch fetchOnce) (accessToken, error) {
	if t, ok := s.local(); ok && wanted(t) {
		return t, nil
	}
	if t, ok, _ := s.shared.load(ctx); ok && wanted(t) {
		s.adopt(t)
		return t, nil
	}
	if err := s.hold.check(s.now()); err != nil {
		return accessToken{}, err
	}
	t, found, release := s.takeTurn(ctx, wanted)
	defer release()
	if !found {
		var err error
		if t, err = fetch(ctx); err != nil {
			s.hold.set(err, s.now())
			return accessToken{}, err
		}
		s.shared.save(ctx, t)
	}
	s.adopt(t)
	return t, nil
}

// takeTurn waits until this process may ask WeChat, or another has brought a
// wanted token (found). It asks the cache again after each try for the lock, so
// that the next owner does not fetch what the last one just did.
func (s *tokenSource) takeTurn(ctx context.Context, wanted func(accessToken) bool) (t accessToken, found bool, release func()) {
	deadline := time.NewTimer(pollTime)
	defer deadline.Stop()
	for {
		release, lockErr := s.shared.lock(ctx)
		t, found, loadErr := s.shared.load(ctx)
		found = found && wanted(t)
		if release != nil {
			return t, found, release
		}
		if found || lockErr != nil || loadErr != nil {
			return t, found, func() {}
		}
		select {
		case <-ctx.Done():
			return t, false, func() {}
		case <-deadline.C:
			return t, false, func() {}
		case <-time.After(pollInterval):
		}
	}
}

// local returns the token in memory if it is valid, and sees to its renewal.
func (s *tokenSource) local() (accessToken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.current.valid(s.now()) {
		return accessToken{}, false
	}
	s.used = true
	if s.timer == nil {
		s.planRenewal()
	}
	return s.current, true
}

// adopt makes t the token in memory.
func (s *tokenSource) adopt(t accessToken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = t
	s.used = true
	s.failures = 0
	s.planRenewal()
}

// drop forgets the token in memory if it is the rejected one, and not one that
// has replaced it in the meantime.
func (s *tokenSource) drop(rejected string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.value == rejected {
		s.current = accessToken{}
		s.unplan()
	}
}

// begin says whether work may start; it ends with running.Done.
func (s *tokenSource) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// fetchToken asks WeChat for the access token of the account.
func (c *Client) fetchToken(ctx context.Context, force bool) (accessToken, error) {
	request := struct {
		GrantType    string `json:"grant_type"`
		AppID        string `json:"appid"`
		Secret       string `json:"secret"`
		ForceRefresh bool   `json:"force_refresh"`
	}{"client_credential", c.appID, c.secret, force}
	var answer struct {
		Token     string   `json:"access_token"`
		ExpiresIn looseInt `json:"expires_in"`
	}
	asked := c.now()
	if err := c.call(ctx, tokenEndpoint, "", request, &answer); err != nil {
		return accessToken{}, err
	}
	if err := checkToken(answer.Token, int64(answer.ExpiresIn)); err != nil {
		return accessToken{}, unavailable(tokenEndpoint, err.Error())
	}
	lifetime := time.Duration(min(int64(answer.ExpiresIn), int64(maxLifetime/time.Second))) * time.Second
	return accessToken{answer.Token, asked.Add(lifetime)}, nil
}

func checkToken(token string, expiresIn int64) error {
	if token == "" || len(token) > maxTokenLen {
		return fmt.Errorf("the access token has %d characters", len(token))
	}
	notToken := func(r rune) bool { return r <= ' ' || r > '~' }
	if strings.ContainsFunc(token, notToken) {
		return errors.New("the access token has characters that no token has")
	}
	if expiresIn <= 0 {
		return fmt.Errorf("the access token expires in %d s", expiresIn)
	}
	return nil
}
