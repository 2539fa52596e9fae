// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package user keeps the gateway's own record of each person: a stable id, the
// WeChat identities that belong to it, and whether the person may enter.
package user

import (
	"slices"
	"time"
)

// User is the gateway's record of a person.
type User struct {
	ID     string   `json:"id"`
	Name   string   `json:"name,omitempty"`
	Avatar string   `json:"avatar,omitempty"`
	Status Status   `json:"status"`
	Roles  []string `json:"roles,omitempty"`
	Email  string   `json:"email,omitempty"`
	Phone  string   `json:"phone,omitempty"`
	// NameChosen says that the person has chosen the name, which no nickname
	// replaces then.
	NameChosen bool       `json:"name_chosen,omitempty"`
	Identities []Identity `json:"identities"`
	CreatedAt  time.Time  `json:"created_at"`
	LastSeenAt time.Time  `json:"last_seen_at"`
	// Leaving says that the user is being deleted, and disabled for no other reason.
	Leaving bool `json:"leaving,omitempty"`
	// Into is who absorbs the user, or nobody where he is being deleted. Such a record
	// is no user's any more, and does not change before it goes.
	Into string `json:"into,omitempty"`
	// Absorbed are the users who turned out to be this one: when each was retired.
	Absorbed map[string]time.Time `json:"absorbed,omitempty"`
	// AccessAt is when status, roles or addresses were changed last.
	AccessAt time.Time `json:"access_at,omitzero"`
}

// Identity is what WeChat says of a person. AppID and OpenID together name one;
// an OpenID means nothing outside its app, and a nickname is not unique.
type Identity struct {
	AppID   string `json:"app_id"`
	OpenID  string `json:"openid"`
	UnionID string `json:"unionid,omitempty"`
	// Nickname and Avatar are as WeChat gives them: any text, or none.
	Nickname string `json:"nickname,omitempty"`
	Avatar   string `json:"avatar,omitempty"`
	// Phone is a number that WeChat has verified. It is kept with the user.
	Phone string `json:"-"`
}

// Status says what an operator has decided about a user.
type Status string

// The statuses.
const (
	Active   Status = "active"
	Pending  Status = "pending" // awaits approval
	Disabled Status = "disabled"
)

// Identity returns the user's identity at one app, or nil.
func (u *User) Identity(appID, openID string) *Identity {
	i := slices.IndexFunc(u.Identities, func(id Identity) bool { return id.AppID == appID && id.OpenID == openID })
	if i < 0 {
		return nil
	}
	return &u.Identities[i]
}

// UnionID returns the person's unionid, empty where WeChat has not given one.
func (u *User) UnionID() string {
	for _, id := range u.Identities {
		if id.UnionID != "" {
			return id.UnionID
		}
	}
	return ""
}

// address returns the field that holds the address of a channel.
func (u *User) address(ch Channel) *string {
	if ch == ByPhone {
		return &u.Phone
	}
	return &u.Email
}

// Address returns the address of a channel, empty where the user has none.
func (u *User) Address(ch Channel) string { return *u.address(ch) }

// learn takes over what an identity says. What WeChat leaves out this time is
// not forgotten.
func (u *User) learn(id Identity) {
	known := u.Identity(id.AppID, id.OpenID)
	if known == nil {
		u.Identities = append(u.Identities, id)
		known = &u.Identities[len(u.Identities)-1]
	}
	set := func(field *string, value string) {
		if value != "" {
			*field = value
		}
	}
	set(&known.UnionID, id.UnionID)
	set(&known.Nickname, id.Nickname)
	set(&known.Avatar, id.Avatar)
	if !u.NameChosen {
		set(&u.Name, id.Nickname)
	}
	set(&u.Avatar, id.Avatar)
	set(&u.Phone, id.Phone)
}
