// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const scanXML = `<xml><ToUserName><![CDATA[gh_a786fbe98353]]></ToUserName><FromUserName><![CDATA[oW5Ux6ceqP-b0C-72qHEWZYk8Cr8]]></FromUserName>` +
	`<CreateTime>1648535359</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[SCAN]]></Event>` +
	`<EventKey><![CDATA[login-1]]></EventKey><Ticket><![CDATA[gQGv7zwAAAAA]]></Ticket></xml>`

// pushTime is the time at which the tests receive.
var pushTime = time.Unix(1714112445, 0)

func newTestReceiver(tb testing.TB, change func(*ReceiverConfig)) *Receiver {
	tb.Helper()
	cfg := ReceiverConfig{AppID: officialAppID, Token: officialToken, Now: func() time.Time { return pushTime }}
	if change != nil {
		change(&cfg)
	}
	r, err := NewReceiver(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func withKey(c *ReceiverConfig) { c.AESKey = officialKey }

// push is a request as WeChat makes it.
type push struct {
	query url.Values
	body  string
}

func plainPush(at time.Time, nonce, body string) push {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	return push{url.Values{
		"signature": {signature(officialToken, timestamp, nonce)}, "timestamp": {timestamp}, "nonce": {nonce}, "openid": {"o1"},
	}, body}
}

// securePush encrypts message for appID.
func securePush(tb testing.TB, at time.Time, nonce, appID, message string) push {
	tb.Helper()
	text, err := mustCipher(tb, officialKey, appID).encrypt([]byte(message))
	if err != nil {
		tb.Fatal(err)
	}
	p := plainPush(at, nonce, "<xml><ToUserName><![CDATA[gh_a786fbe98353]]></ToUserName><Encrypt><![CDATA["+text+"]]></Encrypt></xml>")
	p.query.Set("encrypt_type", "aes")
	p.query.Set("msg_signature", signature(officialToken, p.query.Get("timestamp"), nonce, text))
	return p
}

func (p push) receive(tb testing.TB, r *Receiver) (*Message, error) {
	tb.Helper()
	return r.Receive(tb.Context(), p.query, strings.NewReader(p.body))
}

func (p push) set(name, value string) push {
	query := url.Values{}
	maps.Copy(query, p.query)
	query.Set(name, value)
	return push{query, p.body}
}

func TestNewReceiver_RefusesBadConfig(t *testing.T) {
	tests := []struct {
		name   string
		change func(*ReceiverConfig)
		secret string
	}{
		{"no app id", func(c *ReceiverConfig) { c.AppID = "" }, officialToken},
		{"no token", func(c *ReceiverConfig) { c.Token = "" }, officialKey},
		{"short token", func(c *ReceiverConfig) { c.Token = "ab" }, officialKey},
		{"long token", func(c *ReceiverConfig) { c.Token = strings.Repeat("x", 33) }, strings.Repeat("x", 33)},
		{"token with a sign", func(c *ReceiverConfig) { c.Token = "s3cret!" }, "s3cret"},
		{"short key", func(c *ReceiverConfig) { c.AESKey = strings.Repeat("k", 42) }, strings.Repeat("k", 42)},
		{"long key", func(c *ReceiverConfig) { c.AESKey = strings.Repeat("k", 44) }, strings.Repeat("k", 44)},
		{"key with a sign", func(c *ReceiverConfig) { c.AESKey = strings.Repeat("k", 42) + "=" }, strings.Repeat("k", 42)},
		{"negative window", func(c *ReceiverConfig) { c.Window = -1 }, officialToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := ReceiverConfig{AppID: officialAppID, Token: officialToken}
			tt.change(&cfg)
			_, err := NewReceiver(cfg)
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), tt.secret) {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

func TestVerifyURL(t *testing.T) {
	at := time.Unix(1714036504, 0)
	v1 := url.Values{
		"signature": {"f464b24fc39322e44b38aa78f5edd27bd1441696"}, "timestamp": {"1714036504"}, "nonce": {"1514711492"},
		"echostr": {"4375120948345356249"},
	}
	tests := []struct {
		name string
		edit func(url.Values)
		now  time.Time
		want error
	}{
		{"V1", func(url.Values) {}, at, nil},
		{"V1 five minutes later", func(url.Values) {}, at.Add(5 * time.Minute), nil},
		{"later", func(url.Values) {}, at.Add(5*time.Minute + time.Second), ErrStale},
		{"from the future", func(url.Values) {}, at.Add(-5*time.Minute - time.Second), ErrStale},
		{"other nonce", func(q url.Values) { q.Set("nonce", "1514711493") }, at, ErrSignature},
		{"no signature", func(q url.Values) { q.Del("signature") }, at, ErrSignature},
		{"signature in capitals", func(q url.Values) { q.Set("signature", strings.ToUpper(q.Get("signature"))) }, at, ErrSignature},
		{"no timestamp", func(q url.Values) { q.Del("timestamp") }, at, ErrMalformed},
		{"timestamp twice", func(q url.Values) { q.Add("timestamp", "1714036504") }, at, ErrMalformed},
		{"signature twice", func(q url.Values) { q.Add("signature", "") }, at, ErrMalformed},
		{"no echostr", func(q url.Values) { q.Del("echostr") }, at, ErrMalformed},
		{"echostr twice", func(q url.Values) { q.Add("echostr", "1") }, at, ErrMalformed},
		// The signature does not cover the echostr: it must not become a script in our origin.
		{"script", func(q url.Values) { q.Set("echostr", "<script>alert(1)</script>") }, at, ErrMalformed},
		{"endless", func(q url.Values) { q.Set("echostr", strings.Repeat("1", 257)) }, at, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, key := range []string{"", officialKey} {
				query := url.Values{}
				for k, v := range v1 {
					query[k] = append([]string(nil), v...)
				}
				tt.edit(query)
				r := newTestReceiver(t, func(c *ReceiverConfig) { c.AESKey, c.Now = key, func() time.Time { return tt.now } })
				got, err := r.VerifyURL(t.Context(), query)
				if !errors.Is(err, tt.want) || (err == nil) != (got == "4375120948345356249") {
					t.Errorf("VerifyURL = %q, %v, want %v", got, err, tt.want)
				}
			}
		})
	}
}

// An attacker sees the console's GET in a log, and sends its query with a POST
// and a body of his own. In plaintext mode the signature is good for both.
func TestVerifyURL_CannotBeTurnedIntoAPush(t *testing.T) {
	r := newTestReceiver(t, nil)
	p := plainPush(pushTime, "1", scanXML)
	if _, err := r.VerifyURL(t.Context(), p.set("echostr", "123").query); err != nil {
		t.Fatal(err)
	}
	if _, err := p.receive(t, r); !errors.Is(err, ErrReplayed) {
		t.Errorf("push with the query of a GET: %v, want ErrReplayed", err)
	}
	if _, err := r.VerifyURL(t.Context(), p.set("echostr", "123").query); err != nil {
		t.Errorf("the same GET again: %v", err)
	}
	if _, err := r.VerifyURL(t.Context(), p.set("echostr", "124").query); !errors.Is(err, ErrReplayed) {
		t.Errorf("another echostr: %v, want ErrReplayed", err)
	}
}

func TestReceive_PublishedVectors(t *testing.T) {
	t.Run("V2 plaintext JSON", func(t *testing.T) {
		r := newTestReceiver(t, func(c *ReceiverConfig) { c.Now = func() time.Time { return time.Unix(1714037059, 0) } })
		p := push{url.Values{
			"signature": {"899cf89e464efb63f54ddac96b0a0a235f53aa78"}, "timestamp": {"1714037059"}, "nonce": {"486452656"},
		}, strings.ReplaceAll(v3Message, "1714112445", "1714037059")}
		assertDebugDemo(t, r, p, 1714037059, false)
	})
	t.Run("V3 secure JSON", func(t *testing.T) {
		p := push{url.Values{
			"signature": {"6c5c811b55cc85e0e1b54100749188c20beb3f5d"}, "timestamp": {v3Timestamp}, "nonce": {v3Nonce},
			"encrypt_type": {"aes"}, "msg_signature": {v3Signature}, "openid": {"o9AgO5Kd5ggOC-bXrbNODIiE3bGY"},
		}, `{"ToUserName":"gh_97417a04a28d","Encrypt":"` + v3Encrypt + `"}`}
		assertDebugDemo(t, newTestReceiver(t, withKey), p, 1714112445, true)
	})
}

func assertDebugDemo(t *testing.T, r *Receiver, p push, created int64, encrypted bool) {
	t.Helper()
	got, err := p.receive(t, r)
	if err != nil {
		t.Fatal(err)
	}
	want := &Message{
		ToUserName: "gh_97417a04a28d", FromUserName: "o9AgO5Kd5ggOC-bXrbNODIiE3bGY", CreateTime: time.Unix(created, 0),
		MsgType: "event", Event: "debug_demo", encrypted: encrypted, json: true,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Message{})); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestReceive_XML(t *testing.T) {
	r := newTestReceiver(t, nil)
	got, err := plainPush(pushTime, "1", `<?xml version="1.0" encoding="UTF-8"?>`+"\n"+scanXML+"\n").receive(t, r)
	if err != nil {
		t.Fatal(err)
	}
	want := &Message{
		ToUserName: "gh_a786fbe98353", FromUserName: "oW5Ux6ceqP-b0C-72qHEWZYk8Cr8", CreateTime: time.Unix(1648535359, 0),
		MsgType: "event", Event: "SCAN", EventKey: "login-1", Ticket: "gQGv7zwAAAAA",
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Message{})); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

// Forged pushes (threat Q8): {no, bad, good signature} × {plaintext, AES} ×
// {fresh, stale} × {own, other app id}, to accounts of both modes. Only good,
// fresh, right mode and right account gets through.
func TestReceive_ForgedPushes(t *testing.T) {
	for _, account := range []string{"plaintext", "AES"} {
		for _, mode := range []string{"plaintext", "AES"} {
			for _, sign := range []string{"no", "bad", "good"} {
				for _, age := range []time.Duration{0, 6 * time.Minute, -6 * time.Minute} {
					for _, appID := range []string{officialAppID, "wx0000000000000000"} {
						name := fmt.Sprintf("%s push, %s signature, %v old, for %s, to %s account", mode, sign, age, appID, account)
						t.Run(name, func(t *testing.T) {
							want := mode == account && sign == "good" && age == 0 && (appID == officialAppID || mode == "plaintext")
							r := newTestReceiver(t, func(c *ReceiverConfig) {
								if account == "AES" {
									c.AESKey = officialKey
								}
							})
							p := plainPush(pushTime.Add(-age), "1", scanXML)
							if mode == "AES" {
								p = securePush(t, pushTime.Add(-age), "1", appID, scanXML)
							}
							forge(p.query, sign)
							m, err := p.receive(t, r)
							if (err == nil) != want || (m != nil) != want {
								t.Errorf("Receive = %v, %v, want success: %v", m, err, want)
							}
						})
					}
				}
			}
		}
	}
}

func forge(query url.Values, sign string) {
	for _, name := range []string{"signature", "msg_signature"} {
		switch {
		case !query.Has(name) || sign == "good":
		case sign == "no":
			query.Del(name)
		default:
			query.Set(name, strings.Repeat("0", 40))
		}
	}
}

func TestReceive_SaysWhyItRefuses(t *testing.T) {
	secure := securePush(t, pushTime, "1", officialAppID, scanXML)
	plain := plainPush(pushTime, "1", scanXML)
	empty := push{secure.query, "<xml><Encrypt></Encrypt></xml>"}
	tests := []struct {
		name string
		key  string
		push push
		want error
	}{
		// The downgrade: the attacker saw one query of a plaintext time, or knows the token.
		{"plaintext to an AES account", officialKey, plain, ErrPlaintext},
		{"encrypt_type raw to an AES account", officialKey, plain.set("encrypt_type", "raw"), ErrPlaintext},
		{"AES without a key", "", secure, ErrNoAESKey},
		{"other account", officialKey, securePush(t, pushTime, "1", "wx0000000000000000", scanXML), ErrAppID},
		{"unknown encrypt_type", officialKey, secure.set("encrypt_type", "des"), ErrMalformed},
		// The 3-value signature is in every query; it must not count for the body.
		{"signature in place of msg_signature", officialKey, secure.set("msg_signature", secure.query.Get("signature")), ErrSignature},
		{"signature over no Encrypt at all", officialKey, empty.set("msg_signature", secure.query.Get("signature")), ErrMalformed},
		{"other Encrypt", officialKey, push{secure.query, strings.Replace(secure.body, "Encrypt><![CDATA[", "Encrypt><![CDATA[AAAA", 1)}, ErrSignature},
		{"no Encrypt", officialKey, push{secure.query, scanXML}, ErrSignature},
		{"nonce too long", "", plainPush(pushTime, strings.Repeat("1", 33), scanXML), ErrMalformed},
		{"empty nonce", "", plainPush(pushTime, "", scanXML), ErrMalformed},
		{"empty body", "", plainPush(pushTime, "1", ""), ErrMalformed},
		{"too large", "", plainPush(pushTime, "1", strings.Replace(scanXML, "login-1", strings.Repeat("a", maxBody), 1)), ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestReceiver(t, func(c *ReceiverConfig) { c.AESKey = tt.key })
			_, err := tt.push.receive(t, r)
			if !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			for _, secret := range []string{officialToken, officialKey, "oW5Ux6ceqP"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds %q: %v", secret, err)
				}
			}
		})
	}
}

// Compatible mode sends the message twice, plain and encrypted. Only the
// encrypted one is signed: here an attacker changed the plain one.
func TestReceive_CompatibleModeReadsOnlyEncrypt(t *testing.T) {
	p := securePush(t, pushTime, "1", officialAppID, scanXML)
	p.body = strings.Replace(p.body, "<Encrypt>", "<FromUserName>attacker</FromUserName><EventKey>other</EventKey><Encrypt>", 1)
	m, err := p.receive(t, newTestReceiver(t, withKey))
	if err != nil {
		t.Fatal(err)
	}
	if m.FromUserName != "oW5Ux6ceqP-b0C-72qHEWZYk8Cr8" || m.EventKey != "login-1" {
		t.Errorf("message = %+v: plain fields were believed", m)
	}
}

// compatiblePush is the push of a message, plain and encrypted.
func compatiblePush(tb testing.TB, nonce, message string) push {
	tb.Helper()
	p := securePush(tb, pushTime, nonce, officialAppID, message)
	_, encrypt, _ := strings.Cut(p.body, "<Encrypt>")
	p.body = strings.Replace(message, "</xml>", "<Encrypt>"+encrypt, 1)
	return p
}

// The operator chooses 兼容模式 in WeChat's console, and sets the key a minute
// later: until then the gateway reads the plain fields, and answers plainly.
func TestReceive_CompatibleModeWithoutKey(t *testing.T) {
	r := newTestReceiver(t, nil)
	genuine := compatiblePush(t, "1", scanXML)
	for range 2 {
		m, err := genuine.receive(t, r)
		if err != nil {
			t.Fatal(err)
		}
		if m.FromUserName != "oW5Ux6ceqP-b0C-72qHEWZYk8Cr8" || m.EventKey != "login-1" || m.encrypted {
			t.Errorf("message = %+v", m)
		}
		body, contentType, err := r.TextReply(m, "你好")
		if err != nil || contentType != typeXML || strings.Contains(string(body), "Encrypt") || !strings.Contains(string(body), "你好") {
			t.Errorf("reply %s %s, %v", contentType, body, err)
		}
	}
	// Nor does anybody else say more under this nonce than in plaintext mode.
	for name, body := range map[string]string{
		"other fields":  strings.Replace(genuine.body, "login-1", "login-2", 1),
		"other Encrypt": strings.Replace(genuine.body, "<Encrypt><![CDATA[", "<Encrypt><![CDATA[AAAA", 1),
	} {
		if m, err := (push{genuine.query, body}).receive(t, r); !errors.Is(err, ErrReplayed) {
			t.Errorf("%s: %+v, %v, want ErrReplayed", name, m, err)
		}
	}
	plain := plainPush(pushTime, "1", scanXML)
	if m, err := plain.receive(t, r); !errors.Is(err, ErrReplayed) {
		t.Errorf("a plain push under this nonce: %+v, %v, want ErrReplayed", m, err)
	}
}

func TestReceive_CompatibleModeWithoutKey_Refuses(t *testing.T) {
	compatible := compatiblePush(t, "1", scanXML)
	secure := securePush(t, pushTime, "1", officialAppID, scanXML)
	json := push{secure.query, `{"ToUserName":"gh_a786fbe98353","Encrypt":"AAAA"}`}
	old := securePush(t, pushTime.Add(-6*time.Minute), "1", officialAppID, scanXML)
	tests := []struct {
		name string
		push push
		want error
	}{
		{"secure mode", secure, ErrNoAESKey},
		{"secure mode, JSON", json, ErrNoAESKey},
		{"no signature", compatible.set("signature", ""), ErrSignature},
		{"bad signature", compatible.set("signature", strings.Repeat("0", 40)), ErrSignature},
		// It covers Encrypt alone, which is not read.
		{"msg_signature in its place", compatible.set("signature", compatible.query.Get("msg_signature")), ErrSignature},
		{"stale", push{old.query, compatible.body}, ErrStale},
		{"no Encrypt", push{compatible.query, scanXML}, ErrMalformed},
		{"Encrypt twice", push{compatible.query, strings.Replace(compatible.body, "<xml>", "<xml><Encrypt>AAAA</Encrypt>", 1)}, ErrMalformed},
		{"no message", push{compatible.query, "<xml></xml>"}, ErrMalformed},
		{"no XML", push{compatible.query, "success"}, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if m, err := tt.push.receive(t, newTestReceiver(t, nil)); !errors.Is(err, tt.want) || m != nil {
				t.Errorf("Receive = %+v, %v, want %v", m, err, tt.want)
			}
		})
	}
	r := newTestReceiver(t, nil)
	if _, err := r.Receive(t.Context(), compatible.set("signature", "").query, iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, ErrSignature) {
		t.Errorf("unsigned: error = %v, want ErrSignature before the body is read", err)
	}
}

// The attacker replays an observed plaintext query with a body of his own, in
// which he is somebody else (threat Q8). WeChat's own repeat must pass (Q9).
func TestReceive_NonceIsBoundToOneBody(t *testing.T) {
	forged := strings.Replace(scanXML, "oW5Ux6ceqP-b0C-72qHEWZYk8Cr8", "oVICTIM", 1)
	shared := newMemoryCache(func() time.Time { return pushTime })
	nodes := []*Receiver{
		newTestReceiver(t, func(c *ReceiverConfig) { c.Cache = shared }),
		newTestReceiver(t, func(c *ReceiverConfig) { c.Cache = shared }),
	}
	genuine := plainPush(pushTime, "1", scanXML)
	for range 3 {
		for _, r := range nodes {
			if _, err := genuine.receive(t, r); err != nil {
				t.Errorf("WeChat's repeat: %v", err)
			}
			if _, err := (push{genuine.query, forged}).receive(t, r); !errors.Is(err, ErrReplayed) {
				t.Errorf("forged body: %v, want ErrReplayed", err)
			}
		}
	}
	if _, err := plainPush(pushTime, "2", forged).receive(t, nodes[0]); err != nil {
		t.Errorf("another nonce: %v", err)
	}
}

// The signature joins nonce and timestamp without a mark between them. Moving
// digits from one to the other gives another pair with the same signature, and
// the attacker would have a fresh nonce for each.
func TestReceive_DigitsMovedBetweenNonceAndTimestamp(t *testing.T) {
	now := time.Unix(1714112445, 0)
	const first, second = "17141124451", "1714112446" // the end and the start of both are fresh timestamps
	r := newTestReceiver(t, func(c *ReceiverConfig) { c.Now = func() time.Time { return now } })
	sig := signature(officialToken, second, first)
	genuine := push{url.Values{"signature": {sig}, "timestamp": {second}, "nonce": {first}}, scanXML}
	if _, err := genuine.receive(t, r); err != nil {
		t.Fatal(err)
	}
	moved := push{url.Values{"signature": {sig}, "timestamp": {"1714112445"}, "nonce": {"11714112446"}}, "{}"}
	if signature(officialToken, "1714112445", "11714112446") == sig {
		t.Fatal("the pair sorts the other way and proves nothing")
	}
	if _, err := moved.receive(t, r); err == nil {
		t.Error("a moved digit got through")
	}
	short := push{url.Values{"signature": {sig}, "timestamp": {"714112446"}, "nonce": {first + "1"}}, scanXML}
	if signature(officialToken, "714112446", first+"1") != sig {
		t.Fatal("the pair has another signature and proves nothing")
	}
	if _, err := short.receive(t, r); !errors.Is(err, ErrMalformed) {
		t.Errorf("a timestamp of nine digits: %v, want ErrMalformed", err)
	}
}

// With the same gap an attacker moves the head of Encrypt into the nonce: four
// blocks less, and the rest would decrypt to a message that begins in the middle.
func TestReceive_HeadOfEncryptMovedIntoTheNonce(t *testing.T) {
	var p push
	var text string
	for nonce := 1; ; nonce++ { // until Encrypt sorts right after the nonce, with a head of letters and digits
		p = securePush(t, pushTime, strconv.Itoa(nonce), officialAppID, strings.Repeat(scanXML, 2))
		text = strings.Split(strings.Split(p.body, "<Encrypt><![CDATA[")[1], "]]>")[0]
		timestamp := p.query.Get("timestamp")
		head := text[:64]
		moved := strconv.Itoa(nonce) + head
		if !strings.ContainsAny(head, "+/") && signature(officialToken, timestamp, moved, text[64:]) == p.query.Get("msg_signature") {
			p = p.set("nonce", moved)
			p.body = strings.Replace(p.body, head, "", 1)
			break
		}
	}
	if _, err := p.receive(t, newTestReceiver(t, withKey)); !errors.Is(err, ErrMalformed) {
		t.Errorf("error = %v, want ErrMalformed for the nonce", err)
	}
}

// A race of one genuine and many forged bodies under one nonce: whichever is
// first, only one body is ever accepted.
func TestReceive_OneBodyWinsTheRace(t *testing.T) {
	r := newTestReceiver(t, nil)
	var mu sync.Mutex
	accepted := map[string]bool{}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			m, err := plainPush(pushTime, "1", strings.Replace(scanXML, "login-1", strconv.Itoa(i), 1)).receive(t, r)
			if err == nil {
				mu.Lock()
				accepted[m.EventKey] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(accepted) != 1 {
		t.Errorf("%d bodies accepted under one nonce, want 1", len(accepted))
	}
}

// Two accounts have the same token, so a signature of one is right for the other.
// Whoever has read the query of a push in some log adds a body of his own and
// sends it to the other account: the nonce is used up there, too.
func TestReceive_NonceIsUsedUpForEveryAccount(t *testing.T) {
	shared := newMemoryCache(func() time.Time { return pushTime })
	receiver := func(appID string) *Receiver {
		return newTestReceiver(t, func(c *ReceiverConfig) { c.AppID, c.Cache = appID, shared })
	}
	honest := plainPush(pushTime, "1", scanXML)
	if _, err := honest.receive(t, receiver(officialAppID)); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{"another body": strings.Replace(scanXML, "login-1", "login-2", 1), "the same body": scanXML} {
		if m, err := (push{honest.query, body}).receive(t, receiver("wxfedcba9876543210")); !errors.Is(err, ErrReplayed) {
			t.Errorf("%s: Receive = %v, %v, want %v", name, m, err, ErrReplayed)
		}
	}
}

func TestReceive_CacheFails(t *testing.T) {
	r := newTestReceiver(t, func(c *ReceiverConfig) { c.Cache = &downCache{} })
	p := plainPush(pushTime, "1", scanXML)
	if m, err := p.receive(t, r); !errors.Is(err, errCacheDown) || m == nil || m.EventKey != "login-1" {
		t.Errorf("Receive = %v, %v, want the message and the cache's error", m, err)
	}
	p.query.Set("signature", strings.Repeat("0", 40))
	if m, err := p.receive(t, r); !errors.Is(err, ErrSignature) || m != nil {
		t.Errorf("Receive of a forgery = %v, %v, want no message", m, err)
	}
	p = plainPush(pushTime, "1", scanXML)
	if _, err := r.VerifyURL(t.Context(), p.set("echostr", "1").query); !errors.Is(err, errCacheDown) {
		t.Errorf("VerifyURL = %v, want the cache's error", err)
	}
}

func TestReceive_BodyFails(t *testing.T) {
	r := newTestReceiver(t, nil)
	broken := errors.New("broken")
	_, err := r.Receive(t.Context(), plainPush(pushTime, "1", "").query, iotest.ErrReader(broken))
	if !errors.Is(err, broken) {
		t.Errorf("error = %v, want that of the body", err)
	}
}

// An unsigned plaintext push must not even be read.
func TestReceive_DoesNotReadUnsignedPlaintext(t *testing.T) {
	r := newTestReceiver(t, nil)
	p := plainPush(pushTime, "1", "").set("signature", "")
	if _, err := r.Receive(t.Context(), p.query, iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, ErrSignature) {
		t.Errorf("error = %v, want ErrSignature", err)
	}
}

func TestMemoryCache_IsBounded(t *testing.T) {
	now := pushTime
	c := newMemoryCache(func() time.Time { return now })
	ctx := context.Background()
	for i := range maxMemoryEntries {
		if created, err := c.Create(ctx, strconv.Itoa(i), nil, time.Minute); err != nil || !created {
			t.Fatal(i, created, err)
		}
	}
	if created, err := c.Create(ctx, "one more", nil, time.Minute); err == nil || created {
		t.Error("a full cache took one more")
	}
	if created, _ := c.Create(ctx, "0", nil, time.Minute); created {
		t.Error("a full cache forgot a nonce")
	}
	now = now.Add(time.Minute)
	if created, err := c.Create(ctx, "one more", nil, time.Minute); err != nil || !created {
		t.Errorf("after the entries expired: %v, %v", created, err)
	}
	if len(c.entries) != 1 {
		t.Errorf("%d entries left, want 1", len(c.entries))
	}
}

func BenchmarkReceive(b *testing.B) {
	for name, p := range map[string]push{
		"AES":       securePush(b, pushTime, "1", officialAppID, scanXML),
		"plaintext": plainPush(pushTime, "1", scanXML),
	} {
		b.Run(name, func(b *testing.B) {
			r := newTestReceiver(b, func(c *ReceiverConfig) {
				if name == "AES" {
					c.AESKey = officialKey
				}
			})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.receive(b, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
