// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// xmlReply reads a reply as a foreign parser does.
type xmlReply struct {
	XMLName      xml.Name `xml:"xml"`
	ToUserName   string
	FromUserName string
	CreateTime   int64
	MsgType      string
	Content      string
	Encrypt      string
	MsgSignature string
	TimeStamp    string
	Nonce        string
}

func TestTextReply_XMLVerbatim(t *testing.T) {
	r := newTestReceiver(t, nil)
	body, contentType, err := r.TextReply(&Message{ToUserName: "gh_xxx", FromUserName: "OPENID"}, "你好")
	want := `<xml><ToUserName><![CDATA[OPENID]]></ToUserName><FromUserName><![CDATA[gh_xxx]]></FromUserName><CreateTime>1714112445</CreateTime>` +
		`<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[你好]]></Content></xml>`
	if err != nil || string(body) != want || contentType != "text/xml; charset=utf-8" {
		t.Errorf("TextReply = %s, %s, %v\nwant %s", body, contentType, err, want)
	}
}

// What a person may have put into a text: it must come out as it went in, and
// must not leave its element.
var replyTexts = []struct{ name, text, want string }{
	{"Chinese and emoji", "你好 👋\n第二行", "你好 👋\n第二行"},
	{"link", `<a href="https://example.com/?a=1&b=2">登录</a>`, `<a href="https://example.com/?a=1&b=2">登录</a>`},
	{"end of CDATA", "a]]></Content><MsgType>image</MsgType>", "a]]></Content><MsgType>image</MsgType>"},
	{"ends of CDATA in a row", "]]>]]]>>", "]]>]]]>>"},
	{"control characters", "a\x00\x08\x1b\x7f\ufffe\uffffb", "a\x7fb"},
	{"invalid UTF-8", "a\xff\xc0b", "ab"},
	{"surrogate", "a\xed\xa0\x80b", "ab"},
}

func TestTextReply_RoundTrip(t *testing.T) {
	for _, tt := range replyTexts {
		t.Run(tt.name, func(t *testing.T) {
			for _, m := range []*Message{
				{encrypted: false, json: false},
				{encrypted: false, json: true},
				{encrypted: true, json: false},
				{encrypted: true, json: true},
			} {
				m.ToUserName, m.FromUserName = "gh_a786fbe98353", "oW5Ux6ceqP-b0C-72qHEWZYk8Cr8"
				r := newTestReceiver(t, withKey)
				body, _, err := r.TextReply(m, tt.text)
				if err != nil {
					t.Fatal(err)
				}
				got := openReply(t, r, m, body)
				want := xmlReply{
					XMLName: got.XMLName, ToUserName: m.FromUserName, FromUserName: m.ToUserName,
					CreateTime: pushTime.Unix(), MsgType: "text", Content: tt.want,
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("encrypted %v, json %v (-want +got):\n%s", m.encrypted, m.json, diff)
				}
			}
		})
	}
}

func openReply(t *testing.T, r *Receiver, m *Message, body []byte) xmlReply {
	t.Helper()
	reply := decodeReply(t, m.json, body)
	if !m.encrypted {
		return reply
	}
	if want := signature(officialToken, reply.TimeStamp, reply.Nonce, reply.Encrypt); reply.MsgSignature != want {
		t.Errorf("MsgSignature = %s, want %s", reply.MsgSignature, want)
	}
	if reply.TimeStamp != strconv.FormatInt(pushTime.Unix(), 10) || reply.Nonce == "" {
		t.Errorf("TimeStamp %q and Nonce %q, want the time and a nonce", reply.TimeStamp, reply.Nonce)
	}
	plain, err := r.cipher.decrypt(reply.Encrypt)
	if err != nil {
		t.Fatal(err)
	}
	return decodeReply(t, m.json, plain)
}

func decodeReply(t *testing.T, isJSON bool, body []byte) (reply xmlReply) {
	t.Helper()
	if !isJSON {
		if err := xml.Unmarshal(body, &reply); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return reply
	}
	// WeChat's sample has a number for the time of the envelope.
	var envelope struct{ TimeStamp json.Number }
	_ = json.Unmarshal(body, &envelope)
	if strings.Contains(string(body), `"TimeStamp":"`) {
		t.Errorf("TimeStamp is no number: %s", body)
	}
	body = []byte(strings.ReplaceAll(string(body), `"TimeStamp":`+envelope.TimeStamp.String(), `"TimeStamp":"`+envelope.TimeStamp.String()+`"`))
	if err := json.Unmarshal(body, &reply); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return reply
}

// An empty Content makes WeChat show a failure to the person: "success" does not.
func TestTextReply_Empty(t *testing.T) {
	r := newTestReceiver(t, withKey)
	for _, text := range []string{"", " \n", "\x00", "\xff"} {
		body, contentType, err := r.TextReply(&Message{encrypted: true}, text)
		if err != nil || string(body) != "success" || contentType != "text/plain; charset=utf-8" {
			t.Errorf("TextReply(%q) = %s, %s, %v, want success", text, body, contentType, err)
		}
	}
}

func TestTextReply_Errors(t *testing.T) {
	both := Message{ToUserName: "gh_1", FromUserName: "o1", encrypted: true}
	if _, _, err := newTestReceiver(t, nil).TextReply(&both, "a"); !errors.Is(err, ErrNoAESKey) {
		t.Errorf("encrypted without a key: %v, want ErrNoAESKey", err)
	}
	if _, _, err := newTestReceiver(t, withKey).TextReply(&both, strings.Repeat("a", maxBody)); err == nil {
		t.Error("no error for an endless text")
	}
	if _, _, err := newTestReceiver(t, nil).TextReply(&Message{FromUserName: "o1"}, "a"); err == nil {
		t.Error("no error for a message without its account")
	}
}
