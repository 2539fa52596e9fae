// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

const (
	// unionPatience is how long a sign-in waits for a unionid, without which it goes on.
	unionPatience = 2 * time.Second
	// unionRest is for how long an account is not asked that has none to give: it is
	// bound to no account of the open platform, or may not read its subscribers.
	unionRest = time.Hour
	// unionPause is for how long it is not asked after WeChat did not answer.
	unionPause = time.Minute
)

// Subscribers says what WeChat tells an account of a person.
type Subscribers interface {
	Subscriber(ctx context.Context, openID string) (wechat.Subscriber, error)
}

// Unions finds out the unionids of people who scan a code of an account or write to it:
// WeChat's push names the openid alone.
type Unions struct {
	Subscribers Subscribers

	rests atomic.Int64 // Unix seconds until which nobody is asked
}

// Rest says whether nobody is to be asked now: the account had none to give a while ago.
func (u *Unions) Rest(now time.Time) bool { return now.Unix() < u.rests.Load() }

// UnionID returns a person's unionid, empty where WeChat gives none. It is asked in the
// middle of a sign-in, so it does not wait long.
func (u *Unions) UnionID(ctx context.Context, openID string, now time.Time) (string, error) {
	limited, cancel := context.WithTimeout(ctx, unionPatience)
	defer cancel()
	who, err := u.Subscribers.Subscriber(limited, openID)
	switch {
	case ctx.Err() != nil: // the visitor went away
	case err != nil:
		u.rests.Store(now.Add(pauseAfter(err)).Unix())
	case who.Subscribed && who.UnionID == "":
		u.rests.Store(now.Add(unionRest).Unix())
	}
	return who.UnionID, err
}

func pauseAfter(err error) time.Duration {
	refusal, refused := errors.AsType[*wechat.Error](err)
	switch {
	case !refused:
		return unionPause
	case refusal.Permanent():
		return unionRest
	default:
		return wechat.RetryAfter(err)
	}
}
