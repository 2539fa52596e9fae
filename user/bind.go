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
	holder, err := r.claimAddress(ctx, id, ch, address)
	if err != nil {
		return "", fmt.Errorf("binding the address: %w", err)
	}
	owner = id
	if holder != id {
		if owner, err = r.absorb(ctx, id, holder, Identity{}); err != nil || owner != holder {
			return owner, err
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
	if _, found, err := r.settled(ctx, id); err != nil || !found {
		return "", cmp.Or(err, ErrNotFound)
	}
	for stale := ""; ; stale = owner {
		owner, err = r.takePointer(ctx, addressKey(ch, address), stale, id)
		if err != nil {
			return "", err
		}
		if owner == id {
			return r.yield(ctx, id, stale, ch, address)
		}
		if held, err := r.holds(ctx, owner, ch, address); err != nil || held {
			return owner, err
		}
	}
}

// takePointer makes a pointer lead to a user, if there is none or it leads to one whom it
// should not, and returns to whom it leads then.
func (r *Records) takePointer(ctx context.Context, key, stale, id string) (owner string, err error) {
	err = r.store.Update(ctx, key, func(raw []byte, found bool) ([]byte, time.Duration, error) {
		if owner = string(raw); found && owner != stale {
			return nil, 0, nil
		}
		owner = id
		return []byte(id), 0, nil
	})
	return owner, err
}

// yield gives an address back to the user from whom it was taken, if he holds it by now:
// he was about to write it into his record. Whoever writes it later finds that the
// pointer is not his any more.
func (r *Records) yield(ctx context.Context, id, from string, ch Channel, address string) (owner string, err error) {
	if from == "" || from == id {
		return id, nil
	}
	if held, err := r.holds(ctx, from, ch, address); err != nil || !held {
		return id, err
	}
	return from, r.redirect(ctx, addressKey(ch, address), id, from)
}

func (r *Records) holds(ctx context.Context, id string, ch Channel, address string) (bool, error) {
	u, found, err := r.settled(ctx, id)
	return found && u.Address(ch) == address, err
}

// setAddress writes the address into the record, and frees the one before it. Who
// the user is to the rules may change with it.
func (r *Records) setAddress(ctx context.Context, id string, ch Channel, address string) error {
	now := r.now().UTC()
	u, err := r.exchange(ctx, id, func(u *User) bool {
		field := u.address(ch)
		before := *field
		*field, u.AccessAt = address, now
		return before != address
	}, accessChanged(id, now))
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
		u, err := r.amend(ctx, id, func(u *User) (bool, error) {
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

// absorb gives the user named into all that another has, except the pointer from the
// identity by, and deletes that other. It returns whose it all is then: that is still
// the other where there is no user named into any more. The error is ErrNotFound where
// there is no other. Who is disabled as either is disabled as both; else who is
// approved as either is approved. What ends half-way is completed by whoever next
// wants to change the other: he is retired first, so that nothing done to him is lost.
func (r *Records) absorb(ctx context.Context, from, into string, by Identity) (owner string, err error) {
	old, err := r.retire(ctx, from, into)
	if err != nil {
		return "", err
	}
	if old.Into != into { // something else was begun with him before
		if err := r.conclude(ctx, old); err != nil {
			return "", err
		}
		return r.absorb(ctx, from, into, by)
	}
	old, err = r.withOwnAddresses(ctx, old, into)
	if err != nil {
		return "", err
	}
	heir, err := r.takeOver(ctx, into, old)
	if err != nil {
		return "", err
	}
	if heir == nil {
		return from, r.reinstate(ctx, old)
	}
	for _, key := range old.keys() {
		if key == identityKey(by) {
			continue // merge does
		}
		if err := r.movePointer(ctx, key, from, heir); err != nil {
			return "", err
		}
	}
	if err := r.moveOn(ctx, old.keys(), into); err != nil {
		return "", err
	}
	return into, r.bury(ctx, from, into)
}

// takeOver writes what a retired user has into the record of his heir, and returns it,
// nil where there is no such user any more. It is done once, however many try: what an
// operator has changed of the heir since then stays.
func (r *Records) takeOver(ctx context.Context, into string, old *User) (heir *User, err error) {
	retired, now := false, r.now().UTC()
	heir, err = r.set.Update(ctx, into, 0, func(u *User) (bool, error) {
		done := u.Absorbed[old.ID].Equal(old.AccessAt)
		if retired = !done && u.Into != ""; done || retired {
			return false, nil
		}
		u.absorb(old)
		u.AccessAt = now
		return true, nil
	}, accessChanged(into, now))
	if err != nil || retired {
		return nil, err
	}
	return heir, nil
}

// movePointer makes a pointer lead to the user who has absorbed another. That of an
// address which the user does not take over goes.
func (r *Records) movePointer(ctx context.Context, key, from string, to *User) error {
	if !slices.Contains(to.keys(), key) {
		return r.dropPointer(ctx, key, from)
	}
	return r.redirect(ctx, key, from, to.ID)
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
		key := addressKey(ch, *field)
		owner, err := r.pointer(ctx, key)
		if err != nil {
			return nil, err
		}
		if owner == "" || owner == u.ID || owner == into {
			continue
		}
		other, found, err := r.set.Reload(ctx, owner)
		switch {
		case err != nil:
			return nil, err
		case found && other.Into == "" && other.Address(ch) == *field:
			*field = ""
		default: // of several who were merged at the same time, one who is gone
			if err := r.redirect(ctx, key, owner, u.ID); err != nil {
				return nil, err
			}
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
	if u.Absorbed == nil {
		u.Absorbed = make(map[string]time.Time)
	}
	u.Absorbed[old.ID] = old.AccessAt
}
