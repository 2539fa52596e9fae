// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// maxUserAgent bounds, in bytes, what is kept of a User-Agent header.
const maxUserAgent = 256

// me is GET me: who is signed in.
func (p *Portal) me(w http.ResponseWriter, r *http.Request) {
	who, err := p.identify(r.Context(), credentialsOf(r))
	if errors.Is(err, session.ErrInvalid) {
		writeError(w, http.StatusUnauthorized, "login_required", "nobody is signed in")
		return
	}
	if err != nil {
		p.unavailable(w, r, err)
		return
	}
	if why := p.admission(who); why != user.Admitted {
		p.turnAway(w, r, who, why)
		return
	}
	roles := who.User.AllRoles
	if roles == nil {
		roles = []string{}
	}
	writeJSON(w, http.StatusOK, struct {
		ID        string    `json:"id"`
		Name      string    `json:"name"`
		Avatar    string    `json:"avatar"`
		Roles     []string  `json:"roles"`
		ExpiresAt time.Time `json:"expires_at"`
	}{who.User.ID, who.User.Name, who.User.Avatar, roles, who.Session.ExpiresAt})
}

// logoutPage is GET logout: nothing ends by following a link.
func (p *Portal) logoutPage(w http.ResponseWriter, r *http.Request) {
	who, err := p.identify(r.Context(), credentialsOf(r))
	switch {
	case errors.Is(err, session.ErrInvalid):
		p.pages.Notice(w, r, http.StatusOK, page.SignedOut)
	case err != nil:
		p.unavailable(w, r, err)
	default:
		p.pages.Logout(w, r, page.Logout{Name: who.User.Name})
	}
}

// logout is POST logout: ends the session, with everywhere=true all of the user's.
func (p *Portal) logout(w http.ResponseWriter, r *http.Request) {
	everywhere, err := readEverywhere(w, r)
	if err != nil {
		writeError(w, http.StatusBadRequest, "bad_request", "the body must be a small form or JSON object with everywhere, or empty")
		return
	}
	who, err := p.identify(r.Context(), credentialsOf(r))
	if err == nil {
		err = p.endSessions(r, who, everywhere)
	}
	if err != nil && !errors.Is(err, session.ErrInvalid) {
		p.unavailable(w, r, err) // the cookie stays: the session still lives
		return
	}
	p.signedOut(w, r)
}

// signedOut answers a browser whose session has ended by its own wish.
func (p *Portal) signedOut(w http.ResponseWriter, r *http.Request) {
	p.cookies.clearSession(w)
	w.Header().Set("Cache-Control", "no-store")
	if wantsJSON(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// readEverywhere says whether all of the user's sessions are to end.
func readEverywhere(w http.ResponseWriter, r *http.Request) (bool, error) {
	if isJSON(r) {
		var body struct {
			Everywhere bool `json:"everywhere"`
		}
		err := readJSON(w, r, &body)
		return body.Everywhere, err
	}
	err := readForm(w, r)
	return r.FormValue("everywhere") == "true", err
}

func (p *Portal) endSessions(r *http.Request, who *Principal, everywhere bool) error {
	event := audit.Event{Action: audit.SignOut, Result: audit.OK, Actor: person(who.User.ID), UserID: who.User.ID, SessionID: who.Session.ID, Count: 1}
	if everywhere {
		n, err := p.Sessions.RevokeUser(r.Context(), who.User.ID)
		if err != nil {
			return err
		}
		event.Count = max(1, n)
	}
	if _, err := p.Sessions.Revoke(r.Context(), who.Session.ID); err != nil {
		return err
	}
	p.Count("session", who.Session.AppID, "signed_out")
	p.record(r, event)
	p.Log.Info("signed out", zap.String("user_id", who.User.ID), zap.Bool("everywhere", everywhere), zap.Stringer("client_ip", p.ClientAddr(r)))
	return nil
}

// wantsJSON says whether a script asks, not a form.
func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return isJSON(r) || strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

func isJSON(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/json")
}

// maskOpenID leaves enough of an openid to follow one person through a log, and
// too little to name the person elsewhere.
func maskOpenID(openID string) string {
	if len(openID) <= 8 {
		return "…"
	}
	return openID[:4] + "…" + openID[len(openID)-2:]
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
