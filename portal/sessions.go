// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"errors"
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

const (
	sessionsPath = "/sessions"

	// endAll and endOthers are what a person may end besides one session by its
	// id, which looks like neither.
	endAll    = "all"
	endOthers = "others"
)

// ownSession is a session as its own person reads it.
type ownSession struct {
	session.Info
	// Current says that it is the one that asks.
	Current bool `json:"current"`
}

// sessionsPage is GET sessions: a person's own page, with where the person is
// signed in. Whoever has a session may use it, admitted or not.
func (p *Portal) sessionsPage(w http.ResponseWriter, r *http.Request) {
	who, err := p.identify(r.Context(), credentialsOf(r))
	if err != nil {
		p.signInFirst(w, r, err)
		return
	}
	list, err := p.Sessions.List(r.Context(), who.User.ID)
	switch {
	case err != nil:
		p.unavailable(w, r, err)
	case wantsJSON(r):
		writeJSON(w, http.StatusOK, map[string][]ownSession{"sessions": ownSessions(list, who.Session.ID)})
	default:
		p.pages.Sessions(w, r, page.Sessions{
			Name: who.User.Name, Email: masked(who.User, user.ByEmail), Phone: masked(who.User, user.ByPhone),
			Binds: p.owesAddress(who.User), Admin: len(p.AdminRoles) > 0 && p.isAdmin(who.User), Sessions: shownSessions(list, who.Session.ID), Done: r.URL.Query().Get("done"),
		})
	}
}

// signInFirst answers a request of somebody who is not signed in, or of whom that
// is not known. A form leads back to the page that it was on.
func (p *Portal) signInFirst(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case !errors.Is(err, session.ErrInvalid):
		p.unavailable(w, r, err)
	case isForm(r):
		p.showLogin(w, r, http.StatusUnauthorized, r.URL.Path)
	default:
		p.askToSignIn(w, r)
	}
}

// owesAddress says whether the user lacks an address that people here prove.
func (p *Portal) owesAddress(u *user.Member) bool {
	return slices.ContainsFunc(p.Users.Policy().Bind, func(ch user.Channel) bool { return u.Address(ch) == "" })
}

func masked(u *user.Member, ch user.Channel) string {
	if address := u.Address(ch); address != "" {
		return user.Mask(ch, address)
	}
	return ""
}

func ownSessions(list []session.Session, current string) []ownSession {
	own := make([]ownSession, len(list))
	for i, s := range list {
		own[i] = ownSession{s.Info(), s.ID == current}
	}
	return own
}

func shownSessions(list []session.Session, current string) []page.Session {
	shown := make([]page.Session, len(list))
	for i, s := range list {
		shown[i] = shownSession(s, current)
	}
	return shown
}

func shownSession(s session.Session, current string) page.Session {
	return page.Session{
		ID: s.ID, Browser: knownUserAgent(s.UserAgent), Address: s.IP, Method: s.Method,
		Begun: s.CreatedAt.In(login.Beijing), Seen: s.LastSeenAt.In(login.Beijing), Current: s.ID == current,
	}
}

// endOwnSessions is POST sessions: ends one of the person's sessions, all others
// or all.
func (p *Portal) endOwnSessions(w http.ResponseWriter, r *http.Request) {
	what, err := readEnd(w, r)
	if err != nil || what == "" {
		writeError(w, http.StatusBadRequest, "bad_request", "the body must be a small form or JSON object with end: a session's id, others or all")
		return
	}
	who, err := p.identify(r.Context(), credentialsOf(r))
	if err != nil {
		p.signInFirst(w, r, err)
		return
	}
	if what == endAll || what == who.Session.ID {
		if err := p.endSessions(r, who, what == endAll); err != nil {
			p.unavailable(w, r, err) // the cookie stays: the session still lives
			return
		}
		p.signedOut(w, r)
		return
	}
	done, err := p.endOther(r, who, what)
	switch {
	case err != nil:
		p.unavailable(w, r, err)
	case !wantsJSON(r):
		http.Redirect(w, r, p.Prefix+sessionsPath+"?done="+done, http.StatusSeeOther) //nolint:gosec // done is one of endOther's own words
	case done == "gone":
		writeError(w, http.StatusNotFound, "not_found", "you have no such session: it may have ended already")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// readEnd returns what is to be ended.
func readEnd(w http.ResponseWriter, r *http.Request) (string, error) {
	if isJSON(r) {
		var body struct {
			End string `json:"end"`
		}
		err := readJSON(w, r, &body)
		return body.End, err
	}
	err := readForm(w, r)
	return r.PostFormValue("end"), err
}

// endOther ends sessions other than the one that asks, and says what it did, as the
// page calls it. What is not in the person's own list does not exist here.
func (p *Portal) endOther(r *http.Request, who *Principal, what string) (done string, err error) {
	event := audit.Event{Action: audit.RevokeSessions, Result: audit.OK, Actor: person(who.User.ID), UserID: who.User.ID}
	if what == endOthers {
		done = "others"
		event.Count, err = p.Sessions.RevokeOthers(r.Context(), who.User.ID, who.Session.ID)
	} else {
		done = "ended"
		event.Action, event.SessionID = audit.RevokeSession, what
		event.Count, err = p.endOne(r, who.User.ID, what)
	}
	switch {
	case err != nil:
		return "", err
	case event.Count == 0 && what != endOthers:
		return "gone", nil
	}
	p.Count("session", who.Session.AppID, "revoked")
	p.record(r, event)
	p.Log.Info("sessions ended by their person", zap.String("user_id", who.User.ID), zap.Int("sessions", event.Count), zap.Stringer("client_ip", p.ClientAddr(r)))
	return done, nil
}

// endOne ends a session of a user and says how many that were.
func (p *Portal) endOne(r *http.Request, userID, id string) (int, error) {
	s, err := p.sessionOf(r, userID, id)
	if err != nil || s == nil {
		return 0, err
	}
	if found, err := p.Sessions.Revoke(r.Context(), id); err != nil || !found {
		return 0, err
	}
	return 1, nil
}

// sessionOf returns a session of a user, nil where the user has none of that id.
func (p *Portal) sessionOf(r *http.Request, userID, id string) (*session.Session, error) {
	list, err := p.Sessions.List(r.Context(), userID)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(list, func(s session.Session) bool { return s.ID == id }); i >= 0 {
		return &list[i], nil
	}
	return nil, nil //nolint:nilnil // there is none
}
