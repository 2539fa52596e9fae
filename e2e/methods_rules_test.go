// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// TestQ2MethodsOtherBrowsers: for a browser that did not begin an attempt there is
// none, of whatever method: the answers are those for an invented id.
func TestQ2MethodsOtherBrowsers(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: options{account: "web_oauth snsapi_base"}})
	own, other := m.browser(), m.browser()
	other.beginBy("mini_qr")
	for _, method := range login.Methods {
		a := own.beginBy(method)
		for _, b := range []*browser{other, m.browser()} {
			for _, request := range []struct{ verb, path string }{
				{"GET", ""}, {"GET", "/events"}, {"DELETE", ""}, {"POST", "/session"},
			} {
				path := func(id string) string { return "/_wechat/attempts/" + id + request.path }
				got, unknown := b.do(request.verb, path(a.ID), nil), b.do(request.verb, path(strings.Repeat("A", 26)), nil)
				if got.Status != http.StatusNotFound || got.Status != unknown.Status || got.Body != unknown.Body {
					t.Errorf("%s, %s %s: %d %s, want %d %s", method, request.verb, request.path, got.Status, got.Body, unknown.Status, unknown.Body)
				}
			}
		}
		a.stays("pending", method)
	}
}

// TestQ5MethodsClientChoosesNothing: the browser sends an id, a scene, a state, a
// code, a number and a person of its own. All that it gets is the server's.
func TestQ5MethodsClientChoosesNothing(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: options{account: "web_oauth snsapi_base"}})
	const chosen = "CHOSENBYTHECLIENT222222222"
	for _, method := range login.Methods {
		body := map[string]any{
			"method": method, "id": chosen, "scene": chosen, "state": chosen, "token": chosen, "ticket": chosen, "openid": chosen,
			"app_id": miniAppID, "code": "123456", "number": "11", "redirect": chosen, "confirm": "off", "expires_at": "2099-01-01T00:00:00Z",
		}
		for range 3 {
			got := m.browser().do(http.MethodPost, "/_wechat/attempts?state="+chosen+"&scene="+chosen, body)
			if got.Status != http.StatusCreated || strings.Contains(got.Body, chosen) || strings.Contains(got.Body, "2099") || got.json(t)["code"] == "123456" {
				t.Errorf("%s: %d %s", method, got.Status, got.Body)
			}
		}
	}
}

// TestQ6MethodsIdentityFromParameters: the attacker signs in as himself and names the
// victim wherever a request has room for it. He stays himself.
func TestQ6MethodsIdentityFromParameters(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{openPlatform: "ours"})
	mallory, victim := m.wechat.Phone("mallory"), m.wechat.Phone("victim")
	hers := "&openid=" + victim.OpenID(websiteAppID) + "&unionid=" + victim.UnionID(websiteAppID) + "&user_id=1"

	b := m.browser()
	if got := b.back(m.agree(mallory, b.beginBy("website_qr")) + hers); got.Status != http.StatusSeeOther {
		t.Fatalf("callback: %d", got.Status)
	}
	m.isSignedInAs(b, mallory, websiteAppID)

	b = m.browser()
	a := b.beginBy("mini_qr")
	page := m.openMini(mallory, a)
	body := func(more map[string]string) map[string]string {
		for _, name := range []string{"openid", "open_id", "OpenID", "from", "user"} {
			more[name] = victim.OpenID(miniAppID)
		}
		more["unionid"], more["phone"], more["state"] = victim.UnionID(miniAppID), "+8613800000000", "confirmed"
		return more
	}
	got := m.request(page, miniAppID, "scan?openid="+victim.OpenID(miniAppID), body(map[string]string{"scene": page.Scene(), "code": page.Login()}))
	ticket, _ := got.json(t)["ticket"].(string)
	a.stays("scanned", "the scan")
	m.request(page, miniAppID, "confirm?openid="+victim.OpenID(miniAppID), body(map[string]string{"ticket": ticket, "number": a.Number}))
	a.consume()
	m.isSignedInAs(b, mallory, miniAppID)
	if header := m.identity(b); header.Get("X-User-Unionid") != mallory.UnionID(miniAppID) || header.Get("X-User-Phone") != "" {
		t.Errorf("unionid %q, phone %q", header.Get("X-User-Unionid"), header.Get("X-User-Phone"))
	}
}

// TestQ7MethodsAnswersNameNobody: nothing that the browser is told of its attempt says
// who scanned, or would let it answer by itself.
func TestQ7MethodsAnswersNameNobody(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{openPlatform: "ours"})
	phone := m.wechat.Phone("alice")
	phone.SetProfile("nickname-of-alice", "https://thirdwx.qlogo.cn/avatar-of-alice/132")
	var told strings.Builder
	tell := func(a *shown) {
		told.WriteString(a.browser.do(http.MethodGet, "/_wechat/attempts/"+a.ID, nil).Body)
	}
	mini := m.browser().beginBy("mini_qr")
	page := m.openMini(phone, mini)
	ticket := m.ticket(page)
	tell(mini)
	m.request(page, miniAppID, "confirm", map[string]string{"ticket": ticket, "number": mini.Number, "nickname": "nickname-of-alice"})
	tell(mini)
	chat := m.browser().beginBy("chat_code")
	link := m.say(phone, chat.Code).Links()[0]
	tell(chat)
	m.choose(phone, link, chat.Number)
	tell(chat)
	website := m.browser().beginBy("website_qr")
	m.webLogin(phone, website)
	tell(website)
	path := m.agree(phone, website)
	told.WriteString(website.browser.back(path).Body)
	tell(website)
	for _, a := range []*shown{mini, chat} {
		got := a.session()
		told.WriteString(got.Body)
		tell(a)
	}
	for what, value := range map[string]string{
		"openid": phone.OpenID(miniAppID), "openid of the account": phone.OpenID(appID), "openid of the website": phone.OpenID(websiteAppID),
		"unionid": phone.UnionID(appID), "nickname": "nickname-of-alice", "avatar": "avatar-of-alice", "ticket": ticket, "link": link[strings.LastIndex(link, "/")+1:],
	} {
		if strings.Contains(told.String(), value) {
			t.Errorf("the browser is told the %s: %s", what, told.String())
		}
	}
	if strings.Count(told.String(), `"consumed"`) != 3 {
		t.Errorf("the browser is told %s", told.String())
	}
}

// TestG5MethodsClosed: a stranger tries every method where registration is closed. He
// is told so, once and again, and gets no session.
func TestG5MethodsClosed(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: options{users: "registration closed\nallow openid oNobody", account: "web_oauth snsapi_base"}})
	phone := m.wechat.Phone("stranger")
	refused := func(a *shown) {
		t.Helper()
		if a.stays("denied", "a stranger"); a.Reason != "registration_closed" || a.browser.signedIn() {
			t.Errorf("%s: the reason is %q", a.Method, a.Reason)
		}
	}
	for method, b := range map[string]*browser{"website_qr": m.browser(), "in_wechat": m.inside(phone)} {
		a := b.beginBy(method)
		var path string
		if method == "in_wechat" {
			path = m.follow(b, a.Redirect, "allow").callback(m)
		} else {
			path = m.agree(phone, a)
		}
		for range 2 {
			if got := b.back(path); got.Status != http.StatusForbidden || !strings.Contains(got.Body, "<html") || len(got.Header["Set-Cookie"]) > 0 {
				t.Errorf("%s: %d %s", method, got.Status, got.Body)
			}
		}
		refused(a)
	}
	a := m.browser().beginBy("mini_qr")
	page := m.openMini(phone, a)
	m.request(page, miniAppID, "confirm", map[string]string{"ticket": m.ticket(page), "number": a.Number})
	if got := a.session(); got.Status != http.StatusForbidden || got.json(t)["reason"] != "registration_closed" {
		t.Errorf("mini_qr: %d %s", got.Status, got.Body)
	}
	refused(a)
}

// TestMethodsOverTLS signs in by each method over https, where the cookies bear
// prefixes, and with a reload in the middle, which no attempt notices.
func TestMethodsOverTLS(t *testing.T) {
	t.Parallel()
	o := overTLS
	o.account = "web_oauth snsapi_base"
	m := newMethods(t, methodOptions{options: o})
	phone := m.wechat.Phone("alice")
	mini, website := m.browser().beginBy("mini_qr"), m.browser().beginBy("website_qr")
	page := m.openMini(phone, mini)
	ticket, path := m.ticket(page), m.agree(phone, website)
	if err := m.reload(); err != nil {
		t.Fatal(err)
	}
	page.Client().CloseIdleConnections() // to the server that has gone: a POST on one is not repeated
	if got := m.request(page, miniAppID, "confirm", map[string]string{"ticket": ticket, "number": mini.Number}); got.Status != http.StatusOK {
		t.Fatalf("confirm: %d %s", got.Status, got.Body)
	}
	mini.consume()
	if got := website.browser.back(path); got.Status != http.StatusSeeOther || !strings.HasPrefix(got.Header.Get("Set-Cookie"), "__Host-wechat_session=") {
		t.Fatalf("callback: %d %v", got.Status, got.Header)
	}
	m.isSignedInAs(mini.browser, phone, miniAppID)
	m.isSignedInAs(website.browser, phone, websiteAppID)
	m.isSignedInAs(m.byWeChat(phone), phone, appID)
}

// TestQ3WebsiteCallbackAndPage: the page sees that the attempt is confirmed and asks
// for the session while the callback makes one. There is one, whoever is faster.
func TestQ3WebsiteCallbackAndPage(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	for range 5 {
		b := m.browser()
		a := b.beginBy("website_qr")
		path, before := m.agree(m.wechat.Phone("alice"), a), strings.Count(m.output.String(), `"msg":"signed in"`)
		got := together(100, func(i int) int {
			if i%2 == 0 {
				return b.back(path).Status
			}
			return b.do(http.MethodPost, "/_wechat/attempts/"+a.ID+"/session", nil).Status
		})
		if sessions := strings.Count(m.output.String(), `"msg":"signed in"`) - before; sessions != 1 || !b.signedIn() || got[http.StatusSeeOther] != 50 || got[http.StatusOK] > 1 {
			t.Errorf("%d sessions; answers: %v", sessions, got)
		}
	}
	if calls := m.website.Calls(wechattest.EndpointOAuthToken); calls != 5 {
		t.Errorf("%d exchanges, want 5", calls)
	}
}
