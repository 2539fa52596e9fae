// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

type subscribersFunc func(ctx context.Context) (wechat.Subscriber, error)

func (f subscribersFunc) Subscriber(ctx context.Context, _ string) (wechat.Subscriber, error) {
	return f(ctx)
}

// An account that has no unionids to give is left alone for a time; one person of whom
// WeChat knows nothing, or a visitor who goes away, says nothing about the account.
func TestUnions(t *testing.T) {
	answer := func(s wechat.Subscriber, err error) subscribersFunc {
		return func(context.Context) (wechat.Subscriber, error) { return s, err }
	}
	for _, tt := range []struct {
		name  string
		asked subscribersFunc
		want  string
		rest  time.Duration
	}{
		{"a unionid", answer(wechat.Subscriber{Subscribed: true, UnionID: "uAlice"}, nil), "uAlice", 0},
		{"bound to nothing", answer(wechat.Subscriber{Subscribed: true}, nil), "", time.Hour},
		{"no follower", answer(wechat.Subscriber{}, nil), "", 0},
		{"no right", answer(wechat.Subscriber{}, fmt.Errorf("reading: %w", &wechat.Error{Endpoint: "cgi-bin/user/info", Code: 48001})), "", time.Hour},
		{"nobody", answer(wechat.Subscriber{}, &wechat.Error{Endpoint: "cgi-bin/user/info", Code: 40003}), "", 5 * time.Second},
		{"quota", answer(wechat.Subscriber{}, &wechat.Error{Endpoint: "cgi-bin/user/info", Code: 45009}), "", 5 * time.Minute},
		{"not there", answer(wechat.Subscriber{}, wechat.ErrUnavailable), "", time.Minute},
		{"hangs", func(ctx context.Context) (wechat.Subscriber, error) {
			<-ctx.Done()
			return wechat.Subscriber{}, ctx.Err()
		}, "", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &Unions{Subscribers: tt.asked}
				now := time.Now()
				got, _ := u.UnionID(t.Context(), "oAlice", now)
				if got != tt.want || time.Since(now) > unionPatience {
					t.Errorf("UnionID = %q after %v, want %q", got, time.Since(now), tt.want)
				}
				if tt.rest > 0 && !u.Rest(now.Add(tt.rest-time.Second)) || u.Rest(now.Add(tt.rest)) {
					t.Errorf("it does not rest for %v", tt.rest)
				}
			})
		})
	}
}

func TestUnions_VisitorGoes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := &Unions{Subscribers: subscribersFunc(func(ctx context.Context) (wechat.Subscriber, error) {
		cancel()
		<-ctx.Done()
		return wechat.Subscriber{}, ctx.Err()
	})}
	now := time.Now()
	if _, err := u.UnionID(ctx, "oAlice", now); !errors.Is(err, context.Canceled) || u.Rest(now) {
		t.Errorf("%v; it rests: %v", err, u.Rest(now))
	}
}
