// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// What an admin may do to a user.
const (
	doApprove     = "approve"
	doEnable      = "enable"
	doDisable     = "disable"
	doRoles       = "roles"
	doDelete      = "delete"
	doEndSession  = "end_session"
	doEndSessions = "end_sessions"
)

// adminDoes lists them all.
var adminDoes = []string{doApprove, doEnable, doDisable, doRoles, doDelete, doEndSession, doEndSessions}

// Why nothing is done, as the page calls it.
const (
	refusedChanged   = "changed"
	refusedGone      = "gone"
	refusedNoSession = "no_session"
	refusedSelf      = "self"
	refusedBadRoles  = "bad_roles"
)

// order is what an admin wants done to a user.
type order struct {
	do   string
	by   *Principal
	user *user.User
	// roles are those that the user is to have, was those that the admin has seen.
	roles, was []string
	sessionID  string
	session    *session.Session // nil where the user has none of that id
}

// adminAct is POST admin/users/{id}: asks whether to do something, and does it once
// that is confirmed.
func (p *Portal) adminAct(w http.ResponseWriter, r *http.Request, who *Principal) {
	err := readForm(w, r)
	do := r.PostFormValue("do")
	if err != nil || !slices.Contains(adminDoes, do) {
		writeError(w, http.StatusBadRequest, "bad_request", "the body must be a small form with do, one of "+strings.Join(adminDoes, ", "))
		return
	}
	o := order{
		do: do, by: who, roles: parseRoles(r.PostFormValue("roles")), was: parseRoles(r.PostFormValue("was")),
		sessionID: r.PostFormValue("session"),
	}
	o.user, err = p.Users.Find(r.Context(), r.PathValue("id"))
	if err == nil && do == doEndSession {
		o.session, err = p.sessionOf(r, o.user.ID, o.sessionID)
	}
	refused := ""
	if err == nil {
		refused = p.refusal(o)
	}
	if err == nil && refused == "" {
		if r.PostFormValue("confirmed") != "yes" {
			p.askAdmin(w, r, o)
			return
		}
		err = p.carryOut(r, o)
	}
	p.adminDone(w, r, o, refused, err)
}

// parseRoles reads what a person has typed.
func parseRoles(text string) []string {
	roles := strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == '，' || c == '、' || unicode.IsSpace(c) })
	slices.Sort(roles)
	return slices.Compact(roles)
}

// refusal says why an order is not carried out; empty where it is.
func (p *Portal) refusal(o order) string {
	self := o.user.ID == o.by.User.ID
	switch {
	case self && (o.do == doDisable || o.do == doDelete):
		return refusedSelf
	case o.do == doRoles && (user.Change{Roles: &o.roles}).Validate() != nil:
		return refusedBadRoles
	case !o.expects(o.user):
		return refusedChanged
	case self && o.do == doRoles && !p.isAdmin(&user.Member{AllRoles: slices.Concat(o.roles, p.Users.RuleRoles(o.user))}):
		return refusedSelf
	case o.do == doEndSession && o.session == nil:
		return refusedNoSession
	default:
		return ""
	}
}

// expects says whether a user still is as the admin has seen him, where that
// matters: of two admins the slower one must not undo unawares what the other did.
// Who is disabled can be disabled again: the first time may have ended half-way.
func (o order) expects(u *user.User) bool {
	switch o.do {
	case doApprove:
		return u.Status == user.Pending
	case doEnable:
		return u.Status == user.Disabled
	case doRoles:
		return slices.Equal(o.was, slices.Sorted(slices.Values(u.Roles)))
	default:
		return true
	}
}

// askAdmin shows what will happen to whom.
func (p *Portal) askAdmin(w http.ResponseWriter, r *http.Request, o order) {
	question := page.AdminConfirm{Person: p.shownPerson(o.user), Do: o.do, Roles: o.roles}
	if o.do == doApprove || o.do == doEnable {
		question.LetsIn = true
		then := *o.user
		then.Status = user.Active
		question.Still = string(p.admissionHere(&then))
	}
	if o.session != nil {
		s := shownSession(*o.session, o.by.Session.ID)
		question.Session = &s
	}
	p.pages.AdminConfirm(w, r, question)
}

// carryOut does what is ordered.
func (p *Portal) carryOut(r *http.Request, o order) error {
	ctx, service, by := r.Context(), p.peopleFor(r), admin(o.by)
	change := user.Change{If: o.expects}
	switch active, disabled := user.Active, user.Disabled; o.do {
	case doApprove, doEnable:
		change.Status = &active
	case doDisable:
		change.Status = &disabled
	case doRoles:
		change.Roles = &o.roles
	case doDelete:
		_, err := service.Delete(ctx, by, o.user.ID)
		return err
	case doEndSession:
		_, err := service.RevokeSession(ctx, by, o.sessionID)
		return err
	case doEndSessions:
		_, err := service.RevokeSessions(ctx, by, o.user.ID)
		return err
	}
	_, err := service.Change(ctx, by, o.user.ID, change)
	return err
}

// adminDone sends the admin on to a page that says what has come of an order: the
// list, from which people are approved, or the user's.
func (p *Portal) adminDone(w http.ResponseWriter, r *http.Request, o order, refused string, err error) {
	done, to := o.do, adminPath
	if o.user != nil {
		to += "/users/" + o.user.ID
	}
	switch {
	case errors.Is(err, user.ErrNotFound):
		done, to = refusedGone, adminPath
	case errors.Is(err, user.ErrChanged):
		done = refusedChanged
	case err != nil:
		p.unavailable(w, r, err)
		return
	case refused != "":
		done = refused
	case o.do == doApprove || o.do == doDelete:
		to = adminPath
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, p.Prefix+to+"?done="+done, http.StatusSeeOther)
}
