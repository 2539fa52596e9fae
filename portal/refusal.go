// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// warnRefusal tells the operator, once in a while, what WeChat does not do for an
// account and what to do about it. Whoever brings a code that is used, old or made
// up is no operator's concern.
func (p *Portal) warnRefusal(appID, what string, err error) {
	refusal, refused := errors.AsType[*wechat.Error](err)
	switch {
	case errors.Is(err, wechat.ErrInvalidCode):
		errcode := zap.Skip() // what cannot be a code is not sent to WeChat
		if refused {
			errcode = zap.Int("errcode", refusal.Code)
		}
		p.warnings.do(what+appID+" code", func() {
			p.Log.Info("a visitor has brought a code that WeChat does not accept: used, too old or made up", zap.String("account", appID), errcode)
		})
	case refused:
		p.warnings.do(what+appID+refusal.Meaning(), func() {
			p.Log.Error(what, zap.String("account", appID), zap.Int("errcode", refusal.Code),
				zap.String("means", refusal.Meaning()), zap.String("cure", refusal.Cure()), zap.Error(err))
			p.trouble(audit.Event{Reason: "wechat_refused", Account: appID, Detail: what + ": " + refusal.Meaning() + ": " + refusal.Cure()})
		})
	default:
		p.warnings.do(what+appID, func() {
			p.Log.Warn(what, zap.String("account", appID), zap.Error(err))
		})
	}
}

const noCodeCure = "find in the access log who begins so many attempts, and lower limit attempts; a shorter qr_ttl frees codes sooner"

// noCode sends visitors to another method while an account has no code left for them
// to send.
func (p *Portal) noCode(w http.ResponseWriter, o Offer, err error) {
	p.troubles.add(o, p.Now())
	p.warnings.do("no code "+o.AppID, func() {
		p.Log.Error("visitors get no code to send to the account", zap.String("account", o.AppID), zap.Error(err),
			zap.String("cure", noCodeCure))
		p.trouble(audit.Event{Reason: "no_codes_left", Account: o.AppID, Detail: noCodeCure})
	})
	p.Count("attempt", o.AppID, "limited")
	setRetryAfter(w, troubleTime)
	writeError(w, http.StatusServiceUnavailable, "wechat_unavailable", "too many people sign in by this method right now: try another, or again shortly")
}
