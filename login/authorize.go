// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// authorizeTTL is how long WeChat's page may take.
	authorizeTTL = 5 * time.Minute
	// CallbackPath is where, below the portal, WeChat leads back to.
	CallbackPath = "/oauth/callback"

	statePrefix = store.VolatilePrefix + "state:"
)

// Authorizer begins attempts of the methods WebsiteQR and InWeChat.
type Authorizer struct {
	// URL returns the page on which WeChat asks the person.
	URL func(callback, state string) string
	// Frame returns the same page as it can be shown in a frame; nil where it
	// cannot.
	Frame func(callback, state string) string
}

// Start implements Starter.
func (z *Authorizer) Start(_ context.Context, a *Attempt) (Shown, error) {
	a.ExpiresAt = a.CreatedAt.Add(authorizeTTL)
	callback := a.Portal + CallbackPath
	shown := Shown{Redirect: z.URL(callback, a.Scene)}
	if z.Frame != nil {
		shown.Frame = z.Frame(callback, a.Scene)
	}
	return shown, nil
}

// ByState returns the attempt with which this browser went to WeChat. For every
// other browser there is none: who begins a sign-in in one browser cannot finish
// it in another.
func (v *Service) ByState(ctx context.Context, state, browser string) (Attempt, error) {
	if len(state) != idLen {
		return Attempt{}, ErrNotFound
	}
	id, found, err := v.store.Get(ctx, statePrefix+state)
	if err != nil {
		return Attempt{}, fmt.Errorf("finding the attempt: %w", err)
	}
	if !found {
		return Attempt{}, ErrNotFound
	}
	return v.Get(ctx, string(id), browser)
}

// Claim says whether the caller is the one to use the code that WeChat has led
// back with: of any number of calls one is.
func (v *Service) Claim(ctx context.Context, id string) (bool, error) {
	_, claimed, err := v.change(ctx, id, func(a *Attempt) bool { return a.claim(v.now().UTC()) })
	return claimed, err
}

// Authorize confirms a claimed attempt for the person whom WeChat has named.
func (v *Service) Authorize(ctx context.Context, id string, who Person) (Attempt, error) {
	if who.OpenID == "" {
		return Attempt{}, errors.New("authorizing nobody")
	}
	a, changed, err := v.change(ctx, id, func(a *Attempt) bool { return a.authorize(who) })
	if err == nil && !changed {
		err = ErrState
	}
	return a, err
}

// Refuse ends an attempt for which WeChat has named nobody.
func (v *Service) Refuse(ctx context.Context, id, reason string) error {
	_, _, err := v.change(ctx, id, func(a *Attempt) bool { return a.refuse(reason) })
	return err
}
