// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// newAdmins is a town with two admins, one by an operator's word and one by a rule,
// and the cookie of the first.
func newAdmins(t testing.TB, s store.Store) (o *town, cookie string) {
	t.Helper()
	o = newTown(t, s, user.Policy{
		Registration: user.Approval,
		Roles:        []user.RoleRule{{Role: "admin", Rule: user.Rule{Field: user.Email, Value: "ruled@example.com"}}},
	}, "admin", "root")
	o.add(user.Entry{ID: "anna", Name: "Anna", Roles: []string{"admin"}})
	o.add(user.Entry{ID: "ruled", Email: "ruled@example.com"})
	o.add(user.Entry{ID: "bob", Name: "Bob", Status: user.Pending})
	_, cookie = o.signIn("anna")
	return o, cookie
}

// The page is for people with the role, and there is none where no role is set.
func TestAdmin_WhoMay(t *testing.T) {
	o, anna := newAdmins(t, new(storetest.Memory))
	o.add(user.Entry{ID: "carol", Roles: []string{"Admin", "admins", "editor"}})
	o.add(user.Entry{ID: "dave", Roles: []string{"admin"}, Status: user.Pending})
	o.add(user.Entry{ID: "erin", Roles: []string{"root"}})
	cookies := map[string]string{"anna": anna, "nobody": ""}
	for _, name := range []string{"ruled", "carol", "dave", "erin"} {
		_, cookies[name] = o.signIn(name)
	}
	for _, tt := range []struct {
		who, reason string
		status      int
	}{
		{"anna", "", 200},
		{"ruled", "", 200},
		{"erin", "", 200},
		{"nobody", "", 401},
		{"carol", "role_missing", 403},
		{"dave", "pending", 403},
	} {
		t.Run(tt.who, func(t *testing.T) {
			for name, ask := range map[string]func() *httptest.ResponseRecorder{
				"list": func() *httptest.ResponseRecorder { return o.get(cookies[tt.who], "/_wechat/admin") },
				"user": func() *httptest.ResponseRecorder { return o.get(cookies[tt.who], "/_wechat/admin/users/bob") },
				"form": func() *httptest.ResponseRecorder {
					return o.post(cookies[tt.who], "/_wechat/admin/users/bob", url.Values{"do": {"end_sessions"}})
				},
			} {
				o.events.take()
				w := ask()
				if w.Code != tt.status || !strings.Contains(w.Body.String(), "<html") {
					t.Errorf("%s: %d %s", name, w.Code, w.Body)
				}
				if shows := strings.Contains(w.Body.String(), "Bob"); shows != (tt.status == http.StatusOK) {
					t.Errorf("%s: shows people: %v", name, shows)
				}
				recorded := o.events.take()
				if tt.reason == "" && len(recorded) > 0 {
					t.Errorf("%s: recorded %+v", name, recorded)
				}
				if tt.reason != "" && (len(recorded) != 1 || recorded[0].Action != audit.AdminRefused || recorded[0].Result != audit.Refused ||
					recorded[0].Reason != tt.reason || recorded[0].Actor.ID != tt.who || recorded[0].Actor.IP == "") {
					t.Errorf("%s: recorded %+v", name, recorded)
				}
			}
			if tt.status == http.StatusOK {
				return
			}
			if w := o.post(cookies[tt.who], "/_wechat/admin/users/bob", ordered("disable", "confirmed", "yes")); w.Code != tt.status || o.find("bob").Status != user.Pending {
				t.Errorf("%s disables: %d", tt.who, w.Code)
			}
		})
	}
}

func TestAdmin_NoneWithoutARole(t *testing.T) {
	o := newTown(t, new(storetest.Memory), openToAll)
	o.add(user.Entry{ID: "anna", Roles: []string{"admin"}})
	_, cookie := o.signIn("anna")
	for _, w := range []*httptest.ResponseRecorder{
		o.get(cookie, "/_wechat/admin"), o.get(cookie, "/_wechat/admin/users/anna"), o.post(cookie, "/_wechat/admin/users/anna", url.Values{"do": {"delete"}, "confirmed": {"yes"}}),
	} {
		if w.Code != http.StatusNotFound {
			t.Errorf("without admin role: %d", w.Code)
		}
	}
}

// deafStore hears of nothing that other nodes do.
type deafStore struct{ store.Store }

// Subscribe implements store.Store.
func (deafStore) Subscribe(string, func(store.Notice)) func() { return func() {} }

// Anna has lost the role, or her session, on another node, whose word has not come
// here yet. Her very next click is refused all the same.
func TestAdmin_StaleAdmin(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, other *town, session string){
		"role": func(t *testing.T, other *town, _ string) {
			if _, _, err := other.Users.Change(t.Context(), "anna", user.Change{Roles: new([]string)}); err != nil {
				t.Error(err)
			}
		},
		"user": func(t *testing.T, other *town, _ string) {
			if _, err := other.Users.Delete(t.Context(), "anna"); err != nil {
				t.Error(err)
			}
		},
		"session": func(t *testing.T, other *town, session string) {
			if _, err := other.Sessions.Revoke(t.Context(), session); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			shared := new(storetest.Memory)
			o, _ := newAdmins(t, deafStore{shared})
			other := newTown(t, shared, openToAll)
			id, cookie := o.signIn("anna")
			if w := o.get(cookie, "/_wechat/admin"); w.Code != http.StatusOK {
				t.Fatalf("before: %d", w.Code)
			}
			take(t, other, id)
			w := o.post(cookie, "/_wechat/admin/users/bob", url.Values{"do": {"approve"}, "confirmed": {"yes"}})
			if w.Code != http.StatusForbidden && w.Code != http.StatusUnauthorized || other.find("bob").Status != user.Pending {
				t.Errorf("without the %s: %d, and bob is %s", name, w.Code, other.find("bob").Status)
			}
		})
	}
}

// ordered is the form that orders something.
func ordered(do string, more ...string) url.Values {
	f := url.Values{"do": {do}}
	for i := 0; i < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return f
}

// Each act is asked about first, and nothing happens by asking; once confirmed it is
// done, and recorded with who did it, to whom and from where.
func TestAdmin_Acts(t *testing.T) {
	for _, tt := range []struct {
		do       string
		more     []string
		status   user.Status // bob's before
		location string
		done     func(o *town, session string) bool
		actions  []audit.Action
		detail   string // of the first: after
	}{
		{"approve", nil, user.Pending, "/_wechat/admin?done=approve", func(o *town, _ string) bool { return o.find("bob").Status == user.Active }, []audit.Action{audit.ChangeStatus}, "active"},
		{"enable", nil, user.Disabled, "/_wechat/admin/users/bob?done=enable", func(o *town, _ string) bool { return o.find("bob").Status == user.Active }, []audit.Action{audit.ChangeStatus}, "active"},
		{"disable", nil, user.Active, "/_wechat/admin/users/bob?done=disable", func(o *town, s string) bool { return o.find("bob").Status == user.Disabled && !o.alive(s) }, []audit.Action{audit.ChangeStatus, audit.RevokeSessions}, "disabled"},
		{"roles", []string{"roles", " editor，viewer editor\n", "was", "old"}, user.Active, "/_wechat/admin/users/bob?done=roles", func(o *town, _ string) bool { return slices.Equal(o.find("bob").Roles, []string{"editor", "viewer"}) }, []audit.Action{audit.ChangeRoles}, "editor,viewer"},
		{"roles", []string{"roles", "", "was", "old"}, user.Active, "/_wechat/admin/users/bob?done=roles", func(o *town, _ string) bool { return len(o.find("bob").Roles) == 0 }, []audit.Action{audit.ChangeRoles}, ""},
		{"delete", nil, user.Active, "/_wechat/admin?done=delete", func(o *town, s string) bool { return o.find("bob") == nil && !o.alive(s) }, []audit.Action{audit.DeleteUser}, ""},
		{"end_session", nil, user.Active, "/_wechat/admin/users/bob?done=end_session", func(o *town, s string) bool { return !o.alive(s) }, []audit.Action{audit.RevokeSession}, ""},
		{"end_sessions", nil, user.Active, "/_wechat/admin/users/bob?done=end_sessions", func(o *town, s string) bool { return !o.alive(s) }, []audit.Action{audit.RevokeSessions}, ""},
	} {
		t.Run(tt.do+strings.Join(tt.more, " "), func(t *testing.T) {
			o, cookie := newAdmins(t, new(storetest.Memory))
			o.add(user.Entry{ID: "bob", Status: tt.status, Roles: []string{"old"}})
			session, _ := o.signIn("bob")
			form := ordered(tt.do, append(tt.more, "session", session)...)
			w := o.post(cookie, "/_wechat/admin/users/bob", form)
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Bob") || !strings.Contains(w.Body.String(), `name="confirmed" value="yes"`) {
				t.Errorf("asked: %d %s", w.Code, w.Body)
			}
			if tt.done(o, session) || len(o.events.take()) > 0 {
				t.Fatal("it is done before it is confirmed")
			}
			w = o.post(cookie, "/_wechat/admin/users/bob", hiddenFields(t, w.Body.String()))
			if w.Code != http.StatusSeeOther || w.Header().Get("Location") != tt.location {
				t.Errorf("confirmed: %d to %q", w.Code, w.Header().Get("Location"))
			}
			if !tt.done(o, session) {
				t.Errorf("it is not done: %+v", o.find("bob"))
			}
			var actions []audit.Action
			recorded := o.events.take()
			for _, e := range recorded {
				actions = append(actions, e.Action)
				if e.Actor.Kind != audit.Admin || e.Actor.ID != "anna" || e.Actor.IP != "192.0.2.1" || e.UserID != "bob" || e.Result != audit.OK || e.Site != unitOrigin {
					t.Errorf("recorded: %+v", e)
				}
			}
			if diff := cmp.Diff(tt.actions, actions); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if len(recorded) > 0 && recorded[0].After != tt.detail {
				t.Errorf("recorded: %+v, want after %q", recorded[0], tt.detail)
			}
			if w := o.get(cookie, w.Header().Get("Location")); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `role="status"`) {
				t.Errorf("afterwards: %d %s", w.Code, w.Body)
			}
		})
	}
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// hiddenFields is what the form of a question sends when its button is pressed.
func hiddenFields(t *testing.T, body string) url.Values {
	t.Helper()
	form := url.Values{"confirmed": {"yes"}}
	for _, m := range hiddenField.FindAllStringSubmatch(body, -1) {
		form.Set(m[1], m[2])
	}
	if len(form) < 2 {
		t.Fatalf("no form:\n%s", body)
	}
	return form
}

// What is not done says why, and changes nothing: confirmed or not.
func TestAdmin_Refusals(t *testing.T) {
	for _, tt := range []struct {
		name, id, location string
		form               url.Values
	}{
		{"disabling oneself", "anna", "/users/anna?done=self", ordered("disable")},
		{"deleting oneself", "anna", "/users/anna?done=self", ordered("delete")},
		{"one's own admin role", "anna", "/users/anna?done=self", ordered("roles", "roles", "editor", "was", "admin")},
		{"approving who does not wait", "carol", "/users/carol?done=changed", ordered("approve")},
		{"approving who was disabled meanwhile", "eve", "/users/eve?done=changed", ordered("approve")},
		{"enabling who is not disabled", "carol", "/users/carol?done=changed", ordered("enable")},
		{"roles that have changed", "carol", "/users/carol?done=changed", ordered("roles", "roles", "a", "was", "b")},
		{"a role with markup", "bob", "/users/bob?done=bad_roles", ordered("roles", "roles", "<script>", "was", "")},
		{"a role with a line break", "bob", "/users/bob?done=bad_roles", ordered("roles", "roles", "a\r\nX-Evil: 1\x00", "was", "")},
		{"too many roles", "bob", "/users/bob?done=bad_roles", ordered("roles", "roles", manyRoles(33), "was", "")},
		{"an unknown session", "bob", "/users/bob?done=no_session", ordered("end_session", "session", "x")},
		{"another's session", "bob", "/users/bob?done=no_session", ordered("end_session", "session", "ANNAS")},
		{"a user who is gone", "nobody", "?done=gone", ordered("approve")},
	} {
		for _, confirmed := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, " ", confirmed), func(t *testing.T) {
				o, cookie := newAdmins(t, new(storetest.Memory))
				o.add(user.Entry{ID: "carol", Roles: []string{"editor"}})
				o.add(user.Entry{ID: "eve", Status: user.Disabled})
				annas, _ := o.signIn("anna")
				form := url.Values{}
				for k, v := range tt.form {
					form[k] = []string{strings.ReplaceAll(v[0], "ANNAS", annas)}
				}
				if confirmed {
					form.Set("confirmed", "yes")
				}
				before := o.everybody()
				w := o.post(cookie, "/_wechat/admin/users/"+tt.id, form)
				if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/_wechat/admin"+tt.location {
					t.Errorf("%d to %q: %s", w.Code, w.Header().Get("Location"), w.Body)
				}
				if diff := cmp.Diff(before, o.everybody()); diff != "" || !o.alive(annas) {
					t.Errorf("changed (-before +after):\n%s", diff)
				}
				if w := o.get(cookie, w.Header().Get("Location")); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Nothing was done") {
					t.Errorf("afterwards: %d %s", w.Code, w.Body)
				}
			})
		}
	}
}

func manyRoles(n int) string {
	roles := make([]string, n)
	for i := range roles {
		roles[i] = fmt.Sprint("role", i)
	}
	return strings.Join(roles, ",")
}

// everybody is who there is, and with which roles.
func (o *town) everybody() map[string]string {
	o.t.Helper()
	found, err := o.Users.List(o.t.Context(), user.Query{Limit: 500})
	if err != nil {
		o.t.Fatal(err)
	}
	all := make(map[string]string)
	for _, u := range found.Users {
		all[u.ID] = fmt.Sprint(u.Status, u.Roles)
	}
	return all
}

// The role that a rule gives cannot be taken here: the page says whence it comes, and
// its holder may give up the other one.
func TestAdmin_RoleByRule(t *testing.T) {
	o, _ := newAdmins(t, new(storetest.Memory))
	o.add(user.Entry{ID: "ruled", Roles: []string{"admin", "editor"}})
	_, cookie := o.signIn("ruled")
	body := o.get(cookie, "/_wechat/admin/users/ruled").Body.String()
	if !strings.Contains(body, `value="admin,editor"`) || !strings.Contains(body, `From the configuration, not to be changed here: <span class="badge">admin</span>`) {
		t.Errorf("the page does not tell the roles apart:\n%s", body)
	}
	w := o.post(cookie, "/_wechat/admin/users/ruled", ordered("roles", "roles", "", "was", "editor,admin", "confirmed", "yes"))
	if w.Header().Get("Location") != "/_wechat/admin/users/ruled?done=roles" || len(o.find("ruled").Roles) > 0 {
		t.Errorf("%d to %q, roles %v", w.Code, w.Header().Get("Location"), o.find("ruled").Roles)
	}
	if w := o.get(cookie, "/_wechat/admin"); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d", w.Code)
	}
}

// Anna confirms "approve" while another admin disables the same person: his word
// comes between her check and her write. It stands.
func TestAdmin_TwoAtOnce(t *testing.T) {
	for _, form := range []url.Values{ordered("approve", "confirmed", "yes"), ordered("roles", "roles", "editor", "was", "", "confirmed", "yes")} {
		o, cookie := newAdmins(t, new(storetest.Memory))
		o.events.take()
		disabled, roles, done := user.Disabled, []string{"viewer"}, false
		other := func(key string) {
			if key == "user:bob" && !done {
				done = true
				if _, _, err := o.Users.Change(t.Context(), "bob", user.Change{Status: &disabled, Roles: &roles}); err != nil {
					t.Error(err)
				}
			}
		}
		o.store.before.Store(&other)
		w := o.post(cookie, "/_wechat/admin/users/bob", form)
		if !done || w.Header().Get("Location") != "/_wechat/admin/users/bob?done=changed" {
			t.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
		}
		if bob := o.find("bob"); bob.Status != user.Disabled || !slices.Equal(bob.Roles, roles) {
			t.Errorf("bob is %s with %v", bob.Status, bob.Roles)
		}
		recorded := o.events.take()
		if len(recorded) != 1 || recorded[0].Result != audit.Refused || recorded[0].Reason != "changed_meanwhile" {
			t.Errorf("recorded: %+v", recorded)
		}
	}
}

// The user is deleted between the check and the write.
func TestAdmin_GoneMeanwhile(t *testing.T) {
	o, cookie := newAdmins(t, new(storetest.Memory))
	done := false
	other := func(key string) {
		if key == "user:bob" && !done {
			done = true
			if _, err := o.Users.Delete(t.Context(), "bob"); err != nil {
				t.Error(err)
			}
		}
	}
	o.store.before.Store(&other)
	w := o.post(cookie, "/_wechat/admin/users/bob", ordered("approve", "confirmed", "yes"))
	if !done || w.Header().Get("Location") != "/_wechat/admin?done=gone" {
		t.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
	}
}

// While the store is away the page says so. What it could not do is not said to be done.
func TestAdmin_StoreAway(t *testing.T) {
	o, cookie := newAdmins(t, new(storetest.Memory))
	o.get(cookie, "/_wechat/admin")
	key := "user:"
	for name, lose := range map[string]func(){"writes": func() { o.store.fail.Store(&key) }, "reads": func() { o.store.away.Store(true) }} {
		lose()
		w := o.post(cookie, "/_wechat/admin/users/bob", ordered("approve", "confirmed", "yes"))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "<html") {
			t.Errorf("without %s: %d %s", name, w.Code, w.Body)
		}
		o.store.away.Store(false)
		if o.find("bob").Status != user.Pending {
			t.Errorf("without %s: bob is %s", name, o.find("bob").Status)
		}
	}
	o.store.away.Store(true)
	for _, path := range []string{"/_wechat/admin", "/_wechat/admin/users/bob"} {
		if w := o.get(cookie, path); w.Code != http.StatusServiceUnavailable || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// Mallory's page makes an admin's browser send the form (G11), whole and confirmed.
func TestAdmin_CrossSite(t *testing.T) {
	o, cookie := newAdmins(t, new(storetest.Memory))
	for _, origin := range [][]string{nil, {"null"}, {"https://evil.example"}, {"http://example.com"}, {unitOrigin, unitOrigin}} {
		w := o.send(http.MethodPost, "/_wechat/admin/users/bob", ordered("approve", "confirmed", "yes").Encode(), http.Header{
			"Cookie": {cookie}, "Content-Type": {"application/x-www-form-urlencoded"}, "Origin": origin,
		})
		if w.Code != http.StatusForbidden || o.find("bob").Status != user.Pending {
			t.Errorf("from %q: %d", origin, w.Code)
		}
	}
	// Nor does a link change anything.
	o.get(cookie, "/_wechat/admin/users/bob?do=approve&confirmed=yes")
	if w := o.post(cookie, "/_wechat/admin/users/bob?do=approve&confirmed=yes", nil); w.Code != http.StatusBadRequest || o.find("bob").Status != user.Pending {
		t.Errorf("an order in the address: %d, and bob is %s", w.Code, o.find("bob").Status)
	}
}

// Whatever a person calls himself, the admin's page shows it literally (H8, Q13).
func TestAdmin_HostileNames(t *testing.T) {
	o, cookie := newAdmins(t, new(storetest.Memory))
	evil := `"><script>alert(1)</script>{{.Nonce}}{env.SECRET}'`
	o.add(user.Entry{ID: "bob", Name: evil})
	session, _ := o.signIn("bob")
	for name, w := range map[string]*httptest.ResponseRecorder{
		"list":     o.get(cookie, "/_wechat/admin?q="+url.QueryEscape(`"><script>alert(1)</script>`)),
		"waiting":  o.get(cookie, "/_wechat/admin"),
		"user":     o.get(cookie, "/_wechat/admin/users/bob"),
		"question": o.post(cookie, "/_wechat/admin/users/bob", ordered("end_session", "session", session)),
		"words":    o.get(cookie, "/_wechat/admin/users/bob?done="+url.QueryEscape(evil)),
	} {
		body := w.Body.String()
		if w.Code != http.StatusOK || strings.Contains(body, "<script>alert") || !strings.Contains(body, "&lt;script&gt;alert(1)&lt;/script&gt;") {
			t.Errorf("%s: %d\n%s", name, w.Code, body)
		}
	}
}

var nextPage = regexp.MustCompile(`rel="next" href="([^"]+)"`)

// Whoever goes from page to page sees each person once, the newest first, and on the
// first page those who wait for approval before all others.
func TestAdmin_Pages(t *testing.T) {
	o, cookie := newAdmins(t, new(storetest.Memory))
	for i := range 117 {
		o.add(user.Entry{ID: fmt.Sprintf("person-%03d", i), Name: fmt.Sprintf("N-%03d&", i)})
	}
	path, seen, pages := "/_wechat/admin", map[string]int{}, 0
	for ; path != ""; pages++ {
		body := o.get(cookie, path).Body.String()
		if waits := strings.Contains(body, "Waiting for approval (1)"); waits != (pages == 0) || waits && strings.Index(body, "Bob") > strings.Index(body, "person-") {
			t.Errorf("page %d: who waits is shown: %v", pages, waits)
		}
		_, table, _ := strings.Cut(body, "<tbody>")
		for _, m := range regexp.MustCompile(`<a href="/_wechat/admin/users/([^"]+)">`).FindAllStringSubmatch(table, -1) {
			seen[m[1]]++
		}
		next := nextPage.FindStringSubmatch(body)
		if path = ""; next != nil {
			path = strings.ReplaceAll(next[1], "&amp;", "&")
		}
	}
	if pages != 3 || len(seen) != 120 {
		t.Errorf("%d people on %d pages, want 120 on 3", len(seen), pages)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is shown %d times", id, n)
		}
	}
}

// Whoever the configuration lets in waits for nobody, whatever the record says.
func TestAdmin_WhoWaits(t *testing.T) {
	s := new(storetest.Memory)
	o := newTown(t, s, user.Policy{
		Registration: user.Approval, Bind: []user.Channel{user.ByEmail},
		Allow: []user.Rule{{Field: user.OpenID, Value: "o-allowed"}},
	}, "admin")
	o.add(user.Entry{ID: "anna", Roles: []string{"admin"}, Email: "anna@example.com"})
	o.add(user.Entry{ID: "allowed", Status: user.Pending})
	o.add(user.Entry{ID: "waits", Status: user.Pending})
	_, cookie := o.signIn("anna")
	body := o.get(cookie, "/_wechat/admin").Body.String()
	waiting, all, _ := strings.Cut(body, `id="people"`)
	if !strings.Contains(waiting, "Waiting for approval (1)") || !strings.Contains(waiting, "users/waits") || strings.Contains(waiting, "users/allowed") {
		t.Errorf("who waits:\n%s", waiting)
	}
	if !strings.Contains(all, "Let in by the configuration") || !strings.Contains(all, "E-mail not proven yet") {
		t.Errorf("all:\n%s", all)
	}
}

// The search finds by what an operator knows, and its words stay on the next page.
func TestAdmin_Search(t *testing.T) {
	o, cookie := newAdmins(t, new(storetest.Memory))
	for i := range 60 {
		o.add(user.Entry{ID: fmt.Sprintf("p%02d", i), Name: "张&=#三", Email: fmt.Sprintf("p%02d@example.com", i)})
	}
	var kept []string
	o.KeepOutOfLog = func(r *http.Request) { kept = append(kept, r.URL.RawQuery) }
	for query, want := range map[string]int{
		"q=P07%40EXAMPLE": 1, "q=o-p07": 1, "q=p07": 1, "q=%E5%BC%A0%26%3D%23": 60, "q=nobody-at-all": 0, "status=pending": 1, "status=disabled": 0,
		"status=active&q=p0": 10, "status=bogus": 63, "q=" + strings.Repeat("x", 5000): 0,
	} {
		w := o.get(cookie, "/_wechat/admin?"+query)
		if !strings.Contains(w.Body.String(), fmt.Sprintf("People (%d)", want)) {
			t.Errorf("%.40s: %d, want %d people", query, w.Code, want)
		}
		next := nextPage.FindStringSubmatch(w.Body.String())
		if (next != nil) != (want > 50) {
			t.Errorf("%.40s: next page %q", query, next)
		}
		if next != nil && want == 60 {
			if w := o.get(cookie, strings.ReplaceAll(next[1], "&amp;", "&")); strings.Count(w.Body.String(), `<th scope="row">`) != 10 {
				t.Errorf("%s: the next page does not show the other ten", query)
			}
		}
	}
	// Whom an operator looks for is nobody's business who reads the access log.
	for _, query := range kept {
		if !strings.Contains(query, "q=") {
			t.Errorf("kept out of the log: %q", query)
		}
	}
	if len(kept) < 7 {
		t.Errorf("%d searches are kept out of the log: %q", len(kept), kept)
	}
	if w := o.get(cookie, "/_wechat/admin?cursor=nonsense"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/_wechat/admin" {
		t.Errorf("a bad cursor: %d", w.Code)
	}
}

// What an admin page costs with a hundred thousand people; the first reads them all.
func BenchmarkAdminPage(b *testing.B) {
	for name, s := range map[string]func() store.Store{
		"memory": func() store.Store { return new(storetest.Memory) },
		"embedded": func() store.Store {
			file := embedded.New(embedded.Config{Dir: b.TempDir()})
			b.Cleanup(func() { _ = file.Close() })
			return file
		},
	} {
		b.Run(name, func(b *testing.B) { benchmarkAdminPage(b, s()) })
	}
}

func benchmarkAdminPage(b *testing.B, s store.Store) {
	o, cookie := newAdmins(b, s)
	populate(b, s, 100_000)
	w := o.get(cookie, "/_wechat/admin") // reads everybody
	found := nextPage.FindStringSubmatch(w.Body.String())
	if found == nil {
		b.Fatalf("the first page: %d %s", w.Code, w.Body)
	}
	next := strings.ReplaceAll(found[1], "&amp;", "&")
	for name, path := range map[string]string{
		"first": "/_wechat/admin", "next": next, "search": "/_wechat/admin?q=person-0999", "nobody": "/_wechat/admin?q=no+such+person",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if w := o.get(cookie, path); w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
			}
		})
	}
}

// populate writes users as they stand in the store, many at the same time.
func populate(b *testing.B, s store.Store, n int) {
	b.Helper()
	var group errgroup.Group
	group.SetLimit(64)
	for i := range n {
		group.Go(func() error {
			u := user.User{
				ID: fmt.Sprintf("person-%06d", i), Name: fmt.Sprint("用户", i), Status: user.Active, Email: fmt.Sprintf("p%d@example.com", i),
				CreatedAt: time.Now(), Identities: []user.Identity{{AppID: unitApp, OpenID: fmt.Sprintf("o-ABCDEFGHIJKLMNOPQRST%06d", i)}},
			}
			if i%100 == 0 {
				u.Status = user.Pending
			}
			raw, err := json.Marshal(u)
			if err != nil {
				return err
			}
			return s.Set(b.Context(), "user:"+u.ID, raw, 0)
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}
