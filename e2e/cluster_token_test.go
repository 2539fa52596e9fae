// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// beginAtAll begins n attempts at each node, all at the same time, and fails the
// test if one is refused.
func (f *fleet) beginAtAll(n int) {
	f.t.Helper()
	var all sync.WaitGroup
	for i := range n * len(f.nodes) {
		b := f.browser(i % len(f.nodes))
		all.Go(func() {
			if got := b.do(http.MethodPost, "/_wechat/attempts", nil); got.Status != http.StatusCreated {
				f.t.Errorf("POST attempts at node %d: %d %s", i%len(f.nodes), got.Status, got.Body)
			}
		})
	}
	all.Wait()
}

// TestClusterOneTokenForAll: three nodes are started, and thirty visitors come at
// once. Later WeChat rejects the access token, while another thirty come. Each
// time the nodes together ask WeChat for one token: asking more often would use up
// the quota, and could end the token that the others have.
func TestClusterOneTokenForAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{wechat: "limit attempts off"})
	for _, when := range []string{"cold start", "burst of 40001", "another burst of 40001"} {
		before := f.account.Calls(wechattest.EndpointStableToken)
		f.beginAtAll(10)
		if got := f.account.Calls(wechattest.EndpointStableToken) - before; got != 1 {
			t.Errorf("%s: %d tokens were asked for, want 1", when, got)
		}
		f.wechat.RevokeTokens(appID)
	}
}

// TestClusterRefresherDies: a node asks WeChat for the token that all need, and
// WeChat is slow. Then the node is killed, or its line to Redis hangs so that it
// cannot say that it is done. The others wait for it no longer than five seconds.
func TestClusterRefresherDies(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(f *fleet)
	}{
		{"killed", func(f *fleet) { f.nodes[0].kill() }},
		{"cut off from Redis", func(f *fleet) { f.lines[0].Hang() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, fleetOptions{wechat: "limit attempts off"})
			f.wechat.Fail(wechattest.EndpointStableToken, 1, wechattest.Failure{Hang: true})
			first := f.browser(0)
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				first.try("/_wechat/attempts", "")
			}()
			poll(t, "the lock", func() bool { return f.redis.Do(t, "EXISTS", "wechat:tmp:wechat:token:"+appID+":lock") == "1" })
			poll(t, "the question for a token", func() bool { return f.account.Calls(wechattest.EndpointStableToken) == 1 })
			tt.end(f)
			begun := time.Now()
			var both sync.WaitGroup
			for i := 1; i < fleetSize; i++ {
				b := f.browser(i)
				both.Go(func() {
					got := b.do(http.MethodPost, "/_wechat/attempts", nil)
					took := time.Since(begun)
					t.Logf("node %d: %d after %v", i, got.Status, took)
					if got.Status != http.StatusCreated || took > 5*time.Second {
						t.Errorf("node %d: %d %s after %v", i, got.Status, got.Body, took)
					}
				})
			}
			both.Wait()
			<-gone
		})
	}
}
