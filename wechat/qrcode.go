// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"regexp"
	"time"
)

const (
	qrcodeEndpoint = "cgi-bin/qrcode/create"
	maxQRCodeTTL   = 30 * 24 * time.Hour
)

// scenePattern is narrower than WeChat's rule (1 to 64 characters, set not
// documented): these survive every encoding on the way.
var scenePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// QRCode is a temporary parametric QR code. Neither field is a secret: whoever
// sees the picture knows both.
type QRCode struct {
	Ticket    string        // names the code at showqrcode, and comes back in the event
	URL       string        // the text inside the picture
	ExpiresIn time.Duration // from now on
}

// CreateQRCode makes a QR code that carries scene for ttl. When it is scanned,
// WeChat pushes an event whose [Message.Scene] is scene; until it expires any
// number of people may scan it. The scene is 1 to 64 of A-Z a-z 0-9 _ -, and ttl,
// cut to whole seconds, from 1 s to 30 days; anything else is an error before any call.
//
// Only a verified service account (服务号) or a test account may do this.
// See https://developers.weixin.qq.com/doc/service/api/qrcode/qrcodes/api_createqrcode.md
func (c *Client) CreateQRCode(ctx context.Context, scene string, ttl time.Duration) (QRCode, error) {
	if !scenePattern.MatchString(scene) {
		return QRCode{}, errors.New("creating a QR code: the scene must be 1 to 64 letters, digits, '-' or '_'")
	}
	if ttl < time.Second || ttl > maxQRCodeTTL {
		return QRCode{}, errors.New("creating a QR code: the lifetime must be from 1 second to 30 days")
	}
	if err := c.qrHold.check(c.now()); err != nil {
		return QRCode{}, err
	}
	code, err := c.createQRCode(ctx, scene, ttl)
	if worthHolding(qrcodeEndpoint, err) {
		c.qrHold.set(err, c.now())
	}
	return code, err
}

func (c *Client) createQRCode(ctx context.Context, scene string, ttl time.Duration) (QRCode, error) {
	var answer struct {
		Ticket        string   `json:"ticket"`
		URL           string   `json:"url"`
		ExpireSeconds looseInt `json:"expire_seconds"`
	}
	if err := c.callWithToken(ctx, qrcodeEndpoint, newQRCodeRequest(scene, ttl), &answer); err != nil {
		return QRCode{}, err
	}
	if answer.Ticket == "" || answer.URL == "" {
		return QRCode{}, unavailable(qrcodeEndpoint, "the answer names no ticket or no url")
	}
	expires := ttl.Truncate(time.Second)
	if s := answer.ExpireSeconds; s > 0 && s < looseInt(expires/time.Second) {
		expires = time.Duration(s) * time.Second
	}
	return QRCode{Ticket: answer.Ticket, URL: answer.URL, ExpiresIn: expires}, nil
}

// qrcodeRequest always names expire_seconds, because the default differs between
// editions of the documentation, and the level "scene", because without it the
// call succeeds and the event carries "0".
type qrcodeRequest struct {
	ExpireSeconds int64  `json:"expire_seconds"`
	ActionName    string `json:"action_name"`
	ActionInfo    struct {
		Scene struct {
			Str string `json:"scene_str"`
		} `json:"scene"`
	} `json:"action_info"`
}

func newQRCodeRequest(scene string, ttl time.Duration) qrcodeRequest {
	r := qrcodeRequest{ExpireSeconds: int64(ttl / time.Second), ActionName: "QR_STR_SCENE"}
	r.ActionInfo.Scene.Str = scene
	return r
}

// worthHolding says whether the next call would fail in the same way: WeChat
// refused because of the account, its quota or its token, not because of this call.
func worthHolding(endpoint string, err error) bool {
	refusal, ok := errors.AsType[*Error](err)
	return ok && refusal.Endpoint == endpoint && (refusal.Permanent() || refusal.quota() || refusal.rejectsToken())
}
