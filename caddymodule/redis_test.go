// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A reload that changes nothing about the store goes on with it; one that changes
// anything, be it only a password, gets another. Caddy prints pool keys in its
// errors, so no password is in them.
func TestRedis_PoolKey(t *testing.T) {
	base := func() *Redis {
		return &Redis{
			Addresses: []string{"a:1"}, Master: "m", Username: "u", Password: "{env.REDIS_PASSWORD}",
			SentinelUsername: "su", SentinelPassword: "{env.SENTINEL_PASSWORD}", TLS: new(RedisTLS),
		}
	}
	key := func(r *Redis) string {
		t.Helper()
		if err := r.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return r.PoolKey()
	}
	same := key(base())
	if again := key(base()); again != same {
		t.Errorf("the same config has the keys %s and %s", same, again)
	}
	seen := map[string]string{same: "base"}
	for name, change := range map[string]func(*Redis){
		"another address":                 func(r *Redis) { r.Addresses = []string{"a:2"} },
		"one more address":                func(r *Redis) { r.Addresses = []string{"a:1", "a:2"} },
		"another user":                    func(r *Redis) { r.Username = "v" },
		"another password":                func(r *Redis) { r.Password = "other-password-never-to-be-logged" },
		"no password":                     func(r *Redis) { r.Username, r.Password = "", "" },
		"another db":                      func(r *Redis) { r.DB = 1 },
		"another master":                  func(r *Redis) { r.Master = "n" },
		"another user of the Sentinels":   func(r *Redis) { r.SentinelUsername = "sv" },
		"another password for Sentinels":  func(r *Redis) { r.SentinelPassword = "other-password-never-to-be-logged" },
		"the passwords change places":     func(r *Redis) { r.Password, r.SentinelPassword = r.SentinelPassword, r.Password },
		"a renewed authority":             func(r *Redis) { r.TLS.trusted = []byte("renewed") },
		"a renewed certificate":           func(r *Redis) { r.TLS.shown = [][]byte{[]byte("renewed")} },
		"no TLS":                          func(r *Redis) { r.TLS = nil },
		"another name in the certificate": func(r *Redis) { r.TLS.ServerName = "redis.example.com" },
		"another key prefix":              func(r *Redis) { r.KeyPrefix = "shop:" },
		"a Cluster":                       func(r *Redis) { r.Cluster, r.Master, r.SentinelUsername, r.SentinelPassword = true, "", "", "" },
	} {
		r := base()
		change(r)
		got := key(r)
		if other, taken := seen[got]; taken {
			t.Errorf("%s: the key is that of %s", name, other)
		}
		seen[got] = name
		for _, secret := range []string{r.config.Password, r.config.SentinelPassword} {
			if secret != "" && strings.Contains(got, secret) {
				t.Errorf("%s: the key shows a password: %s", name, got)
			}
		}
	}
	// A password that has changed behind its placeholder is another password.
	t.Setenv("REDIS_PASSWORD", "changed-password-never-to-be-logged")
	if got := key(base()); seen[got] != "" {
		t.Errorf("a password that has changed in the environment: the key is that of %s", seen[got])
	}
}
