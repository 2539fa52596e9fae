// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"crypto/subtle"
	"time"
)

type oauthTokenAnswer struct {
	AccessToken    string `json:"access_token"`
	ExpiresIn      int64  `json:"expires_in"`
	RefreshToken   string `json:"refresh_token"`
	OpenID         string `json:"openid"`
	Scope          string `json:"scope"`
	IsSnapshotUser int    `json:"is_snapshotuser,omitempty"`
	UnionID        string `json:"unionid,omitempty"`
}

// oauthToken is sns/oauth2/access_token: it takes a code, once.
// https://developers.weixin.qq.com/doc/service/api/webdev/access/api_snsaccesstoken
func (s *Server) oauthToken(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, e := s.authenticateOAuthLocked(c)
	if e.ErrCode != 0 {
		return e
	}
	code, e := s.takeOAuthCodeLocked(app, c.query("code"), c.now)
	if e.ErrCode != 0 {
		return e
	}
	value := newAccessToken()
	s.oauth.tokens[value] = &personToken{*code, c.now.Add(personTokenLifetime)}
	answer := oauthTokenAnswer{
		AccessToken: value, ExpiresIn: int64(personTokenLifetime / time.Second), RefreshToken: newAccessToken(),
		OpenID: code.openID(), Scope: code.scope,
	}
	if code.virtual {
		answer.IsSnapshotUser = 1
	}
	if code.scope != scopeBase {
		answer.UnionID = code.unionIDLocked()
	}
	return answer
}

func (s *Server) authenticateOAuthLocked(c call) (*account, apiError) {
	app, secret := s.accounts[c.query("appid")], c.query("secret")
	switch {
	case c.query("grant_type") != "authorization_code":
		return nil, apiError{40002, "invalid grant_type"}
	case c.query("appid") == "":
		return nil, apiError{41002, "appid missing"}
	case secret == "":
		return nil, apiError{41004, "appsecret missing"}
	case c.query("code") == "":
		return nil, apiError{41008, "missing code"}
	case app == nil:
		return nil, apiError{40013, "invalid appid"}
	case subtle.ConstantTimeCompare([]byte(secret), []byte(app.Secret)) != 1:
		return nil, apiError{40125, "invalid appsecret"}
	}
	return app, apiError{}
}

// takeOAuthCodeLocked uses a code up, also for the wrong app. A code that has expired
// is reported as 40029; 42003 is in WeChat's list, but not in reports.
func (s *Server) takeOAuthCodeLocked(app *account, value string, now time.Time) (*oauthCode, apiError) {
	code := s.oauth.codes[value]
	switch {
	case code == nil:
		return nil, apiError{40029, "invalid code"}
	case code.used:
		return nil, apiError{40163, "code been used"}
	}
	code.used = true
	if code.appID != app.AppID || !now.Before(code.expires) {
		return nil, apiError{40029, "invalid code"}
	}
	return code, apiError{}
}

type userInfoAnswer struct {
	OpenID     string   `json:"openid"`
	Nickname   string   `json:"nickname"`
	Sex        int      `json:"sex"`
	Language   string   `json:"language"`
	City       string   `json:"city"`
	Province   string   `json:"province"`
	Country    string   `json:"country"`
	HeadImgURL string   `json:"headimgurl"`
	Privilege  []string `json:"privilege"`
	UnionID    string   `json:"unionid,omitempty"`
}

// userInfo is sns/userinfo. Sex and place are empty since 2021. A nickname comes
// with the control characters that it has, raw.
func (s *Server) userInfo(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := s.oauth.tokens[c.query("access_token")]
	switch {
	case c.query("access_token") == "":
		return apiError{41001, "access_token missing"}
	case token == nil:
		return apiError{40001, "invalid credential, access_token is invalid or not latest"}
	case !c.now.Before(token.expires):
		return apiError{42001, "access_token expired"}
	case c.query("openid") != token.openID():
		return apiError{40003, "invalid openid"}
	case token.scope == scopeBase || token.virtual:
		return apiError{48001, "api unauthorized"}
	}
	return encodeRaw(userInfoAnswer{
		OpenID: token.openID(), Nickname: token.person.oauth.nickname, HeadImgURL: token.person.oauth.avatar,
		Privilege: []string{}, UnionID: token.unionIDLocked(),
	})
}

// openID is the person's for the app, or that of a virtual user.
func (c *oauthCode) openID() string {
	if c.virtual {
		return openID(c.appID, "\x00virtual "+c.person.name)
	}
	return c.person.OpenID(c.appID)
}

func (c *oauthCode) unionIDLocked() string {
	if c.virtual {
		return ""
	}
	return c.person.unionIDLocked(c.appID)
}

// PersonSecrets returns the codes of people that the account has been given, and
// the tokens that it got for them, in no order, for a test that looks for them
// where they must not be.
func (h *AccountHandle) PersonSecrets() []string {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	var secrets []string
	for value, code := range h.server.oauth.codes {
		if code.appID == h.appID {
			secrets = append(secrets, value)
		}
	}
	for value, token := range h.server.oauth.tokens {
		if token.appID == h.appID {
			secrets = append(secrets, value)
		}
	}
	return secrets
}
