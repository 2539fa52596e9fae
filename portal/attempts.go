// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// retryWeChat is after how long a visitor may try again while WeChat is away.
const retryWeChat = 5 * time.Second

// attemptRequest is the body of POST attempts.
type attemptRequest struct {
	Method   string `json:"method"`
	ReturnTo string `json:"return_to"`
	Phone    bool   `json:"phone"` // the browser cannot scan its own screen
}

// attemptState is what the browser may know of its attempt: never who scanned.
type attemptState struct {
	ID        string      `json:"id"`
	State     login.State `json:"state"`
	Reason    string      `json:"reason"`
	ExpiresAt time.Time   `json:"expires_at"`
}

// newAttempt is the answer to POST attempts.
type newAttempt struct {
	attemptState
	Method string `json:"method"`
	Number string `json:"number,omitempty"`
	login.Shown
}

func stateOf(a login.Attempt) attemptState {
	return attemptState{ID: a.ID, State: a.State, Reason: a.Reason, ExpiresAt: a.ExpiresAt}
}

// loginPage is GET login.
func (p *Portal) loginPage(w http.ResponseWriter, r *http.Request) {
	returnTo := localPath(r.URL.Query().Get("return_to"))
	who, err := p.identify(r.Context(), credentialsOf(r))
	if err == nil && p.admission(who) == user.Admitted {
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, returnTo, http.StatusSeeOther) //nolint:gosec // localPath has judged it
		return
	}
	p.showLogin(w, r, http.StatusOK, returnTo)
}

func (p *Portal) asset(w http.ResponseWriter, r *http.Request) {
	if !p.pages.Asset(w, r, r.PathValue("name")) {
		p.notFound(w, r)
	}
}

// beginAttempt is POST attempts.
func (p *Portal) beginAttempt(w http.ResponseWriter, r *http.Request) {
	addr := p.ClientAddr(r)
	if wait := p.limits.attempts.take(addr, p.Now()); wait > 0 {
		p.Count("attempt", "", "limited")
		setRetryAfter(w, wait)
		writeError(w, http.StatusTooManyRequests, "too_many_attempts", "too many sign-in attempts from this address: wait and try again")
		return
	}
	var req attemptRequest
	if err := readJSON(w, r, &req); err != nil {
		writeError(w, http.StatusBadRequest, "bad_request", "the body must be a small JSON object with method and return_to")
		return
	}
	offer, ok := p.offer(req.Method)
	if !ok {
		writeError(w, http.StatusBadRequest, "unknown_method", "this site does not offer that method")
		return
	}
	a, shown, err := p.Login.Begin(r.Context(), login.Request{
		Method: offer.Method, AppID: offer.AppID,
		Site: p.Title, Portal: p.origin(r) + p.Prefix,
		ReturnTo: localPath(req.ReturnTo),
		Client:   login.Client{Browser: describeUserAgent(r.UserAgent()), Address: addressText(addr)},
		Browser:  p.cookies.bind(w, credentialsOf(r).browser),
		OnPhone:  req.Phone,
		Quiet:    p.limits.quiet.take(addr, p.Now()) == 0,
	})
	if shown.Trouble != nil {
		p.warnRefusal(offer.AppID, "WeChat makes no link to the mini program: phones are shown its code; where it can have no links, write links off", shown.Trouble)
	}
	if err != nil {
		p.attemptFailed(w, r, offer, err)
		return
	}
	p.Count("attempt", a.AppID, "begun")
	writeJSON(w, http.StatusCreated, newAttempt{attemptState: stateOf(a), Method: a.Method, Number: a.Number, Shown: shown})
}

// addressText is how a person is told of an address; Caddy may not know one.
func addressText(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.Unmap().String()
}

// offer returns the way to sign in that a method names; none names the first.
func (p *Portal) offer(method string) (Offer, bool) {
	for _, o := range p.Offers {
		if method == "" || o.Method == method {
			return o, true
		}
	}
	return Offer{}, false
}

// attemptFailed tells the visitor what to expect, and the operator what to do.
func (p *Portal) attemptFailed(w http.ResponseWriter, r *http.Request, o Offer, err error) {
	if r.Context().Err() != nil {
		return
	}
	if errors.Is(err, login.ErrNoCode) {
		p.noCode(w, o, err)
		return
	}
	if over, ok := errors.AsType[*login.OverBudgetError](err); ok {
		p.overBudget(w, o, over)
		return
	}
	_, refused := errors.AsType[*wechat.Error](err)
	if !refused && !errors.Is(err, wechat.ErrUnavailable) {
		p.Count("attempt", o.AppID, "store_failed")
		p.unavailable(w, r, err)
		return
	}
	if refused && !errors.Is(err, wechat.ErrUnavailable) {
		p.troubles.add(o, p.Now())
	}
	p.warnRefusal(o.AppID, "WeChat does not let visitors sign in by "+o.Method, err)
	p.Count("attempt", o.AppID, "wechat_failed")
	setRetryAfter(w, cmp.Or(wechat.RetryAfter(err), retryWeChat))
	writeError(w, http.StatusServiceUnavailable, "wechat_unavailable", "WeChat does not answer for this method right now: try another, or again shortly")
}

// overBudget tells the visitor to take another way, and the operator why: WeChat is
// not asked, so that its quota lasts. The method stays where it is on the page,
// since there is a rest for networks from which few come.
func (p *Portal) overBudget(w http.ResponseWriter, o Offer, err *login.OverBudgetError) {
	p.warnings.do("budget "+o.AppID+err.Name, func() {
		p.Log.Error("too many visitors want to sign in by "+o.Method, zap.String("account", o.AppID), zap.Error(err),
			zap.String("cure", "find in the access log who begins so many attempts, and lower limit attempts; raise limit "+err.Name+" where the account's quota allows"))
	})
	p.Count("attempt", o.AppID, "over_budget")
	setRetryAfter(w, err.Wait)
	writeError(w, http.StatusServiceUnavailable, "wechat_unavailable", "too many want to sign in by this method right now: try another, or again later")
}

// showAttempt is GET attempts/{id}, which with wait holds the answer until the
// state is another than the one the browser knows, or than it was at first.
func (p *Portal) showAttempt(w http.ResponseWriter, r *http.Request) {
	wait := waitOf(r)
	changed, stop := p.Login.Watch(r.PathValue("id"))
	defer stop()
	a, err := p.attempt(r)
	if err != nil {
		p.attemptUnknown(w, r, err)
		return
	}
	known := login.State(r.URL.Query().Get("state"))
	if known == "" {
		known = a.State
	}
	if wait > 0 {
		a, err = p.awaitChange(r, a, known, changed, wait)
	}
	switch {
	case r.Context().Err() != nil:
	case err != nil:
		p.attemptUnknown(w, r, err)
	default:
		writeJSON(w, http.StatusOK, stateOf(a))
	}
}

// awaitChange returns the attempt when its state is not known any more, or the
// time is up.
func (p *Portal) awaitChange(r *http.Request, a login.Attempt, known login.State, changed <-chan struct{}, wait time.Duration) (login.Attempt, error) {
	ctx, cancel := context.WithTimeout(r.Context(), min(wait, max(0, a.ExpiresAt.Sub(p.Now()))))
	defer cancel()
	for a.State == known && !a.State.Final() {
		select {
		case <-p.closed:
			return a, nil
		case <-ctx.Done():
			return p.attempt(patient(r))
		case <-changed:
		}
		next, err := p.attempt(patient(r))
		if err != nil {
			return a, err
		}
		a = next
	}
	return a, nil
}

// attempt reads the attempt in the path for the browser that began it.
func (p *Portal) attempt(r *http.Request) (login.Attempt, error) {
	if !isBrowserSecret(credentialsOf(r).browser) {
		return login.Attempt{}, login.ErrNotFound // and the store need not be asked
	}
	return p.Login.Get(r.Context(), r.PathValue("id"), credentialsOf(r).browser)
}

// attemptUnknown answers alike for an attempt that does not exist and for one
// that is another browser's.
func (p *Portal) attemptUnknown(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, login.ErrNotFound) {
		p.unavailable(w, r, err)
		return
	}
	writeError(w, http.StatusNotFound, "attempt_not_found", "there is no such attempt in this browser: begin a new one")
}

// cancelAttempt is DELETE attempts/{id}.
func (p *Portal) cancelAttempt(w http.ResponseWriter, r *http.Request) {
	if err := p.Login.Cancel(r.Context(), r.PathValue("id"), credentialsOf(r).browser); err != nil {
		p.attemptUnknown(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// openSession is POST attempts/{id}/session. Of the requests for one attempt that
// are here at the same time one is served; the others learn what has become of it.
func (p *Portal) openSession(w http.ResponseWriter, r *http.Request) {
	served := false
	_, failed, _ := p.opening.Do(openingKey(r.PathValue("id"), credentialsOf(r).browser), func() (any, error) {
		served = true
		return nil, p.openOne(w, r)
	})
	if served {
		return
	}
	a, err := p.attempt(r)
	switch {
	case err != nil:
		p.attemptUnknown(w, r, err)
	case a.State == login.Confirmed && errors.Is(failed, store.ErrUnavailable):
		p.unavailable(w, r, failed)
	case a.State == login.Confirmed: // the other came too early, or has gone away
		_ = p.openOne(w, r) // it has written the answer
	default:
		notConfirmed(w, a)
	}
}

// openingKey names the opening of a session. It is never that of a callback, which whoever
// knows the attempt could name otherwise by a cookie of his choice: no cookie has a zero
// byte, so where the browser begins is certain.
func openingKey(id, browser string) string { return "session:" + id + "\x00" + browser }

// openOne answers the request, and returns why an attempt that is confirmed has
// brought no session.
func (p *Portal) openOne(w http.ResponseWriter, r *http.Request) error {
	a, err := p.attempt(r)
	if err != nil {
		p.attemptUnknown(w, r, err)
		return err
	}
	if a.State != login.Confirmed {
		notConfirmed(w, a)
		return login.ErrState
	}
	s, err := p.enter(r, a)
	if err != nil {
		p.notEntered(w, r, err)
		return err
	}
	p.cookies.setSession(w, s.cookie, s.ExpiresAt)
	writeJSON(w, http.StatusOK, struct {
		Redirect string `json:"redirect"`
	}{a.ReturnTo})
	return nil
}

// notEntered says why a confirmed attempt brings no session.
func (p *Portal) notEntered(w http.ResponseWriter, r *http.Request, err error) {
	if denied, ok := errors.AsType[*user.DeniedError](err); ok {
		writeDenied(w, denied.Reason)
		return
	}
	switch {
	case errors.Is(err, errDisowned):
		writeError(w, http.StatusGone, string(login.Cancelled), "the sign-in was disowned on the phone")
	case errors.Is(err, session.ErrSignedOut):
		writeError(w, http.StatusGone, string(login.Cancelled), "the person has signed out everywhere: begin a new sign-in")
	case errors.Is(err, login.ErrState):
		a, err := p.attempt(r)
		if err != nil {
			p.attemptUnknown(w, r, err)
			return
		}
		notConfirmed(w, a)
	default:
		p.attemptUnknown(w, r, err)
	}
}

func writeDenied(w http.ResponseWriter, reason string) {
	writeJSON(w, http.StatusForbidden, apiError{Error: "denied", Reason: reason, Message: "this sign-in was denied: begin a new one, or ask the operator"})
}

// notConfirmed says why an attempt cannot be consumed now, or ever.
func notConfirmed(w http.ResponseWriter, a login.Attempt) {
	if a.State == login.Denied {
		writeDenied(w, a.Reason)
		return
	}
	if !a.State.Final() {
		writeError(w, http.StatusConflict, "not_confirmed", "the attempt is "+string(a.State)+": wait for it to be confirmed")
		return
	}
	writeError(w, http.StatusGone, string(a.State), "the attempt is "+string(a.State)+": begin a new one")
}
