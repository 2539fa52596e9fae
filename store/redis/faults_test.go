// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
)

// callLimit is what no call may take longer than: the second that a request may
// wait for the store, and half of one for a slow test machine.
const callLimit = callTimeout + 500*time.Millisecond

// fault is something that may befall a Redis or the way to it.
type fault struct {
	name       string
	config     []string
	harm, heal func(t *testing.T, net *network)
	// answered are the operations that go on all the same.
	answered []string
	// passing says that an operation may fail or not.
	passing bool
	// hanging says that only time tells the fault.
	hanging bool
	// relayed sends everything through the relay.
	relayed bool
}

var everything = []string{"Get", "Set", "Create", "Take", "Update", "Delete", "List", "Publish", "Ping"}

var faults = []fault{
	{
		name:    "slow",
		harm:    func(_ *testing.T, n *network) { n.proxy.Slow(600 * time.Millisecond) }, // 300 ms each way
		heal:    func(_ *testing.T, n *network) { n.proxy.Heal() },
		passing: true,
	},
	{
		name:    "so slow that an answer just comes in time",
		harm:    func(_ *testing.T, n *network) { n.proxy.Slow(900 * time.Millisecond) },
		heal:    func(_ *testing.T, n *network) { n.proxy.Heal() },
		passing: true,
	},
	{
		name: "too slow", hanging: true,
		harm: func(_ *testing.T, n *network) { n.proxy.Slow(3 * time.Second) },
		heal: func(_ *testing.T, n *network) { n.proxy.Heal() },
	},
	{
		name: "hung network", hanging: true,
		harm: func(_ *testing.T, n *network) { n.proxy.Hang() },
		heal: func(_ *testing.T, n *network) { n.proxy.Heal() },
	},
	{
		name: "hung server", hanging: true,
		harm: func(_ *testing.T, n *network) { n.server.Pause() },
		heal: func(_ *testing.T, n *network) { n.server.Resume() },
	},
	{
		name: "refusing",
		harm: func(_ *testing.T, n *network) { n.proxy.Cut() },
		heal: func(_ *testing.T, n *network) { n.proxy.Heal() },
	},
	{
		name:    "reset",
		harm:    func(_ *testing.T, n *network) { n.proxy.Reset() },
		heal:    nothing,
		passing: true,
	},
	{
		name:    "connections killed",
		harm:    func(t *testing.T, n *network) { n.server.Do(t, "CLIENT", "KILL", "TYPE", "normal") },
		heal:    nothing,
		passing: true,
	},
	{
		name:    "restarted",
		harm:    func(_ *testing.T, n *network) { n.server.Stop(); n.server.Start() },
		heal:    nothing,
		passing: true,
	},
	{
		name: "cut in mid-request", relayed: true,
		harm: func(_ *testing.T, n *network) { n.relay.decide(func(string) fate { return cutBefore }) },
		heal: func(_ *testing.T, n *network) { n.relay.decide(func(string) fate { return passes }) },
	},
	{
		name: "cut before the answer", relayed: true,
		harm: func(_ *testing.T, n *network) { n.relay.decide(func(string) fate { return cutAfter }) },
		heal: func(_ *testing.T, n *network) { n.relay.decide(func(string) fate { return passes }) },
	},
	{
		// The master has been replaced, and nobody told us.
		name:     "read-only",
		harm:     func(t *testing.T, n *network) { n.server.Do(t, "REPLICAOF", "127.0.0.1", "1") },
		heal:     func(t *testing.T, n *network) { n.server.Do(t, "REPLICAOF", "NO", "ONE") },
		answered: []string{"Get", "List"},
	},
	{
		name:     "out of memory",
		harm:     func(t *testing.T, n *network) { n.server.Do(t, "CONFIG", "SET", "maxmemory", "1") },
		heal:     func(t *testing.T, n *network) { n.server.Do(t, "CONFIG", "SET", "maxmemory", "0") },
		answered: []string{"Get", "Take", "Delete", "List", "Publish"},
	},
	{
		name:   "busy with another's script",
		config: []string{"lua-time-limit 50"},
		harm:   func(t *testing.T, n *network) { runForever(t, n.server) },
		heal:   func(t *testing.T, n *network) { n.server.Do(t, "SCRIPT", "KILL") },
	},
	{
		name:     "scripts forgotten",
		harm:     func(t *testing.T, n *network) { n.server.Do(t, "SCRIPT", "FLUSH") },
		heal:     nothing,
		answered: everything,
	},
}

// runForever makes a server busy until SCRIPT KILL.
func runForever(t *testing.T, s *redistest.Server) {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte("EVAL 'while true do end' 0\r\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server to be busy", func() bool {
		return busy(s.Addr())
	})
}

func busy(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	buf := make([]byte, 5)
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = conn.Write([]byte("GET x\r\n"))
	if err == nil {
		_, err = conn.Read(buf)
	}
	return err == nil && string(buf) == "-BUSY"
}

// Whatever happens to Redis: no call waits longer than a second, each failure says
// that the store was unavailable, the calls after a time-out fail at once, and when
// it is over, everything works again by itself.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			if f.hanging || f.passing { // and mostly waits
				t.Parallel()
			}
			net := newNetwork(t, f.config...)
			address := net.proxy.Addr()
			if f.relayed {
				address = net.relay.addr()
			}
			stores := make([]*Store, len(operations)) // each finds out by itself
			for i, op := range operations {
				stores[i] = openStore(t, configOf(address))
				if err := op.call(t.Context(), stores[i]); err != nil {
					t.Fatalf("%s before: %v", op.name, err)
				}
			}
			f.harm(t, net)
			var calls sync.WaitGroup
			for i := range operations {
				calls.Go(func() { f.check(t, i, stores[i]) })
			}
			calls.Wait()
			f.heal(t, net)
			within(t, 3*time.Second, "all stores to work again", func() bool {
				for i, op := range operations {
					if op.call(t.Context(), stores[i]) != nil {
						return false
					}
				}
				return true
			})
			for _, s := range stores {
				awaitListening(t, s)
			}
		})
	}
}

// check calls one operation, and then again and again.
func (f fault) check(t *testing.T, i int, s *Store) {
	op := operations[i]
	works := slices.Contains(f.answered, op.name)
	limit := callLimit
	if op.name == "List" { // an operator's tool, which asks twice at least
		limit += callTimeout
	}
	once := func() {
		began := elapsed()
		err := op.call(t.Context(), s)
		if took := elapsed() - began; took > limit {
			t.Errorf("%s took %v and returned %v; want at most %v", op.name, took, err, limit)
		}
		if works && err != nil {
			t.Errorf("%s = %v; want it to go on", op.name, err)
		}
		if err == nil && !works && !f.passing {
			t.Errorf("%s = nil; want ErrUnavailable", op.name)
		}
		if err != nil && (!errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
			t.Errorf("%s = %v; want ErrUnavailable only", op.name, err)
		}
	}
	once()
	began := elapsed()
	if f.hanging { // only the first has waited, whatever many come one after another
		for range 200 {
			once()
		}
		if took := elapsed() - began; took > callLimit {
			t.Errorf("%s: 200 more calls took %v", op.name, took)
		}
		return
	}
	var visitors sync.WaitGroup
	for range 20 {
		visitors.Go(once)
	}
	visitors.Wait()
	if works && s.breakers.of("").State() != gobreaker.StateClosed {
		t.Errorf("%s: answers that came in time have tripped the breaker", op.name)
	}
}

// A server that reads its disk answers LOADING: that passes, too.
func TestFaults_Loading(t *testing.T) {
	server := redistest.Start(t, "key-load-delay 500", "loading-process-events-interval-bytes 1024")
	s := openStore(t, configOf(server.Addr()))
	if err := s.Set(t.Context(), "kept:a", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	server.Do(t, "EVAL", "for i = 1, 4000 do redis.call('SET', 'foreign' .. i, 'some text') end", "0")
	server.Stop()
	started := make(chan struct{})
	go func() {
		defer close(started)
		server.Start() // returns when it has loaded
	}()
	loading := false
	eventually(t, "the store to work", func() bool {
		_, found, err := s.Get(t.Context(), "kept:a")
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Get = %v; want ErrUnavailable", err)
		}
		if err != nil && strings.Contains(err.Error(), "LOADING") {
			loading = true
			if fresh, err := New(configOf(server.Addr())); err != nil {
				t.Fatal(err)
			} else {
				if err := fresh.Open(); err != nil && !errors.Is(err, store.ErrNotReady) {
					t.Errorf("Open of a server that loads = %v; want ErrNotReady", err)
				}
				_ = fresh.Close()
			}
		}
		if err == nil && !found {
			t.Fatal("an entry is absent while the server loads")
		}
		return err == nil
	})
	<-started
	if !loading {
		t.Error("the server was not seen loading: let it take longer")
	}
}

// A visitor who leaves says nothing about the store: his error is his own, and the
// others are served.
func TestFaults_CallersOwnContext(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		make func() (context.Context, context.CancelFunc)
		want error
		// tells says that the visitor has waited long enough to tell of the server.
		tells bool
	}{
		{"deadline", func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 40*time.Millisecond)
		}, context.DeadlineExceeded, false},
		{"long deadline", func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 600*time.Millisecond)
		}, context.DeadlineExceeded, true},
		{"cancelled", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(40*time.Millisecond, cancel)
			return ctx, cancel
		}, context.Canceled, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			net := newNetwork(t)
			stores := make([]*Store, len(operations))
			for i, op := range operations {
				stores[i] = newStore(t, configOf(net.proxy.Addr())) // no listener, whose breaker it shares
				if err := op.call(t.Context(), stores[i]); err != nil {
					t.Fatal(err)
				}
			}
			net.proxy.Hang()
			var visitors sync.WaitGroup
			for i, op := range operations {
				for range 15 {
					visitors.Go(func() {
						ctx, cancel := test.make()
						defer cancel()
						err := op.call(ctx, stores[i])
						if test.tells && errors.Is(err, store.ErrUnavailable) {
							return // others have told before
						}
						if !errors.Is(err, test.want) || errors.Is(err, store.ErrUnavailable) {
							t.Errorf("%s = %v; want %v and not ErrUnavailable", op.name, err, test.want)
						}
					})
				}
			}
			visitors.Wait()
			for i, op := range operations {
				if state := stores[i].breakers.of("").State(); (state != gobreaker.StateClosed) != test.tells {
					t.Errorf("%s: the breaker is %v", op.name, state)
				}
			}
		})
	}
}

// A request makes several calls; what they wait adds up.
func TestFaults_Patience(t *testing.T) {
	net := newNetwork(t)
	s := newStore(t, configOf(net.proxy.Addr()))
	net.proxy.Slow(60 * time.Millisecond)
	if err := s.Ping(t.Context()); err != nil { // has a connection now
		t.Fatal(err)
	}
	ctx := store.WithPatience(t.Context(), 100*time.Millisecond)
	began := elapsed()
	var errs []error
	for range 5 {
		_, _, err := s.Get(ctx, "kept:a")
		errs = append(errs, err)
	}
	if took := elapsed() - began; took > 600*time.Millisecond {
		t.Errorf("five calls took %v", took)
	}
	if errs[0] != nil {
		t.Errorf("the first = %v", errs[0])
	}
	for _, err := range errs[2:] {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a later one = %v; want ErrUnavailable", err)
		}
	}
	if state := s.breakers.of("").State(); state != gobreaker.StateClosed {
		t.Errorf("one impatient request has made the breaker %v", state)
	}
	if _, _, err := s.Get(t.Context(), "kept:a"); err != nil {
		t.Errorf("a request that has its patience left: %v", err)
	}
}

// While a server is known not to answer, it is asked once a second, however many
// visitors come.
func TestFaults_NoStampede(t *testing.T) {
	net := newNetwork(t)
	s := newStore(t, configOf(net.relay.addr()))
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	net.relay.decide(func(string) fate { return blackHoled })
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Ping = %v", err)
	}
	asked := net.relay.seen.Load()
	for range 2000 {
		if _, _, err := s.Get(t.Context(), "kept:a"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Get = %v", err)
		}
	}
	if more := net.relay.seen.Load() - asked; more > 3 {
		t.Errorf("2000 calls have asked a hung server %d times", more)
	}
}
