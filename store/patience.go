// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"sync"
	"time"
)

// Patience is how long the calls of one request may together wait for a store
// that is far away. A request makes several; each could be slow. Of calls that wait at
// the same time, their time counts once: it is all the request waits.
type Patience struct {
	context.Context // that of the request; one allocation for both

	mu      sync.Mutex
	left    time.Duration // at the time noted
	waiting int           // how many calls wait
	noted   time.Duration // since began
}

// began lets a time be kept as a duration.
var began = time.Now()

type patienceKey struct{}

// WithPatience returns a context under which all calls of a store together wait
// no longer than d; those that would are refused with ErrUnavailable.
func WithPatience(ctx context.Context, d time.Duration) context.Context {
	return &Patience{Context: ctx, left: d}
}

// Value implements context.Context.
func (p *Patience) Value(key any) any {
	if key == (patienceKey{}) {
		return p
	}
	return p.Context.Value(key)
}

// PatienceOf returns the patience of ctx, or nil. It is for implementations of
// Store that wait for a network.
func PatienceOf(ctx context.Context) *Patience {
	p, _ := ctx.Value(patienceKey{}).(*Patience)
	return p
}

// Left is how long a call may wait, at most limit. On nil it is limit.
func (p *Patience) Left(limit time.Duration) time.Duration {
	if p == nil {
		return limit
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	return max(0, min(limit, p.left))
}

// Begin takes note that a call begins to wait. It waits until End, which is to be
// called once for each Begin.
func (p *Patience) Begin() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	p.waiting++
}

// End takes note that a call waits no longer.
func (p *Patience) End() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	p.waiting--
}

// settle takes what has been waited off what is left.
func (p *Patience) settle() {
	now := time.Since(began)
	if p.waiting > 0 {
		p.left -= now - p.noted
	}
	p.noted = now
}
