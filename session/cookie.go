// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// MaxCookieLen is the length, in bytes, beyond which a cookie value is refused
// without looking at it.
const MaxCookieLen = 512

// audience keeps a session cookie from being taken for any other token that a
// key of ours may sign, and the reverse.
const audience = "wechat_session"

var (
	errUnknownKey = errors.New("signed by a key that is not among the signing keys")
	errOtherType  = errors.New("a token of another type")
)

// signCookie names the session id in a compact JWT that ends with the session.
func signCookie(k key, id string, expires time.Time) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		ID:        id,
		Audience:  jwt.ClaimStrings{audience},
		ExpiresAt: jwt.NewNumericDate(expires),
	})
	t.Header["kid"] = k.id
	return t.SignedString(k.secret)
}

// parseCookie returns the session id that a cookie signed by one of keys names.
func parseCookie(keys []key, value string, now func() time.Time) (string, error) {
	// The decoder skips line breaks; see also WithStrictDecoding.
	if len(value) > MaxCookieLen || strings.ContainsAny(value, "\r\n") {
		return "", ErrInvalid
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.NewParser(
		// One algorithm, whatever the token says of itself.
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(now),
		// One spelling for each cookie: base64 with stray bits is refused.
		jwt.WithStrictDecoding(),
	).ParseWithClaims(value, &claims, func(t *jwt.Token) (any, error) {
		if t.Header["typ"] != "JWT" {
			return nil, errOtherType
		}
		kid, _ := t.Header["kid"].(string)
		for _, k := range keys {
			if k.id == kid {
				return k.secret, nil
			}
		}
		return nil, errUnknownKey
	})
	if err != nil || claims.ID == "" {
		return "", ErrInvalid
	}
	return claims.ID, nil
}
