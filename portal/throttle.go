// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"sync"
	"time"
)

// warnEvery is how often one kind of warning that strangers can cause is logged.
const warnEvery = time.Minute

// throttle keeps strangers from filling the log. Its keys must be few.
type throttle struct {
	now  func() time.Time
	mu   sync.Mutex
	last map[string]time.Time
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, last: make(map[string]time.Time)}
}

// do calls fn unless it was called for the same key within warnEvery.
func (t *throttle) do(key string, fn func()) {
	now := t.now()
	t.mu.Lock()
	last, known := t.last[key]
	due := !known || now.Sub(last) >= warnEvery
	if due {
		t.last[key] = now
	}
	t.mu.Unlock()
	if due {
		fn()
	}
}
