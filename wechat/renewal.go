// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"sync"
	"time"
)

// planRenewal sets the timer for the token in memory, so that no visitor waits
// for a new one. s.mu is held.
func (s *tokenSource) planRenewal() {
	left := s.current.expires.Sub(s.now())
	s.plan(max(left-renewBefore, min(renewSoon, left/2)), left)
}

// plan sets the timer unless the wait is too short to be kind to WeChat, or the
// token will have expired: then the next visitor fetches. s.mu is held.
func (s *tokenSource) plan(wait, left time.Duration) {
	s.unplan()
	if s.closed || wait < minRenewal || wait >= left {
		return
	}
	plan := s.plans
	s.timer = time.AfterFunc(wait, func() { s.renew(plan) })
}

// unplan stops the timer, and disowns it if it has fired already. s.mu is held.
func (s *tokenSource) unplan() {
	s.plans++
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// renew is what the timer does. A token that nobody used since the last renewal
// is left to expire, so that an idle account calls nobody.
func (s *tokenSource) renew(plan int) {
	if !s.begin() {
		return
	}
	defer s.running.Done()
	s.mu.Lock()
	old, idle, superseded := s.current, !s.used, s.plans != plan
	if !superseded {
		s.timer = nil
	}
	s.mu.Unlock()
	if superseded || idle {
		return
	}
	newer := func(t accessToken) bool { return t.value != old.value && t.expires.After(old.expires) }
	_, err := s.fly(s.lifetime, "renew", func(ctx context.Context) (accessToken, error) {
		return s.obtain(ctx, newer, func(ctx context.Context) (accessToken, error) {
			return s.fetch(ctx, false)
		})
	})
	s.renewed(err)
}

// renewed begins a new period of use, or plans the next try while the old token
// still serves.
func (s *tokenSource) renewed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.used = false
		return
	}
	wait := min(firstBackoff<<min(s.failures, 8), maxBackoff)
	s.failures++
	s.plan(wait, s.current.expires.Sub(s.now()))
}

// hold remembers a failure for as long as asking again would only load WeChat.
type hold struct {
	mu    sync.Mutex
	err   error
	until time.Time
}

func (h *hold) check(now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Before(h.until) {
		return h.err
	}
	return nil
}

func (h *hold) set(err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err, h.until = err, now.Add(RetryAfter(err))
}
