// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// stopTimeout bounds how long the servers may take to end.
const stopTimeout = 5 * time.Second

// demo is all that runs.
type demo struct {
	siteURL, phoneURL string
	inWeChatURL       string // the site as the phone opens it in WeChat

	dir    string // holds the gateway's state
	wechat *wechattest.Server
	phone  *http.Server // serves wechat
	app    *http.Server
	caddy  bool // runs
}

// start starts everything. It leaves nothing behind if it fails.
func start(o options) (_ *demo, err error) {
	d := &demo{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	if d.dir, err = os.MkdirTemp("", "caddy-wechat-demo-"); err != nil {
		return nil, fmt.Errorf("making a directory for the gateway's state: %w", err)
	}
	l, err := listenAll(o)
	if err != nil {
		return nil, err
	}
	d.siteURL, d.phoneURL = "http://"+l.site.Addr().String()+"/", "http://"+l.phone.Addr().String()+"/phone/"
	d.inWeChatURL = webviewURL(o, l.site)
	d.wechat = wechattest.NewServer(d.options(o))
	d.phone, d.app = serve(l.phone, d.wechat), serve(l.app, http.HandlerFunc(greet))
	_ = l.site.Close() // Caddy would share it with another Caddy
	return d, d.startGateway(o, l.phone.Addr().String(), l.app.Addr().String())
}

// webviewURL is where the phone opens the site in WeChat. On this machine that is
// another host than the site's, so that a browser keeps its cookies apart.
func webviewURL(o options, ln net.Listener) string {
	if o.address.IsLoopback() {
		return "http://localhost:" + strconv.Itoa(ln.Addr().(*net.TCPAddr).Port) + "/" //nolint:forcetypeassert // listen listens on TCP
	}
	return "http://" + ln.Addr().String() + "/"
}

// options makes a WeChat whose phone is a tab of a browser. A camera on the network
// can open its QR codes; on this machine alone they are as WeChat makes them.
func (d *demo) options(o options) wechattest.Options {
	w := wechattest.Options{AnyBrowser: true, Webviews: map[string]string{origin(d.siteURL): origin(d.inWeChatURL)}}
	if o.address.IsLoopback() {
		w.Sites = []string{d.siteURL}
	} else {
		w.QRBase = origin(d.phoneURL)
	}
	return w
}

// origin and hostname are parts of an address of the demo's own.
func origin(address string) string {
	scheme, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

func hostname(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// stop ends all that runs and removes the gateway's state.
func (d *demo) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	if d.caddy {
		errs = append(errs, caddy.Stop())
	}
	if d.wechat != nil {
		d.wechat.Close()
	}
	for _, server := range []*http.Server{d.phone, d.app} {
		if server != nil {
			errs = append(errs, server.Shutdown(ctx))
		}
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir)) //nolint:gosec // start has made it
	}
	return errors.Join(errs...)
}
