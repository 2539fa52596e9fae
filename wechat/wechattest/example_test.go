// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// A program creates a QR code at the simulated API; a person scans it; the
// program's server hears of it and greets the person in the chat.
func ExampleServer() {
	gateway := httptest.NewServer(http.HandlerFunc(greet))
	defer gateway.Close()

	weixin := wechattest.NewServer(wechattest.Options{})
	defer weixin.Close()
	_, err := weixin.AddAccount(wechattest.Account{
		AppID: "wx0123456789abcdef", Secret: "secret", OriginalID: "gh_97417a04a28d",
		Token: "AAAAA", PushURL: gateway.URL,
	})
	if err != nil {
		log.Fatal(err)
	}
	api := httptest.NewServer(weixin)
	defer api.Close()

	var token struct {
		Value string `json:"access_token"`
	}
	call(api.URL+wechattest.EndpointStableToken,
		`{"grant_type":"client_credential","appid":"wx0123456789abcdef","secret":"secret"}`, &token)
	var code struct{ URL string }
	call(api.URL+wechattest.EndpointQRCode+"?access_token="+token.Value,
		`{"expire_seconds":300,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"login"}}}`, &code)

	person := weixin.Phone("小明")
	delivery, err := person.Scan(context.Background(), code.URL)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(delivery.Event.Event, delivery.Event.EventKey)
	for _, m := range person.Chat("wx0123456789abcdef") {
		fmt.Println(m.Text)
	}
	// Output:
	// subscribe qrscene_login
	// 欢迎
}

func greet(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "<xml><ToUserName>%s</ToUserName><FromUserName>gh_97417a04a28d</FromUserName>"+
		"<CreateTime>1</CreateTime><MsgType>text</MsgType><Content>欢迎</Content></xml>", r.URL.Query().Get("openid"))
}

func call(url, body string, answer any) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.Unmarshal(b, answer); err != nil {
		log.Fatal(err)
	}
}
