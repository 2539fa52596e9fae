// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// Of what a mail server says errors have the codes only: the text may repeat the
// address, the message or the password.

// failure says why a message was not handed over.
func (s *SMTP) failure(err error) error {
	if sending, ok := errors.AsType[*gomail.SendError](err); ok {
		return s.notSent(sending)
	}
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return s.replied(reply)
	}
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("the certificate of %s cannot be trusted: %w: write host as the certificate names it, or name its authority's file as ca", s.server(), untrusted)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%s does not begin with TLS: use tls mandatory, or the port for implicit TLS, mostly 465", s.server())
	}
	if dialing, ok := errors.AsType[*net.OpError](err); ok && dialing.Op == "dial" {
		return fmt.Errorf("%w: %s cannot be reached: %w", ErrUnavailable, s.server(), dialing)
	}
	switch text := err.Error(); {
	case strings.Contains(text, "does not support STARTTLS"):
		return fmt.Errorf("%s offers no STARTTLS, so nothing was sent: use tls implicit with port 465 where the provider has that; tls off is for a server on the same machine", s.server())
	case strings.Contains(text, "does not support SMTP AUTH") || errors.Is(err, gomail.ErrNoSupportedAuthDiscovered):
		return fmt.Errorf("%s offers no way to sign in with a password: take username and password out, or use another port", s.server())
	default:
		return fmt.Errorf("%w: the conversation with %s ended early", ErrUnavailable, s.server())
	}
}

// replied is for refusals before there was a message.
func (s *SMTP) replied(reply *textproto.Error) error {
	switch {
	case reply.Code < 500:
		return fmt.Errorf("%w: %s says to try later (%d)", ErrUnavailable, s.server(), reply.Code)
	case slices.Contains([]int{530, 534, 535, 538}, reply.Code):
		return fmt.Errorf("%s refuses the username and password (%d): check them; many providers want an authorization code or app password instead of the mailbox's own", s.server(), reply.Code)
	default:
		return fmt.Errorf("%s refuses to talk (%d): ask its provider whether this machine may send", s.server(), reply.Code)
	}
}

// notSent is for refusals of the message.
func (s *SMTP) notSent(e *gomail.SendError) error {
	codes := strings.TrimSpace(fmt.Sprintf("%d %s", e.ErrorCode(), e.EnhancedStatusCode()))
	switch {
	case e.ErrorCode() == 0: // the connection broke, nobody knows how late
		return fmt.Errorf("%w: the conversation with %s ended early: %w", ErrUnavailable, s.server(), ErrUncertain)
	case e.ErrorCode() < 500:
		return fmt.Errorf("%w: %s did not take the message (%s)", ErrUnavailable, s.server(), codes)
	case e.Reason == gomail.ErrSMTPRcptTo && refusesMailbox(e):
		return fmt.Errorf("%w by %s (%s)", ErrAddress, s.server(), codes)
	case e.Reason == gomail.ErrSMTPRcptTo:
		return fmt.Errorf("%s does not deliver to others (%s): check username and password, and whether the provider lets this machine send", s.server(), codes)
	case e.Reason == gomail.ErrSMTPMailFrom:
		return fmt.Errorf("%s refuses the sender (%s): write as from the address that belongs to username", s.server(), codes)
	default:
		return fmt.Errorf("%s refuses the message (%s): change subject or body, or ask the provider why", s.server(), codes)
	}
}

// refusesMailbox tells "no such mailbox" from "you may not send": by the enhanced
// code (RFC 3463), or else by the plain one (RFC 5321).
func refusesMailbox(e *gomail.SendError) bool {
	if enhanced := e.EnhancedStatusCode(); enhanced != "" {
		return strings.HasPrefix(enhanced, "5.1.") || strings.HasPrefix(enhanced, "5.2.")
	}
	return slices.Contains([]int{550, 551, 552, 553}, e.ErrorCode())
}
