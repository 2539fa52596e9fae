// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
)

// load writes until it is stopped, and knows what was acknowledged.
type load struct {
	stop chan struct{}
	done sync.WaitGroup
	mu   sync.Mutex
	acks []string
}

func startLoad(t testing.TB, s *Store) *load {
	l := &load{stop: make(chan struct{})}
	for w := range 4 {
		l.done.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.stop:
					return
				default:
				}
				l.write(t, s, fmt.Sprintf("kept:load:%d:%d", w, i))
			}
		})
	}
	return l
}

func (l *load) write(t testing.TB, s *Store, key string) {
	if err := s.Set(t.Context(), key, []byte("v"), time.Hour); err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks = append(l.acks, key)
}

func (l *load) acknowledged() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.acks...)
}

func (l *load) end() {
	close(l.stop)
	l.done.Wait()
}

func wantAll(t testing.TB, s *Store, keys []string) {
	t.Helper()
	for _, key := range keys {
		_, found, err := s.Get(t.Context(), key)
		if err != nil || !found {
			t.Fatalf("Get(%q) = %v, %v: a write that was acknowledged and replicated is gone", key, found, err)
		}
	}
}

// recovered waits until the store works again for each of the keys and messages
// flow.
func recovered(t testing.TB, s *Store, told *notices, keys ...string) {
	t.Helper()
	within(t, 3*time.Second, "the store to write again", func() bool {
		for _, key := range keys {
			if s.Set(t.Context(), key, []byte("after"), time.Hour) != nil {
				return false
			}
		}
		return s.Ping(t.Context()) == nil
	})
	if !told.has(store.Lost) {
		t.Error("a subscriber was not told that messages may be lost")
	}
	within(t, 3*time.Second, "messages to flow again", func() bool { return told.has(store.Restored) })
	eventually(t, "a message", func() bool { return s.Publish(t.Context(), "topic", "after") == nil })
	told.await(t, "after")
	wantAlternating(t, told.seen())
}

// The machine of the master dies under load. Sentinel promotes a replica; the node
// finds it by itself, nothing that was acknowledged and replicated is lost, and a
// listing that had begun on the one is complete on the other.
func TestFailover_Sentinel(t *testing.T) {
	set := sharedSentinels()
	s := openStore(t, alone(sentinelConfig(set)))
	told := listenTo(t, s, "topic")
	want := make(map[string]bool)
	for i := range 300 {
		key := fmt.Sprintf("kept:listed:%d", i)
		want[key] = true
		if err := s.Set(t.Context(), key, []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
	}
	items, cursor, err := s.List(t.Context(), "kept:listed:", "", 20)
	if err != nil || cursor == "" {
		t.Fatalf("List = %d entries, %q, %v", len(items), cursor, err)
	}
	l := startLoad(t, s)
	eventually(t, "some writes", func() bool { return len(l.acknowledged()) > 200 })
	safe := l.acknowledged()
	set.Master(t).AwaitReplicas(t, 2)
	killed := set.Failover(t)
	recovered(t, s, told, "kept:a")
	count := len(l.acknowledged())
	eventually(t, "the load to go on", func() bool { return len(l.acknowledged()) > count+50 })
	l.end()
	wantAll(t, s, safe)
	for cursor != "" {
		for _, item := range items {
			delete(want, item.Key)
		}
		if items, cursor, err = s.List(t.Context(), "kept:listed:", cursor, 20); err != nil {
			t.Fatal(err)
		}
	}
	for _, item := range items {
		delete(want, item.Key)
	}
	if len(want) != 0 {
		t.Errorf("a listing across a failover has missed %d of 300 entries", len(want))
	}
	killed.Start()
	eventually(t, "the old master to follow", func() bool { return follows(t, killed) })
}

func follows(t testing.TB, s *redistest.Server) bool {
	info := s.Do(t, "INFO", "replication")
	return strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up")
}

// Each master of a Cluster dies once: the one that everyone listens to, and one
// that has a key.
func TestFailover_Cluster(t *testing.T) {
	cluster := sharedCluster()
	s := openStore(t, alone(clusterConfig(cluster)))
	keys := make([]string, 30) // on all masters
	for i := range keys {
		keys[i] = fmt.Sprintf("kept:%d", i)
	}
	elsewhere := keys[0]
	for _, key := range keys {
		if cluster.MasterOf(t, s.prefix+key) != cluster.MasterOf(t, s.channel()) {
			elsewhere = key
		}
	}
	for _, test := range []struct {
		name, key  string
		hears      bool // of the outage
		end, begin func(*redistest.Server)
	}{
		{"master of the channel killed", s.channel(), true, (*redistest.Server).Kill, (*redistest.Server).Start},
		{"master of a key killed", s.prefix + elsewhere, false, (*redistest.Server).Kill, (*redistest.Server).Start},
		{"master of the channel hung", s.channel(), true, (*redistest.Server).Pause, (*redistest.Server).Resume},
	} {
		t.Run(test.name, func(t *testing.T) {
			told := listenTo(t, s, "topic")
			visitor := newStore(t, Config{Addresses: cluster.Addrs(), Cluster: true, KeyPrefix: s.prefix})
			signOut := func() (time.Duration, error) {
				began := elapsed()
				_, err := visitor.Delete(t.Context(), elsewhere, store.Announcement{Topic: "topic", Payload: "signed out"})
				return elapsed() - began, err
			}
			if _, err := signOut(); err != nil { // has its connections now
				t.Fatal(err)
			}
			l := startLoad(t, s)
			eventually(t, "some writes", func() bool { return len(l.acknowledged()) > 200 })
			safe := l.acknowledged()
			for _, m := range cluster.Masters(t) {
				m.AwaitReplicas(t, 1)
			}
			victim := cluster.MasterOf(t, test.key)
			test.end(victim)
			if took, err := signOut(); took > callLimit {
				t.Errorf("Delete took %v, and returned %v", took, err)
			}
			if test.hears {
				within(t, lostLimit, "the notice that messages are lost", func() bool { return told.has(store.Lost) })
			}
			cluster.MasterOf(t, test.key)
			within(t, 5*time.Second, "the store to write again", func() bool {
				for _, key := range keys {
					if s.Set(t.Context(), key, []byte("after"), time.Hour) != nil {
						return false
					}
				}
				return true
			})
			eventually(t, "a message", func() bool { return s.Publish(t.Context(), "topic", "after") == nil })
			within(t, 5*time.Second, "the message", func() bool { return told.has(store.Restored) || !test.hears })
			l.end()
			wantAll(t, s, safe)
			test.begin(victim)
			eventually(t, "the old master to follow", func() bool { return follows(t, victim) })
			eventually(t, "each master to have its replica", func() bool {
				for _, m := range cluster.Masters(t) {
					if !strings.Contains(m.Do(t, "INFO", "replication"), "state=online") {
						return false
					}
				}
				return true
			})
		})
	}
}

// A Cluster that grows moves slots while visitors sign in: some keys are on the one
// node and some on the other, and which Redis says only when it is asked.
func TestCluster_SlotMigration(t *testing.T) {
	cluster := sharedCluster()
	s := openStore(t, alone(clusterConfig(cluster)))
	key := func(i int) string { return fmt.Sprintf("kept:{moving}:%d", i) }
	from := cluster.MasterOf(t, s.prefix+key(0))
	var to *redistest.Server
	for _, m := range cluster.Masters(t) {
		if m != from {
			to = m
		}
	}
	slot := from.Do(t, "CLUSTER", "KEYSLOT", s.prefix+key(0))
	use := func(what string, i int) {
		t.Helper()
		for round := range 3 {
			k := key(i + round)
			if err := increment(t.Context(), s, k); err != nil {
				t.Errorf("%s: Update: %v", what, err)
			}
			if v, found, err := s.Get(t.Context(), k); err != nil || !found {
				t.Errorf("%s: Get = %q, %v, %v", what, v, found, err)
			}
			if created, err := s.Create(t.Context(), k, []byte("x"), time.Hour); err != nil || created {
				t.Errorf("%s: Create over an entry = %v, %v", what, created, err)
			}
			if created, err := s.Create(t.Context(), k+"new", []byte("x"), time.Hour); err != nil || !created {
				t.Errorf("%s: Create = %v, %v", what, created, err)
			}
			if v, found, err := s.Take(t.Context(), k+"new"); err != nil || !found {
				t.Errorf("%s: Take = %q, %v, %v", what, v, found, err)
			}
			if existed, err := s.Delete(t.Context(), k, store.Announcement{Topic: "topic"}); err != nil || !existed {
				t.Errorf("%s: Delete = %v, %v", what, existed, err)
			}
		}
	}
	for i := range 10 {
		if err := s.Set(t.Context(), key(i), []byte("1"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	use("before", 0)
	to.Do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", from.Do(t, "CLUSTER", "MYID"))
	from.Do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", to.Do(t, "CLUSTER", "MYID"))
	use("keys at the old node", 3)
	host, port, _ := strings.Cut(to.Addr(), ":")
	for i := range 10 {
		from.Do(t, "MIGRATE", host, port, s.prefix+key(i), "0", "5000")
	}
	use("keys at the new node", 6)
	use("new keys", 20)
	for key := range strings.FieldsSeq(from.Do(t, "CLUSTER", "GETKEYSINSLOT", slot, "100")) { // as redis-cli does before it ends a migration
		from.Do(t, "MIGRATE", host, port, key, "0", "5000", "REPLACE")
	}
	for _, n := range []*redistest.Server{to, from} {
		n.Do(t, "CLUSTER", "SETSLOT", slot, "NODE", to.Do(t, "CLUSTER", "MYID"))
	}
	use("afterwards", 30)
	if _, found, err := s.Get(t.Context(), key(9)); err != nil || !found {
		t.Errorf("Get of an entry that has moved = %v, %v", found, err)
	}
}
