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
)

// A user goes in steps: retired, so that nobody changes him any more; what he had
// moved or dropped; a note left of what became of him; and the record deleted. A
// sign-in that was on its way to him finds the note, and does not take him for
// somebody whose registration ended half-way.

const (
	// gonePrefix begins the keys that say who took the place of a user who is gone.
	gonePrefix = "gone:"
	// goneTTL is by far longer than any sign-in is on its way.
	goneTTL = 24 * time.Hour
	// nobody takes the place of a user who was deleted. It is no id.
	nobody = "-"
)

// amend changes a user as record.Set.Update does. One who is retired is none: what
// was begun with him is completed first.
func (r *Records) amend(ctx context.Context, id string, change func(*User) (write bool, err error), announce ...store.Announcement) (*User, error) {
	for {
		var retired *User
		u, err := r.set.Update(ctx, id, 0, func(u *User) (bool, error) {
			if retired = nil; u.Into != "" {
				retired = u
				return false, nil
			}
			return change(u)
		}, announce...)
		if err != nil || retired == nil {
			return u, err
		}
		if err := r.conclude(ctx, retired); err != nil {
			return nil, err
		}
	}
}

// settled returns a user as the store has him, after what was begun with him.
func (r *Records) settled(ctx context.Context, id string) (u *User, found bool, err error) {
	for {
		u, found, err = r.set.Reload(ctx, id)
		if err != nil || !found || u.Into == "" {
			return u, found, err
		}
		if err := r.conclude(ctx, u); err != nil {
			return nil, false, err
		}
	}
}

// retire marks a user who is to be absorbed, unless he is retired already, and returns
// what is to be absorbed. The error is ErrNotFound where there is no such user.
func (r *Records) retire(ctx context.Context, id, into string) (*User, error) {
	u, err := r.set.Update(ctx, id, 0, func(u *User) (bool, error) {
		if u.Into != "" {
			return false, nil
		}
		u.Into, u.AccessAt = into, r.now().UTC()
		return true, nil
	}, accessEnded(id))
	if err == nil && u == nil {
		err = ErrNotFound
	}
	return u, err
}

// reinstate undoes retire, where there is nobody to absorb the user.
func (r *Records) reinstate(ctx context.Context, old *User) error {
	_, err := r.set.Update(ctx, old.ID, 0, func(u *User) (bool, error) {
		if u.Into != old.Into {
			return false, nil
		}
		u.Into = ""
		return true, nil
	}, accessEnded(old.ID))
	return err
}

// conclude completes what a user is retired for, by whomever it was begun.
func (r *Records) conclude(ctx context.Context, old *User) error {
	if old.Into == nobody {
		return r.erase(ctx, old)
	}
	_, err := r.absorb(ctx, old.ID, old.Into, Identity{})
	if errors.Is(err, ErrNotFound) { // whoever began it was faster
		return nil
	}
	return err
}

// erase removes a user who is retired, with all that leads to him.
func (r *Records) erase(ctx context.Context, old *User) error {
	for _, key := range old.keys() {
		if err := r.dropPointer(ctx, key, old.ID); err != nil {
			return err
		}
	}
	return r.bury(ctx, old.ID, nobody)
}

// bury deletes the record of a user who has nothing any more, and notes his heir.
func (r *Records) bury(ctx context.Context, id, heir string) error {
	if err := r.store.Set(ctx, gonePrefix+id, []byte(heir), goneTTL); err != nil {
		return fmt.Errorf("noting that a user is gone: %w", err)
	}
	_, err := r.set.Delete(ctx, id, accessEnded(id))
	return err
}

// heir says whether a user whom there is not was one lately, and who took his place in
// the end, empty where nobody did. Of several who have each absorbed another nobody may
// be left.
func (r *Records) heir(ctx context.Context, id string) (heir string, gone bool, err error) {
	for seen := []string{id}; ; seen = append(seen, heir) {
		next, err := r.pointer(ctx, gonePrefix+seen[len(seen)-1])
		switch {
		case err != nil:
			return "", false, err
		case next == "": // who has left no note is alive, or half registered
			return heir, gone, nil
		case next == nobody || slices.Contains(seen, next):
			return "", true, nil
		}
		heir, gone = next, true
		if _, found, err := r.set.Reload(ctx, heir); err != nil || found {
			return heir, true, err
		}
	}
}

// moveOn moves pointers on that were moved to a user who was himself absorbed meanwhile:
// whoever did that may have looked at them before.
func (r *Records) moveOn(ctx context.Context, keys []string, id string) error {
	for seen := []string{id}; ; seen = append(seen, id) {
		u, found, err := r.set.Reload(ctx, id)
		if err != nil || found && u.Into == "" {
			return err
		}
		var heir string
		if found {
			heir = u.Into
		} else if heir, _, err = r.heir(ctx, id); err != nil {
			return err
		}
		if heir == "" || heir == nobody || slices.Contains(seen, heir) {
			return nil
		}
		if err := r.forward(ctx, keys, id, heir); err != nil {
			return err
		}
		id = heir
	}
}

// forward makes pointers to a user who is gone lead to his heir, or go.
func (r *Records) forward(ctx context.Context, keys []string, gone, heir string) error {
	for _, key := range keys {
		step := r.redirect
		if heir == "" {
			step = func(ctx context.Context, key, gone, _ string) error { return r.dropPointer(ctx, key, gone) }
		}
		if err := step(ctx, key, gone, heir); err != nil {
			return err
		}
	}
	return nil
}

// redirect makes a pointer lead to another user, unless it does not lead to the one
// expected any more.
func (r *Records) redirect(ctx context.Context, key, from, to string) error {
	err := r.store.Update(ctx, key, func(raw []byte, found bool) ([]byte, time.Duration, error) {
		if !found || string(raw) != from {
			return nil, 0, nil
		}
		return []byte(to), 0, nil
	})
	if err != nil {
		return fmt.Errorf("moving an identity: %w", err)
	}
	return nil
}
