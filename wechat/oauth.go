// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	exchangeEndpoint = "sns/oauth2/access_token"
	userInfoEndpoint = "sns/userinfo"
)

// How an authorisation can end without an identity.
var (
	// ErrRefused says that the person did not agree.
	ErrRefused = errors.New("the person refused to sign in")

	// ErrMalformedCallback says that the callback does not have the form that
	// WeChat gives it; nothing was sent to WeChat.
	ErrMalformedCallback = errors.New("the callback is malformed")

	// ErrInvalidCode says that WeChat does not accept a code: it was used
	// already, is too old, or is another app's. The person has to sign in again.
	ErrInvalidCode = errors.New("WeChat does not accept the code")

	// ErrVirtualUser says that WeChat showed the page as a snapshot (快照页) and
	// gave the openid of nobody. The person has to tap 使用完整服务 and sign in again.
	ErrVirtualUser = errors.New("WeChat gave a virtual user for a snapshot page; tap 使用完整服务 and sign in again")
)

// codePattern is far wider than the 32 characters of today's codes.
var codePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,512}$`)

// deniedCode is what some editions of WeChat send in place of a code.
const deniedCode = "authdeny"

// ParseCallback reads the code out of the query with which WeChat calls a
// redirect URI. It fails with [ErrRefused] where the person did not agree: then
// WeChat sends the state alone, or a code that says so, or does not call at all.
// Anything else that is not one code is [ErrMalformedCallback]. The state is for
// the caller to check, before the code is used.
func ParseCallback(query url.Values) (code string, err error) {
	code, state := query.Get("code"), query.Get("state")
	switch {
	case len(query["code"]) > 1 || len(query["state"]) > 1:
		return "", fmt.Errorf("%w: it has more than one code or state", ErrMalformedCallback)
	case code == deniedCode, code == "" && state != "":
		return "", ErrRefused
	case !codePattern.MatchString(code):
		return "", fmt.Errorf("%w: it has no code that WeChat could have sent", ErrMalformedCallback)
	}
	return code, nil
}

// Grant is what a code was exchanged for: the identity of a person towards one
// app. It holds a token for [Client.UserInfo], which no formatting shows.
type Grant struct {
	OpenID string
	// UnionID is the same in all apps that are bound to one account of the open
	// platform. Empty where there is no such account, and for [ScopeBase].
	UnionID string
	// Scope is what the person agreed to; several are separated by commas.
	Scope string

	token *string // fmt prints the address
}

// Profile says whether the person agreed to [Client.UserInfo].
func (g Grant) Profile() bool {
	return slices.ContainsFunc(strings.Split(g.Scope, ","), func(s string) bool {
		return Scope(s) == ScopeUserInfo || Scope(s) == scopeLogin
	})
}

// ExchangeCode asks WeChat whose code this is. A code works once, for 5 minutes
// (of a website application: 10), so exchange it once: even a failed exchange may
// have used it up.
//
// It fails with [ErrInvalidCode] or [ErrVirtualUser], which the person can cure;
// with another [Error], which the operator can; with [ErrUnavailable]; and with
// [ErrMalformedCallback], before any call, for what cannot be a code.
//
// See https://developers.weixin.qq.com/doc/service/api/webdev/access/api_snsaccesstoken
func (c *Client) ExchangeCode(ctx context.Context, code string) (Grant, error) {
	if !codePattern.MatchString(code) {
		return Grant{}, fmt.Errorf("exchanging a code: %w: it is none that WeChat could have sent", ErrMalformedCallback)
	}
	var answer exchangeAnswer
	query := url.Values{"appid": {c.appID}, "secret": {c.secret}, "code": {code}, "grant_type": {"authorization_code"}}
	if err := c.getSNS(ctx, exchangeEndpoint, query, code, &answer); err != nil {
		return Grant{}, err
	}
	return answer.grant()
}

type exchangeAnswer struct {
	AccessToken string   `json:"access_token"`
	OpenID      string   `json:"openid"`
	UnionID     string   `json:"unionid"`
	Scope       string   `json:"scope"`
	Snapshot    looseInt `json:"is_snapshotuser"`
}

var scopeListPattern = regexp.MustCompile(`^[a-z_,]{0,256}$`)

func (a exchangeAnswer) grant() (Grant, error) {
	switch {
	case a.Snapshot != 0:
		return Grant{}, fmt.Errorf("exchanging a code: %w", ErrVirtualUser)
	case !openIDPattern.MatchString(a.OpenID) || a.AccessToken == "":
		return Grant{}, unavailable(exchangeEndpoint, "the answer names no openid or no token")
	case a.UnionID != "" && !openIDPattern.MatchString(a.UnionID):
		return Grant{}, unavailable(exchangeEndpoint, "the answer has a unionid that is none")
	case !scopeListPattern.MatchString(a.Scope):
		return Grant{}, unavailable(exchangeEndpoint, "the answer has a scope that is none")
	}
	return Grant{OpenID: a.OpenID, UnionID: a.UnionID, Scope: a.Scope, token: &a.AccessToken}, nil
}

// getSNS makes a call whose query holds secrets: the client's own, and hidden.
func (c *Client) getSNS(ctx context.Context, endpoint string, query url.Values, hidden string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.get(ctx, endpoint, query, hidden, answer)
}

// get makes a call, and makes it again once if WeChat says that it is busy.
func (c *Client) get(ctx context.Context, endpoint string, query url.Values, hidden string, answer any) error {
	return retryBusy(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.apiURL+"/"+endpoint+"?"+query.Encode(), nil)
		if err != nil {
			return unavailable(endpoint, "the API URL makes no request")
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return transportError(ctx, endpoint, err)
		}
		defer resp.Body.Close()
		return c.decode(ctx, endpoint, hidden, resp, answer)
	})
}
