// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"runtime/debug"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// statusJSON is how the gateway is.
type statusJSON struct {
	Version  string          `json:"version"`
	Caddy    string          `json:"caddy"`
	Store    storeStatus     `json:"store"`
	Accounts []accountStatus `json:"accounts"`
	// Users is how many there are of each status, null while the store cannot say.
	Users map[user.Status]int `json:"users"`
	// Waiting is how many of those who are pending await approval: the configuration
	// may let the others in. It is null as Users is.
	Waiting *int `json:"waiting"`
}

type storeStatus struct {
	Backend string `json:"backend"`
	Status  string `json:"status"` // ok or unavailable
	Error   string `json:"error,omitempty"`
}

type accountStatus struct {
	AppID   string   `json:"app_id"`
	Kind    string   `json:"kind"`
	Methods []string `json:"methods"`
}

// adminStatus answers also while the store is away: that is what it is asked for.
func adminStatus(r adminRequest) (any, error) {
	_, version := caddy.Version()
	status := statusJSON{
		Version: moduleVersion(), Caddy: version, Accounts: r.app.accountStatus(),
		Store: storeStatus{Backend: r.app.storeName, Status: "ok"},
	}
	err := r.app.backend.store.Ping(r.Context())
	if err == nil {
		err = r.app.countUsers(r.Context(), &status)
	}
	if err != nil {
		status.Store.Status, status.Store.Error = "unavailable", err.Error()
	}
	return status, nil
}

func (a *App) countUsers(ctx context.Context, into *statusJSON) error {
	count := make(map[user.Status]int)
	for _, status := range userStatuses {
		page, err := a.people.Users.List(ctx, user.Query{Status: status, Limit: 1})
		if err != nil {
			return err
		}
		count[status] = page.Total
	}
	letIn, err := a.countLetIn(ctx, count[user.Pending])
	if err != nil {
		return err
	}
	waiting := count[user.Pending] - letIn
	into.Users, into.Waiting = count, &waiting
	return nil
}

// countLetIn returns how many of those who are pending await nobody's approval.
func (a *App) countLetIn(ctx context.Context, pending int) (n int, err error) {
	switch policy := a.users.Policy(); {
	case policy.Registration == user.Open:
		return pending, nil
	case len(policy.Allow) == 0: // nobody need be looked at
		return 0, nil
	}
	for query := (user.Query{Status: user.Pending, Limit: user.MaxLimit}); ; {
		page, err := a.people.Users.List(ctx, query)
		if err != nil {
			return 0, err
		}
		for _, u := range page.Users {
			if !a.users.Waits(u) {
				n++
			}
		}
		if query.Cursor = page.Next; query.Cursor == "" {
			return min(n, pending), nil // somebody may have come meanwhile
		}
	}
}

// userStatuses are those of users.
var userStatuses = []user.Status{user.Active, user.Pending, user.Disabled}

// accountStatus returns the accounts with the methods that each allows.
func (a *App) accountStatus() (all []accountStatus) {
	add := func(kind, appID string) {
		one := accountStatus{AppID: appID, Kind: kind, Methods: []string{}}
		for _, offer := range a.offers {
			if offer.AppID == appID {
				one.Methods = append(one.Methods, offer.Method)
			}
		}
		slices.SortFunc(one.Methods, func(x, y string) int { return slices.Index(login.Methods, x) - slices.Index(login.Methods, y) })
		all = append(all, one)
	}
	for _, o := range a.OfficialAccounts {
		add("official_account", o.AppID)
	}
	for _, m := range a.MiniPrograms {
		add("mini_program", m.AppID)
	}
	for _, w := range a.Websites {
		add("website", w.AppID)
	}
	return all
}

// modulePath is that of this module.
const modulePath = "github.com/caddy-wechat/caddy-wechat"

// moduleVersion is the version of this module in the binary.
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == modulePath {
			return m.Version
		}
	}
	return "unknown"
}
