// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func woken(changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	default:
		return false
	}
}

func TestWake(t *testing.T) {
	var w Watchers
	w.Wake("alice") // nobody waits
	first, stopFirst := w.Watch("alice")
	second, stopSecond := w.Watch("alice")
	other, stopOther := w.Watch("bob")
	w.Wake("alice")
	w.Wake("alice")
	if !woken(first) || woken(first) || !woken(second) || woken(other) {
		t.Error("two wake-ups do not wake those who wait for the id once each")
	}
	stopSecond()
	stopSecond() // twice does no harm
	w.WakeAll()
	if !woken(first) || woken(second) || !woken(other) {
		t.Error("the wrong ones are woken of all")
	}
	if n := w.Watched(); n != 2 {
		t.Errorf("%d ids are waited for, want 2", n)
	}
	stopFirst()
	stopOther()
	if n := w.Watched(); n != 0 {
		t.Errorf("%d ids are waited for once all have stopped", n)
	}
}

func TestWakeSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watchers
		waiting := make([]<-chan struct{}, 2*Batch+1)
		for i := range waiting {
			changed, stop := w.Watch(fmt.Sprint(i))
			defer stop()
			waiting[i] = changed
		}
		w.WakeSlowly()
		for step, want := range []int{Batch, Batch, 1, 0} {
			synctest.Wait()
			got := 0
			for _, changed := range waiting {
				if woken(changed) {
					got++
				}
			}
			if got != want {
				t.Errorf("%d are woken at step %d, want %d", got, step, want)
			}
			time.Sleep(Pause) //nolint:forbidigo // in a bubble
		}
	})
}

// Somebody who stops before his turn is not woken, and disturbs nobody.
func TestWakeSlowly_Stopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watchers
		var stops []func()
		var waiting []<-chan struct{}
		for i := range 2 * Batch {
			changed, stop := w.Watch(fmt.Sprint(i))
			waiting, stops = append(waiting, changed), append(stops, stop)
		}
		w.WakeSlowly()
		synctest.Wait()
		for i, stop := range stops {
			woken(waiting[i]) // those of the first batch
			stop()
		}
		time.Sleep(2 * Pause) //nolint:forbidigo // in a bubble
		for _, changed := range waiting {
			if woken(changed) {
				t.Fatal("woken after stopping")
			}
		}
	})
}

func TestWatch_Concurrently(t *testing.T) {
	var w Watchers
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			changed, stop := w.Watch("alice")
			defer stop()
			w.Wake("alice")
			<-changed
		})
	}
	all.Wait()
	if n := w.Watched(); n != 0 {
		t.Errorf("%d ids are still waited for", n)
	}
}
