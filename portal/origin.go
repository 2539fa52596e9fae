// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/portal/page"
)

// sameOrigin lets a state-changing request pass only where it comes from a page
// of this very origin.
func (p *Portal) sameOrigin(h http.HandlerFunc) http.HandlerFunc {
	return p.guard(h, func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusForbidden, "cross_origin",
			"the request does not come from a page of this site: open the login page again; an operator finds more in the log")
	})
}

// sameOriginForm is sameOrigin for endpoints that a person sees the answer of.
func (p *Portal) sameOriginForm(h http.HandlerFunc) http.HandlerFunc {
	return p.guard(h, func(w http.ResponseWriter, r *http.Request) {
		p.pages.Notice(w, r, http.StatusForbidden, page.CrossOrigin)
	})
}

func (p *Portal) guard(h, refuse http.HandlerFunc) http.HandlerFunc {
	protection := http.NewCrossOriginProtection()
	for _, origin := range p.Origins {
		// New has parsed it: it is an origin.
		_ = protection.AddTrustedOrigin(origin)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if protection.Check(r) != nil || !p.fromHere(r) {
			p.warnings.do("cross_origin", func() {
				p.Log.Warn("refusing a request from another origin; if visitors reach the site by that origin, set public_url to it",
					zap.String("origin", r.Header.Get("Origin")), zap.String("expected", p.origin(r)),
					zap.String("sec_fetch_site", r.Header.Get("Sec-Fetch-Site")), zap.Stringer("client_ip", p.ClientAddr(r)))
			})
			refuse(w, r)
			return
		}
		h(w, r)
	}
}

// fromHere is stricter than CrossOriginProtection: the scheme counts, and a
// request that says nothing of where it comes from is refused.
func (p *Portal) fromHere(r *http.Request) bool {
	origins, sites := r.Header["Origin"], r.Header["Sec-Fetch-Site"]
	if len(origins)+len(sites) == 0 || len(origins) > 1 || len(sites) > 1 {
		return false
	}
	if len(origins) == 1 && origins[0] != p.origin(r) {
		return false
	}
	return len(sites) == 0 || sites[0] == "same-origin"
}
