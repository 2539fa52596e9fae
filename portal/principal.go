// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/url"

	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// Principal is who a request comes from.
type Principal struct {
	Session *session.Session
	User    *user.Member
}

// The fields of a Principal, as identity headers and placeholders name them.
const (
	FieldID      = "id"
	FieldName    = "name"
	FieldAvatar  = "avatar"
	FieldOpenID  = "openid"
	FieldUnionID = "unionid"
	FieldEmail   = "email"
	FieldPhone   = "phone"
	FieldRoles   = "roles"
)

// Fields lists them all.
var Fields = []string{FieldID, FieldName, FieldAvatar, FieldOpenID, FieldUnionID, FieldEmail, FieldPhone, FieldRoles}

// Field returns one field as text, empty where it has no value or there is no
// such field. Text may be whatever a person has chosen: it must not be expanded,
// and not be put into a header as it is.
func (p *Principal) Field(name string) string {
	switch name {
	case FieldID:
		return p.User.ID
	case FieldName:
		return p.User.Name
	case FieldAvatar:
		return p.User.Avatar
	case FieldOpenID:
		return p.Session.OpenID
	case FieldUnionID:
		return p.User.UnionID()
	case FieldEmail:
		return p.User.Email
	case FieldPhone:
		return p.User.Phone
	case FieldRoles:
		return p.User.RolesText
	default:
		return ""
	}
}

// Header is one identity header: its name and the field it carries.
type Header struct {
	Name  string `json:"name"`
	Field string `json:"field"`
}

// DefaultHeaders are the identity headers of a site that names none.
func DefaultHeaders() []Header {
	return []Header{
		{"X-User-Id", FieldID},
		{"X-User-Name", FieldName},
		{"X-User-Avatar", FieldAvatar},
		{"X-User-Openid", FieldOpenID},
		{"X-User-Unionid", FieldUnionID},
		{"X-User-Email", FieldEmail},
		{"X-User-Phone", FieldPhone},
		{"X-User-Roles", FieldRoles},
	}
}

// headerValue is the field as a header value: free text percent-encoded, and
// nothing that could end the header.
func (p *Principal) headerValue(field string) string {
	v := p.Field(field)
	if field == FieldName {
		return url.PathEscape(v)
	}
	for i := range len(v) {
		if c := v[i]; c < 0x20 || c >= 0x7f {
			return url.QueryEscape(v)
		}
	}
	return v
}
