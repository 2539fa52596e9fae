// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
)

// probe begins the payloads by which a test finds out that messages flow. One may
// come twice, and late.
const probe = "probe"

// notices are what a subscriber was told, besides the probes.
type notices struct {
	mu     sync.Mutex
	all    []store.Notice
	probed bool
}

// listenTo subscribes, and forgets the notices about the store's state so far.
func listenTo(t testing.TB, s *Store, topic string) *notices {
	t.Helper()
	n := subscribe(t, s, topic)
	eventually(t, "messages to flow", func() bool {
		_ = s.Publish(t.Context(), topic, probe)
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.probed
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = nil
	return n
}

func subscribe(t testing.TB, s *Store, topic string) *notices {
	t.Helper()
	n := new(notices)
	t.Cleanup(s.Subscribe(topic, n.add))
	return n
}

func (n *notices) add(notice store.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if notice.Payload == probe {
		n.probed = true
		return
	}
	n.all = append(n.all, notice)
}

func (n *notices) seen() []store.Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all)
}

func (n *notices) messages() (payloads []string) {
	for _, notice := range n.seen() {
		if notice.Kind == store.Message {
			payloads = append(payloads, notice.Payload)
		}
	}
	return slices.Compact(payloads) // one may come twice
}

func (n *notices) has(kind store.NoticeKind) bool {
	return slices.ContainsFunc(n.seen(), func(notice store.Notice) bool { return notice.Kind == kind })
}

func (n *notices) await(t testing.TB, payload string) {
	t.Helper()
	eventually(t, "the message "+payload, func() bool { return slices.Contains(n.messages(), payload) })
}

// lostLimit is how soon a node must know that it hears nothing. What another one
// revokes must be refused here within 1 s; the rest is for a slow test machine.
const lostLimit = 1200 * time.Millisecond

// outage is a way to keep messages from a node, and its end.
type outage struct {
	name       string
	harm, heal func(t *testing.T, net *network)
	brief      bool // the node helps itself at once
}

// network is what lies between a node and its Redis.
type network struct {
	server *redistest.Server
	proxy  *redistest.Proxy
	relay  *relay
}

func newNetwork(t testing.TB, config ...string) *network {
	t.Helper()
	n := &network{server: redistest.Start(t, config...)}
	n.proxy = redistest.NewProxy(t, n.server.Addr())
	n.relay = newRelay(t, n.proxy.Addr())
	return n
}

func nothing(*testing.T, *network) {}

var outages = []outage{
	{name: "hung network", harm: func(_ *testing.T, n *network) { n.proxy.Hang() }, heal: func(_ *testing.T, n *network) { n.proxy.Heal() }},
	{name: "refused", harm: func(_ *testing.T, n *network) { n.proxy.Cut() }, heal: func(_ *testing.T, n *network) { n.proxy.Heal() }},
	{name: "paused server", harm: func(_ *testing.T, n *network) { n.server.Pause() }, heal: func(_ *testing.T, n *network) { n.server.Resume() }},
	{name: "killed server", harm: func(_ *testing.T, n *network) { n.server.Kill() }, heal: func(_ *testing.T, n *network) { n.server.Start() }},
	{name: "reset", harm: func(_ *testing.T, n *network) { n.proxy.Reset() }, heal: nothing, brief: true},
	{name: "killed subscription", harm: func(t *testing.T, n *network) { n.server.Do(t, "CLIENT", "KILL", "TYPE", "pubsub") }, heal: nothing, brief: true},
	// Commands go through, and the subscription's connection stays open: a
	// firewall that has forgotten an idle connection does just that.
	{name: "black-holed subscription", harm: func(_ *testing.T, n *network) {
		n.relay.swallowSubscriptions()
	}, heal: func(_ *testing.T, n *network) { n.relay.decide(func(string) fate { return passes }) }},
	// Others can no longer publish, and this node neither.
	{name: "channel forbidden", harm: func(t *testing.T, n *network) {
		n.server.Do(t, "ACL", "SETUSER", "default", "resetchannels")
	}, heal: func(t *testing.T, n *network) { n.server.Do(t, "ACL", "SETUSER", "default", "allchannels") }},
	{name: "replica of a dead master", harm: func(t *testing.T, n *network) {
		n.server.Do(t, "REPLICAOF", "127.0.0.1", "1")
	}, heal: func(t *testing.T, n *network) { n.server.Do(t, "REPLICAOF", "NO", "ONE") }},
}

// While a node may miss what others revoke, its subscribers know: within a second,
// whatever broke. And when it is over, they know that, too.
func TestNotices_LostAndRestored(t *testing.T) {
	t.Parallel()
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			net := newNetwork(t)
			here := openStore(t, alone(configOf(net.relay.addr())))
			there := newStore(t, Config{Addresses: []string{net.server.Addr()}, KeyPrefix: here.prefix})
			told := listenTo(t, here, "topic")
			o.harm(t, net)
			// It is heard, or lies between Lost and Restored.
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_ = there.Publish(ctx, "topic", "during")
			cancel()
			if !slices.Contains(told.messages(), "during") {
				within(t, lostLimit, "the notice that messages are lost", func() bool { return told.has(store.Lost) })
			}
			if !o.brief {
				late := subscribe(t, here, "topic")
				eventually(t, "a notice to the late subscriber", func() bool { return len(late.seen()) > 0 })
				if first := late.seen()[0]; first.Kind != store.Lost {
					t.Errorf("who subscribes in between hears %v first", first)
				}
			}
			o.heal(t, net)
			within(t, 3*time.Second, "the notice that messages flow again", func() bool { return told.has(store.Restored) })
			eventually(t, "the other node to publish", func() bool { return there.Publish(t.Context(), "topic", "after") == nil })
			told.await(t, "after")
			wantAlternating(t, told.seen())
		})
	}
}

// wantAlternating checks that Lost comes first, and Restored after each Lost.
func wantAlternating(t testing.TB, all []store.Notice) {
	t.Helper()
	want := store.Lost
	for _, n := range all {
		if n.Kind == store.Message {
			continue
		}
		if n.Kind != want {
			t.Fatalf("notices %v: Lost and Restored do not alternate", all)
		}
		want = store.Lost + store.Restored - want
	}
	if want != store.Lost {
		t.Errorf("notices %v: Restored is missing", all)
	}
}

// swallowSubscriptions makes black holes of the connections that subscribe, and of
// those that have subscribed.
func (r *relay) swallowSubscriptions() {
	r.decide(func(request string) fate {
		if isSubscription(request) {
			return blackHoled
		}
		return passes
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		if l.subscribed.Load() {
			l.hole.Store(true)
		}
	}
}

// Twenty thousand browsers may wait on a node: it still has one subscription.
func TestSubscribe_OneConnection(t *testing.T) {
	server := redistest.Start(t)
	s := openStore(t, configOf(server.Addr()))
	var all []*notices
	for i := range 50 {
		all = append(all, subscribe(t, s, "topic"+strings.Repeat("x", i%7)))
	}
	if err := s.Publish(t.Context(), "topic", "payload"); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(all); i += 7 {
		all[i].await(t, "payload")
	}
	if clients := server.Do(t, "CLIENT", "LIST", "TYPE", "pubsub"); strings.Count(clients, "id=") != 1 {
		t.Errorf("these are subscribed:\n%s", clients)
	}
}

// A config reload closes the store, also while Redis is away: nothing stays behind.
func TestClose_LeavesNothingBehind(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(*network)
	}{
		{"at rest", func(*network) {}},
		{"hung", func(n *network) { n.proxy.Hang() }},
		{"refused", func(n *network) { n.proxy.Cut() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			net := newNetwork(t)
			before := goleak.IgnoreCurrent()
			s, err := New(configOf(net.proxy.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Open(); err != nil {
				t.Fatal(err)
			}
			cancel := s.Subscribe("topic", func(store.Notice) {})
			awaitListening(t, s)
			test.harm(net)
			began := elapsed()
			if err := s.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
			if took := elapsed() - began; took > callLimit {
				t.Errorf("Close took %v", took)
			}
			cancel()
			net.proxy.Cut()
			goleak.VerifyNone(t, before)
		})
	}
}
