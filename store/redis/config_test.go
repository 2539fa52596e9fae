// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
)

func TestNew_RefusesConfigsThatCannotWork(t *testing.T) {
	one := []string{"127.0.0.1:6379"}
	for _, test := range []struct {
		name   string
		config Config
		want   string // empty: it is fine
	}{
		{"server", Config{Addresses: one}, ""},
		{"server with everything", Config{Addresses: one, Username: "u", Password: "p", DB: 3, KeyPrefix: strings.Repeat("p", 64)}, ""},
		{"sentinels", Config{Addresses: []string{"a:1", "b:1"}, Master: "m", SentinelPassword: "p", DB: 1}, ""},
		{"cluster", Config{Addresses: []string{"a:1", "b:1"}, Cluster: true}, ""},
		{"no address", Config{}, "name at least one host:port"},
		{"cluster with a master", Config{Addresses: one, Cluster: true, Master: "m"}, "exclude one another"},
		{"cluster with a db", Config{Addresses: one, Cluster: true, DB: 1}, "only database 0"},
		{"negative db", Config{Addresses: one, DB: -1}, "count from 0"},
		{"several servers of no kind", Config{Addresses: []string{"a:1", "b:1"}}, "say whether"},
		{"credentials of no sentinel", Config{Addresses: one, SentinelPassword: "p"}, "no master"},
		{"user of no sentinel", Config{Addresses: one, SentinelUsername: "u"}, "no master"},
		{"long prefix", Config{Addresses: one, KeyPrefix: strings.Repeat("p", 65)}, "at most 64 bytes"},
		// Braces would put all keys of a Cluster on one node.
		{"prefix with braces", Config{Addresses: one, KeyPrefix: "{w}:"}, "without braces"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := New(test.config)
			if err == nil {
				defer s.Close()
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("New = %v; want it to say %q", err, test.want)
			}
		})
	}
}

// Two sites share a Redis: neither sees what is the other's.
func TestKeyPrefix_Isolates(t *testing.T) {
	for _, test := range []struct {
		name string
		open func() Config
	}{
		{"server", func() Config { return configOf(sharedServer().Addr()) }},
		{"cluster", func() Config { return clusterConfig(sharedCluster()) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			base := alone(test.open()).KeyPrefix
			open := func(prefix string) *Store {
				c := test.open()
				c.KeyPrefix = prefix
				return openStore(t, c)
			}
			// One prefix begins with the other, and one looks like a pattern for it.
			stores := map[string]*Store{"a": open(base + "a"), "b": open(base + "b"), "star": open(base + "*")}
			heard := make(map[string]*notices)
			for name, s := range stores {
				if err := s.Set(t.Context(), "k", []byte(name), time.Hour); err != nil {
					t.Fatal(err)
				}
				heard[name] = listenTo(t, s, "topic")
			}
			for name, s := range stores {
				items, _ := listEverything(t, s, "")
				if len(items) != 1 || string(items["k"]) != name {
					t.Errorf("%s lists %q", name, items)
				}
				if err := s.Publish(t.Context(), "topic", name); err != nil {
					t.Fatal(err)
				}
				heard[name].await(t, name)
			}
			for name, s := range stores {
				if err := s.Publish(t.Context(), "topic", "end"); err != nil {
					t.Fatal(err)
				}
				heard[name].await(t, "end")
				if got := heard[name].messages(); !slices.Equal(got, []string{name, "end"}) {
					t.Errorf("%s hears %q", name, got)
				}
			}
		})
	}
}

// The list in the documents has nothing superfluous: without any one of the rights,
// something is refused, and the error names the documents. What every node needs at
// once is missed at the start already.
func TestRights_EachIsNeeded(t *testing.T) {
	server := redistest.Start(t)
	for _, test := range []struct {
		right   string
		atStart bool
		fail    string // operations
	}{
		{"~wechat:*", true, strings.Join(everything, " ")},
		{"&wechat:*", true, "Delete Publish"},
		{"+get", false, "Get Update List"},
		{"+set", true, "Set Create Update Ping"},
		{"+getdel", true, "Take Ping"},
		{"+del", true, "Delete Publish"},
		{"+pttl", false, "List"},
		{"+scan", false, "List"},
		{"+info", false, ""}, // a listing then does not notice a failover
		{"+eval", true, "Update Delete Publish Ping"},
		{"+evalsha", true, "Update Delete Publish Ping"},
		{"+publish", true, "Delete Publish"},
		{"+subscribe", true, ""}, // nothing is ever heard
	} {
		t.Run(test.right, func(t *testing.T) {
			rest := slices.DeleteFunc(slices.Clone(rights), func(r string) bool { return r == test.right })
			if len(rest) != len(rights)-1 {
				t.Fatal("the right is not one of the list")
			}
			server.Do(t, "SCRIPT", "FLUSH")
			server.Do(t, "FLUSHALL")
			server.Do(t, "ACL", "LOG", "RESET")
			server.Do(t, slices.Concat([]string{"ACL", "SETUSER", user, "reset", "on", ">" + password}, rest)...)
			c := configOf(server.Addr())
			c.Username, c.Password = user, password
			s := newStore(t, c)
			err := s.Open()
			if test.atStart && (err == nil || errors.Is(err, store.ErrNotReady) || !strings.Contains(err.Error(), "docs/redis.md")) {
				t.Errorf("Open = %v; want a refusal that names the documents", err)
			}
			if !test.atStart && err != nil {
				t.Errorf("Open = %v", err)
			}
			if err := server.Do(t, "SET", "wechat:kept:get", "v"); err != "OK" { // for List
				t.Fatal(err)
			}
			var failed []string
			for _, op := range operations {
				if err := op.call(t.Context(), s); err != nil {
					failed = append(failed, op.name)
					if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "docs/redis.md") {
						t.Errorf("%s = %v; want ErrUnavailable and the documents", op.name, err)
					}
				}
			}
			if got := strings.Join(failed, " "); got != test.fail {
				t.Errorf("these fail: %s; want %s", got, test.fail)
			}
			eventually(t, "a refusal", func() bool { return strings.Contains(server.Do(t, "ACL", "LOG"), user) })
		})
	}
}

// An operator switches the default user off and gives the gateway its own.
func TestOpen_DefaultUserOff(t *testing.T) {
	server := redistest.Start(t, fmt.Sprintf("user %s on >%s %s", user, password, strings.Join(rights, " ")))
	server.Do(t, "SET", "foreign", "value")
	server.Do(t, "ACL", "SETUSER", "default", "off")
	c := configOf(server.Addr())
	c.Username, c.Password = user, password
	s := openStore(t, c)
	for _, op := range operations {
		if err := op.call(t.Context(), s); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
}

// A config that Redis refuses for good must be refused when Caddy starts, and
// say what to change; the log must not hold the password.
func TestOpen_SaysWhatToChange(t *testing.T) {
	const secret = "s3cret-of-the-operator"
	userLine := fmt.Sprintf("user %s on >%s %s", user, password, strings.Join(rights, " "))
	open := redistest.Start(t, userLine)
	closed := redistest.Start(t, "requirepass "+password)
	node := sharedCluster().Nodes()[0]
	for _, test := range []struct {
		name   string
		change func(*Config)
		addr   string
		want   string
	}{
		{"wrong password of the default user", func(c *Config) { c.Password = secret }, closed.Addr(), "check username and password"},
		{"wrong password of a user", func(c *Config) { c.Username, c.Password = user, secret }, open.Addr(), "check username and password"},
		{"unknown user", func(c *Config) { c.Username, c.Password = "nobody", secret }, open.Addr(), "check username and password"},
		{"no password", func(*Config) {}, closed.Addr(), "set password"},
		{"prefix without rights", func(c *Config) { c.Username, c.Password, c.KeyPrefix = user, password, "other:" }, open.Addr(), "docs/redis.md"},
		{"no such db", func(c *Config) { c.DB = 99 }, open.Addr(), "choose a db that exists"},
		{"node of a cluster", func(c *Config) { c.KeyPrefix = "x" }, node.Addr(), "add `cluster`"},
		{"no cluster", func(c *Config) { c.Cluster = true }, open.Addr(), "remove `cluster`"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := configOf(test.addr)
			test.change(&c)
			s := newStore(t, c)
			err := s.Open()
			if test.name == "node of a cluster" && err == nil { // it happens to have that key
				t.Fatal("choose another key prefix for the test")
			}
			if err == nil || errors.Is(err, store.ErrNotReady) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open = %v; want a refusal that says %q", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), password)) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// A Redis that is down now is no reason not to start.
func TestOpen_NotReady(t *testing.T) {
	server := redistest.Start(t)
	server.Stop()
	for _, test := range []struct {
		name   string
		config Config
	}{
		{"server", configOf(server.Addr())},
		{"sentinels", Config{Addresses: []string{server.Addr()}, Master: "mymaster"}},
		{"cluster", Config{Addresses: []string{server.Addr()}, Cluster: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t, alone(test.config))
			if err := s.Open(); !errors.Is(err, store.ErrNotReady) || !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Open = %v; want ErrNotReady", err)
			}
		})
	}
	s := newStore(t, alone(configOf(server.Addr())))
	_ = s.Open()
	server.Start()
	within(t, 3*time.Second, "the store to work", func() bool { return s.Ping(t.Context()) == nil })
	awaitListening(t, s)
}

// A store that was closed says so, and does not open again.
func TestClose_IsFinal(t *testing.T) {
	s, err := New(alone(configOf(sharedServer().Addr())))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	for _, op := range operations {
		if err := op.call(t.Context(), s); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s after Close = %v; want ErrUnavailable", op.name, err)
		}
	}
	if err := s.Open(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Open after Close = %v; want ErrUnavailable", err)
	}
	s.Subscribe("topic", func(store.Notice) { t.Error("a notice after Close") })()
}
