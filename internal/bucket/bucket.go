// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package bucket counts turns.
package bucket

import (
	"sync"
	"time"
)

// Rate is how often something may be done: Count times at once, and so many more,
// spread evenly, over each Per. Both are positive.
type Rate struct {
	Count int
	Per   time.Duration
}

// Bucket counts the turns that were taken. The zero value is one of which none was.
// It is safe for concurrent use.
type Bucket struct {
	mu    sync.Mutex
	taken float64   // and not yet come back
	at    time.Time // when that was so
}

// Take uses up a turn, unless no more than keep would be left without it. Then it
// returns how long to wait for one; who is refused waits no longer for having asked.
func (b *Bucket) Take(r Rate, keep int, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.at); passed > 0 { // requests at once may see the clock out of order
		b.taken = max(0, b.taken-float64(passed)/float64(r.Per)*float64(r.Count))
		b.at = now
	}
	lacking := b.taken + 1 - float64(r.Count-keep)
	if lacking <= tolerance {
		b.taken++
		return 0
	}
	return max(1, time.Duration(lacking/float64(r.Count)*float64(r.Per)))
}

// tolerance is more than what adding fractions loses, and far less than a turn.
const tolerance = 1e-6

// GiveBack returns a turn that was taken and does not count.
func (b *Bucket) GiveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = max(0, b.taken-1)
}
