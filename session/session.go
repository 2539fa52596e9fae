// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package session keeps the signed-in browsers. A session is named by a signed
// cookie and recorded in the store, so that it can be revoked: Records is what
// is known of the sessions, shared by every configuration that uses one store;
// Manager issues and checks cookies under the settings of one configuration.
package session

import (
	"errors"
	"time"
)

// Session is one signed-in browser.
type Session struct {
	ID     string `json:"id"`
	UserID string `json:"user_id"`
	// Method, AppID and OpenID say by which method and as which WeChat identity
	// the person signed in.
	Method string `json:"method"`
	AppID  string `json:"app_id"`
	OpenID string `json:"openid"`
	// Site is the host at which the browser signed in; empty for a session that is
	// older than this field, and good at every site.
	Site string `json:"site,omitempty"`
	// IP and UserAgent are those of the browser when it signed in.
	IP         string    `json:"ip"`
	UserAgent  string    `json:"user_agent"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	// ExpiresAt ends the session however busy it is.
	ExpiresAt time.Time `json:"expires_at"`
}

// Info is a session as people and operators read it: what they need to recognise it.
type Info struct {
	ID         string    `json:"id"`
	UserID     string    `json:"user_id"`
	Method     string    `json:"method"`
	IP         string    `json:"ip"`
	UserAgent  string    `json:"user_agent"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// Info returns the session as it is shown.
func (s Session) Info() Info {
	return Info{s.ID, s.UserID, s.Method, s.IP, s.UserAgent, s.CreatedAt, s.LastSeenAt, s.ExpiresAt}
}

var (
	// ErrInvalid says that a cookie names no live session: it is forged,
	// garbage, expired or revoked.
	ErrInvalid = errors.New("no such session")

	// ErrUnavailable says that the store could not be asked and that what is
	// remembered of the session is too old to stand in for it.
	ErrUnavailable = errors.New("session store unavailable")
)
