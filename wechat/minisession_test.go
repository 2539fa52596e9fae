// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func refusedWith(err error, code int) bool {
	refusal, ok := errors.AsType[*Error](err)
	return ok && refusal.Code == code
}

func TestCode2Session_Request(t *testing.T) {
	fake := saying(`{"openid":"o"}`)
	if _, err := newTestClient(t, fake, nil).Code2Session(t.Context(), "0a3+/="); err != nil {
		t.Fatal(err)
	}
	got, err := url.ParseQuery(fake.calls[0].query)
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"appid": {testAppID}, "secret": {testSecret}, "js_code": {"0a3+/="}, "grant_type": {"authorization_code"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	if call := fake.calls[0]; call.method != "GET" || call.path != "/sns/jscode2session" || call.body != "" || fake.tokens != 0 {
		t.Errorf("call %+v, %d tokens, want a GET without a token", call, fake.tokens)
	}
}

func TestCode2Session_Answers(t *testing.T) {
	const openID = "oGZUI0egBJY1zhBYw2KhdUfwVJJE"
	tests := []struct {
		name, body string
		want       MiniProgramUser // the zero one: an error
	}{
		{"plain", `{"session_key":"SESSIONKEY","openid":"` + openID + `"}`, MiniProgramUser{OpenID: openID}},
		{"with errcode", `{"openid":"` + openID + `","session_key":"SESSIONKEY","unionid":"u","errcode":0,"errmsg":"ok"}`, MiniProgramUser{openID, "u"}},
		{"errcode as a string", `{"openid":"` + openID + `","errcode":"0"}`, MiniProgramUser{OpenID: openID}},
		{"no openid", `{"session_key":"SESSIONKEY"}`, MiniProgramUser{}},
		{"hostile openid", `{"openid":"<script>"}`, MiniProgramUser{}},
		{"long openid", `{"openid":"` + strings.Repeat("o", 129) + `"}`, MiniProgramUser{}},
		{"hostile unionid", `{"openid":"` + openID + `","unionid":"a b"}`, MiniProgramUser{}},
		{"openid as a number", `{"openid":1}`, MiniProgramUser{}},
		{"refused, with an openid", `{"openid":"` + openID + `","errcode":40029,"errmsg":"invalid code"}`, MiniProgramUser{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := newTestClient(t, saying(tt.body), nil).Code2Session(t.Context(), "0a3")
			if got != tt.want || (err == nil) != (tt.want != MiniProgramUser{}) {
				t.Errorf("user %+v, error %v, want %+v", got, err, tt.want)
			}
			if strings.Contains(fmt.Sprintf("%+v %v", got, err), "SESSIONKEY") {
				t.Error("the session key got out")
			}
		})
	}
}

// A code comes from outside: what cannot be one costs WeChat no call.
func TestMini_RefusesImpossibleCodesBeforeAnyCall(t *testing.T) {
	fake := saying(`{"openid":"o"}`)
	c := newTestClient(t, fake, nil)
	for _, code := range []string{"", "a b", "a\n", "a&appid=x", "码", "a\x00", strings.Repeat("a", 513), "the code is a mock one"} {
		if _, err := c.Code2Session(t.Context(), code); !errors.Is(err, ErrInvalidCode) {
			t.Errorf("Code2Session(%q): %v", code, err)
		}
		if _, err := c.PhoneNumber(t.Context(), code); !errors.Is(err, ErrInvalidCode) {
			t.Errorf("PhoneNumber(%q): %v", code, err)
		}
	}
	if len(fake.calls) != 0 || fake.tokens != 0 {
		t.Errorf("calls %v, %d tokens, want none", fake.calls, fake.tokens)
	}
}
