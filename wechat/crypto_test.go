// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// The published examples. V1 to V4 are official:
// https://developers.weixin.qq.com/miniprogram/dev/framework/server-ability/message-push.html
const (
	officialToken = "AAAAA"
	officialAppID = "wxba5fad812f8e6fb9"

	v3Timestamp = "1714112445"
	v3Nonce     = "415670741"
	v3Signature = "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3" // msg_signature
	v3Encrypt   = "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04="
	v3Message   = `{"ToUserName":"gh_97417a04a28d","FromUserName":"o9AgO5Kd5ggOC-bXrbNODIiE3bGY","CreateTime":1714112445,"MsgType":"event","Event":"debug_demo","debug_str":"hello world"}`

	v4Encrypt = "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ=="

	// V9 is of wechatpy (tests/test_crypto.py). Its key ends in stray bits.
	v9Key  = "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR"
	v9Echo = "4ByGGj+sVCYcvGeQYhaKIk1o0pQRNbRjxybjTGblXrBaXlTXeOo1+bXFXDQQb1o6co6Yh9Bv41n7hOchLF6p+Q=="
)

var officialKey = strings.Repeat("A", 43)

func mustCipher(tb testing.TB, key, appID string) *messageCipher {
	tb.Helper()
	c, err := newMessageCipher(key, appID)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestSignature_PublishedVectors(t *testing.T) {
	tests := []struct {
		name, want string
		values     []string
	}{
		{"V1 URL check", "f464b24fc39322e44b38aa78f5edd27bd1441696", []string{officialToken, "1714036504", "1514711492"}},
		{"V2 plaintext push", "899cf89e464efb63f54ddac96b0a0a235f53aa78", []string{officialToken, "1714037059", "486452656"}},
		{"V3 signature", "6c5c811b55cc85e0e1b54100749188c20beb3f5d", []string{officialToken, v3Timestamp, v3Nonce}},
		{"V3 msg_signature", v3Signature, []string{officialToken, v3Timestamp, v3Nonce, v3Encrypt}},
		{"V4 reply", "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1", []string{officialToken, "1713424427", v3Nonce, v4Encrypt}},
		{"V9 wechatpy", "dd6b9c95b495b3f7e2901bfbc76c664930ffdb96", []string{"123456", "1411443780", "437374425", v9Echo}},
		{"V10 wechat-crypto", "8edac0945683c119ee71c9f6256d76c48aa08a96", []string{"RMNlACHlV5ThzfRlVS4D4", "timestamp", "nonce", "encrypt"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := signature(tt.values...); got != tt.want {
				t.Errorf("signature = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestDecrypt_PublishedVectors(t *testing.T) {
	tests := []struct{ name, key, appID, text, want string }{
		{"V3 push, padded by 19", officialKey, officialAppID, v3Encrypt, v3Message},
		{"V4 reply, padded by 1", officialKey, officialAppID, v4Encrypt, `{"demo_resp":"good luck"}`},
		{"V9 key with stray bits", v9Key, "wx49f0ab532d5d035a", v9Echo, "5927782489442352469"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mustCipher(t, tt.key, tt.appID).decrypt(tt.text)
			if err != nil || string(got) != tt.want {
				t.Errorf("decrypt = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestEncrypt_PublishedVectorBitForBit(t *testing.T) {
	random := [prefixLen]byte([]byte("707722b803182950"))
	got, err := mustCipher(t, officialKey, officialAppID).seal(random, []byte(`{"demo_resp":"good luck"}`))
	if err != nil || got != v4Encrypt {
		t.Errorf("seal = %s, %v, want %s", got, err, v4Encrypt)
	}
}

func TestEncrypt_EveryPadding(t *testing.T) {
	c := mustCipher(t, v9Key, testAppID)
	for n := range 2 * padUnit {
		message := bytes.Repeat([]byte("中"), n)
		text, err := c.encrypt(message)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.decrypt(text); err != nil || !bytes.Equal(got, message) {
			t.Errorf("%d characters: decrypt = %q, %v", n, got, err)
		}
	}
	first, _ := c.encrypt(nil)
	if second, _ := c.encrypt(nil); first == second {
		t.Error("two encryptions of one message are equal")
	}
}

// encryptRaw encrypts bytes that seal would never make.
func encryptRaw(c *messageCipher, data []byte) string {
	out := make([]byte, len(data))
	cipher.NewCBCEncrypter(c.block, c.iv).CryptBlocks(out, data)
	return base64.StdEncoding.EncodeToString(out)
}

func frame(length uint32, rest string) []byte {
	b := binary.BigEndian.AppendUint32([]byte("0123456789abcdef"), length)
	return append(b, rest...)
}

// Someone who knows the token, or a bug at the other end, sends texts that are
// signed but not what WeChat makes.
func TestDecrypt_HostileTexts(t *testing.T) {
	c := mustCipher(t, officialKey, officialAppID)
	padded := func(b []byte, n int, value byte) []byte {
		return append(b, bytes.Repeat([]byte{value}, n)...)
	}
	full := frame(2, "hi"+officialAppID) // 40 bytes
	tests := []struct {
		name, text string
		want       error
	}{
		{"empty", "", ErrMalformed},
		{"not base64", "!!!!", ErrMalformed},
		{"half a block", base64.StdEncoding.EncodeToString(make([]byte, 24)), ErrMalformed},
		{"padding 0", encryptRaw(c, padded(full, 24, 0)), ErrMalformed},
		{"padding 33", encryptRaw(c, padded(full, 40, 33)), ErrMalformed},
		{"padding not uniform", encryptRaw(c, append(padded(full, 23, 1), 24)), ErrMalformed},
		{"padding longer than the text", encryptRaw(c, bytes.Repeat([]byte{32}, 16)), ErrMalformed},
		{"only padding", encryptRaw(c, bytes.Repeat([]byte{32}, 32)), ErrMalformed},
		{"length beyond the end", encryptRaw(c, pad(frame(99, "hi"+officialAppID))), ErrMalformed},
		{"length above 2^31", encryptRaw(c, pad(frame(1<<31+2, "hi"+officialAppID))), ErrMalformed},
		{"length of all ones", encryptRaw(c, pad(frame(1<<32-1, "hi"+officialAppID))), ErrMalformed},
		{"other app id", encryptRaw(c, pad(frame(2, "hiwx0000000000000000"))), ErrAppID},
		{"no app id", encryptRaw(c, pad(frame(2, "hi"))), ErrAppID},
		{"prefix of the app id", encryptRaw(c, pad(frame(2, "hi"+officialAppID[:17]))), ErrAppID},
		{"app id and more", encryptRaw(c, pad(frame(2, "hi"+officialAppID+"x"))), ErrAppID},
		{"length too short by one", encryptRaw(c, pad(frame(1, "hi"+officialAppID))), ErrAppID},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := c.decrypt(tt.text)
			if !errors.Is(err, tt.want) || got != nil {
				t.Errorf("decrypt = %q, %v, want %v", got, err, tt.want)
			}
		})
	}
	if len(full)%aes.BlockSize == 0 {
		t.Error("the frame needs no padding: the cases above are not what they say")
	}
}
