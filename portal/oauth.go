// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

const (
	// callbackBudget bounds what a callback does, also after its visitor has
	// hung up: WeChat's browser may call twice and wait for the second only.
	callbackBudget = 8 * time.Second
	// exchangeBudget is the part of it that WeChat may take, which leaves time to
	// take note of what came of it.
	exchangeBudget = 5 * time.Second
	// callbackWait is how long the second call waits for the first.
	callbackWait = 6 * time.Second
	// issueWait is how long it waits for the session that the first one makes of
	// the attempt, asking for it every issueTick: nobody announces it.
	issueWait = time.Second
	issueTick = 20 * time.Millisecond
)

// OAuth names the person for whom WeChat has given a code.
type OAuth interface {
	// Exchange uses up the code. The error is a *wechat.Error where WeChat
	// refuses, wraps wechat.ErrVirtualUser where it names a visitor who is no
	// account, and wraps wechat.ErrUnavailable where it cannot be reached.
	Exchange(ctx context.Context, code string) (login.Person, error)
}

// oauthCallback is GET oauth/callback: WeChat's page leads back here, with a code
// where the person has agreed. It always answers with a page or a clean URL: code
// and state stay in no history.
func (p *Portal) oauthCallback(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callbackBudget)
	defer cancel()
	r = r.WithContext(ctx)
	query := r.URL.Query()
	state := query.Get("state")
	code, err := wechat.ParseCallback(query)
	if err != nil && !errors.Is(err, wechat.ErrRefused) {
		p.pages.Notice(w, r, http.StatusBadRequest, page.AuthFailed)
		return
	}
	if isProofState(state) {
		p.proofCallback(w, r, state, code)
		return
	}
	a, err := p.Login.ByState(ctx, state, credentialsOf(r).browser)
	switch {
	case errors.Is(err, login.ErrNotFound):
		p.pages.Notice(w, r, http.StatusNotFound, page.OtherBrowser)
	case err != nil:
		p.unavailable(w, r, err)
	case a.State == login.Pending && code == "":
		p.authorizationRefused(w, r, a)
	default:
		p.authorize(w, r, a, code)
	}
}

// authorizationRefused answers a person who has said no to WeChat.
func (p *Portal) authorizationRefused(w http.ResponseWriter, r *http.Request, a login.Attempt) {
	if err := p.Login.Refuse(r.Context(), a.ID, login.ReasonPhone); err != nil {
		p.unavailable(w, r, err)
		return
	}
	p.Count("attempt", a.AppID, string(login.Cancelled))
	p.pages.Notice(w, r, http.StatusForbidden, page.AuthRefused)
}

// authorize signs the browser in as the person whom WeChat names. Of several
// calls one does; the others wait for it and lead to the same place.
func (p *Portal) authorize(w http.ResponseWriter, r *http.Request, a login.Attempt, code string) {
	claimed, err := p.Login.Claim(r.Context(), a.ID)
	if err != nil {
		p.unavailable(w, r, err)
		return
	}
	if !claimed {
		p.authorizedBefore(w, r, a)
		return
	}
	who, err := p.exchange(r.Context(), a.AppID, code)
	if err != nil {
		p.exchangeFailed(w, r, a, err)
		return
	}
	authorized, err := p.Login.Authorize(r.Context(), a.ID, who)
	if err != nil {
		p.entryFailed(w, r, a, err)
		return
	}
	a = authorized
	s, err := p.enter(r, a)
	if err != nil {
		p.entryFailed(w, r, a, err)
		return
	}
	p.cookies.setSession(w, s.cookie, s.ExpiresAt)
	p.leadBack(w, r, a)
}

func (p *Portal) exchange(ctx context.Context, appID, code string) (login.Person, error) {
	oauth := p.Accounts[appID].OAuth
	if oauth == nil { // configured no more
		return login.Person{}, errUnknownAccount
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeBudget)
	defer cancel()
	return oauth.Exchange(ctx, code)
}

// exchangeFailed ends an attempt for which WeChat has named nobody.
func (p *Portal) exchangeFailed(w http.ResponseWriter, r *http.Request, a login.Attempt, err error) {
	reason, status, notice := login.ReasonExchange, http.StatusBadGateway, page.AuthFailed
	if errors.Is(err, wechat.ErrVirtualUser) {
		reason, status, notice = login.ReasonVirtual, http.StatusForbidden, page.VirtualUser
	} else {
		if refusal, ok := errors.AsType[*wechat.Error](err); ok && refusal.Permanent() { // which no visitor can cause
			p.troubles.add(Offer{Method: a.Method, AppID: a.AppID}, p.Now())
		}
		p.warnRefusal(a.AppID, "WeChat does not say who has authorized", err)
	}
	if err := p.Login.Refuse(r.Context(), a.ID, reason); err != nil {
		p.unavailable(w, r, err)
		return
	}
	p.Count("attempt", a.AppID, reason)
	p.pages.Notice(w, r, status, notice)
}

// authorizedBefore answers a further call with the same state: WeChat's browser
// may call twice, and people go back.
func (p *Portal) authorizedBefore(w http.ResponseWriter, r *http.Request, a login.Attempt) {
	a, err := p.awaitEnd(r, a)
	if err != nil {
		p.unavailable(w, r, err)
		return
	}
	switch {
	case a.State == login.Consumed:
		// The first answer, with the session, may never have arrived.
		if s, err := p.reissue(r.Context(), a.SessionID); err == nil {
			p.cookies.setSession(w, s.cookie, s.ExpiresAt)
		}
		p.leadBack(w, r, a)
	case a.State == login.Cancelled && a.Reason == login.ReasonPhone:
		p.pages.Notice(w, r, http.StatusForbidden, page.AuthRefused)
	case a.State == login.Denied && a.Reason == login.ReasonVirtual:
		p.pages.Notice(w, r, http.StatusForbidden, page.VirtualUser)
	case a.State == login.Denied && a.Reason != login.ReasonExchange:
		p.denied(w, r, a.Reason)
	default:
		p.pages.Notice(w, r, http.StatusGone, page.AuthFailed)
	}
}

// awaitEnd returns the attempt when another call is done with it.
func (p *Portal) awaitEnd(r *http.Request, a login.Attempt) (login.Attempt, error) {
	changed, stop := p.Login.Watch(a.ID)
	defer stop()
	late := time.NewTimer(callbackWait)
	defer late.Stop()
	for {
		var err error
		if a, err = p.Login.Get(r.Context(), a.ID, credentialsOf(r).browser); err != nil {
			return a, err
		}
		if a.State.Final() {
			return a, nil
		}
		select {
		case <-changed:
		case <-late.C:
			return a, nil
		}
	}
}

// reissue returns the session of a consumed attempt, which comes to be a moment
// after the attempt is consumed. The error is session.ErrInvalid where it has ended.
func (p *Portal) reissue(ctx context.Context, id string) (entered, error) {
	late, tick := time.NewTimer(issueWait), time.NewTicker(issueTick)
	defer late.Stop()
	defer tick.Stop()
	for {
		s, cookie, err := p.Sessions.Reissue(ctx, id)
		if !errors.Is(err, session.ErrInvalid) {
			return entered{s, cookie}, err
		}
		select {
		case <-tick.C:
		case <-late.C:
			return entered{}, err
		}
	}
}

// leadBack sends the browser to the page it first asked for.
func (p *Portal) leadBack(w http.ResponseWriter, r *http.Request, a login.Attempt) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, a.ReturnTo, http.StatusSeeOther) // localPath has judged it
}

// entryFailed shows why a person whom WeChat has named gets no session.
func (p *Portal) entryFailed(w http.ResponseWriter, r *http.Request, a login.Attempt, err error) {
	if denied, ok := errors.AsType[*user.DeniedError](err); ok {
		p.denied(w, r, denied.Reason)
		return
	}
	if errors.Is(err, login.ErrState) || errors.Is(err, errDisowned) {
		p.authorizedBefore(w, r, a)
		return
	}
	p.unavailable(w, r, err)
}

// denied is the page for a person who has proven who he is and may not enter.
func (p *Portal) denied(w http.ResponseWriter, r *http.Request, reason string) {
	notice := page.NotAdmitted
	if reason == user.ReasonDisabled {
		notice = page.Disabled
	}
	p.pages.Notice(w, r, http.StatusForbidden, notice)
}

// warnRefusal tells the operator, once in a while, what WeChat does not do for an
// account and what to do about it.
func (p *Portal) warnRefusal(appID, what string, err error) {
	if refusal, ok := errors.AsType[*wechat.Error](err); ok {
		p.warnings.do(what+appID+refusal.Meaning(), func() {
			p.Log.Error(what, zap.String("account", appID), zap.Int("errcode", refusal.Code),
				zap.String("means", refusal.Meaning()), zap.String("cure", refusal.Cure()), zap.Error(err))
		})
		return
	}
	p.warnings.do(what+appID, func() {
		p.Log.Warn(what, zap.String("account", appID), zap.Error(err))
	})
}
