// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// A browser inside WeChat is sent to the link, and comes back with a code.
func ExampleClient_AuthorizeURL() {
	client, err := wechat.NewClient(wechat.Config{AppID: "wxba5fad812f8e6fb9", Secret: "APPSECRET"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	link, err := client.AuthorizeURL(wechat.Authorize{
		Scope: wechat.ScopeBase, RedirectURI: "https://example.com/callback", State: "A3bC9",
	})
	fmt.Println(link, err)
	// Output: https://open.weixin.qq.com/connect/oauth2/authorize?appid=wxba5fad812f8e6fb9&redirect_uri=https%3A%2F%2Fexample.com%2Fcallback&response_type=code&scope=snsapi_base&state=A3bC9#wechat_redirect <nil>
}

// The callback's code, which works once, says who the person is.
func ExampleClient_ExchangeCode() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"access_token":"T","expires_in":7200,"openid":"oGZUI0egBJY1zhBYw2KhdUfwVJJE","scope":"snsapi_base"}`)
	}))
	defer api.Close()
	client, err := wechat.NewClient(wechat.Config{AppID: "wxba5fad812f8e6fb9", Secret: "APPSECRET", APIURL: api.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	callback := url.Values{"code": {"051InRkl22T3me4561ll2HK1I33Ixxxx"}, "state": {"A3bC9"}} // compare the state first
	code, err := wechat.ParseCallback(callback)
	if errors.Is(err, wechat.ErrRefused) {
		fmt.Println("the person does not want to")
		return
	}
	grant, err := client.ExchangeCode(context.Background(), code)
	switch {
	case errors.Is(err, wechat.ErrInvalidCode), errors.Is(err, wechat.ErrVirtualUser):
		fmt.Println("sign in again")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(grant.OpenID)
	}
	// Output: oGZUI0egBJY1zhBYw2KhdUfwVJJE
}
