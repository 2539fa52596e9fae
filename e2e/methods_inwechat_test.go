// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// TestInWeChat: a site that is open inside WeChat asks WeChat who that is, and shows
// no code. With snsapi_userinfo it learns name and avatar, too.
func TestInWeChat(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"snsapi_base", "snsapi_userinfo"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{openPlatform: "ours", options: options{account: "web_oauth " + scope}})
			phone := m.wechat.Phone("alice")
			phone.SetProfile("小明", "https://thirdwx.qlogo.cn/mmopen/x/132")
			b := m.inside(phone)
			if got := b.offeredMethods(); got[0] != "in_wechat" {
				t.Errorf("the page inside WeChat offers %q", got)
			}
			a := b.beginBy("in_wechat")
			want := "^" + regexp.QuoteMeta(m.api.URL+"/connect/oauth2/authorize?appid="+appID+"&redirect_uri="+url.QueryEscape(m.origin()+"/_wechat/oauth/callback")+
				"&response_type=code&scope="+scope+"&state=") + "[A-Z2-7]{26}#wechat_redirect$"
			if !regexp.MustCompile(want).MatchString(a.Redirect) || a.Frame != "" {
				t.Errorf("WeChat's page is %q, in a frame %q", a.Redirect, a.Frame)
			}
			v := m.follow(b, a.Redirect, "allow")
			if v.Status != http.StatusOK || v.hops[len(v.hops)-1] != m.origin()+"/after?x=1" {
				t.Fatalf("authorizing leads to %q: %d %s", v.hops, v.Status, v.Body)
			}
			header := m.identity(b)
			name, avatar, unionID := "", "", ""
			if scope == "snsapi_userinfo" {
				name, avatar, unionID = url.PathEscape("小明"), "https://thirdwx.qlogo.cn/mmopen/x/132", phone.UnionID(appID)
			}
			for field, want := range map[string]string{"Openid": phone.OpenID(appID), "Unionid": unionID, "Name": name, "Avatar": avatar} {
				if got := header.Get("X-User-" + field); got != want {
					t.Errorf("X-User-%s is %q, want %q", field, got, want)
				}
			}
		})
	}
}

// TestInWeChatOnlyThere: elsewhere, in 企业微信 too, which calls itself both, the page
// does not offer what works inside WeChat alone.
func TestInWeChatOnlyThere(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: options{account: "web_oauth snsapi_base"}})
	const chrome = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
	for name, tt := range map[string]struct{ agent, first string }{
		"WeChat, phone":    {chrome + "Mobile Safari/537.36 MicroMessenger/8.0.50.2701(0x28003236) WeChat/arm64", "in_wechat"},
		"WeChat, computer": {chrome + "Safari/537.36 NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) WindowsWechat(0x63090b13)", "in_wechat"},
		"企业微信, phone":      {chrome + "Mobile Safari/537.36 wxwork/4.1.30 MicroMessenger/7.0.1 Language/zh", "mini_qr"},
		"企业微信, computer":   {chrome + "Safari/537.36 wxwork/4.1.30 (MicroMessenger/6.2) WindowsWechat", "official_qr"},
		"another browser":  {chrome + "Safari/537.36", "official_qr"},
		"phone":            {chrome + "Mobile Safari/537.36", "mini_qr"},
	} {
		got := m.browser().offeredMethods(header("User-Agent", tt.agent))
		if got[0] != tt.first || (tt.first != "in_wechat") == strings.Contains(strings.Join(got, " "), "in_wechat") {
			t.Errorf("%s is offered %q", name, got)
		}
	}
}

// TestQ15VirtualUser: WeChat opens the page as a snapshot and names a visitor who
// does not exist. Nobody is registered and signed in; the page says what to do, and
// then the true person gets in.
func TestQ15VirtualUser(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"snsapi_base", "snsapi_userinfo"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{options: options{account: "web_oauth " + scope}})
			phone := m.wechat.Phone("alice")
			phone.SetSnapshot(true)
			b := m.inside(phone)
			a := b.beginBy("in_wechat")
			v := m.follow(b, a.Redirect, "allow")
			if v.Status != http.StatusForbidden || !strings.Contains(v.Body, "使用完整服务") || len(v.Header["Set-Cookie"]) > 0 {
				t.Errorf("a virtual user: %d %s", v.Status, v.Body)
			}
			if got := b.back(v.callback(m)); got.Status != http.StatusForbidden || !strings.Contains(got.Body, "使用完整服务") {
				t.Errorf("the callback again: %d %s", got.Status, got.Body)
			}
			a.stays("denied", "a virtual user")
			if a.Reason != "virtual_user" || b.signedIn() || strings.Contains(m.output.String(), `"msg":"signed in"`) {
				t.Errorf("the reason is %q", a.Reason)
			}
			if calls := m.account.Calls(wechattest.EndpointUserInfo); calls != 0 {
				t.Errorf("the profile of nobody is asked for %d times", calls)
			}
			phone.SetSnapshot(false)
			m.isSignedInAs(m.byWeChat(phone), phone, appID)
		})
	}
}

// TestInWeChatRefused: a person refuses to show the profile.
func TestInWeChatRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		refusal wechattest.Refusal
		told    bool
	}{{"no redirect", wechattest.RefusalStays, false}, {"state only", wechattest.RefusalStateOnly, true}, {"authdeny", wechattest.RefusalAuthDeny, true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{options: options{refusal: tt.refusal, account: "web_oauth snsapi_userinfo"}})
			b := m.inside(m.wechat.Phone("alice"))
			a := b.beginBy("in_wechat")
			v := m.follow(b, a.Redirect, "refuse")
			if !tt.told {
				a.stays("pending", "refusing")
				return
			}
			if v.Status != http.StatusForbidden || b.signedIn() {
				t.Errorf("refusing: %d %s", v.Status, v.Body)
			}
			a.stays("cancelled", "refusing")
			m.isSignedInAs(m.byWeChat(m.wechat.Phone("alice")), m.wechat.Phone("alice"), appID)
		})
	}
}

// TestInWeChatTwice: WeChat's browser calls back twice, as it has been seen to. The
// code is exchanged once, and both calls lead to the page first asked for.
func TestInWeChatTwice(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: options{account: "web_oauth snsapi_userinfo"}})
	phone := m.wechat.Phone("alice")
	b := m.inside(phone)
	v := m.follow(b, b.beginBy("in_wechat").Redirect, "allow")
	got := together(20, func(int) int { return b.back(v.callback(m)).Status })
	if got[http.StatusSeeOther] != 20 || !b.signedIn() {
		t.Errorf("the callback again: %v", got)
	}
	if calls := m.account.Calls(wechattest.EndpointOAuthToken); calls != 1 {
		t.Errorf("%d exchanges", calls)
	}
	for name, other := range map[string]*browser{"another person": m.inside(m.wechat.Phone("bob")), "a plain browser": m.browser()} {
		if got := other.back(v.callback(m)); got.Status != http.StatusNotFound || other.signedIn() {
			t.Errorf("%s with the same address: %d", name, got.Status)
		}
	}
}
