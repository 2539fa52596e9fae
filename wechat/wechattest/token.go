// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"time"
)

const (
	tokenLifetime = 2 * time.Hour
	tokenGrace    = 5 * time.Minute  // old and new work together that long
	forceSpacing  = 30 * time.Second // between two forced refreshes
	forcePerDay   = 20
	keepDead      = 24 * time.Hour // so that an ended token still gets its own errcode
)

// issuedToken is one access token.
type issuedToken struct {
	value   string
	appID   string
	expires time.Time
	diesAt  time.Time // never after expires; earlier once a newer token replaced it
}

// die ends the token at t, unless it ends before that anyway.
func (t *issuedToken) die(at time.Time) {
	if at.Before(t.diesAt) {
		t.diesAt = at
	}
}

// tokenLine is the sequence of tokens of cgi-bin/token.
type tokenLine struct{ current *issuedToken }

// stableLine is the sequence of tokens of cgi-bin/stable_token.
type stableLine struct {
	current, previous *issuedToken
	forcedAt          time.Time
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

type credentials struct {
	GrantType    string `json:"grant_type"`
	AppID        string `json:"appid"`
	Secret       string `json:"secret"`
	ForceRefresh bool   `json:"force_refresh"`
}

// token is cgi-bin/token: each call issues a new token, and the one before
// lives five more minutes.
// https://developers.weixin.qq.com/doc/subscription/api/base/api_getaccesstoken.html
func (s *Server) token(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	cred := credentials{GrantType: c.query("grant_type"), AppID: c.query("appid"), Secret: c.query("secret")}
	app, e := s.authenticateLocked(c, cred)
	if e.ErrCode != 0 {
		return e
	}
	if code := app.quota.take(EndpointToken, c.now, app.tokensPerDay(2000), 0); code != 0 {
		return quotaError(code)
	}
	if app.plain.current != nil {
		app.plain.current.die(c.now.Add(tokenGrace))
	}
	app.plain.current = s.issueLocked(app, c.now)
	return app.plain.current.answer(c.now)
}

// stableToken is cgi-bin/stable_token.
// https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.html
func (s *Server) stableToken(c call) any {
	var cred credentials
	if json.Unmarshal(c.body, &cred) != nil {
		return apiError{47001, "data format error"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	app, e := s.authenticateLocked(c, cred)
	if e.ErrCode != 0 {
		return e
	}
	if code := app.quota.take(EndpointStableToken, c.now, app.tokensPerDay(500_000), 10_000); code != 0 {
		return quotaError(code)
	}
	switch line := &app.stable; {
	case cred.ForceRefresh && app.mayForce(c.now):
		s.forceLocked(app, c.now)
	case line.current == nil || line.current.diesAt.Sub(c.now) < tokenGrace:
		line.previous, line.current = line.current, s.issueLocked(app, c.now)
	}
	return app.stable.current.answer(c.now)
}

// mayForce reports whether a forced refresh takes place. If not, the call
// counts as a normal one (the documents only say that nothing is refreshed).
func (a *account) mayForce(now time.Time) bool {
	return now.Sub(a.stable.forcedAt) >= forceSpacing && a.quota.take("force_refresh", now, forcePerDay, 0) == 0
}

// forceLocked replaces the token. The documents say both that a forced refresh
// ends the token before, and that a leaked token is ended by two of them: so the
// current one keeps the five minutes, and older ones die.
func (s *Server) forceLocked(app *account, now time.Time) {
	line := &app.stable
	if line.previous != nil {
		line.previous.die(now)
	}
	if line.current != nil {
		line.current.die(now.Add(tokenGrace))
	}
	line.previous, line.current = line.current, s.issueLocked(app, now)
	line.forcedAt = now
}

func (a *account) tokensPerDay(normal int) int {
	if a.Kind == TestAccount {
		return 200
	}
	return normal
}

// authenticateLocked checks what both token endpoints ask for.
func (s *Server) authenticateLocked(c call, cred credentials) (*account, apiError) {
	app := s.accounts[cred.AppID]
	switch {
	case cred.GrantType != "client_credential":
		return nil, apiError{40002, "invalid grant_type"}
	case cred.AppID == "":
		return nil, apiError{41002, "appid missing"}
	case cred.Secret == "":
		return nil, apiError{41004, "appsecret missing"}
	case app == nil:
		return nil, apiError{40013, "invalid appid"}
	case app.SecretFrozen:
		return nil, apiError{40243, "AppSecret has been frozen, please unfreeze it first"}
	case subtle.ConstantTimeCompare([]byte(cred.Secret), []byte(app.Secret)) != 1:
		return nil, apiError{40125, "invalid appsecret"}
	}
	ip := remoteIP(c.Request)
	if !app.allowsIP(ip) {
		return nil, apiError{40164, fmt.Sprintf("invalid ip %s ipv6 %s, not in whitelist", ip, mapped(ip))}
	}
	return app, apiError{}
}

func quotaError(code int) apiError {
	if code == 45011 {
		return apiError{code, "api minute-quota reach limit, must slower, retry next minute"}
	}
	return apiError{code, "reach max api daily quota limit"}
}

func (s *Server) issueLocked(app *account, now time.Time) *issuedToken {
	for len(app.issued) > 0 && now.Sub(app.issued[0].expires) > keepDead {
		delete(s.tokens, app.issued[0].value)
		app.issued = app.issued[1:]
	}
	t := &issuedToken{value: newAccessToken(), appID: app.AppID, expires: now.Add(tokenLifetime)}
	t.diesAt = t.expires
	s.tokens[t.value] = t
	app.issued = append(app.issued, t)
	return t
}

func (t *issuedToken) answer(now time.Time) tokenAnswer {
	return tokenAnswer{t.value, int64(t.diesAt.Sub(now) / time.Second)}
}

// RevokeTokens ends all access tokens of an account at once, as a reset of its
// secret does: they answer 40001, and the next token call issues a new one.
func (s *Server) RevokeTokens(appID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	app := s.accounts[appID]
	if app == nil {
		return
	}
	for _, t := range app.issued {
		t.die(time.Time{})
	}
	app.plain, app.stable.current, app.stable.previous = tokenLine{}, nil, nil
}

var wellFormedToken = regexp.MustCompile(`^[0-9]{2,3}_[A-Za-z0-9_-]{100,509}$`)

// authorizeLocked finds the account that the request's access token belongs to.
func (s *Server) authorizeLocked(c call) (*account, apiError) {
	value := c.query("access_token")
	t := s.tokens[value]
	switch {
	case value == "":
		return nil, apiError{41001, "access_token missing"}
	case t == nil && !wellFormedToken.MatchString(value):
		return nil, apiError{40014, "invalid access_token"}
	case t == nil, t.diesAt.Before(t.expires) && !c.now.Before(t.diesAt):
		return nil, apiError{40001, "invalid credential, access_token is invalid or not latest"}
	case !c.now.Before(t.expires):
		return nil, apiError{42001, "access_token expired"}
	}
	return s.accounts[t.appID], apiError{}
}

// clearQuota resets the daily counters.
func (s *Server) clearQuota(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, e := s.authorizeLocked(c)
	if e.ErrCode != 0 {
		return e
	}
	var body struct {
		AppID string `json:"appid"`
	}
	switch {
	case json.Unmarshal(c.body, &body) != nil:
		return apiError{47001, "data format error"}
	case body.AppID != app.AppID:
		return apiError{40013, "invalid appid"}
	case !app.quota.clear(c.now):
		return apiError{48006, "forbid to clear quota because of reaching the limit"}
	}
	return apiError{0, "ok"}
}

type ipAnswer struct {
	IPList []string `json:"ip_list"`
}

// ipList answers both lists of WeChat's addresses. The addresses are from the
// blocks reserved for documents, but for loopback, where the pushes come from.
func (s *Server) ipList(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, e := s.authorizeLocked(c); e.ErrCode != 0 {
		return e
	}
	return ipAnswer{[]string{"127.0.0.1", "192.0.2.10", "198.51.100.0/24"}}
}

func newAccessToken() string { return "92_" + randomString(150) }

// ridTail is what WeChat appends to an errmsg: an id that begins with the time.
func ridTail(now time.Time) string {
	return fmt.Sprintf(" rid: %08x-%s-%s", uint32(now.Unix()), randomHex(4), randomHex(4)) //nolint:gosec // the format has 32 bits
}

func remoteIP(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	ip, _ := netip.ParseAddr(host) // the zero Addr is on no whitelist
	return ip.Unmap()
}

func mapped(ip netip.Addr) netip.Addr {
	if !ip.IsValid() {
		return ip
	}
	return netip.AddrFrom16(ip.As16())
}
