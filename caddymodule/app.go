// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package caddymodule makes the gateway a Caddy plugin. It is a thin adapter:
// it reads configuration, puts the gateway's packages together, and decides
// nothing that they could decide.
package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/portal"
	"github.com/caddy-wechat/caddy-wechat/sender"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App holds what all sites of a Caddy share: the WeChat accounts, the store, the
// sessions and the users. Sites use it through the `wechat_auth` handler.
type App struct {
	// The service accounts (服务号) and test accounts (测试号) whose QR codes
	// visitors scan.
	OfficialAccounts []*OfficialAccount `json:"official_accounts,omitempty"`

	// The mini programs (小程序) whose codes visitors scan.
	MiniPrograms []*MiniProgram `json:"mini_programs,omitempty"`

	// The website applications (网站应用) of WeChat's open platform.
	Websites []*Website `json:"websites,omitempty"`

	// Where attempts, sessions, users and keys are kept. Default: `embedded`.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=wechat.stores inline_key=backend"`

	// How long sessions live, and the cookie that names them.
	Session SessionConfig `json:"session,omitzero"`

	// Who may enter.
	Users UsersConfig `json:"users,omitzero"`

	// What one client address, and all together, may do in a span of time.
	Limits LimitsConfig `json:"limits,omitzero"`

	// Where WeChat's server API is. Default: `https://api.weixin.qq.com`.
	APIURL string `json:"api_url,omitempty"`

	// Where WeChat's account pages are. Default: `https://mp.weixin.qq.com`.
	MPURL string `json:"mp_url,omitempty"`

	// Where WeChat's authorization pages are. Default: `https://open.weixin.qq.com`.
	OpenURL string `json:"open_url,omitempty"`

	// Where this block stands in the Caddyfile, such as `Caddyfile:2`, for error
	// messages. Set by the Caddyfile adapter.
	Source string `json:"source,omitempty"`

	log     *zap.Logger
	release []func() // what Cleanup gives back to the pools
	backend *backend
	// storeName is the name of the store's module.
	storeName string
	login     *login.Service
	sessions  *session.Manager
	users     *user.Directory
	people    *people.Service
	senders   map[user.Channel]sender.Sender
	auditor   *auditor
	accounts  map[string]portal.Account
	offers    []portal.Offer // what the accounts allow
	limits    portal.Limits
	budgets   budgets
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "wechat", New: func() caddy.Module { return new(App) }}
}

// Provision checks the configuration and puts the parts together. It touches
// neither the network nor the store: `caddy validate` runs it beside a live server.
func (a *App) Provision(ctx caddy.Context) error {
	a.log = ctx.Logger()
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if err := a.provision(ctx); err != nil {
		return at(a.Source, err)
	}
	return nil
}

func (a *App) provision(ctx caddy.Context) error {
	if err := a.checkURLs(); err != nil {
		return err
	}
	policy, err := a.provisionPeople(ctx)
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	if a.limits, err = a.Limits.limits(); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	if a.budgets, err = a.Limits.budgets(); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	storage, err := a.loadStorage(ctx)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if mod, ok := storage.(caddy.Module); ok {
		a.storeName = mod.CaddyModule().ID.Name()
	}
	if a.backend, err = a.acquireBackend(storage); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	settings, err := a.Session.manager(a.backend.store)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	a.sessions = session.NewManager(a.backend.sessions, settings)
	a.users = user.NewDirectory(a.backend.users, policy, settings.Grace)
	if a.auditor, err = newAuditor(ctx, a.log); err != nil {
		return err
	}
	a.people = &people.Service{Users: a.backend.users, Sessions: a.backend.sessions, Audit: a.auditor.record}
	starters, err := a.provisionAccounts(storage.PoolKey())
	if err != nil {
		return err
	}
	a.login = login.NewService(a.backend.store, starters, nil)
	return nil
}

func (a *App) loadStorage(ctx caddy.Context) (Storage, error) {
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"backend": "embedded"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return nil, err
	}
	storage, ok := mod.(Storage)
	if !ok {
		return nil, fmt.Errorf("module %T is not a store", mod)
	}
	return storage, nil
}

// Start opens the store, so that what is wrong with it refuses the
// configuration instead of the first visitor.
func (a *App) Start() error {
	err := a.backend.open()
	switch {
	case err == nil:
	case !errors.Is(err, store.ErrNotReady):
		return at(a.Source, fmt.Errorf("store: %w", err))
	default:
		// A node that restarts while the store is away must come up with it.
		a.log.Error("the store cannot be reached; nobody can be let in until it is", zap.Error(err))
	}
	for _, account := range a.OfficialAccounts {
		if account.AESKey == "" {
			a.log.Warn("pushes of this account are not encrypted: their signature does not cover their content; set aes_key and choose 安全模式 in WeChat's console, unless it is a test account (测试号)",
				zap.String("account", account.AppID))
		}
	}
	return nil
}

// Stop does nothing: everything ends in Cleanup, when no configuration uses it.
func (*App) Stop() error { return nil }

// Cleanup gives back what Provision took. Requests of this configuration may
// still be running.
func (a *App) Cleanup() error {
	if a.login != nil {
		a.login.Close()
	}
	if a.auditor != nil {
		a.auditor.close()
	}
	for _, release := range a.release {
		release()
	}
	a.release = nil
	return nil
}

// has says whether an account of that app id is configured.
func (a *App) has(appID string) bool {
	return slices.ContainsFunc(a.OfficialAccounts, func(o *OfficialAccount) bool { return o.AppID == appID }) ||
		slices.ContainsFunc(a.MiniPrograms, func(m *MiniProgram) bool { return m.AppID == appID }) ||
		slices.ContainsFunc(a.Websites, func(w *Website) bool { return w.AppID == appID })
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
