// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package sender brings codes to people outside WeChat: by e-mail, or through any
// service that an HTTP request can ask to send a text message.
package sender

import (
	"context"
	"errors"
	"time"
)

// Why a message is not handed over. Every other error is for the operator to mend.
var (
	// ErrAddress says that the service takes no messages for this address.
	ErrAddress = errors.New("the address is refused")
	// ErrUnavailable says that the service cannot be reached, or asks to try later.
	ErrUnavailable = errors.New("the service is unavailable")
	// ErrUncertain is wrapped besides, where the service may have sent the message all
	// the same: such a message counts, else there would be no end of them.
	ErrUncertain = errors.New("the message may have been sent all the same")
)

// Message is a code for one person.
type Message struct {
	// To is the address in canonical form: an e-mail address, or a phone number as E.164.
	To string
	// Code is what the person is to type.
	Code string
	// Site is what visitors see as the name of the site.
	Site string
	// TTL is for how long the code can be used.
	TTL time.Duration
	// Language is that of the person's page: zh or en.
	Language string
}

// Sender sends messages of one channel.
type Sender interface {
	// Send hands the message over. The error wraps ErrAddress or ErrUnavailable, or
	// says what the operator can do, and wraps ErrUncertain besides where that is so.
	// It holds neither the code nor a secret nor the address.
	Send(ctx context.Context, m Message) error
}
