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

// spy notes the secrets that a sign-in has, and what others than its own browser and
// phone are shown meanwhile.
type spy struct {
	*methods
	found secrets
	shown strings.Builder
}

func (s *spy) show(got answer) {
	s.shown.WriteString(got.Body + "\n")
	for name, values := range got.Header {
		s.shown.WriteString(name + ": " + strings.Join(values, " ") + "\n")
	}
}

// TestR3MethodsLeakNothing runs a whole sign-in of each method at debug level, with
// all that can go wrong on the way, and then reads everything that the process has
// printed, all metrics, and what strangers were shown.
func TestR3MethodsLeakNothing(t *testing.T) {
	t.Parallel()
	for method, signIn := range map[string]func(*spy, *wechattest.Phone) *browser{
		"mini_qr": (*spy).eventfulMini, "website_qr": (*spy).eventfulWebsite, "in_wechat": (*spy).eventfulInWeChat,
		"chat_code": (*spy).eventfulChat, "official_qr": (*spy).eventfulProof,
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			box := newMailbox(t)
			o := options{mode: wechattest.Secure, account: "web_oauth snsapi_userinfo", users: box.users("registration open")}
			m := newMethods(t, methodOptions{openPlatform: "ours", options: o})
			s := &spy{methods: m, found: make(secrets)}
			phone := m.wechat.Phone("alice")
			phone.SetProfile("name-never-to-be-logged", "https://thirdwx.qlogo.cn/mmopen/avatar-never-to-be-logged/132")
			b := signIn(s, phone)
			s.found["binding cookie"], s.found["session cookie"] = cookieValueOf(b, "wechat_browser"), cookieValueOf(b, "wechat_session")
			s.found["name"], s.found["avatar"] = "name-never-to-be-logged", "avatar-never-to-be-logged"
			s.found["openid"], s.found["unionid"] = phone.OpenID(accountOf[method]), phone.UnionID(accountOf[method])
			m.eventfulBind(b, m.browser(), box, s.found, s.show)
			m.identity(b)
			b.do(http.MethodPost, "/_wechat/logout", url.Values{"everywhere": {"true"}})
			metrics := m.allMetrics()
			m.stop()
			s.check(m.output.String(), metrics)
		})
	}
}

func (s *spy) check(output, metrics string) {
	s.t.Helper()
	for where, text := range map[string]string{"output": output, "metrics": metrics, "what strangers are shown": s.shown.String()} {
		s.noSecrets(text)
		for what, value := range s.found {
			if tooShort(what, value) {
				s.t.Fatalf("the %s is %q: the test looks for nothing", what, value)
			}
			for line := range strings.Lines(text) {
				if holds(line, what, value) && (where != "output" || !mayHold(line, what)) {
					s.t.Errorf("the %s is in the %s: %s", what, where, line)
				}
			}
		}
	}
	for _, part := range []string{`"msg":"signed in"`, `"level":"debug"`, `"msg":"handled request"`} {
		if !strings.Contains(output, part) {
			s.t.Errorf("the output lacks %s: the test reads nothing", part)
		}
	}
}

func (s *spy) eventfulMini(phone *wechattest.Phone) *browser {
	b := s.browser()
	a := b.beginBy("mini_qr")
	page, mallory := s.openMini(phone, a), s.openMini(s.wechat.Phone("mallory"), a)
	used, refused := page.Login(), page.Login()
	s.found["scene"], s.found["code of wx.login"], s.found["refused code of wx.login"] = page.Scene(), used, refused
	scan := func(p *wechattest.MiniPage, code string) answer {
		return s.request(p, miniAppID, "scan", map[string]string{"scene": p.Scene(), "code": code})
	}
	s.wechat.Fail(wechattest.EndpointCode2Session, 1, wechattest.Failure{ErrCode: 40163, ErrMsg: "code been used " + refused + " " + secret})
	s.show(scan(page, refused))
	ticket, _ := scan(page, used).json(s.t)["ticket"].(string)
	s.found["ticket"] = ticket
	s.show(scan(page, used))
	s.show(scan(mallory, mallory.Login()))
	s.show(s.browser().get("/_wechat/confirm/" + ticket))
	code, err := page.GetPhoneNumber(true)
	if err != nil {
		s.t.Fatal(err)
	}
	s.found["code for the phone number"], s.found["phone number"] = code, phone.PhoneNumber().National
	confirm := map[string]string{"ticket": ticket, "number": a.Number, "nickname": "name-never-to-be-logged", "phone_code": code}
	s.wechat.Fail(wechattest.EndpointPhoneNumber, 1, wechattest.Failure{ErrCode: 40029, ErrMsg: "invalid code " + code})
	s.show(s.request(page, miniAppID, "confirm", confirm))
	if got := s.request(page, miniAppID, "confirm", confirm); got.Status != http.StatusOK {
		s.t.Fatalf("confirm: %d %s", got.Status, got.Body)
	}
	a.consume()
	return b
}

func (s *spy) eventfulWebsite(phone *wechattest.Phone) *browser {
	b := s.browser()
	failed := b.beginBy("website_qr")
	path := s.agree(phone, failed)
	s.found["refused state"], s.found["refused code"] = failed.oauthState(), codeIn(path)
	s.wechat.Fail(wechattest.EndpointOAuthToken, 1, wechattest.Failure{ErrCode: 40163, ErrMsg: "code been used " + codeIn(path) + " " + secret})
	s.show(b.get(path))
	s.show(b.get(path))
	a := b.beginBy("website_qr")
	path = s.agree(phone, a)
	s.found["state"], s.found["code"] = a.oauthState(), codeIn(path)
	s.show(s.browser().get(path))
	s.wechat.Fail(wechattest.EndpointUserInfo, 1, wechattest.Failure{ErrCode: -1, ErrMsg: "system error"})
	b.back(path)
	b.back(path)
	return b
}

func (s *spy) eventfulInWeChat(phone *wechattest.Phone) *browser {
	phone.SetSnapshot(true)
	b := s.inside(phone)
	virtual := b.beginBy("in_wechat")
	s.found["state of a virtual user"] = virtual.oauthState()
	s.show(s.follow(b, virtual.Redirect, "allow").answer)
	phone.SetSnapshot(false)
	a := b.beginBy("in_wechat")
	path := s.follow(b, a.Redirect, "allow").callback(s.methods)
	s.found["state"], s.found["code"] = a.oauthState(), codeIn(path)
	s.show(s.browser().get(path))
	b.back(path)
	return b
}

func (s *spy) eventfulChat(phone *wechattest.Phone) *browser {
	b := s.browser()
	a := b.beginBy("chat_code")
	link := s.say(phone, a.Code).Links()[0]
	s.say(phone, "content-never-to-be-logged")
	s.say(s.wechat.Phone("mallory"), a.Code)
	s.found["message"] = "content-never-to-be-logged"
	s.prove(phone, a, link)
	return b
}

func (s *spy) eventfulProof(phone *wechattest.Phone) *browser {
	b := s.browser()
	a := b.beginBy("official_qr")
	link := s.scan(phone, a.attempt)
	his := s.inside(s.wechat.Phone("mallory"))
	v := s.follow(his, link, "allow")
	s.show(v.answer)
	s.found["state of another person"], s.found["code of another person"] = stateIn(v.callback(s.methods)), codeIn(v.callback(s.methods))
	s.show(s.browser().get(s.path(link)))
	s.prove(phone, a, link)
	return b
}

// prove confirms an attempt by the link in the chat.
func (s *spy) prove(phone *wechattest.Phone, a *shown, link string) {
	s.t.Helper()
	inside := s.inside(phone)
	path := s.follow(inside, link, "allow").callback(s.methods)
	s.found["confirm token"], s.found["state"], s.found["code"] = link[strings.LastIndex(link, "/")+1:], stateIn(path), codeIn(path)
	s.found["binding cookie of the phone"] = cookieValueOf(inside, "wechat_browser")
	s.show(s.browser().get(path))
	if got := inside.do(http.MethodPost, s.path(link), url.Values{"choice": {a.Number}}); got.Status != http.StatusOK {
		s.t.Fatalf("confirming: %d %s", got.Status, got.Body)
	}
	a.consume()
}

// stateIn is the state in the address that WeChat leads back to.
func stateIn(path string) string {
	return regexp.MustCompile(`state=([^&]+)`).FindStringSubmatch(path)[1]
}
