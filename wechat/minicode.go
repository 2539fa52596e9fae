// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"bytes"
	"context"
	"errors"
	"regexp"
)

const (
	miniCodeEndpoint = "wxa/getwxacodeunlimit"

	// minCodeWidth and maxCodeWidth are WeChat's bounds, in pixels.
	minCodeWidth = 280
	maxCodeWidth = 1280
)

// miniScenePattern is narrower than WeChat's rule, which also allows
// !#$&'()*+,/:;=?@: an & was seen refused, and old phones cut the scene at a =.
var miniScenePattern = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,32}$`)

// MiniProgramCode says what a mini program code (小程序码) opens and how it looks.
type MiniProgramCode struct {
	// Scene is what the page gets as query.scene: 1 to 32 of A-Z a-z 0-9 - . _ ~.
	// A random value of 128 bits fits, as [crypto/rand.Text] makes it.
	Scene string
	// Page is the page as app.json names it, without a leading slash and without
	// a query. Default: the home page.
	Page string
	// Unpublished lets Page be one that the released version does not have, for
	// trial and develop versions. WeChat allows 60,000 such pages.
	Unpublished bool
	// EnvVersion is the version that the code opens. Default: EnvRelease.
	EnvVersion EnvVersion
	// Width is in pixels, 280 to 1280. Default: 430.
	Width int
	// Transparent leaves the background out; the picture then is a PNG.
	Transparent bool
}

// Picture is an image as it goes into a page.
type Picture struct {
	Data []byte
	// ContentType is image/jpeg or image/png, by what Data is and not by what
	// the server called it.
	ContentType string
}

// CreateMiniProgramCode makes a mini program code that carries a scene. The code
// never expires and any number of people may scan it: whoever sees the picture
// knows the scene, so it is no secret. A code that breaks WeChat's rules is an
// error before any call; one that WeChat refuses is an [Error], of which 41030 (the
// page is not published) is the commonest. WeChat allows 5,000 calls a minute.
//
// See https://developers.weixin.qq.com/miniprogram/dev/server/API/qrcode-link/qr-code/api_getunlimitedqrcode
func (c *Client) CreateMiniProgramCode(ctx context.Context, code MiniProgramCode) (Picture, error) {
	if err := code.check(); err != nil {
		return Picture{}, err
	}
	var answer pictureAnswer
	err := c.unlessHeld(&c.mini.picture, func() error {
		return c.callWithToken(ctx, miniCodeEndpoint, newMiniCodeRequest(code), &answer)
	}, miniCodeEndpoint, worthHolding)
	if err != nil {
		return Picture{}, err
	}
	if answer.picture.ContentType == "" {
		return Picture{}, unavailable(miniCodeEndpoint, "the answer is neither a picture nor an errcode")
	}
	return answer.picture, nil
}

func (m MiniProgramCode) check() error {
	const doing = "creating a mini program code: "
	switch {
	case !miniScenePattern.MatchString(m.Scene):
		return errors.New(doing + "the scene must be 1 to 32 letters, digits, '-', '.', '_' or '~'")
	case !validPage(m.Page):
		return errors.New(doing + "the page must be as in app.json, without a leading slash and without a query")
	case !m.EnvVersion.valid():
		return errors.New(doing + "the version must be release, trial or develop")
	case m.Width != 0 && (m.Width < minCodeWidth || m.Width > maxCodeWidth):
		return errors.New(doing + "the width must be from 280 to 1280 pixels")
	}
	return nil
}

// miniCodeRequest always names check_path: it is the one field whose default is true.
type miniCodeRequest struct {
	Scene       string     `json:"scene"`
	Page        string     `json:"page,omitempty"`
	CheckPath   bool       `json:"check_path"`
	EnvVersion  EnvVersion `json:"env_version,omitempty"`
	Width       int        `json:"width,omitempty"`
	Transparent bool       `json:"is_hyaline,omitempty"`
}

func newMiniCodeRequest(m MiniProgramCode) miniCodeRequest {
	return miniCodeRequest{m.Scene, m.Page, !m.Unpublished, m.EnvVersion, m.Width, m.Transparent}
}

// pictureAnswer is an answer that is a picture where the call succeeds. JSON leaves it empty.
type pictureAnswer struct{ picture Picture }

// signatures are how the pictures begin that WeChat sends.
var signatures = []struct{ contentType, magic string }{
	{"image/jpeg", "\xff\xd8\xff"},
	{"image/png", "\x89PNG\r\n\x1a\n"},
}

// take keeps body if it is a picture. Neither JSON nor HTML begins like one, so
// the first bytes alone decide, whatever Content-Type says.
func (a *pictureAnswer) take(body []byte) bool {
	for _, s := range signatures {
		if bytes.HasPrefix(body, []byte(s.magic)) {
			a.picture = Picture{Data: body, ContentType: s.contentType}
			return true
		}
	}
	return false
}
