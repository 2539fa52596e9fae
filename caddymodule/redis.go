// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-wechat/caddy-wechat/store/redis"
)

func init() {
	caddy.RegisterModule(new(Redis))
}

// Redis keeps everything in a Redis that several Caddies share: one server, one
// watched by Sentinel, or a Cluster.
type Redis struct {
	// Where it is, as `host:port`: the server, some Sentinels of `master`, or
	// some nodes of the `cluster`.
	Addresses []string `json:"addresses,omitempty"`

	// The ACL user. Default: Redis's own default user.
	Username string `json:"username,omitempty"`
	// The password, as a placeholder like `{env.REDIS_PASSWORD}`.
	Password string `json:"password,omitempty"`

	// The number of the database.
	DB int `json:"db,omitempty"`

	// The name of the master that the Sentinels at `addresses` watch.
	Master string `json:"master,omitempty"`
	// The ACL user of the Sentinels, where they ask for one.
	SentinelUsername string `json:"sentinel_username,omitempty"`
	// The password of the Sentinels, where they ask for one.
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// Whether `addresses` are nodes of a Redis Cluster.
	Cluster bool `json:"cluster,omitempty"`

	// Encrypts the connections.
	TLS *RedisTLS `json:"tls,omitempty"`

	// What every key and channel begins with. Default: `wechat:`.
	KeyPrefix string `json:"key_prefix,omitempty"`

	config redis.Config
}

// RedisTLS says how the connections to Redis are encrypted.
type RedisTLS struct {
	// A PEM file with the authorities to trust instead of the system's.
	CA string `json:"ca,omitempty"`
	// The name in the server's certificate, where it is not the host in its address.
	ServerName string `json:"server_name,omitempty"`
	// PEM files with the certificate and the key to show to Redis.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`

	trusted []byte   // the content of CA
	shown   [][]byte // the certificates in Certificate
}

// CaddyModule returns the Caddy module information.
func (*Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "wechat.stores.redis", New: func() caddy.Module { return new(Redis) }}
}

// Provision resolves the placeholders and reads the certificates.
func (r *Redis) Provision(caddy.Context) error {
	r.config = redis.Config{DB: r.DB, Master: r.Master, Cluster: r.Cluster, KeyPrefix: r.KeyPrefix}
	for _, raw := range r.Addresses {
		address, err := resolveAddress(raw)
		if err != nil {
			return err
		}
		r.config.Addresses = append(r.config.Addresses, address)
	}
	err := resolveAll([]setting{
		{"username", r.Username, &r.config.Username},
		{"password", r.Password, &r.config.Password},
		{"sentinel_username", r.SentinelUsername, &r.config.SentinelUsername},
		{"sentinel_password", r.SentinelPassword, &r.config.SentinelPassword},
	})
	if err != nil {
		return err
	}
	if r.TLS != nil {
		config, err := r.TLS.config()
		if err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		r.config.TLS = config
	}
	return r.config.Check()
}

// resolveAddress resolves the placeholders in a host:port.
func resolveAddress(raw string) (string, error) {
	address, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
	if err != nil {
		return "", fmt.Errorf("address: %w: set that environment variable, or write the address itself, like 10.0.0.5:6379", err)
	}
	if strings.ContainsAny(address, "/@") { // it may hold a password
		return "", errors.New("address is a URL: write only host and port, like 10.0.0.5:6379, and username, password, db and tls on lines of their own")
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", fmt.Errorf("address %q has no host and port: write it like 10.0.0.5:6379", address)
	}
	return address, nil
}

func (t *RedisTLS) config() (*tls.Config, error) {
	config := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		var err error
		if t.trusted, config.RootCAs, err = authorities(t.CA); err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
	}
	if (t.Certificate == "") != (t.Key == "") {
		return nil, errors.New("certificate: a certificate and its key belong together: give both files")
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w: name PEM files of a certificate and its own key, which Caddy may read", err)
		}
		t.shown = pair.Certificate
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// authorities reads the certificates of a PEM file.
func authorities(file string) (pem []byte, pool *x509.CertPool, err error) {
	if pem, err = os.ReadFile(file); err != nil { //nolint:gosec // the operator names it
		return nil, nil, fmt.Errorf("%w: name a PEM file that Caddy may read", err)
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%s has no certificate in PEM form: name a file with -----BEGIN CERTIFICATE-----", file)
	}
	return pem, pool, nil
}

// PoolKey implements Storage. It is made of a hash: it must not show a password,
// and one that has changed makes it another store.
func (r *Redis) PoolKey() string {
	c := r.config
	c.TLS = nil
	parts := []any{c, r.TLS}
	if r.TLS != nil { // files are renewed under the same names
		parts = append(parts, r.TLS.trusted, r.TLS.shown)
	}
	all, _ := json.Marshal(parts) // plain values, which can always be encoded
	sum := sha256.Sum256(all)
	return "redis:" + hex.EncodeToString(sum[:])
}

// NewStore implements Storage.
func (r *Redis) NewStore() (Backend, error) { return redis.New(r.config) }

// UnmarshalCaddyfile reads
//
//	store redis {
//		address    <host:port>...
//		username   <name>
//		password   <secret>
//		db         <number>
//		master     <name>
//		sentinel_username <name>
//		sentinel_password <secret>
//		cluster
//		tls [{ ca <file>; server_name <name>; certificate <file> <key> }]
//		key_prefix <prefix>
//	}
func (r *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	if d.NextArg() {
		return d.Errf("redis takes a block, not %q: write the address inside it, like: address 127.0.0.1:6379", d.Val())
	}
	return parseBlock(d, subdirectives{
		"address":           words(&r.Addresses),
		"username":          text(&r.Username),
		"password":          text(&r.Password),
		"db":                number(&r.DB),
		"master":            text(&r.Master),
		"sentinel_username": text(&r.SentinelUsername),
		"sentinel_password": text(&r.SentinelPassword),
		"cluster":           flag(&r.Cluster),
		"tls":               r.parseTLS,
		"key_prefix":        text(&r.KeyPrefix),
	})
}

func (r *Redis) parseTLS(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("tls takes a block, or nothing, not %q: write ca, server_name and certificate inside it", d.Val())
	}
	r.TLS = new(RedisTLS)
	return parseBlock(d, subdirectives{
		"ca":          text(&r.TLS.CA),
		"server_name": text(&r.TLS.ServerName),
		"certificate": func(d *caddyfile.Dispenser) error {
			if !d.AllArgs(&r.TLS.Certificate, &r.TLS.Key) {
				return d.Err("certificate takes two files: the certificate and its key")
			}
			return nil
		},
	})
}

// number reads a number that is not negative.
func number(to *int) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name, raw := d.Val(), ""
		if err := text(&raw)(d); err != nil {
			return err
		}
		n, err := strconv.Atoi(raw)
		if err != nil || n < 0 {
			return d.Errf("%s %q cannot be used: write a number from 0, like: %s 2", name, raw, name)
		}
		*to = n
		return nil
	}
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Redis)(nil)
	_ caddyfile.Unmarshaler = (*Redis)(nil)
	_ Storage               = (*Redis)(nil)
	_ Backend               = (*redis.Store)(nil)
)
