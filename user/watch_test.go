// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/watch"
)

// woken says whether the channel has a value, which it takes. Notices of the store in
// memory have arrived when the call that caused them returns.
func woken(changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	default:
		return false
	}
}

// Who waits on one node hears of what is done on another, of this user only, and once
// for several changes.
func TestWatch(t *testing.T) {
	w := newTestWorld(t)
	here, there := w.records(), w.records()
	alice, bob := w.person("Alice"), w.person("Bob")
	first, stopFirst := here.Watch(alice.ID)
	second, stopSecond := here.Watch(alice.ID)
	other, stopOther := here.Watch(bob.ID)
	defer stopOther()
	for range 3 {
		if _, _, err := there.Change(t.Context(), alice.ID, Change{Status: new(Active)}); err != nil {
			t.Fatal(err)
		}
	}
	if !woken(first) || woken(first) || !woken(second) || woken(other) {
		t.Error("three changes do not wake those who wait for this user once each")
	}
	stopSecond()
	stopSecond() // twice does no harm
	if _, err := there.Delete(t.Context(), alice.ID); err != nil {
		t.Fatal(err)
	}
	if !woken(first) || woken(second) {
		t.Error("the deletion wakes the wrong ones")
	}
	stopFirst()
	if n := here.watch.Watched(); n != 1 {
		t.Errorf("%d users are still watched, want 1", n)
	}
}

// What changed while notices were lost is unknown: everybody who waits looks again, but
// not all at the same moment.
func TestWatch_Gap(t *testing.T) {
	for _, kind := range []store.NoticeKind{store.Lost, store.Restored} {
		synctest.Test(t, func(t *testing.T) {
			w := newTestWorld(t)
			r := w.records()
			waiting := make([]<-chan struct{}, 2*watch.Batch+1)
			for i := range waiting {
				changed, stop := r.Watch(fmt.Sprint(i))
				defer stop()
				waiting[i] = changed
			}
			w.store.Tell("user", store.Notice{Kind: kind})
			for i, want := range []int{watch.Batch, watch.Batch, 1, 0} {
				synctest.Wait()
				got := 0
				for _, changed := range waiting {
					if woken(changed) {
						got++
					}
				}
				if got != want {
					t.Errorf("notice %d wakes %d at step %d, want %d", kind, got, i, want)
				}
				time.Sleep(watch.Pause) //nolint:forbidigo // in a bubble
			}
		})
	}
}

func TestWatch_Concurrently(t *testing.T) {
	w := newTestWorld(t)
	r := w.records()
	id := w.person("Alice").ID
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			changed, stop := r.Watch(id)
			defer stop()
			if _, _, err := r.Change(t.Context(), id, Change{Status: new(Active)}); err != nil {
				t.Error(err)
			}
			if !woken(changed) {
				t.Error("not woken by a change of one's own")
			}
		})
	}
	all.Wait()
}
