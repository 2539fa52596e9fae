// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package user

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/store/redis"
)

// manyUsers is how many an operator's list shall hold without anybody waiting for it.
const manyUsers = 100_000

// What an operator waits for when he looks through 100,000 users: the first page,
// which reads them all, and each page after it. Beside the means there are the 50th
// and 99th percentile of one page.
func BenchmarkList_100k(b *testing.B) {
	b.Run("embedded", func(b *testing.B) {
		s := embedded.New(embedded.Config{Dir: b.TempDir()})
		b.Cleanup(func() { _ = s.Close() })
		benchmarkList(b, s)
	})
	b.Run("redis", func(b *testing.B) {
		s, err := redis.New(redis.Config{Addresses: []string{redistest.Start(b).Addr()}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		if err := s.Open(); err != nil {
			b.Fatal(err)
		}
		awaitNotices(b, s)
		benchmarkList(b, s)
	})
}

// awaitNotices waits until the store hears what is published.
func awaitNotices(b *testing.B, s store.Store) {
	b.Helper()
	heard := make(chan struct{})
	var once sync.Once
	cancel := s.Subscribe("bench", func(n store.Notice) {
		if n.Kind != store.Lost {
			once.Do(func() { close(heard) })
		}
	})
	defer cancel()
	tick, late := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for {
		_ = s.Publish(b.Context(), "bench", "")
		select {
		case <-heard:
			return
		case <-tick.C:
		case <-late:
			b.Fatal("no notices")
		}
	}
}

func benchmarkList(b *testing.B, s store.Store) {
	r := NewRecords(s, nil)
	b.Cleanup(r.Close)
	began := time.Now()
	importMany(b, r)
	took := time.Since(began)
	b.Run("Import", func(b *testing.B) { // was done once
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(took.Seconds(), "s/100k")
	})
	b.Run("FirstLoad", func(b *testing.B) { benchmarkFirstLoad(b, s) })
	wantListed(b, r)
	middle := cursorAt(b, r, manyUsers/2)
	n := 0
	for _, bench := range []struct {
		name  string
		query func() Query
	}{
		{"FirstPage", func() Query { return Query{} }},
		{"MiddlePage", func() Query { return Query{Cursor: middle} }},
		{"LargestPage", func() Query { return Query{Cursor: middle, Limit: MaxLimit} }},
		{"SearchOne", func() Query { n++; return Query{Text: fmt.Sprintf("user%06d@", n*7919%manyUsers)} }},
		{"SearchNothing", func() Query { return Query{Text: "nobody has this"} }},
		{"Status", func() Query { return Query{Status: Pending} }},
		{"OneChanged", func() Query {
			n++
			if err := r.Rename(b.Context(), fmt.Sprintf("user-%06d", n*7919%manyUsers), "Renamed"); err != nil {
				b.Fatal(err)
			}
			return Query{}
		}},
	} {
		b.Run(bench.name, func(b *testing.B) { benchmarkPage(b, r, bench.query) })
	}
}

// importMany imports many users, of whom one in a hundred waits for approval.
func importMany(b *testing.B, r *Records) {
	b.Helper()
	var group errgroup.Group
	group.SetLimit(256)
	for i := range manyUsers {
		group.Go(func() error {
			e := Entry{ID: fmt.Sprintf("user-%06d", i), Name: fmt.Sprintf("User %d", i), Email: fmt.Sprintf("user%06d@example.com", i), AppID: appA, OpenID: fmt.Sprintf("oABCDEFGHIJKLMNOPQRST%07d", i), UnionID: fmt.Sprintf("uABCDEFGHIJKLMNOPQRST%07d", i)}
			if i%100 == 0 {
				e.Status = Pending
			}
			_, _, err := r.Import(b.Context(), e, false)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

// benchmarkFirstLoad asks for the first page of a node that has just started, and
// says how much memory the list takes.
func benchmarkFirstLoad(b *testing.B, s store.Store) {
	before := heap()
	r := NewRecords(s, nil)
	defer r.Close()
	began := time.Now()
	wantListed(b, r) // once, however often pages are turned
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "first-ms")
	b.ReportMetric(float64(heap()-before)/(1<<20), "MiB")
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func wantListed(b *testing.B, r *Records) {
	b.Helper()
	page, err := r.List(b.Context(), Query{})
	if err != nil || page.Total != manyUsers || len(page.Users) != DefaultLimit {
		b.Fatalf("%d of %d users, %v", len(page.Users), page.Total, err)
	}
}

// cursorAt returns the cursor of the page that begins after so many users.
func cursorAt(b *testing.B, r *Records, n int) string {
	b.Helper()
	r.roster.mu.Lock()
	defer r.roster.mu.Unlock()
	return r.roster.lines[n].cursor()
}

func benchmarkPage(b *testing.B, r *Records, query func() Query) {
	var took []time.Duration
	for b.Loop() {
		q := query()
		began := time.Now()
		if _, err := r.List(b.Context(), q); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
