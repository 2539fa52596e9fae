// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// proofPrefix begins the states that prove who opened a link in the chat; no state
// of an attempt has a small letter.
const proofPrefix = "p"

func isProofState(state string) bool { return strings.HasPrefix(state, proofPrefix) }

// proven says whether the browser that asks about an attempt is known to be that of
// the person who scanned. Where it is not, it is sent to WeChat to find out, and
// the request is answered.
func (p *Portal) proven(w http.ResponseWriter, r *http.Request, a login.Attempt) bool {
	proof := p.Accounts[a.AppID].Proof
	if proof == nil || p.Login.Proven(a, credentialsOf(r).browser) {
		return true
	}
	if !inWeChat(r) {
		p.pages.Notice(w, r, http.StatusForbidden, page.OpenInWeChat)
		return false
	}
	// Each way to WeChat and back is kept in the store, and costs a call.
	if wait := p.limits.confirms.take(p.ClientAddr(r), p.Now()); wait > 0 {
		setRetryAfter(w, wait)
		p.pages.Notice(w, r, http.StatusTooManyRequests, page.TooMany)
		return false
	}
	browser := p.cookies.bind(w, credentialsOf(r).browser)
	state, err := p.Login.AskProof(r.Context(), a, proofPrefix, browser)
	if err != nil {
		p.unavailable(w, r, err)
		return false
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, proof(p.origin(r)+p.Prefix+login.CallbackPath, state), http.StatusSeeOther)
	return false
}

// proofCallback is oauthCallback for the person who opened a link in the chat.
func (p *Portal) proofCallback(w http.ResponseWriter, r *http.Request, state, code string) {
	browser := credentialsOf(r).browser
	a, first, err := p.Login.ClaimProof(r.Context(), state, browser)
	switch {
	case errors.Is(err, login.ErrNotFound):
		p.pages.Notice(w, r, http.StatusNotFound, page.LinkUnknown)
		return
	case err != nil:
		p.unavailable(w, r, err)
		return
	case code == "":
		p.pages.Notice(w, r, http.StatusForbidden, page.AuthRefused)
		return
	case !first: // the answer to the first call may not have arrived
		p.toConfirm(w, r, a)
		return
	}
	who, err := p.exchange(r.Context(), a.AppID, code)
	switch {
	case errors.Is(err, wechat.ErrVirtualUser):
		p.pages.Notice(w, r, http.StatusForbidden, page.VirtualUser)
	case err != nil:
		p.warnRefusal(a.AppID, "WeChat does not say who opened a link in the chat", err)
		p.pages.Notice(w, r, http.StatusBadGateway, page.AuthFailed)
	default:
		p.prove(w, r, a, who, browser)
	}
}

func (p *Portal) prove(w http.ResponseWriter, r *http.Request, a login.Attempt, who login.Person, browser string) {
	same, err := p.Login.Prove(r.Context(), a.ID, who, browser)
	if err != nil {
		p.linkUnknown(w, r, err)
		return
	}
	if !same {
		p.Log.Warn("a link in the chat was opened by somebody else than the person who scanned", zap.String("account", a.AppID),
			zap.String("openid", maskOpenID(who.OpenID)), zap.Stringer("client_ip", p.ClientAddr(r)))
		p.pages.Notice(w, r, http.StatusForbidden, page.NotScanner)
		return
	}
	p.toConfirm(w, r, a)
}

func (p *Portal) toConfirm(w http.ResponseWriter, r *http.Request, a login.Attempt) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, p.Prefix+"/confirm/"+a.Token, http.StatusSeeOther)
}
