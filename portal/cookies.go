// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"
)

const (
	// hostPrefix makes a browser accept a cookie from this host over TLS only;
	// securePrefix leaves out the host, for a cookie that subdomains share.
	hostPrefix   = "__Host-"
	securePrefix = "__Secure-"

	// DefaultCookie is the name of the session cookie, without a prefix.
	DefaultCookie = "wechat_session"
	// BrowserCookie is the name of the cookie that binds an attempt to its browser.
	BrowserCookie = "wechat_browser"
	// browserSecretLen is the length of what rand.Text returns.
	browserSecretLen = 26
)

// cookies makes the gateway's cookies.
type cookies struct {
	session, browser string // with their prefixes
	domain           string
	secure           bool
}

func newCookies(session, domain string, secure bool) cookies {
	c := cookies{session: session, browser: BrowserCookie, domain: domain, secure: secure}
	if !secure {
		return c
	}
	c.browser = hostPrefix + c.browser
	if domain == "" {
		c.session = hostPrefix + c.session
	} else {
		c.session = securePrefix + c.session
	}
	return c
}

func (c *cookies) setSession(w http.ResponseWriter, value string, expires time.Time) {
	http.SetCookie(w, c.sessionCookie(value, expires, 0))
}

func (c *cookies) clearSession(w http.ResponseWriter) {
	http.SetCookie(w, c.sessionCookie("", time.Time{}, -1))
}

func (c *cookies) sessionCookie(value string, expires time.Time, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // not Secure only where the site itself is plain http
		Name: c.session, Value: value, Path: "/", Domain: c.domain, Expires: expires, MaxAge: maxAge,
		Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// bind returns the secret that tells this browser from all others, and gives it
// one if it has none. What does not look like one of ours is not adopted.
func (c *cookies) bind(w http.ResponseWriter, secret string) string {
	if isBrowserSecret(secret) {
		return secret
	}
	secret = rand.Text()
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // not Secure only where the site itself is plain http
		Name: c.browser, Value: secret, Path: "/",
		Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return secret
}

func isBrowserSecret(s string) bool {
	return len(s) == browserSecretLen && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}
