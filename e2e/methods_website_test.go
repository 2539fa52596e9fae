// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// TestWebsiteQR walks the whole way: WeChat's page in a frame or on its own, a
// person who scans and agrees, and a callback that signs in and leaves a clean URL.
func TestWebsiteQR(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{openPlatform: "ours"})
	phone, b := m.wechat.Phone("alice"), m.browser()
	phone.SetProfile("小明", "https://thirdwx.qlogo.cn/mmopen/x/132")
	a := b.beginBy("website_qr")
	callback := url.QueryEscape(m.origin() + "/_wechat/oauth/callback")
	for what, link := range map[string]string{"redirect": a.Redirect, "frame": a.Frame} {
		extra := ""
		if what == "frame" {
			extra = "&login_type=jssdk&self_redirect=false(&[a-z_]+=[^&#]*)*"
		}
		// WeChat refuses any other order.
		want := regexp.MustCompile("^" + regexp.QuoteMeta(m.api.URL+"/connect/qrconnect?appid="+websiteAppID+"&redirect_uri="+callback+
			"&response_type=code&scope=snsapi_login&state=") + "[A-Z2-7]{26}" + extra + "#wechat_redirect$")
		if !want.MatchString(link) {
			t.Errorf("the %s is %q", what, link)
		}
		if got := m.outside().get(link); got.Status != http.StatusOK || !strings.Contains(got.Body, "/connect/qrcode/") {
			t.Errorf("WeChat's page by the %s: %d %s", what, got.Status, got.Body)
		}
	}
	login := m.webLogin(phone, a)
	a.stays("pending", "scan on WeChat's page")
	target, err := login.Confirm()
	if err != nil {
		t.Fatal(err)
	}
	a.stays("pending", "agreement")
	got := b.back(m.path(target))
	if got.Status != http.StatusSeeOther || got.Header.Get("Location") != "/after?x=1" || got.Header.Get("Referrer-Policy") != "no-referrer" ||
		got.Header.Get("Cache-Control") != "no-store" || strings.Contains(got.Body, "code=") || strings.Contains(got.Body, a.oauthState()) {
		t.Errorf("callback: %d %v %s", got.Status, got.Header, got.Body)
	}
	checkCookie(t, got, "wechat_session")
	if a.state() != "consumed" {
		t.Errorf("the attempt is %s", a.State)
	}
	header := m.identity(b)
	for name, want := range map[string]string{
		"X-User-Openid": phone.OpenID(websiteAppID), "X-User-Unionid": phone.UnionID(websiteAppID),
		"X-User-Name": url.PathEscape("小明"), "X-User-Avatar": "https://thirdwx.qlogo.cn/mmopen/x/132",
	} {
		if got := header.Values(name); len(got) != 1 || got[0] != want || want == "" {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestWebsiteTwice: the callback comes twice, because WeChat or the visitor repeats
// it. The code is exchanged once; both lead to the same place; and the second brings
// the session of the first, whose answer may have been lost. It brings back none
// that has ended.
func TestWebsiteTwice(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	b, lossy := m.browser(), m.browser()
	path := m.agree(m.wechat.Phone("alice"), b.beginBy("website_qr"))
	lost := lossy.get(path, header("Cookie", b.cookieValue())) // b never sees this answer
	if lost.Status != http.StatusSeeOther || !lossy.signedIn() || b.signedIn() {
		t.Fatalf("callback: %d", lost.Status)
	}
	again := b.back(path)
	if again.Status != http.StatusSeeOther || again.Header.Get("Location") != lost.Header.Get("Location") || !b.signedIn() {
		t.Errorf("the callback again: %d to %q; signed in: %v", again.Status, again.Header.Get("Location"), b.signedIn())
	}
	if calls, sessions := m.website.Calls(wechattest.EndpointOAuthToken), strings.Count(m.output.String(), `"msg":"signed in"`); calls != 1 || sessions != 1 {
		t.Errorf("%d exchanges, %d sessions", calls, sessions)
	}
	if lossy.userID() != b.userID() {
		t.Error("the second callback brings somebody else")
	}
	b.do(http.MethodPost, "/_wechat/logout", url.Values{})
	if got := b.back(path); got.Status != http.StatusSeeOther || b.signedIn() {
		t.Errorf("after signing out the callback signs in again: %d", got.Status)
	}
}

// TestQ3WebsiteAtOnce: two hundred callbacks arrive at once. One exchanges the code,
// and there is one session.
func TestQ3WebsiteAtOnce(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	b := m.browser()
	path := m.agree(m.wechat.Phone("alice"), b.beginBy("website_qr"))
	m.wechat.Fail(wechattest.EndpointOAuthToken, 1, wechattest.Failure{Slow: 300 * time.Millisecond})
	cookie := b.cookieValue()
	bad := make(chan answer, 200)
	statuses := together(200, func(int) int {
		each := m.browser()
		got := each.back(path, header("Cookie", cookie))
		if !each.signedIn() {
			bad <- got
		}
		return got.Status
	})
	if statuses[http.StatusSeeOther] != 200 || len(bad) > 0 {
		t.Errorf("two hundred callbacks: %v, of which %d bring no session", statuses, len(bad))
	}
	if calls, sessions := m.website.Calls(wechattest.EndpointOAuthToken), strings.Count(m.output.String(), `"msg":"signed in"`); calls != 1 || sessions != 1 {
		t.Errorf("%d exchanges, %d sessions", calls, sessions)
	}
}

// TestQ11OtherBrowser: the attacker begins a sign-in, agrees on his own phone, and
// has the victim's browser open the address that WeChat leads back to. There it
// signs nobody in and uses nothing up; nor does it with a guessed state.
func TestQ11OtherBrowser(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	attacker, victim, plain := m.browser(), m.browser(), m.browser()
	victim.beginBy("website_qr") // it has a cookie of its own
	a := attacker.beginBy("website_qr")
	path := m.agree(m.wechat.Phone("mallory"), a)
	for name, b := range map[string]*browser{"another browser": victim, "a browser without cookies": plain} {
		if got := b.back(path); got.Status != http.StatusNotFound || !strings.Contains(got.Body, "<html") || strings.Contains(got.Body, a.oauthState()) || b.signedIn() {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
	}
	code := codeIn(path)
	for _, state := range []string{strings.Repeat("A", 26), a.ID, "p" + strings.Repeat("A", 26), "x", strings.ToLower(a.oauthState())} {
		if got := attacker.back("/_wechat/oauth/callback?code=" + code + "&state=" + state); got.Status != http.StatusNotFound {
			t.Errorf("the state %q: %d", state, got.Status)
		}
	}
	for name, query := range map[string]string{
		"two codes": "code=" + code + "&code=x&state=" + a.oauthState(), "two states": "code=" + code + "&state=x&state=" + a.oauthState(),
		"nothing": "", "garbage": "%zz", "a code that is none": "code=%00%22%3Cscript%3E&state=" + a.oauthState(), "a huge code": "code=" + strings.Repeat("x", 5000) + "&state=" + a.oauthState(),
	} {
		if got := attacker.back("/_wechat/oauth/callback?" + query); got.Status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got.Status)
		}
	}
	if calls := m.website.Calls(wechattest.EndpointOAuthToken); calls != 0 {
		t.Errorf("%d codes were exchanged", calls)
	}
	a.stays("pending", "what other browsers do")
	if got := attacker.back(path); got.Status != http.StatusSeeOther {
		t.Errorf("the browser that began: %d", got.Status)
	}
	m.isSignedInAs(attacker, m.wechat.Phone("mallory"), websiteAppID)
}

// TestWebsiteRefused: a person refuses, in every way in which WeChat tells of it.
func TestWebsiteRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		refusal wechattest.Refusal
		told    bool
	}{{"no redirect", wechattest.RefusalStays, false}, {"state only", wechattest.RefusalStateOnly, true}, {"authdeny", wechattest.RefusalAuthDeny, true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{options: options{refusal: tt.refusal}})
			b, phone := m.browser(), m.wechat.Phone("alice")
			a := b.beginBy("website_qr")
			target, err := m.webLogin(phone, a).Refuse()
			if err != nil || (target != "") != tt.told {
				t.Fatalf("refusing leads to %q (%v)", target, err)
			}
			if !tt.told { // the page gives up, or the time does
				a.stays("pending", "refusing")
				b.do(http.MethodDelete, "/_wechat/attempts/"+a.ID, nil)
				a.stays("cancelled", "giving up")
				return
			}
			for range 2 {
				if got := b.back(m.path(target)); got.Status != http.StatusForbidden || !strings.Contains(got.Body, "<html") {
					t.Errorf("callback: %d %s", got.Status, got.Body)
				}
			}
			a.stays("cancelled", "refusing")
			if a.Reason != "phone" {
				t.Errorf("the reason is %q", a.Reason)
			}
			// A code that comes with the same state after all is of no use.
			code := m.agree(phone, b.beginBy("website_qr"))
			late := regexp.MustCompile(`state=.*`).ReplaceAllString(code, "state="+a.oauthState())
			if got := b.back(late); got.Status < 400 || b.signedIn() {
				t.Errorf("a code after refusing: %d", got.Status)
			}
			if calls := m.website.Calls(wechattest.EndpointOAuthToken); calls != 0 {
				t.Errorf("%d codes were exchanged", calls)
			}
		})
	}
}

// TestWebsiteForgedCode: a code that WeChat does not know, one of another app, and
// one that has been used sign nobody in, end the attempt, and are not tried again.
func TestWebsiteForgedCode(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: options{account: "web_oauth snsapi_base"}})
	alice := m.wechat.Phone("alice")
	victim := m.browser()
	used := m.agree(alice, victim.beginBy("website_qr"))
	victim.back(used)
	inside := m.inside(alice)
	foreign := m.follow(inside, inside.beginBy("in_wechat").Redirect, "allow") // has used it up, too
	exchanges := m.website.Calls(wechattest.EndpointOAuthToken)
	for name, code := range map[string]string{
		"an invented code": strings.Repeat("0", 32), "a code that was used": codeIn(used), "a code of another app": codeIn(foreign.callback(m)),
	} {
		b := m.browser()
		a := b.beginBy("website_qr")
		for i, want := range []int{http.StatusBadGateway, http.StatusGone} {
			got := b.back("/_wechat/oauth/callback?code=" + code + "&state=" + a.oauthState())
			if got.Status != want || !strings.Contains(got.Body, "<html") || strings.Contains(got.Body, code) || b.signedIn() {
				t.Errorf("%s, call %d: %d %s", name, i+1, got.Status, got.Body)
			}
		}
		a.stays("denied", name)
		if a.Reason != "exchange" {
			t.Errorf("%s: the reason is %q", name, a.Reason)
		}
	}
	if calls := m.website.Calls(wechattest.EndpointOAuthToken) - exchanges; calls != 3 {
		t.Errorf("%d exchanges, want 3", calls)
	}
	if !victim.signedIn() {
		t.Error("the replay signs the victim out")
	}
}

// codeIn is the code in the address that WeChat leads back to.
func codeIn(path string) string {
	return regexp.MustCompile(`code=([^&]+)`).FindStringSubmatch(path)[1]
}

// TestQ12CallbackStaysOutOfTheAccessLog: the callback's address holds a code and a
// state. It is in no access line, whatever comes of it.
func TestQ12CallbackStaysOutOfTheAccessLog(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	b := m.browser()
	path := m.agree(m.wechat.Phone("alice"), b.beginBy("website_qr"))
	for _, each := range []*browser{m.browser(), b, b} {
		if got := each.back(path); got.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("callback: %d with Referrer-Policy %q", got.Status, got.Header.Get("Referrer-Policy"))
		}
	}
	for _, edit := range []func(string) string{
		func(p string) string { return p + "&x=1" },
		func(p string) string { return strings.Replace(p, "?", "?x=1&", 1) },
		func(p string) string { return strings.Replace(p, "?", "/?", 1) },
		func(p string) string { return strings.Replace(p, "callback", "%63allback", 1) },
	} {
		b.get(edit(path))
		b.do(http.MethodPost, edit(path), nil)
		b.do(http.MethodHead, edit(path), nil)
	}
	b.get("/_wechat/login")
	m.stop()
	for what, s := range map[string]string{"code": codeIn(path), "path": "/oauth/callback?"} {
		if out := m.output.String(); strings.Contains(out, s) {
			t.Errorf("the %s is in the output: %s", what, lineWith(out, s))
		}
	}
	if !strings.Contains(m.output.String(), `"uri":"/_wechat/login"`) {
		t.Error("there are no access lines: the test reads nothing")
	}
}
