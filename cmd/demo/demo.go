// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-wechat/caddy-wechat"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// account is the service account (服务号) of the demo.
const (
	appID       = "wxdemo0123456789ab"
	accountName = "演示服务号 Demo"
)

// stopTimeout bounds how long the servers may take to end.
const stopTimeout = 5 * time.Second

// demo is all that runs.
type demo struct {
	siteURL, phoneURL string

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
	site, err := listen(o.address.String(), o.port)
	if err != nil {
		return nil, err
	}
	defer site.Close()
	phone, err := listen(o.address.String(), next(o.port, 1))
	if err != nil {
		return nil, err
	}
	d.siteURL, d.phoneURL = "http://"+site.Addr().String()+"/", "http://"+phone.Addr().String()+"/phone/"
	d.wechat = wechattest.NewServer(wechattest.Options{QRBase: qrBase(o, phone)})
	d.phone = serve(phone, d.wechat)
	// Whoever reaches the app directly can tell it any name: it is never on the network.
	app, err := listen("127.0.0.1", next(o.port, 2))
	if err != nil {
		return nil, err
	}
	d.app = serve(app, http.HandlerFunc(greet))
	return d, d.startGateway(o, site, phone.Addr().String(), app.Addr().String())
}

// qrBase makes QR codes that a camera on the network can open; on this machine
// alone they are as WeChat makes them.
func qrBase(o options, phone net.Listener) string {
	if o.address.IsLoopback() {
		return ""
	}
	return "http://" + phone.Addr().String()
}

// startGateway registers the account with the simulated WeChat and loads Caddy
// with the configuration that a real site would have. It closes site, which has
// kept the address free: Caddy would share it with another Caddy.
func (d *demo) startGateway(o options, site net.Listener, wechat, app string) error {
	account := wechattest.Account{
		AppID: appID, Name: accountName, Mode: wechattest.Secure,
		Secret: rand.Text(), Token: rand.Text(), AESKey: (rand.Text() + rand.Text())[:43],
		PushURL: d.siteURL + "_wechat/push/" + appID,
	}
	if _, err := d.wechat.AddAccount(account); err != nil {
		return err
	}
	var text strings.Builder
	if err := caddyfile.Execute(&text, map[string]any{
		"Address": o.address, "Site": strings.TrimSuffix(d.siteURL, "/"), "Verbose": o.verbose, "Account": account,
		"Confirm": o.confirm, "WeChat": "http://" + wechat, "State": filepath.Join(d.dir, "state"), "Storage": d.dir, "App": app,
	}); err != nil {
		return err
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text.String()), nil)
	if err != nil {
		return fmt.Errorf("adapting the Caddyfile: %w", err)
	}
	_ = site.Close()
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting Caddy at %s: %w", d.siteURL, err)
	}
	d.caddy = true
	return nil
}

var caddyfile = template.Must(template.New("").Parse(`{
	admin off
	persist_config off
	auto_https off
	default_bind {{.Address}}
	grace_period 1s
	storage file_system {{printf "%q" .Storage}}
	storage_check off
	storage_clean_interval off
	log {
		level {{if .Verbose}}INFO{{else}}ERROR{{end}}
	}
	wechat {
		official_account {{.Account.AppID}} {
			secret {{.Account.Secret}}
			token {{.Account.Token}}
			aes_key {{.Account.AESKey}}
			confirm {{.Confirm}}
		}
		api_url {{.WeChat}}
		store embedded {{printf "%q" .State}}
		users {
			registration open
		}
	}
}

{{.Site}} {
	wechat_auth {
		title "演示站点 Demo"
	}
	reverse_proxy {{.App}}
}
`))

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
