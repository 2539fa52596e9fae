// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// attacker speaks to the gateway byte by byte, as no browser would.
type attacker struct {
	w      *world
	conn   net.Conn
	reader *bufio.Reader
}

func (w *world) attacker() *attacker {
	a := &attacker{w: w}
	w.t.Cleanup(a.hangUp)
	return a
}

func (a *attacker) hangUp() {
	if a.conn != nil {
		_ = a.conn.Close()
		a.conn = nil
	}
}

func (a *attacker) dial() {
	a.w.t.Helper()
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(a.w.t.Context(), "tcp", a.w.addr)
	if err != nil {
		a.w.t.Fatal(err)
	}
	if strings.HasPrefix(a.w.origin(), "https:") {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	a.conn, a.reader = conn, bufio.NewReader(conn)
}

// send sends lines of a request, ended as HTTP ends them, then body as it is, and
// returns the answer. Where the gateway hangs up instead, the status is 0.
func (a *attacker) send(lines []string, body string) answer {
	a.w.t.Helper()
	raw := strings.Join(lines, "\r\n") + "\r\n\r\n" + body
	method, _, _ := strings.Cut(raw, " ")
	reused := a.conn != nil
	if !reused {
		a.dial()
	}
	got, err := a.exchange(method, raw)
	if err != nil && reused { // the connection was closed after the request before
		a.hangUp()
		a.dial()
		got, err = a.exchange(method, raw)
	}
	if err != nil || got.Status == http.StatusSwitchingProtocols {
		a.hangUp()
	}
	return got
}

func (a *attacker) exchange(method, raw string) (answer, error) {
	_ = a.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(a.conn, raw); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(a.reader, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return answer{resp.StatusCode, resp.Header, ""}, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.Close {
		a.hangUp()
	}
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// get asks for a request target as it is written, with more header lines.
func (a *attacker) get(target string, headers ...string) answer {
	a.w.t.Helper()
	return a.send(append([]string{"GET " + target + " HTTP/1.1", "Host: " + a.w.addr}, headers...), "")
}

// cookie returns the Cookie header line of a browser.
func (b *browser) cookie() string {
	b.t.Helper()
	return "Cookie: " + b.cookieValue()
}

func (b *browser) cookieValue() string {
	b.t.Helper()
	u, err := url.Parse(b.origin)
	if err != nil {
		b.t.Fatal(err)
	}
	var pairs []string
	for _, c := range b.client.Jar.Cookies(u) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// userID asks the gateway who is signed in.
func (b *browser) userID() string {
	b.t.Helper()
	got := b.do(http.MethodGet, "/_wechat/me", nil)
	if got.Status != http.StatusOK {
		b.t.Fatalf("GET me: %d %s", got.Status, got.Body)
	}
	id, _ := got.json(b.t)["id"].(string)
	return id
}

// noPanic fails the test if the gateway has reported a panic.
func (w *world) noPanic() {
	w.t.Helper()
	for line := range strings.Lines(w.output.String()) {
		if strings.Contains(line, "panic") {
			w.t.Errorf("the gateway panics: %s", line)
		}
	}
}

// foldHeader is the name that the most lenient upstream, a CGI server, makes of
// a header's: all but letters and digits become "_".
func foldHeader(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			return c
		default:
			return '_'
		}
	}, name)
}

// variable returns all values that the upstream finds under a folded name, such
// as X_USER_ID, whether they came as headers or as trailers.
func (s seen) variable(name string) (values []string) {
	for _, headers := range []http.Header{s.Header, s.Trailer} {
		for got, v := range headers {
			if foldHeader(got) == name {
				values = append(values, v...)
			}
		}
	}
	return values
}

// onlyIdentity fails the test where the upstream finds anything under a managed
// name besides the user's id and openid, or anything at all if id is empty.
func (s seen) onlyIdentity(t testing.TB, id, openID string) {
	t.Helper()
	want := map[string]string{}
	if id != "" {
		want = map[string]string{"X_USER_ID": id, "X_USER_OPENID": openID}
	}
	found := make(map[string][]string)
	for _, headers := range []http.Header{s.Header, s.Trailer} {
		for name, v := range headers {
			if folded := foldHeader(name); strings.HasPrefix(folded, "X_USER_") {
				found[folded] = append(found[folded], v...)
			}
		}
	}
	for name, values := range found {
		if len(values) != 1 || values[0] != want[name] {
			t.Errorf("%s: the upstream finds %q under %s, want %q", s.URI, values, name, want[name])
		}
	}
	for name, value := range want {
		if len(found[name]) == 0 {
			t.Errorf("%s: the upstream does not find %s: %s", s.URI, name, value)
		}
	}
}
