// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

const (
	phoneEndpoint = "wxa/business/getuserphonenumber"

	// A watermark tells when the person tapped the button. Its code lives for 5
	// minutes; as much again, both ways, is for clocks that differ.
	maxWatermarkAge  = 10 * time.Minute
	maxWatermarkLead = 5 * time.Minute
)

// PhoneNumber is a number that the person chose to give in WeChat. WeChat has
// verified it at some time; it does not prove that the person has the phone now.
type PhoneNumber struct {
	CountryCode string // digits, as 86
	Number      string // digits, without the country code
}

// E164 returns the number as it is dialled from abroad, as +8613800138000.
func (p PhoneNumber) E164() string { return "+" + p.CountryCode + p.Number }

// Together they are at most the 15 digits of E.164.
var numberPattern = regexp.MustCompile(`^[0-9]{4,14}$`)

func (p PhoneNumber) valid() bool {
	return numberPattern.MatchString(p.Number) && len(p.CountryCode) <= 4 && len(p.CountryCode)+len(p.Number) <= 15
}

// PhoneNumber says which number a code of the getPhoneNumber button stands for.
// This code is not that of wx.login; it is good once, for 5 minutes. A code that
// WeChat does not take is an [ErrInvalidCode]. Each success costs the operator a
// fee. Only a verified mini program that is not an individual's may do this.
//
// See https://developers.weixin.qq.com/miniprogram/dev/framework/open-ability/getPhoneNumber.html
func (c *Client) PhoneNumber(ctx context.Context, code string) (PhoneNumber, error) {
	if !personCodePattern.MatchString(code) {
		return PhoneNumber{}, fmt.Errorf("asking for a phone number: %w: it is empty, too long or has characters that no code has", ErrInvalidCode)
	}
	request := struct {
		Code string `json:"code"`
	}{code}
	var answer phoneAnswer
	err := c.unlessHeld(&c.mini.phone, func() error {
		return withoutCode(c.callWithToken(ctx, phoneEndpoint, request, &answer), code)
	}, phoneEndpoint, permanentAt)
	if err != nil {
		return PhoneNumber{}, err
	}
	return answer.check(c.appID, c.now())
}

// withoutCode removes the code from what WeChat said of it. It copies the error,
// because others may hold the same.
func withoutCode(err error, code string) error {
	refusal, ok := errors.AsType[*Error](err)
	if !ok || refusal.Endpoint != phoneEndpoint {
		return err
	}
	clean := *refusal
	clean.Message = redact(clean.Message, code)
	return &clean
}

// phoneAnswer reads the country code as a number or a string: WeChat's
// documentation shows the one, its servers send the other.
type phoneAnswer struct {
	Info struct {
		Number      string   `json:"purePhoneNumber"`
		CountryCode looseInt `json:"countryCode"`
		Watermark   struct {
			Timestamp looseInt `json:"timestamp"`
			AppID     string   `json:"appid"`
		} `json:"watermark"`
	} `json:"phone_info"`
}

func (a phoneAnswer) check(appID string, now time.Time) (PhoneNumber, error) {
	mark := a.Info.Watermark
	if mark.AppID != appID {
		return PhoneNumber{}, unavailable(phoneEndpoint, "the answer's watermark is of another app")
	}
	age := now.Unix() - int64(mark.Timestamp)
	if age > int64(maxWatermarkAge/time.Second) || age < -int64(maxWatermarkLead/time.Second) {
		return PhoneNumber{}, unavailable(phoneEndpoint, "the answer's watermark is of another time; compare this server's clock")
	}
	number := PhoneNumber{strconv.FormatInt(int64(a.Info.CountryCode), 10), a.Info.Number}
	if a.Info.CountryCode <= 0 || !number.valid() {
		return PhoneNumber{}, unavailable(phoneEndpoint, "the answer names no phone number")
	}
	return number, nil
}
