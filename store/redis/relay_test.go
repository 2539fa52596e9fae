// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// relay is a network before a server that looks at each request and decides what
// becomes of it. What redistest.Proxy does to whole connections, it does to the
// one command that a test is about.
type relay struct {
	listener net.Listener
	upstream string
	seen     atomic.Int64 // requests, or batches of them
	fate     atomic.Pointer[func(request string) fate]
	done     sync.WaitGroup

	mu     sync.Mutex
	lines  []*line
	closed bool
}

type fate int

const (
	passes     fate = iota
	cutBefore       // the connection is reset, the server never gets the request
	cutAfter        // the server carries the request out, the connection is reset then
	blackHoled      // the connection stays, and from now on no byte passes
)

func newRelay(t testing.TB, upstream string) *relay {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, upstream: upstream}
	r.decide(func(string) fate { return passes })
	r.done.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// decide sets what becomes of requests, which are given in lower case.
func (r *relay) decide(f func(request string) fate) { r.fate.Store(&f) }

// once makes a decision about the first request that contains the text. The
// channel is closed when it has come.
func (r *relay) once(text string, f fate) <-chan struct{} {
	met := make(chan struct{})
	var first sync.Once
	r.decide(func(request string) fate {
		decision := passes
		if strings.Contains(request, text) {
			first.Do(func() {
				decision = f
				close(met)
			})
		}
		return decision
	})
	return met
}

func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for _, l := range r.lines {
		l.reset()
	}
	r.mu.Unlock()
	r.done.Wait()
}

// begin passes on what comes and goes on a connection.
func (r *relay) begin(l *line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		l.reset()
		return
	}
	r.lines = append(r.lines, l)
	r.done.Go(l.requests)
	r.done.Go(l.answers)
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		r.begin(&line{relay: r, client: client, server: server})
	}
}

// line is one connection through a relay.
type line struct {
	relay          *relay
	client, server net.Conn
	hole           atomic.Bool
	cutting        atomic.Bool // at the next answer
	subscribed     atomic.Bool
}

func (l *line) reset() {
	_ = l.client.(*net.TCPConn).SetLinger(0)
	_ = l.client.Close()
	_ = l.server.Close()
}

func (l *line) requests() {
	defer l.reset()
	buf := make([]byte, 256<<10)
	for {
		n, err := l.client.Read(buf)
		if err != nil {
			return
		}
		l.relay.seen.Add(1)
		request := strings.ToLower(string(buf[:n]))
		if isSubscription(request) {
			l.subscribed.Store(true)
		}
		switch (*l.relay.fate.Load())(request) {
		case cutBefore:
			return
		case cutAfter:
			l.cutting.Store(true)
		case blackHoled:
			l.hole.Store(true)
		case passes:
		}
		if l.hole.Load() {
			continue
		}
		if _, err := l.server.Write(buf[:n]); err != nil {
			return
		}
	}
}

func isSubscription(request string) bool { return strings.Contains(request, "\nsubscribe\r") }

func (l *line) answers() {
	defer l.reset()
	buf := make([]byte, 256<<10)
	for {
		n, err := l.server.Read(buf)
		if err != nil || l.cutting.Load() {
			return
		}
		if l.hole.Load() {
			continue
		}
		if _, err := l.client.Write(buf[:n]); err != nil {
			return
		}
	}
}
