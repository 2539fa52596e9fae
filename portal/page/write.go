// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
)

// Referrer policies. A page whose form posts must not use no-referrer: the browser
// would send `Origin: null`, which the portal takes for a foreign form. Its address
// is a secret all the same, so no more than the origin is told to anybody.
const (
	noReferrer = "no-referrer"
	originOnly = "strict-origin"
)

// response is what goes into a page's head rather than its body.
type response struct {
	status   int
	template string
	referrer string
	frame    string // the one origin whose pages it may frame, if any
}

// view is what the templates see.
type view struct {
	T      *texts
	Title  string
	Prefix string
	Nonce  string
	urls   map[string]string

	Script  script
	Confirm Confirm
	Logout  Logout
	Notice  noticeView
	Bind    Bind
	Name    Name

	Sessions     Sessions
	Admin        Admin
	AdminUser    AdminUser
	AdminConfirm AdminConfirm
}

// Asset returns the URL of an asset by its name in this package.
func (v *view) Asset(name string) string { return v.urls[name] }

// LoginScripts returns the scripts of the login page by their names in this package.
func (v *view) LoginScripts() []string { return loginScripts }

// view returns what all pages have in common, with a fresh nonce.
func (p *Pages) view(r *http.Request) *view {
	t := textsFor(r)
	title := strings.TrimSpace(p.site.Title)
	if title == "" {
		title = t.ThisSite
	}
	return &view{T: t, Title: title, Prefix: p.site.Prefix, Nonce: rand.Text(), urls: p.urls}
}

// write renders the page and sends it with the headers every page carries.
func (p *Pages) write(w http.ResponseWriter, r *http.Request, resp response, v *view) {
	var body bytes.Buffer
	if err := templates.ExecuteTemplate(&body, resp.template, v); err != nil {
		// Only a mistake in an embedded template leads here.
		http.Error(w, "rendering the page failed: "+resp.template, http.StatusInternalServerError)
		return
	}
	setHeaders(w.Header(), v.Nonce, resp)
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(resp.status)
	if r.Method != http.MethodHead {
		_, _ = body.WriteTo(w) // a visitor who has gone needs no page
	}
}

// setHeaders sets what keeps a page out of caches, frames, search engines and other
// sites' reach.
func setHeaders(h http.Header, nonce string, resp response) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept-Language")
	h.Set("Content-Security-Policy", contentSecurityPolicy(nonce, resp.frame))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Referrer-Policy", resp.referrer)
	h.Set("X-Robots-Tag", "noindex")
}

func contentSecurityPolicy(nonce, frame string) string {
	directives := []string{
		"default-src 'none'",
		"script-src 'nonce-" + nonce + "'",
		"style-src 'nonce-" + nonce + "'",
		"img-src 'self' data:",
		"connect-src 'self'",
		"form-action 'self'",
		"base-uri 'none'",
		"frame-ancestors 'none'",
	}
	if frame != "" {
		directives = append(directives, "frame-src "+frame)
	}
	return strings.Join(directives, "; ")
}
