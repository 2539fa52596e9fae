// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

// contents are what a store holds, by key.
type contents map[string]store.Item

// fill sets entries.
func fill(t fataler, s store.Store, items ...store.Item) {
	t.Helper()
	for _, item := range items {
		if err := s.Set(context.Background(), item.Key, item.Value, item.TTL); err != nil {
			t.Fatalf("Set(%q): %v", item.Key, err)
		}
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func read(t fataler, s store.Store) contents {
	t.Helper()
	all := make(contents)
	for cursor, more := "", true; more; more = cursor != "" {
		items, next, err := s.List(context.Background(), "", cursor, 100)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		for _, item := range items {
			all[item.Key] = item
		}
		cursor = next
	}
	return all
}

// durable returns the entries that a copy must bring.
func (c contents) durable() contents {
	all := make(contents)
	for key, item := range c {
		if !strings.HasPrefix(key, store.VolatilePrefix) {
			all[key] = item
		}
	}
	return all
}

// sameTTL lets ttls differ by what a copy takes, as long as both end or neither does.
var sameTTL = cmp.Comparer(func(a, b time.Duration) bool {
	return (a == 0) == (b == 0) && (a-b).Abs() <= 10*time.Second
})

func entry(key, value string, ttl time.Duration) store.Item {
	return store.Item{Key: key, Value: []byte(value), TTL: ttl}
}

func house() []store.Item {
	return []store.Item{
		entry("user:1", "alice", 0),
		entry("user:2", "bob", 0),
		entry("identity:wx:o1", "1", 0),
		entry("session:s1", "of alice", time.Hour),
		entry("session:s2", "of bob", 48*time.Hour),
		entry("sessions-of:1", "s1", time.Hour),
		entry("signing-key", "secret", 0),
		entry("empty:value", "", 0),
		entry("tmp:attempt:a", "under way", time.Hour),
		entry("tmp:token", "of WeChat", 0),
	}
}

func openEmbedded(t testing.TB) store.Store {
	t.Helper()
	s := embedded.New(embedded.Config{Dir: t.TempDir()})
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openMemory(testing.TB) store.Store { return new(storetest.Memory) }

func TestCopy_MovesWhatOutlivesAProcess(t *testing.T) {
	for _, way := range []struct {
		name     string
		from, to func(testing.TB) store.Store
	}{
		{"memory to memory", openMemory, openMemory},
		{"embedded to memory", openEmbedded, openMemory},
		{"memory to embedded", openMemory, openEmbedded},
		{"embedded to embedded", openEmbedded, openEmbedded},
	} {
		t.Run(way.name, func(t *testing.T) {
			from, to := way.from(t), way.to(t)
			fill(t, from, house()...)
			before := read(t, from)
			var steps []int
			report, err := store.Copy(t.Context(), to, from, store.CopyOptions{Progress: func(n int) { steps = append(steps, n) }})
			if err != nil {
				t.Fatal(err)
			}
			want := store.CopyReport{
				"user": {Copied: 2}, "identity": {Copied: 1}, "session": {Copied: 2},
				"sessions-of": {Copied: 1}, "signing-key": {Copied: 1}, "empty": {Copied: 1},
			}
			if diff := cmp.Diff(want, report); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before.durable(), read(t, to), sameTTL); diff != "" {
				t.Errorf("target (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, read(t, from), sameTTL); diff != "" {
				t.Errorf("the source has changed (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff([]int{1, 2, 3, 4, 5, 6, 7, 8}, steps); diff != "" {
				t.Errorf("progress (-want +got):\n%s", diff)
			}
			again, err := store.Copy(t.Context(), to, from, store.CopyOptions{})
			if want := (store.CopyCount{AlreadyThere: 8}); err != nil || again.Total() != want {
				t.Errorf("the second copy: %+v, %v; want %+v", again.Total(), err, want)
			}
		})
	}
}

func TestCopy_WhatTheTargetHolds(t *testing.T) {
	source := []store.Item{
		entry("session:new", "from", time.Hour),
		entry("session:same", "from", time.Hour),
		entry("signing-key", "from", 0),
	}
	target := []store.Item{
		entry("session:same", "from", time.Hour),
		entry("signing-key", "to", 0),
		entry("user:only", "to", 0),
	}
	for _, c := range []struct {
		name    string
		options store.CopyOptions
		report  store.CopyReport
		target  map[string]string
	}{
		{
			"keeps its own",
			store.CopyOptions{},
			store.CopyReport{"session": {Copied: 1, AlreadyThere: 1}, "signing-key": {Conflicts: 1}},
			map[string]string{"session:new": "from", "session:same": "from", "signing-key": "to", "user:only": "to"},
		},
		{
			"is overwritten",
			store.CopyOptions{Overwrite: true},
			store.CopyReport{"session": {Copied: 1, AlreadyThere: 1}, "signing-key": {Overwritten: 1}},
			map[string]string{"session:new": "from", "session:same": "from", "signing-key": "from", "user:only": "to"},
		},
		{
			"dry run",
			store.CopyOptions{DryRun: true},
			store.CopyReport{"session": {Copied: 1, AlreadyThere: 1}, "signing-key": {Conflicts: 1}},
			map[string]string{"session:same": "from", "signing-key": "to", "user:only": "to"},
		},
		{
			"dry run of overwriting",
			store.CopyOptions{DryRun: true, Overwrite: true},
			store.CopyReport{"session": {Copied: 1, AlreadyThere: 1}, "signing-key": {Overwritten: 1}},
			map[string]string{"session:same": "from", "signing-key": "to", "user:only": "to"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := new(storetest.Memory), new(storetest.Memory)
			fill(t, from, source...)
			fill(t, to, target...)
			report, err := store.Copy(t.Context(), to, from, c.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.report, report); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			got := make(map[string]string)
			for key, item := range read(t, to) {
				got[key] = string(item.Value)
			}
			if diff := cmp.Diff(c.target, got); diff != "" {
				t.Errorf("target (-want +got):\n%s", diff)
			}
		})
	}
}

// A store fails in mid-copy, or the operator has enough. What was done stays, the
// report tells it, the error names nobody, and the next copy does the rest.
func TestCopy_EndsEarlyAndIsCompleted(t *testing.T) {
	outage := fmt.Errorf("the cable: %w", store.ErrUnavailable)
	const entries, until = 1000, 300
	for _, c := range []struct {
		name string
		// arm has one of the stores call fail.
		arm  func(from, to *storetest.Memory, fail func(context.Context, string, string) error)
		want error
	}{
		{"source fails", func(from, _ *storetest.Memory, fail func(context.Context, string, string) error) { from.Before = fail }, outage},
		{"target fails before", func(_, to *storetest.Memory, fail func(context.Context, string, string) error) { to.Before = fail }, outage},
		{"target fails after", func(_, to *storetest.Memory, fail func(context.Context, string, string) error) { to.After = fail }, outage},
		{"interrupted", func(_, to *storetest.Memory, fail func(context.Context, string, string) error) { to.Before = fail }, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := new(storetest.Memory), new(storetest.Memory)
			for i := range entries {
				fill(t, from, entry(fmt.Sprintf("session:secret-id-%d", i), fmt.Sprint(i), time.Hour))
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var calls atomic.Int64
			var mended atomic.Bool
			c.arm(from, to, func(_ context.Context, method, _ string) error {
				calls := calls.Add(1)
				switch {
				case mended.Load() || calls < until && method != "List" || calls < 3:
					return nil
				case errors.Is(c.want, context.Canceled):
					cancel()
					return context.Canceled
				}
				return outage
			})
			report, err := store.Copy(ctx, to, from, store.CopyOptions{})
			mended.Store(true)
			if !errors.Is(err, c.want) || strings.Contains(fmt.Sprint(err), "secret-id") {
				t.Errorf("error %v; want %v, and no key", err, c.want)
			}
			done := report.Total()
			if there := len(to.Keys()); done != (store.CopyCount{Copied: done.Copied}) || done.Copied == 0 || done.Copied > there || there == entries {
				t.Errorf("the report is %+v, and %d entries are at the target", done, there)
			}
			rest, err := store.Copy(t.Context(), to, from, store.CopyOptions{})
			if total := rest.Total(); err != nil || total.Sum() != entries || total.AlreadyThere < done.Copied || total.Conflicts != 0 {
				t.Errorf("the second copy: %+v, %v", total, err)
			}
			if diff := cmp.Diff(read(t, from), read(t, to), sameTTL); diff != "" {
				t.Errorf("after the second copy (-source +target):\n%s", diff)
			}
		})
	}
}

// The target is so slow that entries expire between their listing and their turn.
// They are not written, least of all without an end, and what is left of the
// others' time is counted from the listing.
func TestCopy_TimePassesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 64 // as many as are written at a time
		from, to := new(storetest.Memory), new(storetest.Memory)
		for i := range slow {
			fill(t, from, entry(fmt.Sprintf("a:%02d", i), "first", 0))
		}
		fill(t, from, entry("b:gone", "v", 2*time.Second), entry("b:lives", "v", 5*time.Second), entry("b:stays", "v", 0))
		to.Before = func(_ context.Context, method, key string) error {
			if method == "Create" && strings.HasPrefix(key, "a:") {
				time.Sleep(2 * time.Second) //nolint:forbidigo // in a synctest bubble
			}
			return nil
		}
		report, err := store.Copy(t.Context(), to, from, store.CopyOptions{})
		want := store.CopyReport{"a": {Copied: slow}, "b": {Copied: 2, Expired: 1}}
		if diff := cmp.Diff(want, report); diff != "" || err != nil {
			t.Errorf("%v, report (-want +got):\n%s", err, diff)
		}
		got := read(t, to)
		if _, found := got["b:gone"]; found || got["b:lives"].TTL != 3*time.Second || got["b:stays"].TTL != 0 {
			t.Errorf("at the target: %+v", got)
		}
	})
}

// What the target has expires just when it is in the way.
func TestCopy_TargetsEntryExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := new(storetest.Memory), new(storetest.Memory)
		fill(t, from, entry("session:a", "from", time.Hour))
		fill(t, to, entry("session:a", "to", time.Second))
		to.Before = func(_ context.Context, method, _ string) error {
			if method == "Get" {
				time.Sleep(time.Second) //nolint:forbidigo // in a synctest bubble
			}
			return nil
		}
		report, err := store.Copy(t.Context(), to, from, store.CopyOptions{})
		to.Before = nil
		if got := read(t, to); err != nil || report.Total() != (store.CopyCount{Copied: 1}) || string(got["session:a"].Value) != "from" {
			t.Errorf("%+v, %v, %v", report, err, got)
		}
	})
}

// Whatever both stores hold, after a copy every entry of the source that outlives
// a process is at the target, with the same value and ttl; nothing else has come
// or gone there, and the report counts it all.
func TestCopy_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := store.CopyOptions{Overwrite: rapid.Bool().Draw(t, "overwrite")}
		from, to := new(storetest.Memory), new(storetest.Memory)
		fill(t, from, drawItems(t, "source")...)
		fill(t, to, drawItems(t, "target")...)
		source, had := read(t, from).durable(), read(t, to)
		report, err := store.Copy(context.Background(), to, from, options)
		if err != nil {
			t.Fatal(err)
		}
		want, count := maps.Clone(had), make(store.CopyReport)
		for key, item := range source {
			kind, _, _ := strings.Cut(key, ":")
			n := count[kind]
			old, found := had[key]
			switch {
			case !found:
				n.Copied++
				want[key] = item
			case string(old.Value) == string(item.Value):
				n.AlreadyThere++
			case options.Overwrite:
				n.Overwritten++
				want[key] = item
			default:
				n.Conflicts++
			}
			count[kind] = n
		}
		if diff := cmp.Diff(want, read(t, to), sameTTL); diff != "" {
			t.Errorf("target (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(count, report); diff != "" || report.Total().Sum() != len(source) {
			t.Errorf("report (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(source, read(t, from).durable(), sameTTL); diff != "" {
			t.Errorf("the source has changed (-before +after):\n%s", diff)
		}
	})
}

func drawItems(t *rapid.T, label string) []store.Item {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) store.Item {
		kind := rapid.SampledFrom([]string{"user:", "session:", "signing-key", "x:y:", store.VolatilePrefix}).Draw(t, "kind")
		name := fmt.Sprint(rapid.IntRange(0, 300).Draw(t, "name"))
		value := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "value")
		minutes := rapid.SampledFrom([]int{0, 1, 60}).Draw(t, "minutes")
		return entry(kind+name, value, time.Duration(minutes)*time.Minute)
	}), 0, 500).Draw(t, label)
}

func BenchmarkCopy_IntoEmbedded(b *testing.B) {
	const entries = 10_000
	list := new(storetest.Memory)
	for i := range entries {
		fill(b, list, entry(fmt.Sprintf("session:%026d", i), strings.Repeat("v", 300), time.Hour))
	}
	from := openEmbedded(b) // lists faster than a Memory
	if _, err := store.Copy(b.Context(), from, list, store.CopyOptions{}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		to := embedded.New(embedded.Config{Dir: b.TempDir()})
		b.StartTimer()
		if _, err := store.Copy(b.Context(), to, from, store.CopyOptions{}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = to.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/entries, "µs/entry")
}
