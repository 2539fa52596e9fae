// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// ErrUnavailable says that WeChat could not be asked or gave no usable answer:
// network failure, time-out, redirect, an answer that is too large or not JSON,
// or "system busy" (-1). Nothing is wrong with the configuration; try again
// after [RetryAfter].
var ErrUnavailable = errors.New("WeChat is unavailable")

// Error is a refusal by WeChat: an answer with an errcode.
type Error struct {
	Endpoint string // path without the leading slash, as cgi-bin/qrcode/create
	Code     int    // errcode
	Message  string // errmsg with the request id, without secrets
}

// Error says what was refused, what that means, and what to do.
func (e *Error) Error() string {
	return fmt.Sprintf("calling WeChat's %s: errcode %d (%s): %s; %s", e.Endpoint, e.Code, e.Message, e.Meaning(), e.Cure())
}

// Is makes "system busy" an [ErrUnavailable], a code that WeChat does not accept
// an [ErrInvalidCode], a person whom it holds back an [ErrUserBlocked], and one to
// whom it passes no message on an [ErrUnreachable].
func (e *Error) Is(target error) bool {
	return target == ErrUnavailable && e.Code == codeBusy ||
		target == ErrUnreachable && e.unreachable() ||
		target == ErrInvalidCode && (e.rejectsCode() || e.rejectsPhoneCode()) ||
		target == ErrUserBlocked && e.Code == codeBlocked
}

// Meaning says in a sentence why WeChat refused.
func (e *Error) Meaning() string { return e.entry().meaning }

// Cure says what the operator has to do or to click.
func (e *Error) Cure() string { return e.entry().cure }

// Permanent says that the refusal lasts until the operator changes the
// configuration or the account.
func (e *Error) Permanent() bool { return e.entry().kind == permanent }

func (e *Error) quota() bool { return e.entry().kind == quota || e.entry().kind == dailyQuota }

// RetryAfter says how long to wait before a call that failed with err is worth
// repeating. It is zero where waiting does not help.
func RetryAfter(err error) time.Duration {
	if refusal, ok := errors.AsType[*Error](err); ok {
		return refusal.retryAfter()
	}
	if errors.Is(err, ErrUnavailable) {
		return unavailablePause
	}
	return 0
}

func (e *Error) retryAfter() time.Duration {
	switch {
	case e.entry().kind == dailyQuota:
		return 5 * time.Minute
	case e.quota():
		return time.Minute
	case e.Permanent():
		return 30 * time.Second // short enough that a cure is seen soon
	default:
		return unavailablePause
	}
}

// unavailablePause keeps a flood of visitors from becoming a flood to a WeChat
// that does not answer.
const unavailablePause = 5 * time.Second

func (e *Error) rejectsToken() bool {
	return e.Endpoint != tokenEndpoint && (e.Code == 40001 || e.Code == 40014 || e.Code == 42001)
}

func tokenRejected(err error) bool {
	refusal, ok := errors.AsType[*Error](err)
	return ok && refusal.rejectsToken()
}

func (e *Error) entry() codeEntry {
	if e.Endpoint == tokenEndpoint && e.Code == 40001 {
		return codes[40125] // where no token is sent yet, the bad credential is the secret
	}
	if entry, ok := oauthCodes[e.Code]; ok && e.oauth() {
		return entry
	}
	if entry, ok := miniCodes[e.Endpoint][e.Code]; ok {
		return entry
	}
	if entry, ok := messageCodes[e.Code]; ok && e.Endpoint == messageEndpoint {
		return entry
	}
	if entry, ok := subscriberCodes[e.Code]; ok && e.Endpoint == subscriberEndpoint {
		return entry
	}
	if entry, ok := codes[e.Code]; ok {
		return entry
	}
	return codeEntry{
		"the meaning of this errcode is not known here",
		"look the errcode up in WeChat's documentation, or the rid at https://developers.weixin.qq.com/platform", transient,
	}
}

func unavailable(endpoint, reason string) error {
	return fmt.Errorf("calling WeChat's %s: %w: %s; check the network and the API URL if this lasts", endpoint, ErrUnavailable, reason)
}

// transportError describes why no answer came. It picks from what it knows
// instead of passing texts on: those of net/http carry URLs, and a URL carries
// the access token or the password of a proxy.
func transportError(ctx context.Context, endpoint string, err error) error {
	if ctx.Err() != nil {
		return contextError(ctx, "calling WeChat's "+endpoint)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return unavailable(endpoint, "no answer in time")
		}
		err = u.Err
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return unavailable(endpoint, dns.Error())
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return unavailable(endpoint, op.Error())
	}
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return unavailable(endpoint, cert.Error())
	}
	return unavailable(endpoint, "the connection failed or broke off")
}

// contextError tells a caller who went away from a time that was too short.
func contextError(ctx context.Context, doing string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w: no answer in time: %w", doing, ErrUnavailable, ctx.Err())
	}
	return fmt.Errorf("%s: %w", doing, ctx.Err())
}

const maxMessage = 512

// redact makes a text of WeChat fit for a log: no secret, one line, bounded.
func redact(text string, secrets ...string) string {
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
			text = strings.ReplaceAll(text, url.QueryEscape(secret), "[redacted]")
		}
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}
