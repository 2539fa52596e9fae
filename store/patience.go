// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"sync/atomic"
	"time"
)

// Patience is how long the calls of one request may together wait for a store
// that is far away. A request makes several; each could be slow.
type Patience struct {
	context.Context              // that of the request; one allocation for both
	left            atomic.Int64 // nanoseconds
}

type patienceKey struct{}

// WithPatience returns a context under which all calls of a store together wait
// no longer than d; those that would are refused with ErrUnavailable.
func WithPatience(ctx context.Context, d time.Duration) context.Context {
	p := &Patience{Context: ctx}
	p.left.Store(int64(d))
	return p
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
	return max(0, min(limit, time.Duration(p.left.Load())))
}

// Spend takes note of a wait.
func (p *Patience) Spend(d time.Duration) {
	if p != nil {
		p.left.Add(-int64(d))
	}
}
