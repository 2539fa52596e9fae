// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// The reasons why a person is refused at sign-in.
const (
	ReasonClosed   = "registration_closed"
	ReasonDisabled = "disabled"
)

// DeniedError says that a person may not sign in.
type DeniedError struct {
	Reason string // ReasonClosed or ReasonDisabled
	UserID string // empty for a person who is no user
}

func (e *DeniedError) Error() string { return "sign-in denied: " + e.Reason }

// Directory finds and registers users under one policy.
type Directory struct {
	*Records
	rules   *rules
	grace   time.Duration
	members *otter.Cache[string, *Member]
}

// Member is a user as a policy sees him.
type Member struct {
	*User
	// Admission is why the user may not enter, empty where he may.
	Admission Admission
	// AllRoles are the roles that an operator has given and those of the policy.
	AllRoles []string
	// RolesText is AllRoles, separated by commas.
	RolesText string
}

// HasRole says whether the member has one of the roles.
func (m *Member) HasRole(roles ...string) bool {
	return slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(m.AllRoles, role) })
}

// NewDirectory returns a Directory of the users in r, under a policy whose Validate
// finds nothing. Users known to be true within the last grace are served while the
// store cannot be asked.
func NewDirectory(r *Records, p Policy, grace time.Duration) *Directory {
	return &Directory{
		Records: r, rules: p.compile(), grace: grace,
		members: otter.Must(&otter.Options[string, *Member]{MaximumSize: cachedUsers}),
	}
}

// Policy returns what the directory was made with.
func (d *Directory) Policy() Policy { return d.rules.Policy }

// Get returns the user, or ErrNotFound, or an error that wraps
// store.ErrUnavailable. The user is shared: it must not be changed.
func (d *Directory) Get(ctx context.Context, id string) (*Member, error) {
	u, found, err := d.set.Get(ctx, id, d.grace)
	if err != nil {
		return nil, err
	}
	if !found || u.Into != "" {
		return nil, ErrNotFound
	}
	return d.Member(u), nil
}

// Member returns the user as the policy sees him. That is found out once for each
// version of the record, and not at each request.
func (d *Directory) Member(u *User) *Member {
	if m, ok := d.members.GetIfPresent(u.ID); ok && m.User == u {
		return m
	}
	roles := d.rules.rolesOf(u)
	m := &Member{User: u, Admission: d.rules.admission(u), AllRoles: roles, RolesText: strings.Join(roles, ",")}
	d.members.Set(u.ID, m)
	return m
}

// Waits says whether the user may not enter before an operator approves.
func (d *Directory) Waits(u *User) bool {
	return u.Status == Pending && d.rules.Registration != Open && !d.rules.allows(u)
}

// Renew returns a member as he is known to be now: asked after something was begun in
// his name, no change of what he may do can have come in between unnoticed. While
// notices do not flow it returns what it was given: whoever is online is looked at. While
// they do nobody looks, and a user whom a notice has thrown out of memory must not pass;
// one who is in memory still, from before a gap, was good enough for Get. The error is
// ErrNotFound where there is no such user any more; any other means that it cannot be
// known.
func (d *Directory) Renew(ctx context.Context, m *Member) (*Member, error) {
	if !d.set.Flowing() {
		return m, nil
	}
	switch u, found, err := d.set.Get(ctx, m.ID, 0); {
	case err == nil && (!found || u.Into != ""):
		return nil, ErrNotFound
	case err == nil && u != m.User:
		return d.Member(u), nil
	case err != nil && d.set.Flowing() && (ctx.Err() != nil || !d.set.Remembered(m.ID)):
		return nil, err
	default: // nothing new, as far as is known, or the notices were lost meanwhile
		return m, nil
	}
}

// RuleRoles are the roles that the policy alone gives the user.
func (d *Directory) RuleRoles(u *User) []string {
	bare := *u
	bare.Roles = nil
	return d.rules.rolesOf(&bare)
}

// News is what a sign-in has changed in the directory.
type News struct {
	// Fresh says that somebody new was registered.
	Fresh bool
	// Merged are users who turned out to be the one who signs in, and are no more.
	Merged []string
	// Bound is the phone number that WeChat has proven; empty for none.
	Bound string
}

// SignIn returns the user to whom an identity that WeChat has proven belongs,
// and registers whoever is new as the policy says. Where the policy or an operator
// keeps the person out the error is a *DeniedError; the news are true all the same.
func (d *Directory) SignIn(ctx context.Context, id Identity) (m *Member, news News, err error) {
	if id.AppID == "" || id.OpenID == "" {
		return nil, news, errNoIdentity
	}
	number, err := Canonical(ByPhone, id.Phone)
	if err != nil {
		number = "" // no number is missing, a wrong one is too
	}
	id.Phone = number
	binds := number != "" && slices.Contains(d.rules.Bind, ByPhone)
	if binds {
		id.Phone = "" // until it is known whose it is
	}
	u, err := d.admit(ctx, id, &news)
	if err != nil {
		return nil, news, err
	}
	// WeChat has verified the number: no code need be sent to it. Somebody who is
	// disabled proves nothing: whose number it was would be disabled with him.
	if binds && u.Status != Disabled {
		if u, err = d.bound(ctx, u, number, &news); err != nil {
			return nil, news, err
		}
	}
	m = d.Member(u)
	switch m.Admission {
	case IsDisabled:
		return nil, news, &DeniedError{Reason: ReasonDisabled, UserID: u.ID}
	case NotAllowed:
		return nil, news, &DeniedError{Reason: ReasonClosed, UserID: u.ID}
	default: // let in, or to be shown what is missing
		return m, news, nil
	}
}

// bound returns the user whom u is, now that a phone number is known to be his.
func (d *Directory) bound(ctx context.Context, u *User, number string, news *News) (*User, error) {
	if u.Phone == number {
		owner, err := d.pointer(ctx, addressKey(ByPhone, number))
		if err != nil || owner == u.ID { // as ever
			return u, err
		}
	}
	owner, err := d.Bind(ctx, u.ID, ByPhone, number)
	if err != nil {
		return nil, err
	}
	if news.Bound = number; owner != u.ID {
		news.Merged = append(news.Merged, u.ID)
	}
	return d.Find(ctx, owner)
}

// admit returns the user whose identity it is, who is registered where he is new.
func (d *Directory) admit(ctx context.Context, id Identity, news *News) (*User, error) {
	owner, err := d.owner(ctx, id, news)
	if err != nil {
		return nil, fmt.Errorf("finding the user: %w", err)
	}
	u, err := d.enter(ctx, owner, id, news)
	if err == nil && owner == "" {
		news.Fresh = true
	}
	return u, err
}

// owner returns the id of the user who owns the identity, empty where none does.
// An identity whose unionid is another user's joins that user.
func (d *Directory) owner(ctx context.Context, id Identity, news *News) (string, error) {
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
		owner, err := d.merge(ctx, byIdentity, byUnion, id)
		if err == nil && owner != byIdentity {
			news.Merged = append(news.Merged, byIdentity)
		}
		return owner, err
	}
}

// enter records the sign-in with the owner, or registers a new user.
func (d *Directory) enter(ctx context.Context, owner string, id Identity, news *News) (*User, error) {
	if owner == "" {
		fresh, err := d.register(id)
		if err != nil {
			return nil, err
		}
		return d.claim(ctx, fresh, id, news)
	}
	if err := d.link(ctx, id, owner); err != nil {
		return nil, err
	}
	now := d.now().UTC()
	announce, err := d.foresee(ctx, owner, id, now)
	if err != nil {
		return nil, err
	}
	u, err := d.exchange(ctx, owner, func(u *User) bool {
		if u.learn(id); len(announce) > 0 {
			u.AccessAt = now
		}
		u.LastSeenAt = now
		return true
	}, announce...)
	if err != nil {
		return nil, fmt.Errorf("recording the sign-in: %w", err)
	}
	if u == nil {
		return d.recover(ctx, owner, id, news)
	}
	return u, nil
}

// recover goes on where an identity leads to a user whom there is not.
func (d *Directory) recover(ctx context.Context, owner string, id Identity, news *News) (*User, error) {
	heir, gone, err := d.heir(ctx, owner)
	switch {
	case err != nil:
		return nil, err
	case gone:
		return d.follow(ctx, owner, heir, id, news)
	default: // the process that was registering this person ended half-way
		return d.finish(ctx, owner, id, news)
	}
}

// follow signs in somebody who was on his way to a user who is gone.
func (d *Directory) follow(ctx context.Context, gone, heir string, id Identity, news *News) (*User, error) {
	if err := d.forward(ctx, keysOf(id), gone, heir); err != nil {
		return nil, err
	}
	return d.admit(ctx, id, news)
}

// foresee returns what to announce when a user learns an identity: with another number
// a role may be lost. Nothing else that is learnt takes any.
func (d *Directory) foresee(ctx context.Context, owner string, id Identity, now time.Time) ([]store.Announcement, error) {
	if id.Phone == "" {
		return nil, nil
	}
	u, found, err := d.set.Get(ctx, owner, 0)
	if err != nil || !found || u.Phone == id.Phone {
		return nil, err
	}
	return []store.Announcement{accessChanged(owner, now)}, nil
}

// finish writes the record of a user whose identity is claimed already.
func (d *Directory) finish(ctx context.Context, owner string, id Identity, news *News) (*User, error) {
	u, err := d.register(id)
	if err != nil {
		return nil, err
	}
	u.ID = owner
	if err := d.link(ctx, id, owner); err != nil {
		return nil, err
	}
	created, err := d.set.Introduce(ctx, owner, u, 0)
	if err != nil {
		return nil, err
	}
	if !created { // somebody else has finished it, perhaps by another identity
		return d.enter(ctx, owner, id, news)
	}
	// Others may have registered him, and merged or deleted him, since it was looked.
	heir, gone, err := d.heir(ctx, owner)
	if err != nil || !gone {
		return u, err
	}
	if _, err := d.set.Delete(ctx, owner, accessEnded(owner)); err != nil {
		return nil, err
	}
	return d.follow(ctx, owner, heir, id, news)
}

// register makes the record of a person whom nobody knows yet.
func (d *Directory) register(id Identity) (*User, error) {
	now := d.now().UTC()
	u := &User{ID: newID(), Status: Active, CreatedAt: now, LastSeenAt: now}
	u.learn(id)
	if d.rules.Registration == Open {
		return u, nil
	}
	// Whoever is let in by a rule is in for as long as the rule stands.
	u.Status = Pending
	if d.rules.admission(u) == NotAllowed {
		return nil, &DeniedError{Reason: ReasonClosed}
	}
	return u, nil
}

// claim writes a new user. The pointer from the identity comes first: of two
// sign-ins at the same time one wins it, and a crash in between leaves a
// pointer which the next sign-in completes, never a user without one.
func (d *Directory) claim(ctx context.Context, u *User, id Identity, news *News) (*User, error) {
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
	return d.finish(ctx, owner, id, news)
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
	if _, found, err := d.settled(ctx, into); err != nil {
		return "", err
	} else if !found {
		return d.mergeWithHeir(ctx, from, into, id)
	}
	owner, err = d.absorb(ctx, from, into, id)
	if errors.Is(err, ErrNotFound) { // all but the pointer was moved before
		owner, err = into, nil
	}
	if err != nil || owner == from {
		return owner, err
	}
	return into, d.redirect(ctx, identityKey(id), from, into)
}

// mergeWithHeir is merge where the unionid leads to a user whom there is not: to one
// who is gone, or a registration that ended half-way.
func (d *Directory) mergeWithHeir(ctx context.Context, from, gone string, id Identity) (owner string, err error) {
	heir, _, err := d.heir(ctx, gone)
	if err != nil {
		return "", err
	}
	heir = cmp.Or(heir, from)
	if err := d.redirect(ctx, unionPrefix+id.UnionID, gone, heir); err != nil || heir == from {
		return from, err
	}
	return d.merge(ctx, from, heir, id)
}
