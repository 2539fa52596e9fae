// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestReadReply(t *testing.T) {
	const openid = "oABC"
	good := textReply(openid, "你好")
	sealWith := func(token, ts, nonce, encrypted string) string {
		return "<xml><Encrypt><![CDATA[" + encrypted + "]]></Encrypt><MsgSignature><![CDATA[" + signature(token, ts, nonce, encrypted) +
			"]]></MsgSignature><TimeStamp>" + ts + "</TimeStamp><Nonce><![CDATA[" + nonce + "]]></Nonce></xml>"
	}
	encryptFor := func(appID, msg string) string {
		e, err := encrypt(testAESKey, []byte(msg), appID)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	sealed := sealWith(testToken, "1713424427", "n", encryptFor(testApp, good))
	jsonEncrypted := encryptFor(testApp, `{"ToUserName":"oABC","FromUserName":"`+testGH+`","CreateTime":1,"MsgType":"text","Content":"你好"}`)
	jsonSealed := `{"Encrypt":"` + jsonEncrypted + `","MsgSignature":"` + signature(testToken, "17", "n", jsonEncrypted) + `","TimeStamp":17,"Nonce":"n"}`
	tests := []struct {
		name  string
		mode  Mode
		json  bool
		body  string
		shown string
		final bool
		ok    bool
	}{
		{name: "plain", body: good, shown: "你好", final: true, ok: true},
		{name: "plain in compatible mode", mode: Compatible, body: good, shown: "你好", final: true, ok: true},
		{name: "plain in secure mode", mode: Secure, body: good, final: true},
		{name: "success in secure mode", mode: Secure, body: "success", final: true, ok: true},
		{name: "empty in secure mode", mode: Secure, final: true, ok: true},
		{name: "encrypted", mode: Secure, body: sealed, shown: "你好", final: true, ok: true},
		{name: "encrypted in compatible mode", mode: Compatible, body: sealed, shown: "你好", final: true, ok: true},
		{name: "encrypted in plaintext mode", body: sealed, final: true},
		{name: "signed with another token", mode: Secure, body: sealWith("other", "1", "n", encryptFor(testApp, good)), final: true},
		{name: "encrypted for another app", mode: Secure, body: sealWith(testToken, "1", "n", encryptFor("wx0", good)), final: true},
		{name: "encrypted garbage", mode: Secure, body: sealWith(testToken, "1", "n", encryptFor(testApp, "hello")), final: true},
		{name: "encrypted JSON", mode: Secure, json: true, body: jsonSealed, shown: "你好", final: true, ok: true},
		{name: "JSON to an XML account", mode: Secure, body: jsonSealed},
		{name: "XML to a JSON account", mode: Secure, json: true, body: sealed},
		{name: "app id as sender", body: strings.Replace(good, testGH, testApp, 1), final: true},
		{name: "names not swapped", body: strings.NewReplacer(openid, testGH, testGH, openid).Replace(good), final: true},
		{name: "empty content", body: textReply(openid, ""), final: true},
		{name: "no time", body: strings.Replace(good, "12345678", "", 1), final: true},
		{name: "unknown type", body: strings.Replace(good, "[text]", "[html]", 1), final: true},
		{name: "picture", body: strings.Replace(good, "[text]", "[image]", 1), shown: "[image]", final: true, ok: true},
		{name: "customer service", body: strings.Replace(good, "[text]", "[transfer_customer_service]", 1), final: true, ok: true},
		{name: "HTML", body: "<!DOCTYPE html><html><body>502</body></html>"},
		{name: "JSON", body: `{"status":"ok"}`},
		{name: "words", body: "SUCCESS"},
		{name: "words before the XML", body: "ok " + good},
		{name: "words behind the XML", body: good + "ok"},
		{name: "space around the XML", body: "\n" + good + "\n", shown: "你好", final: true, ok: true},
		{name: "broken XML", body: good[:len(good)-3]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := Account{AppID: testApp, OriginalID: testGH, Token: testToken, AESKey: testAESKey, Mode: tt.mode, JSON: tt.json}
			got, final, err := a.readReply(200, []byte(tt.body), openid, time.Time{})
			if got.Text != tt.shown || final != tt.final || (err == nil) != tt.ok {
				t.Errorf("reply %+v, final %v, error %v", got, final, err)
			}
			if errors.Is(err, errNotAReply) == tt.final {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add(textReply("oABC", "hi"))
	f.Add("success")
	f.Add(`{"ToUserName":"oABC"}`)
	f.Add("<xml><Encrypt>AAAA</Encrypt></xml>")
	f.Fuzz(func(t *testing.T, body string) {
		for _, a := range []Account{
			{AppID: testApp, OriginalID: testGH},
			{AppID: testApp, OriginalID: testGH, Token: testToken, AESKey: testAESKey, Mode: Secure},
			{AppID: testApp, OriginalID: testGH, JSON: true},
		} {
			reply, final, err := a.readReply(200, []byte(body), "oABC", time.Time{})
			if err != nil && reply.Text != "" {
				t.Errorf("refused, yet shown: %+v", reply)
			}
			if err == nil && !final {
				t.Error("accepted, yet delivered again")
			}
			for _, link := range reply.Links() {
				if !strings.Contains(reply.Text, link) {
					t.Errorf("link %q is not in the text", link)
				}
			}
		}
	})
}
