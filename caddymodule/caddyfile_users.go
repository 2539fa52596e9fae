// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-wechat/caddy-wechat/user"
)

// parse reads
//
//	users {
//		registration open|approval|closed
//		allow    openid|unionid|phone|email <value...>
//		role     <name> openid|unionid|phone|email <value...>
//		bind     email|phone [{ sender <type> ... }]
//		ask_name
//		unfollow keep|revoke|delete
//	}
func (c *UsersConfig) parse(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return parseBlock(d, subdirectives{
		"registration": oneWord(&c.Registration, user.Open, user.Approval, user.Closed),
		"allow":        c.parseAllow,
		"role":         c.parseRole,
		"bind":         c.parseBind,
		"ask_name":     flag(&c.AskName),
		"unfollow":     oneWord(&c.Unfollow, unfollows...),
	}, "allow", "role", "bind")
}

func (c *UsersConfig) parseAllow(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("allow takes openid, unionid, phone or email, and at least one value")
	}
	for _, value := range args[1:] {
		rule := user.Rule{Field: user.Field(args[0]), Value: value}
		if err := rule.Validate(); err != nil {
			return d.Errf("allow %v", err)
		}
		c.Allow = append(c.Allow, rule)
	}
	return nil
}

func (c *UsersConfig) parseRole(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 3 {
		return d.Err("role takes its name, then openid, unionid, phone or email, and at least one value, like: role staff email ann@example.com")
	}
	for _, value := range args[2:] {
		rule := user.RoleRule{Role: args[0], Rule: user.Rule{Field: user.Field(args[1]), Value: value}}
		if err := rule.Validate(); err != nil {
			return d.Errf("role %v", err)
		}
		c.Roles = append(c.Roles, rule)
	}
	return nil
}

func (c *UsersConfig) parseBind(d *caddyfile.Dispenser) error {
	b := &BindConfig{Source: source(d)}
	if err := oneWord(&b.Channel, user.ByEmail, user.ByPhone)(d); err != nil {
		return err
	}
	if slices.ContainsFunc(c.Bind, func(other *BindConfig) bool { return other.Channel == b.Channel }) {
		return d.Errf("bind %s stands twice: keep one", b.Channel)
	}
	c.Bind = append(c.Bind, b)
	return parseBlock(d, subdirectives{"sender": b.parseSender})
}

func (b *BindConfig) parseSender(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("sender takes its type and a block, like: sender smtp { … }")
	}
	name := d.Val()
	if _, err := caddy.GetModule(sendersNamespace + name); err != nil {
		return d.Errf("sender %q is unknown: this Caddy has %s", name, strings.Join(senderNames(), ", "))
	}
	module, err := caddyfile.UnmarshalModule(d, sendersNamespace+name)
	if err != nil {
		return err
	}
	b.SenderRaw = caddyconfig.JSONModuleObject(module, "type", name, nil)
	return nil
}

// senderNames are the senders that are built in.
func senderNames() (names []string) {
	for _, module := range caddy.GetModules(strings.TrimSuffix(sendersNamespace, ".")) {
		names = append(names, module.ID.Name())
	}
	return names
}
