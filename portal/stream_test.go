// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

const (
	unitOrigin = "https://example.com"
	unitApp    = "wx0123456789abcdef"
	unitTTL    = 2 * time.Minute
)

// unit is a portal on a store in memory, without Caddy and without WeChat.
type unit struct {
	*Portal
	t     testing.TB
	store *storetest.Memory
}

// fixedCodes makes QR codes of nothing.
type fixedCodes struct{}

func (fixedCodes) CreateQRCode(_ context.Context, _ string, ttl time.Duration) (wechat.QRCode, error) {
	return wechat.QRCode{Ticket: "ticket", URL: "http://weixin.qq.com/q/x", ExpiresIn: ttl}, nil
}

func newUnit(t testing.TB) *unit {
	t.Helper()
	u := &unit{t: t, store: new(storetest.Memory)}
	keys, err := session.FixedKeys(strings.Repeat("k", session.MinKeyLen))
	if err != nil {
		t.Fatal(err)
	}
	sessions, users := session.NewRecords(u.store, nil), user.NewRecords(u.store, nil)
	starters := map[string]login.Starter{
		login.StarterKey(login.OfficialQR, unitApp): &login.Official{Codes: fixedCodes{}, TTL: unitTTL, Confirm: login.ConfirmNumber},
	}
	attempts := login.NewService(u.store, starters, nil)
	u.Portal, err = New(Config{
		Title: "Site", Prefix: DefaultPrefix, Origins: []string{unitOrigin, "https://www.example.com:8443"},
		Offers: []Offer{{login.OfficialQR, unitApp}}, Headers: DefaultHeaders(), Cookie: DefaultCookie,
		Login:    attempts,
		Sessions: session.NewManager(sessions, session.Config{TTL: time.Hour, Idle: time.Hour, Keys: keys}),
		Users:    user.NewDirectory(users, user.Policy{Registration: user.Open}, 0),
		Store:    u.store, Log: zap.NewNop(),
		ClientAddr: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
		Original:   func(r *http.Request) (string, *url.URL) { return r.Method, r.URL },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		u.Close()
		attempts.Close()
		sessions.Close()
		users.Close()
	})
	return u
}

// ServeHTTP implements http.Handler.
func (u *unit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = u.Serve(w, r, func(w http.ResponseWriter, _ *http.Request, _ *Principal) error {
		_, err := w.Write([]byte("upstream"))
		return err
	})
}

// begin begins an attempt and returns its id and the browser's cookie.
func (u *unit) begin() (id, cookie string) {
	u.t.Helper()
	r := httptest.NewRequestWithContext(u.t.Context(), http.MethodPost, "/_wechat/attempts", strings.NewReader("{}"))
	r.Host = "example.com"
	r.Header.Set("Origin", unitOrigin)
	w := httptest.NewRecorder()
	u.ServeHTTP(w, r)
	var a struct{ ID string }
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusCreated {
		u.t.Fatalf("POST attempts: %d %s", w.Code, w.Body)
	}
	cookie, _, _ = strings.Cut(w.Header().Get("Set-Cookie"), ";")
	return a.ID, cookie
}

// pipeListener is a listener whose connections never leave memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// line is what a browser reads of an event stream, and when.
type line struct {
	after time.Duration
	text  string
}

// stream opens the events of an attempt over a real HTTP server and returns all
// that comes until it ends. meanwhile runs beside it.
func (u *unit) stream(id, cookie string, meanwhile func()) (lines []line, header http.Header) {
	u.t.Helper()
	ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: u, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(ln)
	}()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		ln.conns <- theirs
		return ours, nil
	}}
	req, err := http.NewRequestWithContext(u.t.Context(), http.MethodGet, "http://example.com/_wechat/attempts/"+id+"/events", nil)
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	begun := time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		u.t.Fatal(err)
	}
	if meanwhile != nil {
		go meanwhile()
	}
	scanner := bufio.NewScanner(resp.Body)
	for scanner.Scan() {
		lines = append(lines, line{time.Since(begun), scanner.Text()})
	}
	if err := scanner.Err(); err != nil {
		u.t.Errorf("the stream does not end cleanly: %v", err)
	}
	_ = resp.Body.Close()
	_ = server.Close()
	<-served
	return lines, resp.Header
}

// events returns the lines that begin with prefix.
func events(lines []line, prefix string) (found []line) {
	for _, l := range lines {
		if strings.HasPrefix(l.text, prefix) {
			found = append(found, l)
		}
	}
	return found
}

// Nobody scans. The browser hears a comment every 15 s, so that no proxy takes
// the stream for dead, and is told the moment the code expires; then it ends.
func TestStream_HeartbeatAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnit(t)
		id, cookie := u.begin()
		lines, header := u.stream(id, cookie, nil)
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		beats := events(lines, ":")
		if want := int(unitTTL/heartbeat) - 1; len(beats) != want && len(beats) != want+1 {
			t.Errorf("%d heartbeats in %v, want %d", len(beats), unitTTL, want)
		}
		for i, beat := range beats {
			if want := time.Duration(i+1) * heartbeat; beat.after != want {
				t.Errorf("heartbeat %d comes after %v, want %v", i, beat.after, want)
			}
		}
		data := events(lines, "data:")
		if len(data) != 2 || data[0].after != 0 || !strings.Contains(data[0].text, `"state":"pending"`) ||
			data[1].after != unitTTL || !strings.Contains(data[1].text, `"state":"expired"`) {
			t.Errorf("states: %v; want pending at once and expired after %v", data, unitTTL)
		}
	})
}

// A change is told when it happens, and the stream ends after the last state.
func TestStream_Change(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnit(t)
		id, cookie := u.begin()
		secret := strings.TrimPrefix(cookie, "__Host-wechat_browser=")
		lines, _ := u.stream(id, cookie, func() {
			time.Sleep(20 * time.Second) //nolint:forbidigo // on the bubble's clock
			if err := u.Login.Cancel(t.Context(), id, secret); err != nil {
				t.Error(err)
			}
		})
		data := events(lines, "data:")
		if len(data) != 2 || data[1].after != 20*time.Second || !strings.Contains(data[1].text, `"state":"cancelled"`) {
			t.Errorf("states: %v; want cancelled after 20 s", data)
		}
		if all := events(lines, "event: state"); len(all) != 2 {
			t.Errorf("%d events, want 2", len(all))
		}
	})
}

// Caddy reloads: streams end at once and cleanly, so that browsers come back.
func TestStream_EndsOnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnit(t)
		id, cookie := u.begin()
		begun := time.Now()
		lines, _ := u.stream(id, cookie, func() {
			time.Sleep(time.Second) //nolint:forbidigo // on the bubble's clock
			u.Close()
		})
		if took := time.Since(begun); took != time.Second || len(events(lines, "data:")) != 1 {
			t.Errorf("the stream ends after %v with %v", took, lines)
		}
	})
}

// The long poll is held until the time is up, until something changes, or until
// the attempt expires, whichever comes first.
func TestLongPoll(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		cancelAfter time.Duration
		beginLate   time.Duration // how old the attempt is when the poll begins
		took        time.Duration
		state       string
	}{
		{"plain", "", 0, 0, 0, "pending"},
		{"held in full", "?wait=25", 0, 0, 25 * time.Second, "pending"},
		{"no longer than 30 s", "?wait=3000", 0, 0, 30 * time.Second, "pending"},
		{"negative", "?wait=-5", 0, 0, 0, "pending"},
		{"no number", "?wait=long", 0, 0, 0, "pending"},
		{"changed", "?wait=25", 7 * time.Second, 0, 7 * time.Second, "cancelled"},
		{"expires", "?wait=25", 0, unitTTL - 10*time.Second, 10 * time.Second, "expired"},
		{"browser knows another state", "?wait=25&state=scanned", 0, 0, 0, "pending"},
		{"browser knows this state", "?wait=25&state=pending", 0, 0, 25 * time.Second, "pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUnit(t)
				id, cookie := u.begin()
				time.Sleep(tt.beginLate) //nolint:forbidigo // on the bubble's clock
				if tt.cancelAfter > 0 {
					go func() {
						time.Sleep(tt.cancelAfter) //nolint:forbidigo // on the bubble's clock
						_ = u.Login.Cancel(t.Context(), id, strings.TrimPrefix(cookie, "__Host-wechat_browser="))
					}()
				}
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/_wechat/attempts/"+id+tt.query, nil)
				r.Header.Set("Cookie", cookie)
				w, begun := httptest.NewRecorder(), time.Now()
				u.ServeHTTP(w, r)
				if took := time.Since(begun); took != tt.took || !strings.Contains(w.Body.String(), `"state":"`+tt.state+`"`) {
					t.Errorf("after %v: %s; want %s after %v", took, w.Body, tt.state, tt.took)
				}
				synctest.Wait()
			})
		})
	}
}
