// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "caddymodule")
	if err != nil {
		panic(err)
	}
	for name, value := range map[string]string{
		"XDG_DATA_HOME": dir, "XDG_CONFIG_HOME": dir, "HOME": dir,
		"WECHAT_SECRET": "app-secret-never-to-be-logged-01", "WECHAT_TOKEN": "pushtoken1234567",
		"WECHAT_AES_KEY": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
		"SIGNING_KEY":    "signing-key-0123456789abcdef0123456789", "EMPTY": "", "QR_IMAGE": "account-qr.png",
		"REDIS_HOST": "127.0.0.1", "REDIS_ADDRESS": "127.0.0.1:6379", "REDIS_USERNAME": "wechat",
		"REDIS_PASSWORD": "redis-password-never-to-be-logged", "SENTINEL_PASSWORD": "sentinel-password-never-to-be-logged",
		"SMTP_HOST": "smtp.example.com", "SMTP_USERNAME": "robot", "SMTP_PASSWORD": "smtp-password-never-to-be-logged",
		"SMS_KEY":   "sms-key-never-to-be-logged",
		"REDIS_URL": "redis://:redis-password-never-to-be-logged@127.0.0.1:6379/0",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// adapt turns a Caddyfile into Caddy's JSON config.
func adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// parseConfig reads a JSON config, and keeps Caddy silent and to itself.
func parseConfig(t testing.TB, raw []byte) *caddy.Config {
	t.Helper()
	config := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(raw, config); err != nil {
		t.Fatal(err)
	}
	quieten(config)
	return config
}

func quieten(config *caddy.Config) {
	persist := false
	config.Admin = &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &persist}}
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output": "discard"}`)}},
	}}
}

// mustAdapt is adapt for a Caddyfile that has no mistake.
func mustAdapt(t testing.TB, caddyfile string) *caddy.Config {
	t.Helper()
	raw, err := adapt(caddyfile)
	if err != nil {
		t.Fatalf("adapting:\n%s\n%v", caddyfile, err)
	}
	return parseConfig(t, raw)
}

// load makes Caddy, in this process, run a config.
func load(t testing.TB, config *caddy.Config) error {
	t.Helper()
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return caddy.Load(raw, true)
}

// wantPools fails the test unless so many stores and clients are held, by so
// many references each.
func wantPools(t *testing.T, when string, stores, clientCount, references int) {
	t.Helper()
	count := func(pool *caddy.UsagePool) (n int) {
		pool.Range(func(key, _ any) bool {
			n++
			if refs, _ := pool.References(key); refs != references {
				t.Errorf("%s: %d references to a pooled value, want %d", when, refs, references)
			}
			return true
		})
		return n
	}
	if s, c := count(backends), count(clients); s != stores || c != clientCount {
		t.Errorf("%s: %d stores and %d clients are held, want %d and %d", when, s, c, stores, clientCount)
	}
}

// stateOf is a directory for a store, not made yet.
func stateOf(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state")
}

// freeAddr returns a loopback address that nothing listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	lastPort.CompareAndSwap(0, uint32(10_000+os.Getpid()%90*100))
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", lastPort.Add(1))
		if ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr); err == nil {
			_ = ln.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// lastPort is the port that freeAddr gave out last. The range is below that of which the
// system hands out ports by itself, so that nobody else takes one meanwhile.
var lastPort atomic.Uint32
