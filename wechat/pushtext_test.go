// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"errors"
	"strings"
	"testing"
)

const (
	textAuthor = "oW5Ux6ceqP-b0C-72qHEWZYk8Cr8"
	victim     = "oVICTIM6ceqP-b0C-72qHEWZYk8C"
)

// textXML is the push of a text that is not divided where it has the end of a
// CDATA section.
func textXML(text string) string {
	return "<xml><ToUserName><![CDATA[gh_a786fbe98353]]></ToUserName>\n<FromUserName><![CDATA[" + textAuthor + "]]></FromUserName>\n" +
		"<CreateTime>1648535359</CreateTime>\n<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[" + text + "]]></Content>\n<MsgId>1</MsgId>\n</xml>"
}

// The person sends a text that XML or JSON cannot carry, as WeChat copies it. It
// must arrive: otherwise the chat says that the account is out of service.
func TestReceive_ControlCharactersInText(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"control character", textXML("a\x14b"), "a b"},
		{"several", textXML("\x00123\x1f456\x0b"), " 123 456 "},
		{"noncharacter", textXML("a\ufffeb"), "a b"},
		{"invalid UTF-8", textXML("a\xffb"), "a b"},
		{"line break and tab stay", textXML("a\n\tb"), "a\n\tb"},
		// Were it removed, the section would end here and the rest be fields.
		{"control character in the end of CDATA", textXML("]]\x14></Content><MsgType>event</MsgType>"), "]] ></Content><MsgType>event</MsgType>"},
		{"invalid UTF-8 in the end of CDATA", textXML("]\xff]></Content><MsgType>event</MsgType>"), "] ]></Content><MsgType>event</MsgType>"},
		{"JSON", `{"FromUserName":"` + textAuthor + `","CreateTime":1,"MsgType":"text","Content":"a` + "\x14\n" + `b","MsgId":1}`, "a  b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for mode, p := range map[string]push{
				"plain": plainPush(pushTime, "1", tt.body), "encrypted": securePush(t, pushTime, "2", officialAppID, tt.body),
			} {
				r := newTestReceiver(t, nil)
				if mode == "encrypted" {
					r = newTestReceiver(t, withKey)
				}
				m, err := p.receive(t, r)
				if err != nil {
					t.Fatalf("%s: %v", mode, err)
				}
				if m.Content != tt.want || m.MsgType != "text" || m.FromUserName != textAuthor {
					t.Errorf("%s: %+v, want the text %q", mode, m, tt.want)
				}
			}
		})
	}
}

// Both bodies read alike, but only one was sent under the nonce.
func TestReceive_NonceIsBoundToTheBytes(t *testing.T) {
	r := newTestReceiver(t, nil)
	genuine := plainPush(pushTime, "1", textXML("a\x14b"))
	for range 2 {
		if _, err := genuine.receive(t, r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (push{genuine.query, textXML("a b")}).receive(t, r); !errors.Is(err, ErrReplayed) {
		t.Errorf("another body: %v, want ErrReplayed", err)
	}
}

const forgedScan = "<Event><![CDATA[SCAN]]></Event><EventKey><![CDATA[login-1]]></EventKey>"

// forgedTexts are what an attacker writes in the chat, so that the push says more
// than that, should WeChat not divide the text.
var forgedTexts = map[string]string{
	"event":                      "]]></Content><MsgType><![CDATA[event]]></MsgType>" + forgedScan + "<Content><![CDATA[",
	"event, the content last":    "]]></Content><MsgType><![CDATA[event]]></MsgType>" + forgedScan,
	"fields of an event":         "]]></Content>" + forgedScan + "<Content><![CDATA[",
	"scene":                      "]]></Content><EventKey>login-1</EventKey><Content><![CDATA[",
	"another person":             "]]></Content><FromUserName><![CDATA[" + victim + "]]></FromUserName><Content><![CDATA[123456",
	"another person, nested":     "]]><FromUserName>" + victim + "</FromUserName><![CDATA[123456",
	"event, nested":              "]]><MsgType>event</MsgType>" + forgedScan + "<![CDATA[",
	"event, in a list":           "]]></Content><L><MsgType>event</MsgType>" + forgedScan + "</L><Content><![CDATA[",
	"another message":            "]]></Content><MsgId>2</MsgId><Content><![CDATA[",
	"encrypted":                  "]]></Content><Encrypt><![CDATA[AAAA]]></Encrypt><Content><![CDATA[",
	"name in another case":       "]]></Content><msgtype>event</msgtype>" + forgedScan + "<content><![CDATA[",
	"name with a prefix":         "]]></Content><x:MsgType>event</x:MsgType>" + forgedScan + "<x:Content><![CDATA[",
	"content with an attribute":  "]]></Content>" + forgedScan + `<Content a="1"><![CDATA[`,
	"open attribute":             "]]></Content>" + forgedScan + `<Content a="`,
	"open comment":               "]]></Content>" + forgedScan + "<!--",
	"open instruction":           "]]></Content>" + forgedScan + "<?x ",
	"DTD":                        "]]></Content>" + forgedScan + "<!DOCTYPE x [",
	"end":                        "]]></Content>" + forgedScan + "</xml>",
	"end and a second root":      "]]></Content>" + forgedScan + "</xml><xml><Content><![CDATA[",
	"a root of the victim's":     "]]></Content></xml>" + strings.Replace(scanXML, textAuthor, victim, 1) + "<xml><Content><![CDATA[",
	"control character":          "]]\x14></Content><MsgType>event</MsgType>" + forgedScan,
	"control character in names": "]]></Content><Msg\x14Type>event</MsgType>" + forgedScan + "<Content><![CDATA[",
	"invalid UTF-8":              "]]\xff></Content><MsgType>event</MsgType>" + forgedScan,
}

// Some reports say that WeChat does not divide "]]>" in a text, so that a person
// can add fields to the push. Such a push is refused, or is a text of that person.
func TestReceive_TextThatLeavesItsField(t *testing.T) {
	for name, text := range forgedTexts {
		t.Run(name, func(t *testing.T) {
			body := textXML(text)
			for mode, p := range map[string]push{
				"plain": plainPush(pushTime, "1", body), "encrypted": securePush(t, pushTime, "2", officialAppID, body),
				"compatible": {securePush(t, pushTime, "3", officialAppID, body).query, strings.TrimSuffix(body, "</xml>") + "<Encrypt>AAAA</Encrypt></xml>"},
			} {
				r := newTestReceiver(t, nil)
				if mode == "encrypted" {
					r = newTestReceiver(t, withKey)
				}
				m, err := p.receive(t, r)
				if err != nil {
					if !errors.Is(err, ErrMalformed) {
						t.Errorf("%s: error = %v, want ErrMalformed", mode, err)
					}
					continue
				}
				if _, scene := m.Scene(); scene || m.MsgType != "text" || m.FromUserName != textAuthor || m.MsgID != "1" || m.Event+m.EventKey != "" {
					t.Errorf("%s: accepted %+v", mode, m)
				}
			}
		})
	}
}
