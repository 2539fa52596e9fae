// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"time"
)

// Why a push is refused. The sender should learn none of it: answer all alike.
var (
	// ErrSignature says that the signature is missing or wrong: the sender does not know the token.
	ErrSignature = errors.New("the signature is missing or wrong; if WeChat itself sent this, compare the token with WeChat's console")

	// ErrStale says that the push is signed for a time too far from now.
	ErrStale = errors.New("the timestamp is too far from now; if WeChat itself sent this, set this server's clock")

	// ErrReplayed says that the signature was already used for another body.
	ErrReplayed = errors.New("the nonce was already used for something else: someone replays an observed request")

	// ErrPlaintext says that an account with an AES key got a signed but unencrypted push.
	ErrPlaintext = errors.New("the push is not encrypted although an AES key is set; choose 安全模式 in WeChat's console, or remove the key")

	// ErrNoAESKey says that a push that is only encrypted came to an account without an AES key.
	ErrNoAESKey = errors.New("the push is encrypted but no AES key is set; set the EncodingAESKey from WeChat's console, or choose 明文模式 there")

	// ErrAppID says that the push is encrypted for another account.
	ErrAppID = errors.New("the push is for another app id; compare the push URL of each account in WeChat's console")

	// ErrMalformed says that query, encryption or body do not have the form that WeChat gives them.
	ErrMalformed = errors.New("the push is malformed")

	// ErrTooLarge says that the body exceeds 1 MiB.
	ErrTooLarge = errors.New("the push is larger than 1 MiB")
)

func malformed(why string) error { return fmt.Errorf("%w: %s", ErrMalformed, why) }

// DefaultWindow is how far the timestamp of a push may be from now.
const DefaultWindow = 5 * time.Minute

// ReceiverConfig says for which account a Receiver receives.
type ReceiverConfig struct {
	// AppID of the account. Required.
	AppID string

	// Token is the one entered in WeChat's console: 3 to 32 letters and digits. Required.
	Token string

	// AESKey is the EncodingAESKey, 43 letters and digits. When set, only what is
	// encrypted counts, and plaintext pushes are refused. Default: none; only
	// plaintext counts, also that of compatible mode (兼容模式).
	AESKey string

	// Cache remembers used nonces for all processes that receive for the
	// account. Default: this process's memory.
	Cache Cache

	// Now is the clock. Default: [time.Now].
	Now func() time.Time

	// Window is how far the timestamp of a push may be off, either way.
	// Default: [DefaultWindow].
	Window time.Duration
}

// Receiver verifies and reads what WeChat pushes to one account. It is safe for
// concurrent use.
//
// See https://developers.weixin.qq.com/doc/oplatform/developers/dev/push/index.md
type Receiver struct {
	appID  string
	token  string
	cipher *messageCipher // nil in plaintext mode
	cache  Cache
	now    func() time.Time
	window time.Duration
}

var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9]{3,32}$`)

// NewReceiver returns a Receiver for the account that cfg names.
func NewReceiver(cfg ReceiverConfig) (*Receiver, error) {
	if err := checkAppID(cfg.AppID); err != nil {
		return nil, err
	}
	if !tokenPattern.MatchString(cfg.Token) {
		return nil, errors.New("checking the push token: it must be 3 to 32 letters and digits; copy the Token from WeChat's console")
	}
	if cfg.Window < 0 {
		return nil, errors.New("checking the push window: it is negative; leave it out or set a positive duration")
	}
	r := &Receiver{appID: cfg.AppID, token: cfg.Token, cache: cfg.Cache, now: cfg.Now, window: cmp.Or(cfg.Window, DefaultWindow)}
	if r.now == nil {
		r.now = time.Now
	}
	if r.cache == nil {
		r.cache = newMemoryCache(r.now)
	}
	if cfg.AESKey == "" {
		return r, nil
	}
	var err error
	r.cipher, err = newMessageCipher(cfg.AESKey, cfg.AppID)
	return r, err
}

var echoPattern = regexp.MustCompile(`^[A-Za-z0-9+/=_-]{1,256}$`)

// VerifyURL checks the GET by which WeChat's console makes sure of the push URL,
// and returns the text to answer, as text/plain and nothing else. The nonce is
// used up: whoever observes this request cannot turn it into a push.
// The errors are those of [Receiver.Receive].
func (r *Receiver) VerifyURL(ctx context.Context, query url.Values) (echostr string, err error) {
	p, err := parsePushParams(query)
	if err != nil {
		return "", fmt.Errorf("verifying the push URL: %w", err)
	}
	if err := r.checkSigned(p, p.signature, p.timestamp, p.nonce); err != nil {
		return "", fmt.Errorf("verifying the push URL: %w", err)
	}
	if !echoPattern.MatchString(p.echostr) {
		return "", fmt.Errorf("verifying the push URL: %w", malformed("the echostr is missing or has characters that WeChat does not send"))
	}
	if err := r.useNonce(ctx, p, "GET", []byte(p.echostr)); err != nil {
		return "", fmt.Errorf("verifying the push URL: %w", err)
	}
	return p.echostr, nil
}

// Receive reads and verifies a pushed message: its signature, its time, that it
// is for this account, and that its nonce was not used for another message. The
// same message may come again, because WeChat repeats what was not answered;
// see [Message.DedupKey].
//
// It fails with one of the errors of this package that say why a push is
// refused, with the error of body, or with the cache's. With the last comes the
// message, which is authentic and fresh but may be a repetition: it may be
// answered, and must not be acted on.
func (r *Receiver) Receive(ctx context.Context, query url.Values, body io.Reader) (*Message, error) {
	m, err := r.receive(ctx, query, body)
	if err != nil {
		return m, fmt.Errorf("receiving a push: %w", err)
	}
	return m, nil
}

func (r *Receiver) receive(ctx context.Context, query url.Values, body io.Reader) (*Message, error) {
	p, err := parsePushParams(query)
	if err != nil {
		return nil, err
	}
	open, encrypted := r.openPlain, p.encrypted && r.cipher != nil
	if encrypted {
		open = r.openEncrypted
	}
	data, isJSON, err := open(p, body)
	if err != nil {
		return nil, err
	}
	f, plainJSON, err := parseBody(data)
	if err != nil {
		return nil, err
	}
	if p.encrypted && !encrypted {
		if err := checkCompatible(f); err != nil {
			return nil, err
		}
	}
	m, err := newMessage(f, encrypted, isJSON || plainJSON)
	if err != nil {
		return nil, err
	}
	err = r.useNonce(ctx, p, "POST", data)
	if errors.Is(err, ErrReplayed) {
		return nil, err
	}
	return m, err
}

// openPlain checks before it reads: here the signature is in the query alone.
func (r *Receiver) openPlain(p pushParams, body io.Reader) (data []byte, isJSON bool, err error) {
	if err := r.checkSigned(p, p.signature, p.timestamp, p.nonce); err != nil {
		return nil, false, err
	}
	if r.cipher != nil {
		return nil, false, ErrPlaintext
	}
	data, err = readBody(body)
	return data, false, err
}

// checkCompatible says whether a push that has an encrypted message in it can be
// read without a key: in compatible mode it can, beside Encrypt. So an account
// changes from plaintext to encryption without an interruption; until it has the
// key, its pushes prove no more than those of plaintext mode.
func checkCompatible(f fields) error {
	switch {
	case f["Encrypt"] == "":
		return malformed("the query says that the push is encrypted, but the body has no field Encrypt")
	case f["FromUserName"] == "":
		return ErrNoAESKey
	}
	return nil
}

// openEncrypted believes only the field Encrypt, which msg_signature covers. The
// parameter signature and, in compatible mode, the plain fields prove nothing.
func (r *Receiver) openEncrypted(p pushParams, body io.Reader) (data []byte, isJSON bool, err error) {
	data, err = readBody(body)
	if err != nil {
		return nil, false, err
	}
	envelope, isJSON, err := parseBody(data)
	if err != nil {
		return nil, false, err
	}
	text := envelope["Encrypt"]
	if err := r.checkSigned(p, p.msgSignature, p.timestamp, p.nonce, text); err != nil {
		return nil, false, err
	}
	data, err = r.cipher.decrypt(text)
	return data, isJSON, err
}

// checkSigned checks the signature first, so that everything later is known to
// come from someone who knows the token, or saw a request of theirs.
func (r *Receiver) checkSigned(p pushParams, given string, values ...string) error {
	if !equal(given, signature(append(values, r.token)...)) {
		return ErrSignature
	}
	if r.now().Sub(p.time).Abs() > r.window {
		return ErrStale
	}
	return nil
}

// useNonce binds timestamp and nonce to one content for as long as they are
// fresh. In plaintext mode nothing else ties the body to the signature.
//
// The key is made of the signature, not of the two values: it joins them without
// a separator, so that some digits could be moved from one to the other. It is
// the same for all accounts, because those with one token share their signatures.
func (r *Receiver) useNonce(ctx context.Context, p pushParams, method string, content []byte) error {
	signed := sha256.Sum256([]byte(signature(r.token, p.timestamp, p.nonce)))
	key := "wechat:push:" + hex.EncodeToString(signed[:])
	sum := sha256.Sum256(append([]byte(method+" "+r.appID+" "), content...))
	ttl := p.time.Add(r.window).Sub(r.now()) + time.Second
	created, err := r.cache.Create(ctx, key, sum[:], ttl)
	if err != nil {
		return fmt.Errorf("recording the nonce: %w", err)
	}
	if created {
		return nil
	}
	known, found, err := r.cache.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("looking up the nonce: %w", err)
	}
	if !found || !bytes.Equal(known, sum[:]) {
		return ErrReplayed
	}
	return nil
}

// pushParams are the parameters of the query that mean something.
type pushParams struct {
	signature, msgSignature   string
	timestamp, nonce, echostr string
	time                      time.Time
	encrypted                 bool
}

var (
	// Exactly ten digits and a short nonce, because the signature joins its
	// values without separators: with a nonce of 64 characters the head of
	// Encrypt could be moved there, and the rest would still be whole blocks.
	timestampPattern = regexp.MustCompile(`^[1-9][0-9]{9}$`)
	noncePattern     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
)

func parsePushParams(query url.Values) (pushParams, error) {
	for _, name := range []string{"signature", "msg_signature", "timestamp", "nonce", "echostr", "encrypt_type"} {
		if len(query[name]) > 1 {
			return pushParams{}, malformed("the query has " + name + " twice")
		}
	}
	p := pushParams{
		signature: query.Get("signature"), msgSignature: query.Get("msg_signature"),
		timestamp: query.Get("timestamp"), nonce: query.Get("nonce"), echostr: query.Get("echostr"),
	}
	switch query.Get("encrypt_type") {
	case "", "raw":
	case "aes":
		p.encrypted = true
	default:
		return p, malformed("the query has an unknown encrypt_type")
	}
	if !timestampPattern.MatchString(p.timestamp) || !noncePattern.MatchString(p.nonce) {
		return p, malformed("the query has no timestamp of ten digits or no nonce")
	}
	seconds, err := strconv.ParseInt(p.timestamp, 10, 64)
	p.time = time.Unix(seconds, 0)
	return p, err
}
