// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/record"
)

const (
	cachedUsers = 50_000
	// identityPrefix and unionPrefix begin the keys that say whose an identity is.
	identityPrefix = "identity:"
	unionPrefix    = "unionid:"
)

// The reasons why a person is refused at sign-in.
const (
	ReasonClosed   = "registration_closed"
	ReasonDisabled = "disabled"
)

// DeniedError says that a person may not sign in.
type DeniedError struct {
	Reason string // ReasonClosed or ReasonDisabled
}

func (e *DeniedError) Error() string { return "sign-in denied: " + e.Reason }

var (
	// ErrNotFound says that there is no such user.
	ErrNotFound = errors.New("no such user")

	errNoIdentity = errors.New("an identity needs an app id and an openid")
)

// Records holds the users of one store. It outlives the configurations that use it.
type Records struct {
	store store.Store
	set   *record.Set[User]
	now   func() time.Time
}

// NewRecords returns the users kept in s. now is the clock; nil means time.Now.
func NewRecords(s store.Store, now func() time.Time) *Records {
	if now == nil {
		now = time.Now
	}
	return &Records{store: s, now: now, set: record.New[User](record.Config{Store: s, Kind: "user", Size: cachedUsers, Now: now})}
}

// Close ends the subscription to the store's notices.
func (r *Records) Close() { r.set.Close() }

// Directory finds and registers users under one policy.
type Directory struct {
	*Records
	policy Policy
	grace  time.Duration
}

// NewDirectory returns a Directory of the users in r. Users known to be true
// within the last grace are served while the store cannot be asked.
func NewDirectory(r *Records, p Policy, grace time.Duration) *Directory {
	return &Directory{Records: r, policy: p, grace: grace}
}

// Get returns the user, or ErrNotFound, or an error that wraps
// store.ErrUnavailable. The user is shared: it must not be changed.
func (d *Directory) Get(ctx context.Context, id string) (*User, error) {
	u, found, err := d.set.Get(ctx, id, d.grace)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNotFound
	}
	return u, nil
}

// Admission says whether the user may enter now.
func (d *Directory) Admission(u *User) Admission { return d.policy.Admission(u) }

// SignIn returns the user to whom an identity that WeChat has proven belongs,
// and registers whoever is new as the policy says. Where the policy or an
// operator keeps the person out the error is a *DeniedError.
func (d *Directory) SignIn(ctx context.Context, id Identity) (*User, error) {
	if id.AppID == "" || id.OpenID == "" {
		return nil, errNoIdentity
	}
	owner, err := d.owner(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("finding the user: %w", err)
	}
	u, err := d.enter(ctx, owner, id)
	if err != nil {
		return nil, err
	}
	switch d.Admission(u) {
	case IsDisabled:
		return nil, &DeniedError{Reason: ReasonDisabled}
	case NotAllowed:
		return nil, &DeniedError{Reason: ReasonClosed}
	default:
		return u, nil
	}
}

// owner returns the id of the user who owns the identity, empty where none does.
// An identity whose unionid is another user's joins that user.
func (d *Directory) owner(ctx context.Context, id Identity) (string, error) {
	byIdentity, err := d.pointer(ctx, identityKey(id))
	if err != nil || id.UnionID == "" {
		return byIdentity, err
	}
	byUnion, err := d.pointer(ctx, unionPrefix+id.UnionID)
	switch {
	case err != nil:
		return "", err
	case byUnion == "" || byUnion == byIdentity:
		return byIdentity, nil
	case byIdentity == "":
		return byUnion, nil
	default:
		return d.merge(ctx, byIdentity, byUnion, id)
	}
}

func (d *Directory) pointer(ctx context.Context, key string) (string, error) {
	v, _, err := d.store.Get(ctx, key)
	return string(v), err
}

// enter records the sign-in with the owner, or registers a new user.
func (d *Directory) enter(ctx context.Context, owner string, id Identity) (*User, error) {
	if owner == "" {
		fresh, err := d.register(id)
		if err != nil {
			return nil, err
		}
		return d.claim(ctx, fresh, id)
	}
	if err := d.link(ctx, id, owner); err != nil {
		return nil, err
	}
	u, err := d.set.Update(ctx, owner, 0, func(u *User) (bool, error) {
		u.learn(id)
		u.LastSeenAt = d.now().UTC()
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("recording the sign-in: %w", err)
	}
	if u == nil {
		// The process that was registering this person ended half-way.
		return d.finish(ctx, owner, id)
	}
	return u, nil
}

// finish writes the record of a user whose identity is claimed already.
func (d *Directory) finish(ctx context.Context, owner string, id Identity) (*User, error) {
	u, err := d.register(id)
	if err != nil {
		return nil, err
	}
	u.ID = owner
	if err := d.link(ctx, id, owner); err != nil {
		return nil, err
	}
	created, err := d.set.Create(ctx, owner, u, 0)
	if err != nil {
		return nil, err
	}
	if !created { // somebody else has finished it, perhaps by another identity
		return d.enter(ctx, owner, id)
	}
	return u, nil
}

// register makes the record of a person whom nobody knows yet.
func (d *Directory) register(id Identity) (*User, error) {
	now := d.now().UTC()
	u := &User{ID: strings.ToLower(rand.Text()), Status: Active, CreatedAt: now, LastSeenAt: now}
	u.learn(id)
	if d.policy.Registration == Open {
		return u, nil
	}
	// Whoever is let in by a rule is in for as long as the rule stands.
	u.Status = Pending
	if d.policy.Admission(u) == NotAllowed {
		return nil, &DeniedError{Reason: ReasonClosed}
	}
	return u, nil
}

// claim writes a new user. The pointer from the identity comes first: of two
// sign-ins at the same time one wins it, and a crash in between leaves a
// pointer which the next sign-in completes, never a user without one.
func (d *Directory) claim(ctx context.Context, u *User, id Identity) (*User, error) {
	won, err := d.store.Create(ctx, identityKey(id), []byte(u.ID), 0)
	if err != nil {
		return nil, fmt.Errorf("claiming the identity: %w", err)
	}
	owner := u.ID
	if !won {
		if owner, err = d.pointer(ctx, identityKey(id)); err != nil {
			return nil, err
		}
	}
	return d.finish(ctx, owner, id)
}

// link makes the pointers from an identity to its user. Like claim, it comes
// before the record is written: a pointer whose record does not name the identity
// yet is completed by the next sign-in.
func (d *Directory) link(ctx context.Context, id Identity, owner string) error {
	for _, key := range keysOf(id) {
		if _, err := d.store.Create(ctx, key, []byte(owner), 0); err != nil {
			return fmt.Errorf("linking the identity: %w", err)
		}
	}
	return nil
}

// merge moves everything of one user to another, and returns whose it now is:
// WeChat has said, by the unionid of id, that they are one person. The pointer
// from id is moved last, so that a merge which ended half-way is done again by
// the next sign-in.
func (d *Directory) merge(ctx context.Context, from, into string, id Identity) (owner string, err error) {
	old, found, err := d.set.Reload(ctx, from)
	if err != nil {
		return "", err
	}
	if found {
		kept, err := d.absorb(ctx, into, old, id)
		if err != nil {
			return "", err
		}
		if !kept { // a registration that ended half-way: nothing to merge into
			return from, d.store.Set(ctx, unionPrefix+id.UnionID, []byte(from), 0)
		}
	}
	if err := d.store.Set(ctx, identityKey(id), []byte(into), 0); err != nil {
		return "", fmt.Errorf("moving an identity: %w", err)
	}
	return into, nil
}

// absorb gives the user named into all that old has, except the pointer from the
// identity by, and deletes old. It reports false, and does nothing, where there is
// no such user. Who is disabled as either is disabled as both; else who is
// approved as either is approved.
func (d *Directory) absorb(ctx context.Context, into string, old *User, by Identity) (bool, error) {
	kept, err := d.set.Update(ctx, into, 0, func(u *User) (bool, error) {
		for _, id := range old.Identities {
			u.learn(id)
		}
		if old.Status == Disabled || old.Status == Active && u.Status == Pending {
			u.Status = old.Status
		}
		return true, nil
	})
	if err != nil || kept == nil {
		return false, err
	}
	for _, id := range old.Identities {
		for _, key := range keysOf(id) {
			if key == identityKey(by) {
				continue // merge does
			}
			if err := d.store.Set(ctx, key, []byte(into), 0); err != nil {
				return false, fmt.Errorf("moving an identity: %w", err)
			}
		}
	}
	_, err = d.set.Delete(ctx, old.ID)
	return true, err
}

// keysOf are the keys of the pointers from an identity to its user.
func keysOf(id Identity) []string {
	keys := []string{identityKey(id)}
	if id.UnionID != "" {
		keys = append(keys, unionPrefix+id.UnionID)
	}
	return keys
}

func identityKey(id Identity) string { return identityPrefix + id.AppID + ":" + id.OpenID }
