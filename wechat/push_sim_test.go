// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	simToken  = "pushtoken1234567"
	simAESKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

// gateway answers what a simulated WeChat pushes with what it says.
type gateway struct {
	t        *testing.T
	weixin   *wechattest.Server
	account  *wechattest.AccountHandle
	receiver *wechat.Receiver
	got      *wechat.Message // nil: the last push was refused
}

func newGateway(t *testing.T, opts wechattest.Options) *gateway {
	t.Helper()
	opts.PushSpacing = -1
	g := &gateway{t: t, weixin: wechattest.NewServer(opts)}
	t.Cleanup(g.weixin.Close)
	site := httptest.NewServer(g)
	t.Cleanup(site.Close)
	var err error
	g.account, err = g.weixin.AddAccount(wechattest.Account{AppID: oaApp, Secret: simSecret, Token: simToken, PushURL: site.URL})
	if err != nil {
		t.Fatal(err)
	}
	g.reload("")
	return g
}

// reload is a start with another key.
func (g *gateway) reload(aesKey string) {
	g.t.Helper()
	var err error
	if g.receiver, err = wechat.NewReceiver(wechat.ReceiverConfig{AppID: oaApp, Token: simToken, AESKey: aesKey}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) console(mode wechattest.Mode) {
	g.t.Helper()
	if err := g.account.Configure(func(a *wechattest.Account) { a.Mode, a.AESKey = mode, simAESKey }); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.got = nil
	m, err := g.receiver.Receive(r.Context(), r.URL.Query(), r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	body, contentType, err := g.receiver.TextReply(m, "hello "+m.FromUserName)
	if err != nil {
		g.t.Error(err)
	}
	g.got = m
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body)
}

// say sends a text, and returns what the chat shows in return.
func (g *gateway) say(phone *wechattest.Phone, text string) string {
	g.t.Helper()
	d, err := phone.SendText(g.t.Context(), oaApp, text)
	if err != nil {
		g.t.Fatal(err)
	}
	return d.Reply.Text
}

// The operator changes from plaintext to encryption, step by step, as the guide
// says. Nobody is turned away at any of them.
func TestPush_ChangeOfModeWithoutInterruption(t *testing.T) {
	g := newGateway(t, wechattest.Options{})
	phone := g.weixin.Phone("alice")
	if err := phone.Follow(t.Context(), oaApp); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func()
		want string // "": the failure text
	}{
		{"plaintext", func() {}, "hello "},
		{"compatible in the console", func() { g.console(wechattest.Compatible) }, "hello "},
		{"the key in the gateway", func() { g.reload(simAESKey) }, "hello "},
		{"secure in the console", func() { g.console(wechattest.Secure) }, "hello "},
		{"the key taken out again", func() { g.reload("") }, ""},
		{"back to compatible", func() { g.console(wechattest.Compatible) }, "hello "},
		{"back to plaintext", func() { g.console(wechattest.Plain) }, "hello "},
	} {
		step.do()
		want := wechattest.ServiceFailure
		if step.want != "" {
			want = step.want + phone.OpenID(oaApp)
		}
		if got := g.say(phone, step.name); got != want || (g.got != nil) != (step.want != "") {
			t.Errorf("%s: the chat shows %q, want %q", step.name, got, want)
		}
	}
}

// In every mode a text arrives as it was written, but for the characters that XML
// forbids; and where WeChat does not divide it, it is never more than a text.
func TestPush_TextsOfEveryKind(t *testing.T) {
	for _, unsplit := range []bool{false, true} {
		g := newGateway(t, wechattest.Options{UnsplitCDATA: unsplit})
		phone := g.weixin.Phone("alice")
		if err := phone.Follow(t.Context(), oaApp); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			mode wechattest.Mode
			key  string
		}{{wechattest.Plain, ""}, {wechattest.Compatible, ""}, {wechattest.Compatible, simAESKey}, {wechattest.Secure, simAESKey}} {
			g.console(step.mode)
			g.reload(step.key)
			for text, divided := range map[string]bool{ // whether WeChat would divide it
				"a\x14b\x00": false, "]]\x14></Content><MsgType>event</MsgType>": false,
				"]]></Content><MsgType><![CDATA[event]]></MsgType><Event>SCAN</Event><EventKey>1</EventKey><Content><![CDATA[": true,
				"]]></Content><Event>SCAN</Event><EventKey>1</EventKey><Content><![CDATA[":                                     true,
				"]]></Content><FromUserName><![CDATA[oVictim]]></FromUserName><Content><![CDATA[":                              true,
				"]]></Content><Encrypt><![CDATA[AAAA]]></Encrypt><Content><![CDATA[":                                           true,
			} {
				shown := g.say(phone, text)
				if unsplit && divided {
					if g.got != nil || shown != wechattest.ServiceFailure {
						t.Errorf("mode %d, %q: accepted %+v", step.mode, text, g.got)
					}
					continue
				}
				want := strings.NewReplacer("\x14", " ", "\x00", " ").Replace(text)
				if g.got == nil || g.got.Content != want || g.got.MsgType != "text" || g.got.FromUserName != phone.OpenID(oaApp) {
					t.Errorf("mode %d, %q: %+v, the chat shows %q", step.mode, text, g.got, shown)
				}
			}
		}
	}
}
