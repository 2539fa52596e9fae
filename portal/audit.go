// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"strings"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// record takes note of an event of a request, for which it fills in where the
// request comes from and at which site it is.
func (p *Portal) record(r *http.Request, e audit.Event) {
	e.Actor.IP, e.Actor.UserAgent = addressText(p.ClientAddr(r)), truncate(r.UserAgent(), maxUserAgent)
	e.Site = p.origin(r)
	p.Audit(r.Context(), e)
}

// recordRefusal is record for what whoever is signed in can have refused again and
// again, at no cost. Of the same it records one in warnEvery, which counts those that
// were left out before it: a flood would drive events of others out of the queues of
// those who are told of them.
func (p *Portal) recordRefusal(r *http.Request, e audit.Event) {
	same := strings.Join([]string{"refused", e.Actor.ID, string(e.Action), e.Reason, e.Detail}, " ")
	leftOut, due := p.warnings.due(same)
	if !due {
		return
	}
	if leftOut > 0 {
		e.Count = leftOut + 1
	}
	p.record(r, e)
}

// person is somebody who acts for himself.
func person(userID string) audit.Actor { return audit.Actor{Kind: audit.Person, ID: userID} }

// admin is somebody who acts on the admin page.
func admin(who *Principal) audit.Actor { return audit.Actor{Kind: audit.Admin, ID: who.User.ID} }

// ofAttempt is an event of an attempt.
func ofAttempt(action audit.Action, a login.Attempt, userID string) audit.Event {
	return audit.Event{Action: action, Result: audit.OK, Actor: person(userID), UserID: userID, Method: a.Method, Account: a.AppID, OpenID: a.OpenID}
}

// roleMissing is why a user whom the policy admits may not enter this site.
const roleMissing user.Admission = "role_missing"

// admission says why a user may not enter this site; user.Admitted where he may.
func (p *Portal) admission(who *Principal) user.Admission {
	if why := who.User.Admission; why != user.Admitted {
		return why
	}
	if len(p.Require) > 0 && !who.User.HasRole(p.Require...) {
		return roleMissing
	}
	return user.Admitted
}
