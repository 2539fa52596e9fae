// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestDescribeUserAgent(t *testing.T) {
	for _, tt := range []struct{ ua, want string }{
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", "Chrome · Windows"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", "Edge · Windows"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15", "Safari · macOS"},
		{"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox · Linux"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.50", "WeChat · iPhone"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1", "Chrome · iPhone"},
		{"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36", "Chrome · Android"},
		{"Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36", "Samsung Internet · Android"},
		{"curl/8.5.0", "未知浏览器"},
		{"", "未知浏览器"},
		{"something (Windows)", "Windows"},
		{"Firefox/1", "Firefox"},
		{"<script>alert(1)</script> {link} http://evil.example Firefox/1", "Firefox"},
	} {
		if got := describeUserAgent(tt.ua); got != tt.want {
			t.Errorf("describeUserAgent(%q) = %q, want %q", tt.ua, got, tt.want)
		}
	}
}

// A stranger's header ends up in somebody's chat: only words of ours may.
func FuzzDescribeUserAgent(f *testing.F) {
	f.Add("Mozilla/5.0 (Windows) Chrome/1")
	words := map[string]bool{"未知浏览器": true, "·": true}
	for _, tokens := range [][]uaToken{uaBrowsers, uaSystems} {
		for _, token := range tokens {
			for word := range strings.FieldsSeq(token.name) {
				words[word] = true
			}
		}
	}
	f.Fuzz(func(t *testing.T, ua string) {
		for word := range strings.FieldsSeq(describeUserAgent(ua)) {
			if !words[word] {
				t.Errorf("%q comes out of %q", word, ua)
			}
		}
	})
}

func TestLimiter(t *testing.T) {
	l := newLimiter(Rate{Count: 3, Per: time.Minute})
	a, now := netip.MustParseAddr("192.0.2.1"), noon
	for range 3 {
		if wait := l.take(a, now); wait != 0 {
			t.Fatalf("within the limit the wait is %v", wait)
		}
	}
	// Refused turns are not counted: who hammers waits no longer than who does not.
	for range 1000 {
		if wait := l.take(a, now); wait <= 0 || wait > 20*time.Second {
			t.Fatalf("beyond the limit the wait is %v, want up to 20 s", wait)
		}
	}
	if wait := l.take(a, now.Add(20*time.Second)); wait != 0 {
		t.Errorf("after the wait one has to wait %v more", wait)
	}
	if wait := l.take(a, now.Add(20*time.Second)); wait == 0 {
		t.Error("one turn came back, and two are given")
	}
}

// One client uses up all it may. Nobody else notices (Q14).
func TestLimiter_OneClientLocksNobodyOut(t *testing.T) {
	l := newLimiter(Rate{Count: 1, Per: time.Hour})
	for _, attacker := range []string{"192.0.2.1", "2001:db8:1:2::1"} {
		for range 100 {
			l.take(netip.MustParseAddr(attacker), noon)
		}
	}
	for _, victim := range []string{"192.0.2.2", "192.0.2.0", "2001:db8:1:3::1", "2001:db8::1"} {
		if wait := l.take(netip.MustParseAddr(victim), noon); wait != 0 {
			t.Errorf("%s waits %v", victim, wait)
		}
	}
}

// An IPv6 client has 2^64 addresses to choose from, and counts as one; so does an
// IPv4 client however its address is written.
func TestClientPrefix(t *testing.T) {
	for _, tt := range []struct{ a, b string }{
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"},
		{"fe80::1%eth0", "fe80::2%eth1"},
		{"192.0.2.1", "::ffff:192.0.2.1"},
	} {
		if a, b := clientPrefix(netip.MustParseAddr(tt.a)), clientPrefix(netip.MustParseAddr(tt.b)); a != b {
			t.Errorf("%s and %s are two clients, %v and %v", tt.a, tt.b, a, b)
		}
	}
	for _, tt := range []struct{ a, b string }{
		{"2001:db8:1:2::1", "2001:db8:1:3::1"}, {"192.0.2.1", "192.0.2.2"}, {"::ffff:192.0.2.1", "::ffff:192.0.2.2"}, {"::1", "127.0.0.1"},
	} {
		if a, b := clientPrefix(netip.MustParseAddr(tt.a)), clientPrefix(netip.MustParseAddr(tt.b)); a == b {
			t.Errorf("%s and %s are one client, %v", tt.a, tt.b, a)
		}
	}
	if l := newLimiter(Rate{Count: 1, Per: time.Hour}); l.take(netip.Addr{}, noon) != 0 || l.take(netip.Addr{}, noon) == 0 {
		t.Error("clients without an address are not limited together")
	}
}

func TestLimiter_Off(t *testing.T) {
	for _, l := range []*limiter{newLimiter(Rate{}), newLimiter(Rate{Per: time.Minute})} {
		for range 1000 {
			if wait := l.take(netip.MustParseAddr("192.0.2.1"), noon); wait != 0 {
				t.Fatalf("without a limit the wait is %v", wait)
			}
		}
	}
}

// A botnet cannot make the limiter take more and more memory.
func TestLimiter_IsBounded(t *testing.T) {
	l := newLimiter(Rate{Count: 1, Per: time.Hour})
	for i := range uint32(3 * limitedClients) {
		l.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), noon)
	}
	l.buckets.CleanUp()
	if n := l.buckets.EstimatedSize(); n > limitedClients {
		t.Errorf("%d clients are remembered, more than %d", n, limitedClients)
	}
}

func TestLimiter_Concurrent(t *testing.T) {
	l := newLimiter(Rate{Count: 50, Per: time.Hour})
	var mu sync.Mutex
	var all sync.WaitGroup
	granted := 0
	for range 200 {
		all.Go(func() {
			if l.take(netip.MustParseAddr("192.0.2.1"), noon) == 0 {
				mu.Lock()
				defer mu.Unlock()
				granted++
			}
		})
	}
	all.Wait()
	if granted != 50 {
		t.Errorf("%d of 200 turns are granted, want 50", granted)
	}
}

func TestThrottle(t *testing.T) {
	now, calls := noon, 0
	th := newThrottle(func() time.Time { return now })
	do := func(key string) { th.do(key, func() { calls++ }) }
	for range 100 {
		do("a")
	}
	do("b")
	if calls != 2 {
		t.Errorf("%d warnings of two kinds, want 2", calls)
	}
	now = now.Add(warnEvery - 1)
	do("a")
	if calls != 2 {
		t.Error("a warning comes again too early")
	}
	now = now.Add(1)
	do("a")
	if calls != 3 {
		t.Error("a warning does not come again after a minute")
	}
	th.do("c", func() { th.do("d", func() { calls++ }) }) // no deadlock
	if leftOut, due := th.due("b"); leftOut != 0 || !due {
		t.Errorf("nothing of b was left out, and it is told that %d were (%v)", leftOut, due)
	}
	now = now.Add(warnEvery)
	if leftOut, due := th.due("a"); leftOut != 0 || !due {
		t.Errorf("%d of a were left out (%v), want those since the last one only", leftOut, due)
	}
}

// Mallory has as many kinds of something as she has users: not all are remembered.
func TestThrottle_Bounded(t *testing.T) {
	th := newThrottle(func() time.Time { return noon })
	for i := range 2 * throttledKinds {
		th.due(strconv.Itoa(i))
	}
	th.kinds.CleanUp()
	if n := th.kinds.EstimatedSize(); n > throttledKinds {
		t.Errorf("%d kinds are remembered, want at most %d", n, throttledKinds)
	}
}

func TestCookies(t *testing.T) {
	expires := noon.Add(time.Hour)
	for _, tt := range []struct {
		name, domain string
		secure       bool
		want         string
	}{
		{"TLS", "", true, "__Host-wechat_session=value; Path=/; Expires=Fri, 01 May 2026 13:00:00 GMT; HttpOnly; Secure; SameSite=Lax"},
		{"TLS and a domain", "example.com", true, "__Secure-wechat_session=value; Path=/; Domain=example.com; Expires=Fri, 01 May 2026 13:00:00 GMT; HttpOnly; Secure; SameSite=Lax"},
		{"plain on loopback", "", false, "wechat_session=value; Path=/; Expires=Fri, 01 May 2026 13:00:00 GMT; HttpOnly; SameSite=Lax"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCookies(DefaultCookie, tt.domain, tt.secure)
			w := httptest.NewRecorder()
			c.setSession(w, "value", expires)
			if diff := cmp.Diff([]string{tt.want}, w.Header()["Set-Cookie"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			w = httptest.NewRecorder()
			c.clearSession(w)
			cleared := w.Result().Cookies()
			if len(cleared) != 1 || cleared[0].Name != c.session || cleared[0].MaxAge != -1 || cleared[0].Value != "" || cleared[0].Domain != tt.domain || cleared[0].Secure != tt.secure {
				t.Errorf("clearing: %v", cleared)
			}
		})
	}
}

// The browser's secret is for this host alone, even where the session is not.
func TestCookies_BrowserIsHostBound(t *testing.T) {
	c := newCookies(DefaultCookie, "example.com", true)
	w := httptest.NewRecorder()
	secret := c.bind(w, "")
	set := w.Result().Cookies()
	if len(set) != 1 || set[0].Name != "__Host-wechat_browser" || set[0].Domain != "" || !set[0].HttpOnly || !set[0].Secure || set[0].Value != secret || !set[0].Expires.IsZero() {
		t.Errorf("cookies: %v", set)
	}
}

// An attacker plants a browser cookie of his choice (G8): what is not one of ours
// is not adopted, and one that is stays.
func TestCookies_Bind(t *testing.T) {
	c := newCookies(DefaultCookie, "", true)
	ours := c.bind(httptest.NewRecorder(), "")
	for _, planted := range []string{"", "x", strings.Repeat("A", 25), strings.Repeat("A", 27), strings.Repeat("a", 26), strings.Repeat("1", 26), strings.Repeat("=", 26), strings.Repeat("é", 13), ours + " "} {
		w := httptest.NewRecorder()
		if got := c.bind(w, planted); got == planted || !isBrowserSecret(got) || len(w.Header()["Set-Cookie"]) != 1 {
			t.Errorf("planting %q: bound to %q", planted, got)
		}
	}
	w := httptest.NewRecorder()
	if got := c.bind(w, ours); got != ours || len(w.Header()) != 0 {
		t.Errorf("a browser that has a secret gets %q", got)
	}
}

func TestIsNavigation(t *testing.T) {
	type h = map[string]string
	for _, tt := range []struct {
		name   string
		method string
		header h
		want   bool
	}{
		{"typed address", "GET", h{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html,*/*"}, true},
		{"typed address, HEAD", "HEAD", h{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, true},
		{"old browser", "GET", h{"Accept": "text/html,application/xhtml+xml"}, true},
		{"no destination", "GET", h{"Sec-Fetch-Mode": "navigate"}, true},
		{"form post", "POST", h{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}, false},
		{"fetch", "GET", h{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "text/html"}, false},
		{"frame", "GET", h{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Accept": "text/html"}, false},
		{"image", "GET", h{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Accept": "image/*"}, false},
		{"old XHR", "GET", h{"Accept": "application/json"}, false},
		{"curl", "GET", h{"Accept": "*/*"}, false},
		{"nothing said", "GET", nil, false},
		{"WebSocket", "GET", h{"Upgrade": "websocket", "Connection": "Upgrade", "Accept": "text/html"}, false},
		{"preflight", "OPTIONS", h{"Accept": "text/html"}, false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), tt.method, "/", nil)
		for name, value := range tt.header {
			r.Header.Set(name, value)
		}
		if got := isNavigation(r); got != tt.want {
			t.Errorf("%s: isNavigation = %v", tt.name, got)
		}
	}
}

// Where a request comes from is said by two headers, and by neither of them wrongly
// (G11). The scheme counts, and silence is no consent.
func TestSameOrigin(t *testing.T) {
	u := newUnit(t)
	type h = map[string][]string
	for _, tt := range []struct {
		name   string
		header h
		want   bool
	}{
		{"own origin", h{"Origin": {unitOrigin}}, true},
		{"own origin and fetch metadata", h{"Origin": {unitOrigin}, "Sec-Fetch-Site": {"same-origin"}}, true},
		{"fetch metadata alone", h{"Sec-Fetch-Site": {"same-origin"}}, true},
		{"nothing said", nil, false},
		{"null", h{"Origin": {"null"}}, false},
		{"null, fetch metadata good", h{"Origin": {"null"}, "Sec-Fetch-Site": {"same-origin"}}, false},
		{"empty origin", h{"Origin": {""}}, false},
		{"foreign", h{"Origin": {"https://evil.example"}}, false},
		{"foreign, fetch metadata forged", h{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"same-origin"}}, false},
		{"http", h{"Origin": {"http://example.com"}}, false},
		{"another port", h{"Origin": {unitOrigin + ":8443"}}, false},
		{"subdomain", h{"Origin": {"https://a.example.com"}}, false},
		{"suffix", h{"Origin": {unitOrigin + ".evil.example"}}, false},
		{"user info", h{"Origin": {"https://example.com@evil.example"}}, false},
		{"path", h{"Origin": {unitOrigin + "/"}}, false},
		{"upper case", h{"Origin": {"https://EXAMPLE.COM"}}, false},
		{"same site", h{"Sec-Fetch-Site": {"same-site"}}, false},
		{"cross site", h{"Origin": {unitOrigin}, "Sec-Fetch-Site": {"cross-site"}}, false},
		{"by the person", h{"Sec-Fetch-Site": {"none"}}, false},
		{"two origins", h{"Origin": {unitOrigin, unitOrigin}}, false},
		{"two sites", h{"Sec-Fetch-Site": {"same-origin", "same-origin"}}, false},
		{"list", h{"Origin": {unitOrigin + ", https://evil.example"}}, false},
	} {
		passed := false
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		r.Host = "example.com"
		maps.Copy(r.Header, tt.header)
		u.sameOrigin(func(http.ResponseWriter, *http.Request) { passed = true })(w, r)
		if passed != tt.want || !passed && w.Code != http.StatusForbidden {
			t.Errorf("%s: passed %v, status %d; want %v", tt.name, passed, w.Code, tt.want)
		}
	}
}

// The Host header chooses among the configured origins, and cannot add one.
func TestOrigin(t *testing.T) {
	u := newUnit(t)
	for host, want := range map[string]string{
		"example.com": unitOrigin, "EXAMPLE.com": unitOrigin, "example.com:443": unitOrigin, "www.example.com": "https://www.example.com:8443",
		"www.example.com:1": "https://www.example.com:8443", "evil.example": unitOrigin, "": unitOrigin, "example.com@evil.example": unitOrigin,
		"www.example.com/evil": "https://www.example.com:8443", "a b": unitOrigin, "[::1": unitOrigin, "example.com.": unitOrigin,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Host = host
		if got := u.origin(r); got != want {
			t.Errorf("origin for Host %q is %q, want %q", host, got, want)
		}
	}
}

func TestTruncate(t *testing.T) {
	for i := range 30 {
		if got := truncate("浏览器 user agent 😀", i); len(got) > i || !utf8.ValidString(got) {
			t.Errorf("truncate to %d = %q", i, got)
		}
	}
}

func TestSetRetryAfter(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "1", time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Minute: "60", -time.Hour: "1"} {
		w := httptest.NewRecorder()
		setRetryAfter(w, d)
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("Retry-After for %v is %q, want %q", d, got, want)
		}
	}
}

func TestMaskOpenID(t *testing.T) {
	for _, id := range []string{"", "o", "oABCDEFG", "oABCDEFGHIJKLMNOPQRSTUVWXYZ1"} {
		if got := maskOpenID(id); id != "" && strings.Contains(got, id) || len(got) > len("oABC…Z1") {
			t.Errorf("maskOpenID(%q) = %q", id, got)
		}
	}
}

func ExampleRate() {
	l := newLimiter(Rate{Count: 1, Per: time.Minute})
	client := netip.MustParseAddr("192.0.2.1")
	fmt.Println(l.take(client, noon), l.take(client, noon))
	// Output: 0s 1m0s
}
