// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"math"
	"time"
)

const (
	personCodeLife   = 5 * time.Minute
	sessionsPerMin   = 100 // of one person; from older documents
	sessionKeyLength = 16
	maxSessionKeys   = 1000
)

// codeUse tells the two kinds of codes apart that a mini program gets from a person.
type codeUse int

const (
	forLogin codeUse = iota
	forPhone
)

// personCode is a code of wx.login or of the getPhoneNumber button.
type personCode struct {
	use     codeUse
	appID   string
	person  *Phone
	made    time.Time
	expires time.Time
	used    bool
	number  Number // of forPhone
}

func (s *Server) newPersonCodeLocked(use codeUse, appID string, p *Phone) (string, *personCode) {
	now := s.opts.Now()
	s.purgeMiniLocked(now)
	code := "0" + randomString(31)
	if use == forPhone {
		code = randomHex(32)
	}
	c := &personCode{use: use, appID: appID, person: p, made: now, expires: now.Add(personCodeLife)}
	s.mini.codes[code] = c
	return code, c
}

// takePersonCodeLocked uses a code up, even where the wrong app brings it: its own app
// then hears that the code was used.
func (s *Server) takePersonCodeLocked(code string, use codeUse, appID string, now time.Time) (*personCode, apiError) {
	c := s.mini.codes[code]
	switch {
	case c == nil || c.use != use || !now.Before(c.expires):
		return nil, apiError{40029, "invalid code"}
	case c.used:
		return nil, apiError{40163, "code been used"}
	}
	c.used = true
	if c.appID != appID {
		return nil, apiError{40029, "invalid code"}
	}
	return c, apiError{}
}

type sessionAnswer struct {
	SessionKey string `json:"session_key"`
	OpenID     string `json:"openid"`
	UnionID    string `json:"unionid,omitempty"`
}

// code2Session is sns/jscode2session. The answer of a success has no errcode.
// https://developers.weixin.qq.com/miniprogram/dev/server/API/user-login/api_code2session.html
func (s *Server) code2Session(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, m, e := s.authenticateMiniLocked(c)
	if e.ErrCode != 0 {
		return e
	}
	code, e := s.takePersonCodeLocked(c.query("js_code"), forLogin, app.AppID, c.now)
	if e.ErrCode != 0 {
		return e
	}
	if app.quota.take(EndpointCode2Session+" "+code.person.name, c.now, math.MaxInt, sessionsPerMin) != 0 {
		return quotaError(45011)
	}
	key := base64.StdEncoding.EncodeToString(randomBytes(sessionKeyLength))
	m.sessionKeys = append(m.sessionKeys, key)
	m.sessionKeys = m.sessionKeys[max(0, len(m.sessionKeys)-maxSessionKeys):]
	return sessionAnswer{key, code.person.OpenID(app.AppID), code.person.unionIDLocked(app.AppID)}
}

// authenticateMiniLocked checks what jscode2session asks for besides the code.
func (s *Server) authenticateMiniLocked(c call) (*account, *miniProgram, apiError) {
	app, m := s.accounts[c.query("appid")], s.mini.programs[c.query("appid")]
	switch {
	case c.query("grant_type") != "authorization_code":
		return nil, nil, apiError{40002, "invalid grant_type"}
	case c.query("appid") == "":
		return nil, nil, apiError{41002, "appid missing"}
	case c.query("secret") == "":
		return nil, nil, apiError{41004, "appsecret missing"}
	case c.query("js_code") == "":
		return nil, nil, apiError{41008, "missing code"}
	case m == nil:
		return nil, nil, apiError{40013, "invalid appid"}
	case app.SecretFrozen:
		return nil, nil, apiError{40243, "AppSecret has been frozen, please unfreeze it first"}
	case subtle.ConstantTimeCompare([]byte(c.query("secret")), []byte(app.Secret)) != 1:
		return nil, nil, apiError{40125, "invalid appsecret"}
	}
	return app, m, apiError{}
}

type phoneAnswer struct {
	apiError
	Info phoneInfo `json:"phone_info"`
}

type phoneInfo struct {
	PhoneNumber     string    `json:"phoneNumber"` // with the country code where it is foreign
	PurePhoneNumber string    `json:"purePhoneNumber"`
	CountryCode     string    `json:"countryCode"` // a number in the documents, a string in practice
	Watermark       watermark `json:"watermark"`
}

type watermark struct {
	Timestamp int64  `json:"timestamp"`
	AppID     string `json:"appid"`
}

// phoneNumber is wxa/business/getuserphonenumber. Only a success counts against
// what the mini program has paid for. The code of wx.login will not do.
// https://developers.weixin.qq.com/miniprogram/dev/framework/open-ability/getPhoneNumber.html
func (s *Server) phoneNumber(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, m, e := s.authorizeMiniLocked(c)
	if e.ErrCode != 0 {
		return e
	}
	if m.Individual {
		return apiError{48001, "api unauthorized"}
	}
	var req struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(c.body, &req) != nil {
		return apiError{47001, "data format error"}
	}
	code, e := s.takePersonCodeLocked(req.Code, forPhone, app.AppID, c.now)
	if e.ErrCode != 0 {
		return apiError{40029, "invalid code"} // for used ones, too
	}
	m.phoneNumbers--
	full := code.number.National
	if code.number.CountryCode != "86" {
		full = code.number.CountryCode + full
	}
	info := phoneInfo{full, code.number.National, code.number.CountryCode, watermark{code.made.Unix(), app.AppID}}
	return phoneAnswer{apiError{0, "ok"}, info}
}
