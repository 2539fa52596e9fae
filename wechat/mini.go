// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"errors"
	"regexp"
)

// EnvVersion is the version of a mini program that a code or a link opens.
// Trial and develop open for members of the mini program's team only.
type EnvVersion string

// The versions of a mini program. The empty EnvVersion is EnvRelease.
const (
	EnvRelease EnvVersion = "release" // 正式版
	EnvTrial   EnvVersion = "trial"   // 体验版
	EnvDevelop EnvVersion = "develop" // 开发版
)

func (v EnvVersion) valid() bool {
	return v == "" || v == EnvRelease || v == EnvTrial || v == EnvDevelop
}

// ErrUserBlocked says that WeChat holds the person back as a high risk. Neither
// a new code nor the operator helps.
var ErrUserBlocked = errors.New("WeChat blocks the person")

// miniHolds remember, for each endpoint, a failure that lasts.
type miniHolds struct{ picture, session, phone, link hold }

// personCodePattern is wider than every code seen (letters and digits), and
// narrow enough that a code is one line of a bounded length.
var personCodePattern = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]{1,512}$`)

// pagePattern is a page as app.json names it: no leading slash, no query.
var pagePattern = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_./-]{0,127}$`)

func validPage(page string) bool { return page == "" || pagePattern.MatchString(page) }

// unlessHeld calls WeChat, unless WeChat refused a moment ago in a way that lasts.
func (c *Client) unlessHeld(h *hold, call func() error, endpoint string, lasts func(endpoint string, err error) bool) error {
	if err := h.check(c.now()); err != nil {
		return err
	}
	err := call()
	if lasts(endpoint, err) {
		h.set(err, c.now())
	}
	return err
}

// permanentAt is worthHolding for a call that is about one person: what WeChat
// counts for that person must not hold the others back.
func permanentAt(endpoint string, err error) bool {
	refusal, ok := errors.AsType[*Error](err)
	return ok && refusal.Endpoint == endpoint && refusal.Permanent()
}
