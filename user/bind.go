// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// Bind gives a user an address that the person has proven to have, in any form. Where
// it is another user's already, the two are one person: everything moves to that
// other, whose id is returned. The error wraps ErrAddress for what is none, and is
// ErrNotFound where there is no such user.
func (r *Records) Bind(ctx context.Context, id string, ch Channel, address string) (owner string, err error) {
	address, err = Canonical(ch, address)
	if err != nil {
		return "", err
	}
	// Of two people who bind one address at the same time the second sees the first,
	// if not at once then when both are done.
	for owner = id; ; {
		if owner, err = r.bindOnce(ctx, owner, ch, address); err != nil {
			return "", err
		}
		holder, err := r.pointer(ctx, addressKey(ch, address))
		if err != nil || holder == owner {
			return owner, err
		}
	}
}

func (r *Records) bindOnce(ctx context.Context, id string, ch Channel, address string) (owner string, err error) {
	owner, err = r.claimAddress(ctx, id, ch, address)
	if err != nil {
		return "", fmt.Errorf("binding the address: %w", err)
	}
	if owner != id {
		if err := r.join(ctx, id, owner); err != nil {
			return "", err
		}
	}
	err = r.setAddress(ctx, owner, ch, address)
	if errors.Is(err, ErrNotFound) { // deleted meanwhile: nobody has the address then
		err = cmp.Or(r.dropPointer(ctx, addressKey(ch, address), owner), err)
	}
	return owner, err
}

// claimAddress returns whose an address is: the user's, unless it is another's. A
// pointer to a user who is no more is taken over, and one to a user whose record does
// not name the address: a bind of his ended half-way, and perhaps long ago.
func (r *Records) claimAddress(ctx context.Context, id string, ch Channel, address string) (owner string, err error) {
	if _, err := r.Find(ctx, id); err != nil {
		return "", err
	}
	key := addressKey(ch, address)
	for stale := ""; ; {
		err = r.store.Update(ctx, key, func(raw []byte, found bool) ([]byte, time.Duration, error) {
			if owner = string(raw); found && owner != stale {
				return nil, 0, nil
			}
			owner = id
			return []byte(id), 0, nil
		})
		if err != nil || owner == id {
			return owner, err
		}
		holder, found, err := r.set.Reload(ctx, owner)
		if err != nil || found && holder.Address(ch) == address {
			return owner, err
		}
		stale = owner
	}
}

// join makes one user of two.
func (r *Records) join(ctx context.Context, from, into string) error {
	old, err := r.Find(ctx, from)
	if err != nil {
		return err
	}
	kept, err := r.absorb(ctx, into, old, Identity{})
	if err == nil && !kept {
		err = ErrNotFound
	}
	return err
}

// setAddress writes the address into the record, and frees the one before it. Who
// the user is to the rules may change with it.
func (r *Records) setAddress(ctx context.Context, id string, ch Channel, address string) error {
	u, err := r.exchange(ctx, id, func(u *User) bool {
		field := u.address(ch)
		before := *field
		*field, u.AccessAt = address, r.now().UTC()
		return before != address
	}, accessChanged(id))
	if err == nil && u == nil {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("recording the address: %w", err)
	}
	return nil
}

// exchange is Update for a change that may put one address in the place of another.
// The pointer from the old one goes first: wherever this ends, none is left to a user
// whose record does not name it any more, and who could be taken for whoever gets
// that address, or number, next.
func (r *Records) exchange(ctx context.Context, id string, change func(*User) (write bool), announce ...store.Announcement) (*User, error) {
	for freed := []string(nil); ; {
		var lost []string
		u, err := r.set.Update(ctx, id, 0, func(u *User) (bool, error) {
			before := u.addressKeys()
			write := change(u)
			lost = slices.DeleteFunc(before, func(key string) bool {
				return slices.Contains(u.addressKeys(), key) || slices.Contains(freed, key)
			})
			return write && len(lost) == 0, nil
		}, announce...)
		if err != nil || len(lost) == 0 {
			return u, err
		}
		for _, key := range lost {
			if err := r.dropPointer(ctx, key, id); err != nil {
				return nil, err
			}
		}
		freed = append(freed, lost...)
	}
}

// absorb gives the user named into all that old has, except the pointer from the
// identity by, and deletes old. It reports false, and does nothing, where there is
// no such user. Who is disabled as either is disabled as both; else who is
// approved as either is approved. What ends half-way is done again by the next Bind or
// sign-in of the same kind; at worst it leaves old without a pointer to him, who can
// be deleted.
func (r *Records) absorb(ctx context.Context, into string, old *User, by Identity) (bool, error) {
	old, err := r.withOwnAddresses(ctx, old, into)
	if err != nil {
		return false, err
	}
	kept, err := r.set.Update(ctx, into, 0, func(u *User) (bool, error) {
		u.absorb(old)
		u.AccessAt = r.now().UTC()
		return true, nil
	}, accessChanged(into))
	if err != nil || kept == nil {
		return false, err
	}
	for _, key := range old.keys() {
		if key == identityKey(by) {
			continue // merge does
		}
		if err := r.movePointer(ctx, key, old.ID, kept); err != nil {
			return false, err
		}
	}
	_, err = r.set.Delete(ctx, old.ID, accessChanged(old.ID))
	return true, err
}

// movePointer makes a pointer lead to the user who has absorbed another. That of an
// address which the user does not take over goes.
func (r *Records) movePointer(ctx context.Context, key, from string, to *User) error {
	if !slices.Contains(to.keys(), key) {
		return r.dropPointer(ctx, key, from)
	}
	err := r.store.Update(ctx, key, func(raw []byte, found bool) ([]byte, time.Duration, error) {
		if !found || string(raw) != from { // moved before, or never his
			return nil, 0, nil
		}
		return []byte(to.ID), 0, nil
	})
	if err != nil {
		return fmt.Errorf("moving an identity: %w", err)
	}
	return nil
}

// withOwnAddresses returns a user without the addresses that are another's: a number
// that WeChat gave where numbers are not bound leads nowhere, and may be anybody's.
func (r *Records) withOwnAddresses(ctx context.Context, u *User, into string) (*User, error) {
	u = clone(u)
	for _, ch := range channels {
		field := u.address(ch)
		if *field == "" {
			continue
		}
		owner, err := r.pointer(ctx, addressKey(ch, *field))
		if err != nil {
			return nil, err
		}
		if owner != "" && owner != u.ID && owner != into {
			*field = ""
		}
	}
	return u, nil
}

// absorb takes over what another user has, where it is the same person.
func (u *User) absorb(old *User) {
	for _, id := range old.Identities {
		u.learn(id)
	}
	if old.NameChosen && !u.NameChosen {
		u.Name, u.NameChosen = old.Name, true
	}
	for _, ch := range channels {
		if field := u.address(ch); *field == "" {
			*field = old.Address(ch)
		}
	}
	u.Roles = append(u.Roles, old.Roles...)
	slices.Sort(u.Roles)
	u.Roles = slices.Compact(u.Roles)
	if old.LastSeenAt.After(u.LastSeenAt) {
		u.LastSeenAt = old.LastSeenAt
	}
	if old.Status == Disabled || old.Status == Active && u.Status == Pending {
		u.Status = old.Status
	}
}
