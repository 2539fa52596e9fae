// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal"
)

// What WeChat is asked for by default stays below its quotas: 100,000 QR codes a day,
// 5,000 codes of a mini program a minute, 500,000 links a day.
func TestBudgets(t *testing.T) {
	day := caddy.Duration(24 * time.Hour)
	for _, tt := range []struct {
		name   string
		config LimitsConfig
		want   [3]portal.Rate
		err    string
	}{
		{"default", LimitsConfig{}, [3]portal.Rate{{Count: 90_000, Per: 24 * time.Hour}, {Count: 4_500, Per: time.Minute}, {Count: 450_000, Per: 24 * time.Hour}}, ""},
		{
			"a test account, and no limit",
			LimitsConfig{QRCodes: &Limit{Count: 9000, Per: day}, MiniLinks: new(Limit)},
			[3]portal.Rate{{Count: 9000, Per: 24 * time.Hour}, {Count: 4_500, Per: time.Minute}, {}},
			"",
		},
		{"negative", LimitsConfig{QRCodes: &Limit{Count: -1, Per: day}}, [3]portal.Rate{}, "qr_codes"},
		{"no span", LimitsConfig{MiniCodes: &Limit{Count: 1}}, [3]portal.Rate{}, "mini_codes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := tt.config.budgets()
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Fatalf("error %v, want one of %s", err, tt.err)
				}
				return
			}
			got := [3]portal.Rate{}
			for i, budget := range []login.Budget{b.qrCodes, b.miniCodes, b.miniLinks} {
				got[i] = portal.Rate{Count: budget.Count, Per: budget.Per}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// anyone is an account by which people could sign in.
type anyone struct{}

func (anyone) Exchange(context.Context, string) (login.Person, error) { return login.Person{}, nil }
func (anyone) Session(context.Context, string) (login.Person, error)  { return login.Person{}, nil }
func (anyone) PhoneNumber(context.Context, string) (string, error)    { return "", nil }
func (anyone) proof(string, string) string                            { return "" }

// A site that names its accounts signs nobody in by another one; whoever opens a link
// of such an account is asked for a proof all the same.
func TestHandler_Accounts(t *testing.T) {
	all := portal.Account{ChatCode: true, Mini: anyone{}, OAuth: anyone{}, Proof: anyone{}.proof}
	app := &App{accounts: map[string]portal.Account{"wx1": all, "wx2": all}}
	for _, tt := range []struct {
		name  string
		named []string
		open  map[string]bool
	}{
		{"none named", nil, map[string]bool{"wx1": true, "wx2": true}},
		{"one named", []string{"wx2"}, map[string]bool{"wx1": false, "wx2": true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := (&Handler{Accounts: tt.named}).accounts(app)
			for id, open := range tt.open {
				a := got[id]
				if (a.Mini != nil) != open || (a.OAuth != nil) != open || !a.ChatCode || a.Proof == nil {
					t.Errorf("%s: %+v, open %v", id, a, open)
				}
			}
		})
	}
	if app.accounts["wx1"].Mini == nil {
		t.Error("one site changes the accounts of all")
	}
}
