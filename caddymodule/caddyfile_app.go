// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-wechat/caddy-wechat/login"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("wechat", parseApp)
}

// parseApp reads the global option.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // to where it stands
		return nil, d.Err("the wechat block stands twice in the global options: join them into one")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "wechat", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads
//
//	wechat {
//		official_account <app_id> { ... }
//		mini_program     <app_id> { ... }
//		website          <app_id> { ... }
//		store   <backend> ...
//		session { ... }
//		users   { ... }
//		limit   attempts|confirms|pushes|codes|qr_codes|mini_codes|mini_links <count>/<duration>|off
//		api_url  <url>
//		mp_url   <url>
//		open_url <url>
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	a.Source = source(d)
	if d.NextArg() {
		return d.ArgErr()
	}
	return parseBlock(d, subdirectives{
		"official_account": a.parseOfficialAccount,
		"mini_program":     a.parseMiniProgram,
		"website":          a.parseWebsite,
		"store":            a.parseStore,
		"session":          a.Session.parse,
		"users":            a.Users.parse,
		"limit":            a.Limits.parse,
		"api_url":          text(&a.APIURL),
		"mp_url":           text(&a.MPURL),
		"open_url":         text(&a.OpenURL),
	}, "official_account", "mini_program", "website", "limit")
}

func (a *App) parseOfficialAccount(d *caddyfile.Dispenser) error {
	o := &OfficialAccount{Source: source(d)}
	if err := text(&o.AppID)(d); err != nil {
		return err
	}
	if a.has(o.AppID) {
		return d.Errf("account %s stands twice: join the blocks into one", o.AppID)
	}
	a.OfficialAccounts = append(a.OfficialAccounts, o)
	notify := true
	err := parseBlock(d, subdirectives{
		"secret":    text(&o.Secret),
		"token":     text(&o.Token),
		"aes_key":   text(&o.AESKey),
		"qr_ttl":    span(&o.QRTTL),
		"confirm":   oneWord(&o.Confirm, login.ConfirmNumber, login.ConfirmTap, login.ConfirmOff),
		"web_oauth": oneWord(&o.WebOAuth, webOAuths...),
		"chat_code": onOff(&o.ChatCode),
		"qr_image":  text(&o.QRImage),
		"notify":    onOff(&notify),
		"replies":   func(d *caddyfile.Dispenser) error { return parseReplies(d, &o.Replies) },
	})
	o.NotifyOff = !notify
	return err
}

func (a *App) parseMiniProgram(d *caddyfile.Dispenser) error {
	m := &MiniProgram{Source: source(d)}
	if err := text(&m.AppID)(d); err != nil {
		return err
	}
	if a.has(m.AppID) {
		return d.Errf("account %s stands twice: join the blocks into one", m.AppID)
	}
	a.MiniPrograms = append(a.MiniPrograms, m)
	links := true
	err := parseBlock(d, subdirectives{
		"secret":      text(&m.Secret),
		"page":        text(&m.Page),
		"env_version": oneWord(&m.EnvVersion, envVersions...),
		"qr_ttl":      span(&m.QRTTL),
		"confirm":     oneWord(&m.Confirm, login.ConfirmNumber, login.ConfirmTap),
		"links":       onOff(&links),
	})
	m.LinksOff = !links
	return err
}

func (a *App) parseWebsite(d *caddyfile.Dispenser) error {
	w := &Website{Source: source(d)}
	if err := text(&w.AppID)(d); err != nil {
		return err
	}
	if a.has(w.AppID) {
		return d.Errf("account %s stands twice: join the blocks into one", w.AppID)
	}
	a.Websites = append(a.Websites, w)
	return parseBlock(d, subdirectives{"secret": text(&w.Secret)})
}

func parseReplies(d *caddyfile.Dispenser, r *login.Replies) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return parseBlock(d, subdirectives{
		"confirm":      text(&r.Confirm),
		"signed_in":    text(&r.SignedIn),
		"new_sign_in":  text(&r.NewSignIn),
		"declined":     text(&r.Declined),
		"expired":      text(&r.Expired),
		"code_expired": text(&r.CodeExpired),
		"taken":        text(&r.Taken),
		"code_taken":   text(&r.CodeTaken),
		"too_many":     text(&r.TooMany),
		"welcome":      text(&r.Welcome),
		"busy":         text(&r.Busy),
	})
}

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "wechat.stores."+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(module, "backend", name, nil)
	return nil
}

func (c *SessionConfig) parse(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return parseBlock(d, subdirectives{
		"ttl":         span(&c.TTL),
		"idle":        span(&c.Idle),
		"grace":       span(&c.Grace),
		"cookie":      text(&c.Cookie),
		"domain":      text(&c.Domain),
		"signing_key": words(&c.SigningKeys),
	})
}

func (c *LimitsConfig) parse(d *caddyfile.Dispenser) error {
	var what, raw string
	if !d.AllArgs(&what, &raw) {
		return d.Err("limit takes what to limit and a rate, like: limit attempts 30/1m")
	}
	limit, err := parseLimit(d, raw)
	if err != nil {
		return err
	}
	targets := map[string]**Limit{
		"attempts": &c.Attempts, "confirms": &c.Confirms, "pushes": &c.Pushes, "codes": &c.Codes,
		"qr_codes": &c.QRCodes, "mini_codes": &c.MiniCodes, "mini_links": &c.MiniLinks,
	}
	to := targets[what]
	if to == nil {
		return d.Errf("limit %q is unknown: use attempts, confirms, pushes, codes, qr_codes, mini_codes or mini_links", what)
	}
	if *to != nil {
		return d.Errf("limit %s stands twice: keep one", what)
	}
	*to = limit
	return nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*App)(nil)
