// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"net/http"
	"net/http/cookiejar"
	"time"
)

// webviewAgent is the user agent of WeChat's browser on Android.
const webviewAgent = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UQ1A.240105.004; wv) AppleWebKit/537.36 " +
	"(KHTML, like Gecko) Version/4.0 Chrome/126.0.6478.188 Mobile Safari/537.36 XWEB/1260117 MMWEBSDK/20240501 " +
	"MMWEBID/2247 MicroMessenger/8.0.50.2701(0x28003236) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN ABI/arm64"

// Browser returns the person's browser inside WeChat, to open links of the chat
// with: it has WeChat's user agent and its own cookies, the same on each call.
// As a browser does, it adds the page's own Origin to a request that changes
// something, unless the caller has set one.
func (p *Phone) Browser() *http.Client { return p.browser }

func (s *Server) newWebview(p *Phone) *http.Client {
	jar, _ := cookiejar.New(nil) // never fails
	return &http.Client{Transport: webview{s.transport, p}, Jar: jar, Timeout: 30 * time.Second}
}

type webview struct {
	next  http.RoundTripper
	phone *Phone
}

func (v webview) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	setDefault(r.Header, "User-Agent", webviewAgent)
	setDefault(r.Header, "Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	setDefault(r.Header, "Accept-Language", "zh-CN,zh;q=0.9")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		setDefault(r.Header, "Origin", r.URL.Scheme+"://"+r.URL.Host)
	}
	if r.URL.Path == EndpointAuthorize {
		v.phone.identify(r)
	}
	return v.next.RoundTrip(r)
}

func setDefault(h http.Header, name, value string) {
	if _, ok := h[name]; !ok {
		h.Set(name, value)
	}
}
