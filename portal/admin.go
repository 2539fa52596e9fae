// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

const (
	adminPath = "/admin"
	// maxSearch bounds, in bytes, what is searched for.
	maxSearch = 100
)

// isAdmin says whether a user may see the admin page.
func (p *Portal) isAdmin(u *user.Member) bool { return u.HasRole(p.AdminRoles...) }

// adminHandler answers an admin.
type adminHandler func(w http.ResponseWriter, r *http.Request, who *Principal)

// asAdmin lets only people with an admin role through, as the store has them now:
// whoever has lost the role or the session on another node has lost it here.
func (p *Portal) asAdmin(h adminHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := p.identifyAnew(r)
		if err != nil {
			p.signInFirst(w, r, err)
			return
		}
		why := who.User.Admission
		if why == user.Admitted && !p.isAdmin(who.User) {
			why = roleMissing
		}
		if why != user.Admitted {
			p.refuseAdmin(w, r, who, why)
			return
		}
		h(w, r, who)
	}
}

// identifyAnew is identify without regard to what is in memory.
func (p *Portal) identifyAnew(r *http.Request) (*Principal, error) {
	who, err := p.identify(r.Context(), credentialsOf(r))
	if err != nil {
		return nil, err
	}
	if _, err := p.Sessions.Find(r.Context(), who.Session.ID); err != nil {
		return nil, err
	}
	u, err := p.Users.Find(r.Context(), who.User.ID)
	if errors.Is(err, user.ErrNotFound) {
		return nil, session.ErrInvalid
	}
	if err != nil {
		return nil, err
	}
	return &Principal{Session: who.Session, User: p.Users.Member(u)}, nil
}

// refuseAdmin answers somebody who is signed in and no admin.
func (p *Portal) refuseAdmin(w http.ResponseWriter, r *http.Request, who *Principal, why user.Admission) {
	p.recordRefusal(r, audit.Event{
		Action: audit.AdminRefused, Result: audit.Refused, Reason: string(why),
		Actor: person(who.User.ID), UserID: who.User.ID, SessionID: who.Session.ID, Detail: r.Pattern,
	})
	if isForm(r) {
		p.pages.TurnedAway(w, r, page.RoleMissing, who.User.Name)
		return
	}
	p.turnAway(w, r, who, why)
}

// peopleFor is People on behalf of a request, which its events name.
func (p *Portal) peopleFor(r *http.Request) *people.Service {
	return &people.Service{
		Users: p.People.Users, Sessions: p.People.Sessions,
		Audit: func(_ context.Context, e audit.Event) { p.record(r, e) },
	}
}

// adminPage is GET admin: who waits for approval, and a search among all.
func (p *Portal) adminPage(w http.ResponseWriter, r *http.Request, _ *Principal) {
	asked := r.URL.Query()
	query := user.Query{Status: statusOf(asked), Text: truncate(asked.Get("q"), maxSearch), Cursor: asked.Get("cursor")}
	found, err := p.Users.List(r.Context(), query)
	if errors.Is(err, user.ErrCursor) {
		http.Redirect(w, r, p.Prefix+adminPath, http.StatusSeeOther)
		return
	}
	var waiting []*user.User
	total := 0
	if err == nil && query == (user.Query{}) {
		waiting, total, err = p.whoWaits(r.Context())
	}
	if err != nil {
		p.unavailable(w, r, err)
		return
	}
	p.pages.Admin(w, r, page.Admin{
		Waiting: p.shownPeople(waiting), WaitingTotal: total,
		Text: query.Text, Status: string(query.Status),
		People: p.shownPeople(found.Users), Total: found.Total, Later: query.Cursor != "", Next: found.Next,
		Done: asked.Get("done"),
	})
}

// whoWaits returns some of those who wait for approval, the newest first, and how
// many there are. Whoever a rule lets in is pending, too, but waits for nobody; and
// the list may be a moment behind the users in it.
func (p *Portal) whoWaits(ctx context.Context) (users []*user.User, total int, err error) {
	if p.Users.Policy().Registration == user.Open {
		return nil, 0, nil
	}
	query, others := user.Query{Status: user.Pending}, 0
	for {
		found, err := p.Users.List(ctx, query)
		if err != nil {
			return nil, 0, err
		}
		for _, u := range found.Users {
			if p.Users.Waits(u) {
				users = append(users, u)
			} else {
				others++
			}
		}
		if query.Cursor = found.Next; query.Cursor == "" || len(users) >= user.DefaultLimit {
			return users, max(found.Total-others, len(users)), nil
		}
	}
}

// statusOf is the status that is asked for; empty for any.
func statusOf(asked url.Values) user.Status {
	switch status := user.Status(asked.Get("status")); status {
	case user.Active, user.Pending, user.Disabled:
		return status
	default:
		return ""
	}
}

func (p *Portal) shownPeople(users []*user.User) []page.Person {
	shown := make([]page.Person, len(users))
	for i, u := range users {
		shown[i] = p.shownPerson(u)
	}
	return shown
}

func (p *Portal) shownPerson(u *user.User) page.Person {
	shown := page.Person{
		ID: u.ID, Name: u.Name, Email: u.Email, Phone: u.Phone,
		Status: string(u.Status), Waits: p.Users.Waits(u), Admission: string(p.admissionHere(u)),
		Roles: u.Roles, RuleRoles: p.Users.RuleRoles(u),
		Identities: make([]page.Identity, len(u.Identities)),
		Created:    u.CreatedAt.In(login.Beijing), Seen: shownTime(u.LastSeenAt),
	}
	for i, id := range u.Identities {
		shown.Identities[i] = page.Identity{AppID: id.AppID, OpenID: id.OpenID, UnionID: id.UnionID}
	}
	return shown
}

// admissionHere is why a user may not enter this site, which may ask for a role.
func (p *Portal) admissionHere(u *user.User) user.Admission {
	m := p.Users.Member(u)
	if m.Admission == user.Admitted && len(p.Require) > 0 && !m.HasRole(p.Require...) {
		return roleMissing
	}
	return m.Admission
}

// shownTime keeps the zero time what it is.
func shownTime(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.In(login.Beijing)
}

// adminUserPage is GET admin/users/{id}: everything of one user.
func (p *Portal) adminUserPage(w http.ResponseWriter, r *http.Request, who *Principal) {
	u, err := p.Users.Find(r.Context(), r.PathValue("id"))
	if errors.Is(err, user.ErrNotFound) {
		p.notFound(w, r)
		return
	}
	var list []session.Session
	if err == nil {
		list, err = p.Sessions.List(r.Context(), u.ID)
	}
	if err != nil {
		p.unavailable(w, r, err)
		return
	}
	p.pages.AdminUser(w, r, page.AdminUser{
		Person: p.shownPerson(u), Self: u.ID == who.User.ID,
		Sessions: shownSessions(list, who.Session.ID), Done: r.URL.Query().Get("done"),
	})
}
