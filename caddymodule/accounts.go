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

	"github.com/caddy-wechat/caddy-wechat/internal/bucket"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// clients are WeChat's clients, with the access tokens they hold, across reloads.
var clients = caddy.NewUsagePool()

// clientKey names a client in the pool. The secret is hashed: keys are printed.
type clientKey struct {
	appID, apiURL, openURL, store string
	secret                        [sha256.Size]byte
}

type pooledClient struct {
	*wechat.Client
	codes, links bucket.Bucket // what WeChat was asked for
}

// Destruct implements caddy.Destructor.
func (c *pooledClient) Destruct() error {
	c.Close()
	return nil
}

// provisionAccounts prepares every account and returns how attempts begin.
func (a *App) provisionAccounts(storeKey string) (map[string]login.Starter, error) {
	if len(a.OfficialAccounts)+len(a.MiniPrograms)+len(a.Websites) == 0 {
		return nil, errors.New("no account is configured: add an official_account, mini_program or website block")
	}
	if slices.Contains(a.OfficialAccounts, nil) || slices.Contains(a.MiniPrograms, nil) || slices.Contains(a.Websites, nil) {
		return nil, errors.New("a list of accounts has an entry that is null: remove it")
	}
	p := provisioner{app: a, storeKey: storeKey, starters: make(map[string]login.Starter)}
	a.accounts = make(map[string]portal.Account)
	for _, o := range a.OfficialAccounts {
		if err := p.official(o); err != nil {
			return nil, at(o.Source, fmt.Errorf("official_account %s: %w", o.AppID, err))
		}
	}
	for _, m := range a.MiniPrograms {
		if err := p.mini(m); err != nil {
			return nil, at(m.Source, fmt.Errorf("mini_program %s: %w", m.AppID, err))
		}
	}
	for _, w := range a.Websites {
		if err := p.website(w); err != nil {
			return nil, at(w.Source, fmt.Errorf("website %s: %w", w.AppID, err))
		}
	}
	return p.starters, nil
}

// provisioner prepares the accounts of an App.
type provisioner struct {
	app      *App
	storeKey string
	starters map[string]login.Starter
}

// add enters an account and how its attempts begin, by method.
func (p *provisioner) add(appID string, account portal.Account, starters map[string]login.Starter) {
	p.app.accounts[appID] = account
	for _, method := range login.Methods {
		if starter, ok := starters[method]; ok {
			p.starters[login.StarterKey(method, appID)] = starter
			p.app.offers = append(p.app.offers, portal.Offer{Method: method, AppID: appID})
		}
	}
}

func (p *provisioner) official(o *OfficialAccount) error {
	if err := o.check(); err != nil {
		return err
	}
	if err := o.resolve(); err != nil {
		return err
	}
	pooled, err := p.client(o.AppID, o.Secret)
	if err != nil {
		return err
	}
	client := login.WeChat{Client: pooled.Client}
	metered := &login.Metered{Codes: p.app.budgets.qrCodes}
	metered.Codes.Taken = &pooled.codes
	metered.Starter = &login.Official{Codes: client, TTL: time.Duration(o.QRTTL), Confirm: o.Confirm}
	receiver, err := wechat.NewReceiver(wechat.ReceiverConfig{AppID: o.AppID, Token: o.Token, AESKey: o.AESKey, Cache: volatile{p.app.backend.store}})
	if err != nil {
		return err
	}
	account := portal.Account{Receiver: receiver, Replies: o.Replies, ChatCode: o.ChatCode, Unions: &login.Unions{Subscribers: client}}
	if !o.NotifyOff {
		account.Messenger = client
	}
	starters := map[string]login.Starter{login.OfficialQR: metered}
	if o.ChatCode {
		image, err := o.image()
		if err != nil {
			return err
		}
		starters[login.ChatCode] = &login.Chat{Store: p.app.backend.store, Image: image, TTL: time.Duration(o.QRTTL), Confirm: o.Confirm}
	}
	if scope := wechat.Scope(o.WebOAuth); scope != "" && o.WebOAuth != off {
		link := func(callback, state string) string {
			// A callback is made of the site's own origin, a state of letters.
			to, _ := client.AuthorizeURL(wechat.Authorize{Scope: scope, RedirectURI: callback, State: state})
			return to
		}
		account.OAuth, account.Proof = client, link
		starters[login.InWeChat] = &login.Authorizer{URL: link}
	}
	p.add(o.AppID, account, starters)
	return nil
}

func (p *provisioner) mini(m *MiniProgram) error {
	if err := m.check(); err != nil {
		return err
	}
	secret, err := resolveSecret(m.Secret)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	pooled, err := p.client(m.AppID, secret)
	if err != nil {
		return err
	}
	client := login.WeChat{Client: pooled.Client}
	metered := &login.Metered{Codes: p.app.budgets.miniCodes, Links: p.app.budgets.miniLinks}
	metered.Codes.Taken, metered.Links.Taken = &pooled.codes, &pooled.links
	metered.Starter = &login.Mini{
		Codes: client, Page: m.Page, Env: m.EnvVersion, TTL: time.Duration(m.QRTTL), Confirm: m.Confirm, Links: !m.LinksOff,
	}
	p.add(m.AppID, portal.Account{Mini: client}, map[string]login.Starter{login.MiniQR: metered})
	return nil
}

func (p *provisioner) website(w *Website) error {
	secret, err := resolveSecret(w.Secret)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	pooled, err := p.client(w.AppID, secret)
	if err != nil {
		return err
	}
	client := login.WeChat{Client: pooled.Client}
	link := func(embed *wechat.Embed) func(callback, state string) string {
		return func(callback, state string) string {
			to, _ := client.QRConnectURL(wechat.QRConnect{RedirectURI: callback, State: state, Embed: embed})
			return to
		}
	}
	p.add(w.AppID, portal.Account{OAuth: client}, map[string]login.Starter{
		login.WebsiteQR: &login.Authorizer{URL: link(nil), Frame: link(&wechat.Embed{StyleLite: true})},
	})
	return nil
}

// client returns WeChat's client of an account, the same one as before a reload.
func (p *provisioner) client(appID, secret string) (*pooledClient, error) {
	if _, twice := p.app.accounts[appID]; twice {
		return nil, errors.New("the account is configured twice")
	}
	key := clientKey{appID: appID, apiURL: p.app.APIURL, openURL: p.app.OpenURL, store: p.storeKey, secret: sha256.Sum256([]byte(secret))}
	client, _, err := clients.LoadOrNew(key, func() (caddy.Destructor, error) {
		c, err := wechat.NewClient(wechat.Config{
			AppID: appID, Secret: secret, APIURL: p.app.APIURL, OpenURL: p.app.OpenURL, Cache: volatile{p.app.backend.store},
		})
		return &pooledClient{Client: c}, err
	})
	if err != nil {
		return nil, err
	}
	p.app.release = append(p.app.release, func() { _, _ = clients.Delete(key) })
	return client.(*pooledClient), nil //nolint:forcetypeassert // the pool holds nothing else
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
