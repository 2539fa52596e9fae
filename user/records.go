// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/record"
	"github.com/caddy-wechat/caddy-wechat/store/watch"
)

const (
	cachedUsers = 50_000
	// identityPrefix and unionPrefix begin the keys that say whose an identity is;
	// those of addresses begin with their channel.
	identityPrefix = "identity:"
	unionPrefix    = "unionid:"
)

var (
	// ErrNotFound says that there is no such user.
	ErrNotFound = errors.New("no such user")

	// ErrChanged says that somebody else was faster to change a user.
	ErrChanged = errors.New("the user has been changed in the meantime")

	errNoIdentity = errors.New("an identity needs an app id and an openid")
)

// Records holds the users of one store. It outlives the configurations that use it.
type Records struct {
	store   store.Store
	set     *record.Set[User]
	now     func() time.Time
	watch   watch.Watchers
	roster  roster
	cancels []func()
}

// NewRecords returns the users kept in s. now is the clock; nil means time.Now.
func NewRecords(s store.Store, now func() time.Time) *Records {
	if now == nil {
		now = time.Now
	}
	r := &Records{store: s, now: now, set: record.New[User](record.Config{Store: s, Kind: "user", Size: cachedUsers, Now: now})}
	r.set.OnChange(r.watch.Wake)
	r.set.OnGap(r.watch.WakeSlowly)
	r.roster.init(r)
	return r
}

// Close ends the subscriptions to the store's notices.
func (r *Records) Close() {
	for _, cancel := range r.cancels {
		cancel()
	}
	r.set.Close()
	r.roster.close()
}

// Find returns a user as the store has it now, or ErrNotFound.
func (r *Records) Find(ctx context.Context, id string) (*User, error) {
	u, found, err := r.set.Reload(ctx, id)
	if err == nil && (!found || u.Into != "") {
		return nil, ErrNotFound
	}
	return u, err
}

// Owner returns the id of the user who has an identity, empty where nobody does.
func (r *Records) Owner(ctx context.Context, appID, openID string) (string, error) {
	return r.pointer(ctx, identityKey(Identity{AppID: appID, OpenID: openID}))
}

// Change is what an operator changes of a user; what is nil stays.
type Change struct {
	Status *Status   `json:"status,omitempty"`
	Roles  *[]string `json:"roles,omitempty"`
	// Leaving says that the user is about to be deleted.
	Leaving bool `json:"-"`
	// If is asked, in the same step, whether the user is still as expected; nil
	// expects nothing.
	If func(*User) bool `json:"-"`
}

// Validate says what is wrong with a change.
func (c Change) Validate() error {
	if c.Status != nil && !slices.Contains([]Status{Active, Pending, Disabled}, *c.Status) {
		return fmt.Errorf("status %q is unknown: use active, pending or disabled", *c.Status)
	}
	if c.Roles == nil {
		return nil
	}
	if len(*c.Roles) > maxRoles {
		return fmt.Errorf("%d roles are too many: at most %d", len(*c.Roles), maxRoles)
	}
	for _, role := range *c.Roles {
		if err := ValidateRole(role); err != nil {
			return err
		}
	}
	return nil
}

// maxRoles bounds how many roles a user is given.
const maxRoles = 32

// Change makes a valid change, tells every node, and returns the user as he was
// and as he is. The error is ErrNotFound where there is none, and wraps ErrChanged
// where c.If does not hold.
func (r *Records) Change(ctx context.Context, id string, c Change) (before, after *User, err error) {
	now := r.now().UTC()
	after, err = r.amend(ctx, id, func(u *User) (bool, error) {
		if c.If != nil && !c.If(u) {
			return false, ErrChanged
		}
		before = clone(u)
		u.AccessAt = now
		if c.Status != nil {
			u.Status, u.Leaving = *c.Status, c.Leaving
		}
		if c.Roles != nil {
			u.Roles = slices.Clone(*c.Roles)
			slices.Sort(u.Roles)
			u.Roles = slices.Compact(u.Roles)
		}
		return true, nil
	}, accessChanged(id, now))
	if err == nil && after == nil {
		err = ErrNotFound
	}
	return before, after, err
}

// Rename sets the display name, which no nickname of WeChat's replaces from then on.
func (r *Records) Rename(ctx context.Context, id, name string) error {
	u, err := r.amend(ctx, id, func(u *User) (bool, error) {
		u.Name, u.NameChosen = name, true
		return true, nil
	})
	if err == nil && u == nil {
		err = ErrNotFound
	}
	return err
}

// Delete removes a user with all that leads to him, and returns what there was. A
// person who signs in after that is a new one. Access ends first: where a delete ends
// half-way there is no such user any more, and whoever deletes him again completes it.
func (r *Records) Delete(ctx context.Context, id string) (*User, error) {
	return r.DeleteIf(ctx, id, func(*User) bool { return true })
}

// DeleteIf is Delete of a user who is still as expected, which is asked in the step
// that ends his access; else the error wraps ErrChanged.
func (r *Records) DeleteIf(ctx context.Context, id string, expected func(*User) bool) (*User, error) {
	u, err := r.amend(ctx, id, func(u *User) (bool, error) {
		if !expected(u) {
			return false, ErrChanged
		}
		u.Status, u.Leaving, u.Into, u.AccessAt = Disabled, true, nobody, r.now().UTC()
		return true, nil
	}, accessEnded(id))
	switch {
	case err != nil:
		return nil, err
	case u == nil:
		return nil, ErrNotFound
	default:
		return u, r.erase(ctx, u)
	}
}

func (r *Records) pointer(ctx context.Context, key string) (string, error) {
	v, _, err := r.store.Get(ctx, key)
	return string(v), err
}

// dropPointer deletes a pointer unless it leads to another user by now.
func (r *Records) dropPointer(ctx context.Context, key, id string) error {
	owner, err := r.pointer(ctx, key)
	if err != nil || owner != id {
		return err
	}
	if _, err := r.store.Delete(ctx, key); err != nil {
		return fmt.Errorf("forgetting an identity or address: %w", err)
	}
	return nil
}

// keys are those of all pointers to the user.
func (u *User) keys() (keys []string) {
	for _, id := range u.Identities {
		keys = append(keys, keysOf(id)...)
	}
	return append(keys, u.addressKeys()...)
}

// addressKeys are those of the pointers from the user's addresses.
func (u *User) addressKeys() (keys []string) {
	for _, ch := range channels {
		if address := u.Address(ch); address != "" {
			keys = append(keys, addressKey(ch, address))
		}
	}
	return keys
}

var channels = []Channel{ByEmail, ByPhone}

func addressKey(ch Channel, address string) string { return string(ch) + ":" + address }

// keysOf are the keys of the pointers from an identity to its user.
func keysOf(id Identity) []string {
	keys := []string{identityKey(id)}
	if id.UnionID != "" {
		keys = append(keys, unionPrefix+id.UnionID)
	}
	return keys
}

func identityKey(id Identity) string { return identityPrefix + id.AppID + ":" + id.OpenID }
