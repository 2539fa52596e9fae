// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// fleetSize is the number of nodes of a fleet.
const fleetSize = 3

// fleet is several gateways that serve one site together. Visitors know the site
// by one address, door; which node a request reaches is the test's choice. All
// nodes share an upstream and WeChat.
type fleet struct {
	t        testing.TB
	wechat   *wechattest.Server
	account  *wechattest.AccountHandle
	api      *httptest.Server
	upstream *upstream
	door     string
	nodes    []*world
	roads    []http.RoundTripper // to each node, whatever address the URL has

	// Without options.storage: the one Redis, and the line of each node to it,
	// on which the node is the ACL user that nodeUser names.
	redis *redistest.Server
	lines []*redistest.Proxy

	// Which nodes WeChat's pushes and people's phones reach.
	pushesTo, phonesTo atomic.Int32
}

// fleetOptions change what newFleet makes.
type fleetOptions struct {
	mode    wechattest.Mode
	account string   // more lines of the official_account block
	wechat  string   // more lines of the wechat block
	global  string   // more lines of the global options
	redis   []string // more lines of redis.conf
	storage string   // the address lines of a Redis that the test has started
	users   string   // default: registration open
	site    string   // more lines of the site block
	gate    string   // more lines of the wechat_auth block
}

// newFleet prepares the nodes, and starts them all at once.
func newFleet(t testing.TB, o fleetOptions) *fleet {
	t.Helper()
	f := &fleet{t: t, door: freeAddr(t), upstream: newUpstream(t)}
	f.wechat = wechattest.NewServer(wechattest.Options{PushSpacing: -1, HTTPClient: &http.Client{Transport: outside{f}}})
	t.Cleanup(f.wechat.Close)
	f.api = httptest.NewServer(f.wechat)
	t.Cleanup(f.api.Close)
	account := wechattest.Account{
		AppID: appID, Secret: secret, Name: "测试服务号", Token: token, Mode: o.mode,
		PushURL: "http://" + f.door + "/_wechat/push/" + appID,
	}
	if o.mode != wechattest.Plain {
		account.AESKey = aesKey
		o.account += "\naes_key " + aesKey
	}
	var err error
	if f.account, err = f.wechat.AddAccount(account); err != nil {
		t.Fatal(err)
	}
	if o.global == "" {
		o.global = "grace_period 2s"
	}
	if o.storage == "" {
		f.startRedis(o.redis)
	}
	for i := range fleetSize {
		f.addNode(i, o)
	}
	f.each(func(_ int, w *world) { w.start() })
	return f
}

func nodeUser(i int) string { return fmt.Sprintf("node%d", i) }

func nodePassword(i int) string { return fmt.Sprintf("redis-password-of-node-%d", i) }

func (f *fleet) startRedis(config []string) {
	f.t.Helper()
	for i := range fleetSize {
		config = append(config, fmt.Sprintf("user %s on >%s ~* &* +@all", nodeUser(i), nodePassword(i)))
	}
	f.redis = redistest.Start(f.t, config...)
	for range fleetSize {
		f.lines = append(f.lines, redistest.NewProxy(f.t, f.redis.Addr()))
	}
}

// addNode makes a node that is not started yet.
func (f *fleet) addNode(i int, o fleetOptions) {
	f.t.Helper()
	w := &world{
		t: f.t, dir: f.t.TempDir(), addr: freeAddr(f.t), admin: freeAddr(f.t), output: newOutput(),
		wechat: f.wechat, account: f.account, api: f.api, upstream: f.upstream,
	}
	w.env = []string{"WECHAT_SECRET=" + secret, "WECHAT_TOKEN=" + token, "REDIS_PASSWORD=" + nodePassword(i)}
	storage := o.storage
	if storage == "" {
		storage = "address " + f.lines[i].Addr() + "\nusername " + nodeUser(i) + "\npassword {env.REDIS_PASSWORD}"
	}
	users := o.users
	if users == "" {
		users = "registration open"
	}
	w.caddyfile = fmt.Sprintf(`{
	admin %s
	default_bind 127.0.0.1
	persist_config off
	storage file_system %s
	log {
		output stderr
		format json
		level DEBUG
	}
	%s
	wechat {
		official_account %s {
			secret {env.WECHAT_SECRET}
			token {env.WECHAT_TOKEN}
			%s
		}
		api_url %s
		store redis {
			%s
		}
		users {
			%s
		}
		%s
	}
}
http://%s {
	log
	%s
	wechat_auth {
		public_url http://%s
		%s
	}
	reverse_proxy %s
}
`, w.admin, filepath.Join(w.dir, "caddy"), o.global, appID, o.account, f.api.URL, storage, users, o.wechat, w.addr, o.site, f.door, o.gate, f.upstream.addr())
	f.nodes, f.roads = append(f.nodes, w), append(f.roads, f.road(w.addr))
}

// road returns a transport whose requests all reach one address.
func (f *fleet) road(addr string) http.RoundTripper {
	road := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}, MaxIdleConnsPerHost: 64}
	f.t.Cleanup(road.CloseIdleConnections)
	return road
}

// each calls fn for all nodes at the same time.
func (f *fleet) each(fn func(i int, w *world)) {
	f.t.Helper()
	done := make(chan struct{})
	for i, w := range f.nodes {
		go func() {
			defer func() { done <- struct{}{} }() // also where fn fails the test
			fn(i, w)
		}()
	}
	for range f.nodes {
		<-done
	}
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// outside is how WeChat and phones reach the site.
type outside struct{ f *fleet }

// RoundTrip implements http.RoundTripper.
func (o outside) RoundTrip(r *http.Request) (*http.Response, error) {
	node := o.f.phonesTo.Load()
	if strings.HasPrefix(r.URL.Path, "/_wechat/push/") {
		node = o.f.pushesTo.Load()
	}
	return o.f.roads[node].RoundTrip(r)
}

// browser returns a new browser whose requests reach node i.
func (f *fleet) browser(i int) *browser {
	f.t.Helper()
	b := f.nodes[i].browser()
	b.origin = "http://" + f.door
	return f.via(b, i)
}

// via is the same browser, with the same cookies, whose requests reach node i.
func (f *fleet) via(b *browser, i int) *browser {
	client := *b.client
	client.Transport = f.roads[i]
	return &browser{t: b.t, client: &client, origin: b.origin}
}

// viaNode is the same attempt in a browser whose requests reach node i.
func (f *fleet) viaNode(a *attempt, i int) *attempt {
	moved := *a
	moved.browser = f.via(a.browser, i)
	return &moved
}

// signIn signs a person in at node i, in a new browser.
func (f *fleet) signIn(i int, person string) *browser {
	f.t.Helper()
	b := f.browser(i)
	f.nodes[i].signInWith(b, person)
	return b
}

// poll calls fn until it says true, and returns how long that took.
func poll(t testing.TB, what string, fn func() bool) time.Duration {
	t.Helper()
	begun, tick := time.Now(), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !fn() {
		if time.Since(begun) > patience {
			t.Fatalf("%s does not happen", what)
		}
		<-tick.C
	}
	return time.Since(begun)
}

// healthy waits until node i says that it can serve.
func (f *fleet) healthy(i int) time.Duration {
	f.t.Helper()
	b := f.browser(i)
	return poll(f.t, fmt.Sprintf("health of node %d", i), func() bool {
		return b.do(http.MethodGet, "/_wechat/healthz", nil).Status == http.StatusOK
	})
}
