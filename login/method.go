// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"slices"
)

// The methods, by which a person proves who he is.
const (
	// OfficialQR: the visitor scans the parametric QR code (带参数二维码) of a
	// verified service account or a test account.
	OfficialQR = "official_qr"
	// MiniQR: the visitor scans the code (小程序码) of a mini program.
	MiniQR = "mini_qr"
	// WebsiteQR: the visitor scans the code on WeChat's own page, which an
	// approved website application (网站应用) may show.
	WebsiteQR = "website_qr"
	// InWeChat: the page is open inside WeChat, which names the person (网页授权).
	InWeChat = "in_wechat"
	// ChatCode: the visitor sends a code from the page to any account (公众号).
	ChatCode = "chat_code"
)

// Methods are all methods, in the order in which they are offered where the
// operator names none.
var Methods = []string{OfficialQR, MiniQR, WebsiteQR, InWeChat, ChatCode}

// choices is how many numbers the person who scans is offered.
const choices = 3

// ask sets what the person who scans must do.
func (a *Attempt) ask(mode Confirm) {
	a.Confirm = mode
	if mode == ConfirmNumber {
		a.Number, a.Choices = newChoices()
	}
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
