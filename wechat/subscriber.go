// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

const subscriberEndpoint = "cgi-bin/user/info"

// Subscriber is what WeChat tells an account of a person besides the openid. Name and
// avatar are no part of it since the end of 2021.
type Subscriber struct {
	// Subscribed says that the person follows the account; if not, nothing is told.
	Subscribed bool
	// UnionID is the same in all apps that are bound to one account of the open
	// platform. Empty where this one is bound to none, as a test account always is.
	UnionID string
}

// Subscriber asks for what WeChat tells of a person. An account that is not verified
// gets the [Error] 48001.
//
// See https://developers.weixin.qq.com/doc/service/api/usermanage/userinfo/api_userinfo.html
func (c *Client) Subscriber(ctx context.Context, openID string) (Subscriber, error) {
	if !openIDPattern.MatchString(openID) {
		return Subscriber{}, errors.New("reading a subscriber: the openid is none")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var answer subscriberAnswer
	err := c.withToken(ctx, func(token string) error {
		query := url.Values{"access_token": {token}, "openid": {openID}, "lang": {"zh_CN"}}
		return c.get(ctx, subscriberEndpoint, query, token, &answer)
	})
	if err != nil {
		return Subscriber{}, fmt.Errorf("reading a subscriber: %w", err)
	}
	return answer.subscriber(openID)
}

type subscriberAnswer struct {
	Subscribe looseInt `json:"subscribe"`
	OpenID    string   `json:"openid"`
	UnionID   string   `json:"unionid"`
}

func (a subscriberAnswer) subscriber(openID string) (Subscriber, error) {
	switch {
	case a.OpenID != openID:
		return Subscriber{}, unavailable(subscriberEndpoint, "the answer is about another person")
	case a.UnionID != "" && !openIDPattern.MatchString(a.UnionID):
		return Subscriber{}, unavailable(subscriberEndpoint, "the answer has a unionid that is none")
	}
	return Subscriber{Subscribed: a.Subscribe != 0, UnionID: a.UnionID}, nil
}

// subscriberCodes is what errcodes mean where a subscriber is read, if that differs from codes.
// See https://developers.weixin.qq.com/doc/service/api/usermanage/userinfo/api_userinfo.html
var subscriberCodes = map[int]codeEntry{
	40003: {"nobody has this openid under this account", "see that no other account's app id and secret are configured for it", transient},
	48001: {"the account may not read its subscribers", "nothing, where people need not be the same across accounts: else use a verified account (已认证的服务号 or 公众号)", permanent},
}
