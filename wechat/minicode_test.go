// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCreateMiniProgramCode_Request(t *testing.T) {
	tests := []struct {
		name string
		code MiniProgramCode
		want map[string]any
	}{
		{"least", MiniProgramCode{Scene: "a"}, map[string]any{"scene": "a", "check_path": true}},
		{"all", MiniProgramCode{
			Scene: "a-b_c.d~e", Page: "pages/login/login", Unpublished: true, EnvVersion: EnvTrial, Width: 280, Transparent: true,
		}, map[string]any{
			"scene": "a-b_c.d~e", "page": "pages/login/login", "check_path": false, "env_version": "trial", "width": 280.0, "is_hyaline": true,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fake := saying(jpegMagic)
			if _, err := newTestClient(t, fake, nil).CreateMiniProgramCode(t.Context(), tt.code); err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(fake.calls[0].body), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if call := fake.calls[0]; call.method != "POST" || call.path != "/wxa/getwxacodeunlimit" || call.query != "access_token=token-1" {
				t.Errorf("call %+v", call)
			}
		})
	}
}

// Another client once turned the test of the content type round, and took errors
// for pictures. Here the content decides, whatever the header says.
func TestCreateMiniProgramCode_PictureOrError(t *testing.T) {
	tests := []struct {
		name string
		miniAnswer
		want string // content type of the picture, "" for a refusal
	}{
		{"JPEG", miniAnswer{contentType: "image/jpeg", body: jpegMagic + "…"}, "image/jpeg"},
		{"PNG", miniAnswer{contentType: "image/png", body: pngMagic + "…"}, "image/png"},
		{"PNG that says JPEG", miniAnswer{contentType: "image/jpeg", body: pngMagic}, "image/png"},
		{"JPEG that says JSON", miniAnswer{contentType: "application/json; encoding=utf-8", body: jpegMagic}, "image/jpeg"},
		{"JPEG that says nothing", miniAnswer{body: jpegMagic}, "image/jpeg"},
		{"error", miniAnswer{contentType: "application/json; encoding=utf-8", body: `{"errcode":41030,"errmsg":"invalid page"}`}, ""},
		{"error that says JPEG", miniAnswer{contentType: "image/jpeg", body: `{"errcode":41030,"errmsg":"invalid page"}`}, ""},
		{"error that says text", miniAnswer{contentType: "text/plain", body: ` {"errcode":"41030","errmsg":"invalid page"}`}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := newTestClient(t, always(tt.miniAnswer), nil).CreateMiniProgramCode(t.Context(), MiniProgramCode{Scene: "a"})
			if tt.want == "" {
				if !refusedWith(err, 41030) || got.Data != nil {
					t.Errorf("picture %+v, error %v, want 41030", got, err)
				}
				return
			}
			if err != nil || got.ContentType != tt.want || string(got.Data) != tt.body {
				t.Errorf("picture %+v, error %v, want %s", got, err, tt.want)
			}
		})
	}
}

func TestCreateMiniProgramCode_RefusesBadArgumentsBeforeAnyCall(t *testing.T) {
	fake := saying(jpegMagic)
	c := newTestClient(t, fake, nil)
	tests := []struct {
		name string
		code MiniProgramCode
	}{
		{"no scene", MiniProgramCode{}},
		{"33 characters", MiniProgramCode{Scene: strings.Repeat("a", 33)}},
		{"percent", MiniProgramCode{Scene: "a%20b"}},
		{"space", MiniProgramCode{Scene: "a b"}},
		{"equals sign, at which old phones cut", MiniProgramCode{Scene: "a=b"}},
		{"ampersand, which was seen refused", MiniProgramCode{Scene: "a&b"}},
		{"not ASCII", MiniProgramCode{Scene: "场景"}},
		{"leading slash", MiniProgramCode{Scene: "a", Page: "/pages/login"}},
		{"query", MiniProgramCode{Scene: "a", Page: "pages/login?a=1"}},
		{"long page", MiniProgramCode{Scene: "a", Page: strings.Repeat("a", 129)}},
		{"version", MiniProgramCode{Scene: "a", EnvVersion: "beta"}},
		{"narrow", MiniProgramCode{Scene: "a", Width: 279}},
		{"wide", MiniProgramCode{Scene: "a", Width: 1281}},
		{"negative width", MiniProgramCode{Scene: "a", Width: -1}},
	}
	for _, tt := range tests {
		if _, err := c.CreateMiniProgramCode(t.Context(), tt.code); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
	}
	if len(fake.calls) != 0 || fake.tokens != 0 {
		t.Errorf("calls %v, %d tokens, want none", fake.calls, fake.tokens)
	}
}

func TestCreateMiniProgramCode_AcceptsTheLimits(t *testing.T) {
	c := newTestClient(t, saying(jpegMagic), nil)
	for _, code := range []MiniProgramCode{
		{Scene: rand.Text()}, // at least 128 bits
		{Scene: strings.Repeat("Z", 32), Page: strings.Repeat("a", 128), Width: 280, EnvVersion: EnvRelease},
		{Scene: "a", Page: "pages/a-b/c_d.e", Width: 1280, EnvVersion: EnvDevelop},
	} {
		if _, err := c.CreateMiniProgramCode(t.Context(), code); err != nil {
			t.Errorf("%+v: %v", code, err)
		}
	}
}
