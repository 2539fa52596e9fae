// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// proofBegun is an attempt that a person has scanned, or sent the code of, and the
// link that the person got.
func (m *methods) proofBegun(method string, b *browser, phone *wechattest.Phone) (a *shown, link string) {
	m.t.Helper()
	a = b.beginBy(method)
	if method == "chat_code" {
		return a, m.say(phone, a.Code).Links()[0]
	}
	return a, m.scan(phone, a.attempt)
}

// TestProof: with web_oauth on, WeChat says who opens the link in the chat. To the
// person who scanned that makes no difference but that the site learns name and
// avatar, where the person agrees to that.
func TestProof(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"official_qr", "chat_code"} {
		for _, scope := range []string{"snsapi_base", "snsapi_userinfo"} {
			t.Run(method+" "+scope, func(t *testing.T) {
				t.Parallel()
				m := newMethods(t, methodOptions{openPlatform: "ours", options: options{account: "web_oauth " + scope}})
				phone, b := m.wechat.Phone("alice"), m.browser()
				phone.SetProfile("小明", "https://thirdwx.qlogo.cn/mmopen/x/132")
				a, link := m.proofBegun(method, b, phone)
				inside := m.inside(phone)
				v := m.follow(inside, link, "allow")
				if v.Status != http.StatusOK || !slices.Contains(offered(v.Body), a.Number) || len(offered(v.Body)) != 3 || v.hops[len(v.hops)-1] != link {
					t.Fatalf("the link leads to %q: %d %s", v.hops, v.Status, v.Body)
				}
				if got := inside.get(m.path(link)); got.Status != http.StatusOK || len(offered(got.Body)) != 3 {
					t.Errorf("the link again: %d", got.Status)
				}
				a.stays("scanned", "opening the link")
				if got := inside.do(http.MethodPost, m.path(link), url.Values{"choice": {a.Number}}); got.Status != http.StatusOK {
					t.Fatalf("confirming: %d %s", got.Status, got.Body)
				}
				a.consume()
				header := m.identity(b)
				name, avatar := "", ""
				if scope == "snsapi_userinfo" {
					name, avatar = url.PathEscape("小明"), "https://thirdwx.qlogo.cn/mmopen/x/132"
				}
				for field, want := range map[string]string{"Openid": phone.OpenID(appID), "Unionid": phone.UnionID(appID), "Name": name, "Avatar": avatar} {
					if got := header.Get("X-User-" + field); got != want {
						t.Errorf("X-User-%s is %q, want %q", field, got, want)
					}
				}
				if got := m.follow(inside, link, "allow"); !strings.Contains(got.Body, `value="revoke"`) {
					t.Errorf("once it is done the link shows %d %s", got.Status, got.Body)
				}
			})
		}
	}
}

// TestProofOtherPerson: the link is passed on, or stolen. Whoever else opens it, in
// WeChat or outside, sees no number and changes nothing; and the person who scanned
// can still confirm.
func TestProofOtherPerson(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"official_qr", "chat_code"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{options: options{account: "web_oauth snsapi_base"}})
			alice, bob, b := m.wechat.Phone("alice"), m.wechat.Phone("bob"), m.browser()
			a, link := m.proofBegun(method, b, alice)
			hers, his, plain := m.inside(alice), m.inside(bob), m.browser()
			v := m.follow(his, link, "allow")
			if v.Status != http.StatusForbidden || len(offered(v.Body)) > 0 || !strings.Contains(v.Body, "扫码") {
				t.Errorf("another person opens the link: %d %s", v.Status, v.Body)
			}
			if got := plain.get(m.path(link)); got.Status != http.StatusForbidden || len(offered(got.Body)) > 0 || !strings.Contains(got.Body, "请在微信中打开") {
				t.Errorf("a plain browser opens the link: %d %s", got.Status, got.Body)
			}
			for _, choice := range []string{a.Number, "cancel", otherNumber(a.Number), ""} {
				form := url.Values{"choice": {choice}}
				if got := his.do(http.MethodPost, m.path(link), form); got.Status != http.StatusSeeOther || !strings.Contains(got.Header.Get("Location"), "/connect/oauth2/authorize?") {
					t.Errorf("another person answers %q: %d %s", choice, got.Status, got.Body)
				}
				if got := plain.do(http.MethodPost, m.path(link), form); got.Status != http.StatusForbidden {
					t.Errorf("a plain browser answers %q: %d %s", choice, got.Status, got.Body)
				}
				if got := hers.do(http.MethodPost, m.path(link), form); got.Status != http.StatusSeeOther {
					t.Errorf("the right person, not proven yet, answers %q: %d %s", choice, got.Status, got.Body)
				}
				a.stays("scanned", "answers without a proof")
			}
			if v := m.follow(hers, link, "allow"); v.Status != http.StatusOK {
				t.Fatalf("the right person opens the link: %d %s", v.Status, v.Body)
			}
			// That she is proven in her browser proves nothing of his.
			if got := his.do(http.MethodPost, m.path(link), url.Values{"choice": {a.Number}}); got.Status != http.StatusSeeOther {
				t.Errorf("another person after the right one: %d", got.Status)
			}
			a.stays("scanned", "answers of another")
			if got := hers.do(http.MethodPost, m.path(link), url.Values{"choice": {a.Number}}); got.Status != http.StatusOK {
				t.Fatalf("confirming: %d", got.Status)
			}
			a.consume()
			m.isSignedInAs(b, alice, appID)
		})
	}
}

// TestProofCallback: the address that WeChat leads back to is good once, in that
// browser, for that link; called twice it leads to the same page.
func TestProofCallback(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: options{account: "web_oauth snsapi_base", refusal: wechattest.RefusalStateOnly}})
	alice, bob := m.wechat.Phone("alice"), m.wechat.Phone("bob")
	a, link := m.proofBegun("official_qr", m.browser(), alice)
	hers, his := m.inside(alice), m.inside(bob)
	his.beginBy("chat_code") // so that it has a cookie
	path := m.follow(hers, link, "allow").callback(m)
	for range 2 {
		if got := hers.back(path); got.Status != http.StatusSeeOther || m.origin()+got.Header.Get("Location") != link || got.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("the callback again: %d to %q", got.Status, got.Header.Get("Location"))
		}
	}
	for name, b := range map[string]*browser{"another person": his, "a plain browser": m.browser()} {
		if got := b.back(path); got.Status != http.StatusNotFound || strings.Contains(got.Body, link) {
			t.Errorf("%s with the same address: %d %s", name, got.Status, got.Body)
		}
	}
	if calls := m.account.Calls(wechattest.EndpointOAuthToken); calls != 1 {
		t.Errorf("%d exchanges", calls)
	}
	state := stateIn(path)
	for what, forged := range map[string]string{"an invented state": "p" + strings.Repeat("A", 26), "an attempt's state": strings.TrimPrefix(state, "p"), "no state": "p"} {
		if got := hers.back("/_wechat/oauth/callback?code=" + codeIn(path) + "&state=" + forged); got.Status != http.StatusNotFound {
			t.Errorf("%s: %d", what, got.Status)
		}
	}
	a.stays("scanned", "callbacks")

	// Bob's own way to WeChat, with a code of Alice's that was used: it names nobody.
	first := his.get(m.path(link))
	to, err := url.Parse(first.Header.Get("Location"))
	if err != nil || first.Status != http.StatusSeeOther {
		t.Fatalf("the link leads to %q (%v)", first.Header.Get("Location"), err)
	}
	if got := his.back("/_wechat/oauth/callback?code=" + codeIn(path) + "&state=" + to.Query().Get("state")); got.Status != http.StatusBadGateway {
		t.Errorf("a used code: %d", got.Status)
	}
	if got := his.do(http.MethodPost, m.path(link), url.Values{"choice": {a.Number}}); got.Status != http.StatusSeeOther {
		t.Errorf("an answer after it: %d", got.Status)
	}
	alice.SetSnapshot(true)
	if v := m.follow(m.inside(alice), link, "allow"); v.Status != http.StatusOK {
		t.Errorf("who is proven already: %d", v.Status)
	}
	a.stays("scanned", "all of it")
}

// TestProofVirtualUser: a snapshot page names nobody, so it proves nothing.
func TestProofVirtualUser(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: options{account: "web_oauth snsapi_userinfo", refusal: wechattest.RefusalAuthDeny}})
	phone := m.wechat.Phone("alice")
	a, link := m.proofBegun("official_qr", m.browser(), phone)
	b := m.inside(phone)
	if v := m.follow(b, link, "refuse"); v.Status != http.StatusForbidden || len(offered(v.Body)) > 0 {
		t.Errorf("refusing: %d %s", v.Status, v.Body)
	}
	phone.SetSnapshot(true)
	if v := m.follow(b, link, "allow"); v.Status != http.StatusForbidden || !strings.Contains(v.Body, "使用完整服务") || len(offered(v.Body)) > 0 {
		t.Errorf("a virtual user: %d %s", v.Status, v.Body)
	}
	a.stays("scanned", "a virtual user")
	phone.SetSnapshot(false)
	if v := m.follow(b, link, "allow"); v.Status != http.StatusOK || len(offered(v.Body)) != 3 {
		t.Errorf("the person: %d %s", v.Status, v.Body)
	}
}

// TestProofsAreCounted: who has a link can make the gateway ask WeChat about it some
// times, not more; that ends neither the sign-in of a person who is proven already,
// nor takes turns from the other people of that address.
func TestProofsAreCounted(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{limits: "limit attempts off\nlimit confirms 3/1h", options: options{account: "web_oauth snsapi_base"}})
	alice, b := m.wechat.Phone("alice"), m.browser()
	a, link := m.proofBegun("official_qr", b, alice)
	hers, his := m.inside(alice), m.inside(m.wechat.Phone("bob"))
	if v := m.follow(hers, link, "allow"); v.Status != http.StatusOK {
		t.Fatalf("the link: %d %s", v.Status, v.Body)
	}
	statuses := together(40, func(i int) int {
		if i%2 == 0 {
			return his.get(m.path(link)).Status
		}
		return his.do(http.MethodPost, m.path(link), url.Values{"choice": {a.Number}}).Status
	})
	if statuses[http.StatusSeeOther] != 19 || statuses[http.StatusTooManyRequests] != 21 {
		t.Errorf("forty visits: %v, want 19 ways to WeChat", statuses)
	}
	if got := his.get(m.path(link)); got.Header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", got.Header)
	}
	other, otherLink := m.proofBegun("official_qr", m.browser(), m.wechat.Phone("carol"))
	carols := m.inside(m.wechat.Phone("carol"))
	if v := m.follow(carols, otherLink, "allow"); v.Status != http.StatusOK {
		t.Fatalf("another link: %d %s", v.Status, v.Body)
	}
	a.stays("scanned", "all of it")
	for in, at := range map[*browser]struct {
		a    *shown
		link string
	}{hers: {a, link}, carols: {other, otherLink}} {
		if got := in.do(http.MethodPost, m.path(at.link), url.Values{"choice": {at.a.Number}}); got.Status != http.StatusOK {
			t.Errorf("confirming: %d %s", got.Status, got.Body)
		}
		at.a.consume()
	}
}
