// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// wantClean fails the test if an address of the site's at which a browser stays holds
// a code or a state.
func (m *methods) wantClean(address string) {
	m.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		m.t.Fatal(err)
	}
	if query := u.Query(); strings.HasPrefix(address, m.origin()) && (query.Has("code") || query.Has("state") || strings.HasSuffix(u.Path, "/oauth/callback")) {
		m.t.Errorf("the browser stays at %s", address)
	}
}

// back opens the path by which WeChat leads back. Where that leads to a page of the
// gateway's own that says why it has come to nothing, the answer is that page. It
// fails the test if anything of the callback's address is left.
func (b *browser) back(path string, edit ...func(*http.Request)) answer {
	b.t.Helper()
	got := b.get(path, edit...)
	location := got.Header.Get("Location")
	u, err := url.Parse(location)
	if err != nil || got.Status != http.StatusSeeOther || location == "" || u.Query().Has("code") || u.Query().Has("state") ||
		got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Referrer-Policy") != "no-referrer" {
		b.t.Errorf("callback: %d to %q, %v %s", got.Status, location, got.Header, got.Body)
	}
	callback, _ := url.Parse(path) // some are no addresses
	if callback != nil {
		for _, secret := range []string{callback.Query().Get("code"), callback.Query().Get("state")} {
			if len(secret) > 1 && strings.Contains(got.Body+location, secret) {
				b.t.Errorf("callback: %q is left in %q: %s", secret, location, got.Body)
			}
		}
	}
	if !strings.HasPrefix(location, "/_wechat/oauth/failed/") {
		return got
	}
	return b.get(location, edit...)
}

// TestQ12CallbackLeavesTheAddressBar: WeChat is away when the browser comes back with
// a code. Nobody is signed in, and the code stays good for minutes: somebody who is
// sent the address, or looks at the screen or the history, could end his own sign-in
// with it. It is in none of them, and the person can begin again from there.
func TestQ12CallbackLeavesTheAddressBar(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	m.wechat.Fail(wechattest.EndpointOAuthToken, 0, wechattest.Failure{ErrCode: -1, ErrMsg: "system error"})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		b := m.browser()
		path := m.agree(m.wechat.Phone("alice"), b.beginBy("website_qr"))
		got := b.do(method, path, nil)
		if want := "/_wechat/oauth/failed/exchange?return_to=%2Fafter%3Fx%3D1"; got.Status != http.StatusSeeOther || got.Header.Get("Location") != want {
			t.Fatalf("%s: %d to %q, want %q", method, got.Status, got.Header.Get("Location"), want)
		}
		if page := b.do(method, got.Header.Get("Location"), nil); page.Status != http.StatusBadGateway || page.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the page: %d %v", method, page.Status, page.Header)
		}
		again := b.back(path)
		_, button, _ := strings.Cut(again.Body, `<a class="button primary" href="`)
		button, _, _ = strings.Cut(button, `"`)
		if login := b.get(button); again.Status != http.StatusGone || login.Status != http.StatusOK || !strings.Contains(login.Body, "/after?x=1") {
			t.Errorf("%s: the page is %d; its button leads to %q: %d", method, again.Status, button, login.Status)
		}
	}
	for _, query := range []string{"?return_to=https%3A%2F%2Fevil.example%2F", "?return_to=%2F%2Fevil.example", "?return_to=%2F%5Cevil.example"} {
		if got := m.browser().get("/_wechat/oauth/failed/refused" + query); got.Status != http.StatusForbidden || strings.Contains(got.Body, "evil") {
			t.Errorf("%q: %d %s", query, got.Status, got.Body)
		}
	}
	for _, name := range []string{"unknown", "Refused", "", "refused/x"} {
		if got := m.browser().get("/_wechat/oauth/failed/" + name); got.Status != http.StatusNotFound || !strings.Contains(got.Body, "<html") {
			t.Errorf("%q: %d %s", name, got.Status, got.Body)
		}
	}
}
