// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The endpoints of signing in on the web, as [Server.Fail] and [Server.Calls] name them.
const (
	EndpointAuthorize     = "/connect/oauth2/authorize"
	EndpointQRConnect     = "/connect/qrconnect"
	EndpointQRConnectPoll = "/connect/l/qrconnect"
	EndpointOAuthToken    = "/sns/oauth2/access_token" //nolint:gosec // a path, not a credential
	EndpointUserInfo      = "/sns/userinfo"
)

const (
	websiteCodeLifetime  = 10 * time.Minute
	officialCodeLifetime = 5 * time.Minute
	personTokenLifetime  = 2 * time.Hour
	consentLifetime      = 30 * 24 * time.Hour
	authDenied           = "authdeny"
)

// The scopes of an authorisation.
const (
	scopeBase     = "snsapi_base"
	scopeUserInfo = "snsapi_userinfo"
	scopeLogin    = "snsapi_login"
)

// Refusal is what happens in the browser when a person refuses to sign in. The
// documents contradict one another, so it can be chosen.
type Refusal int

// The ways to refuse.
const (
	RefusalStays     Refusal = iota // no redirect: the guide of 2023
	RefusalStateOnly                // a redirect with the state and no code: older guides
	RefusalAuthDeny                 // a redirect with code=authdeny: seen inside WeChat
)

// oauthState is guarded by Server.mu.
type oauthState struct {
	codes    map[string]*oauthCode
	tokens   map[string]*personToken
	logins   map[string]*webLogin // by uuid
	purgedAt time.Time
}

func newOAuthState() oauthState {
	return oauthState{codes: map[string]*oauthCode{}, tokens: map[string]*personToken{}, logins: map[string]*webLogin{}}
}

// oauthCode is what a browser brings to the redirect URI.
type oauthCode struct {
	appID, scope string
	person       *Phone
	virtual      bool
	expires      time.Time
	used         bool
}

// personToken is the token of a person towards one app. It has nothing to do
// with the access token of the app.
type personToken struct {
	oauthCode
	expires time.Time
}

func (s *Server) routeOAuth(mux *http.ServeMux) {
	mux.Handle(EndpointOAuthToken, s.endpoint(EndpointOAuthToken, textHandler(byGet(s.oauthToken))))
	mux.Handle(EndpointUserInfo, s.endpoint(EndpointUserInfo, textHandler(byGet(s.userInfo))))
	mux.Handle(EndpointQRConnect, s.endpoint(EndpointQRConnect, s.qrconnect))
	mux.Handle(EndpointQRConnectPoll, s.endpoint(EndpointQRConnectPoll, s.pollLogin))
	guard := http.NewCrossOriginProtection()
	mux.Handle(EndpointAuthorize, guard.Handler(s.endpoint(EndpointAuthorize, s.authorize)))
	mux.HandleFunc("GET /connect/qrcode/{uuid}", s.loginPicture)
	s.routeLoginPage(mux)
}

// textHandler answers text/plain, as sns/* does.
func textHandler(answer apiFunc) func(http.ResponseWriter, call) {
	next := jsonHandler(answer)
	return func(w http.ResponseWriter, c call) {
		rec := &recorder{header: http.Header{}}
		next(rec, c)
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(rec.body.Bytes()) // the client is gone if this fails
	}
}

func (a Account) validateOAuth() error {
	switch host := a.CallbackDomain; {
	case strings.ContainsAny(host, "/?#@ ") || (host != "" && (&url.URL{Host: host}).Hostname() == ""):
		return errors.New("the callback domain must be a host, without scheme and path")
	case a.OpenPlatform != "" && a.Kind == TestAccount:
		return errors.New("a test account cannot be bound to an open platform account")
	}
	return nil
}

// allowsCallback compares literally: subdomains are not implied.
func (a Account) allowsCallback(redirectURI string) bool {
	u, err := url.Parse(redirectURI)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || a.CallbackDomain == "" {
		return false
	}
	return u.Hostname() == a.CallbackDomain || u.Host == a.CallbackDomain
}

// mayAuthorize follows the permission table: 网页授权 is for verified service
// accounts and test accounts.
func (a Account) mayAuthorize() bool { return a.Kind == VerifiedService || a.Kind == TestAccount }

// newOAuthCodeLocked issues a code to a person's browser.
func (s *Server) newOAuthCodeLocked(app *account, p *Phone, scope string, virtual bool, now time.Time) string {
	s.purgeOAuthLocked(now)
	lifetime := officialCodeLifetime
	if app.Kind == Website {
		lifetime = websiteCodeLifetime
	}
	value := "0" + randomDigits(2) + randomString(29)
	s.oauth.codes[value] = &oauthCode{appID: app.AppID, scope: scope, person: p, virtual: virtual, expires: now.Add(lifetime)}
	return value
}

// purgeOAuthLocked keeps what has ended for a day, so that it still gets its own errcode.
func (s *Server) purgeOAuthLocked(now time.Time) {
	if now.Sub(s.oauth.purgedAt) < purgeEvery {
		return
	}
	s.oauth.purgedAt = now
	old := now.Add(-keepDead)
	for value, code := range s.oauth.codes {
		if code.expires.Before(old) {
			delete(s.oauth.codes, value)
		}
	}
	for value, token := range s.oauth.tokens {
		if token.expires.Before(old) {
			delete(s.oauth.tokens, value)
		}
	}
	for uuid, login := range s.oauth.logins {
		if login.expires.Before(old) {
			delete(s.oauth.logins, uuid)
		}
	}
}

// callback is redirectURI with a code, or none, and the state.
func callback(redirectURI, code, state string) string {
	target, fragment, found := strings.Cut(redirectURI, "#")
	var parts []string
	if code != "" {
		parts = append(parts, "code="+url.QueryEscape(code))
	}
	parts = append(parts, "state="+url.QueryEscape(state))
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	target += separator + strings.Join(parts, "&")
	if found {
		target += "#" + fragment
	}
	return target
}

// refusedCallback is where a refusal leads: "" for nowhere.
func (r Refusal) refusedCallback(redirectURI, state string) string {
	switch r {
	case RefusalStateOnly:
		return callback(redirectURI, "", state)
	case RefusalAuthDeny:
		return callback(redirectURI, authDenied, state)
	default:
		return ""
	}
}
