// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"image"
	_ "image/jpeg"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

func TestCreateQRCode_Bodies(t *testing.T) {
	tests := []struct {
		name, body string
		want       int    // errcode
		scene      string // what the event carries
		expire     int
	}{
		{name: "string", body: `{"expire_seconds":604800,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"test"}}}`, scene: "test", expire: 604800},
		{name: "number", body: `{"expire_seconds":30,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":123}}}`, scene: "123", expire: 30},
		{name: "permanent number", body: `{"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{"scene_id":100000}}}`, scene: "100000"},
		{name: "permanent string", body: `{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"p"}}}`, scene: "p"},
		{name: "no expire_seconds", body: `{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"x"}}}`, scene: "x", expire: 60},
		{name: "longest life", body: `{"expire_seconds":2592000,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"x"}}}`, scene: "x", expire: 2592000},
		{name: "64 characters", body: `{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"` + strings.Repeat("a", 64) + `"}}}`, scene: strings.Repeat("a", 64), expire: 60},
		{name: "scene level missing", body: `{"action_name":"QR_STR_SCENE","action_info":{"scene_str":"lost"}}`, scene: "0", expire: 60},
		{name: "highest number", body: `{"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":4294967295}}}`, scene: "4294967295", expire: 60},
		{name: "number over range", body: `{"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":99999999999999999999}}}`, scene: "4294967295", expire: 60},
		{name: "life too long", body: `{"expire_seconds":2592001,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"x"}}}`, want: 40053},
		{name: "life of zero", body: `{"expire_seconds":0,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"x"}}}`, want: 40053},
		{name: "65 characters", body: `{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"` + strings.Repeat("a", 65) + `"}}}`, want: 40053},
		{name: "empty string", body: `{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":""}}}`, want: 40053},
		{name: "string code with a number", body: `{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_id":5}}}`, want: 40053},
		{name: "number zero", body: `{"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":0}}}`, want: 40053},
		{name: "number negative", body: `{"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":-1}}}`, want: 40053},
		{name: "number in quotes", body: `{"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":"5"}}}`, want: 40053},
		{name: "permanent number too high", body: `{"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{"scene_id":100001}}}`, want: 40053},
		{name: "no action_info", body: `{"action_name":"QR_STR_SCENE"}`, want: 40053},
		{name: "unknown action", body: `{"action_name":"QR_CARD","action_info":{"scene":{"scene_str":"x"}}}`, want: 40052},
		{name: "no action", body: `{}`, want: 40052},
		{name: "form", body: "action_name=QR_STR_SCENE&scene_str=x", want: 47001},
		{name: "empty", want: 47001},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, Options{})
			addAccount(t, s, nil)
			got := createCode(t, s, stableToken(t, s, false).AccessToken, tt.body)
			if got.ErrCode != tt.want || got.ExpireSeconds != tt.expire {
				t.Fatalf("answer %s, want errcode %d, expire_seconds %d", got.raw, tt.want, tt.expire)
			}
			if tt.want != 0 {
				return
			}
			if strings.Contains(got.raw, "errcode") || (tt.expire == 0) == strings.Contains(got.raw, "expire_seconds") {
				t.Errorf("answer %s", got.raw)
			}
			if code := s.tickets[got.Ticket]; code == nil || code.scene != tt.scene {
				t.Errorf("scene %+v, want %q", code, tt.scene)
			}
		})
	}
}

func TestCreateQRCode_Permission(t *testing.T) {
	for kind, want := range map[Kind]int{
		VerifiedService: 0, TestAccount: 0, UnverifiedService: 48001, PersonalSubscription: 48001,
		VerifiedSubscription: 48001, VerifiedMiniProgram: 48001, Website: 48001,
	} {
		s := newTestServer(t, Options{})
		addAccount(t, s, func(a *Account) { a.Kind = kind })
		got := createCode(t, s, stableToken(t, s, false).AccessToken,
			`{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"x"}}}`)
		if got.ErrCode != want {
			t.Errorf("kind %d: %s, want %d", kind, got.raw, want)
		}
	}
}

func TestCreateQRCode_TokenAndMethod(t *testing.T) {
	s := newTestServer(t, Options{})
	addAccount(t, s, nil)
	token := stableToken(t, s, false).AccessToken
	const body = `{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"x"}}}`
	if got := callAPI(t, s, "GET", EndpointQRCode+"?access_token="+token, ""); got.ErrCode != 43002 {
		t.Errorf("GET: %s", got.raw)
	}
	if got := callAPI(t, s, "POST", EndpointQRCode, `{"access_token":"`+token+`"}`); got.ErrCode != 41001 {
		t.Errorf("token in the body: %s", got.raw)
	}
	if got := createCode(t, s, "x", body); got.ErrCode != 40014 {
		t.Errorf("malformed token: %s", got.raw)
	}
	s.RevokeTokens(testApp)
	if got := createCode(t, s, token, body); got.ErrCode != 40001 {
		t.Errorf("revoked token: %s", got.raw)
	}
}

func TestCreateQRCode_Quotas(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addAccount(t, s, func(a *Account) { a.Kind = TestAccount })
	token := stableToken(t, s, false).AccessToken
	const permanent = `{"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{"scene_id":1}}}`
	for range 10_000 {
		if got := createCode(t, s, token, permanent); got.ErrCode != 0 {
			t.Fatal(got.raw)
		}
	}
	if got := createCode(t, s, token, permanent); got.ErrCode != 45009 {
		t.Errorf("call 10,001 of a test account: %s", got.raw)
	}
	if err := h.Configure(func(a *Account) { a.Kind = VerifiedService }); err != nil {
		t.Fatal(err)
	}
	s.accounts[testApp].permanentCodes = maxPermanent
	if got := createCode(t, s, token, permanent); got.ErrCode != 45029 {
		t.Errorf("permanent code 100,001: %s", got.raw)
	}
}

// The structure of the ticket was found in six tickets that others published.
func TestTicket_Structure(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now, QRBase: "http://192.168.1.5:8080"})
	addAccount(t, s, nil)
	got := newCode(t, s, "x")
	if !strings.HasPrefix(got.URL, "http://192.168.1.5:8080/q/") {
		t.Fatalf("url %q", got.URL)
	}
	id := strings.TrimPrefix(got.URL, "http://192.168.1.5:8080/q/")
	raw, err := base64.RawURLEncoding.DecodeString(got.Ticket)
	if err != nil || len(got.Ticket) != 96 || len(raw) != 72 {
		t.Fatalf("ticket %q: %v", got.Ticket, err)
	}
	want := append([]byte{0x81, 0x01, raw[2], raw[3], 60, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x2e}, "http://weixin.qq.com/q/"+id+"\x00"...)
	want = binary.LittleEndian.AppendUint32(append(want, 2, 4), 1_714_037_059)
	want = binary.LittleEndian.AppendUint32(append(want, 3, 4), 300)
	if !bytes.Equal(raw, want) {
		t.Errorf("ticket %x, want %x", raw, want)
	}
}

func TestShowQRCode(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	code := newCode(t, s, "x")
	target := EndpointShowQRCode + "?ticket=" + url.QueryEscape(code.Ticket)
	w := serve(t, s, "GET", target, "")
	if w.Code != 200 || w.Header().Get("Content-Type") != "image/jpg" || w.Header().Get("Cache-Control") != "max-age=604800" ||
		w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
		t.Fatalf("status %d, headers %v", w.Code, w.Header())
	}
	img, _, err := image.Decode(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	// Without the hint the reader's search for the code fails on one in ten.
	pure := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true}
	read, err := qrcode.NewQRCodeReader().Decode(bitmap, pure)
	if err != nil || read.GetText() != code.URL {
		t.Errorf("the picture says %v (%v), want %s", read, err, code.URL)
	}
	for name, tt := range map[string]struct {
		method, target string
		want           int
	}{
		"unknown": {"GET", EndpointShowQRCode + "?ticket=gQH47joAAAA", 404},
		"none":    {"GET", EndpointShowQRCode, 404},
		"POST":    {"POST", target, 405},
	} {
		if got := serve(t, s, tt.method, tt.target, "").Code; got != tt.want {
			t.Errorf("%s: status %d, want %d", name, got, tt.want)
		}
	}
	c.Advance(5 * time.Minute)
	if got := serve(t, s, "GET", target, "").Code; got != http.StatusNotFound {
		t.Errorf("expired: status %d, want 404", got)
	}
}

func TestQRCode_ExpiryAndPurge(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addAccount(t, s, nil)
	code := newCode(t, s, "x")
	p := s.Phone("a")
	c.Advance(5*time.Minute - time.Second)
	if _, err := p.Scan(t.Context(), code.URL); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	c.Advance(time.Second)
	if _, err := p.Scan(t.Context(), code.URL); !errors.Is(err, ErrExpiredCode) {
		t.Errorf("at its end: %v, want ErrExpiredCode", err)
	}
	c.Advance(2 * time.Hour)
	newCode(t, s, "y")
	if len(s.codes) != 1 || len(s.tickets) != 1 {
		t.Errorf("%d codes and %d tickets are kept, want 1", len(s.codes), len(s.tickets))
	}
	if _, err := p.Scan(t.Context(), code.URL); !errors.Is(err, ErrUnknownCode) {
		t.Errorf("long after its end: %v, want ErrUnknownCode", err)
	}
}

func FuzzCreateQRCode(f *testing.F) {
	f.Add(`{"expire_seconds":604800,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"test"}}}`)
	f.Add(`{"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":1e9}}}`)
	f.Add(`{"action_name":"QR_LIMIT_SCENE","action_info":{}}`)
	s := NewServer(Options{})
	f.Cleanup(s.Close)
	addAccount(f, s, nil)
	token := stableToken(f, s, false).AccessToken
	f.Fuzz(func(t *testing.T, body string) {
		s.accounts[testApp].quota = quota{}
		got := createCode(t, s, token, body)
		if (got.ErrCode == 0) != (len(got.Ticket) == 96) {
			t.Errorf("answer %s", got.raw)
		}
	})
}
