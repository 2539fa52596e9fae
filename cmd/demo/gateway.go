// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-wechat/caddy-wechat"
	"github.com/caddy-wechat/caddy-wechat/login"
)

// webviewAgent is the user agent of WeChat's browser on a phone.
const webviewAgent = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UQ1A.240105.004; wv) AppleWebKit/537.36 " +
	"(KHTML, like Gecko) Version/4.0 Chrome/126.0.6478.188 Mobile Safari/537.36 XWEB/1260117 " +
	"MicroMessenger/8.0.50.2701(0x28003236) Weixin NetType/WIFI Language/zh_CN ABI/arm64"

// startGateway loads Caddy with the configuration that a real site would have.
func (d *demo) startGateway(o options, wechat, app string) error {
	accounts, err := d.register(filepath.Join(d.dir, "account.png"))
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := caddyfile.Execute(&text, map[string]any{
		"Address": o.address, "Verbose": o.verbose, "Title": siteTitle, "App": app, "Agent": webviewAgent,
		"Site": origin(d.siteURL), "InWeChat": origin(d.inWeChatURL), "WeChat": "http://" + wechat,
		"State": filepath.Join(d.dir, "state"), "Storage": d.dir, "Here": o.address.IsLoopback(),
		"Accounts": accounts, "Confirm": o.confirm, "ConfirmMini": confirmMini(o.confirm), "ChatCode": hasChatCode(o),
		"Team": o.team, "Admin": d.wechat.Phone(adminName).UnionID(appID),
	}); err != nil {
		return err
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text.String()), nil)
	if err != nil {
		return fmt.Errorf("adapting the Caddyfile: %w", err)
	}
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting Caddy at %s: %w", d.siteURL, err)
	}
	d.caddy = true
	return nil
}

// confirmMini is what the mini program asks: it never signs in by the scan alone.
func confirmMini(c login.Confirm) login.Confirm {
	if c == login.ConfirmOff {
		return login.ConfirmTap
	}
	return c
}

// hasChatCode says whether the site offers a code in the chat, which nobody may be
// signed in by alone.
func hasChatCode(o options) bool { return o.confirm != login.ConfirmOff }

// A tab of an ordinary browser cannot change its user agent, so what the phone opens
// "in WeChat" gets the user agent of WeChat's browser before the gateway sees it: on
// this machine all that comes to the site's second name, which has cookies of its own.
// On the network the site has one name, and only the link in the chat is opened so.
//
// The login page leads to WeChat's pages over TLS only, or on this very machine. A
// simulated WeChat on the network has no TLS, so there what leads to it is left out.
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
		{{- with .Accounts.Official}}
		official_account {{.AppID}} {
			secret {{.Secret}}
			token {{.Token}}
			aes_key {{.AESKey}}
			confirm {{$.Confirm}}
			web_oauth snsapi_userinfo
			{{- if $.ChatCode}}
			chat_code on
			qr_image {{printf "%q" $.Accounts.QRImage}}
			{{- end}}
		}
		{{- end}}
		{{- with .Accounts.Mini}}
		mini_program {{.AppID}} {
			secret {{.Secret}}
			confirm {{$.ConfirmMini}}
			links {{if $.Here}}on{{else}}off{{end}}
		}
		{{- end}}
		{{- with .Accounts.Website}}
		website {{.AppID}} {
			secret {{.Secret}}
		}
		{{- end}}
		api_url {{.WeChat}}
		open_url {{.WeChat}}
		store embedded {{printf "%q" .State}}
		users {
			{{- if .Team}}
			registration approval
			allow unionid {{.Admin}}
			role admin unionid {{.Admin}}
			ask_name
			{{- else}}
			registration open
			{{- end}}
		}
	}
}

{{.Site}}{{if .Here}}, {{.InWeChat}}{{end}} {
	@inwechat {{if .Here}}host localhost{{else}}path /_wechat/confirm/* /_wechat/oauth/*{{end}}
	route {
		request_header @inwechat User-Agent {{printf "%q" .Agent}}
		wechat_auth {
			title {{printf "%q" .Title}}
			{{- if .Team}}
			admin role admin
			{{- end}}
			methods official_qr mini_qr{{if .Here}} website_qr in_wechat{{end}}{{if .ChatCode}} chat_code{{end}}
		}
		reverse_proxy {{.App}}
	}
}
`))
