// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// everyWay signs a person in by every method, each in a browser of its own.
func (m *methods) everyWay(phone *wechattest.Phone) map[string]*browser {
	m.t.Helper()
	all := map[string]*browser{"mini_qr": m.browser(), "website_qr": m.browser(), "chat_code": m.browser(), "official_qr": m.browser()}
	m.byMini(all["mini_qr"], phone)
	m.byWebsite(all["website_qr"], phone)
	m.signInWith(all["official_qr"], phone.Name())
	m.byChat(all["chat_code"], phone)
	return all
}

var accountOf = map[string]string{"mini_qr": miniAppID, "website_qr": websiteAppID, "official_qr": appID, "chat_code": appID, "in_wechat": appID}

// TestQ15OnePerson: where WeChat gives a unionid, one person is one user by whatever
// method, at once or as soon as it is known. Each session has the openid of the
// account by which it came to be.
func TestQ15OnePerson(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{openPlatform: "ours"})
	// Nobody hears of the people of the official account but their openid.
	m.wechat.Fail(wechattest.EndpointSubscriber, 0, wechattest.Failure{ErrCode: 48001, ErrMsg: "api unauthorized"})
	alice := m.wechat.Phone("alice")
	all := m.everyWay(alice)
	ids := m.userIDs(all, alice)
	if ids["mini_qr"] != ids["website_qr"] || ids["official_qr"] != ids["chat_code"] || ids["mini_qr"] == ids["official_qr"] {
		t.Fatalf("by unionid and by openid: %v", ids)
	}
	// Now the official account learns the unionid, too.
	m.reloadWith("chat_code on", "chat_code on\nweb_oauth snsapi_userinfo")
	all["in_wechat"] = m.byWeChat(alice)
	// She is whom the unionid named before; the sessions of the other user, who is
	// no more, have ended.
	for _, method := range []string{"official_qr", "chat_code"} {
		if all[method].signedIn() {
			t.Errorf("the session by %s goes on", method)
		}
		delete(all, method)
	}
	merged := m.userIDs(all, alice)
	for method, id := range merged {
		if id != ids["mini_qr"] {
			t.Errorf("by %s she is %s, not %s", method, id, ids["mini_qr"])
		}
	}
	// Once more, now that all is known; with web_oauth off no link wants a proof.
	m.reloadWith("web_oauth snsapi_userinfo", "")
	for method, id := range m.userIDs(m.everyWay(alice), alice) {
		if id != merged["in_wechat"] {
			t.Errorf("later, by %s, she is %s, not %s", method, id, merged["in_wechat"])
		}
	}
	bob := m.browser()
	m.byMini(bob, m.wechat.Phone("bob"))
	if bob.userID() == merged["in_wechat"] {
		t.Error("two people are one")
	}
}

// TestQ15OnePersonAtOnce: a scan tells the openid alone, and so does a message; WeChat
// says who that is to the accounts of the same company. So the person is one user from
// the first sign-in on, whichever comes first. Each openid is asked about once.
func TestQ15OnePersonAtOnce(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{openPlatform: "ours"})
	seen := make(map[string]string)
	for _, name := range []string{"alice", "bob"} {
		phone := m.wechat.Phone(name)
		for range 2 {
			all := m.everyWay(phone)
			for method, id := range m.userIDs(all, phone) {
				if got := m.identity(all[method]).Get("X-User-Unionid"); got != phone.UnionID(appID) {
					t.Errorf("%s by %s has the unionid %q", name, method, got)
				}
				seen[id] = name
			}
		}
	}
	if len(seen) != 2 {
		t.Errorf("%d users, want one for each person: %v", len(seen), seen)
	}
	if got := m.wechat.Calls(wechattest.EndpointSubscriber); got != 2 {
		t.Errorf("WeChat is asked %d times, want once for each person", got)
	}
}

// TestUnionIDNotToBeHad: what keeps WeChat from giving a unionid keeps nobody from
// signing in, and an account that has none to give is not asked again and again.
func TestUnionIDNotToBeHad(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		failure wechattest.Failure
		kind    wechattest.Kind
	}{
		{name: "bound to nothing"},
		{name: "no right", kind: wechattest.PersonalSubscription},
		{name: "refused for good", failure: wechattest.Failure{ErrCode: 48001, ErrMsg: "api unauthorized"}},
		{name: "hangs", failure: wechattest.Failure{Hang: true}},
		{name: "garbage", failure: wechattest.Failure{HTML: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{})
			if tt.kind != 0 {
				_ = m.account.Configure(func(a *wechattest.Account) { a.Kind = tt.kind })
			} else if tt.failure != (wechattest.Failure{}) {
				m.wechat.Fail(wechattest.EndpointSubscriber, 0, tt.failure)
			}
			for _, name := range []string{"alice", "bob", "alice"} {
				b := m.browser()
				m.byChat(b, m.wechat.Phone(name))
				if got := m.identity(b).Get("X-User-Unionid"); got != "" || !b.signedIn() {
					t.Errorf("%s has the unionid %q", name, got)
				}
			}
			if got := m.wechat.Calls(wechattest.EndpointSubscriber); got != 1 {
				t.Errorf("WeChat is asked %d times, want once", got)
			}
		})
	}
}

// userIDs asks who is signed in, and checks the openid.
func (m *methods) userIDs(all map[string]*browser, phone *wechattest.Phone) map[string]string {
	m.t.Helper()
	ids := make(map[string]string)
	for method, b := range all {
		header := m.identity(b)
		ids[method] = header.Get("X-User-Id")
		if got, want := header.Get("X-User-Openid"), phone.OpenID(accountOf[method]); got != want || ids[method] == "" {
			m.t.Errorf("by %s the openid is %q, want %q", method, got, want)
		}
	}
	return ids
}

// TestQ15WithoutUnionID: an openid means nothing outside its account. Without a
// unionid the accounts know different users, even if their names are the same.
func TestQ15WithoutUnionID(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	seen := make(map[string]string)
	for _, name := range []string{"alice", "bob"} {
		phone := m.wechat.Phone(name)
		phone.SetProfile("小明", "")
		for method, id := range m.userIDs(m.everyWay(phone), phone) {
			who := name + " with " + accountOf[method]
			if before := seen[id]; before != "" && before != who {
				t.Errorf("%s is user %s, and so is %s", who, id, before)
			}
			seen[id] = who
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d users, want three accounts of two people: %v", len(seen), seen)
	}
}

// TestBrokenAccounts: WeChat refuses one account after the other. Its method says so
// and stands last, the others work, and the log tells the operator the cure, once.
func TestBrokenAccounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, account string
		breaks                func(m *methods)
		cure                  string
	}{
		{"48001", "official_qr", appID, func(m *methods) {
			_ = m.account.Configure(func(a *wechattest.Account) { a.Kind = wechattest.UnverifiedService })
		}, "已认证的服务号"},
		{"40164", "mini_qr", miniAppID, func(m *methods) {
			_ = m.mini.Configure(func(a *wechattest.Account) { a.IPWhitelist = []string{"192.0.2.1"} })
		}, "IP白名单"},
		{"quota", "mini_qr", miniAppID, func(m *methods) {
			m.wechat.Fail(wechattest.EndpointMiniCode, 0, wechattest.Failure{ErrCode: 45009, ErrMsg: "reach max api daily quota limit"})
		}, "45009"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{options: options{account: "notify off"}})
			tt.breaks(m)
			before := m.browser().offeredMethods()
			for range 3 {
				got := m.browser().do(http.MethodPost, "/_wechat/attempts", map[string]string{"method": tt.method})
				seconds, err := strconv.Atoi(got.Header.Get("Retry-After"))
				if got.Status != http.StatusServiceUnavailable || got.json(t)["error"] != "wechat_unavailable" || err != nil || seconds < 1 {
					t.Errorf("%s: %d %s, Retry-After %q", tt.method, got.Status, got.Body, got.Header.Get("Retry-After"))
				}
			}
			after := m.browser().offeredMethods()
			if after[len(after)-1] != tt.method || before[len(before)-1] == tt.method || len(after) != len(before) {
				t.Errorf("offered are %q, then %q", before, after)
			}
			alice := m.wechat.Phone("alice")
			m.byChat(m.browser(), alice)
			m.byWebsite(m.browser(), alice)
			if tt.method == "mini_qr" {
				m.signIn("alice")
			} else {
				m.byMini(m.browser(), alice)
			}
			m.loggedOnce(tt.account, tt.cure)
		})
	}
}

// loggedOnce fails the test unless one line of ours that is more than information
// names the account, and that line holds the text.
func (m *methods) loggedOnce(account, cure string) {
	m.t.Helper()
	var lines []string
	for line := range strings.Lines(m.output.String()) {
		if strings.Contains(line, account) && strings.Contains(line, `"logger":"http.handlers.wechat_auth"`) && !strings.Contains(line, `"level":"info"`) {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], cure) {
		m.t.Errorf("the log says %q, want one line with %q", lines, cure)
	}
}

// TestBrokenExchange: WeChat does not take the website's secret. Who has agreed is
// told so, nobody gets in, and the log tells the operator the cure, once.
func TestBrokenExchange(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	if err := m.website.Configure(func(a *wechattest.Account) { a.Secret = "another-secret-never-to-be-logged" }); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b := m.browser()
		if got := b.back(m.agree(m.wechat.Phone(fmt.Sprint("person", i)), b.beginBy("website_qr"))); got.Status != http.StatusBadGateway || b.signedIn() {
			t.Errorf("callback: %d %s", got.Status, got.Body)
		}
	}
	m.loggedOnce(websiteAppID, "AppSecret")
	m.byMini(m.browser(), m.wechat.Phone("alice"))
}

// TestMadeUpCodes: visitors come to the callback with codes that they have made up or
// used before. That is nothing that an operator could mend: the log tells of it as
// information, a line for each account, and the method stays where it is offered.
func TestMadeUpCodes(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: options{account: "web_oauth snsapi_base"}})
	before := m.browser().offeredMethods()
	alice := m.wechat.Phone("alice")
	first := m.browser()
	used, err := url.Parse(m.agree(alice, first.beginBy("website_qr")))
	if err != nil {
		t.Fatal(err)
	}
	first.get(used.String())
	for _, code := range []string{"made-up", "0123456789abcdefghijklmnopqrstuv", used.Query().Get("code")} {
		for _, b := range []*browser{m.browser(), m.inside(alice)} {
			for _, method := range []string{"website_qr", "in_wechat"} {
				a := b.beginBy(method)
				b.get("/_wechat/oauth/callback?" + url.Values{"state": {a.oauthState()}, "code": {code}}.Encode())
			}
		}
	}
	for _, account := range []string{appID, websiteAppID} {
		lines := make(map[string]int)
		for line := range strings.Lines(m.output.String()) {
			if !strings.Contains(line, account) || !strings.Contains(line, `"logger":"http.handlers.wechat_auth"`) {
				continue
			}
			var entry struct{ Level, Msg, Cure string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			if entry.Level != "info" || entry.Cure != "" {
				t.Errorf("%s: the operator is told: %s", account, line)
			}
			lines[entry.Msg]++
		}
		if got := lines["a visitor has brought a code that WeChat does not accept: used, too old or made up"]; got != 1 {
			t.Errorf("%s: %d lines tell of it among %v", account, got, lines)
		}
	}
	if after := m.browser().offeredMethods(); !slices.Equal(after, before) {
		t.Errorf("offered are %q, then %q", before, after)
	}
	if !first.signedIn() {
		t.Error("the code was of no use to the browser that it was for")
	}
	m.noSecrets(m.output.String())
}
