// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package caddymodule

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
)

// redisAt is a store in the Redis at an address.
func redisAt(address string, more ...string) string {
	return "redis {\naddress " + address + "\n" + strings.Join(more, "\n") + "\n}"
}

// eventually looks again and again until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-tick.C
	}
}

// health is what healthz answers.
func health(t *testing.T, g gateway) int {
	t.Helper()
	status, _ := get(t, "http://"+g.addr+"/_wechat/healthz")
	return status
}

// connections returns the ids of the connections of a type to a server that were
// not made for this question.
func connections(t *testing.T, s *redistest.Server, kind string) (ids []string) {
	t.Helper()
	for line := range strings.SplitSeq(s.Do(t, "CLIENT", "LIST", "TYPE", kind), "\n") {
		if id, _, ok := strings.Cut(line, " "); ok && !strings.Contains(line, "cmd=client") {
			ids = append(ids, id)
		}
	}
	return ids
}

// listening waits until exactly one connection hears notices, and returns its id.
func listening(t *testing.T, s *redistest.Server) (id string) {
	t.Helper()
	eventually(t, "one connection that listens", func() bool {
		ids := connections(t, s, "pubsub")
		if len(ids) != 1 || !strings.Contains(s.Do(t, "PUBSUB", "CHANNELS"), "{notices}") {
			return false
		}
		id = ids[0]
		return true
	})
	return id
}

// trap is an address at which nobody may connect.
func trap(t *testing.T) (address string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			t.Error("Redis is connected to")
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		accepting.Wait()
	})
	return ln.Addr().String()
}

// `caddy validate` provisions every kind of Redis, and connects to none: it works
// where Redis cannot be reached, and beside a server that uses it.
func TestRedis_ValidateTouchesNoNetwork(t *testing.T) {
	for name, more := range map[string][]string{
		"server":   nil,
		"TLS":      {"tls"},
		"Sentinel": {"master mymaster"},
		"Cluster":  {"cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			g := gateway{addr: freeAddr(t), api: unusedAPI(t), store: redisAt(trap(t), more...)}
			ignore := goleak.IgnoreCurrent()
			if err := caddy.Validate(mustAdapt(t, g.caddyfile())); err != nil {
				t.Errorf("validate: %v", err)
			}
			wantPools(t, "after validate", 0, 0, 0)
			goleak.VerifyNone(t, ignore)
		})
	}
}

// A node that restarts while Redis is away comes up, says so, and works as soon as
// Redis is there, without anybody doing anything to the node.
func TestRedis_StartsWhileRedisIsAway(t *testing.T) {
	server := redistest.Start(t)
	server.Stop()
	g := gateway{addr: freeAddr(t), api: unusedAPI(t), store: redisAt(server.Addr())}
	log := filepath.Join(t.TempDir(), "log")
	config := mustAdapt(t, g.caddyfile())
	config.Logging.Logs["default"].WriterRaw = json.RawMessage(fmt.Sprintf(`{"output": "file", "filename": %q}`, log))
	defer stop(t)
	if err := load(t, config); err != nil {
		t.Fatalf("starting while Redis is away: %v", err)
	}
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), "the store cannot be reached; nobody can be let in until it is") || !strings.Contains(string(raw), "connection refused") {
		t.Errorf("the log does not say that the store cannot be reached:\n%s", raw)
	}
	if status := health(t, g); status != http.StatusServiceUnavailable {
		t.Errorf("healthz is %d while Redis is away", status)
	}
	if err := caddy.Validate(mustAdapt(t, g.caddyfile())); err != nil {
		t.Errorf("validate beside a server whose Redis is away: %v", err)
	}
	wantPools(t, "after validate", 1, 1, 1)
	server.Start()
	eventually(t, "healthz to be 200", func() bool { return health(t, g) == http.StatusOK })
	listening(t, server)
}

// Redis refuses the node, and always will: the operator who starts it is told at
// once, and what to do, instead of the first visitor. A running configuration goes
// on. The password is shown to nobody.
func TestRedis_RefusalAtStart(t *testing.T) {
	const wrong = "wrong-password-never-to-be-logged"
	server := redistest.Start(t, "requirepass right")
	t.Setenv("WRONG", wrong)
	t.Setenv("RIGHT", "right")
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { // Caddy lets the lock of its own storage expire
		goleak.VerifyNone(t, ignore, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
	})
	g := gateway{addr: freeAddr(t), api: unusedAPI(t)}
	refusals := []struct {
		name  string
		store string
		want  string
	}{
		{"wrong password", redisAt(server.Addr(), "password {env.WRONG}"), "check username and password in the store block"},
		{"no password", redisAt(server.Addr()), "set password in the store block"},
		{"no Cluster", redisAt(server.Addr(), "password {env.RIGHT}", "cluster"), "remove `cluster` from the store block"},
		{"no such db", redisAt(server.Addr(), "password {env.RIGHT}", "db 99"), "choose a db that exists"},
	}
	refused := func(t *testing.T, store, want string) {
		t.Helper()
		broken := g
		broken.store = store
		err := load(t, mustAdapt(t, broken.caddyfile()))
		if err == nil || !strings.Contains(err.Error(), "Caddyfile:4: store:") || !strings.Contains(err.Error(), want) {
			t.Errorf("the start is answered with %v; want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), wrong) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	for _, test := range refusals {
		t.Run("first start/"+test.name, func(t *testing.T) {
			refused(t, test.store, test.want)
			wantPools(t, "after the refusal", 0, 0, 0)
		})
	}
	g.store = redisAt(server.Addr(), "password {env.RIGHT}")
	if err := load(t, mustAdapt(t, g.caddyfile())); err != nil {
		t.Fatal(err)
	}
	defer stop(t)
	for _, test := range refusals {
		t.Run("reload/"+test.name, func(t *testing.T) {
			refused(t, test.store, test.want)
			wantPools(t, "after the refusal", 1, 1, 1)
			if status := health(t, g); status != http.StatusOK {
				t.Errorf("healthz is %d after a reload that was refused", status)
			}
		})
	}
}

// A reload that leaves the store as it is leaves its connections, too: nothing that
// is published meanwhile is missed. Another key prefix is another store, and the
// old one's connections end.
func TestRedis_Reload(t *testing.T) {
	server := redistest.Start(t)
	g := gateway{addr: freeAddr(t), api: unusedAPI(t), store: redisAt(server.Addr())}
	defer stop(t)
	reload := func() {
		t.Helper()
		if err := load(t, mustAdapt(t, g.caddyfile())); err != nil {
			t.Fatal(err)
		}
		wantPools(t, "after a (re)load", 1, 1, 1)
		if status := health(t, g); status != http.StatusOK {
			t.Errorf("healthz is %d", status)
		}
	}
	reload()
	id := listening(t, server)
	for range 3 {
		reload()
		if got := connections(t, server, "pubsub"); !slices.Equal(got, []string{id}) {
			t.Errorf("after a reload the connections that listen are %q, before it %s", got, id)
		}
	}
	old := append(connections(t, server, "normal"), id)
	if len(old) < 2 {
		t.Fatalf("the connections are %q; want some for commands, too", old)
	}
	g.store = redisAt(server.Addr(), "key_prefix shop:")
	reload()
	if got := listening(t, server); got == id {
		t.Error("another store listens on the connection of the old one")
	}
	if channels := server.Do(t, "PUBSUB", "CHANNELS", "*{notices}"); channels != "shop:{notices}" {
		t.Errorf("somebody listens on %q", channels)
	}
	eventually(t, "the old store's connections to end", func() bool {
		now := slices.Concat(connections(t, server, "normal"), connections(t, server, "pubsub"))
		return !slices.ContainsFunc(old, func(id string) bool { return slices.Contains(now, id) })
	})
}

// Nothing runs on, and nothing stays connected, after load, reload and stop.
func TestRedis_LeavesNothingBehind(t *testing.T) {
	server := redistest.Start(t)
	addr, api := freeAddr(t), unusedAPI(t)
	run := func() {
		t.Helper()
		for _, prefix := range []string{"a:", "a:", "b:"} {
			g := gateway{addr: addr, api: api, store: redisAt(server.Addr(), "key_prefix "+prefix)}
			if err := load(t, mustAdapt(t, g.caddyfile())); err != nil {
				t.Fatal(err)
			}
			if status := health(t, g); status != http.StatusOK {
				t.Errorf("healthz is %d", status)
			}
		}
		stop(t)
	}
	run() // what Caddy starts once for the process is not ours to judge
	wantPools(t, "after the stop", 0, 0, 0)
	ignore := goleak.IgnoreCurrent()
	run()
	goleak.VerifyNone(t, ignore)
	eventually(t, "all connections to end", func() bool {
		return len(connections(t, server, "normal"))+len(connections(t, server, "pubsub")) == 0
	})
}
