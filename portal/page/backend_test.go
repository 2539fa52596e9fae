// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/boombuler/barcode/qr"
)

// scanURL is what the backend's QR codes contain.
const scanURL = "http://weixin.qq.com/q/02test-scene"

// answer is one scripted answer of the backend.
type answer struct {
	status     int
	body       map[string]any
	retryAfter string
}

// backend stands in for the portal: the login page in place at every path, and the
// HTTP contract below the prefix, with faults as each test scripts them.
type backend struct {
	*httptest.Server
	pages *Pages
	login Login // what the page is told, besides ReturnTo

	mu       sync.Mutex
	made     int                    // attempts so far
	known    map[string]attemptJSON // by id
	changed  chan struct{}          // closed at each change
	requests []string               // "METHOD path", as they came
	origins  []string               // Origin of each POST
	creates  []answer               // in place of the next answers to POST attempts
	fails    map[string]answer      // the same, for every attempt of a method
	shows    map[string]any         // what a new attempt shows, besides number
	bodies   []createJSON           // of POST attempts, as they came
	sessions []answer               // the same, for POST attempts/{id}/session
	events   string                 // "" | "silent" | "error" | "down"
	polls    string                 // "" | "hang" | "error"
	number   string
	ttl      time.Duration
	skew     time.Duration // of the server's clock
	signedIn bool
	forgets  bool // the browser sends no cookie, so that each attempt is another's
	redirect string
}

type createJSON struct {
	Method   string `json:"method"`
	ReturnTo string `json:"return_to"`
	Phone    bool   `json:"phone"`
}

type attemptJSON struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Reason    string `json:"reason,omitempty"`
	ExpiresAt string `json:"expires_at"`
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{
		pages:    New(Site{Title: "Example", Prefix: "/_wechat"}),
		known:    make(map[string]attemptJSON),
		changed:  make(chan struct{}),
		number:   "42",
		ttl:      5 * time.Minute,
		redirect: "/inside",
		login:    Login{Methods: []string{"official_qr"}},
		fails:    make(map[string]answer),
		shows:    map[string]any{"qr": map[string]string{"svg": qrSVG(), "url": scanURL}},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_wechat/assets/{name}", b.asset)
	mux.HandleFunc("POST /_wechat/attempts", b.create)
	mux.HandleFunc("GET /_wechat/attempts/{id}", b.read)
	mux.HandleFunc("DELETE /_wechat/attempts/{id}", b.remove)
	mux.HandleFunc("GET /_wechat/attempts/{id}/events", b.stream)
	mux.HandleFunc("POST /_wechat/attempts/{id}/session", b.consume)
	mux.HandleFunc("GET /_wechat/me", b.me)
	mux.HandleFunc("GET /", b.site)
	b.Server = httptest.NewServer(b.record(mux))
	t.Cleanup(func() {
		b.CloseClientConnections() // streams and held polls end
		b.Close()
	})
	return b
}

// record notes each request before it is answered.
func (b *backend) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.requests = append(b.requests, r.Method+" "+r.URL.RequestURI())
		if r.Method == http.MethodPost {
			b.origins = append(b.origins, r.Header.Get("Origin"))
		}
		w.Header().Set("Date", time.Now().Add(b.skew).UTC().Format(http.TimeFormat))
		b.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func (b *backend) asset(w http.ResponseWriter, r *http.Request) {
	if !b.pages.Asset(w, r, r.PathValue("name")) {
		http.NotFound(w, r)
	}
}

// site is the protected site: the login page in place without a session.
func (b *backend) site(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	signedIn := b.signedIn
	b.mu.Unlock()
	if signedIn {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><link rel="icon" href="data:,"><h1 id="head">Inside</h1>`)
		return
	}
	b.mu.Lock()
	d := b.login
	b.mu.Unlock()
	d.ReturnTo = r.URL.RequestURI()
	b.pages.Login(w, r, http.StatusUnauthorized, d)
}

func (b *backend) create(w http.ResponseWriter, r *http.Request) {
	var body createJSON
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !slices.Contains(allMethods, body.Method) || body.ReturnTo == "" {
		writeAnswer(w, answer{status: http.StatusBadRequest})
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bodies = append(b.bodies, body)
	if failure, ok := b.fails[body.Method]; ok {
		writeAnswer(w, failure)
		return
	}
	if len(b.creates) > 0 {
		next := b.creates[0]
		b.creates = b.creates[1:]
		writeAnswer(w, next)
		return
	}
	b.made++
	a := attemptJSON{
		ID:        fmt.Sprintf("attempt-%d", b.made),
		State:     "pending",
		ExpiresAt: time.Now().Add(b.skew + b.ttl).UTC().Format(time.RFC3339),
	}
	if !b.forgets {
		b.known[a.ID] = a
	}
	content := map[string]any{"id": a.ID, "method": body.Method, "state": a.State, "expires_at": a.ExpiresAt}
	maps.Copy(content, b.shows)
	if b.number != "" {
		content["number"] = b.number
	}
	writeAnswer(w, answer{status: http.StatusCreated, body: content})
}

func (b *backend) read(w http.ResponseWriter, r *http.Request) {
	wait := r.URL.Query().Get("wait") == "25"
	b.mu.Lock()
	polls, changed := b.polls, b.changed
	b.mu.Unlock()
	if wait {
		if polls == "error" {
			http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
			return
		}
		if polls == "hang" {
			<-r.Context().Done()
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-time.After(25 * time.Second):
		}
	}
	b.mu.Lock()
	a, ok := b.known[r.PathValue("id")]
	b.mu.Unlock()
	if !ok {
		writeAnswer(w, answer{status: http.StatusNotFound, body: map[string]any{"error": "not_found"}})
		return
	}
	writeJSON(w, http.StatusOK, a)
}

func (b *backend) stream(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	events := b.events
	b.mu.Unlock()
	if events == "error" {
		http.Error(w, "no streams here", http.StatusBadGateway)
		return
	}
	flush := http.NewResponseController(w).Flush
	w.Header().Set("Content-Type", "text/event-stream")
	_ = flush()
	if events == "silent" { // a proxy that buffers
		<-r.Context().Done()
		return
	}
	for {
		b.mu.Lock()
		a, ok := b.known[r.PathValue("id")]
		changed := b.changed
		b.mu.Unlock()
		if !ok {
			return
		}
		data, _ := json.Marshal(a)
		_, _ = fmt.Fprintf(w, "event: state\ndata: %s\n\n", data)
		_ = flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (b *backend) consume(w http.ResponseWriter, _ *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sessions) > 0 {
		next := b.sessions[0]
		b.sessions = b.sessions[1:]
		writeAnswer(w, next)
		return
	}
	b.signedIn = true
	writeAnswer(w, answer{status: http.StatusOK, body: map[string]any{"redirect": b.redirect}})
}

func (b *backend) remove(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	delete(b.known, r.PathValue("id"))
	b.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (b *backend) me(w http.ResponseWriter, _ *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.signedIn {
		writeAnswer(w, answer{status: http.StatusUnauthorized})
		return
	}
	writeAnswer(w, answer{status: http.StatusOK, body: map[string]any{"id": "u1"}})
}

// script changes the backend under its lock.
func (b *backend) script(change func(*backend)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

// set moves the newest attempt to a state and tells everyone who waits.
func (b *backend) set(state, reason string) {
	b.script(func(b *backend) {
		id := fmt.Sprintf("attempt-%d", b.made)
		a := b.known[id]
		a.State, a.Reason = state, reason
		b.known[id] = a
		close(b.changed)
		b.changed = make(chan struct{})
	})
}

// count returns how many requests began with a prefix.
func (b *backend) count(prefix string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, line := range b.requests {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// log returns the requests so far.
func (b *backend) log() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

func writeAnswer(w http.ResponseWriter, a answer) {
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	if a.body == nil {
		a.body = map[string]any{"error": "scripted"}
	}
	writeJSON(w, a.status, a.body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// qrSVG draws scanURL as the portal does: a viewBox and one path.
func qrSVG() string {
	code, err := qr.Encode(scanURL, qr.M, qr.Auto)
	if err != nil {
		panic(err)
	}
	var path bytes.Buffer
	size := code.Bounds().Dx()
	for y := range size {
		for x := range size {
			if r, _, _, _ := code.At(x, y).RGBA(); r == 0 {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x, y)
			}
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges"><path d="%s"/></svg>`, size, size, &path)
}
