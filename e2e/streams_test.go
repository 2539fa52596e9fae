// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// longLived makes the upstream speak WebSocket's handshake and then echo lines,
// at /ws, and send events without end, at /events. Each ended connection is told
// to the channel.
func (u *upstream) longLived() (ended <-chan string) {
	c := make(chan string, 16)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handle = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ws":
			echoLines(w)
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: hello\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			_, _ = io.WriteString(w, "hello "+r.Header.Get("X-User-Id"))
			return
		}
		c <- r.URL.Path
	}
	return c
}

func echoLines(w http.ResponseWriter) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	for _ = rw.Flush(); ; _ = rw.Flush() {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = rw.WriteString(line)
	}
}

// dialWebSocket opens a connection of the browser's through the gate.
func (w *world) dialWebSocket(b *browser) (net.Conn, *bufio.Reader, *http.Response) {
	w.t.Helper()
	conn, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: %s\r\n\r\n", w.addr, b.cookieValue())
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	return conn, r, resp
}

// connections are a WebSocket and an event stream that one session has opened.
type connections struct {
	t      testing.TB
	conn   net.Conn
	socket *bufio.Reader
	events io.Reader
}

func (w *world) connect(b *browser) connections {
	w.t.Helper()
	conn, socket, resp := w.dialWebSocket(b) //nolint:bodyclose // the end of the test does
	if resp.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatalf("upgrading: %d", resp.StatusCode)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.origin()+"/events", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	events, err := b.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = events.Body.Close() })
	if _, err := io.ReadFull(events.Body, make([]byte, len("data: hello\n\n"))); err != nil {
		w.t.Fatal(err)
	}
	c := connections{w.t, conn, socket, events.Body}
	c.expectAlive()
	return c
}

func (c connections) expectAlive() {
	c.t.Helper()
	_, _ = io.WriteString(c.conn, "ping\n")
	if line, err := c.socket.ReadString('\n'); line != "ping\n" {
		c.t.Fatalf("the WebSocket answers %q (%v)", line, err)
	}
}

// expectEnd fails the test unless both are closed on either side of the gate.
func (c connections) expectEnd(upstream <-chan string) {
	c.t.Helper()
	begun := time.Now()
	if _, err := c.socket.ReadByte(); err == nil {
		c.t.Error("the WebSocket goes on")
	}
	if _, err := io.ReadAll(c.events); err == nil || strings.Contains(err.Error(), "Timeout") {
		// Not a clean end: the app has not sent all that it wanted to.
		c.t.Logf("the event stream ends with %v", err)
	}
	await(c.t, upstream, "the end of the first connection at the upstream")
	await(c.t, upstream, "the end of the second connection at the upstream")
	if took := time.Since(begun); took > 5*time.Second {
		c.t.Errorf("closed after %v", took)
	}
}

// TestG4ConnectionsEndWithTheSession: someone has a WebSocket and an event stream
// of the app open, signs out, and would go on reading. However the session ends,
// its connections end with it, and no others.
func TestG4ConnectionsEndWithTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm tap"})
	ended := w.upstream.longLived()
	bystander := w.browser()
	w.signInTap(bystander, "bob")
	other := w.connect(bystander)
	for _, tt := range []struct {
		name string
		end  func(b *browser, link string)
	}{
		{"logout", func(b *browser, _ string) { b.do(http.MethodPost, "/_wechat/logout", url.Values{}) }},
		{"logout everywhere", func(*browser, string) {
			elsewhere := w.browser()
			w.signInTap(elsewhere, "alice")
			elsewhere.do(http.MethodPost, "/_wechat/logout", url.Values{"everywhere": {"true"}})
		}},
		{"not me", func(_ *browser, link string) { w.choose(w.wechat.Phone("alice"), link, "revoke") }},
		{"signing in anew", func(b *browser, _ string) { w.signInTap(b, "alice") }},
	} {
		b := w.browser()
		link := w.signInTap(b, "alice")
		c := w.connect(b)
		tt.end(b, link)
		c.expectEnd(ended)
		other.expectAlive()
	}
	if _, _, resp := w.dialWebSocket(w.browser()); resp.StatusCode != http.StatusUnauthorized { //nolint:bodyclose // the end of the test does
		t.Errorf("a WebSocket without a session: %d", resp.StatusCode)
	}
	if len(ended) > 0 {
		t.Errorf("%d more connections ended at the upstream", len(ended))
	}
}

// TestG4ConnectionsEndWithTheTime: a session is over after its absolute time, and
// so is what it opened, although nobody signs out.
func TestG4ConnectionsEndWithTheTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm tap", wechat: "session {\n ttl 5s\n}"})
	ended := w.upstream.longLived()
	b := w.browser()
	w.signInTap(b, "alice")
	begun := time.Now()
	c := w.connect(b)
	await(t, ended, "the end of a connection at the upstream")
	await(t, ended, "the end of the other connection at the upstream")
	if _, err := c.socket.ReadByte(); err == nil {
		t.Error("the WebSocket goes on")
	}
	if took := time.Since(begun); took > soon {
		t.Errorf("closed after %v", took)
	}
	if b.signedIn() {
		t.Error("the session goes on")
	}
}

// signInTap signs a person in where the account asks for a tap.
func (w *world) signInTap(b *browser, person string) (link string) {
	w.t.Helper()
	a, phone := b.begin(), w.wechat.Phone(person)
	link = w.scan(phone, a)
	if got := w.choose(phone, link, "yes"); got.Status != http.StatusOK {
		w.t.Fatalf("confirming: %d", got.Status)
	}
	a.consume()
	return link
}
