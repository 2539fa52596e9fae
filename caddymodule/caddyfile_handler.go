// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal"
)

func init() {
	httpcaddyfile.RegisterDirective("wechat_auth", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("wechat_auth", httpcaddyfile.After, "basic_auth")
}

// parseHandler reads the directive. The matcher is the handler's own rather than
// its route's: what clients may not send is taken out of every request.
func parseHandler(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if matcher != nil {
		handler.MatcherSetsRaw = []caddy.ModuleMap{matcher}
	}
	return h.NewRoute(nil, handler), nil
}

// UnmarshalCaddyfile reads
//
//	wechat_auth [<matcher>] {
//		title      <text>
//		prefix     <path>
//		public_url <origin>
//		methods    <method...>
//		accounts   <app_id...>
//		optional
//		require    role <name...>
//		admin      role <name...>
//		headers    off | { <Header-Name> <field> ... }
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	h.Source = source(d)
	if d.NextArg() {
		return d.ArgErr()
	}
	return parseBlock(d, subdirectives{
		"title":      text(&h.Title),
		"prefix":     text(&h.Prefix),
		"public_url": text(&h.PublicURL),
		"methods":    h.parseMethods,
		"accounts":   words(&h.Accounts),
		"optional":   flag(&h.Optional),
		"require":    roles(&h.RequireRoles),
		"admin":      roles(&h.AdminRoles),
		"headers":    h.parseHeaders,
	})
}

func (h *Handler) parseMethods(d *caddyfile.Dispenser) error {
	if err := words(&h.Methods)(d); err != nil {
		return err
	}
	for _, method := range h.Methods {
		if !slices.Contains(login.Methods, method) {
			return d.Errf("method %q is unknown: use %s", method, strings.Join(login.Methods, ", "))
		}
	}
	return nil
}

// roles reads the word role and at least one name.
func roles(to *[]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args := d.RemainingArgs()
		if len(args) < 2 || args[0] != "role" {
			return d.Errf("%s takes the word role and at least one name, like: %s role staff", name, name)
		}
		*to = args[1:]
		if err := checkRoles(*to); err != nil {
			return d.Errf("%s: %v", name, err)
		}
		return nil
	}
}

func (h *Handler) parseHeaders(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		if d.Val() != "off" || d.NextArg() {
			return d.Err("headers takes off, or a block with a header and a field on each line")
		}
		h.HeadersOff = true
		return nil
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		header := portal.Header{Name: d.Val()}
		if err := text(&header.Field)(d); err != nil {
			return err
		}
		if err := checkHeader(header); err != nil {
			return d.WrapErr(err)
		}
		h.Headers = append(h.Headers, header)
	}
	if len(h.Headers) == 0 {
		return d.Err("headers has no lines: write a header and a field on each, or headers off")
	}
	return nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Handler)(nil)
