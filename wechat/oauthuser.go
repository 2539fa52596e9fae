// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"unicode"
)

const (
	maxNickname = 64   // characters; WeChat allows 32
	maxAvatar   = 1024 // bytes; real ones have below 200
)

// UserInfo is what a person shows of themselves. None of it names them: a
// nickname is neither unique nor lasting.
type UserInfo struct {
	UnionID string // empty where the app is bound to no account of the open platform
	// Nickname has no control characters, no direction marks, and at most 64
	// characters. It may be empty.
	Nickname string
	// AvatarURL is an https URL on one of WeChat's hosts for pictures, or empty.
	AvatarURL string
}

// UserInfo asks for the profile of the person who gave g, within two hours. It
// works where [Grant.Profile] says so, and fails as [Client.ExchangeCode] does.
//
// See https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
func (c *Client) UserInfo(ctx context.Context, g Grant) (UserInfo, error) {
	if g.token == nil || !g.Profile() {
		return UserInfo{}, errors.New("reading a profile: the person was not asked for it; sign in with snsapi_userinfo")
	}
	var answer userInfoAnswer
	query := url.Values{"access_token": {*g.token}, "openid": {g.OpenID}, "lang": {"zh_CN"}}
	if err := c.getSNS(ctx, userInfoEndpoint, query, *g.token, &answer); err != nil {
		return UserInfo{}, err
	}
	return answer.userInfo(g)
}

// userInfoAnswer leaves out sex and place, which are empty since 2021, and
// privilege. Its text is UTF-8 whatever the Content-Type says: WeChat names
// text/plain, and so by old rules ISO-8859-1.
type userInfoAnswer struct {
	OpenID   string `json:"openid"`
	UnionID  string `json:"unionid"`
	Nickname string `json:"nickname"`
	Avatar   string `json:"headimgurl"`
}

func (a userInfoAnswer) userInfo(g Grant) (UserInfo, error) {
	if a.OpenID != g.OpenID || (g.UnionID != "" && a.UnionID != "" && a.UnionID != g.UnionID) {
		return UserInfo{}, unavailable(userInfoEndpoint, "the answer is about another person")
	}
	if a.UnionID == "" {
		a.UnionID = g.UnionID
	}
	if a.UnionID != "" && !openIDPattern.MatchString(a.UnionID) {
		return UserInfo{}, unavailable(userInfoEndpoint, "the answer has a unionid that is none")
	}
	return UserInfo{UnionID: a.UnionID, Nickname: CleanNickname(a.Nickname), AvatarURL: cleanAvatar(a.Avatar)}, nil
}

// CleanNickname makes a name that a person chose fit to be shown: without
// control characters and invisible marks, without spaces around it, and with at
// most 64 characters. What holds an emoji together stays.
func CleanNickname(name string) string {
	const joiner = '\u200d'
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r), r == joiner:
			return r
		default:
			return -1
		}
	}, strings.ToValidUTF8(name, ""))
	if runes := []rune(name); len(runes) > maxNickname {
		name = string(runes[:maxNickname])
	}
	return strings.Trim(name, " "+string(joiner))
}

// avatarDomain is where WeChat keeps avatars: thirdwx.qlogo.cn, wx.qlogo.cn.
const avatarDomain = ".qlogo.cn"

// cleanAvatar returns "" for anything but the address of a picture of WeChat's:
// the address goes into a page and a header. WeChat still writes http in places.
func cleanAvatar(raw string) string {
	if len(raw) > maxAvatar {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || u.Opaque != "" {
		return ""
	}
	host := strings.ToLower(u.Host) // with a port it does not end in the domain
	if !strings.HasSuffix(host, avatarDomain) || !hostPattern(host) {
		return ""
	}
	clean := url.URL{Scheme: "https", Host: host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	if text := clean.String(); strings.IndexFunc(text, notURL) < 0 {
		return text
	}
	return ""
}

func hostPattern(host string) bool {
	return strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" && host[0] != '.'
}

// notURL says that a character has no place in a URL, quotes among them.
func notURL(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'<>\\`{|}^", r) }
