// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal"
)

// LimitsConfig says what one client address may do in a span of time, and what all
// of them together. A client is an IPv4 address or an IPv6 /64.
type LimitsConfig struct {
	// New sign-in attempts; ten times as many for a network, an IPv4 /24 or an
	// IPv6 /48. Default: 30 in a minute.
	Attempts *Limit `json:"attempts,omitempty"`

	// Requests of the page behind the link in the chat. Default: 30 in a minute.
	Confirms *Limit `json:"confirms,omitempty"`

	// Message pushes. Default: none, WeChat delivers all of them from few addresses.
	Pushes *Limit `json:"pushes,omitempty"`

	// Codes sent to e-mail addresses and phone numbers, and as many wrong ones typed, at
	// all sites together; ten times as many for a network. Default: 10 in 10 minutes.
	Codes *Limit `json:"codes,omitempty"`

	// QR codes that WeChat makes for one official account, for all visitors.
	// WeChat's quota is 100,000 in a day, that of a test account 10,000.
	// Default: 90,000 in 24 hours.
	QRCodes *Limit `json:"qr_codes,omitempty"`

	// Codes of one mini program, for all visitors. WeChat's quota is 5,000 in a
	// minute. Default: 4,500 in a minute.
	MiniCodes *Limit `json:"mini_codes,omitempty"`

	// Links to one mini program, for all visitors. WeChat's quota is 500,000 in a
	// day. Default: 450,000 in 24 hours.
	MiniLinks *Limit `json:"mini_links,omitempty"`
}

// Limit is how often something may be done.
type Limit struct {
	// How many times. Zero sets no limit.
	Count int `json:"count"`

	// In what span of time.
	Per caddy.Duration `json:"per,omitempty"`
}

func (c *LimitsConfig) limits() (l portal.Limits, err error) {
	usual := &Limit{Count: 30, Per: caddy.Duration(time.Minute)}
	var codes portal.Rate
	for _, limit := range []struct {
		name string
		set  *Limit
		to   *portal.Rate
	}{
		{"attempts", cmp.Or(c.Attempts, usual), &l.Attempts},
		{"confirms", cmp.Or(c.Confirms, usual), &l.Confirms},
		{"pushes", cmp.Or(c.Pushes, new(Limit)), &l.Pushes},
		{"codes", cmp.Or(c.Codes, &Limit{Count: 10, Per: caddy.Duration(10 * time.Minute)}), &codes},
	} {
		if err := limit.set.check(limit.name); err != nil {
			return l, err
		}
		*limit.to = portal.Rate{Count: limit.set.Count, Per: time.Duration(limit.set.Per)}
	}
	l.Codes = portal.NewCodeLimits(codes) // of all sites together
	return l, nil
}

// check says what is wrong with a limit.
func (l *Limit) check(name string) error {
	if l.Count < 0 || l.Count > 0 && l.Per <= 0 {
		return fmt.Errorf("%s: %d in %v is no rate: write it like 30/1m, or off", name, l.Count, time.Duration(l.Per))
	}
	return nil
}

// budgets are how often WeChat is asked for one account, a tenth below its quotas.
type budgets struct{ qrCodes, miniCodes, miniLinks login.Budget }

func (c *LimitsConfig) budgets() (b budgets, err error) {
	const day = caddy.Duration(24 * time.Hour)
	for _, limit := range []struct {
		name string
		set  *Limit
		to   *login.Budget
	}{
		{"qr_codes", cmp.Or(c.QRCodes, &Limit{Count: 90_000, Per: day}), &b.qrCodes},
		{"mini_codes", cmp.Or(c.MiniCodes, &Limit{Count: 4_500, Per: caddy.Duration(time.Minute)}), &b.miniCodes},
		{"mini_links", cmp.Or(c.MiniLinks, &Limit{Count: 450_000, Per: day}), &b.miniLinks},
	} {
		if err := limit.set.check(limit.name); err != nil {
			return b, err
		}
		*limit.to = login.Budget{Name: limit.name, Count: limit.set.Count, Per: time.Duration(limit.set.Per)}
	}
	return b, nil
}
