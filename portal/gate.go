// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// retryOutage is after how long a visitor may try again while the store is away.
const retryOutage = 2 * time.Second

// Next is the site behind the gate. who is nil where nobody is signed in or the
// gate does not guard the request.
type Next func(w http.ResponseWriter, r *http.Request, who *Principal) error

// Serve takes from the request what only the gateway may say, answers it where
// it is for the portal or may not pass, and else hands it on. The error is
// next's.
func (p *Portal) Serve(w http.ResponseWriter, r *http.Request, next Next) error {
	creds := p.credentials(r)
	if method, u := p.Original(r); p.endpoint(u) {
		p.serveEndpoint(w, r, method, u, creds)
		return nil
	}
	if !p.selected(r) {
		return next(w, p.mark(r.Context(), r, creds), nil)
	}
	patient := store.WithPatience(r.Context(), storePatience)
	who, err := p.identify(patient, creds)
	switch {
	case errors.Is(err, session.ErrInvalid):
		if !p.Optional {
			p.askToSignIn(w, r)
			return nil
		}
		return next(w, p.mark(r.Context(), r, creds), nil)
	case err != nil:
		p.unavailable(w, r, err)
		return nil
	}
	if why := p.admission(who); why != user.Admitted {
		p.turnAway(w, r, who, why)
		return nil
	}
	return p.pass(patient, w, r, creds, who, next)
}

// pass hands the request on with the identity headers. It ends with the session,
// be that revoked or over. patient is the context in which the store is asked.
func (p *Portal) pass(patient context.Context, w http.ResponseWriter, r *http.Request, creds credentials, who *Principal, next Next) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	tracked := p.Sessions.Track(who.Session, who.User.AccessAt, cancel)
	defer tracked.Release()
	now, err := p.renew(patient, tracked, who)
	switch {
	case errors.Is(err, session.ErrInvalid):
		p.askToSignIn(w, r)
		return nil
	case err != nil:
		p.unavailable(w, r, err)
		return nil
	case now != who: // another role, or status
		if why := p.admission(now); why != user.Admitted {
			p.turnAway(w, r, now, why)
			return nil
		}
	}
	p.setHeaders(r.Header, now)
	return next(w, p.mark(ctx, r, creds), now) //nolint:contextcheck // patient is for the store, and inherits as well
}

// renew looks again at who was let in, now that his request is tracked: what changes
// from here on ends it. The error is as that of identify.
func (p *Portal) renew(ctx context.Context, tracked *session.Tracked, who *Principal) (*Principal, error) {
	if err := p.Sessions.Live(ctx, who.Session.ID); err != nil { // revoked since it was checked
		return nil, err
	}
	switch now, err := p.Users.Renew(ctx, who.User); {
	case errors.Is(err, user.ErrNotFound): // deleted since then
		return nil, session.ErrInvalid
	case err != nil:
		return nil, err
	case now != who.User:
		tracked.Judged(now.AccessAt)
		return &Principal{Session: who.Session, User: now}, nil
	}
	return who, nil
}

// setHeaders sets the identity headers that have a value.
func (p *Portal) setHeaders(h http.Header, who *Principal) {
	values := make([]string, len(p.Headers)) // one allocation for all
	for i, header := range p.Headers {
		if v := who.headerValue(header.Field); v != "" {
			values[i] = v
			h[header.Name] = values[i : i+1 : i+1]
		}
	}
}

// gateContext marks a request that a gate has scrubbed. A second gate on its way
// must leave the headers that the first one manages, and finds the cookies here.
type gateContext struct {
	context.Context //nolint:containedctx // it is a context
	credentials     credentials
	scrubber        *scrubber
	earlier         *gateContext // nil for the first gate
}

type gateKey struct{}

// mark returns the request as it goes on from this gate.
func (p *Portal) mark(ctx context.Context, r *http.Request, c credentials) *http.Request {
	return r.WithContext(&gateContext{Context: ctx, credentials: c, scrubber: &p.scrubber, earlier: earlierGate(r)}) //nolint:contextcheck // it inherits ctx
}

func earlierGate(r *http.Request) *gateContext {
	g, _ := r.Context().Value(gateKey{}).(*gateContext)
	return g
}

// manages says whether a header is one that this gate or one before it manages.
func (g *gateContext) manages(header string) bool {
	for ; g != nil; g = g.earlier {
		if g.scrubber.managed(header) {
			return true
		}
	}
	return false
}

// Value implements context.Context.
func (g *gateContext) Value(key any) any {
	if key == (gateKey{}) {
		return g
	}
	return g.Context.Value(key)
}

// credentials scrubs the request and returns what its cookies say.
func (p *Portal) credentials(r *http.Request) credentials {
	earlier := earlierGate(r)
	found := p.scrubber.scrub(r, earlier)
	if earlier != nil {
		return earlier.credentials
	}
	return found
}

// identify returns who a request comes from. The error is session.ErrInvalid
// where nobody is signed in; every other means that it cannot be known.
func (p *Portal) identify(ctx context.Context, c credentials) (*Principal, error) {
	for _, cookie := range c.sessions {
		if cookie == "" {
			break
		}
		s, err := p.Sessions.Check(ctx, cookie)
		if errors.Is(err, session.ErrInvalid) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !p.ours(s) {
			continue
		}
		u, err := p.Users.Get(ctx, s.UserID)
		if errors.Is(err, user.ErrNotFound) {
			continue
		}
		return &Principal{Session: s, User: u}, err
	}
	return nil, session.ErrInvalid
}

// ours says whether a session is good here: it began at this site, at any of its
// hosts, or the sites share one login. Ports do not count, as they do not to a
// browser that sends cookies.
func (p *Portal) ours(s *session.Session) bool {
	if s.Site == "" || p.CookieDomain != "" {
		return true
	}
	_, ok := p.hosts[s.Site]
	return ok
}

// askToSignIn answers a request without a session: a person gets the login page
// in place, a script is told where it is.
func (p *Portal) askToSignIn(w http.ResponseWriter, r *http.Request) {
	if isNavigation(r) {
		_, u := p.Original(r)
		p.showLogin(w, r, http.StatusUnauthorized, u.RequestURI())
		return
	}
	writeJSON(w, http.StatusUnauthorized, apiError{
		Error: "login_required", Message: "sign in at login_url, then repeat the request",
		LoginURL: p.origin(r) + p.Prefix + "/login",
	})
}

func (p *Portal) showLogin(w http.ResponseWriter, r *http.Request, status int, returnTo string) {
	p.pages.Login(w, r, status, page.Login{
		ReturnTo: localPath(returnTo), Methods: p.methods(r),
		OnPhone: onPhone(r), InWeChat: inWeChat(r), FrameOrigin: p.FrameOrigin,
	})
}

// turnAway answers a person who is signed in and may not enter.
func (p *Portal) turnAway(w http.ResponseWriter, r *http.Request, who *Principal, why user.Admission) {
	if p.askForMissing(w, r, why) {
		return
	}
	kind, message := page.Disabled, "an operator has disabled this user"
	switch why {
	case user.AwaitingApproval:
		kind, message = page.Pending, "this user awaits an operator's approval"
	case user.NotAllowed:
		kind, message = page.NotAdmitted, "this user is not among those who may enter"
	case roleMissing:
		kind, message = page.RoleMissing, "this user lacks the role that this site requires"
	case user.IsDisabled, user.Admitted, user.EmailMissing, user.PhoneMissing, user.NameMissing: // the last four do not come here
	}
	if isNavigation(r) {
		p.pages.TurnedAway(w, r, kind, who.User.Name)
		return
	}
	writeJSON(w, http.StatusForbidden, apiError{Error: "not_admitted", Reason: string(why), Message: message})
}

// unavailable answers while it cannot be known who a request comes from.
func (p *Portal) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	p.warnOutage(r, err)
	setRetryAfter(w, retryOutage)
	if isNavigation(r) || isForm(r) {
		p.pages.Notice(w, r, http.StatusServiceUnavailable, page.Unavailable)
		return
	}
	writeError(w, http.StatusServiceUnavailable, "store_unavailable", "the gateway cannot check sessions right now: try again shortly")
}

// warnOutage tells the operator, once in a while, that the store fails.
func (p *Portal) warnOutage(r *http.Request, err error) {
	if r.Context().Err() != nil { // the visitor has gone, or the time is up
		return
	}
	p.warnings.do("store", func() {
		p.Log.Error("store unavailable; signed-in users may be refused until it is back", zap.Error(err))
	})
}

// isForm says whether the request is a form that a person has sent.
func isForm(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") && !wantsJSON(r)
}

// isNavigation says whether the answer is for a person to look at.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get("Upgrade") != "" {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		dest := r.Header.Get("Sec-Fetch-Dest")
		return mode == "navigate" && (dest == "" || dest == "document")
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
