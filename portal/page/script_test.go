// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLogin_OfferedMethods(t *testing.T) {
	tests := []struct {
		name     string
		methods  []string
		inWeChat bool
		want     []string
	}{
		{"none", nil, false, []string{}},
		{"in order", []string{"chat_code", "official_qr"}, false, []string{"chat_code", "official_qr"}},
		{"unknown", []string{"sms", "official_qr", ""}, false, []string{"official_qr"}},
		{"in WeChat", []string{"in_wechat", "official_qr"}, true, []string{"in_wechat", "official_qr"}},
		{"outside", []string{"in_wechat", "official_qr"}, false, []string{"official_qr"}},
		{"outside, alone", []string{"in_wechat"}, false, []string{"in_wechat"}},
		{"outside, alone but for an unknown one", []string{"in_wechat", "sms"}, false, []string{"in_wechat"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := offered(Login{Methods: tt.methods, InWeChat: tt.inWeChat})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("methods (-want +got):\n%s", diff)
			}
		})
	}
}

// The origin becomes part of the policy: what is more than one origin, or other than
// WeChat's kind, allows nothing.
func TestLogin_FrameOrigin(t *testing.T) {
	tests := []struct {
		origin string
		want   string
	}{
		{"https://open.weixin.qq.com", "https://open.weixin.qq.com"},
		{"https://wechat.test:8443", "https://wechat.test:8443"},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"http://localhost:8080", "http://localhost:8080"},
		{"http://[::1]:8080", "http://[::1]:8080"},
		{"", ""},
		{"http://open.weixin.qq.com", ""},
		{"https://open.weixin.qq.com/", ""},
		{"https://open.weixin.qq.com/connect", ""},
		{"https://open.weixin.qq.com; script-src *", ""},
		{"https://a.example https://b.example", ""},
		{"https://*.example", ""},
		{"https://a.example,", ""},
		{"https://a.example;frame-ancestors", ""},
		{"https://user@a.example", ""},
		{"https://", ""},
		{"https:", ""},
		{"*", ""},
		{"'self'", ""},
		{"data:", ""},
	}
	for _, tt := range tests {
		t.Run(tt.origin, func(t *testing.T) {
			for method, want := range map[string]string{"website_qr": tt.want, "official_qr": ""} {
				w := httptest.NewRecorder()
				New(plainSite).Login(w, request(t, http.MethodGet, "en"), http.StatusOK, Login{
					ReturnTo: "/", Methods: []string{method}, FrameOrigin: tt.origin,
				})
				_, got, _ := strings.Cut(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'")
				if got != strings.TrimSuffix("; frame-src "+want, "; frame-src ") {
					t.Errorf("%s: the policy ends with %q", method, got)
				}
			}
		})
	}
}

func FuzzFrameOrigin(f *testing.F) {
	f.Add("https://open.weixin.qq.com")
	f.Add("https://a;b c,'*'")
	f.Fuzz(func(t *testing.T, text string) {
		if got := origin(text); strings.ContainsAny(got, " ;,'\"*\r\n\t@?#\\") || strings.Count(got, "/") > 2 {
			t.Errorf("origin(%q) = %q", text, got)
		}
	})
}

// The scripts take their labels by name; each must have a text.
func TestTexts_CoverLabels(t *testing.T) {
	content, err := json.Marshal(english.Script)
	if err != nil {
		t.Fatal(err)
	}
	var labels map[string]any
	if err := json.Unmarshal(content, &labels); err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:page\.text\.|link: '|button: '|hint: ')(\w+)`)
	for _, name := range loginScripts {
		script, err := assetFiles.ReadFile("assets/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range named.FindAllStringSubmatch(string(script), -1) {
			if labels[found[1]] == nil {
				t.Errorf("%s: the label %q has no text", name, found[1])
			}
		}
	}
}

// Every method has a name in both languages and something to show in the script.
func TestTexts_CoverMethods(t *testing.T) {
	script, err := assetFiles.ReadFile("assets/login.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range allMethods {
		if chinese.MethodNames[method] == "" || english.MethodNames[method] == "" {
			t.Errorf("%s has no name", method)
		}
		if !strings.Contains(string(script), "    "+method+"({") {
			t.Errorf("%s has no opening in the script", method)
		}
	}
	if len(chinese.MethodNames) != len(allMethods) {
		t.Errorf("%d methods have names, the tests know %d", len(chinese.MethodNames), len(allMethods))
	}
}
