// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-wechat/caddy-wechat/bench/internal/harness"
	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	appID  = "wx0123456789abcdef"
	secret = "bench-app-secret"
	token  = "benchtoken"

	// siteHost is what all nodes serve. WeChat and the phones reach them by this
	// name, as through a load balancer.
	siteHost = "cluster.example"
	pushPath = "/_wechat/push/" + appID
)

// node is a Caddy with three sites before the one upstream.
type node struct {
	plain, gated, control string // addresses of the sites
	caddy                 *harness.Caddy
}

// world is some nodes on one Redis, and a simulated WeChat.
type world struct {
	env           *env
	redis         *redistest.Server
	nodes         []*node
	site          harness.Site
	wechat        *wechattest.Server
	account       *wechattest.AccountHandle
	api, upstream *httptest.Server
	turn          atomic.Int64 // counts what the load balancer has given out
}

// newWorld returns a world in which nothing runs yet but WeChat and the upstream.
func newWorld(nodes int) *world {
	w := &world{env: new(env), site: harness.Site{Host: siteHost, Client: newClient(nil)}}
	w.wechat = wechattest.NewServer(wechattest.Options{PushSpacing: -1, HTTPClient: newClient(w.balance)})
	w.api = httptest.NewServer(w.wechat)
	w.upstream = harness.StartUpstream()
	for range nodes {
		w.nodes = append(w.nodes, new(node))
	}
	return w
}

// newClient returns a client that keeps the connections of many visitors.
func newClient(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64},
		Timeout:   30 * time.Second,
	}
}

// balance connects to the nodes in turns where the site is asked for.
func (w *world) balance(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr == siteHost+":80" {
		addr = w.nodes[int(w.turn.Add(1))%len(w.nodes)].gated
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// start starts Redis and the nodes, waits until all sites answer, and has one
// person sign in, for what happens only once.
func (w *world) start(ctx context.Context, binary string) error {
	account, err := w.wechat.AddAccount(wechattest.Account{
		AppID: appID, Secret: secret, Name: "bench", Token: token, Mode: wechattest.Plain,
		PushURL: "http://" + siteHost + pushPath,
	})
	if err != nil {
		return err
	}
	w.account = account
	w.redis = redistest.Start(w.env) //nolint:contextcheck // it ends with env
	for _, n := range w.nodes {
		if err := harness.FreeAddrs(ctx, &n.plain, &n.gated, &n.control); err != nil {
			return err
		}
		if n.caddy, err = harness.StartCaddy(ctx, binary, w.env.TempDir(), w.caddyfile(n)); err != nil {
			return err
		}
		if err := harness.Reachable(ctx, n.plain, n.gated, n.control); err != nil {
			return err
		}
	}
	for _, n := range w.nodes {
		if _, err := w.site.SignIn(ctx, w.wechat.Phone("carol"), n.gated, n.gated); err != nil {
			return fmt.Errorf("signing the first person in: %w", err)
		}
	}
	return nil
}

func (w *world) caddyfile(n *node) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
	log {
		level ERROR
	}
	wechat {
		official_account %s {
			secret %s
			token %s
		}
		store redis {
			address %s
		}
		users {
			registration open
		}
		limit attempts off
		limit confirms off
		api_url %s
	}
}
(app) {
	bind 127.0.0.1
	reverse_proxy %s
}
http://:%s {
	import app
}
http://:%s {
	import app
}
http://:%s {
	wechat_auth {
		public_url http://%s
	}
	import app
}
`, appID, secret, token, w.redis.Addr(), w.api.URL, strings.TrimPrefix(w.upstream.URL, "http://"), port(n.plain), port(n.control), port(n.gated), siteHost)
}

func port(addr string) string {
	_, port, _ := strings.Cut(addr, ":")
	return port
}

// pushTo has WeChat push to one address, past the load balancer.
func (w *world) pushTo(addr string) error {
	return w.account.Configure(func(a *wechattest.Account) { a.PushURL = "http://" + addr + pushPath })
}

// cpu is the processor time that all nodes have used so far.
func (w *world) cpu() (sum time.Duration, err error) {
	for _, n := range w.nodes {
		used, err := n.caddy.CPU()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// close ends the nodes and everything else.
func (w *world) close() {
	for _, n := range w.nodes {
		n.caddy.Kill()
	}
	harness.Close(w.api)
	harness.Close(w.upstream)
	w.wechat.Close()
	w.site.Client.CloseIdleConnections()
	w.env.end()
}
