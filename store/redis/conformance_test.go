// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

// rights are all that the store asks of Redis, as docs/redis.md lists them.
var rights = []string{
	"~wechat:*", "&wechat:*", "+get", "+set", "+getdel", "+del", "+pttl", "+scan", "+info",
	"+eval", "+evalsha", "+publish", "+subscribe",
}

const clusterRight = "+cluster|slots"

// user is the ACL user that has just the rights.
const (
	user     = "gateway"
	password = "of-a-test"
)

func grant(t testing.TB, servers []*redistest.Server, more ...string) {
	t.Helper()
	for _, s := range servers {
		s.Do(t, slices.Concat([]string{"ACL", "SETUSER", user, "reset", "on", ">" + password}, rights, more)...)
		s.Do(t, "ACL", "LOG", "RESET")
	}
}

// waiting are the tests that mostly wait for entries to expire.
var waiting = regexp.MustCompile(`/(TTL_|Update_ErrorLeavesValue|Update_NilLeavesValueAndTTL)`)

// conform runs the suite as the user with just the rights. The tests that wait do
// so side by side, as each has a key prefix of its own. The random sequences list
// everything at each step, which goes through all keys, so there are no others then.
func conform(t *testing.T, c Config, all, masters []*redistest.Server) {
	t.Helper()
	c.Username, c.Password = user, password
	t.Cleanup(func() { // when the last of them has ended
		for _, s := range all {
			if refused := s.Do(t, "ACL", "LOG"); strings.Contains(refused, user) {
				t.Errorf("a right is missing: %s", refused)
			}
		}
	})
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		switch {
		case strings.HasSuffix(t.Name(), "/Model"):
			for _, m := range masters {
				m.Do(t, "FLUSHALL")
			}
		case waiting.MatchString(t.Name()):
			t.Parallel()
		}
		return storetest.Harness{
			Store:   openStore(t, alone(c)),
			Advance: func(d time.Duration) { letPass(t, d, masters...) },
		}
	})
}

func TestConformance_Server(t *testing.T) {
	s := []*redistest.Server{sharedServer()}
	grant(t, s)
	conform(t, configOf(s[0].Addr()), s, s)
}

func TestConformance_Sentinel(t *testing.T) {
	set := sharedSentinels()
	grant(t, set.Nodes())
	master := []*redistest.Server{set.Master(t)}
	conform(t, sentinelConfig(set), set.Nodes(), master)
}

func TestConformance_Cluster(t *testing.T) {
	c := sharedCluster()
	grant(t, c.Nodes(), clusterRight)
	masters := c.Masters(t)
	conform(t, clusterConfig(c), c.Nodes(), masters)
}

// sentinelRights are all that the store asks of the Sentinels, which publish what
// happens to the master.
var sentinelRights = []string{
	"&+switch-master", "&+replica-reconf-done", "+subscribe", "+ping", "+sentinel|get-master-addr-by-name", "+sentinel|sentinels",
}

// The Sentinels have users of their own.
func TestSentinel_UserWithRights(t *testing.T) {
	set := redistest.StartReplicaSet(t)
	grant(t, set.Nodes())
	for _, addr := range set.Addrs() {
		ask(t, addr, slices.Concat([]string{"ACL", "SETUSER", "watcher", "reset", "on", ">" + password}, sentinelRights)...)
	}
	c := sentinelConfig(set)
	c.Username, c.Password, c.SentinelUsername, c.SentinelPassword = user, password, "watcher", password
	s := openStore(t, c)
	told := listenTo(t, s, "topic")
	set.Master(t).AwaitReplicas(t, 2)
	for _, n := range set.Nodes() { // those of the replicas, too
		if refused := n.Do(t, "ACL", "LOG"); strings.Contains(refused, user) {
			t.Errorf("a right is missing: %s", refused)
		}
	}
	set.Failover(t)
	recovered(t, s, told, "kept:a")
	for _, addr := range set.Addrs() {
		if refused := ask(t, addr, "ACL", "LOG"); strings.Contains(refused, "watcher") {
			t.Errorf("a right is missing: %s", refused)
		}
	}
	c.SentinelPassword = "s3cret"
	err := newStore(t, c).Open()
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), c.SentinelPassword) {
		t.Errorf("Open with a wrong password of the Sentinels = %v; want it to say so", err)
	}
}

// ask runs a command on a Sentinel.
func ask(t testing.TB, addr string, args ...string) string {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: addr})
	defer client.Close()
	words := make([]any, len(args))
	for i, arg := range args {
		words[i] = arg
	}
	cmd := goredis.NewCmd(t.Context(), words...)
	if err := client.Process(t.Context(), cmd); err != nil {
		t.Fatalf("%q on %s: %v", args, addr, err)
	}
	return fmt.Sprint(cmd.Val())
}
