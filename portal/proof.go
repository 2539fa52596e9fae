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

// proven says whether the browser that asks about an attempt may see what is asked
// of the person who scanned.
func (p *Portal) proven(r *http.Request, a login.Attempt) bool {
	return p.Accounts[a.AppID].Proof == nil || p.Login.Proven(a, credentialsOf(r).browser)
}

// answerLink applies what the person chose who opened the link in the chat. The error
// is login.ErrUnproven where WeChat has yet to say who that is.
func (p *Portal) answerLink(r *http.Request, a login.Attempt, choice string) (login.Attempt, bool, error) {
	if p.Accounts[a.AppID].Proof == nil {
		return p.Login.Answer(r.Context(), a.Token, choice, login.Person{})
	}
	return p.Login.AnswerProven(r.Context(), a.Token, choice, credentialsOf(r).browser)
}

// askProof sends the browser to WeChat to find out who uses it.
func (p *Portal) askProof(w http.ResponseWriter, r *http.Request, a login.Attempt) {
	if !inWeChat(r) {
		p.pages.Notice(w, r, http.StatusForbidden, page.OpenInWeChat)
		return
	}
	browser := p.cookies.bind(w, credentialsOf(r).browser)
	state, err := p.Login.AskProof(r.Context(), a, proofPrefix, browser)
	switch {
	case errors.Is(err, login.ErrTooManyProofs):
		setRetryAfter(w, a.ExpiresAt.Sub(p.Now()))
		p.pages.Notice(w, r, http.StatusTooManyRequests, page.TooMany)
	case errors.Is(err, login.ErrState): // over in the meantime
		p.toConfirm(w, r, a)
	case err != nil:
		p.linkUnknown(w, r, err)
	default:
		seeOther(w, r, p.Accounts[a.AppID].Proof(p.origin(r)+p.Prefix+login.CallbackPath, state))
	}
}

// proofCallback is oauthCallback for the person who opened a link in the chat.
func (p *Portal) proofCallback(w http.ResponseWriter, r *http.Request, state, code string) {
	browser := credentialsOf(r).browser
	a, first, err := p.Login.ClaimProof(r.Context(), state, browser)
	switch {
	case err != nil:
		p.endUnknown(w, r, endLinkUnknown, err)
		return
	case code == "":
		p.end(w, r, endRefused, "")
		return
	case !first: // the answer to the first call may not have arrived
		p.toConfirm(w, r, a)
		return
	}
	who, err := p.exchange(r.Context(), a.AppID, code)
	switch {
	case errors.Is(err, wechat.ErrVirtualUser):
		p.end(w, r, endVirtual, "")
	case err != nil:
		p.warnRefusal(a.AppID, "WeChat does not say who opened a link in the chat", err)
		p.end(w, r, endExchange, "")
	default:
		p.prove(w, r, a, who, browser)
	}
}

func (p *Portal) prove(w http.ResponseWriter, r *http.Request, a login.Attempt, who login.Person, browser string) {
	same, err := p.Login.Prove(r.Context(), a.ID, who, browser)
	if err != nil {
		p.endUnknown(w, r, endLinkUnknown, err)
		return
	}
	if !same {
		p.Log.Warn("a link in the chat was opened by somebody else than the person who scanned", zap.String("account", a.AppID),
			zap.String("openid", maskOpenID(who.OpenID)), zap.Stringer("client_ip", p.ClientAddr(r)))
		p.end(w, r, endNotScanner, "")
		return
	}
	p.toConfirm(w, r, a)
}

func (p *Portal) toConfirm(w http.ResponseWriter, r *http.Request, a login.Attempt) {
	seeOther(w, r, p.Prefix+"/confirm/"+a.Token)
}
