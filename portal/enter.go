// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// errDisowned says that the person did not want the session that came of an attempt.
var errDisowned = errors.New("disowned on the phone")

// issuePatience is the patience for the store that must be left when an attempt
// is consumed: else it might be used up, and no session be there to show for it.
const issuePatience = storePatience / 2

var errNoPatience = fmt.Errorf("%w: it is too slow to end an attempt and begin its session", store.ErrUnavailable)

// entered is a new session and the cookie that names it.
type entered struct {
	session.Session
	cookie string
}

// enter ends a confirmed attempt and makes the session of its browser: the step
// that, of any number of requests, only one takes. The error is a
// *user.DeniedError for a person who may not enter, login.ErrState where another
// request was faster, errDisowned, session.ErrSignedOut, login.ErrNotFound, or one of
// the store.
func (p *Portal) enter(r *http.Request, a login.Attempt) (entered, error) {
	a.UnionID = p.unionOf(r, a)
	u, news, err := p.Users.SignIn(r.Context(), user.Identity{
		AppID: a.AppID, OpenID: a.OpenID, UnionID: a.UnionID, Nickname: a.Name, Avatar: a.Avatar, Phone: a.Phone,
	})
	denied, isDenied := errors.AsType[*user.DeniedError](err)
	switch {
	case isDenied:
		p.recordNews(r, a, denied.UserID, news)
		return entered{}, p.deny(r, a, denied)
	case err != nil:
		p.recordNews(r, a, "", news)
		return entered{}, err
	}
	p.recordNews(r, a, u.ID, news)
	if store.PatienceOf(r.Context()).Left(storePatience) < issuePatience {
		return entered{}, errNoPatience
	}
	id := session.NewID()
	if err := p.Login.Consume(r.Context(), a.ID, credentialsOf(r).browser, id); err != nil {
		return entered{}, err
	}
	s, err := p.issue(r, session.Session{
		ID: id, UserID: u.ID, Method: a.Method, AppID: a.AppID, OpenID: a.OpenID,
		Site: hostnameOf(a.Portal), IP: a.Client.Address, UserAgent: truncate(r.UserAgent(), maxUserAgent),
	})
	if denied, ok := errors.AsType[*user.DeniedError](err); ok {
		p.noteDenied(r, a, denied)
	}
	if err != nil {
		return entered{}, err
	}
	if p.disowned(r, a.ID, id) {
		return entered{}, errDisowned
	}
	p.endPrevious(r)
	p.Count("attempt", a.AppID, "signed_in")
	event := ofAttempt(audit.SignIn, a, u.ID)
	if event.SessionID = id; news.Fresh {
		event.Action = audit.Register
		p.record(r, event)
		event.Action = audit.SignIn
	}
	p.record(r, event)
	p.tellOfSignIn(a)
	p.Log.Info("signed in", zap.String("user_id", u.ID), zap.String("account", a.AppID), zap.String("method", a.Method),
		zap.String("openid", maskOpenID(a.OpenID)), zap.Stringer("client_ip", p.ClientAddr(r)))
	return s, nil
}

// unionOf returns the unionid of the person who answered an attempt, as far as it is to
// be had: a sign-in does not fail for want of it.
func (p *Portal) unionOf(r *http.Request, a login.Attempt) string {
	unions := p.Accounts[a.AppID].Unions
	if a.UnionID != "" || unions == nil || unions.Rest(p.Now()) {
		return a.UnionID
	}
	if known, err := p.Users.HasUnionID(r.Context(), a.AppID, a.OpenID); err != nil || known {
		return ""
	}
	id, err := unions.UnionID(r.Context(), a.OpenID, p.Now())
	if err != nil && r.Context().Err() == nil {
		p.warnings.do("unionid "+a.AppID, func() {
			p.Log.Info("WeChat gives no unionid: people are known by their openid at this account alone", zap.String("account", a.AppID), zap.Error(err))
		})
	}
	return id
}

// recordNews records what a sign-in has changed in the directory, whatever becomes of
// the sign-in. userID is empty where it is not known whose it is.
func (p *Portal) recordNews(r *http.Request, a login.Attempt, userID string, news user.News) {
	if news.Bound != "" {
		event := ofAttempt(audit.Bind, a, userID)
		event.Channel, event.Address = string(user.ByPhone), news.Bound
		p.record(r, event)
	}
	for _, id := range news.Merged {
		event := ofAttempt(audit.Merge, a, userID)
		event.Before, event.After = id, userID
		p.record(r, event)
	}
}

// issue begins a session, unless its user has been disabled or deleted since he was let
// in: whoever did that has ended the sessions there were, and not this one. The error
// is a *user.DeniedError then, or session.ErrSignedOut.
func (p *Portal) issue(r *http.Request, begun session.Session) (entered, error) {
	s, cookie, err := p.Sessions.Issue(r.Context(), begun)
	if err != nil {
		return entered{}, err
	}
	u, err := p.Users.Find(r.Context(), s.UserID)
	switch {
	case err == nil && u.Status != user.Disabled:
		return entered{s, cookie}, nil
	case err == nil:
		err = &user.DeniedError{Reason: user.ReasonDisabled, UserID: u.ID}
	case errors.Is(err, user.ErrNotFound):
		err = session.ErrSignedOut
	}
	_, _ = p.Sessions.Revoke(r.Context(), s.ID) // its cookie is never given out
	return entered{}, err
}

// deny ends the attempt of a person who has proven who he is and may not enter.
func (p *Portal) deny(r *http.Request, a login.Attempt, why *user.DeniedError) error {
	if err := p.Login.Deny(r.Context(), a.ID, credentialsOf(r).browser, why.Reason); err != nil && !errors.Is(err, login.ErrState) {
		return err
	}
	p.noteDenied(r, a, why)
	return why
}

// noteDenied takes note of a person who may not enter.
func (p *Portal) noteDenied(r *http.Request, a login.Attempt, why *user.DeniedError) {
	p.Count("attempt", a.AppID, "denied")
	event := ofAttempt(audit.SignIn, a, why.UserID)
	event.Result, event.Reason = audit.Refused, why.Reason
	p.record(r, event)
	p.Log.Info("sign-in denied", zap.String("reason", why.Reason), zap.String("account", a.AppID),
		zap.String("openid", maskOpenID(a.OpenID)), zap.Stringer("client_ip", p.ClientAddr(r)))
}

// disowned ends a new session if the person has said "that was not me" before
// there was one to end: once the attempt is consumed, but its session not issued.
func (p *Portal) disowned(r *http.Request, attemptID, sessionID string) bool {
	a, err := p.Login.Get(r.Context(), attemptID, credentialsOf(r).browser)
	if err == nil && !a.Disowned {
		return false
	}
	_, _ = p.Sessions.Revoke(r.Context(), sessionID) // its cookie is never given out
	return true
}

// endPrevious ends the session that the browser had before it signed in anew.
func (p *Portal) endPrevious(r *http.Request) {
	if who, err := p.identify(r.Context(), credentialsOf(r)); err == nil {
		// Should it fail, the old session ends by itself: its cookie is replaced.
		_, _ = p.Sessions.Revoke(r.Context(), who.Session.ID)
	}
}
