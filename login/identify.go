// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// WeChat is the client of one account as the methods use it.
type WeChat struct{ *wechat.Client }

// MiniCode implements MiniCoder.
func (c WeChat) MiniCode(ctx context.Context, scene, page, env string) ([]byte, error) {
	picture, err := c.CreateMiniProgramCode(ctx, wechat.MiniProgramCode{
		Scene: scene, Page: page, EnvVersion: wechat.EnvVersion(env), Unpublished: env != string(wechat.EnvRelease),
	})
	return picture.Data, err
}

// MiniLink implements MiniCoder.
func (c WeChat) MiniLink(ctx context.Context, page, query, env string, ttl time.Duration) (string, error) {
	return c.CreateURLLink(ctx, wechat.URLLink{Path: page, Query: query, EnvVersion: wechat.EnvVersion(env), TTL: max(ttl, minLinkTTL)})
}

// minLinkTTL is the shortest life that WeChat gives a link.
const minLinkTTL = 2 * time.Minute

// Session returns the person whose wx.login, in the mini program, gave the code.
func (c WeChat) Session(ctx context.Context, code string) (Person, error) {
	u, err := c.Code2Session(ctx, code)
	return Person{OpenID: u.OpenID, UnionID: u.UnionID}, err
}

// PhoneNumber returns the number for which WeChat's button gave the code, in
// international form.
func (c WeChat) PhoneNumber(ctx context.Context, code string) (string, error) {
	n, err := c.Client.PhoneNumber(ctx, code)
	if err != nil {
		return "", err
	}
	return n.E164(), nil
}

// SendText writes to a person in the chat with the account.
func (c WeChat) SendText(ctx context.Context, openID, text string) error {
	return c.SendCustomMessage(ctx, openID, text)
}

// Exchange returns the person for whom WeChat's page gave the code, with name and
// avatar where the person has agreed to that.
func (c WeChat) Exchange(ctx context.Context, code string) (Person, error) {
	grant, err := c.ExchangeCode(ctx, code)
	if err != nil {
		return Person{}, err
	}
	who := Person{OpenID: grant.OpenID, UnionID: grant.UnionID}
	if !grant.Profile() {
		return who, nil
	}
	info, err := c.UserInfo(ctx, grant)
	if err != nil {
		return Person{}, err
	}
	who.learn(Person{UnionID: info.UnionID, Name: info.Nickname, Avatar: info.AvatarURL})
	return who, nil
}
