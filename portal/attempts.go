// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// issuePatience is the patience for the store that must be left when an attempt
// is consumed: else it might be used up, and no session be there to show for it.
const issuePatience = storePatience / 2

var errNoPatience = fmt.Errorf("%w: it is too slow to end an attempt and begin its session", store.ErrUnavailable)

// attemptRequest is the body of POST attempts.
type attemptRequest struct {
	Method   string `json:"method"`
	ReturnTo string `json:"return_to"`
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
	if err == nil && p.Users.Admission(who.User) == user.Admitted {
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
	})
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
	var refusal *wechat.Error
	switch {
	case errors.As(err, &refusal):
		p.warnings.do(fmt.Sprint("wechat", o.AppID, refusal.Code), func() {
			p.Log.Error("WeChat refuses to make QR codes for this account", zap.String("account", o.AppID), zap.Int("errcode", refusal.Code),
				zap.String("means", refusal.Meaning()), zap.String("cure", refusal.Cure()), zap.Error(err))
		})
	case errors.Is(err, wechat.ErrUnavailable):
		p.warnings.do("wechat"+o.AppID, func() {
			p.Log.Warn("WeChat cannot be reached; visitors cannot sign in until it is", zap.String("account", o.AppID), zap.Error(err))
		})
	default:
		p.Count("attempt", o.AppID, "store_failed")
		p.unavailable(w, r, err)
		return
	}
	p.Count("attempt", o.AppID, "wechat_failed")
	setRetryAfter(w, cmp.Or(wechat.RetryAfter(err), retryWeChat))
	writeError(w, http.StatusServiceUnavailable, "wechat_unavailable", "WeChat does not give out a QR code right now: try again shortly")
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
	_, _, _ = p.opening.Do(r.PathValue("id")+credentialsOf(r).browser, func() (any, error) { //nolint:dogsled // the answer is written
		served = true
		p.openOne(w, r)
		return nil, nil //nolint:nilnil // see above
	})
	if served {
		return
	}
	a, err := p.attempt(r)
	switch {
	case err != nil:
		p.attemptUnknown(w, r, err)
	case a.State == login.Confirmed: // the other has failed
		p.unavailable(w, r, errNoPatience)
	default:
		notConfirmed(w, a)
	}
}

func (p *Portal) openOne(w http.ResponseWriter, r *http.Request) {
	a, err := p.attempt(r)
	if err != nil {
		p.attemptUnknown(w, r, err)
		return
	}
	if a.State != login.Confirmed {
		notConfirmed(w, a)
		return
	}
	u, err := p.Users.SignIn(r.Context(), user.Identity{AppID: a.AppID, OpenID: a.OpenID})
	if denied, ok := errors.AsType[*user.DeniedError](err); ok {
		p.deny(w, r, a, denied.Reason)
		return
	}
	if err != nil {
		p.unavailable(w, r, err)
		return
	}
	p.consume(w, r, a, u)
}

// consume ends the attempt and gives its browser a session: the step that, of
// any number of requests, only one takes.
func (p *Portal) consume(w http.ResponseWriter, r *http.Request, a login.Attempt, u *user.User) {
	if store.PatienceOf(r.Context()).Left(storePatience) < issuePatience {
		p.unavailable(w, r, errNoPatience)
		return
	}
	id := session.NewID()
	err := p.Login.Consume(r.Context(), a.ID, credentialsOf(r).browser, id)
	if errors.Is(err, login.ErrState) {
		if a, err = p.attempt(r); err == nil {
			notConfirmed(w, a)
			return
		}
	}
	if err != nil {
		p.attemptUnknown(w, r, err)
		return
	}
	s, cookie, err := p.Sessions.Issue(r.Context(), session.Session{
		ID: id, UserID: u.ID, Method: a.Method, AppID: a.AppID, OpenID: a.OpenID,
		IP: a.Client.Address, UserAgent: truncate(r.UserAgent(), maxUserAgent),
	})
	if errors.Is(err, session.ErrSignedOut) {
		writeError(w, http.StatusGone, string(login.Cancelled), "the person has signed out everywhere: begin a new sign-in")
		return
	}
	if err != nil {
		p.unavailable(w, r, err)
		return
	}
	if p.disowned(r, a.ID, id) {
		writeError(w, http.StatusGone, string(login.Cancelled), "the sign-in was disowned on the phone")
		return
	}
	p.endPrevious(r)
	p.Count("attempt", a.AppID, "signed_in")
	p.Log.Info("signed in", zap.String("user_id", u.ID), zap.String("account", a.AppID), zap.String("method", a.Method),
		zap.String("openid", maskOpenID(a.OpenID)), zap.Stringer("client_ip", p.ClientAddr(r)))
	p.cookies.setSession(w, cookie, s.ExpiresAt)
	writeJSON(w, http.StatusOK, struct {
		Redirect string `json:"redirect"`
	}{a.ReturnTo})
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

// deny answers a person who has proven who he is and may not enter.
func (p *Portal) deny(w http.ResponseWriter, r *http.Request, a login.Attempt, reason string) {
	if err := p.Login.Deny(r.Context(), a.ID, credentialsOf(r).browser, reason); err != nil && !errors.Is(err, login.ErrState) {
		p.attemptUnknown(w, r, err)
		return
	}
	p.Count("attempt", a.AppID, "denied")
	p.Log.Info("sign-in denied", zap.String("reason", reason), zap.String("account", a.AppID),
		zap.String("openid", maskOpenID(a.OpenID)), zap.Stringer("client_ip", p.ClientAddr(r)))
	writeDenied(w, reason)
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
