// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// Official begins attempts of the method OfficialQR.
type Official struct {
	// Codes makes the QR codes, such as a *wechat.Client.
	Codes QRCoder
	// TTL is how long a code can be scanned.
	TTL time.Duration
	// Confirm is what the person who scans must do.
	Confirm Confirm
}

// QRCoder makes parametric QR codes.
type QRCoder interface {
	CreateQRCode(ctx context.Context, scene string, ttl time.Duration) (wechat.QRCode, error)
}

// Start implements Starter.
func (o *Official) Start(ctx context.Context, a *Attempt) (Shown, error) {
	code, err := o.Codes.CreateQRCode(ctx, a.Scene, o.TTL)
	if err != nil {
		return Shown{}, fmt.Errorf("creating the QR code: %w", err)
	}
	drawn, err := NewQR(code.URL)
	if err != nil {
		return Shown{}, err
	}
	// WeChat's answer counts: it may grant less than was asked for.
	a.ExpiresAt = a.CreatedAt.Add(min(o.TTL, code.ExpiresIn))
	a.ask(o.Confirm)
	return Shown{QR: drawn}, nil
}
