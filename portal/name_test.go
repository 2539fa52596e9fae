// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// nameOf is what the site is told of the person's name.
func (v *visitor) nameOf() string {
	v.d.t.Helper()
	who, err := v.d.identify(v.d.t.Context(), credentials{sessions: [maxCredentials]string{strings.TrimPrefix(v.cookie, "__Host-wechat_session=")}})
	if err != nil {
		v.d.t.Fatal(err)
	}
	name, err := url.PathUnescape(who.headerValue(FieldName))
	if err != nil {
		v.d.t.Fatal(err)
	}
	return name
}

// TestAskName: where WeChat gives no name, a person chooses one at the first sign-in.
func TestAskName(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{Registration: user.Open, AskName: true})
	alice := d.enter("oAlice")
	w := alice.send(http.MethodGet, "/deep?q=1", "text/html", "")
	for _, part := range []string{`action="/_wechat/name"`, `name="return_to" value="/deep?q=1"`, `autocomplete="nickname"`, `<label for="name">`} {
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), part) {
			t.Fatalf("GET /deep: %d without %s: %s", w.Code, part, w.Body)
		}
	}
	w = alice.send(http.MethodGet, "/api", "*/*", "")
	want := `{"error":"not_admitted","message":"this user has to choose a display name first, at name_url","reason":"name_missing","name_url":"https://site.example/_wechat/name"}`
	if w.Code != http.StatusForbidden || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("GET /api: %d %s", w.Code, w.Body)
	}
	w = alice.post("/_wechat/name", asForm, "name", " 张三 ", "return_to", "/deep?q=1")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/deep?q=1" || !alice.inside() {
		t.Fatalf("POST name: %d %v", w.Code, w.Header())
	}
	d.wantEvents(audit.Event{Action: audit.Rename, Result: audit.OK, UserID: alice.userID, After: "张三"})
	w = alice.send(http.MethodGet, "/_wechat/name", "text/html", "")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `value="张三"`) {
		t.Errorf("GET name: %d %s", w.Code, w.Body)
	}
	w = alice.post("/_wechat/name", asJSON, "name", "李四", "return_to", "https://evil.example")
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"redirect":"/"}` || alice.nameOf() != "李四" {
		t.Errorf("POST name as JSON: %d %s, %q", w.Code, w.Body, alice.nameOf())
	}
	d.wantEvents(audit.Event{Action: audit.Rename, Result: audit.OK, UserID: alice.userID, Before: "张三", After: "李四"})
	// Somebody whom WeChat names is asked nothing.
	if u, _, err := d.Users.SignIn(t.Context(), user.Identity{AppID: outageApp, OpenID: "oBob", Nickname: "Bob"}); err != nil || u.Admission != user.Admitted {
		t.Errorf("with a nickname: %+v %v", u, err)
	}
}

// TestNames: H8. A name is any text of a decent length, and shown as nothing else.
func TestNames(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{Registration: user.Open})
	alice := d.enter("oAlice")
	for _, tt := range []struct{ typed, want string }{
		{`<script>alert(1)</script>`, `<script>alert(1)</script>`},
		{`{env.SECRET} {file./etc/passwd}`, `{env.SECRET} {file./etc/passwd}`},
		{`{{.Nonce}}" onfocus='alert(1)'`, `{{.Nonce}}" onfocus='alert(1)'`},
		{"a\r\nX-User-Roles: admin", "a  X-User-Roles: admin"},
		{"a\x00b\u202ec\u200b", "abc"},
		{"👩\u200d💻 %2e%0d%0a", "👩\u200d💻 %2e%0d%0a"},
		{strings.Repeat("名", 32), strings.Repeat("名", 32)},
		{strings.Repeat("名", 33), ""},
		{"", ""},
		{" \t\r\n\u200d\u3000", ""},
		{"\u202e\u2066", ""},
	} {
		for _, contentType := range []string{asForm, asJSON} {
			before := alice.nameOf()
			w := alice.post("/_wechat/name", contentType, "name", tt.typed)
			if tt.want == "" {
				if w.Code != http.StatusBadRequest || alice.nameOf() != before || !strings.Contains(w.Body.String(), map[string]string{asForm: `role="alert"`, asJSON: `"bad_name"`}[contentType]) {
					t.Errorf("%q: %d %s, %q", tt.typed, w.Code, w.Body, alice.nameOf())
				}
				continue
			}
			if w.Code >= 400 || alice.nameOf() != tt.want {
				t.Errorf("%q: %d, %q", tt.typed, w.Code, alice.nameOf())
			}
			page := alice.send(http.MethodGet, "/_wechat/name", "text/html", "").Body.String()
			_, value, _ := strings.Cut(page, `id="name" name="name" autocomplete="nickname" maxlength="64" value="`)
			if value, _, _ = strings.Cut(value, `"`); html.UnescapeString(value) != tt.want || strings.Contains(page, "<script>alert") {
				t.Errorf("%q is shown as %q", tt.want, value)
			}
		}
	}
}

// TestRenameFollows: another node passes the new name on at once, though it had the
// old one in memory.
func TestRenameFollows(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{Registration: user.Open})
	alice := d.enter("oAlice")
	records := user.NewRecords(d.store, nil)
	t.Cleanup(records.Close)
	other := user.NewDirectory(records, user.Policy{Registration: user.Open}, 0)
	if u, err := other.Get(t.Context(), alice.userID); err != nil || u.Name != "" {
		t.Fatal(u, err)
	}
	changed, stop := records.Watch(alice.userID)
	defer stop()
	if w := alice.post("/_wechat/name", asForm, "name", "Alice"); w.Code != http.StatusSeeOther {
		t.Fatal(w.Code)
	}
	if alice.nameOf() != "Alice" {
		t.Errorf("on this node: %q", alice.nameOf())
	}
	<-changed
	if u, err := other.Get(t.Context(), alice.userID); err != nil || u.Name != "Alice" {
		t.Errorf("on another node: %+v %v", u, err)
	}
}

// TestRenameFails: what could not be recorded is not done.
func TestRenameFails(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{Registration: user.Open})
	alice := d.enter("oAlice")
	key := "user:"
	d.store.fail.Store(&key)
	if w := alice.post("/_wechat/name", asForm, "name", "Alice"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "<html") {
		t.Errorf("POST name: %d %s", w.Code, w.Body)
	}
	d.store.fail.Store(nil)
	if alice.nameOf() != "" {
		t.Errorf("the name is %q", alice.nameOf())
	}
	d.wantEvents(audit.Event{Action: audit.Rename, Result: audit.Failed, Reason: "store_unavailable", UserID: alice.userID, After: "Alice"})
	body := strings.Repeat("x", maxBody+1)
	if w := alice.post("/_wechat/name", asForm, "name", body); w.Code != http.StatusBadRequest {
		t.Errorf("a giant form: %d", w.Code)
	}
}

// Whoever may enter can leave the pages for name and address as he came. Whoever has
// to say something first is not led in circles.
func TestWayBack(t *testing.T) {
	t.Parallel()
	const back = `<a class="quiet" href="%s">`
	d := newDesk(t, user.Policy{Registration: user.Open, AskName: true})
	alice := d.enter("oAlice")
	for _, tt := range []struct {
		name, path, href string
		want             bool
	}{
		{"asked in place", "/deep", "/deep", false},
		{"no name yet", "/_wechat/name?return_to=/deep", "/deep", false},
		{"from the own page", "/_wechat/name?return_to=/_wechat/sessions", "/_wechat/sessions", true},
	} {
		if page := alice.send(http.MethodGet, tt.path, "text/html", "").Body.String(); strings.Contains(page, fmt.Sprintf(back, tt.href)) != tt.want {
			t.Errorf("%s: a way back to %s: %v", tt.name, tt.href, !tt.want)
		}
	}
	alice.post("/_wechat/name", asForm, "name", "Alice")
	for path, href := range map[string]string{
		"/_wechat/name?return_to=/deep": "/deep", "/_wechat/name": "/", "/_wechat/name?return_to=//evil.example": "/",
	} {
		if page := alice.send(http.MethodGet, path, "text/html", "").Body.String(); !strings.Contains(page, fmt.Sprintf(back, href)) {
			t.Errorf("%s: no way back to %s: %s", path, href, page)
		}
	}
}
