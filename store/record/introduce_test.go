// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// A new record is announced to every node, one that is there already stays as it is.
func TestSet_Introduce(t *testing.T) {
	w := newWorld(t)
	other := w.newSet()
	var told []string
	other.OnChange(func(id string) { told = append(told, id) })
	for _, tt := range []struct {
		name    string
		created bool
	}{{"first", true}, {"second", false}} {
		if created, err := w.set.Introduce(t.Context(), "a", &thing{tt.name}, time.Hour); err != nil || created != tt.created {
			t.Errorf("Introduce(%s) = %v, %v", tt.name, created, err)
		}
	}
	w.want(other, "a", "first")
	if !slices.Equal(told, []string{"a"}) {
		t.Errorf("told of %v, want a once", told)
	}
	w.clock.Advance(time.Hour)
	if _, found, err := other.Reload(t.Context(), "a"); found || err != nil {
		t.Errorf("it outlives its time: %v, %v", found, err)
	}
}

// Of several who introduce the same record at once, one does.
func TestSet_IntroduceConcurrently(t *testing.T) {
	w := newWorld(t)
	var won atomic.Int64
	var all sync.WaitGroup
	for i, s := range []*Set[thing]{w.set, w.newSet(), w.newSet()} {
		for range 10 {
			all.Go(func() {
				created, err := s.Introduce(t.Context(), "a", &thing{fmt.Sprint(i)}, 0)
				if err != nil {
					t.Error(err)
				}
				if created {
					won.Add(1)
				}
			})
		}
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have introduced it", won.Load())
	}
}

func TestSet_IntroduceFails(t *testing.T) {
	w := newWorld(t)
	w.down.Store(true)
	if created, err := w.set.Introduce(t.Context(), "a", &thing{"one"}, 0); created || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Introduce = %v, %v", created, err)
	}
}

func TestSet_Each(t *testing.T) {
	w := newWorld(t)
	var want []string
	for i := range 25 {
		w.create(fmt.Sprint(i), fmt.Sprintf("%02d", i))
		want = append(want, fmt.Sprintf("%02d", i))
	}
	if err := w.store.Set(t.Context(), "things:x", []byte("of another kind"), 0); err != nil {
		t.Fatal(err)
	}
	for _, page := range []int{1, 7, 25, 100} {
		var got []string
		if err := w.set.Each(t.Context(), page, func(v *thing) { got = append(got, v.Name) }); err != nil {
			t.Fatal(err)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("by %d: %v", page, got)
		}
	}
}

// What fails on the second page, or cannot be decoded, ends it with an error: half a
// list must not pass for a whole one.
func TestSet_EachFails(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.create(fmt.Sprint(i), "x")
	}
	before, lists := w.store.Before, 0
	w.store.Before = func(ctx context.Context, method, key string) error {
		if method == "List" {
			if lists++; lists == 2 {
				return store.ErrUnavailable
			}
		}
		return before(ctx, method, key)
	}
	if err := w.set.Each(t.Context(), 2, func(*thing) {}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Each = %v", err)
	}
	if err := w.store.Set(t.Context(), "thing:x", []byte("{"), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.set.Each(t.Context(), 100, func(*thing) {}); err == nil {
		t.Error("Each passes over what it cannot decode")
	}
}
