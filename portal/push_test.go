// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// pushText delivers a text of alice's, and leaves it undivided where it has the end
// of its field: some reports say that WeChat does.
func (o *outage) pushText(text string) *httptest.ResponseRecorder {
	o.t.Helper()
	m := wechattest.Message{ToUserName: "gh_0", FromUserName: "oAlice", CreateTime: time.Now().Unix(), MsgType: "text", Content: "TEXT", MsgID: rand.Text()}
	raw := o.wechat.SignedPush(outageApp, bytes.Replace(m.XML(), []byte("TEXT"), []byte(text), 1))
	return o.send(http.MethodPost, "/_wechat/push/"+outageApp+"?"+raw.Query.Encode(), string(raw.Body), http.Header{})
}

// TestForgedText: a browser shows a code to scan, another a code to send. An attacker
// writes texts to the account that leave their field in the push: they would say that
// he, or the victim, has scanned the one or sent the other. Some are refused; none
// counts as more than a text of his.
func TestForgedText(t *testing.T) {
	t.Parallel()
	o := newOutage(t, login.ConfirmOff)
	o.Login = login.NewService(o.store, map[string]login.Starter{
		login.StarterKey(login.ChatCode, outageApp):   &login.Chat{Store: o.store, TTL: time.Minute, Confirm: login.ConfirmOff},
		login.StarterKey(login.OfficialQR, outageApp): &login.Official{Codes: sceneCodes{}, TTL: time.Minute, Confirm: login.ConfirmOff},
	}, nil)
	t.Cleanup(o.Login.Close)
	account := o.Accounts[outageApp]
	account.ChatCode = true
	o.Accounts[outageApp] = account
	scan, chat := o.attempt(login.OfficialQR), o.attempt(login.ChatCode)
	event := "<Event>SCAN</Event><EventKey>" + scan.Scene + "</EventKey>"
	for _, tt := range []struct {
		name, text string
		status     int
	}{
		{"event", "]]></Content><MsgType><![CDATA[event]]></MsgType>" + event + "<Content><![CDATA[", http.StatusBadRequest},
		{"event without an end", "]]></Content><MsgType><![CDATA[event]]></MsgType>" + event, http.StatusBadRequest},
		{"event after the root", "]]></Content></xml><xml><MsgType>event</MsgType>" + event + "<Content><![CDATA[", http.StatusBadRequest},
		{"event before a comment", "]]></Content><MsgType>event</MsgType>" + event + "<!--", http.StatusBadRequest},
		{"event of the victim", "]]></Content><MsgType>event</MsgType>" + event + "<FromUserName>oVictim</FromUserName><Content><![CDATA[", http.StatusBadRequest},
		{"fields of an event", "]]></Content>" + event + "<Content><![CDATA[", http.StatusBadRequest},
		{"key of an event", "]]></Content><EventKey>" + scan.Scene + "</EventKey><Content><![CDATA[", http.StatusBadRequest},
		{"names with control characters", "]]></Content><Msg\x14Type>event</Msg\x14Type>" + event + "<Content><![CDATA[", http.StatusBadRequest},
		{"text of the victim", "]]></Content><FromUserName>oVictim</FromUserName><Content><![CDATA[" + chat.Code, http.StatusBadRequest},
		{"text of the victim, the code first", chat.Code + "]]></Content><FromUserName>oVictim</FromUserName><Content><![CDATA[", http.StatusBadRequest},
		{"event in the text's field", "]]><MsgType>event</MsgType>" + event + "<![CDATA[", http.StatusOK},
		{"event behind a control character", "]]\x14></Content><MsgType>event</MsgType>" + event, http.StatusOK},
		{"event behind what is no character", "]]\xff></Content><MsgType>event</MsgType>" + event, http.StatusOK},
		{"text that WeChat has divided", "]]]]><![CDATA[></Content><MsgType>event</MsgType>" + event, http.StatusOK},
		{"text with a control character", "a\x14b", http.StatusOK},
	} {
		if w := o.pushText(tt.text); w.Code != tt.status || (tt.status == http.StatusOK) != (w.Body.String() == "success") {
			t.Errorf("%s: answered %d %s, want %d", tt.name, w.Code, w.Body, tt.status)
		}
		for _, a := range []login.Attempt{scan, chat} {
			if a, err := o.Login.Get(t.Context(), a.ID, o.cookie); err != nil || a.State != login.Pending || a.Person != (login.Person{}) {
				t.Fatalf("%s: the attempt by %s is %s, of %+v (%v)", tt.name, a.Method, a.State, a.Person, err)
			}
		}
	}
	o.push(scan.Scene)
	o.pushText("\x14" + chat.Code)
	for _, a := range []login.Attempt{scan, chat} {
		if a, err := o.Login.Get(t.Context(), a.ID, o.cookie); err != nil || a.State != login.Confirmed || a.Person.OpenID != "oAlice" {
			t.Errorf("in the end the attempt by %s is %s, of %+v (%v)", a.Method, a.State, a.Person, err)
		}
	}
}

func (o *outage) attempt(method string) login.Attempt {
	o.t.Helper()
	a, _, err := o.Login.Begin(o.t.Context(), login.Request{
		Method: method, AppID: outageApp, Site: "site", Portal: outageOrigin + DefaultPrefix, ReturnTo: "/", Browser: o.cookie,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return a
}

// TestCompatibleModeWithoutKey: the operator has chosen 兼容模式 in WeChat's console
// and has not set the key yet. People sign in all the same; 安全模式 is too early.
func TestCompatibleModeWithoutKey(t *testing.T) {
	t.Parallel()
	o := newOutage(t, login.ConfirmOff)
	for _, tt := range []struct {
		mode   wechattest.Mode
		status int
		state  login.State
	}{{wechattest.Secure, http.StatusForbidden, login.Pending}, {wechattest.Compatible, http.StatusOK, login.Confirmed}} {
		a := o.attempt(login.OfficialQR)
		m := wechattest.Message{ToUserName: "gh_0", FromUserName: "oAlice", CreateTime: time.Now().Unix(), MsgType: "event", Event: "SCAN", EventKey: a.Scene}
		raw := o.wechat.SignedPush(outageApp, m.XML(), wechattest.WithMode(tt.mode))
		w := o.send(http.MethodPost, "/_wechat/push/"+outageApp+"?"+raw.Query.Encode(), string(raw.Body), http.Header{})
		now, err := o.Login.Get(t.Context(), a.ID, o.cookie)
		if err != nil || w.Code != tt.status || now.State != tt.state || bytes.Contains(w.Body.Bytes(), []byte("Encrypt")) {
			t.Errorf("mode %d: answered %d %s, the attempt is %s (%v)", tt.mode, w.Code, w.Body, now.State, err)
		}
	}
}
