// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"strings"
	"testing"
)

// The vectors V1 to V4 are Tencent's own, V9 and V10 those of two open libraries.
func TestSignature_PublishedVectors(t *testing.T) {
	const v3 = "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04="
	tests := []struct {
		name   string
		values []string
		want   string
	}{
		{"V1 url check", []string{"AAAAA", "1714036504", "1514711492"}, "f464b24fc39322e44b38aa78f5edd27bd1441696"},
		{"V2 plaintext push", []string{"AAAAA", "1714037059", "486452656"}, "899cf89e464efb63f54ddac96b0a0a235f53aa78"},
		{"V3 signature", []string{"AAAAA", "1714112445", "415670741"}, "6c5c811b55cc85e0e1b54100749188c20beb3f5d"},
		{"V3 msg_signature", []string{"AAAAA", "1714112445", "415670741", v3}, "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3"},
		{"V9 url check", []string{"123456", "1411443780", "437374425", v9Echo}, "dd6b9c95b495b3f7e2901bfbc76c664930ffdb96"},
		{"V10 words", []string{"RMNlACHlV5ThzfRlVS4D4", "timestamp", "nonce", "encrypt"}, "8edac0945683c119ee71c9f6256d76c48aa08a96"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := signature(tt.values...); got != tt.want {
				t.Errorf("signature %s, want %s", got, tt.want)
			}
		})
	}
	got, err := decrypt(strings.Repeat("A", 43), v3, "wxba5fad812f8e6fb9")
	const want = `{"ToUserName":"gh_97417a04a28d","FromUserName":"o9AgO5Kd5ggOC-bXrbNODIiE3bGY","CreateTime":1714112445,"MsgType":"event","Event":"debug_demo","debug_str":"hello world"}`
	if err != nil || string(got) != want {
		t.Errorf("V3 decrypts to %q, %v", got, err)
	}
}

const v9Echo = "4ByGGj+sVCYcvGeQYhaKIk1o0pQRNbRjxybjTGblXrBaXlTXeOo1+bXFXDQQb1o6co6Yh9Bv41n7hOchLF6p+Q=="

func TestDecrypt_V9(t *testing.T) {
	got, err := decrypt("kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR", v9Echo, "wx49f0ab532d5d035a")
	if err != nil || string(got) != "5927782489442352469" {
		t.Errorf("decrypted %q, %v", got, err)
	}
}

func TestEncrypt_V4(t *testing.T) {
	key, err := decodeAESKey(strings.Repeat("A", 43))
	if err != nil {
		t.Fatal(err)
	}
	got, err := encryptCBC(key, pad(envelope([]byte("707722b803182950"), []byte(`{"demo_resp":"good luck"}`), "wxba5fad812f8e6fb9")))
	const want = "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ=="
	if err != nil || got != want {
		t.Errorf("encrypted %q, %v", got, err)
	}
	if got := signature("AAAAA", "1713424427", "415670741", want); got != "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1" {
		t.Errorf("MsgSignature %s", got)
	}
}

func TestEncrypt_RoundTripOfEveryPadding(t *testing.T) {
	for n := range 2 * padBlock {
		msg := bytes.Repeat([]byte("微"), n)
		encrypted, err := encrypt(testAESKey, msg, testApp)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decrypt(testAESKey, encrypted, testApp)
		if err != nil || !bytes.Equal(got, msg) {
			t.Errorf("%d characters: %q, %v", n, got, err)
		}
	}
}

func TestDecrypt_Refusals(t *testing.T) {
	key, err := decodeAESKey(testAESKey)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(plain []byte) string {
		t.Helper()
		s, err := encryptCBC(key, plain)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	head := bytes.Repeat([]byte("r"), 16)
	good := envelope(head, []byte("hello"), testApp)
	badPad := pad(bytes.Clone(good))
	badPad[len(badPad)-1] = 33
	mixedPad := pad(bytes.Clone(good))
	mixedPad[len(mixedPad)-2]++
	zeroPad := make([]byte, 32)
	tooLong := append(bytes.Clone(head), 0x7f, 0xff, 0xff, 0xff)
	tests := []struct{ name, key, encrypted, appID string }{
		{"short key", testAESKey[1:], seal(pad(good)), testApp},
		{"not base64", testAESKey, "***", testApp},
		{"empty", testAESKey, "", testApp},
		{"half a block", testAESKey, "AAAA", testApp},
		{"pad of 33", testAESKey, seal(badPad), testApp},
		{"pad of unequal bytes", testAESKey, seal(mixedPad), testApp},
		{"pad of 0", testAESKey, seal(zeroPad), testApp},
		{"shorter than its head", testAESKey, seal(pad([]byte("short"))), testApp},
		{"length beyond the end", testAESKey, seal(pad(tooLong)), testApp},
		{"another app", testAESKey, seal(pad(good)), "wx0000000000000000"},
		{"no app id", testAESKey, seal(pad(envelope(head, []byte("hello"), ""))), testApp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := decrypt(tt.key, tt.encrypted, tt.appID); err == nil {
				t.Errorf("decrypted %q", got)
			} else if strings.Contains(err.Error(), tt.key) {
				t.Error("the error contains the key")
			}
		})
	}
}

func TestRandomDigits(t *testing.T) {
	for range 1000 {
		if got := randomDigits(9); len(got) != 9 || got[0] == '0' || strings.Trim(got, "0123456789") != "" {
			t.Fatalf("randomDigits(9) = %q", got)
		}
	}
}

func FuzzDecrypt(f *testing.F) {
	f.Add(v9Echo)
	f.Add("AAAAAAAAAAAAAAAAAAAAAA==")
	f.Fuzz(func(t *testing.T, encrypted string) {
		if msg, err := decrypt("kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR", encrypted, "wx49f0ab532d5d035a"); err == nil && encrypted != v9Echo {
			// Another encoding of the same bytes is the only other way in.
			if string(msg) != "5927782489442352469" {
				t.Errorf("a forged message was accepted: %q", msg)
			}
		}
	})
}
