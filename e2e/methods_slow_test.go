// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// TestWebsiteSlowWeChat: WeChat is slow to say who has agreed, or never does. Each
// callback is answered with a page in bounded time, and the attempt ends.
func TestWebsiteSlowWeChat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		token, userInfo wechattest.Failure
	}{
		{"token hangs", wechattest.Failure{Hang: true}, wechattest.Failure{}},
		{"profile hangs", wechattest.Failure{Slow: time.Millisecond}, wechattest.Failure{Hang: true}},
		{"token slow, profile hangs", wechattest.Failure{Slow: 4 * time.Second}, wechattest.Failure{Hang: true}},
		{"token huge", wechattest.Failure{Oversize: true}, wechattest.Failure{}},
		{"token HTML", wechattest.Failure{HTML: true}, wechattest.Failure{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{})
			b := m.browser()
			a := b.beginBy("website_qr")
			path := m.agree(m.wechat.Phone("alice"), a)
			m.wechat.Fail(wechattest.EndpointOAuthToken, 0, tt.token)
			m.wechat.Fail(wechattest.EndpointUserInfo, 0, tt.userInfo)
			begun := time.Now()
			got := together(2, func(int) int {
				answer := b.back(path)
				if answer.Status < 400 || len(answer.Body) == 0 {
					t.Errorf("callback: %d %q", answer.Status, answer.Body)
				}
				return answer.Status
			})
			if took := time.Since(begun); took > 12*time.Second || got[http.StatusBadGateway] != 1 {
				t.Errorf("two callbacks: %v after %v", got, took)
			}
			a.stays("denied", tt.name)
			if a.Reason != "exchange" {
				t.Errorf("the reason is %q", a.Reason)
			}
		})
	}
}

// TestWebsiteVisitorHangsUp: WeChat's browser calls back, hangs up, and calls again.
// The first call does its work all the same; the second brings what came of it.
func TestWebsiteVisitorHangsUp(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	b := m.browser()
	path := m.agree(m.wechat.Phone("alice"), b.beginBy("website_qr"))
	m.wechat.Fail(wechattest.EndpointOAuthToken, 1, wechattest.Failure{Slow: time.Second})
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.origin()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() {
		resp, err := b.client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		gone <- err
	}()
	limit, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for m.website.Calls(wechattest.EndpointOAuthToken) == 0 {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("WeChat is not asked")
		}
	}
	hangUp()
	if err := <-gone; err == nil {
		t.Fatal("the first call was answered: the test shows nothing")
	}
	if got := b.back(path); got.Status != http.StatusSeeOther || !b.signedIn() {
		t.Errorf("the second call: %d %s", got.Status, got.Body)
	}
	if calls := m.website.Calls(wechattest.EndpointOAuthToken); calls != 1 {
		t.Errorf("%d exchanges", calls)
	}
}
