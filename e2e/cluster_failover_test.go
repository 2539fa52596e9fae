// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
)

// TestClusterFailover: the Redis that has the sessions and the attempts dies, or
// hangs, be it the master of a replica set or one of a Cluster, and a replica takes
// over. Who is
// signed in goes on meanwhile; who looked at a QR code scans it afterwards and gets
// in.
func TestClusterFailover(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start func(t *testing.T, end func(*redistest.Server)) (storage string, failover func(key string))
		end   func(*redistest.Server)
	}{
		{"Sentinel, killed", startSentinel, (*redistest.Server).Kill},
		{"Sentinel, hung", startSentinel, (*redistest.Server).Pause},
		{"Cluster, killed", startCluster, (*redistest.Server).Kill},
		{"Cluster, hung", startCluster, (*redistest.Server).Pause},
	} {
		t.Run(tt.name, func(t *testing.T) {
			storage, failover := tt.start(t, tt.end)
			f := newFleet(t, fleetOptions{storage: storage, wechat: "limit attempts off"})
			for i := range f.nodes {
				f.healthy(i)
			}
			known := f.keep(f.signIn(0, "alice"))
			known.expect(http.StatusOK)
			a := f.browser(0).begin()
			s := f.viaNode(a, 2).stream()
			s.expect("pending")
			stop := f.keepAsking(known)
			failover("wechat:tmp:attempt:" + a.ID)
			begun := time.Now()
			for i := range f.nodes {
				poll(t, "the attempt", func() bool {
					got := f.via(a.browser, i).do(http.MethodGet, "/_wechat/attempts/"+a.ID, nil)
					if got.Status != http.StatusOK && got.Status != http.StatusServiceUnavailable {
						t.Fatalf("node %d: %d %s", i, got.Status, got.Body)
					}
					return got.Status == http.StatusOK && got.json(t)["state"] == "pending"
				})
				f.healthy(i)
			}
			t.Logf("all nodes are well %v after the failover", time.Since(begun).Round(time.Millisecond))
			stop()
			known.expect(http.StatusOK)
			phone := f.wechat.Phone("bob")
			f.pushesTo.Store(1)
			f.nodes[0].choose(phone, f.nodes[0].scan(phone, a), a.Number)
			again := f.viaNode(a, 2).stream()
			again.expect("confirmed")
			f.viaNode(a, 1).consume()
			again.expect("consumed")
			f.keep(a.browser).welcome()
			f.signIn(2, "carol")
		})
	}
}

// welcome waits until all nodes let the holder in. A node that has just seen Redis
// fail may say for a second that it cannot tell.
func (h holder) welcome() {
	h.f.t.Helper()
	for i := range h.f.nodes {
		took := poll(h.f.t, "the welcome", func() bool {
			got := h.at(i)
			if got.Status != http.StatusOK && got.Status != http.StatusServiceUnavailable {
				h.f.t.Fatalf("node %d: %d %s", i, got.Status, got.Body)
			}
			return got.Status == http.StatusOK
		})
		if took > 2*time.Second {
			h.f.t.Errorf("node %d lets a member in after %v", i, took)
		}
	}
}

// keepAsking has a signed-in visitor use the site at every node until stop is
// called.
func (f *fleet) keepAsking(h holder) (stop func()) {
	f.t.Helper()
	done := make(chan struct{})
	var all sync.WaitGroup
	for i := range f.nodes {
		all.Go(func() {
			asked, slow := 0, time.Duration(0)
			for open := true; open; asked++ {
				begun := time.Now()
				if got := h.at(i); got.Status != http.StatusOK {
					f.t.Errorf("node %d: %d %s", i, got.Status, got.Body)
					return
				}
				slow = max(slow, time.Since(begun))
				select {
				case <-done:
					open = false
				default:
				}
			}
			f.t.Logf("node %d: %d requests, the slowest took %v", i, asked, slow.Round(time.Millisecond))
			if slow > slowest {
				f.t.Errorf("node %d: an answer takes %v", i, slow)
			}
		})
	}
	return func() {
		close(done)
		all.Wait()
	}
}

func startSentinel(t *testing.T, end func(*redistest.Server)) (storage string, failover func(string)) {
	t.Helper()
	set := redistest.StartReplicaSet(t)
	return "address " + strings.Join(set.Addrs(), " ") + "\nmaster " + set.MasterName(), func(string) {
		master := set.Master(t)
		master.AwaitReplicas(t, 2)
		end(master)
		poll(t, "the failover", func() bool { return set.Master(t) != master })
	}
}

func startCluster(t *testing.T, end func(*redistest.Server)) (storage string, failover func(string)) {
	t.Helper()
	set := redistest.StartCluster(t)
	return "address " + strings.Join(set.Addrs(), " ") + "\ncluster", func(key string) {
		for _, master := range set.Masters(t) {
			master.AwaitReplicas(t, 1)
		}
		end(set.MasterOf(t, key))
		set.Masters(t)
	}
}
