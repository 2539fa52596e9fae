// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"net/url"
	"strconv"
	"time"
)

// forgery is what a push deviates in from the account's configuration.
type forgery struct {
	mode          Mode
	token         string
	appID         string
	openid        string
	timestamp     string
	nonce         string
	badSignature  bool
	noSignature   bool
	badPadding    bool
	badCiphertext bool
}

// PushOption makes a push of [Server.SignedPush] differ from WeChat's.
type PushOption func(*forgery)

// WithTimestamp sets the time in the query. Default: now.
func WithTimestamp(t time.Time) PushOption {
	return func(f *forgery) { f.timestamp = strconv.FormatInt(t.Unix(), 10) }
}

// WithNonce sets the nonce in the query. Default: a random one.
func WithNonce(nonce string) PushOption { return func(f *forgery) { f.nonce = nonce } }

// WithToken signs with another token.
func WithToken(token string) PushOption { return func(f *forgery) { f.token = token } }

// WithMode pushes in another mode than the account's: a downgrade.
func WithMode(mode Mode) PushOption { return func(f *forgery) { f.mode = mode } }

// WithAppID encrypts for another app.
func WithAppID(appID string) PushOption { return func(f *forgery) { f.appID = appID } }

// WithOpenID sets the openid in the query. Default: absent.
func WithOpenID(openid string) PushOption { return func(f *forgery) { f.openid = openid } }

// WithBadSignature makes both signatures wrong.
func WithBadSignature() PushOption { return func(f *forgery) { f.badSignature = true } }

// WithoutSignature leaves both signatures out.
func WithoutSignature() PushOption { return func(f *forgery) { f.noSignature = true } }

// WithBadPadding encrypts, and signs rightly, a message whose padding is wrong.
func WithBadPadding() PushOption { return func(f *forgery) { f.badPadding = true } }

// WithBadCiphertext signs rightly an Encrypt value that is not whole blocks.
func WithBadCiphertext() PushOption { return func(f *forgery) { f.badCiphertext = true } }

// SignedPush returns the push of body, XML or JSON (see [Message]), to an
// account as WeChat would send it now, but for the options. Send it with
// [Server.Send]; sending the same RawPush twice is a replay. For an unknown app
// id it is a plaintext push signed with an empty token.
func (s *Server) SignedPush(appID string, body []byte, opts ...PushOption) RawPush {
	app, err := s.account(appID)
	if err != nil {
		app = Account{AppID: appID}
	}
	f := forgery{mode: app.Mode, token: app.Token, appID: appID}
	for _, opt := range opts {
		opt(&f)
	}
	return s.sign(app, body, f)
}

func (s *Server) sign(app Account, body []byte, f forgery) RawPush {
	if f.timestamp == "" {
		f.timestamp = s.timestamp()
	}
	if f.nonce == "" {
		f.nonce = randomDigits(10)
	}
	q := url.Values{"timestamp": {f.timestamp}, "nonce": {f.nonce}}
	f.set(q, "signature", signature(f.token, f.timestamp, f.nonce))
	if f.openid != "" {
		q.Set("openid", f.openid)
	}
	var encrypted string
	if f.mode != Plain {
		encrypted = f.encrypt(app.AESKey, body)
		q.Set("encrypt_type", "aes")
		f.set(q, "msg_signature", signature(f.token, f.timestamp, f.nonce, encrypted))
	}
	return RawPush{Query: q, Body: seal(body, f.mode, app.OriginalID, encrypted)}
}

func (f forgery) set(q url.Values, name, value string) {
	switch {
	case f.noSignature:
	case f.badSignature:
		q.Set(name, signature(value))
	default:
		q.Set(name, value)
	}
}

// encrypt uses a key of zeroes if the account has none, so that an encrypted
// push to a plaintext account can be made too.
func (f forgery) encrypt(aesKey string, body []byte) string {
	key, err := decodeAESKey(aesKey)
	if err != nil {
		key = make([]byte, 32)
	}
	padded := pad(envelope(randomBytes(16), body, f.appID))
	if f.badPadding {
		padded[len(padded)-1] = padBlock + 1
	}
	encrypted, err := encryptCBC(key, padded)
	if err != nil || f.badCiphertext {
		return "AAAA"
	}
	return encrypted
}
