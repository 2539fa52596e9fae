// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// Entry is a user who comes from elsewhere.
type Entry struct {
	// ID is the id that the site knows the user by; empty makes one.
	ID     string   `json:"id,omitempty"`
	Name   string   `json:"name,omitempty"`
	Status Status   `json:"status,omitempty"` // empty means Active for a new user
	Roles  []string `json:"roles,omitempty"`
	Email  string   `json:"email,omitempty"`
	Phone  string   `json:"phone,omitempty"`
	// AppID and OpenID are an identity that is known already, UnionID perhaps
	// without them is not.
	AppID   string `json:"app_id,omitempty"`
	OpenID  string `json:"openid,omitempty"`
	UnionID string `json:"unionid,omitempty"`
	// CreatedAt is when the site got to know a new user; zero, and a time to come,
	// mean now. A user who is known already keeps his.
	CreatedAt time.Time `json:"created_at,omitzero"`
}

// ErrConflict says that an entry names two different users, or gives one what is
// another's.
var ErrConflict = errors.New("belongs to another user")

// idPattern is what can be an id: it stands in URLs, headers and logs.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$`)

// ValidID says whether text can be a user's id.
func ValidID(text string) bool { return idPattern.MatchString(text) }

// reserved are the words that stand where an id would in URLs of the admin API.
var reserved = []string{"import", "search"}

// validateID says what is wrong with the id that an entry gives, if any.
func validateID(id string) error {
	switch {
	case id != "" && !ValidID(id):
		return fmt.Errorf("id %q cannot be used: write up to 64 letters, digits and . _ -, beginning with a letter or digit and not ending in a dot", id)
	case slices.Contains(reserved, id):
		return fmt.Errorf("id %q cannot be used: the admin API has an endpoint of that name, choose another id", id)
	default:
		return nil
	}
}

// firstYear and lastYear bound when a user can have been created: a list orders users
// by nanoseconds since 1970, which end in 2262.
const firstYear, lastYear = 1970, 2261

// Canonical returns the entry as it is kept, or what is wrong with it.
func (e Entry) Canonical() (Entry, error) {
	if err := validateID(e.ID); err != nil {
		return e, err
	}
	if e.ID+e.Email+e.Phone+e.OpenID == "" {
		return e, errors.New("it has no id, email, phone or openid: nobody could ever sign in as this user")
	}
	if (e.AppID == "") != (e.OpenID == "") || e.UnionID != "" && e.OpenID == "" {
		return e, errors.New("app_id and openid go together, and unionid needs both")
	}
	e.CreatedAt = e.CreatedAt.UTC()
	if year := e.CreatedAt.Year(); !e.CreatedAt.IsZero() && (year < firstYear || year > lastYear) {
		return e, fmt.Errorf("created_at is of the year %d: give one from %d to %d, or none", year, firstYear, lastYear)
	}
	e.Name = wechat.CleanNickname(e.Name)
	change := Change{Roles: &e.Roles}
	if e.Status != "" {
		change.Status = &e.Status
	}
	if err := change.Validate(); err != nil {
		return e, err
	}
	for ch, address := range map[Channel]*string{ByEmail: &e.Email, ByPhone: &e.Phone} {
		if *address == "" {
			continue
		}
		canonical, err := Canonical(ch, *address)
		if err != nil {
			return e, fmt.Errorf("%s %.*q: %w", ch, maxEmail, *address, err)
		}
		*address = canonical
	}
	return e, nil
}

// Outcome is what an import has done with an entry.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
)

// OutcomeOf says what an import has done that made before into after.
func OutcomeOf(before, after *User) Outcome {
	switch {
	case before == nil:
		return Created
	case sameUser(before, after):
		return Unchanged
	default:
		return Updated
	}
}

// Import enters a user, or brings the one whom the entry names up to date: what the
// entry leaves empty stays. It returns the user as he was, nil for a new one, and as
// he is, or would be after a dry run; where the store failed while he was written,
// what was tried and may have happened. The error wraps ErrConflict where the entry
// fits no single user.
func (r *Records) Import(ctx context.Context, e Entry, dryRun bool) (before, after *User, err error) {
	e, err = e.Canonical()
	if err != nil {
		return nil, nil, err
	}
	id, known, err := r.match(ctx, e)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case known:
		return r.update(ctx, id, e, dryRun)
	case dryRun:
		return nil, r.recruit(id, e), nil
	default:
		return r.enroll(ctx, r.recruit(id, e), e)
	}
}

func newID() string { return strings.ToLower(rand.Text()) }

// match returns the id of the user whom the entry names, and whether there is that
// user already: a registration that ended half-way has left an id without one.
func (r *Records) match(ctx context.Context, e Entry) (id string, known bool, err error) {
	id = e.ID
	for _, key := range e.keys() {
		owner, err := r.pointer(ctx, key)
		if err != nil {
			return "", false, err
		}
		switch {
		case owner == "" || id == "" || id == owner:
		case id == e.ID: // whom there may not be
			return "", false, fmt.Errorf("an address or identity of the entry %w, %s: the id of the entry is %s", ErrConflict, owner, id)
		default:
			return "", false, fmt.Errorf("an address or identity of the entry %w: it names both %s and %s", ErrConflict, id, owner)
		}
		id = cmp.Or(owner, id)
	}
	if id == "" {
		return newID(), false, nil
	}
	_, known, err = r.settled(ctx, id)
	if err != nil || known || id == e.ID {
		return id, known, err
	}
	heir, gone, err := r.heir(ctx, id)
	if err != nil || !gone {
		return id, false, err
	}
	if err := r.forward(ctx, e.keys(), id, heir); err != nil {
		return "", false, err
	}
	return r.match(ctx, e)
}

// keys are those of the pointers that the entry makes.
func (e Entry) keys() []string { return e.apply(&User{}).keys() }

// apply writes what the entry says into a user, and returns it.
func (e Entry) apply(u *User) *User {
	if e.Name != "" {
		u.Name, u.NameChosen = e.Name, true
	}
	if len(e.Roles) > 0 {
		u.Roles = slices.Compact(slices.Sorted(slices.Values(e.Roles)))
	}
	if e.Status != "" {
		u.Status = e.Status
	}
	for ch, address := range map[Channel]string{ByEmail: e.Email, ByPhone: e.Phone} {
		if address != "" {
			*u.address(ch) = address
		}
	}
	if e.OpenID != "" {
		u.learn(Identity{AppID: e.AppID, OpenID: e.OpenID, UnionID: e.UnionID})
	}
	return u
}

// recruit makes the record of a new user.
func (r *Records) recruit(id string, e Entry) *User {
	now := r.now().UTC()
	u := &User{ID: id, Status: Active, CreatedAt: now, Identities: []Identity{}}
	if !e.CreatedAt.IsZero() && e.CreatedAt.Before(now) {
		u.CreatedAt = e.CreatedAt
	}
	return e.apply(u)
}

// enroll writes a new user: pointers first, as a sign-in does, so that what ends
// half-way can be done again.
func (r *Records) enroll(ctx context.Context, u *User, e Entry) (before, after *User, err error) {
	if err := r.point(ctx, u); err != nil {
		return nil, nil, err
	}
	created, err := r.set.Introduce(ctx, u.ID, u, 0)
	if err == nil && !created {
		return r.update(ctx, u.ID, e, false)
	}
	return nil, u, err
}

// point makes the pointers to a user, and fails where one is another's.
func (r *Records) point(ctx context.Context, u *User) error {
	for _, key := range u.keys() {
		created, err := r.store.Create(ctx, key, []byte(u.ID), 0)
		if err != nil {
			return err
		}
		if created {
			continue
		}
		owner, err := r.pointer(ctx, key)
		if err != nil {
			return err
		}
		if owner != u.ID {
			return fmt.Errorf("an address or identity of the entry %w, %s", ErrConflict, owner)
		}
	}
	return nil
}

// update brings a user up to date.
func (r *Records) update(ctx context.Context, id string, e Entry, dryRun bool) (before, after *User, err error) {
	before, err = r.Find(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	after = e.apply(clone(before))
	if dryRun || sameUser(before, after) {
		return before, after, nil
	}
	if err := r.point(ctx, after); err != nil {
		return nil, nil, err
	}
	now := r.now().UTC()
	u, err := r.exchange(ctx, id, func(u *User) bool {
		before = clone(u)
		after = e.apply(u)
		u.AccessAt = now
		return true
	}, accessChanged(id, now))
	if err == nil && u == nil { // deleted meanwhile
		return nil, nil, ErrNotFound
	}
	return before, after, err
}

func clone(u *User) *User {
	c := *u
	c.Roles, c.Identities, c.Absorbed = slices.Clone(u.Roles), slices.Clone(u.Identities), maps.Clone(u.Absorbed)
	return &c
}

func sameUser(a, b *User) bool {
	return a.Name == b.Name && a.Status == b.Status && a.Email == b.Email && a.Phone == b.Phone &&
		slices.Equal(a.Roles, b.Roles) && slices.Equal(a.Identities, b.Identities)
}
