// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

func decodeSegment(t testing.TB, segment string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// The cookie says which session, until when, and nothing of the person.
func TestCookie_Golden(t *testing.T) {
	k := newKey([]byte(keyA))
	expires := time.Date(2026, 5, 8, 12, 0, 0, 0, time.UTC)
	cookie, err := signCookie(k, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", expires)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(cookie, ".")
	if len(parts) != 3 {
		t.Fatalf("cookie %q has %d parts, want 3", cookie, len(parts))
	}
	wantHeader := map[string]any{"alg": "HS256", "typ": "JWT", "kid": k.id}
	if diff := cmp.Diff(wantHeader, decodeSegment(t, parts[0])); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	wantClaims := map[string]any{"aud": []any{"wechat_session"}, "jti": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "exp": float64(expires.Unix())}
	if diff := cmp.Diff(wantClaims, decodeSegment(t, parts[1])); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if len(cookie) > MaxCookieLen {
		t.Errorf("the cookie has %d bytes", len(cookie))
	}
}

// Whatever the ids of the person look like, the cookie stays small: it holds none.
func TestCookie_StaysSmall(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	_, cookie, err := m.Issue(t.Context(), Session{
		ID: NewID(), UserID: strings.Repeat("u", 200), Method: strings.Repeat("m", 200), AppID: strings.Repeat("a", 200),
		OpenID: strings.Repeat("o", 500), IP: strings.Repeat("f", 45), UserAgent: strings.Repeat("x", 256),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(cookie) > MaxCookieLen {
		t.Errorf("the cookie has %d bytes, more than %d", len(cookie), MaxCookieLen)
	}
	w.wantValid(m, cookie)
}

// forged is what an attacker, who knows everything but the keys, or has a token
// that a key of ours signed for another purpose, may send.
func TestCookie_Forged(t *testing.T) {
	w := newWorld(t)
	m := w.node(keyB) // signs with B, verifies with A too
	s, good := w.issue(m, "alice")
	claims := func() jwt.MapClaims {
		return jwt.MapClaims{"jti": s.ID, "aud": audience, "exp": s.ExpiresAt.Unix()}
	}
	without := func(name string) jwt.MapClaims { c := claims(); delete(c, name); return c }
	with := func(name string, v any) jwt.MapClaims { c := claims(); c[name] = v; return c }
	a, b := newKey([]byte(keyA)), newKey([]byte(keyB))
	sign := func(method jwt.SigningMethod, kid any, c jwt.MapClaims, key any) string {
		t.Helper()
		token := jwt.NewWithClaims(method, c)
		token.Header["kid"] = kid
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	last := good[len(good)-1]
	stray := good[:len(good)-1] + string(last+1) // the last character of 32 bytes holds two bits of nothing
	tests := []struct {
		name, cookie string
	}{
		{"empty", ""},
		{"garbage", "garbage"},
		{"dots", ".."},
		{"alg none, no signature", sign(jwt.SigningMethodNone, b.id, claims(), jwt.UnsafeAllowNoneSignatureType)},
		{"alg none, the good signature", strings.Join([]string{strings.Split(sign(jwt.SigningMethodNone, b.id, claims(), jwt.UnsafeAllowNoneSignatureType), ".")[0], parts[1], parts[2]}, ".")},
		{"RS256", sign(jwt.SigningMethodRS256, b.id, claims(), rsaKey)},
		{"HS512 with the right key", sign(jwt.SigningMethodHS512, b.id, claims(), b.secret)},
		{"HS384 with the right key", sign(jwt.SigningMethodHS384, b.id, claims(), b.secret)},
		{"a stranger's key", sign(jwt.SigningMethodHS256, b.id, claims(), []byte("key-c-0123456789abcdef0123456789"))},
		{"the empty key", sign(jwt.SigningMethodHS256, b.id, claims(), []byte{})},
		{"the key id as key", sign(jwt.SigningMethodHS256, b.id, claims(), []byte(b.id))},
		{"key A under the name of B", sign(jwt.SigningMethodHS256, b.id, claims(), a.secret)},
		{"key B under the name of A", sign(jwt.SigningMethodHS256, a.id, claims(), b.secret)},
		{"unknown key name", sign(jwt.SigningMethodHS256, "nobody", claims(), b.secret)},
		{"no key name", sign(jwt.SigningMethodHS256, "", claims(), b.secret)},
		{"key name that is no string", sign(jwt.SigningMethodHS256, []string{b.id}, claims(), b.secret)},
		{"key name that is a path", sign(jwt.SigningMethodHS256, "../../dev/null", claims(), []byte{})},
		{"no audience", sign(jwt.SigningMethodHS256, b.id, without("aud"), b.secret)},
		{"another audience", sign(jwt.SigningMethodHS256, b.id, with("aud", "https://example.com"), b.secret)},
		{"no end", sign(jwt.SigningMethodHS256, b.id, without("exp"), b.secret)},
		{"end that is no number", sign(jwt.SigningMethodHS256, b.id, with("exp", "never"), b.secret)},
		{"ended", sign(jwt.SigningMethodHS256, b.id, with("exp", w.clock.Now().Unix()), b.secret)},
		{"not yet", sign(jwt.SigningMethodHS256, b.id, with("nbf", w.clock.Now().Add(time.Hour).Unix()), b.secret)},
		{"no session", sign(jwt.SigningMethodHS256, b.id, without("jti"), b.secret)},
		{"empty session", sign(jwt.SigningMethodHS256, b.id, with("jti", ""), b.secret)},
		{"session that nobody has", sign(jwt.SigningMethodHS256, b.id, with("jti", NewID()), b.secret)},
		{"signature cut off", parts[0] + "." + parts[1] + "."},
		{"signature of two parts", parts[0] + "." + parts[2]},
		{"padding", good + "="},
		{"stray bits in the signature", stray},
		{"trailing newline", good + "\n"},
		{"leading space", " " + good},
		{"five parts, as JWE", good + ".a.b"},
		{"too long, rightly signed", sign(jwt.SigningMethodHS256, b.id, with("x", strings.Repeat("x", MaxCookieLen)), b.secret)},
		{"megabytes", strings.Repeat("A", 4<<20)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := m.Check(t.Context(), tt.cookie); !errors.Is(err, ErrInvalid) || got != nil {
				t.Errorf("Check = %v, %v; want ErrInvalid", got, err)
			}
		})
	}
	w.wantValid(m, good)
}

// A cookie is a JWT of our kind, and other tokens of ours are not: a typ other
// than JWT marks those that are for somebody else.
func TestCookie_OtherType(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, _ := w.issue(m, "alice")
	k := newKey([]byte(keyA))
	for _, typ := range []any{"at+jwt", "JOSE", 7, nil} {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"jti": s.ID, "aud": audience, "exp": s.ExpiresAt.Unix()})
		token.Header["kid"], token.Header["typ"] = k.id, typ
		signed, err := token.SignedString(k.secret)
		if err != nil {
			t.Fatal(err)
		}
		w.wantInvalid(m, signed)
	}
}

func FuzzCookie(f *testing.F) {
	w := newWorld(f)
	m := w.node(keyB)
	_, good := w.issue(m, "alice")
	f.Add(good)
	f.Add("")
	f.Add("..")
	f.Add(good + ".")
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("eyJhbGciOiJub25lIn0.eyJqdGkiOiJ4In0.")
	f.Fuzz(func(t *testing.T, cookie string) {
		s, err := m.Check(t.Context(), cookie)
		switch {
		case cookie == good && err != nil:
			t.Errorf("the good cookie: %v", err)
		case cookie != good && (!errors.Is(err, ErrInvalid) || s != nil):
			t.Errorf("Check(%q) = %v, %v; want ErrInvalid", cookie, s, err)
		}
	})
}
