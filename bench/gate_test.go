// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Package bench measures what the gateway costs. README.md says how to read it.
package bench

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// maxGateAllocs is how many allocations a signed-in request may cost in the gate.
const maxGateAllocs = 10

// gate is a portal with one person signed in.
type gate struct {
	portal *portal.Portal
	cookie string
	store  *storetest.Memory
}

func newGate(t testing.TB, selects func(*http.Request) bool) *gate {
	t.Helper()
	g := &gate{store: new(storetest.Memory)}
	keys, err := session.FixedKeys(strings.Repeat("k", session.MinKeyLen))
	if err != nil {
		t.Fatal(err)
	}
	records, people := session.NewRecords(g.store, nil), user.NewRecords(g.store, nil)
	attempts := login.NewService(g.store, nil, nil)
	t.Cleanup(func() { attempts.Close(); records.Close(); people.Close() })
	sessions := session.NewManager(records, session.Config{TTL: time.Hour, Idle: time.Hour, Keys: keys})
	users := user.NewDirectory(people, user.Policy{Registration: user.Open}, time.Minute)
	u, _, err := users.SignIn(t.Context(), user.Identity{
		AppID: "wx0123456789abcdef", OpenID: "oABCD-0123456789abcdefghijkl", UnionID: "uABCD-0123456789abcdefghijkl",
		Nickname: "张三 😀", Avatar: "https://thirdwx.qlogo.cn/mmopen/vi_32/0123456789/132",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, g.cookie, err = sessions.Issue(t.Context(), session.Session{
		ID: session.NewID(), UserID: u.ID, Site: "example.com", Method: login.OfficialQR, AppID: "wx0123456789abcdef", OpenID: "oABCD-0123456789abcdefghijkl",
	}); err != nil {
		t.Fatal(err)
	}
	g.portal, err = portal.New(portal.Config{
		Title: "Site", Prefix: portal.DefaultPrefix, Origins: []string{"https://example.com"}, Selects: selects,
		Headers: portal.DefaultHeaders(), Cookie: portal.DefaultCookie,
		Login: attempts, Sessions: sessions, Users: users, Store: g.store, Log: zap.NewNop(),
		ClientAddr: func(*http.Request) netip.Addr { return netip.Addr{} },
		Original:   func(r *http.Request) (string, *url.URL) { return r.Method, r.URL },
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// request is one that a browser sends in the middle of using a site.
func request(t testing.TB, cookies string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/app/page?tab=2", nil)
	for name, value := range map[string]string{
		"User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"Accept":     "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
		"Accept-Encoding": "gzip, deflate, br, zstd", "Referer": "https://example.com/app", "Cookie": cookies,
		"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin", "Upgrade-Insecure-Requests": "1",
	} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	return r
}

// server is the part of a server that a benchmark needs: it has the same request
// come in again and again.
type server struct {
	request *http.Request
	header  http.Header
	cookies []string
}

func newServer(t testing.TB, cookies string) *server {
	r := request(t, cookies)
	return &server{request: r, header: r.Header.Clone(), cookies: make([]string, 1)}
}

// next returns the request as if it had just come in: the gate changes it.
func (s *server) next() *http.Request {
	clear(s.request.Header)
	maps.Copy(s.request.Header, s.header)
	if line := s.header["Cookie"]; line != nil {
		copy(s.cookies, line)
		s.request.Header["Cookie"] = s.cookies
	}
	return s.request
}

// run sends the request b.N times through the gate, and then past it: the
// difference in processor time, garbage collection included, is the gate's. Unlike
// ns/op it does not grow when the machine is busy with something else.
func (g *gate) run(b *testing.B, cookies string) {
	s, w := newServer(b, cookies), httptest.NewRecorder()
	passed := 0
	next := func(http.ResponseWriter, *http.Request, *portal.Principal) error {
		passed++
		return nil
	}
	b.ReportAllocs()
	begun := cpuTime(b)
	n := 0
	for b.Loop() {
		_ = g.portal.Serve(w, s.next(), next)
		n++
	}
	with := cpuTime(b) - begun
	if passed != n {
		b.Fatalf("%d of %d requests pass", passed, n)
	}
	begun = cpuTime(b)
	for range n {
		_ = next(w, s.next(), nil)
	}
	without := cpuTime(b) - begun
	b.ReportMetric(float64((with-without).Nanoseconds())/float64(n), "gate-cpu-ns/op")
}

// cpuTime is the processor time that this process has used.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkGate is a signed-in request in the gate alone: headers scrubbed, cookie
// and session checked, identity headers set.
func BenchmarkGate(b *testing.B) {
	g := newGate(b, nil)
	g.run(b, "theme=dark; __Host-wechat_session="+g.cookie+"; _ga=GA1.1.1234567890.1234567890")
}

// BenchmarkGate_Unguarded is a request without any cookie on an unguarded path.
func BenchmarkGate_Unguarded(b *testing.B) {
	g := newGate(b, func(*http.Request) bool { return false })
	g.run(b, "")
}

// BenchmarkGate_Parallel is BenchmarkGate on all processors, by one person.
func BenchmarkGate_Parallel(b *testing.B) {
	g := newGate(b, nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		s, w := newServer(b, "__Host-wechat_session="+g.cookie), httptest.NewRecorder()
		for pb.Next() {
			_ = g.portal.Serve(w, s.next(), func(http.ResponseWriter, *http.Request, *portal.Principal) error { return nil })
		}
	})
}

// TestGate_Allocations keeps the count from creeping up; the time is the
// benchmark's to tell.
func TestGate_Allocations(t *testing.T) {
	g := newGate(t, nil)
	s, w := newServer(t, "theme=dark; __Host-wechat_session="+g.cookie), httptest.NewRecorder()
	passed := 0
	next := func(http.ResponseWriter, *http.Request, *portal.Principal) error { passed++; return nil }
	allocs := testing.AllocsPerRun(1000, func() { _ = g.portal.Serve(w, s.next(), next) })
	if passed != 1001 { // AllocsPerRun warms up with one
		t.Fatalf("%d of 1001 requests pass", passed)
	}
	if allocs > maxGateAllocs {
		t.Errorf("a signed-in request costs %v allocations in the gate, want at most %d", allocs, maxGateAllocs)
	}
}
