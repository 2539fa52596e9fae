// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"io"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/user"
)

func init() {
	caddy.RegisterModule(new(Embedded))
}

// Storage is what a module of the namespace `wechat.stores` provides.
type Storage interface {
	// PoolKey names the store: configurations with the same key share one.
	PoolKey() string
	// NewStore returns the store without touching disk or network.
	NewStore() (Backend, error)
}

// Backend is a store that is opened before it is used and closed after.
type Backend interface {
	store.Store
	io.Closer
	// Open makes the store ready, or says what keeps it from being. An error
	// that wraps store.ErrNotReady says that waiting will do.
	Open() error
}

// Embedded keeps everything in one file on this machine.
type Embedded struct {
	// The directory of the file, which is made if it does not exist.
	// Default: `wechat` in Caddy's data directory.
	Directory string `json:"directory,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Embedded) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "wechat.stores.embedded", New: func() caddy.Module { return new(Embedded) }}
}

// Provision applies the default.
func (e *Embedded) Provision(caddy.Context) error {
	if e.Directory == "" {
		e.Directory = filepath.Join(caddy.AppDataDir(), "wechat")
	}
	dir, err := caddy.NewReplacer().ReplaceOrErr(e.Directory, true, true)
	if err != nil {
		return err
	}
	e.Directory, err = filepath.Abs(dir)
	return err
}

// PoolKey implements Storage.
func (e *Embedded) PoolKey() string { return "embedded:" + e.Directory }

// NewStore implements Storage.
func (e *Embedded) NewStore() (Backend, error) {
	return embedded.New(embedded.Config{Dir: e.Directory}), nil
}

// UnmarshalCaddyfile reads
//
//	store embedded [<directory>]
func (e *Embedded) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	if d.NextArg() {
		e.Directory = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return parseBlock(d, nil)
}

// backends are the stores, and what is held in memory of them, across reloads.
var backends = caddy.NewUsagePool()

// backend is one store and what is known of the records in it.
type backend struct {
	store    Backend
	sessions *session.Records
	users    *user.Records
}

func (b *backend) open() error { return b.store.Open() }

// Destruct implements caddy.Destructor.
func (b *backend) Destruct() error {
	b.sessions.Close()
	b.users.Close()
	return b.store.Close()
}

// acquireBackend returns the store, the same one as before a reload.
func (a *App) acquireBackend(storage Storage) (*backend, error) {
	key := storage.PoolKey()
	b, _, err := backends.LoadOrNew(key, func() (caddy.Destructor, error) {
		s, err := storage.NewStore()
		if err != nil {
			return nil, err
		}
		b := &backend{store: s, sessions: session.NewRecords(s, nil), users: user.NewRecords(s, nil)}
		b.users.OnAccess(b.sessions)
		return b, nil
	})
	if err != nil {
		return nil, err
	}
	a.release = append(a.release, func() { _, _ = backends.Delete(key) })
	return b.(*backend), nil //nolint:forcetypeassert // the pool holds nothing else
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Embedded)(nil)
	_ caddyfile.Unmarshaler = (*Embedded)(nil)
	_ Storage               = (*Embedded)(nil)
	_ Backend               = (*embedded.Store)(nil)
	_ caddy.Destructor      = (*backend)(nil)
)
