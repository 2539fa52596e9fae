// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"fmt"
	"net/url"
)

const sessionEndpoint = "sns/jscode2session"

// MiniProgramUser is the person who called wx.login.
type MiniProgramUser struct {
	OpenID  string // the person under this mini program
	UnionID string // the person under all apps of one open platform account; empty where this one is bound to none
}

// Code2Session says whose a code of wx.login is. It needs no access token. A code
// is good once, for 5 minutes and for this mini program only, and even a failed
// call may have used it up: then the mini program calls wx.login again. A code
// that WeChat does not accept, or that cannot be one, is an [ErrInvalidCode]; a
// person whom WeChat holds back is an [ErrUserBlocked].
//
// The session_key that WeChat sends along is not even decoded: it must not leave
// the server, and nothing here needs it.
//
// See https://developers.weixin.qq.com/miniprogram/dev/server/API/user-login/api_code2session.html
func (c *Client) Code2Session(ctx context.Context, code string) (MiniProgramUser, error) {
	if !personCodePattern.MatchString(code) {
		return MiniProgramUser{}, fmt.Errorf("asking whose a login code is: %w: it is empty, too long or has characters that no code has", ErrInvalidCode)
	}
	var answer sessionAnswer
	query := url.Values{"appid": {c.appID}, "secret": {c.secret}, "js_code": {code}, "grant_type": {"authorization_code"}}
	err := c.unlessHeld(&c.mini.session, func() error {
		return c.getSNS(ctx, sessionEndpoint, query, code, &answer)
	}, sessionEndpoint, permanentAt)
	if err != nil {
		return MiniProgramUser{}, err
	}
	return answer.user()
}

type sessionAnswer struct {
	OpenID  string `json:"openid"`
	UnionID string `json:"unionid"`
}

func (a sessionAnswer) user() (MiniProgramUser, error) {
	switch {
	case !openIDPattern.MatchString(a.OpenID):
		return MiniProgramUser{}, unavailable(sessionEndpoint, "the answer names no openid")
	case a.UnionID != "" && !openIDPattern.MatchString(a.UnionID):
		return MiniProgramUser{}, unavailable(sessionEndpoint, "the answer has a unionid that is none")
	}
	return MiniProgramUser(a), nil
}
