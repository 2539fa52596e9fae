// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/session"
)

// signIn returns the cookie of somebody who is signed in.
func (o *outage) signIn() string {
	o.t.Helper()
	id, scene := o.begin()
	o.push(scene)
	w := o.serve(http.MethodPost, "/_wechat/attempts/"+id+"/session", "")
	if w.Code != http.StatusOK {
		o.t.Fatalf("POST session: %d %s", w.Code, w.Body)
	}
	cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	return cookie
}

// send is serve with other request headers.
func (o *outage) send(method, path, body string, header http.Header) *httptest.ResponseRecorder {
	o.t.Helper()
	r := httptest.NewRequestWithContext(o.t.Context(), method, outageOrigin+path, strings.NewReader(body))
	r.Header = header
	r.Header.Set("Origin", outageOrigin)
	w := httptest.NewRecorder()
	err := o.Serve(w, r, func(w http.ResponseWriter, _ *http.Request, who *Principal) error {
		w.WriteHeader(http.StatusTeapot)
		if who == nil {
			o.t.Error("somebody came through as nobody")
		}
		return nil
	})
	if err != nil {
		o.t.Error(err)
	}
	return w
}

// TestStoreAway: whom the gateway knows passes while the store is away; whom it
// cannot check is neither let in nor taken for a stranger, not even where
// strangers may enter, and keeps the cookie.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	for _, optional := range []bool{false, true} {
		o := newOutage(t, login.ConfirmOff)
		o.Optional = optional
		known, unknown := o.signIn(), o.signIn()
		if w := o.serve(http.MethodGet, "/", "", known); w.Code != http.StatusTeapot {
			t.Fatalf("before: %d", w.Code)
		}
		o.Sessions = session.NewManager(session.NewRecords(o.store, nil), session.Config{
			TTL: time.Hour, Idle: time.Hour, Grace: time.Minute, Keys: session.StoredKeys(o.store),
		})
		t.Cleanup(o.Sessions.Close)
		if w := o.serve(http.MethodGet, "/", "", known); w.Code != http.StatusTeapot {
			t.Fatalf("known to this node: %d", w.Code)
		}
		o.store.away.Store(true)
		if w := o.serve(http.MethodGet, "/", "", known); w.Code != http.StatusTeapot {
			t.Errorf("optional %v: whom the gateway knows gets %d", optional, w.Code)
		}
		for accept, contains := range map[string]string{"text/html": "<html", "*/*": `"store_unavailable"`} {
			w := o.send(http.MethodGet, "/", "", http.Header{"Cookie": {unknown}, "Accept": {accept}})
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), contains) {
				t.Errorf("optional %v: whom it cannot check gets %d %v %s", optional, w.Code, w.Header(), w.Body)
			}
			if set := w.Header().Get("Set-Cookie"); set != "" {
				t.Errorf("and loses the cookie: %s", set)
			}
		}
	}
}

// TestLogoutAnswers: a script gets 204 and may send JSON, a person is sent on.
func TestLogoutAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		header     http.Header
		status     int
		others     int // what another session of the person gets afterwards
	}{
		{"form", "", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, http.StatusSeeOther, http.StatusTeapot},
		{"form, everywhere", "everywhere=true", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, http.StatusSeeOther, http.StatusUnauthorized},
		{"script that wants JSON", "", http.Header{"Accept": {"application/json"}}, http.StatusNoContent, http.StatusTeapot},
		{"JSON", `{"everywhere":false}`, http.Header{"Content-Type": {"application/json"}}, http.StatusNoContent, http.StatusTeapot},
		{"JSON, everywhere", `{"everywhere":true}`, http.Header{"Content-Type": {"application/json"}}, http.StatusNoContent, http.StatusUnauthorized},
		{"broken JSON", `{"everywhere":`, http.Header{"Content-Type": {"application/json"}}, http.StatusBadRequest, http.StatusTeapot},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOutage(t, login.ConfirmOff)
			one, other := o.signIn(), o.signIn()
			tt.header.Set("Cookie", one)
			if w := o.send(http.MethodPost, "/_wechat/logout", tt.body, tt.header); w.Code != tt.status {
				t.Errorf("logout: %d %s, want %d", w.Code, w.Body, tt.status)
			}
			want := http.StatusUnauthorized
			if tt.status == http.StatusBadRequest {
				want = http.StatusTeapot
			}
			if w := o.serve(http.MethodGet, "/", "", one); w.Code != want {
				t.Errorf("the session itself: %d, want %d", w.Code, want)
			}
			if w := o.serve(http.MethodGet, "/", "", other); w.Code != tt.others {
				t.Errorf("the other session: %d, want %d", w.Code, tt.others)
			}
		})
	}
}

// TestHealthIsNotAFlood: however often strangers ask, the store is asked once in a
// while only.
func TestHealthIsNotAFlood(t *testing.T) {
	t.Parallel()
	o := newOutage(t, login.ConfirmOff)
	now := time.Now()
	o.Now = func() time.Time { return now }
	for range 100 {
		if w := o.serve(http.MethodGet, "/_wechat/healthz", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `{"part":"store","status":"ok"}`) {
			t.Fatalf("healthz: %d %s", w.Code, w.Body)
		}
	}
	now = now.Add(healthFresh)
	o.serve(http.MethodGet, "/_wechat/healthz", "")
	if n := o.store.pings.Load(); n != 2 {
		t.Errorf("the store was asked %d times, want 2", n)
	}
}

// TestConfirmLimitCountsGuesses: who guesses at links is soon turned away; links
// that lead somewhere cost nothing, since a whole town may share one address.
func TestConfirmLimitCountsGuesses(t *testing.T) {
	t.Parallel()
	o := newOutage(t, login.ConfirmTap)
	o.limits.confirms = newGuesses(Rate{Count: 3, Per: time.Hour})
	_, scene := o.begin()
	w, _ := o.push(scene)
	_, link, _ := strings.Cut(w.Body.String(), outageOrigin)
	link, _, _ = strings.Cut(link, `"`)
	for range 10 {
		if w := o.serve(http.MethodGet, link, ""); w.Code != http.StatusOK {
			t.Fatalf("a link that leads somewhere: %d", w.Code)
		}
	}
	for i := range 5 {
		want := http.StatusNotFound
		if i >= 3 {
			want = http.StatusTooManyRequests
		}
		if w := o.serve(http.MethodGet, "/_wechat/confirm/"+strings.Repeat("A", 26), ""); w.Code != want {
			t.Errorf("guess %d: %d, want %d", i, w.Code, want)
		}
	}
}
