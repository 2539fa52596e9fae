// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// OfficialQR is the name of the method in which the visitor scans the
// parametric QR code of a verified service account or a test account.
const OfficialQR = "official_qr"

// choices is how many numbers the confirm page offers.
const choices = 3

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
	a.Confirm = o.Confirm
	if o.Confirm == ConfirmNumber {
		a.Number, a.Choices = newChoices()
	}
	return Shown{QR: drawn}, nil
}

// newChoices draws the number to be chosen and, in random order, all that are offered.
func newChoices() (number string, all []string) {
	for len(all) < choices {
		if n := fmt.Sprint(10 + randomInt(90)); !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all[randomInt(choices)], all
}

func randomInt(n int64) int64 {
	// Never fails since Go 1.24, and n is positive.
	i, _ := rand.Int(rand.Reader, big.NewInt(n))
	return i.Int64()
}
