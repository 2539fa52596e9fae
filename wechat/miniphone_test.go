// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// watermarkTime is that of the example in WeChat's documentation.
const watermarkTime = 1637744274

func phoneBody(number, countryCode, appID string, timestamp int64) string {
	return fmt.Sprintf(`{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"x","purePhoneNumber":%q,"countryCode":%s,`+
		`"watermark":{"timestamp":%d,"appid":%q}}}`, number, countryCode, timestamp, appID)
}

func TestPhoneNumber_Answers(t *testing.T) {
	const number = "13800138000"
	china := PhoneNumber{"86", number}
	tests := []struct {
		name, body string
		want       PhoneNumber // the zero one: ErrUnavailable
	}{
		{"country code as in the documentation", phoneBody(number, `86`, testAppID, watermarkTime), china},
		{"country code as in practice", phoneBody(number, `"86"`, testAppID, watermarkTime), china},
		{"country code with a plus", phoneBody(number, `"+86"`, testAppID, watermarkTime), china},
		{"Hong Kong", phoneBody("51234567", `"852"`, testAppID, watermarkTime), PhoneNumber{"852", "51234567"}},
		{"10 minutes old", phoneBody(number, `86`, testAppID, watermarkTime-600), china},
		{"5 minutes ahead", phoneBody(number, `86`, testAppID, watermarkTime+300), china},

		// A number that another app got, or got long ago, says nothing about who
		// is here now.
		{"of another app", phoneBody(number, `86`, "wx0000000000000000", watermarkTime), PhoneNumber{}},
		{"of no app", phoneBody(number, `86`, "", watermarkTime), PhoneNumber{}},
		{"too old", phoneBody(number, `86`, testAppID, watermarkTime-601), PhoneNumber{}},
		{"too far ahead", phoneBody(number, `86`, testAppID, watermarkTime+301), PhoneNumber{}},
		{"at no time", phoneBody(number, `86`, testAppID, 0), PhoneNumber{}},
		{"at the end of time", phoneBody(number, `86`, testAppID, -1<<63), PhoneNumber{}},
		{"no number", phoneBody("", `86`, testAppID, watermarkTime), PhoneNumber{}},
		{"letters", phoneBody("138<b>", `86`, testAppID, watermarkTime), PhoneNumber{}},
		{"16 digits", phoneBody("12345678901234", `86`, testAppID, watermarkTime), PhoneNumber{}},
		{"no country", phoneBody(number, `""`, testAppID, watermarkTime), PhoneNumber{}},
		{"negative country", phoneBody(number, `-86`, testAppID, watermarkTime), PhoneNumber{}},
		{"country of five digits", phoneBody(number, `12345`, testAppID, watermarkTime), PhoneNumber{}},
		{"no phone_info", `{"errcode":0}`, PhoneNumber{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestClient(t, saying(tt.body), nil)
			c.now = func() time.Time { return time.Unix(watermarkTime, 0) }
			got, err := c.PhoneNumber(t.Context(), "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144")
			if got != tt.want {
				t.Errorf("number %+v, want %+v (%v)", got, tt.want, err)
			}
			if (tt.want == PhoneNumber{}) != errors.Is(err, ErrUnavailable) {
				t.Errorf("error %v", err)
			}
		})
	}
	if got := china.E164(); got != "+8613800138000" {
		t.Errorf("E164 = %q", got)
	}
}

// The code belongs in the body: in the query WeChat does not find it.
func TestPhoneNumber_Request(t *testing.T) {
	fake := saying(`{"errcode":40029}`)
	_, _ = newTestClient(t, fake, nil).PhoneNumber(t.Context(), "e31")
	want := miniCall{"POST", "/wxa/business/getuserphonenumber", "access_token=token-1", `{"code":"e31"}` + "\n"}
	if got := fake.calls[0]; got != want {
		t.Errorf("call %+v, want %+v", got, want)
	}
}
