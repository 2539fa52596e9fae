// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestTake(t *testing.T) {
	var b Bucket
	r := Rate{Count: 3, Per: time.Minute}
	for range 3 {
		if wait := b.Take(r, 0, noon); wait != 0 {
			t.Fatalf("within the rate the wait is %v", wait)
		}
	}
	// Who hammers waits no longer than who does not.
	for range 1000 {
		if wait := b.Take(r, 0, noon); wait < 20*time.Second-time.Millisecond || wait > 20*time.Second {
			t.Fatalf("beyond the rate the wait is %v, want 20 s", wait)
		}
	}
	if wait := b.Take(r, 0, noon.Add(20*time.Second)); wait != 0 {
		t.Errorf("after the wait one has to wait %v more", wait)
	}
	if wait := b.Take(r, 0, noon.Add(20*time.Second)); wait == 0 {
		t.Error("one turn came back, and two are given")
	}
	if wait := b.Take(r, 0, noon.Add(-time.Hour)); wait == 0 {
		t.Error("a clock that goes back gives turns")
	}
}

// What is kept is for those who may take all.
func TestTake_Keeps(t *testing.T) {
	var b Bucket
	r := Rate{Count: 10, Per: time.Minute}
	given := 0
	for range 100 {
		if b.Take(r, 4, noon) == 0 {
			given++
		}
	}
	if given != 6 {
		t.Errorf("%d turns of 10 are given although 4 are kept", given)
	}
	for range 4 {
		if wait := b.Take(r, 0, noon); wait != 0 {
			t.Fatalf("of what is kept nothing is given: wait %v", wait)
		}
	}
	if b.Take(r, 0, noon) == 0 {
		t.Error("more is given than there is")
	}
}

func TestGiveBack(t *testing.T) {
	var b Bucket
	r := Rate{Count: 1, Per: time.Hour}
	for range 5 {
		b.GiveBack() // of what nobody took
	}
	if b.Take(r, 0, noon) != 0 || b.Take(r, 0, noon) == 0 {
		t.Fatal("giving back what nobody took makes turns")
	}
	b.GiveBack()
	if b.Take(r, 0, noon) != 0 {
		t.Error("a turn that was given back cannot be taken")
	}
}

// A rate that becomes another, as at a reload, neither forgets what was taken nor
// locks anybody out.
func TestTake_AnotherRate(t *testing.T) {
	var b Bucket
	for range 10 {
		b.Take(Rate{Count: 10, Per: time.Hour}, 0, noon)
	}
	if b.Take(Rate{Count: 10, Per: 2 * time.Hour}, 0, noon) == 0 {
		t.Error("another rate forgets what was taken")
	}
	if b.Take(Rate{Count: 20, Per: time.Hour}, 0, noon) != 0 {
		t.Error("a larger rate gives no more")
	}
}

// However turns are asked for, never more than twice the count is given in a span.
func TestTake_Bound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Bucket
		r := Rate{Count: rapid.IntRange(1, 50).Draw(t, "count"), Per: time.Minute}
		now, given := noon, 0
		for now.Before(noon.Add(r.Per)) {
			for range rapid.IntRange(0, 60).Draw(t, "at once") {
				if b.Take(r, 0, now) == 0 {
					given++
				}
			}
			now = now.Add(time.Duration(rapid.Int64Range(int64(time.Second), int64(20*time.Second)).Draw(t, "pause")))
		}
		if given > 2*r.Count {
			t.Fatalf("%d turns are given in a span of %d", given, r.Count)
		}
	})
}

func TestTake_Concurrent(t *testing.T) {
	var b Bucket
	var all sync.WaitGroup
	var given atomic.Int64
	for range 200 {
		all.Go(func() {
			if b.Take(Rate{Count: 50, Per: time.Hour}, 0, noon) == 0 {
				given.Add(1)
			}
		})
	}
	all.Wait()
	if given.Load() != 50 {
		t.Errorf("%d of 200 turns are given, want 50", given.Load())
	}
}
