// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// TestG5OfficialAccount: somebody whom nobody has approved, and then one who is
// disabled, comes by the official account: with its QR code and with a code in the
// chat, with and without WeChat's proof of who opens the link. Neither a new session nor
// an old one opens the site (G5).
func TestG5OfficialAccount(t *testing.T) {
	t.Parallel()
	for _, account := range []string{"confirm number", "confirm tap", "web_oauth snsapi_base"} {
		t.Run(account, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{options: options{users: "registration approval", account: account}})
			alice := m.wechat.Phone("alice")
			old := make(map[string]*browser)
			for _, method := range []string{"official_qr", "chat_code"} {
				a := m.confirmedBy(method, alice)
				a.consume()
				old[method] = a.browser
			}
			m.shut("awaiting approval", old)
			for method, b := range old {
				if got := b.do(http.MethodGet, "/api", nil); got.json(t)["reason"] != "pending" {
					t.Errorf("awaiting approval, by %s: %d %s", method, got.Status, got.Body)
				}
			}
			id := m.idOf(alice.OpenID(appID))
			m.adminAPI(http.MethodPatch, "users/"+id, map[string]string{"status": "active"})
			for method, b := range old {
				if !b.admitted() {
					t.Errorf("approved, and shut out by %s", method)
				}
			}
			m.adminAPI(http.MethodPatch, "users/"+id, map[string]string{"status": "disabled"})
			m.shut("disabled", old)
			for _, method := range []string{"official_qr", "chat_code"} {
				a := m.confirmedBy(method, alice)
				if got := a.session(); got.Status != http.StatusForbidden || got.json(t)["reason"] != "disabled" || len(got.Header["Set-Cookie"]) > 0 {
					t.Errorf("disabled, by %s: %d %s", method, got.Status, got.Body)
				}
				m.shut("disabled, signing in anew", map[string]*browser{method: a.browser})
			}
			m.adminAPI(http.MethodPatch, "users/"+id, map[string]string{"status": "active"})
			m.shut("enabled again, by the sessions from before", old)
			if n := len(m.upstream.requests()); n != 2 {
				t.Errorf("%d requests reached the upstream, want the 2 of the approved person", n)
			}
		})
	}
}

// confirmedBy is an attempt by the official account that a person has confirmed, in
// whatever way the account asks for.
func (m *methods) confirmedBy(method string, phone *wechattest.Phone) *shown {
	m.t.Helper()
	a, link := m.proofBegun(method, m.browser(), phone)
	inside, choice := m.inside(phone), a.Number
	v := m.follow(inside, link, "allow")
	if len(offered(v.Body)) == 0 {
		choice = "yes"
	}
	if got := inside.do(http.MethodPost, m.path(link), url.Values{"choice": {choice}}); v.Status != http.StatusOK || got.Status != http.StatusOK {
		m.t.Fatalf("confirming %s: %d, %d %s", method, v.Status, got.Status, got.Body)
	}
	return a
}
