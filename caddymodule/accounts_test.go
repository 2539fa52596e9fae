// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal"
)

// TestOffersInOrder: however often a configuration is loaded, what it offers stands
// in the same order: that of the accounts, and for each that of login.Methods.
func TestOffersInOrder(t *testing.T) {
	var want []portal.Offer
	starters := make(map[string]login.Starter)
	for _, method := range login.Methods {
		starters[method] = &login.Chat{}
		want = append(want, portal.Offer{Method: method, AppID: "wxfirst"})
	}
	want = append(want, portal.Offer{Method: login.ChatCode, AppID: "wxsecond"})
	for range 50 {
		p := provisioner{app: &App{accounts: make(map[string]portal.Account)}, starters: make(map[string]login.Starter)}
		p.add("wxfirst", portal.Account{}, starters)
		p.add("wxsecond", portal.Account{}, map[string]login.Starter{login.ChatCode: &login.Chat{}})
		if diff := cmp.Diff(want, p.app.offers); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if len(p.starters) != len(want) || len(p.app.accounts) != 2 {
			t.Fatalf("%d starters, %d accounts", len(p.starters), len(p.app.accounts))
		}
	}
}
