// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// warnEvery is how often one kind of warning or event that visitors can cause is told.
	warnEvery = time.Minute
	// throttledKinds bounds how many kinds are remembered. What is forgotten is told
	// once more.
	throttledKinds = 65_536
)

// throttle keeps visitors from filling the logs.
type throttle struct {
	now   func() time.Time
	kinds *otter.Cache[string, *lastTold]
}

// lastTold is when something of one kind was told last.
type lastTold struct {
	mu      sync.Mutex
	last    time.Time // zero for never
	leftOut int       // since then
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, kinds: otter.Must(&otter.Options[string, *lastTold]{MaximumSize: throttledKinds})}
}

// do calls fn unless something of the kind was told within warnEvery.
func (t *throttle) do(kind string, fn func()) {
	if _, due := t.due(kind); due {
		fn()
	}
}

// due says whether something of the kind is to be told now, and how many were left out
// since the last one that was.
func (t *throttle) due(kind string) (leftOut int, due bool) {
	k, _ := t.kinds.ComputeIfAbsent(kind, func() (*lastTold, bool) { return new(lastTold), false })
	now := t.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.last.IsZero() && now.Sub(k.last) < warnEvery {
		k.leftOut++
		return 0, false
	}
	leftOut, k.last, k.leftOut = k.leftOut, now, 0
	return leftOut, true
}
