// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// seen is a request as the upstream app saw it.
type seen struct {
	Method, URI, Host string
	Header            http.Header
	Trailer           http.Header
}

// upstream is the app behind the gateway. It answers "hello" and remembers what
// reached it.
type upstream struct {
	server *httptest.Server
	mu     sync.Mutex
	all    []seen
	// handle, if set, answers instead.
	handle http.HandlerFunc
}

func newUpstream(t testing.TB) *upstream {
	t.Helper()
	u := &upstream{}
	u.server = httptest.NewServer(u)
	t.Cleanup(u.server.Close)
	return u
}

func (u *upstream) addr() string { return strings.TrimPrefix(u.server.URL, "http://") }

// ServeHTTP implements http.Handler.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	handle := u.handle
	u.mu.Unlock()
	if handle != nil {
		handle(w, r)
		return
	}
	body := http.MaxBytesReader(w, r.Body, 1<<20)
	_, _ = body.Read(make([]byte, 1<<20)) // trailers come after the body
	for {
		if _, err := body.Read(make([]byte, 4096)); err != nil {
			break
		}
	}
	u.mu.Lock()
	u.all = append(u.all, seen{r.Method, r.RequestURI, r.Host, r.Header.Clone(), r.Trailer.Clone()})
	u.mu.Unlock()
	_, _ = w.Write([]byte("hello " + r.Header.Get("X-User-Id")))
}

// requests returns what has reached the upstream, and forgets it.
func (u *upstream) requests() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.all
	u.all = nil
	return all
}

// last returns the newest request that reached the upstream.
func (u *upstream) last(t testing.TB) seen {
	t.Helper()
	all := u.requests()
	if len(all) == 0 {
		t.Fatal("nothing reached the upstream")
	}
	return all[len(all)-1]
}
