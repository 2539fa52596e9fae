// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

// FuzzReceive feeds bodies with a good signature to the parsers, and holds every
// accepted message to what callers rely on.
func FuzzReceive(f *testing.F) {
	for _, body := range []string{
		scanXML, v3Message, "", "<xml>", "<xml></xml>", "{}", "[]", `{"a":[{}]}`,
		"<!DOCTYPE xml [<!ENTITY x 'y'>]><xml><A>&x;</A></xml>", "<xml><A><![CDATA[]]]]><![CDATA[>]]></A></xml>",
		strings.Replace(scanXML, "SCAN", "subscribe", 1), strings.Repeat("<xml>", 20),
		textXML("a\x14b\xff]]\x00>"), textXML("]]></Content><Event>SCAN</Event><Content><![CDATA["), "{\"Content\":\"a\x14\\\x00\"}",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := newTestReceiver(t, withKey)
		plain, err := plainPush(pushTime, "1", body).receive(t, newTestReceiver(t, nil))
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		if plain.FromUserName == "" || plain.MsgType == "" || plain.CreateTime.Unix() <= 0 || len(plain.DedupKey()) != 64 {
			t.Errorf("accepted %+v", plain)
		}
		if scene, ok := plain.Scene(); ok && !scenePattern.MatchString(scene) {
			t.Errorf("scene %q", scene)
		}
		secret, err := securePush(t, pushTime, "1", officialAppID, body).receive(t, r)
		if err != nil || secret.DedupKey() != plain.DedupKey() {
			t.Errorf("the same body, encrypted: %+v, %v", secret, err)
		}
		checkReply(t, r, secret)
	})
}

// checkReply replies to m with its own content, which must survive unchanged.
func checkReply(t *testing.T, r *Receiver, m *Message) {
	t.Helper()
	text := printable(m.Content)
	if strings.TrimSpace(text) == "" || m.ToUserName == "" || len(text) > maxBody/8 || strings.Contains(text, "\r") {
		return // XML makes a line feed of a carriage return
	}
	body, _, err := r.TextReply(m, m.Content)
	if err != nil {
		t.Fatal(err)
	}
	if got := openReply(t, r, m, body); got.Content != text {
		t.Errorf("reply %q, want %q", got.Content, text)
	}
}

// FuzzDecrypt feeds texts that passed the signature.
func FuzzDecrypt(f *testing.F) {
	c := mustCipher(f, officialKey, officialAppID)
	for _, text := range []string{v3Encrypt, v4Encrypt, "", "AAAA", strings.Repeat("A", 64), encryptRaw(c, pad(frame(1<<32-1, "a")))} {
		f.Add(text, []byte(text))
	}
	f.Fuzz(func(t *testing.T, text string, raw []byte) {
		blocks := raw[:len(raw)-len(raw)%padUnit]
		for _, text := range []string{text, encryptRaw(c, blocks)} { // the second reaches what follows the cipher
			message, err := c.decrypt(text)
			if err != nil {
				if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrAppID) {
					t.Fatalf("unexpected error %v", err)
				}
				continue
			}
			again, err := c.encrypt(message)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := c.decrypt(again); err != nil || string(got) != string(message) {
				t.Errorf("round trip = %q, %v, want %q", got, err, message)
			}
		}
	})
}

// FuzzVerifyURL feeds queries, once as they are and once with a good signature.
func FuzzVerifyURL(f *testing.F) {
	f.Add("signature=f464b24fc39322e44b38aa78f5edd27bd1441696&timestamp=1714112445&nonce=1514711492&echostr=4375120948345356249")
	f.Add("timestamp=1714112445&nonce=1&echostr=%3Cscript%3E")
	f.Add("timestamp=1714112445&timestamp=1&nonce=1&echostr=1")
	f.Add("timestamp=+1714112445&nonce=&echostr=1&encrypt_type=aes")
	f.Fuzz(func(t *testing.T, raw string) {
		query, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		good := signature(officialToken, query.Get("timestamp"), query.Get("nonce"))
		if query.Get("signature") != good {
			if _, err := newTestReceiver(t, nil).VerifyURL(t.Context(), query); err == nil {
				t.Error("accepted a bad signature")
			}
		}
		query.Set("signature", good)
		echo, err := newTestReceiver(t, nil).VerifyURL(t.Context(), query)
		if err == nil && (echo != query.Get("echostr") || !echoPattern.MatchString(echo)) {
			t.Errorf("echoed %q", echo)
		}
	})
}
