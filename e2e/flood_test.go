// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// behindProxy lets a test's requests come from any address.
const behindProxy = "servers {\n trusted_proxies static 127.0.0.1/8\n}"

func from(address string) func(*http.Request) { return header("X-Forwarded-For", address) }

// TestQ14Flood: a botnet begins sign-ins from a thousand addresses in four networks.
// WeChat is asked less often than its quota allows, the operator hears of it, who
// is signed in notices nothing, and visitors from elsewhere still get a code.
func TestQ14Flood(t *testing.T) {
	t.Parallel()
	const perDay = 1000
	w := newWorld(t, options{account: "confirm off", global: behindProxy, wechat: fmt.Sprintf("limit qr_codes %d/24h", perDay)})
	resident := w.browser().begin()
	w.scan(w.wechat.Phone("alice"), resident)
	resident.consume()
	statuses := w.flood(1000, func(b *browser, address string) answer {
		return b.do(http.MethodPost, "/_wechat/attempts", map[string]string{}, from(address))
	})
	if calls := w.account.Calls(wechattest.EndpointQRCode); calls > perDay/2 || calls < perDay/3 {
		t.Errorf("WeChat is asked %d times, want at most %d", calls, perDay/2)
	}
	if statuses[http.StatusServiceUnavailable] < 1000-perDay/2 || statuses[http.StatusCreated]+statuses[http.StatusServiceUnavailable] != 1000 {
		t.Errorf("the flood is answered %v", statuses)
	}
	// Loading pages asks WeChat nothing.
	calls := w.account.Calls(wechattest.EndpointQRCode)
	pages := w.flood(1000, func(b *browser, address string) answer { return b.get("/", from(address)) })
	if got := w.account.Calls(wechattest.EndpointQRCode); got != calls || pages[http.StatusUnauthorized] != 1000 {
		t.Errorf("a thousand page loads: %v, and WeChat is asked %d times", pages, got-calls)
	}
	got := w.browser().do(http.MethodPost, "/_wechat/attempts", map[string]string{}, from("198.18.0.200"))
	if got.Status != http.StatusServiceUnavailable || got.json(t)["error"] != "wechat_unavailable" || got.Header.Get("Retry-After") == "" {
		t.Errorf("beyond the budget: %d %v %s", got.Status, got.Header, got.Body)
	}
	for _, honest := range []string{"203.0.113.9", "2001:db8::9"} {
		if got := w.browser().do(http.MethodPost, "/_wechat/attempts", map[string]string{}, from(honest)); got.Status != http.StatusCreated {
			t.Errorf("a visitor from %s: %d %s", honest, got.Status, got.Body)
		}
	}
	if !resident.browser.signedIn() {
		t.Error("who is signed in is turned away")
	}
	if log := w.output.String(); strings.Count(log, "too many visitors want to sign in") == 0 || !strings.Contains(log, "limit qr_codes") {
		t.Error("the operator is not told")
	}
	// A reload is no way to get more out of WeChat.
	if err := w.reload(); err != nil {
		t.Fatal(err)
	}
	got = w.browser().do(http.MethodPost, "/_wechat/attempts", map[string]string{}, from("198.18.0.201"))
	if after := w.account.Calls(wechattest.EndpointQRCode); got.Status == http.StatusCreated && after > perDay/2 {
		t.Errorf("after a reload WeChat is asked %d times", after)
	}
}

// flood sends requests from so many addresses, 250 in each network, and counts
// the answers by status.
func (w *world) flood(n int, send func(b *browser, address string) answer) map[int]int {
	w.t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	statuses := make(map[int]int)
	const senders = 8
	for sender := range senders {
		b := w.browser()
		b.client.Jar = nil
		all.Go(func() {
			for i := sender; i < n; i += senders {
				got := send(b, fmt.Sprintf("198.18.%d.%d", i/250, i%250))
				mu.Lock()
				statuses[got.Status]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return statuses
}

// TestQ14NetworkLimit: who has a whole network of addresses begins ten times as many
// attempts as who has one, and no more.
func TestQ14NetworkLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{global: behindProxy, wechat: "limit attempts 2/1h"})
	statuses := w.flood(100, func(b *browser, address string) answer {
		return b.do(http.MethodPost, "/_wechat/attempts", map[string]string{}, from(address))
	})
	if statuses[http.StatusCreated] != 20 || statuses[http.StatusTooManyRequests] != 80 || w.account.Calls(wechattest.EndpointQRCode) != 20 {
		t.Errorf("100 addresses of one network are answered %v", statuses)
	}
	if got := w.browser().do(http.MethodPost, "/_wechat/attempts", map[string]string{}, from("198.18.1.1")); got.Status != http.StatusCreated {
		t.Errorf("another network: %d %s", got.Status, got.Body)
	}
}

// TestQ14GuessesLockNobodyOut: somebody in the same office sends links that lead
// nowhere until he is turned away. His colleague, with the same address, confirms.
func TestQ14GuessesLockNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{wechat: "limit confirms 3/1h"})
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	link := w.scan(phone, a)
	mallory, limited := w.browser(), 0
	for range 25 { // fewer than ten times the limit
		got := mallory.get("/_wechat/confirm/" + strings.Repeat("A", 26))
		if got.Status == http.StatusTooManyRequests && got.Header.Get("Retry-After") != "" {
			limited++
		}
	}
	if limited != 22 {
		t.Errorf("%d of 25 guesses are turned away, want 22", limited)
	}
	if got := w.openLink(phone, link); got.Status != http.StatusOK {
		t.Fatalf("the colleague's link: %d", got.Status)
	}
	if got := w.choose(phone, link, a.Number); got.Status != http.StatusOK {
		t.Errorf("the colleague confirms: %d", got.Status)
	}
	a.consume()
}
