// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// clients are WeChat's clients, with the access tokens they hold, across reloads.
var clients = caddy.NewUsagePool()

// clientKey names a client in the pool. The secret is hashed: keys are printed.
type clientKey struct {
	appID, apiURL, store string
	secret               [sha256.Size]byte
}

type pooledClient struct{ *wechat.Client }

// Destruct implements caddy.Destructor.
func (c pooledClient) Destruct() error {
	c.Close()
	return nil
}

// provisionAccounts prepares every account and returns how attempts begin.
func (a *App) provisionAccounts(storeKey string) (map[string]login.Starter, error) {
	if len(a.OfficialAccounts) == 0 {
		return nil, errors.New("no account is configured: add an official_account <app_id> block")
	}
	starters := make(map[string]login.Starter)
	a.accounts = make(map[string]portal.Account)
	if slices.Contains(a.OfficialAccounts, nil) {
		return nil, errors.New("official_accounts has an entry that is null: remove it")
	}
	for _, account := range a.OfficialAccounts {
		starter, err := a.provisionAccount(account, storeKey)
		if err != nil {
			return nil, at(account.Source, fmt.Errorf("official_account %s: %w", account.AppID, err))
		}
		starters[login.StarterKey(login.OfficialQR, account.AppID)] = starter
	}
	return starters, nil
}

func (a *App) provisionAccount(o *OfficialAccount, storeKey string) (login.Starter, error) {
	if _, twice := a.accounts[o.AppID]; twice {
		return nil, errors.New("the account is configured twice")
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := o.resolve(); err != nil {
		return nil, err
	}
	cache := volatile{a.backend.store}
	receiver, err := wechat.NewReceiver(wechat.ReceiverConfig{AppID: o.AppID, Token: o.Token, AESKey: o.AESKey, Cache: cache})
	if err != nil {
		return nil, err
	}
	a.accounts[o.AppID] = portal.Account{Receiver: receiver, Replies: o.Replies}
	key := clientKey{appID: o.AppID, apiURL: a.APIURL, store: storeKey, secret: sha256.Sum256([]byte(o.Secret))}
	client, _, err := clients.LoadOrNew(key, func() (caddy.Destructor, error) {
		c, err := wechat.NewClient(wechat.Config{AppID: o.AppID, Secret: o.Secret, APIURL: a.APIURL, Cache: cache})
		return pooledClient{c}, err
	})
	if err != nil {
		return nil, err
	}
	a.release = append(a.release, func() { _, _ = clients.Delete(key) })
	return &login.Official{Codes: client.(pooledClient).Client, TTL: time.Duration(o.QRTTL), Confirm: o.Confirm}, nil //nolint:forcetypeassert // the pool holds nothing else
}

// volatile keeps what WeChat's protocol shares between nodes in a store, under
// keys that need not survive.
type volatile struct{ store store.Store }

// Get implements wechat.Cache.
func (v volatile) Get(ctx context.Context, key string) ([]byte, bool, error) {
	return v.store.Get(ctx, store.VolatilePrefix+key)
}

// Set implements wechat.Cache.
func (v volatile) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return v.store.Set(ctx, store.VolatilePrefix+key, value, ttl)
}

// Create implements wechat.Cache.
func (v volatile) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	return v.store.Create(ctx, store.VolatilePrefix+key, value, ttl)
}

// Delete implements wechat.Cache.
func (v volatile) Delete(ctx context.Context, key string) (bool, error) {
	return v.store.Delete(ctx, store.VolatilePrefix+key)
}
