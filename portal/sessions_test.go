// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
)

var openToAll = user.Policy{Registration: user.Open}

// A person sees the own sessions, which of them this is, and no more of the own
// addresses than is needed to know them again.
func TestSessionsPage(t *testing.T) {
	o := newTown(t, new(storetest.Memory), user.Policy{Registration: user.Open, Bind: []user.Channel{user.ByEmail}})
	o.add(user.Entry{ID: "alice", Name: `<b>"Alice"</b>{{.T}}`, Email: "alice@example.com", Phone: "+8613800138000"})
	o.add(user.Entry{ID: "bob", Email: "bob@example.com"})
	one, cookie := o.signIn("alice")
	two, _ := o.signIn("alice")
	foreign, _ := o.signIn("bob")
	w := o.get(cookie, "/_wechat/sessions")
	body := w.Body.String()
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, want := range []string{
		one, two, "Chrome · Windows", "192.0.2.7", "This browser", "a…@example.com", "86138…00", `/_wechat/name?return_to=`,
		"&lt;b&gt;&#34;Alice&#34;&lt;/b&gt;{{.T}}",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, never := range []string{foreign, "alice@example.com", "13800138000", "<b>\"Alice", "o-alice", `/_wechat/bind`} {
		if strings.Contains(body, never) {
			t.Errorf("the page shows %q", never)
		}
	}
	if n := strings.Count(body, "This browser"); n != 1 {
		t.Errorf("%d sessions are this one", n)
	}
	o.add(user.Entry{ID: "carol"})
	_, cookie = o.signIn("carol")
	if w := o.get(cookie, "/_wechat/sessions"); !strings.Contains(w.Body.String(), `/_wechat/bind?return_to=`) {
		t.Error("who lacks an address is not led to where to prove it")
	}
}

func TestSessionsPage_JSON(t *testing.T) {
	o := newTown(t, new(storetest.Memory), openToAll)
	o.add(user.Entry{ID: "alice"})
	one, cookie := o.signIn("alice")
	o.signIn("alice")
	w := o.send(http.MethodGet, "/_wechat/sessions", "", http.Header{"Cookie": {cookie}, "Accept": {"application/json"}})
	var got struct{ Sessions []map[string]any }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || len(got.Sessions) != 2 {
		t.Fatalf("%d %s (%v)", w.Code, w.Body, err)
	}
	for _, s := range got.Sessions {
		for _, field := range []string{"id", "user_id", "method", "ip", "user_agent", "created_at", "last_seen_at", "expires_at", "current"} {
			if _, ok := s[field]; !ok || len(s) != 9 {
				t.Errorf("%v lacks %s, or has more than it should", s, field)
			}
		}
		if s["current"] != (s["id"] == one) {
			t.Errorf("session %v: current %v", s["id"], s["current"])
		}
	}
}

// end is what the tests below ask for, as a form or as JSON.
func (o *town) end(cookie, what string, script bool) *httptest.ResponseRecorder {
	o.t.Helper()
	if !script {
		return o.post(cookie, "/_wechat/sessions", url.Values{"end": {what}})
	}
	body, _ := json.Marshal(map[string]string{"end": what})
	return o.send(http.MethodPost, "/_wechat/sessions", string(body), http.Header{"Cookie": {cookie}, "Content-Type": {"application/json"}, "Origin": {unitOrigin}})
}

// Each way to end sessions ends just those, by form and by script alike. Somebody
// else's session is to a person as one that does not exist.
func TestEndOwnSessions(t *testing.T) {
	type left struct{ This, Other, Third, Bobs bool }
	for _, tt := range []struct {
		name, end      string
		status, script int
		location       string
		want           left
		action         audit.Action
		count          int
	}{
		{"another", "other", 303, 204, "/_wechat/sessions?done=ended", left{true, false, true, true}, audit.RevokeSession, 1},
		{"this one", "this", 303, 204, "/", left{false, true, true, true}, audit.SignOut, 1},
		{"all others", "others", 303, 204, "/_wechat/sessions?done=others", left{true, false, false, true}, audit.RevokeSessions, 2},
		{"all", "all", 303, 204, "/", left{false, false, false, true}, audit.SignOut, 3},
		{"somebody else's", "bobs", 303, 404, "/_wechat/sessions?done=gone", left{true, true, true, true}, "", 0},
		{"unknown", "AAAAAAAAAAAAAAAAAAAAAAAAAA", 303, 404, "/_wechat/sessions?done=gone", left{true, true, true, true}, "", 0},
		{"no id", strings.Repeat("../user:alice\x00", 99), 303, 404, "/_wechat/sessions?done=gone", left{true, true, true, true}, "", 0},
		{"nothing", "", 400, 400, "", left{true, true, true, true}, "", 0},
	} {
		for kind, script := range map[string]bool{"form": false, "script": true} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				o := newTown(t, new(storetest.Memory), openToAll)
				o.add(user.Entry{ID: "alice"})
				o.add(user.Entry{ID: "bob"})
				this, cookie := o.signIn("alice")
				other, _ := o.signIn("alice")
				third, _ := o.signIn("alice")
				bobs, _ := o.signIn("bob")
				what := tt.end
				if id := map[string]string{"this": this, "other": other, "bobs": bobs}[what]; id != "" {
					what = id
				}
				status := tt.status
				if script {
					status = tt.script
				}
				w := o.end(cookie, what, script)
				if w.Code != status || !script && w.Header().Get("Location") != tt.location {
					t.Errorf("%d to %q: %s", w.Code, w.Header().Get("Location"), w.Body)
				}
				if diff := cmp.Diff(tt.want, left{o.alive(this), o.alive(other), o.alive(third), o.alive(bobs)}); diff != "" {
					t.Errorf("sessions (-want +got):\n%s", diff)
				}
				if cleared := strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=0"); cleared == tt.want.This {
					t.Errorf("Set-Cookie: %q", w.Header().Get("Set-Cookie"))
				}
				o.wantOneEvent(tt.action, tt.count)
			})
		}
	}
}

// wantOneEvent fails unless just this was recorded, of alice, and from where.
func (o *town) wantOneEvent(action audit.Action, count int) {
	o.t.Helper()
	got := o.events.take()
	if action == "" {
		if len(got) > 0 {
			o.t.Errorf("recorded: %+v", got)
		}
		return
	}
	if len(got) != 1 || got[0].Action != action || got[0].Count != count || got[0].Result != audit.OK ||
		got[0].UserID != "alice" || got[0].Actor.ID != "alice" || got[0].Actor.IP != "192.0.2.1" || got[0].Site != unitOrigin {
		o.t.Errorf("recorded: %+v", got)
	}
}

// To a script, somebody else's session and none at all are one answer, byte for byte.
func TestEndOwnSessions_ForeignIsUnknown(t *testing.T) {
	o := newTown(t, new(storetest.Memory), openToAll)
	o.add(user.Entry{ID: "alice"})
	o.add(user.Entry{ID: "bob"})
	_, cookie := o.signIn("alice")
	bobs, _ := o.signIn("bob")
	a, b := o.end(cookie, bobs, true), o.end(cookie, strings.Repeat("A", 26), true)
	if diff := cmp.Diff(a.Body.String(), b.Body.String()); diff != "" || a.Code != b.Code {
		t.Errorf("%d and %d:\n%s", a.Code, b.Code, diff)
	}
}

// Mallory's page makes the browser of somebody signed in send the form (G11).
func TestEndOwnSessions_CrossSite(t *testing.T) {
	o := newTown(t, new(storetest.Memory), openToAll)
	o.add(user.Entry{ID: "alice"})
	id, cookie := o.signIn("alice")
	for _, origin := range [][]string{nil, {"null"}, {"https://evil.example"}, {"http://example.com"}} {
		w := o.send(http.MethodPost, "/_wechat/sessions", "end=all", http.Header{
			"Cookie": {cookie}, "Content-Type": {"application/x-www-form-urlencoded"}, "Origin": origin,
		})
		if w.Code != http.StatusForbidden || !o.alive(id) {
			t.Errorf("from %q: %d", origin, w.Code)
		}
	}
}

// Who is not signed in gets the login page, which leads back here; a script is told.
func TestSessionsPage_NeedsASession(t *testing.T) {
	o := newTown(t, new(storetest.Memory), openToAll)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"page": o.get("", "/_wechat/sessions"), "form": o.post("", "/_wechat/sessions", url.Values{"end": {"all"}}),
	} {
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `"returnTo":"/_wechat/sessions"`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	w := o.send(http.MethodGet, "/_wechat/sessions", "", http.Header{"Accept": {"application/json"}})
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `"login_required"`) {
		t.Errorf("script: %d %s", w.Code, w.Body)
	}
}

// Whoever awaits approval has sessions all the same, and may end them.
func TestSessionsPage_AwaitingApproval(t *testing.T) {
	o := newTown(t, new(storetest.Memory), user.Policy{Registration: user.Approval})
	o.add(user.Entry{ID: "alice", Name: "Alice", Status: user.Pending})
	_, cookie := o.signIn("alice")
	other, _ := o.signIn("alice")
	if w := o.get(cookie, "/_wechat/sessions"); w.Code != http.StatusOK {
		t.Errorf("page: %d", w.Code)
	}
	page := o.get(cookie, "/").Body.String()
	for _, part := range []string{`href="/_wechat/sessions"`, `href="/_wechat/logout"`, `<strong><bdi>Alice</bdi></strong>`} {
		if !strings.Contains(page, part) {
			t.Errorf("the waiting page lacks %s: %s", part, page)
		}
	}
	if w := o.end(cookie, other, false); w.Code != http.StatusSeeOther || o.alive(other) {
		t.Errorf("ending another: %d", w.Code)
	}
}

// While the store is away nothing is said to have ended, and no cookie is lost.
func TestSessionsPage_StoreAway(t *testing.T) {
	o := newTown(t, new(storetest.Memory), openToAll)
	o.add(user.Entry{ID: "alice"})
	id, cookie := o.signIn("alice")
	if w := o.get(cookie, "/_wechat/sessions"); w.Code != http.StatusOK {
		t.Fatalf("before: %d", w.Code)
	}
	o.store.away.Store(true)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"page": o.get(cookie, "/_wechat/sessions"), "others": o.end(cookie, "others", false), "all": o.end(cookie, "all", false),
	} {
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	o.store.away.Store(false)
	if !o.alive(id) {
		t.Error("the session has ended")
	}
}

// Five hundred sessions, as many as a person may have, are one page, and end at once.
func TestSessionsPage_FiveHundred(t *testing.T) {
	o := newTown(t, new(storetest.Memory), openToAll)
	o.add(user.Entry{ID: "alice"})
	for range 499 {
		o.signIn("alice")
	}
	_, cookie := o.signIn("alice")
	w := o.get(cookie, "/_wechat/sessions")
	if got := strings.Count(w.Body.String(), `name="end"`); w.Code != http.StatusOK || got != 502 {
		t.Errorf("%d with %d buttons", w.Code, got)
	}
	if w := o.end(cookie, "others", true); w.Code != http.StatusNoContent {
		t.Errorf("ending the others: %d %s", w.Code, w.Body)
	}
	if rest, err := o.Sessions.List(t.Context(), "alice"); err != nil || len(rest) != 1 {
		t.Errorf("%d are left (%v)", len(rest), err)
	}
}
