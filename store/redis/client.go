// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// callTimeout bounds one operation, connecting and retries included.
	callTimeout = time.Second
	// dialTimeout bounds one connection attempt.
	dialTimeout = 900 * time.Millisecond
	// idleTimeout closes connections before a firewall in between forgets them.
	idleTimeout = 4 * time.Minute
)

// newClient returns go-redis's client for the kind of Redis that c names. It
// connects when it is first used.
//
// go-redis would try a command again after an error that leaves open whether it
// has been carried out; a Create would then find its own entry and report
// another's. So nothing is repeated but what Redis has refused to do.
func newClient(c Config) goredis.UniversalClient {
	silenceOnce.Do(func() { goredis.SetLogger(silent{}) })
	o := &goredis.UniversalOptions{
		Addrs:      slices.Clone(c.Addresses), // to which go-redis appends
		MasterName: c.Master, DB: c.DB, IsClusterMode: c.Cluster,
		Username: c.Username, Password: c.Password,
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword,
		TLSConfig: c.TLS,

		ContextTimeoutEnabled: true,
		DialTimeout:           dialTimeout,
		DialerRetries:         1,
		ReadTimeout:           callTimeout,
		WriteTimeout:          callTimeout,
		PoolTimeout:           callTimeout,
		ConnMaxIdleTime:       idleTimeout,
		MaxRetries:            -1,

		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if !c.Cluster {
		return goredis.NewUniversalClient(o)
	}
	cluster := o.Cluster()
	cluster.DisableRoutingPolicies = true // every command of ours names its key
	return goredis.NewClusterClient(cluster)
}

var silenceOnce sync.Once

// silent keeps go-redis from writing to standard error: whatever it would say
// there comes back as an error, too, and is logged where logs go.
type silent struct{}

// Printf implements go-redis's logger.
func (silent) Printf(context.Context, string, ...any) {}

// command is a command that go-redis must not send a second time of its own accord.
type command struct{ *goredis.Cmd }

// NoRetry implements goredis.Cmder.
func (command) NoRetry() bool { return true }

func newCommand(ctx context.Context, args ...any) command {
	return command{goredis.NewCmd(ctx, args...)}
}
