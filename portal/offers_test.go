// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/login"
)

const (
	desktopUA = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	phoneUA   = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36"
	wechatUA  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.50"
	wecomUA   = wechatUA + " wxwork/4.1.0"
)

// shop is a portal that offers methods, each by an account of its own, and its clock.
type shop struct {
	*Portal
	now time.Time
}

func newShop(methods ...string) *shop {
	s := &shop{now: noon}
	s.Portal = &Portal{Config: Config{Now: func() time.Time { return s.now }}}
	for _, method := range methods {
		s.Offers = append(s.Offers, shopOffer(method))
	}
	return s
}

func shopOffer(method string) Offer { return Offer{Method: method, AppID: "wx-" + method} }

// shows fails the test unless a browser is shown these methods.
func (s *shop) shows(t *testing.T, when, userAgent string, want ...string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://site.example/", nil)
	r.Header.Set("User-Agent", userAgent)
	if diff := cmp.Diff(want, s.methods(r)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// TestMethods: what works in a browser comes first, else the operator's order counts.
func TestMethods(t *testing.T) {
	const (
		official, mini, website, inside, chat = login.OfficialQR, login.MiniQR, login.WebsiteQR, login.InWeChat, login.ChatCode
	)
	for _, tt := range []struct {
		name, userAgent string
		offers, want    []string
	}{
		{"the operator's order", desktopUA, []string{website, chat, official, mini}, []string{website, chat, official, mini}},
		{"what works in WeChat only, elsewhere", desktopUA, []string{inside, official}, []string{official}},
		{"it is all there is", desktopUA, []string{inside}, []string{inside}},
		{"in WeChat", wechatUA, []string{official, mini, inside, chat}, []string{inside, official, mini, chat}},
		{"in 企业微信, which is another app", wecomUA, []string{official, inside, chat, mini}, []string{mini, chat, official}},
		{"on a phone nobody scans his own screen", phoneUA, []string{official, website, inside, chat, mini}, []string{mini, chat, official, website}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShop(tt.offers...)
			offers := slices.Clone(s.Offers)
			s.shows(t, "shown", tt.userAgent, tt.want...)
			if diff := cmp.Diff(offers, s.Offers); diff != "" {
				t.Errorf("showing them changes the offers:\n%s", diff)
			}
		})
	}
}

// TestMethods_InTrouble: what WeChat refuses stands behind the others for a minute, in
// the order in which it stood before, and never disappears.
func TestMethods_InTrouble(t *testing.T) {
	s := newShop(login.MiniQR, login.ChatCode, login.OfficialQR, login.WebsiteQR)
	s.troubles.add(shopOffer(login.MiniQR), s.now)
	s.shows(t, "one in trouble", desktopUA, login.ChatCode, login.OfficialQR, login.WebsiteQR, login.MiniQR)
	s.now = s.now.Add(30 * time.Second)
	s.troubles.add(shopOffer(login.ChatCode), s.now)
	s.shows(t, "two in trouble", desktopUA, login.OfficialQR, login.WebsiteQR, login.MiniQR, login.ChatCode)
	s.shows(t, "two in trouble, on a phone", phoneUA, login.OfficialQR, login.WebsiteQR, login.MiniQR, login.ChatCode)
	s.now = s.now.Add(30*time.Second - 1)
	s.shows(t, "just before the minute is over", desktopUA, login.OfficialQR, login.WebsiteQR, login.MiniQR, login.ChatCode)
	s.now = s.now.Add(1)
	s.shows(t, "the first minute is over", desktopUA, login.MiniQR, login.OfficialQR, login.WebsiteQR, login.ChatCode)
	s.troubles.add(shopOffer(login.ChatCode), s.now)
	s.now = s.now.Add(59 * time.Second)
	s.shows(t, "refused once more, which counts from then", desktopUA, login.MiniQR, login.OfficialQR, login.WebsiteQR, login.ChatCode)
	s.now = s.now.Add(time.Second)
	s.shows(t, "all minutes are over", desktopUA, login.MiniQR, login.ChatCode, login.OfficialQR, login.WebsiteQR)
}

// TestMethods_AllInTrouble: then all are shown, as if none were. One that is in trouble
// for one account is not in trouble for another.
func TestMethods_AllInTrouble(t *testing.T) {
	s := newShop(login.OfficialQR, login.MiniQR)
	s.troubles.add(Offer{Method: login.OfficialQR, AppID: "wxother"}, s.now)
	s.shows(t, "another account in trouble", desktopUA, login.OfficialQR, login.MiniQR)
	for _, o := range s.Offers {
		s.troubles.add(o, s.now)
	}
	s.shows(t, "all in trouble", desktopUA, login.OfficialQR, login.MiniQR)
	s = newShop(login.OfficialQR, login.InWeChat)
	s.troubles.add(shopOffer(login.InWeChat), s.now)
	s.shows(t, "in WeChat, where its own way is in trouble", wechatUA, login.OfficialQR, login.InWeChat)
}

// TestTroubles_AtOnce: refusals come while pages are shown.
func TestTroubles_AtOnce(t *testing.T) {
	s := newShop(login.Methods...)
	var wg sync.WaitGroup
	for _, o := range s.Offers {
		wg.Go(func() {
			for range 100 {
				s.troubles.add(o, noon)
				s.troubles.has(o, noon)
			}
		})
	}
	wg.Wait()
	for _, o := range s.Offers {
		if !s.troubles.has(o, noon) {
			t.Errorf("%v is forgotten", o)
		}
	}
}
