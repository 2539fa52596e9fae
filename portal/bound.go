// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// bindTime bounds how long it may take to bind a proven address.
const bindTime = 5 * time.Second

const (
	// handedPrefix begins the keys that say which session took the place of another.
	handedPrefix = store.VolatilePrefix + "handed:"
	handedTTL    = 25 * time.Hour
)

// bind is POST bind: a person who has the code has the address.
func (p *Portal) bind(w http.ResponseWriter, r *http.Request) {
	b, ok := p.readBinding(w, r)
	if !ok || p.alreadyBound(w, r, b, audit.Bind) {
		return
	}
	// Taken before, so that many at once get no more turns; a right code gives it back.
	if wait := p.limits.wrongCodes.take(p.ClientAddr(r), p.Now()); wait > 0 {
		event := bindEvent(audit.Bind, b)
		event.Result, event.Reason = audit.Refused, string(page.TooManyBad)
		p.recordRefusal(r, event)
		setRetryAfter(w, wait)
		p.bindProblem(w, r, http.StatusTooManyRequests, b, page.Bind{Problem: page.TooManyBad, Sent: true}, "too many wrong codes: wait and try again")
		return
	}
	if err := p.codes.Check(r.Context(), b.who.User.ID, b.ch, b.address, b.code); err != nil {
		p.unproven(w, r, b, err)
		return
	}
	p.limits.wrongCodes.giveBack(p.ClientAddr(r))
	// A visitor who leaves does not stop it half-way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), bindTime)
	defer cancel()
	owner, err := p.Users.Bind(ctx, b.who.User.ID, b.ch, b.address)
	if err != nil {
		p.notBound(w, r, b, err)
		return
	}
	event := bindEvent(audit.Bind, b)
	event.UserID = owner
	p.record(r, event)
	p.Log.Info("address bound", zap.String("user_id", owner), zap.String("channel", string(b.ch)),
		zap.String("address", user.Mask(b.ch, b.address)), zap.Stringer("client_ip", p.ClientAddr(r)))
	if owner != b.who.User.ID && !p.become(w, r, b, owner) {
		return
	}
	p.goOn(w, r, b.returnTo)
}

// alreadyBound answers, and reports true, where the user has another address of the
// kind already. A session alone must not replace one that was proven: who has stolen
// it would be the user, with an address of his own, long after the session has ended.
func (p *Portal) alreadyBound(w http.ResponseWriter, r *http.Request, b binding, action audit.Action) bool {
	u, err := p.Users.Find(r.Context(), b.who.User.ID) // not what this node remembers
	switch {
	case errors.Is(err, user.ErrNotFound):
		p.signInFirst(w, r, session.ErrInvalid)
		return true
	case err != nil:
		p.unavailable(w, r, err)
		return true
	}
	if bound := u.Address(b.ch); bound == "" || bound == b.address {
		return false
	}
	event := bindEvent(action, b)
	event.Result, event.Reason = audit.Refused, string(page.AlreadyBound)
	p.recordRefusal(r, event)
	b.who = &Principal{Session: b.who.Session, User: p.Users.Member(u)}
	p.bindProblem(w, r, http.StatusConflict, b, page.Bind{Problem: page.AlreadyBound}, "this user has another address: ask the site's operator to change it")
	return true
}

// unproven answers a person who has no right code.
func (p *Portal) unproven(w http.ResponseWriter, r *http.Request, b binding, err error) {
	status, d, message := http.StatusBadRequest, page.Bind{Problem: page.WrongCode, Sent: true}, "that is not the code: type it again"
	switch {
	case errors.Is(err, user.ErrWrongCode):
	case errors.Is(err, user.ErrCodeUsedUp):
		status, d, message = http.StatusGone, page.Bind{Problem: page.CodeUsedUp}, "the code can no longer be used: get a new one"
	default:
		p.limits.wrongCodes.giveBack(p.ClientAddr(r))
		p.unavailable(w, r, err)
		return
	}
	event := bindEvent(audit.Bind, b)
	event.Result, event.Reason = audit.Refused, string(d.Problem)
	p.recordRefusal(r, event)
	p.bindProblem(w, r, status, b, d, message)
}

// notBound answers where a proven address could not be recorded. The person asks for
// another code then: what was begun is completed.
func (p *Portal) notBound(w http.ResponseWriter, r *http.Request, b binding, err error) {
	event := bindEvent(audit.Bind, b)
	if errors.Is(err, user.ErrNotFound) { // deleted meanwhile
		event.Result, event.Reason = audit.Refused, "unknown_user"
		p.record(r, event)
		p.signInFirst(w, r, session.ErrInvalid)
		return
	}
	event.Result, event.Reason, event.Detail = audit.Failed, "store_unavailable", err.Error()
	p.record(r, event)
	p.unavailable(w, r, err)
}

// become gives the browser a session of the user whom two have turned out to be. The
// session it had is worth nothing any more, for its user is no more: whatever fails
// here, the person signs in again, as that user. Where it reports false it has
// answered.
func (p *Portal) become(w http.ResponseWriter, r *http.Request, b binding, owner string) bool {
	event := bindEvent(audit.Merge, b)
	event.UserID, event.Before, event.After = owner, b.who.User.ID, owner
	s, err := p.handOver(r, b.who.Session, owner)
	event.SessionID = s.ID
	p.record(r, event)
	_, denied := errors.AsType[*user.DeniedError](err)
	switch {
	case denied:
		p.becomeNobody(w, r, b, owner)
		return false
	case errors.Is(err, session.ErrInvalid), errors.Is(err, session.ErrSignedOut):
		p.signInFirst(w, r, session.ErrInvalid)
		return false
	case err != nil:
		p.unavailable(w, r, err)
		return false
	}
	p.cookies.setSession(w, s.cookie, s.ExpiresAt)
	return true
}

// handOver ends a session, and begins another for the same browser. The error is
// session.ErrInvalid where somebody else has ended the first one, or one of issue.
func (p *Portal) handOver(r *http.Request, old *session.Session, owner string) (entered, error) {
	id := session.NewID()
	// "That was not me" must find it as long as the link in the chat leads anywhere.
	if err := p.Store.Set(r.Context(), handedPrefix+old.ID, []byte(id), handedTTL); err != nil {
		return entered{}, err
	}
	s, err := p.issue(r, session.Session{
		ID: id, UserID: owner, Site: old.Site, Method: old.Method, AppID: old.AppID, OpenID: old.OpenID,
		IP: addressText(p.ClientAddr(r)), UserAgent: truncate(r.UserAgent(), maxUserAgent),
	})
	if err != nil {
		return entered{}, err
	}
	if lived, err := p.Sessions.Revoke(r.Context(), old.ID); err == nil && !lived {
		_, _ = p.Sessions.Revoke(r.Context(), s.ID) // its cookie is never given out
		return entered{}, session.ErrInvalid
	}
	return s, nil
}

// becomeNobody answers a person who has turned out to be a user whom an operator has
// disabled.
func (p *Portal) becomeNobody(w http.ResponseWriter, r *http.Request, b binding, owner string) {
	_, _ = p.Sessions.Revoke(r.Context(), b.who.Session.ID) // it is nobody's already
	event := bindEvent(audit.SignIn, b)
	event.Result, event.Reason, event.UserID = audit.Refused, user.ReasonDisabled, owner
	p.record(r, event)
	p.cookies.clearSession(w)
	if wantsJSON(r) {
		writeDenied(w, user.ReasonDisabled)
		return
	}
	p.pages.Notice(w, r, http.StatusForbidden, page.Disabled)
}

// goOn leads a person on who has done what was asked.
func (p *Portal) goOn(w http.ResponseWriter, r *http.Request, returnTo string) {
	w.Header().Set("Cache-Control", "no-store")
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, struct {
			Redirect string `json:"redirect"`
		}{p.linkPath(returnTo)})
		return
	}
	http.Redirect(w, r, p.linkPath(returnTo), http.StatusSeeOther) //nolint:gosec // linkPath has judged it
}
