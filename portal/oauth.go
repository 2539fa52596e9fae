// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-wechat/caddy-wechat/login"
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
	// callbackWait is how long the second call waits for the first to learn who
	// has authorized.
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
// where the person has agreed. Whatever comes of it, the answer leads on to an
// address without code and state, so that they stay in no address bar or history.
func (p *Portal) oauthCallback(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callbackBudget)
	defer cancel()
	r = r.WithContext(ctx)
	query := r.URL.Query()
	state := query.Get("state")
	code, err := wechat.ParseCallback(query)
	if err != nil && !errors.Is(err, wechat.ErrRefused) {
		p.end(w, r, endMalformed, "")
		return
	}
	if isProofState(state) {
		p.proofCallback(w, r, state, code)
		return
	}
	a, err := p.Login.ByState(ctx, state, credentialsOf(r).browser)
	switch {
	case err != nil:
		p.endUnknown(w, r, endOtherBrowser, err)
	case a.State == login.Pending && code == "":
		p.authorizationRefused(w, r, a)
	default:
		p.authorize(w, r, a, code)
	}
}

// authorizationRefused answers a person who has said no to WeChat.
func (p *Portal) authorizationRefused(w http.ResponseWriter, r *http.Request, a login.Attempt) {
	if err := p.Login.Refuse(r.Context(), a.ID, login.ReasonPhone); err != nil {
		p.endOutage(w, r, err, a.ReturnTo)
		return
	}
	p.Count("attempt", a.AppID, string(login.Cancelled))
	p.end(w, r, endRefused, a.ReturnTo)
}

// authorize signs the browser in as the person whom WeChat names. Of several
// calls one does; the others wait for it and lead to the same place.
func (p *Portal) authorize(w http.ResponseWriter, r *http.Request, a login.Attempt, code string) {
	claimed, err := p.Login.Claim(r.Context(), a.ID)
	if err != nil {
		p.endOutage(w, r, err, a.ReturnTo)
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
	p.finish(w, r, authorized)
}

// finish gives the browser the session of a confirmed attempt. The calls that are
// here at the same time share it: all are of the browser that began.
func (p *Portal) finish(w http.ResponseWriter, r *http.Request, a login.Attempt) {
	v, err, _ := p.opening.Do("callback:"+a.ID, func() (any, error) { return p.enter(r, a) })
	if err != nil {
		p.entryFailed(w, r, a, err)
		return
	}
	s, _ := v.(entered)
	p.cookies.setSession(w, s.cookie, s.ExpiresAt)
	seeOther(w, r, a.ReturnTo) // localPath has judged it
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
	reason, why := login.ReasonExchange, endExchange
	if errors.Is(err, wechat.ErrVirtualUser) {
		reason, why = login.ReasonVirtual, endVirtual
	} else {
		if refusal, ok := errors.AsType[*wechat.Error](err); ok && refusal.Permanent() { // which no visitor can cause
			p.troubles.add(Offer{Method: a.Method, AppID: a.AppID}, p.Now())
		}
		p.warnRefusal(a.AppID, "WeChat does not say who has authorized", err)
	}
	if err := p.Login.Refuse(r.Context(), a.ID, reason); err != nil {
		p.endOutage(w, r, err, a.ReturnTo)
		return
	}
	p.Count("attempt", a.AppID, reason)
	p.end(w, r, why, a.ReturnTo)
}

// authorizedBefore answers a further call with the same state: WeChat's browser
// may call twice, and people go back.
func (p *Portal) authorizedBefore(w http.ResponseWriter, r *http.Request, a login.Attempt) {
	a, err := p.awaitPerson(r, a)
	if err != nil {
		p.endOutage(w, r, err, a.ReturnTo)
		return
	}
	switch {
	case a.State == login.Confirmed: // the first call is at this, too, or has died
		p.finish(w, r, a)
	case a.State == login.Consumed:
		// The first answer, with the session, may never have arrived.
		if s, err := p.reissue(r.Context(), a.SessionID); err == nil {
			p.cookies.setSession(w, s.cookie, s.ExpiresAt)
		}
		seeOther(w, r, a.ReturnTo)
	case a.State == login.Cancelled && a.Reason == login.ReasonPhone:
		p.end(w, r, endRefused, a.ReturnTo)
	case a.State == login.Denied && a.Reason == login.ReasonVirtual:
		p.end(w, r, endVirtual, a.ReturnTo)
	case a.State == login.Denied && a.Reason != login.ReasonExchange:
		p.denied(w, r, a, a.Reason)
	default:
		p.end(w, r, endOver, a.ReturnTo)
	}
}

// awaitPerson returns the attempt when another call has learnt who has authorized,
// or that nobody has.
func (p *Portal) awaitPerson(r *http.Request, a login.Attempt) (login.Attempt, error) {
	changed, stop := p.Login.Watch(a.ID)
	defer stop()
	late := time.NewTimer(callbackWait)
	defer late.Stop()
	for {
		now, err := p.Login.Get(r.Context(), a.ID, credentialsOf(r).browser)
		if err != nil {
			return a, err
		}
		a = now
		if a.State.Final() || a.State == login.Confirmed {
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

// entryFailed shows why a person whom WeChat has named gets no session.
func (p *Portal) entryFailed(w http.ResponseWriter, r *http.Request, a login.Attempt, err error) {
	if denied, ok := errors.AsType[*user.DeniedError](err); ok {
		p.denied(w, r, a, denied.Reason)
		return
	}
	switch {
	case errors.Is(err, login.ErrState), errors.Is(err, errDisowned):
		p.authorizedBefore(w, r, a)
	case errors.Is(err, session.ErrSignedOut):
		p.end(w, r, endSignedOut, a.ReturnTo)
	default:
		p.endOutage(w, r, err, a.ReturnTo)
	}
}

// denied ends the way of a person who has proven who he is and may not enter.
func (p *Portal) denied(w http.ResponseWriter, r *http.Request, a login.Attempt, reason string) {
	why := endNotAdmitted
	if reason == user.ReasonDisabled {
		why = endDisabled
	}
	p.end(w, r, why, a.ReturnTo)
}
