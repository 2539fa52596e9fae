// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// oddNames makes Caddy let through what it drops by default: headers whose names
// have "_" or "." in them. What is under test is the gate, not Caddy's default.
const oddNames = `servers {
		expected_underscore_headers x_user_* x-user_* x_user-* x_user.id x-user_id.x x_login x_auth_user
		expected_dot_headers x.user.* x-user.* x.user-* x.user_id x.login x.auth.user
	}`

// spellings are all that an upstream folds to X_USER_ID.
func spellings() (names []string) {
	for _, a := range "-_.!~+|'*^`#$%&" {
		for _, b := range "-_.!~" {
			name := "x" + string(a) + "user" + string(b) + "id"
			names = append(names, name, strings.ToUpper(name), "X"+name[1:6]+strings.ToUpper(name[6:]))
		}
	}
	return names
}

// ungated adds a site without a gate in front of the same upstream, and returns
// its origin: what gets through there is what only the gate can stop.
func (w *world) ungated() string {
	w.t.Helper()
	addr := freeAddr(w.t)
	w.caddyfile += fmt.Sprintf("http://%s {\n\treverse_proxy %s\n}\n", addr, w.upstream.addr())
	if err := w.reload(); err != nil {
		w.t.Fatal(err)
	}
	return "http://" + addr
}

// spoof sets a header under a name exactly as it is spelled.
func spoof(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header[name] = []string{value} }
}

// TestH1ManagedHeadersInAnySpelling: Mallory is signed in and sends X_User_Id: alice
// beside the X-User-Id: mallory that the gate sets. PHP, WSGI and Rack know both
// as HTTP_X_USER_ID, and take whichever comes last. Every spelling that any server
// folds to the same variable has to be gone.
func TestH1ManagedHeadersInAnySpelling(t *testing.T) {
	t.Parallel()
	gateTested := make(map[string]bool)
	for _, global := range []string{"", oddNames} {
		w := newWorld(t, options{global: global})
		ungated := w.ungated()
		openID := w.wechat.Phone("mallory").OpenID(appID)
		b := w.signIn("mallory")
		id := b.userID()
		for _, name := range spellings() {
			direct := &browser{t: t, client: b.client, origin: ungated}
			direct.get("/direct", spoof(name, "alice"))
			if len(w.upstream.last(t).variable("X_USER_ID")) > 0 {
				gateTested[name] = true
			}
			if got := b.get("/a/b?c=d", spoof(name, "alice")); got.Status != http.StatusOK {
				t.Fatalf("%s: %d %s", name, got.Status, got.Body)
			}
			w.upstream.last(t).onlyIdentity(t, id, openID)
		}
	}
	for _, name := range spellings() {
		dropped := strings.Trim(name, "xuseridXUSERID-_.") != "" && strings.ContainsAny(name, "_.")
		if !gateTested[name] && !dropped {
			t.Errorf("%s: Caddy itself stops it: the gate is not what is tested", name)
		}
	}
}

// TestH1RawSpellings repeats the attack with requests that no client library
// makes: duplicates, folded lines, spaces around names, two of them in a row on
// one connection, and a body that contains a second request.
func TestH1RawSpellings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{global: oddNames})
	b := w.signIn("mallory")
	id, openID := b.userID(), w.wechat.Phone("mallory").OpenID(appID)
	a := w.attacker()
	for _, tt := range []struct {
		name    string
		headers []string
	}{
		{"twice", []string{"X-User-Id: alice", "x-user-id: alice"}},
		{"two spellings", []string{"X_User_Id: alice", "X.User.Id: alice", "X-User-Id: alice"}},
		{"folded line", []string{"X-Any: a", " X-User-Id: alice"}},
		{"space before the colon", []string{"X-User-Id : alice"}},
		{"tab before the colon", []string{"X-User-Id\t: alice"}},
		{"space inside", []string{"X User Id: alice"}},
		{"bare CR", []string{"X-Any: a\rX-User-Id: alice"}},
		{"bare LF", []string{"X-Any: a\nX-User-Id: alice"}},
		{"NUL", []string{"X-User\x00-Id: alice"}},
		{"no name", []string{": alice"}},
		{"Kelvin sign and long s", []string{"X-U\u017fer-Id: alice"}},
		{"unknown managed name", []string{"X-User-Admin: 1", "X_User_Groups: root"}},
		{"length and chunks", []string{"Transfer-Encoding: chunked", "Content-Length: 5"}},
	} {
		w.upstream.requests()
		a.hangUp()
		lines := []string{"GET /" + strings.ReplaceAll(tt.name, " ", "-") + " HTTP/1.1", "Host: " + w.addr, b.cookie(), "Connection: close"}
		got := a.send(append(lines, tt.headers...), "0\r\n\r\n")
		all := w.upstream.requests()
		if len(all) > 1 {
			t.Errorf("%s: one request became %d: %v", tt.name, len(all), all)
		}
		if len(all) == 0 && got.Status == http.StatusOK {
			t.Errorf("%s: answered without the upstream: %+v", tt.name, got)
		}
		for _, s := range all {
			s.onlyIdentity(t, id, openID)
		}
	}
	// The body is a request of its own to whoever miscounts it.
	w.upstream.requests()
	inner := "GET /smuggled HTTP/1.1\r\nHost: x\r\nX-User-Id: alice\r\n\r\n"
	for _, headers := range [][]string{
		{fmt.Sprint("Content-Length: ", len(inner))},
		{fmt.Sprint("Content-Length: ", len(inner)), "Content-Length: 0"},
		{"Content-Length: 0", "Transfer-Encoding : chunked"},
		{"Transfer-Encoding: chunked", "Transfer-Encoding: identity"},
		{"Transfer-Encoding: xchunked"},
		{"Transfer-Encoding: chunked, identity"},
	} {
		a.hangUp()
		a.send(append([]string{"POST /outer HTTP/1.1", "Host: " + w.addr, b.cookie()}, headers...), inner)
	}
	for _, s := range w.upstream.requests() {
		if s.URI != "/outer" {
			t.Errorf("a request was smuggled through: %+v", s)
		}
		s.onlyIdentity(t, id, openID)
	}
	w.noPanic()
}

// TestH1NoOtherHTTPBehindTheGate: Mallory asks to change to h2c. An upstream that
// agrees would then read any number of requests from the tunnel, with any
// X-User-Id, and the gate would see none of them.
func TestH1NoOtherHTTPBehindTheGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{gate: "wechat_auth /private/*"})
	b := w.signIn("mallory")
	w.upstream.mu.Lock()
	w.upstream.handle = func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(rw, "plain")
			return
		}
		rw.Header().Set("Connection", "Upgrade")
		rw.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		rw.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	w.upstream.mu.Unlock()
	a := w.attacker()
	for _, path := range []string{"/private/x", "/open"} {
		for _, upgrade := range []string{"h2c", "H2C", "websocket, h2c", "h2c, websocket", " h2c ", "HTTP/2.0", "TLS/1.2", "h2"} {
			a.hangUp()
			got := a.get(path, b.cookie(), "Connection: Upgrade, HTTP2-Settings", "Upgrade: "+upgrade, "HTTP2-Settings: AAMAAABkAAQAAP__")
			if got.Status != http.StatusOK || got.Body != "plain" {
				t.Errorf("%s, Upgrade: %s: %d %q, want a plain answer", path, upgrade, got.Status, got.Body)
			}
		}
		a.hangUp()
		if got := a.get(path, b.cookie(), "Connection: Upgrade", "Upgrade: websocket"); got.Status != http.StatusSwitchingProtocols {
			t.Errorf("%s: a WebSocket does not get through: %d", path, got.Status)
		}
	}
}

// TestH2HeadersWithoutAValue: Mallory has no e-mail address, so the gate sets no
// X-User-Email, and the one that he sends himself would stand. So with each
// field that a person may lack.
func TestH2HeadersWithoutAValue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	b := w.signIn("mallory")
	id, openID := b.userID(), w.wechat.Phone("mallory").OpenID(appID)
	for _, field := range []string{"Name", "Avatar", "Unionid", "Email", "Phone", "Roles", "Jwt-Assertion", "Anything"} {
		if got := b.get("/", header("X-User-"+field, "admin")); got.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", field, got.Status, got.Body)
		}
		s := w.upstream.last(t)
		s.onlyIdentity(t, id, openID)
		if v, found := s.Header["X-User-"+field]; found {
			t.Errorf("X-User-%s is %q", field, v)
		}
	}
}

// TestH3ManagedHeadersOnEveryRoute: the upstream is one app, and does not know
// which of its paths the gate guards. A managed header from outside must not
// reach it on any.
func TestH3ManagedHeadersOnEveryRoute(t *testing.T) {
	t.Parallel()
	attack := []func(*http.Request){
		spoof("X-User-Id", "alice"), spoof("x_user_email", "alice@example.com"), spoof("X.User.Roles", "admin"),
		spoof("X-Login", "alice"), spoof("x_login", "alice"), spoof("x.login", "alice"),
	}
	for _, tt := range []struct {
		name, gate, site string
		path             string
		identified       bool // a signed-in person's own headers are expected
	}{
		{"outside the matcher", "wechat_auth /private/* {\n headers {\n X-Login id\n }\n }", "", "/open", false},
		{"optional", "wechat_auth {\n optional\n }", "", "/", true},
		{"headers off", "wechat_auth {\n optional\n headers off\n }", "", "/", false},
		{"negative matcher", "@guarded not path /open\n wechat_auth @guarded", "", "/open", false},
		{"inside handle", "wechat_auth /private/*", "handle /open {\n reverse_proxy {$UPSTREAM}\n }", "/open", false},
		{"rewritten", "wechat_auth /private/*", "rewrite /open /else", "/open", false},
		{"error route", "wechat_auth /private/*", "error /open 404\n handle_errors {\n reverse_proxy {$UPSTREAM}\n }", "/open", false},
		{
			"second gate", "wechat_auth /a/* {\n headers off\n }",
			"wechat_auth /b/* {\n headers {\n X-Login id\n }\n }", "/open", false,
		},
		{
			"second gate, other order", "wechat_auth /b/* {\n headers {\n X-Login id\n }\n }",
			"wechat_auth /a/* {\n headers off\n }", "/open", false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{global: oddNames, gate: tt.gate})
			w.caddyfile = strings.Replace(w.caddyfile, "\treverse_proxy ", "\t"+strings.ReplaceAll(tt.site, "{$UPSTREAM}", w.upstream.addr())+"\n\treverse_proxy ", 1)
			if err := w.reload(); err != nil {
				t.Fatal(err)
			}
			signedIn := w.signIn("mallory")
			for _, b := range []*browser{w.browser(), signedIn} {
				if got := b.get(tt.path, attack...); got.Status != http.StatusOK && got.Status != http.StatusNotFound {
					t.Fatalf("%d %s", got.Status, got.Body)
				}
				s := w.upstream.last(t)
				id, openID := "", ""
				if tt.identified && b == signedIn {
					id, openID = b.userID(), w.wechat.Phone("mallory").OpenID(appID)
				}
				s.onlyIdentity(t, id, openID)
				if strings.Contains(tt.gate+tt.site, "X-Login") && len(s.variable("X_LOGIN")) > 0 {
					t.Errorf("the upstream finds %q under X_LOGIN", s.variable("X_LOGIN"))
				}
			}
			for _, path := range []string{"/_wechat/me", "/_wechat/login", "/_wechat/logout", "/_wechat/healthz", "/_wechat/nothing", "/_wechat"} {
				got := w.browser().get(path, attack...)
				if strings.Contains(got.Body, "alice") || path == "/_wechat/me" && got.Status != http.StatusUnauthorized {
					t.Errorf("%s believes the header: %d %s", path, got.Status, got.Body)
				}
			}
			if all := w.upstream.requests(); len(all) > 0 {
				t.Errorf("the portal's own paths reach the upstream: %+v", all)
			}
		})
	}
}

// TestH3TwoGatesKeepTheirHeaders: the second gate of a site cleans up after the
// client, not after the first gate.
func TestH3TwoGatesKeepTheirHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{
		gate:   "wechat_auth /a/*\nwechat_auth /a/b/* {\n headers {\n X-Login id\n }\n }",
		global: oddNames,
	})
	b := w.signIn("alice")
	id, openID := b.userID(), w.wechat.Phone("alice").OpenID(appID)
	for path, login := range map[string]string{"/a/x": "", "/a/b/x": id} {
		b.get(path, spoof("X-Login", "mallory"), spoof("x_login", "mallory"), spoof("X-User-Id", "mallory"))
		s := w.upstream.last(t)
		s.onlyIdentity(t, id, openID)
		if got := strings.Join(s.variable("X_LOGIN"), ","); got != login {
			t.Errorf("%s: X-Login is %q, want %q", path, got, login)
		}
	}
}

// TestH4ConnectionNamesOurHeader: what Connection names is for one hop only, so
// the proxy drops it. Mallory names X-User-Id there, and an upstream that takes
// "no header" for "the owner's own machine" lets him in.
func TestH4ConnectionNamesOurHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{gate: "wechat_auth {\n headers {\n X-User-Id id\n X-User-Openid openid\n Remote-Person id\n }\n }"})
	b := w.signIn("mallory")
	id, openID := b.userID(), w.wechat.Phone("mallory").OpenID(appID)
	a := w.attacker()
	for _, lines := range [][]string{
		{"Connection: X-User-Id"},
		{"connection: x-user-ID"},
		{"CONNECTION: close, X-User-Id"},
		{"Connection: X-User-Id, X-User-Openid, Remote-Person, keep-alive"},
		{"Connection: keep-alive", "Connection: X-User-Id"},
		{"Connection: X-User-Id", "Connection: keep-alive", "connection: remote-person"},
		{"Connection: keep-alive ,\t x-user-id\t , remote-PERSON"},
		{"Connection: ,,X-User-Id,,"},
		{"Connection: X_User_Id, X.User.Id"},
		{"Connection: upgrade, X-User-Id", "Upgrade: websocket"},
		{"Connection: close,X-User-Id,", " X-User-Openid"},
		{"Proxy-Connection: X-User-Id"},
		{"Keep-Alive: X-User-Id", "Connection: Keep-Alive"},
		{"TE: trailers, X-User-Id", "Connection: TE"},
	} {
		a.hangUp()
		got := a.get("/", append(lines, b.cookie())...)
		if got.Status != http.StatusOK {
			t.Errorf("%q: %d %s", lines, got.Status, got.Body)
			continue
		}
		s := w.upstream.last(t)
		s.onlyIdentity(t, id, openID)
		if got := s.variable("REMOTE_PERSON"); len(got) != 1 || got[0] != id {
			t.Errorf("%q: Remote-Person is %q, want %q", lines, got, id)
		}
	}
}

// TestH5ManagedTrailers: what comes after the body comes after the gate has
// looked. Some servers put trailers among the headers; there X-User-Id must not
// appear, in any version of HTTP, announced or not. An honest trailer arrives.
func TestH5ManagedTrailers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{scheme: "https", gate: "wechat_auth /private/*", global: "auto_https disable_redirects\n" + oddNames})
	b := w.signIn("mallory")
	id, openID := b.userID(), w.wechat.Phone("mallory").OpenID(appID)
	tlsConfig := &tls.Config{InsecureSkipVerify: true}
	quic := &http3.Transport{TLSClientConfig: tlsConfig.Clone()}
	t.Cleanup(func() { _ = quic.Close() })
	http2 := &http.Transport{TLSClientConfig: tlsConfig.Clone(), ForceAttemptHTTP2: true}
	t.Cleanup(http2.CloseIdleConnections)
	http1 := &http.Transport{TLSClientConfig: tlsConfig.Clone(), TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	t.Cleanup(http1.CloseIdleConnections)
	check := func(t *testing.T, path string, honest bool) {
		t.Helper()
		s := w.upstream.last(t)
		if path == "/private/x" {
			s.onlyIdentity(t, id, openID)
		} else {
			s.onlyIdentity(t, "", "")
		}
		if got := s.Trailer.Get("X-Checksum"); honest && got != "right" {
			t.Errorf("%s: the honest trailer is %q", path, got)
		}
	}
	for _, tt := range []struct {
		name      string
		proto     string
		transport http.RoundTripper
		honest    bool // Caddy's server reads trailers of this version
	}{{"HTTP1", "HTTP/1.1", http1, true}, {"HTTP2", "HTTP/2.0", http2, true}, {"HTTP3", "HTTP/3.0", quic, false}} {
		for _, path := range []string{"/private/x", "/open"} {
			if got := postTrailers(t, tt.transport, w.origin()+path, b.cookieValue()); got != tt.proto {
				t.Fatalf("%s: it speaks %s", tt.name, got)
			}
			check(t, path, tt.honest)
		}
	}
	a := w.attacker()
	for _, announced := range []string{"X-Any: x", "Trailer: X-User-Id", "Trailer: x-user-id, X-Checksum", "trailer: X_User_Id,X-USER-ROLES", "Trailer: X-Checksum"} {
		for _, path := range []string{"/private/x", "/open"} {
			a.hangUp()
			got := a.send([]string{"POST " + path + " HTTP/1.1", "Host: " + w.addr, b.cookie(), "Transfer-Encoding: chunked", announced},
				"4\r\nbody\r\n0\r\nX-User-Id: alice\r\nx_user_email: a@example.com\r\nX-User-Roles: admin\r\nX-Checksum: right\r\n\r\n")
			if got.Status != http.StatusOK {
				t.Fatalf("%s: %d %s", announced, got.Status, got.Body)
			}
			check(t, path, strings.Contains(announced, "X-Checksum"))
		}
	}
	w.noPanic()
}

// postTrailers sends a body and, after it, managed headers and an honest one. It
// returns the protocol that was spoken.
func postTrailers(t *testing.T, transport http.RoundTripper, address, cookie string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, io.NopCloser(bytes.NewReader([]byte("body"))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	req.ContentLength = -1
	req.Trailer = http.Header{"X-User-Id": {"alice"}, "X_user_email": {"a@example.com"}, "X-User-Roles": {"admin"}, "X-Checksum": {"right"}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", address, resp.StatusCode, err)
	}
	return resp.Proto
}

// TestH6ConfiguredInOddCase: the operator writes the header's name as the app's
// manual does, the client as it likes; the upstream must find one value.
func TestH6ConfiguredInOddCase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{global: oddNames, gate: "wechat_auth {\n headers {\n x-uSeR-iD id\n X-AUTH-user openid\n }\n }"})
	b := w.signIn("mallory")
	id, openID := b.userID(), w.wechat.Phone("mallory").OpenID(appID)
	for _, spelling := range []string{"X-Auth-User", "x-auth-user", "X-AUTH-USER", "X-AUTH-user", "x_auth_user", "X.Auth.User", "x-uSeR-iD", "X-USER-ID", "X_User_Id", "X!Auth!User"} {
		if got := b.get("/", spoof(spelling, "alice")); got.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", spelling, got.Status, got.Body)
		}
		s := w.upstream.last(t)
		for name, want := range map[string]string{"X_USER_ID": id, "X_AUTH_USER": openID} {
			if got := s.variable(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s sent: the upstream finds %q under %s, want %q", spelling, got, name, want)
			}
		}
	}
}
