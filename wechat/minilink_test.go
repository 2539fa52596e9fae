// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCreateURLLink_Request(t *testing.T) {
	fake := saying(`{"errcode":0,"errmsg":"ok","url_link":"https://wxaurl.cn/BQZRrcFCPvg"}`)
	c := newTestClient(t, fake, nil)
	c.now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	got, err := c.CreateURLLink(t.Context(), URLLink{Path: "pages/login/login", Query: "scene=a%20b&x=1", EnvVersion: EnvTrial, TTL: 5*time.Minute + time.Millisecond})
	if err != nil || got != "https://wxaurl.cn/BQZRrcFCPvg" {
		t.Fatalf("link %q, %v", got, err)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(fake.calls[0].body), &body); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"path": "pages/login/login", "query": "scene=a%20b&x=1", "env_version": "trial", "expire_type": 0.0, "expire_time": 1_700_000_300.0,
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if strings.Contains(fake.calls[0].body, `\u0026`) {
		t.Error("the & is escaped")
	}
}

func TestCreateURLLink_RefusesBadArgumentsBeforeAnyCall(t *testing.T) {
	fake := saying(`{}`)
	c := newTestClient(t, fake, nil)
	for name, link := range map[string]URLLink{
		"leading slash": {Path: "/pages/a", TTL: time.Hour},
		"query in path": {Path: "pages/a?b", TTL: time.Hour},
		"space":         {Query: "a=b c", TTL: time.Hour},
		"not ASCII":     {Query: "a=场", TTL: time.Hour},
		"long query":    {Query: strings.Repeat("a", 1025), TTL: time.Hour},
		"version":       {EnvVersion: "beta", TTL: time.Hour},
		"no life":       {},
		"short life":    {TTL: 2*time.Minute - 1},
		"long life":     {TTL: 30*24*time.Hour + 1},
	} {
		if _, err := c.CreateURLLink(t.Context(), link); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if len(fake.calls) != 0 || fake.tokens != 0 {
		t.Errorf("calls %v, %d tokens, want none", fake.calls, fake.tokens)
	}
}

var linkTests = []struct {
	name, link, api string
	want            bool
}{
	{"as documented", "https://wxaurl.cn/TICKET", DefaultAPIURL, true},
	{"the other host", "https://wxmpurl.cn/abc*-_", DefaultAPIURL, true},
	{"with cq", "https://wxaurl.cn/BQZRrcFCPvg?cq=a%3Dhello", DefaultAPIURL, true},
	{"of a simulated WeChat", "http://127.0.0.1:8080/wxaurl/a", "http://127.0.0.1:8080", true},
	{"plain http", "http://wxaurl.cn/TICKET", DefaultAPIURL, false},
	{"script", "javascript:alert(1)//wxaurl.cn/a", DefaultAPIURL, false},
	{"user", "https://wxaurl.cn@evil.example/a", DefaultAPIURL, false},
	{"user on WeChat", "https://a@wxaurl.cn/a", DefaultAPIURL, false},
	{"suffix", "https://wxaurl.cn.evil.example/a", DefaultAPIURL, false},
	{"prefix", "https://evilwxaurl.cn/a", DefaultAPIURL, false},
	{"port", "https://wxaurl.cn:8443/a", DefaultAPIURL, false},
	{"backslash", `https://evil.example\@wxaurl.cn/a`, DefaultAPIURL, false},
	{"no ticket", "https://wxaurl.cn/", DefaultAPIURL, false},
	{"no path", "https://wxaurl.cn", DefaultAPIURL, false},
	{"empty", "", DefaultAPIURL, false},
	{"no scheme", "//wxaurl.cn/a", DefaultAPIURL, false},
	{"bad escape", "https://wxmpurl.cn/abc%0X", DefaultAPIURL, false},
	{"line break", "https://wxaurl.cn/a\n", DefaultAPIURL, false},
	{"long", "https://wxaurl.cn/" + strings.Repeat("a", 257), DefaultAPIURL, false},
	{"the API itself", "https://api.weixin.qq.com/a", DefaultAPIURL, false},
	{"another port of a simulated WeChat", "http://127.0.0.1:9090/a", "http://127.0.0.1:8080", false},
	{"another scheme of a simulated WeChat", "ftp://127.0.0.1:8080/a", "http://127.0.0.1:8080", false},
}

// The page sends a visitor's browser to the link: whoever answers in WeChat's
// place must not send it anywhere else.
func TestCreateURLLink_LeadsToWeChatOnly(t *testing.T) {
	for _, tt := range linkTests {
		t.Run(tt.name, func(t *testing.T) {
			body, err := json.Marshal(map[string]any{"errcode": 0, "url_link": tt.link})
			if err != nil {
				t.Fatal(err)
			}
			c := newTestClient(t, saying(string(body)), nil)
			c.apiURL = tt.api
			got, err := c.CreateURLLink(t.Context(), URLLink{TTL: time.Hour})
			if tt.want && (err != nil || got != tt.link) {
				t.Errorf("link %q, %v", got, err)
			}
			if !tt.want && (!errors.Is(err, ErrUnavailable) || got != "") {
				t.Errorf("link %q, %v, want ErrUnavailable", got, err)
			}
		})
	}
}

func FuzzTrustedLink(f *testing.F) {
	for _, tt := range linkTests {
		f.Add(tt.link)
	}
	f.Fuzz(func(t *testing.T, link string) {
		if !trustedLink(link, DefaultAPIURL) {
			return
		}
		u, err := url.Parse(link)
		if err != nil || u.Scheme != "https" || u.User != nil || (u.Host != "wxaurl.cn" && u.Host != "wxmpurl.cn") {
			// Where the prefix decides, a parser must agree.
			t.Errorf("trusted %q (%v, %v)", link, u, err)
		}
	})
}
