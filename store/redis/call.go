// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// rest is how long a server that did not answer in time is left alone. Then one
// operation tries it; the others fail at once until it has succeeded.
const rest = time.Second

// send sends one command. goredis.Nil is no error here: the result is nil.
func (s *Store) send(ctx context.Context, args ...any) (any, error) {
	cmd := newCommand(ctx, args...)
	err := s.client.Process(ctx, cmd)
	if isNil(err) {
		return nil, nil //nolint:nilnil // Redis's own nil
	}
	if err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}

// isNil says whether Redis has answered nil. The error itself must be that: one that
// wraps it may be a Sentinel's nil, who does not know the master, and nothing has
// been asked at all.
func isNil(err error) bool {
	return err == goredis.Nil //nolint:errorlint // see above
}

// do sends one command about a key.
func (s *Store) do(ctx context.Context, key string, args ...any) (any, error) {
	return s.call(ctx, key, func(ctx context.Context) (any, error) { return s.send(ctx, args...) })
}

// call runs fn, which talks to the server that has a key.
func (s *Store) call(ctx context.Context, key string, fn func(context.Context) (any, error)) (any, error) {
	cluster, ok := s.client.(*goredis.ClusterClient)
	if !ok {
		return s.callServer(ctx, "", fn)
	}
	server := ""
	if _, err := s.callServer(ctx, "", func(ctx context.Context) (any, error) {
		master, err := cluster.MasterForKey(ctx, key) // asks Redis the first time only
		if err == nil {
			server = master.Options().Addr
		}
		return nil, err
	}); err != nil {
		return nil, err
	}
	result, err := s.callServer(ctx, server, fn)
	if _, answered := errors.AsType[goredis.Error](err); err != nil && !answered && ctx.Err() == nil {
		s.lookAround(ctx)
	}
	return result, err
}

// lookAround has it found out, behind the requests, which servers a Cluster has
// now: one that has failed may have been replaced. By itself go-redis would go on
// asking it for a minute.
func (s *Store) lookAround(ctx context.Context) {
	if cluster, ok := s.client.(*goredis.ClusterClient); ok {
		cluster.ReloadState(ctx) // once for all who ask, and five times a second at most
	}
}

// callServer runs fn within the time that an operation may take, and makes its
// error one of store's. server names whom fn talks to; it is empty where there is
// only one, or several.
func (s *Store) callServer(ctx context.Context, server string, fn func(context.Context) (any, error)) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("asking Redis: %w", err)
	}
	patience := store.PatienceOf(ctx)
	wait := patience.Left(callTimeout)
	if wait == 0 {
		return nil, fmt.Errorf("asking Redis: %w: it has been too slow for this request already", store.ErrUnavailable)
	}
	patience.Begin()
	defer patience.End()
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	result, err := s.breakers.of(server).Execute(func() (any, error) {
		result, err := fn(limited)
		return result, verdict(ctx, time.Since(began), err)
	})
	if err != nil {
		return nil, explain(ctx, err)
	}
	return result, nil
}

// gaveUpError is an error of an operation whose caller went away, or gave it hardly
// any time, or that waited for others on this node: it says nothing about the server.
type gaveUpError struct{ error }

func (e gaveUpError) Unwrap() error { return e.error }

// shortWait is a wait that says nothing about the server when it is over.
const shortWait = callTimeout / 4

// verdict marks the errors that the breaker must not count.
func verdict(caller context.Context, waited time.Duration, err error) error {
	if err != nil && (errors.Is(caller.Err(), context.Canceled) || waited < shortWait || errors.Is(err, goredis.ErrPoolTimeout)) {
		return gaveUpError{err}
	}
	return err
}

// ended says whether the caller's own time is over. A connection's deadline, which
// is the same, may pass a little before the context says so.
func ended(caller context.Context) error {
	if deadline, ok := caller.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return caller.Err()
}

// explain makes an error of go-redis one of store's.
func explain(caller context.Context, err error) error {
	if cause := ended(caller); cause != nil {
		return fmt.Errorf("asking Redis: %w", cause)
	}
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return fmt.Errorf("asking Redis: %w: it did not answer in time a moment ago", store.ErrUnavailable)
	case timedOut(err):
		return fmt.Errorf("asking Redis: %w: no answer in time", store.ErrUnavailable)
	}
	return fmt.Errorf("asking Redis: %w: %w%s", store.ErrUnavailable, err, cure(err))
}

// cure says what to do about a refusal, for the operator who reads the log.
func cure(err error) string {
	for _, c := range []struct{ prefix, cure string }{
		{"sentinels specified", ": check master, and that the Sentinels can be reached and watch it"},
		{"NOAUTH", ": set password in the store block"},
		{"WRONGPASS", ": check username and password in the store block"},
		{"ERR invalid password", ": check password in the store block"},
		{"NOPERM", ": give the user the rights that docs/redis.md lists"},
		{"The user executing the script can't", ": give the user the rights that docs/redis.md lists"},
		{"failed to verify certificate", ": check ca and server_name in the tls block"},
		{"OOM", ": Redis is full; raise maxmemory"},
		{"MISCONF", ": Redis cannot save to its disk; see its own log"},
		{"READONLY", ": this is a replica; name the master, or use Sentinel"},
		{"MOVED", ": this is a node of a Cluster; add `cluster` to the store block"},
		{"ERR This instance has cluster support disabled", ": remove `cluster` from the store block"},
		{"ERR DB index is out of range", ": choose a db that exists"},
		{"ERR unknown command", ": Redis 6.2 or later is needed"},
		{"ERR Unknown Redis command", ": Redis 6.2 or later is needed"},
	} {
		if strings.Contains(err.Error(), c.prefix) {
			return c.cure
		}
	}
	return ""
}

// refusedForGood says whether Redis itself has refused, or is not who the operator
// trusts, and waiting will not help.
func refusedForGood(err error) bool {
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return true
	}
	_, answered := errors.AsType[goredis.Error](err)
	if !answered {
		return false
	}
	for _, passing := range []string{"LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS", "READONLY", "OOM", "MISCONF", "BUSY", "ERR max number of clients"} {
		if strings.Contains(err.Error(), passing) {
			return false
		}
	}
	return true
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, goredis.ErrPoolTimeout) {
		return true
	}
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// breakers keep requests from waiting, each its full time, for a server that is
// known not to answer: one for each server, by address.
type breakers struct {
	byServer sync.Map // string → *gobreaker.CircuitBreaker[any]
}

func (b *breakers) of(server string) *gobreaker.CircuitBreaker[any] {
	if found, ok := b.byServer.Load(server); ok {
		return found.(*gobreaker.CircuitBreaker[any]) //nolint:forcetypeassert // holds nothing else
	}
	found, _ := b.byServer.LoadOrStore(server, gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Timeout:     rest,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures > 0 },
		// Whatever comes in time, a refusal too, costs nobody any waiting.
		IsSuccessful: func(err error) bool { return !timedOut(err) },
		IsExcluded:   func(err error) bool { _, ok := errors.AsType[gaveUpError](err); return ok },
	}))
	return found.(*gobreaker.CircuitBreaker[any]) //nolint:forcetypeassert // holds nothing else
}
