// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// failure is one way in which WeChat fails, and what the operator's log must say.
type failure struct {
	name, endpoint string
	wechattest.Failure
	log string
}

func failures() []failure {
	unreachable := "WeChat is unavailable"
	return []failure{
		{"error page", wechattest.EndpointQRCode, wechattest.Failure{HTTPStatus: 502, HTML: true}, unreachable},
		{"HTML", wechattest.EndpointQRCode, wechattest.Failure{HTML: true}, unreachable},
		{"status alone", wechattest.EndpointStableToken, wechattest.Failure{HTTPStatus: 500}, unreachable},
		{"hangs", wechattest.EndpointQRCode, wechattest.Failure{Hang: true}, unreachable},
		{"token hangs", wechattest.EndpointStableToken, wechattest.Failure{Hang: true}, unreachable},
		{"slow", wechattest.EndpointQRCode, wechattest.Failure{Slow: time.Minute}, unreachable},
		{"huge", wechattest.EndpointQRCode, wechattest.Failure{Oversize: true}, unreachable},
		{"redirect", wechattest.EndpointQRCode, wechattest.Failure{Redirect: "http://192.0.2.1/steal"}, unreachable},
		{"token redirect", wechattest.EndpointStableToken, wechattest.Failure{Redirect: "http://192.0.2.1/steal"}, unreachable},
		{"truncated", wechattest.EndpointQRCode, wechattest.Failure{Truncated: true}, unreachable},
		{"busy", wechattest.EndpointQRCode, wechattest.Failure{ErrCode: -1, ErrMsg: "system error"}, "busy"},
		{"no permission", wechattest.EndpointQRCode, wechattest.Failure{ErrCode: 48001, ErrMsg: "api unauthorized"}, "已认证的服务号"},
		{"IP not allowed", wechattest.EndpointStableToken, wechattest.Failure{ErrCode: 40164, ErrMsg: "invalid ip 192.0.2.9"}, "IP白名单"},
		{"wrong secret", wechattest.EndpointStableToken, wechattest.Failure{ErrCode: 40125, ErrMsg: "invalid appsecret"}, "AppSecret"},
		{"daily quota", wechattest.EndpointQRCode, wechattest.Failure{ErrCode: 45009, ErrMsg: "reach max api daily quota limit"}, "clear_quota"},
		{"unknown errcode", wechattest.EndpointQRCode, wechattest.Failure{ErrCode: 99999, ErrMsg: "what"}, "99999"},
	}
}

// TestR2WeChatFails: WeChat is slow, huge, HTML, a redirect, or says no, in every
// way that the simulator knows. Visitors are told to try again, in bounded time
// and memory; the operator reads once what to do; who is signed in notices
// nothing; and no error holds a secret.
func TestR2WeChatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	member := w.signIn("member")
	all := failures()
	sites := w.manyAccounts(len(all))
	for i, f := range all {
		w.wechat.Fail(f.endpoint, 0, f.Failure)
		begun := time.Now()
		for range 2 { // the second is told the same, without a second line in the log
			got := sites[i].do(http.MethodPost, "/_wechat/attempts", map[string]string{})
			seconds, err := strconv.Atoi(got.Header.Get("Retry-After"))
			if got.Status != http.StatusServiceUnavailable || got.json(t)["error"] != "wechat_unavailable" || err != nil || seconds < 1 {
				t.Errorf("%s: %d %s, Retry-After %q", f.name, got.Status, got.Body, got.Header.Get("Retry-After"))
			}
		}
		if took := time.Since(begun); took > 15*time.Second {
			t.Errorf("%s: the visitor waits %v", f.name, took)
		}
		w.wechat.ClearFailures(f.endpoint)
		if !member.signedIn() {
			t.Fatalf("%s: the member is signed out", f.name)
		}
		if got := member.do(http.MethodGet, "/_wechat/healthz", nil); got.Status != http.StatusOK {
			t.Errorf("%s: healthz says %d", f.name, got.Status)
		}
		w.checkLog(f, accountName(i))
	}
	w.noSecrets(w.output.String())
	// The first failed long enough ago to be asked again.
	if a := sites[0].begin(); a.State != "pending" {
		t.Errorf("after it is over: %+v", a)
	}
}

// checkLog says that the failure of an account was logged, once, with its cure.
func (w *world) checkLog(f failure, account string) {
	w.t.Helper()
	var lines []string
	for line := range strings.SplitSeq(w.output.String(), "\n") {
		if strings.Contains(line, account) && strings.Contains(line, `"logger":"http.handlers.wechat_auth"`) {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], f.log) {
		w.t.Errorf("%s: the log says %q, want one line with %q", f.name, lines, f.log)
	}
}

func accountName(i int) string { return fmt.Sprintf("wx%016d", i) }

// manyAccounts adds accounts with a site each, because an account that has
// failed is left alone for a while.
func (w *world) manyAccounts(n int) (visitors []*browser) {
	w.t.Helper()
	var accounts, sites strings.Builder
	for i := range n {
		if _, err := w.wechat.AddAccount(wechattest.Account{AppID: accountName(i), Secret: secret}); err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(&accounts, "official_account %s {\n secret {env.WECHAT_SECRET}\n token {env.WECHAT_TOKEN}\n}\n", accountName(i))
		addr := freeAddr(w.t)
		fmt.Fprintf(&sites, "http://%s {\n wechat_auth {\n  accounts %s\n }\n respond hi\n}\n", addr, accountName(i))
		b := w.browser()
		b.origin = "http://" + addr
		visitors = append(visitors, b)
	}
	w.caddyfile = strings.Replace(w.caddyfile, "api_url", accounts.String()+"api_url", 1) + sites.String()
	if err := w.reload(); err != nil {
		w.t.Fatal(err)
	}
	return visitors
}

// noSecrets fails the test if a text holds one of the secrets of the accounts.
func (w *world) noSecrets(text string) {
	w.t.Helper()
	for what, s := range map[string]string{"app secret": secret, "AES key": aesKey, "push token": token} {
		if strings.Contains(text, s) {
			w.t.Errorf("the %s is in the output: %s", what, lineWith(text, s))
		}
	}
	for _, s := range w.account.AccessTokens() {
		if strings.Contains(text, s) {
			w.t.Errorf("an access token is in the output: %s", lineWith(text, s))
		}
	}
}

func lineWith(text, part string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// TestTokenRejected: WeChat ends all access tokens early. Two hundred visitors who
// come at that moment cost one new token, and none of them notices.
func TestTokenRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{wechat: "limit attempts off"})
	w.browser().begin()
	before := w.account.Calls(wechattest.EndpointStableToken)
	w.wechat.RevokeTokens(appID)
	var all sync.WaitGroup
	for range 50 {
		b := w.browser()
		all.Go(func() {
			if got := b.do(http.MethodPost, "/_wechat/attempts", nil); got.Status != http.StatusCreated {
				t.Errorf("POST attempts: %d %s", got.Status, got.Body)
			}
		})
	}
	all.Wait()
	if got := w.account.Calls(wechattest.EndpointStableToken) - before; got != 1 {
		t.Errorf("%d new tokens were asked for, want 1", got)
	}
}

// TestLimitPerClient: one client begins attempts without end, and pretends by
// headers to be many. It is told to wait, WeChat is not asked for its codes, and
// another client is not concerned.
func TestLimitPerClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{wechat: "limit attempts 3/1m"})
	limited := 0
	for i := range 20 {
		got := w.browser().do(http.MethodPost, "/_wechat/attempts", nil, func(r *http.Request) {
			for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Cf-Connecting-Ip", "True-Client-Ip", "X-Client-Ip"} {
				r.Header.Set(name, fmt.Sprintf("192.0.2.%d", i))
			}
		})
		seconds, err := strconv.Atoi(got.Header.Get("Retry-After"))
		switch {
		case got.Status == http.StatusCreated && i < 3:
		case got.Status == http.StatusTooManyRequests && i >= 3 && got.json(t)["error"] == "too_many_attempts" && err == nil && 1 <= seconds && seconds <= 60:
			limited++
		default:
			t.Errorf("attempt %d: %d %s, Retry-After %q", i, got.Status, got.Body, got.Header.Get("Retry-After"))
		}
	}
	if calls := w.account.Calls(wechattest.EndpointQRCode); limited != 17 || calls != 3 {
		t.Errorf("%d attempts refused, WeChat asked %d times", limited, calls)
	}
	other := w.browserAt("127.0.0.2")
	if a := other.begin(); a.State != "pending" {
		t.Errorf("another client: %+v", a)
	}
}

// browserAt is a browser on another machine.
func (w *world) browserAt(ip string) *browser {
	w.t.Helper()
	b := w.browser()
	transport, ok := b.client.Transport.(*http.Transport)
	if !ok {
		w.t.Fatal("the browser has another transport")
	}
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		return d.DialContext(ctx, network, addr)
	}
	return b
}
