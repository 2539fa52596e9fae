// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddy-wechat/caddy-wechat/bench/internal/harness"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	appID  = "wx0123456789abcdef"
	secret = "bench-app-secret"
	token  = "benchtoken"
)

// world is a Caddy with three sites before one upstream, and a simulated WeChat.
type world struct {
	plain, gated, control string // addresses of the sites
	site                  harness.Site
	dir                   string
	caddy                 *harness.Caddy
	wechat                *wechattest.Server
	api, upstream         *httptest.Server
}

func newWorld(ctx context.Context, binary string) (*world, error) {
	dir, err := os.MkdirTemp("", "caddy-wechat-bench")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, wechat: wechattest.NewServer(wechattest.Options{PushSpacing: -1})}
	w.api = httptest.NewServer(w.wechat)
	w.upstream = harness.StartUpstream()
	if err := w.start(ctx, binary); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// start starts Caddy and waits until all sites answer.
func (w *world) start(ctx context.Context, binary string) error {
	if err := harness.FreeAddrs(ctx, &w.plain, &w.gated, &w.control); err != nil {
		return err
	}
	w.site = harness.Site{Host: w.gated, Client: http.DefaultClient}
	if _, err := w.wechat.AddAccount(wechattest.Account{
		AppID: appID, Secret: secret, Name: "bench", Token: token, Mode: wechattest.Plain,
		PushURL: "http://" + w.gated + "/_wechat/push/" + appID,
	}); err != nil {
		return err
	}
	caddy, err := harness.StartCaddy(ctx, binary, w.dir, w.caddyfile())
	if err != nil {
		return err
	}
	w.caddy = caddy
	return harness.Reachable(ctx, w.plain, w.gated, w.control)
}

func (w *world) caddyfile() string {
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
		store embedded %s
		users {
			registration open
		}
		limit attempts off
		limit confirms off
		api_url %s
	}
}
(app) {
	reverse_proxy %s
}
http://%s {
	import app
}
http://%s {
	import app
}
http://%s {
	wechat_auth
	import app
}
`, appID, secret, token, filepath.Join(w.dir, "state"), w.api.URL, strings.TrimPrefix(w.upstream.URL, "http://"), w.plain, w.control, w.gated)
}

// close ends Caddy and everything else.
func (w *world) close() {
	w.caddy.Kill()
	harness.Close(w.api)
	harness.Close(w.upstream)
	w.wechat.Close()
	_ = os.RemoveAll(w.dir)
}
