// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// The tests below do not run beside one another: a browser keeps the cookies of a
// host for all its ports.

// open opens a path of the site in a new tab of a browser without cookies.
func (w *world) open(path string, setup ...chrometest.Action) *chrometest.Tab {
	w.t.Helper()
	tab := chrometest.Open(w.t)
	steps := append([]chrometest.Action{
		chrometest.Command(network.ClearBrowserCookies, struct{}{}),
		chrometest.Command(security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true}),
	}, setup...)
	tab.Run(append(steps, chromedp.Navigate(w.origin()+path))...)
	w.t.Cleanup(func() { tab.Clean(w.addr) })
	return tab
}

// readQR reads the code on the login page as a phone's camera does.
func readQR(t testing.TB, tab *chrometest.Tab) string {
	t.Helper()
	tab.Until(`(img => img !== null && !img.hidden && img.complete)(document.getElementById('qr'))`)
	var pictures [][]byte
	for _, scale := range []float64{1, 1.5, 2, 3} {
		picture, err := chrometest.Do(tab, chromedp.ScreenshotScale(chromedp.ID("qr"), scale))
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, picture)
	}
	return chrometest.ReadQR(t, pictures...)
}

// blocked makes requests of these forms fail, as a bad proxy does.
func blocked(patterns ...string) chrometest.Action {
	rules := make([]*network.BlockPattern, 0, len(patterns))
	for _, p := range patterns {
		rules = append(rules, &network.BlockPattern{URLPattern: p, Block: true})
	}
	return chrometest.Command(network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: rules})
}

// TestBrowserSignsIn signs in as a person does: the code is read off the screen,
// the number off the page, and tapped in WeChat's browser. Once with the event
// stream over TLS, and once with each fallback for proxies that break it.
func TestBrowserSignsIn(t *testing.T) {
	for _, tt := range []struct {
		name, scheme string
		blocked      []string
		uses         string // what only the requests of this way contain
	}{
		{"event stream", "https", nil, "/events"},
		{"long poll", "http", []string{"*://*:*/*/events"}, "wait=25"},
		{"plain poll", "http", []string{"*://*:*/*/events", "*://*:*/*\\?wait=25*"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, options{scheme: tt.scheme})
			tab := w.open("/after?x=1#part", blocked(tt.blocked...))
			phone := w.wechat.Phone("alice")
			delivery, err := phone.Scan(t.Context(), readQR(t, tab))
			if err != nil || delivery.Err != nil {
				t.Fatalf("scanning: %v, %+v", err, delivery)
			}
			tab.Until(`/^\d\d$/.test(document.getElementById('number').textContent)`)
			number := chrometest.Eval[string](tab, `document.getElementById('number').textContent`)

			wechat := chrometest.Open(t)
			wechat.Run(
				chrometest.Command(security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true}),
				chrometest.Command(emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: "Mozilla/5.0 (iPhone) MicroMessenger/8.0.50"}),
				chromedp.Navigate(delivery.Reply.Links()[0]),
				chromedp.Click(chromedp.CSS(`button[value="`+number+`"]`)),
			)
			wechat.Until(`document.querySelector('button[value=revoke]') !== null`)

			tab.Sees("hello")
			if got := chrometest.Eval[string](tab, `location.pathname + location.search + location.hash`); got != "/after?x=1#part" {
				t.Errorf("the browser is at %q, not where it wanted to go", got)
			}
			if got := w.upstream.last(t); got.Header.Get("X-User-Openid") != phone.OpenID(appID) {
				t.Errorf("the upstream got %v", got.Header)
			}
			for _, way := range []string{"/events", "wait=25"} {
				if used := strings.Contains(w.output.String(), way); used != (way == tt.uses) {
					t.Errorf("the page has used %s: %v", way, used)
				}
			}
		})
	}
}

// TestBrowserSignsOut follows a person out again by the page's own button.
func TestBrowserSignsOut(t *testing.T) {
	w := newWorld(t, options{account: "confirm off"})
	tab := w.open("/")
	if _, err := w.wechat.Phone("alice").Scan(t.Context(), readQR(t, tab)); err != nil {
		t.Fatal(err)
	}
	tab.Sees("hello")
	tab.Run(chromedp.Navigate(w.origin()+"/_wechat/logout"), chromedp.Click(chromedp.CSS(`form button`)))
	tab.Until(`document.getElementById('qr') !== null`)
	if got := chrometest.Eval[string](tab, `location.pathname`); got != "/" {
		t.Errorf("after signing out the browser is at %q", got)
	}
}
