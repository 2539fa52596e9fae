// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// TestSignIn walks the whole way, in every mode of message push, as a person who
// does not follow the account yet and as one who does.
func TestSignIn(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name string
		mode wechattest.Mode
	}{{"plaintext", wechattest.Plain}, {"compatible", wechattest.Compatible}, {"secure", wechattest.Secure}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{mode: mode.mode})
			if err := w.wechat.VerifyURL(t.Context(), appID); err != nil {
				t.Fatalf("WeChat's console does not accept the push URL: %v", err)
			}
			phone := w.wechat.Phone("alice")
			for _, who := range []string{"first-time follower", "follower"} {
				b := w.browser()
				if got := b.get("/after?x=1"); got.Status != http.StatusUnauthorized || !strings.Contains(got.Body, "<html") {
					t.Fatalf("%s: without a session: %d %q", who, got.Status, got.Body)
				}
				a := b.begin()
				if a.State != "pending" || len(a.Number) != 2 || !strings.HasPrefix(a.QR.SVG, "<svg") {
					t.Fatalf("%s: attempt: %+v", who, a)
				}
				link := w.scan(phone, a)
				if got := a.state(); got != "scanned" {
					t.Fatalf("%s: after the scan: %s", who, got)
				}
				if got := a.session(); got.Status != http.StatusConflict {
					t.Fatalf("%s: a scan alone gives a session: %d %s", who, got.Status, got.Body)
				}
				w.choose(phone, link, a.Number)
				if got := a.state(); got != "confirmed" {
					t.Fatalf("%s: after confirming: %s", who, got)
				}
				if got := a.session(); got.Status != http.StatusOK || got.json(t)["redirect"] != "/after?x=1" {
					t.Fatalf("%s: POST session: %d %s", who, got.Status, got.Body)
				}
				if got := b.get("/after?x=1"); got.Status != http.StatusOK {
					t.Fatalf("%s: with a session: %d %s", who, got.Status, got.Body)
				}
				if got := w.upstream.last(t).Header.Get("X-User-Openid"); got != phone.OpenID(appID) {
					t.Errorf("%s: X-User-Openid is %q, want %q", who, got, phone.OpenID(appID))
				}
			}
		})
	}
}
