// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// office is the admin API of a gateway that runs in this process.
type office struct {
	t   *testing.T
	app *App
	api http.Handler
}

func newOffice(t *testing.T) office {
	t.Helper()
	return newOfficeOf(t, "registration open")
}

// newOfficeOf is newOffice under a policy.
func newOfficeOf(t *testing.T, policy string) office {
	t.Helper()
	g := gateway{addr: freeAddr(t), dir: stateOf(t), api: unusedAPI(t)}
	if err := load(t, mustAdapt(t, strings.Replace(g.caddyfile(), "registration open", policy, 1))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t) })
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	return office{t, app, adminHandler()}
}

// adminHandler is the admin API as Caddy's admin endpoint calls it.
func adminHandler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range new(AdminAPI).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) { _ = route.Handler.ServeHTTP(w, r) })
	}
	return mux
}

// do makes a request with a JSON body, none where it is empty.
func (o office) do(method, path, body string) *httptest.ResponseRecorder {
	o.t.Helper()
	return o.send(method, path, "application/json", body)
}

func (o office) send(method, path, contentType, body string) *httptest.ResponseRecorder {
	o.t.Helper()
	r := httptest.NewRequestWithContext(o.t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	o.api.ServeHTTP(w, r)
	return w
}

// want fails the test unless the answer has this status and, of the fields of its
// JSON, these values.
func want(t *testing.T, w *httptest.ResponseRecorder, status int, fields map[string]any) {
	t.Helper()
	got := make(map[string]any)
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
	}
	if w.Code != status {
		t.Errorf("%d %s; want %d", w.Code, w.Body, status)
	}
	for name, value := range fields {
		if diff := cmp.Diff(value, got[name]); diff != "" {
			t.Errorf("%s of %s (-want +got):\n%s", name, w.Body, diff)
		}
	}
}

// add enters users, by the id.
func (o office) add(entries ...user.Entry) {
	o.t.Helper()
	for _, e := range entries {
		if _, _, err := o.app.people.Users.Import(o.t.Context(), e, false); err != nil {
			o.t.Fatal(err)
		}
	}
}

// signIn gives a user a session.
func (o office) signIn(id string) session.Session {
	o.t.Helper()
	s := session.Session{
		ID: session.NewID(), UserID: id, Method: "official_qr", AppID: "wx1", OpenID: "o1", IP: "192.0.2.1", UserAgent: "Browser\x1b[2J",
		CreatedAt: time.Now().UTC(), LastSeenAt: time.Now().UTC(), ExpiresAt: time.Now().Add(time.Hour).UTC(),
	}
	issued, _, err := o.app.sessions.Issue(o.t.Context(), s)
	if err != nil {
		o.t.Fatal(err)
	}
	return issued
}

// A user has exactly the fields of the contract, and each of them always.
func TestAdminAPI_UserJSON(t *testing.T) {
	o := newOffice(t)
	o.add(user.Entry{ID: "u1", Name: "张三", Roles: []string{"b", "a"}, Email: "Li@Example.com", Phone: "13800138000", AppID: "wx1", OpenID: "o1", UnionID: "n1"}, user.Entry{ID: "u2"})
	w := o.do(http.MethodGet, "/wechat/users/u1", "")
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	created, _ := got["created_at"].(string)
	if _, err := time.Parse(time.RFC3339, created); err != nil {
		t.Error(err)
	}
	diff := cmp.Diff(map[string]any{
		"id": "u1", "name": "张三", "status": "active", "roles": []any{"a", "b"}, "email": "li@example.com", "phone": "+8613800138000",
		"identities": []any{map[string]any{"app_id": "wx1", "openid": "o1", "unionid": "n1"}}, "created_at": created, "last_seen_at": nil, "waits": false, "admission": "",
	}, got)
	if diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want(t, o.do(http.MethodGet, "/wechat/users/u2", ""), http.StatusOK, map[string]any{"roles": []any{}, "identities": []any{}, "email": "", "phone": "", "name": ""})
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
}

func TestAdminAPI_ListsPageByPage(t *testing.T) {
	o := newOffice(t)
	for i := range 7 {
		o.add(user.Entry{ID: fmt.Sprintf("u%d", i), Name: fmt.Sprintf("Person %d", i), Email: fmt.Sprintf("p%d@example.com", i)})
	}
	o.do(http.MethodPatch, "/wechat/users/u3", `{"status":"disabled"}`)
	seen := make(map[string]bool)
	for cursor, pages := "", 1; ; pages++ {
		w := o.do(http.MethodGet, "/wechat/users?limit=3&cursor="+cursor, "")
		var page userPage
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for _, u := range page.Users {
			seen[u.ID] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			if pages != 3 || len(seen) != 7 {
				t.Errorf("%d pages of %v", pages, seen)
			}
			break
		}
	}
	for _, c := range []struct{ query, body, id string }{
		{"status=disabled", `{"status":"disabled"}`, "u3"},
		{"query=P5%40EXAMPLE", `{"query":"P5@EXAMPLE","limit":1}`, "u5"},
	} {
		for _, w := range []*httptest.ResponseRecorder{
			o.do(http.MethodGet, "/wechat/users?"+c.query, ""), o.do(http.MethodPost, "/wechat/users/search", c.body),
		} {
			var page userPage
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Users) != 1 || page.Users[0].ID != c.id || page.NextCursor != "" {
				t.Errorf("%s: %v, %d %s", c.query, err, w.Code, w.Body)
			}
		}
	}
	want(t, o.do(http.MethodGet, "/wechat/users?query=nobody", ""), http.StatusOK, map[string]any{"users": []any{}, "next_cursor": ""})
}

// Each mistake has its status and a word that a script can tell it by; nothing is
// changed.
func TestAdminAPI_Refuses(t *testing.T) {
	o := newOffice(t)
	o.add(user.Entry{ID: "u1", Roles: []string{"a"}})
	thousand := strings.TrimSuffix(strings.Repeat("{},", maxImport+1), ",")
	for _, c := range []struct {
		name, method, path, contentType, body string
		status                                int
		code                                  string
	}{
		{"no such user", "GET", "users/u2", "", "", 404, "not_found"},
		{"no id at all", "GET", "users/%2e%2e%2f", "", "", 404, "not_found"},
		{"a long id", "DELETE", "users/" + strings.Repeat("u", 2000), "", "", 404, "not_found"},
		{"change of nobody", "PATCH", "users/u2", "", `{"status":"active"}`, 404, "not_found"},
		{"delete of nobody", "DELETE", "users/u2", "", "", 404, "not_found"},
		{"sessions of nobody", "GET", "users/u2/sessions", "", "", 404, "not_found"},
		{"end of sessions of nobody", "DELETE", "users/u2/sessions", "", "", 404, "not_found"},
		{"no such session", "DELETE", "sessions/nothing", "", "", 404, "not_found"},
		{"a long session", "DELETE", "sessions/" + strings.Repeat("s", 2000), "", "", 404, "not_found"},
		{"no such endpoint", "GET", "people", "", "", 404, "no_such_endpoint"},
		{"root", "GET", "", "", "", 404, "no_such_endpoint"},
		{"method", "PUT", "users/u1", "", "", 405, "method_not_allowed"},
		{"get import", "DELETE", "users/import", "", "", 405, "method_not_allowed"},
		{"cursor", "GET", "users?cursor=x", "", "", 400, "bad_cursor"},
		{"status", "GET", "users?status=gone", "", "", 400, "bad_status"},
		{"limit", "GET", "users?limit=501", "", "", 400, "bad_limit"},
		{"limit of none", "GET", "users?limit=0", "", "", 400, "bad_limit"},
		{"limit no number", "GET", "users?limit=ten", "", "", 400, "bad_limit"},
		{"status to", "PATCH", "users/u1", "", `{"status":"gone"}`, 400, "bad_change"},
		{"role", "PATCH", "users/u1", "", `{"roles":["a,b"]}`, 400, "bad_change"},
		{"unknown field", "PATCH", "users/u1", "", `{"name":"x"}`, 400, "bad_json"},
		{"two bodies", "PATCH", "users/u1", "", `{"status":"disabled"}{}`, 400, "bad_json"},
		{"no change", "PATCH", "users/u1", "", `{}`, 400, "nothing_to_change"},
		{"no body", "PATCH", "users/u1", "", "", 400, "bad_json"},
		{"changed meanwhile", "PATCH", "users/u1", "", `{"roles":[],"if":{"roles":["b"]}}`, 409, "changed"},
		{"status meanwhile", "PATCH", "users/u1", "", `{"roles":[],"if":{"status":"pending"}}`, 409, "changed"},
		// A foreign page can make a browser send a form or plain text without asking.
		{"form", "PATCH", "users/u1", "application/x-www-form-urlencoded", `{"status":"disabled"}`, 415, "unsupported_type"},
		{"plain text", "POST", "users/import", "text/plain", `{"users":[{"id":"u9"}]}`, 415, "unsupported_type"},
		{"a large change", "PATCH", "users/u1", "", `{"roles":["` + strings.Repeat("a", maxChangeBody) + `"]}`, 413, "too_large"},
		{"a large import", "POST", "users/import", "", `{"users":[{"name":"` + strings.Repeat("a", maxImportBody) + `"}]}`, 413, "too_large"},
		{"many users", "POST", "users/import", "", `{"users":[` + thousand + `]}`, 413, "too_large"},
		{"many lines", "POST", "users/import", "application/x-ndjson", strings.Repeat("{\"id\":\"u9\"}\n", maxImport+1), 413, "too_large"},
		{"unknown import", "POST", "users/import", "", `{"people":[]}`, 400, "bad_json"},
		{"import of bytes", "POST", "users/import", "application/x-ndjson", "\xd5\n", 400, "bad_json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.contentType == "" {
				c.contentType = "application/json; charset=utf-8"
			}
			w := o.send(c.method, "/wechat/"+c.path, c.contentType, c.body)
			want(t, w, c.status, map[string]any{"error": c.code})
			if message := failureIn(w); message == "" {
				t.Errorf("no message: %s", w.Body)
			}
		})
	}
	want(t, o.do(http.MethodGet, "/wechat/users/u1", ""), http.StatusOK, map[string]any{"status": "active", "roles": []any{"a"}})
	want(t, o.do(http.MethodGet, "/wechat/users/u9", ""), http.StatusNotFound, nil)
}

func failureIn(w *httptest.ResponseRecorder) string {
	var f adminError
	_ = json.Unmarshal(w.Body.Bytes(), &f)
	return f.Message
}

func TestAdminAPI_Changes(t *testing.T) {
	o := newOffice(t)
	o.add(user.Entry{ID: "u1"}, user.Entry{ID: "u2"})
	want(t, o.do(http.MethodPatch, "/wechat/users/u1", `{"status":"pending","roles":["b","a","b"]}`), http.StatusOK, map[string]any{"status": "pending", "roles": []any{"a", "b"}})
	want(t, o.do(http.MethodPatch, "/wechat/users/u1", `{"roles":[],"if":{"status":"pending","roles":["b","a"]}}`), http.StatusOK, map[string]any{"status": "pending", "roles": []any{}})
	first, second, other := o.signIn("u1"), o.signIn("u1"), o.signIn("u2")
	var list sessionList
	w := o.do(http.MethodGet, "/wechat/users/u1/sessions", "")
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list.Sessions) != 2 || strings.Count(w.Body.String(), `":`) != 1+2*8 {
		t.Fatalf("%v %s", err, w.Body)
	}
	if diff := cmp.Diff(second.Info(), list.Sessions[0]); diff != "" {
		t.Errorf("a session (-want +got):\n%s", diff)
	}
	want(t, o.do(http.MethodDelete, "/wechat/sessions/"+first.ID, ""), http.StatusNoContent, nil)
	want(t, o.do(http.MethodDelete, "/wechat/sessions/"+first.ID, ""), http.StatusNotFound, nil)
	want(t, o.do(http.MethodDelete, "/wechat/users/u1/sessions", ""), http.StatusOK, map[string]any{"ended": 1.0})
	want(t, o.do(http.MethodDelete, "/wechat/users/u1/sessions", ""), http.StatusOK, map[string]any{"ended": 0.0})
	want(t, o.do(http.MethodPatch, "/wechat/users/u2", `{"status":"disabled"}`), http.StatusOK, map[string]any{"status": "disabled"})
	want(t, o.do(http.MethodDelete, "/wechat/sessions/"+other.ID, ""), http.StatusNotFound, nil)
	want(t, o.do(http.MethodDelete, "/wechat/users/u1", ""), http.StatusNoContent, nil)
	want(t, o.do(http.MethodGet, "/wechat/users/u1", ""), http.StatusNotFound, nil)
}

// Entries that name the same person count in their order, and a mistake in one
// keeps no other out.
func TestAdminAPI_Imports(t *testing.T) {
	o := newOffice(t)
	body := `{"users":[
		{"id":"u1","email":"a@example.com","roles":["a"]},
		{"email":"A@Example.com","roles":["b"]},
		{"email":"a@example.com","name":"Last"},
		{"id":"u2","email":"a@example.com"},
		{"id":"u3","identities":[{"app_id":"wx1","openid":"o1"},{"app_id":"wx2","openid":"o2","unionid":"n"}]},
		{"phone":"nonsense"},
		{"id":"u4","openid":"o9","app_id":"wx1","identities":[{"app_id":"wx1","openid":"o8"}]}
	],"dry_run":%v}`
	outcomes := func(w *httptest.ResponseRecorder) (all []string) {
		var answer importResults
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for _, r := range answer.Results {
			if r.Error != "" && r.ID != "" || (r.Error == "") != (r.Outcome != "") {
				t.Errorf("neither outcome nor error: %+v", r)
			}
			all = append(all, fmt.Sprintf("%d %s", r.Line, r.Outcome))
		}
		return all
	}
	outcomes(o.do(http.MethodPost, "/wechat/users/import", fmt.Sprintf(body, true)))
	want(t, o.do(http.MethodGet, "/wechat/users/u1", ""), http.StatusNotFound, nil)
	got := outcomes(o.do(http.MethodPost, "/wechat/users/import", fmt.Sprintf(body, false)))
	if diff := cmp.Diff([]string{"1 created", "2 updated", "3 updated", "4 ", "5 created", "6 ", "7 "}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want(t, o.do(http.MethodGet, "/wechat/users/u1", ""), http.StatusOK, map[string]any{"roles": []any{"b"}, "name": "Last"})
	want(t, o.do(http.MethodGet, "/wechat/users/u3", ""), http.StatusOK, map[string]any{"identities": []any{
		map[string]any{"app_id": "wx1", "openid": "o1", "unionid": ""}, map[string]any{"app_id": "wx2", "openid": "o2", "unionid": "n"},
	}})
	got = outcomes(o.send(http.MethodPost, "/wechat/users/import", "application/x-ndjson", "{\"id\":\"u3\"}\n\n{]\n{\"id\":\"u5\"}\n"))
	if diff := cmp.Diff([]string{"3 ", "1 unchanged", "4 created"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	got = outcomes(o.send(http.MethodPost, "/wechat/users/import?dry_run=true", "application/x-ndjson", "{\"id\":\"u6\"}\n"))
	if diff := cmp.Diff([]string{"1 created"}, got); diff != "" {
		t.Errorf("a dry run of lines (-want +got):\n%s", diff)
	}
	want(t, o.do(http.MethodGet, "/wechat/users/u6", ""), http.StatusNotFound, nil)
}

// A dry run tells no id that will never exist, and that of the file as it stands there.
func TestAdminAPI_ImportDryRunIDs(t *testing.T) {
	o := newOffice(t)
	o.add(user.Entry{ID: "u1", Email: "a@example.com"})
	w := o.do(http.MethodPost, "/wechat/users/import", `{"users":[{"email":"b@example.com"},{"id":"u2"},{"email":"a@example.com"}],"dry_run":true}`)
	want := `{"results":[{"line":1,"outcome":"created","id":""},{"line":2,"outcome":"created","id":"u2"},{"line":3,"outcome":"unchanged","id":"u1"}]}`
	if got := strings.TrimSpace(w.Body.String()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Somebody whom a file disables loses his sessions, as by the command.
func TestAdminAPI_ImportDisables(t *testing.T) {
	o := newOffice(t)
	o.add(user.Entry{ID: "u1"})
	s := o.signIn("u1")
	o.do(http.MethodPost, "/wechat/users/import", `{"users":[{"id":"u1","status":"disabled"}]}`)
	want(t, o.do(http.MethodDelete, "/wechat/sessions/"+s.ID, ""), http.StatusNotFound, nil)
}

func TestAdminAPI_Status(t *testing.T) {
	o := newOffice(t)
	o.add(user.Entry{ID: "u1"}, user.Entry{ID: "u2", Status: user.Pending}, user.Entry{ID: "u3", Status: user.Pending})
	want(t, o.do(http.MethodGet, "/wechat/status", ""), http.StatusOK, map[string]any{
		"store":    map[string]any{"backend": "embedded", "status": "ok"},
		"users":    map[string]any{"active": 1.0, "pending": 2.0, "disabled": 0.0},
		"waiting":  0.0, // registration is open
		"accounts": []any{map[string]any{"app_id": "wx0123456789abcdef", "kind": "official_account", "methods": []any{"official_qr"}}},
	})
	// What is in memory is still answered for as long as nobody has said that notices
	// are lost: a list may be, a user who is asked for by the id never is.
	want(t, o.do(http.MethodGet, "/wechat/users", ""), http.StatusOK, nil)
	_ = o.app.backend.store.Close()
	w := o.do(http.MethodGet, "/wechat/status", "")
	want(t, w, http.StatusOK, map[string]any{"users": nil, "waiting": nil})
	if !strings.Contains(w.Body.String(), `"status":"unavailable"`) {
		t.Errorf("%s", w.Body)
	}
	w = o.do(http.MethodGet, "/wechat/users/u1", "")
	want(t, w, http.StatusServiceUnavailable, map[string]any{"error": "store_unavailable"})
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// Whom the configuration lets in is pending and awaits nobody's approval.
func TestAdminAPI_Waits(t *testing.T) {
	for _, tt := range []struct {
		policy   string
		waiting  float64
		listed   string // the status in the list of who is allowed and who is not
		reported string
	}{
		{"registration approval", 3, "allowed pending, other pending", "3 pending,"},
		{"registration approval\nallow phone 13800138000", 2, "allowed let in, other pending", "3 pending (1 let in by the configuration),"},
		{"registration closed\nallow phone 13800138000", 2, "allowed let in, other pending", "3 pending (1 let in by the configuration),"},
		{"registration open", 0, "allowed let in, other let in", "3 pending (3 let in by the configuration),"},
	} {
		t.Run(tt.policy, func(t *testing.T) {
			o := newOfficeOf(t, tt.policy)
			o.add(user.Entry{ID: "allowed", Status: user.Pending, Phone: "13800138000"}, user.Entry{ID: "other", Status: user.Pending},
				user.Entry{ID: "third", Status: user.Pending}, user.Entry{ID: "active", Phone: "13800138001"})
			w := o.do(http.MethodGet, "/wechat/status", "")
			want(t, w, http.StatusOK, map[string]any{"waiting": tt.waiting, "users": map[string]any{"active": 1.0, "pending": 3.0, "disabled": 0.0}})
			var status statusJSON
			var report strings.Builder
			if err := errors.Join(json.Unmarshal(w.Body.Bytes(), &status), printStatus(&report, status)); err != nil || !strings.Contains(report.String(), tt.reported) {
				t.Errorf("%v %s", err, report.String())
			}
			var page userPage
			w = o.do(http.MethodGet, "/wechat/users?status=pending", "")
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Users) != 3 {
				t.Fatalf("%v %s", err, w.Body)
			}
			var shown []string
			for _, u := range page.Users {
				if u.ID != "third" {
					shown = append(shown, u.ID+" "+statusText(u, "let in"))
				}
			}
			if slices.Sort(shown); strings.Join(shown, ", ") != tt.listed {
				t.Errorf("listed: %v", shown)
			}
		})
	}
}

// Somebody whose id is a word of the API could neither be shown nor shut out by it.
func TestAdminAPI_ImportsNoEndpoint(t *testing.T) {
	o := newOffice(t)
	for _, id := range []string{"import", "search"} {
		w := o.do(http.MethodPost, "/wechat/users/import", fmt.Sprintf(`{"users":[{"id":%q}]}`, id))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "an endpoint of that name") {
			t.Errorf("%s: %d %s", id, w.Code, w.Body)
		}
	}
}

// A Caddy without the gateway says so.
func TestAdminAPI_NotConfigured(t *testing.T) {
	stop(t) // whatever another test has left
	w := httptest.NewRecorder()
	adminHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/wechat/users", nil))
	want(t, w, http.StatusNotFound, map[string]any{"error": "not_configured"})
}
