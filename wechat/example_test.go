// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// A login page shows a QR code that carries a value of its own.
func ExampleClient_CreateQRCode() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cgi-bin/stable_token":
			_, _ = io.WriteString(w, `{"access_token":"ACCESS_TOKEN","expires_in":7200}`)
		case "/cgi-bin/qrcode/create":
			_, _ = io.WriteString(w, `{"ticket":"gQH47joA","expire_seconds":300,"url":"http://weixin.qq.com/q/kZgfwTMm72WWPkovabbI"}`)
		}
	}))
	defer api.Close()

	client, err := wechat.NewClient(wechat.Config{
		AppID:  "wxba5fad812f8e6fb9",
		Secret: "APPSECRET",
		APIURL: api.URL, // leave out to call WeChat
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	code, err := client.CreateQRCode(context.Background(), "attempt-1", 5*time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(code.URL, code.ExpiresIn)
	// Output: http://weixin.qq.com/q/kZgfwTMm72WWPkovabbI 5m0s
}

// The errors tell what the operator has to do.
func ExampleError() {
	err := fmt.Errorf("showing the login page: %w",
		&wechat.Error{Endpoint: "cgi-bin/stable_token", Code: 40243, Message: "AppSecret is frozen rid: 61250a39-612fed42-36740516"})

	if refusal, ok := errors.AsType[*wechat.Error](err); ok && refusal.Permanent() {
		fmt.Println(refusal.Meaning())
		fmt.Println("try again in", wechat.RetryAfter(err))
	}
	// Output:
	// the secret is frozen (冻结)
	// try again in 30s
}

// A push URL answers the console's check and the events of people who scan.
func ExampleReceiver() {
	receiver, err := wechat.NewReceiver(wechat.ReceiverConfig{
		AppID: "wxba5fad812f8e6fb9",
		Token: "AAAAA",
		Now:   func() time.Time { return time.Unix(1714037060, 0) }, // leave out
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			if echo, err := receiver.VerifyURL(r.Context(), r.URL.Query()); err == nil {
				_, _ = io.WriteString(w, echo)
				return
			}
			http.Error(w, "", http.StatusForbidden)
			return
		}
		m, err := receiver.Receive(r.Context(), r.URL.Query(), r.Body)
		if err != nil {
			log.Print(err)
			http.Error(w, "", http.StatusForbidden)
			return
		}
		text := "" // nothing to say to other messages
		if scene, ok := m.Scene(); ok {
			text = "Signing in: " + scene
		}
		body, contentType, err := receiver.TextReply(m, text)
		if err != nil {
			log.Print(err)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	}

	query := url.Values{
		"signature": {"899cf89e464efb63f54ddac96b0a0a235f53aa78"}, "timestamp": {"1714037059"}, "nonce": {"486452656"},
	}
	push := `<xml><ToUserName>gh_97417a04a28d</ToUserName><FromUserName>o9AgO5Kd5ggOC-bXrbNODIiE3bGY</FromUserName>` +
		`<CreateTime>1714037059</CreateTime><MsgType>event</MsgType><Event>SCAN</Event><EventKey>attempt-1</EventKey></xml>`
	w := httptest.NewRecorder()
	handler(w, httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/push?"+query.Encode(), strings.NewReader(push)))
	fmt.Println(w.Body)
	// Output: <xml><ToUserName><![CDATA[o9AgO5Kd5ggOC-bXrbNODIiE3bGY]]></ToUserName><FromUserName><![CDATA[gh_97417a04a28d]]></FromUserName><CreateTime>1714037060</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[Signing in: attempt-1]]></Content></xml>
}
