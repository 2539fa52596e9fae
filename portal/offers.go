// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-wechat/caddy-wechat/login"
)

// troubleTime is how long a method that WeChat refuses stands behind the others.
const troubleTime = time.Minute

// troubles are the offers that WeChat has refused lately: while an operator mends
// an account, visitors are shown another way first.
type troubles struct {
	mu    sync.Mutex
	until map[Offer]time.Time
}

func (t *troubles) add(o Offer, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until == nil {
		t.until = make(map[Offer]time.Time)
	}
	t.until[o] = now.Add(troubleTime)
}

func (t *troubles) has(o Offer, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Before(t.until[o])
}

// methods returns the methods to offer to a browser, the best first: those that
// work in it, in the operator's order, and behind them those that are in trouble.
func (p *Portal) methods(r *http.Request) []string {
	offers := slices.Clone(p.Offers)
	slices.SortStableFunc(offers, func(a, b Offer) int { return p.rank(r, a) - p.rank(r, b) })
	methods := make([]string, 0, len(offers))
	for _, o := range offers {
		if o.Method == login.InWeChat && !inWeChat(r) && len(offers) > 1 {
			continue // it works nowhere else
		}
		methods = append(methods, o.Method)
	}
	return methods
}

// rank is small for what suits a browser best.
func (p *Portal) rank(r *http.Request, o Offer) int {
	rank := 1
	switch {
	case inWeChat(r):
		if o.Method == login.InWeChat {
			rank = 0
		}
	case onPhone(r):
		// Nobody can scan his own screen.
		rank = slices.Index([]string{login.MiniQR, login.ChatCode, login.OfficialQR, login.WebsiteQR, login.InWeChat}, o.Method)
	}
	if p.troubles.has(o, p.Now()) {
		rank += len(login.Methods)
	}
	return rank
}

// inWeChat says whether the page is open inside WeChat, on a phone or a computer.
// 企业微信 is another app, which calls itself both.
func inWeChat(r *http.Request) bool {
	ua := strings.ToLower(r.UserAgent())
	return strings.Contains(ua, "micromessenger/") && !strings.Contains(ua, "wxwork/")
}

// onPhone says whether the page is open in the browser of a phone.
func onPhone(r *http.Request) bool {
	if inWeChat(r) {
		return false
	}
	if hint := r.Header.Get("Sec-Ch-Ua-Mobile"); hint != "" {
		return hint == "?1"
	}
	ua := r.UserAgent()
	return strings.Contains(ua, "Mobile") && !strings.Contains(ua, "iPad")
}
