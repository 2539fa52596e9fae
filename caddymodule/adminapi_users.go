// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// userJSON is a user as the admin API shows him.
type userJSON struct {
	ID     string      `json:"id"`
	Name   string      `json:"name"`
	Status user.Status `json:"status"`
	// Waits says that the user may not enter before an operator approves: somebody
	// who is pending may be let in by the configuration.
	Waits bool `json:"waits"`
	// Admission is why the user may not enter, such as email_missing; empty where he
	// may. A site may ask for a role besides.
	Admission  user.Admission    `json:"admission"`
	Roles      []string          `json:"roles"`
	Email      string            `json:"email"`
	Phone      string            `json:"phone"`
	Identities []people.Identity `json:"identities"`
	CreatedAt  time.Time         `json:"created_at"`
	// LastSeenAt is null for who has never signed in.
	LastSeenAt *time.Time `json:"last_seen_at"`
}

func (a *App) userToJSON(u *user.User) userJSON {
	j := userJSON{
		ID: u.ID, Name: u.Name, Status: u.Status, Waits: a.users.Waits(u), Admission: a.users.Member(u).Admission, Roles: append([]string{}, u.Roles...), Email: u.Email, Phone: u.Phone,
		Identities: people.IdentitiesOf(u), CreatedAt: u.CreatedAt,
	}
	if !u.LastSeenAt.IsZero() {
		j.LastSeenAt = &u.LastSeenAt
	}
	return j
}

// userPage is a page of users.
type userPage struct {
	Users      []userJSON `json:"users"`
	NextCursor string     `json:"next_cursor"`
}

// userQuery asks for a page of users, or for the one of an id.
type userQuery struct {
	ID     string      `json:"id,omitempty"`
	Status user.Status `json:"status,omitempty"`
	Query  string      `json:"query,omitempty"`
	Cursor string      `json:"cursor,omitempty"`
	Limit  int         `json:"limit,omitempty"`
}

// adminListUsers is GET users. Caddy writes its URL to the log.
func adminListUsers(r adminRequest) (any, error) {
	values := r.URL.Query()
	q := userQuery{Status: user.Status(values.Get("status")), Query: values.Get("query"), Cursor: values.Get("cursor")}
	if raw := values.Get("limit"); raw != "" {
		var err error
		if q.Limit, err = strconv.Atoi(raw); err != nil || q.Limit == 0 {
			return nil, errLimit
		}
	}
	return listUsers(r, q)
}

// adminSearchUsers is GET users for a query that is not to be in a log: somebody's
// name, address or openid.
func adminSearchUsers(r adminRequest) (any, error) {
	var q userQuery
	if err := decodeBody(r, maxChangeBody, &q); err != nil {
		return nil, err
	}
	if q.ID == "" {
		return listUsers(r, q)
	}
	u, err := findUser(r, q.ID)
	if errors.Is(err, user.ErrNotFound) {
		return userPage{Users: []userJSON{}}, nil
	}
	if err != nil {
		return nil, err
	}
	return userPage{Users: []userJSON{r.app.userToJSON(u)}}, nil
}

var errLimit = badRequest("bad_limit", fmt.Sprintf("limit is a number from 1 to %d", user.MaxLimit))

func listUsers(r adminRequest, q userQuery) (any, error) {
	if q.Limit < 0 || q.Limit > user.MaxLimit {
		return nil, errLimit
	}
	if q.Status != "" {
		if err := (user.Change{Status: &q.Status}).Validate(); err != nil {
			return nil, badRequest("bad_status", err.Error())
		}
	}
	page, err := r.app.people.Users.List(r.Context(), user.Query{Status: q.Status, Text: q.Query, Cursor: q.Cursor, Limit: q.Limit})
	if err != nil {
		return nil, err
	}
	answer := userPage{Users: make([]userJSON, len(page.Users)), NextCursor: page.Next}
	for i, u := range page.Users {
		answer.Users[i] = r.app.userToJSON(u)
	}
	return answer, nil
}

func adminShowUser(r adminRequest) (any, error) {
	u, err := findUser(r, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return r.app.userToJSON(u), nil
}

// findUser returns the user of an id.
func findUser(r adminRequest, id string) (*user.User, error) {
	if !user.ValidID(id) {
		return nil, user.ErrNotFound
	}
	return r.app.people.Users.Find(r.Context(), id)
}

// userChange is what PATCH makes of a user.
type userChange struct {
	user.Change
	// If says what the user must be for the change to be made; what is left out may
	// be anything.
	If *user.Change `json:"if,omitempty"`
}

// holds says whether a user is as c says.
func holds(c *user.Change, u *user.User) bool {
	sorted := func(roles []string) []string { return slices.Sorted(slices.Values(roles)) }
	return (c.Status == nil || *c.Status == u.Status) && (c.Roles == nil || slices.Equal(sorted(*c.Roles), sorted(u.Roles)))
}

func adminChangeUser(r adminRequest) (any, error) {
	var c userChange
	if err := decodeBody(r, maxChangeBody, &c); err != nil {
		return nil, err
	}
	if c.Status == nil && c.Roles == nil {
		return nil, badRequest("nothing_to_change", "give a status, roles, or both")
	}
	if err := c.Validate(); err != nil {
		return nil, badRequest("bad_change", err.Error())
	}
	if c.If != nil {
		c.Change.If = func(u *user.User) bool { return holds(c.If, u) }
	}
	id := r.PathValue("id")
	if !user.ValidID(id) {
		return nil, user.ErrNotFound
	}
	u, err := r.app.people.Change(r.Context(), r.actor(), id, c.Change)
	if err != nil {
		return nil, err
	}
	return r.app.userToJSON(u), nil
}

func adminDeleteUser(r adminRequest) (any, error) {
	id := r.PathValue("id")
	if !user.ValidID(id) {
		return nil, user.ErrNotFound
	}
	_, err := r.app.people.Delete(r.Context(), r.actor(), id)
	return nil, err
}

// sessionList are the sessions of a user.
type sessionList struct {
	Sessions []session.Info `json:"sessions"`
}

func adminListSessions(r adminRequest) (any, error) {
	u, err := findUser(r, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	sessions, err := r.app.people.Sessions.List(r.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	answer := sessionList{Sessions: make([]session.Info, len(sessions))}
	for i, s := range sessions {
		answer.Sessions[i] = s.Info()
	}
	return answer, nil
}

// sessionsEnded says how many sessions were ended.
type sessionsEnded struct {
	Ended int `json:"ended"`
}

// adminEndSessions ends what sessions there are before it asks whether there is
// such a user: a delete that ended half-way may have left some.
func adminEndSessions(r adminRequest) (any, error) {
	id := r.PathValue("id")
	if !user.ValidID(id) {
		return nil, user.ErrNotFound
	}
	n, err := r.app.people.RevokeSessions(r.Context(), r.actor(), id)
	if err == nil && n == 0 {
		_, err = findUser(r, r.PathValue("id"))
	}
	if err != nil {
		return nil, err
	}
	return sessionsEnded{n}, nil
}

func adminEndSession(r adminRequest) (any, error) {
	found, err := r.app.people.RevokeSession(r.Context(), r.actor(), r.PathValue("id"))
	if err == nil && !found || errors.Is(err, store.ErrTooLarge) {
		return nil, &adminError{http.StatusNotFound, "not_found", "there is no such session, or not any more"}
	}
	return nil, err
}
