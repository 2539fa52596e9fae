// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"context"
	"crypto/rand"
	"flag"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
)

// patience bounds the wait for what must come. Only a failing test takes so long.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	// Tests that run side by side wait for servers, not for processors; and each
	// step of the random sequences lists everything. The command line prevails.
	for name, value := range map[string]string{"test.parallel": "6", "rapid.checks": "20"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	redistest.Package.Cleanup(startClock())
	goleak.VerifyTestMain(redistest.Main{M: m},
		// As the comment of redistest.Proxy says.
		goleak.IgnoreTopFunction("github.com/Shopify/toxiproxy/v2/toxics.(*LatencyToxic).Pipe"))
}

// The servers that tests share, as long as they do not harm them for good.
var (
	sharedServer    = sync.OnceValue(func() *redistest.Server { return redistest.Start(redistest.Package) })
	sharedSentinels = sync.OnceValue(func() *redistest.Sentinels { return redistest.StartReplicaSet(redistest.Package) })
	sharedCluster   = sync.OnceValue(func() *redistest.Cluster { return redistest.StartCluster(redistest.Package) })
)

func configOf(addrs ...string) Config { return Config{Addresses: addrs} }

func sentinelConfig(s *redistest.Sentinels) Config {
	return Config{Addresses: s.Addrs(), Master: s.MasterName()}
}

func clusterConfig(c *redistest.Cluster) Config {
	return Config{Addresses: c.Addrs()[:2], Cluster: true}
}

// alone is c with a key prefix that no other test uses.
func alone(c Config) Config {
	c.KeyPrefix = "wechat:" + rand.Text() + ":"
	return c
}

// openStore opens a store that can be reached and hears what is published.
func openStore(t testing.TB, c Config) *Store {
	t.Helper()
	s := newStore(t, c)
	if err := s.Open(); err != nil {
		t.Fatalf("Open: %v", err)
	}
	awaitListening(t, s)
	return s
}

func newStore(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// awaitListening waits until the store has heard itself.
func awaitListening(t testing.TB, s *Store) {
	t.Helper()
	flowing := make(chan struct{})
	var once sync.Once
	// Who subscribes while messages are lost is told so at once, and so told again.
	cancel := s.Subscribe("listening", func(n store.Notice) {
		if n.Kind != store.Lost {
			once.Do(func() { close(flowing) })
		}
	})
	defer cancel()
	eventually(t, "the store to hear itself", func() bool {
		_ = s.Publish(t.Context(), "listening", "")
		select {
		case <-flowing:
			return true
		default:
			return false
		}
	})
}

// ticks are of the clock by which tests measure what may only take so long. It
// stands still while this process gets no processor: on a machine that others keep
// busy, a call must not seem slower than it is.
var ticks atomic.Int64

const tick = 5 * time.Millisecond

func startClock() (stop func()) {
	ticker, stopped, ended := time.NewTicker(tick), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ticker.C: // what it could not deliver in time, it drops
				ticks.Add(1)
			case <-stopped:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(stopped)
		<-ended
	}
}

// elapsed is the time on that clock.
func elapsed() time.Duration { return time.Duration(ticks.Load()) * tick }

// eventually looks again and again until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	within(t, patience, what, ok)
}

// within is eventually with a limit that is part of what is promised.
func within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	look := time.NewTicker(tick)
	defer look.Stop()
	for began := elapsed(); !ok(); <-look.C {
		if elapsed()-began > limit {
			t.Fatalf("waited %v in vain for %s", limit, what)
		}
	}
}

// clock is a server's time of day.
func clock(t testing.TB, s *redistest.Server) time.Time {
	t.Helper()
	seconds, micros, _ := strings.Cut(s.Do(t, "TIME"), "\n")
	whole, err1 := strconv.ParseInt(seconds, 10, 64)
	part, err2 := strconv.ParseInt(micros, 10, 64)
	if err1 != nil || err2 != nil {
		t.Fatalf("TIME answers %q, %q", seconds, micros)
	}
	return time.Unix(whole, part*1000)
}

// letPass waits until d has passed on the clocks of all servers.
func letPass(t testing.TB, d time.Duration, servers ...*redistest.Server) {
	t.Helper()
	ends := make([]time.Time, len(servers))
	for i, s := range servers {
		ends[i] = clock(t, s).Add(d + 2*time.Millisecond)
	}
	for i, s := range servers {
		eventually(t, "the clock of "+s.Addr(), func() bool { return clock(t, s).After(ends[i]) })
	}
}

// operations are the calls of a store that ask its server, on keys of their own.
var operations = []struct {
	name string
	call func(ctx context.Context, s *Store) error
}{
	{"Get", func(ctx context.Context, s *Store) error { _, _, err := s.Get(ctx, "kept:get"); return err }},
	{"Set", func(ctx context.Context, s *Store) error { return s.Set(ctx, "kept:set", []byte("v"), time.Hour) }},
	{"Create", func(ctx context.Context, s *Store) error {
		_, err := s.Create(ctx, "kept:create", []byte("v"), time.Hour)
		return err
	}},
	{"Take", func(ctx context.Context, s *Store) error { _, _, err := s.Take(ctx, "kept:take"); return err }},
	{"Update", func(ctx context.Context, s *Store) error { return increment(ctx, s, "kept:update") }},
	{"Delete", func(ctx context.Context, s *Store) error {
		_, err := s.Delete(ctx, "kept:delete", store.Announcement{Topic: "topic", Payload: "deleted"})
		return err
	}},
	{"List", func(ctx context.Context, s *Store) error { _, _, err := s.List(ctx, "kept:", "", 10); return err }},
	{"Publish", func(ctx context.Context, s *Store) error { return s.Publish(ctx, "topic", "payload") }},
	{"Ping", func(ctx context.Context, s *Store) error { return s.Ping(ctx) }},
}

// increment adds one to a number.
func increment(ctx context.Context, s *Store, key string) error {
	return s.Update(ctx, key, func(current []byte, found bool) ([]byte, time.Duration, error) {
		n := 0
		if found {
			var err error
			if n, err = strconv.Atoi(string(current)); err != nil {
				return nil, 0, err
			}
		}
		return []byte(strconv.Itoa(n + 1)), time.Hour, nil
	})
}
