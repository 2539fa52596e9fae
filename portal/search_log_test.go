// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// search is what an admin has asked for, spelled as his browser does.
const search = "/_wechat/admin?q=alice%40example.com"

// accessLog is what a log of requests, and of the headers of their answers, would hold.
type accessLog struct {
	t *testing.T
	n int // requests that were kept out
}

// watch has a portal's requests looked at.
func watch(t *testing.T, p *Portal) *accessLog {
	l := &accessLog{t: t}
	p.KeepOutOfLog = func(*http.Request) { l.n++ }
	return l
}

// read fails the test where the log has whom the admin looked for, of a request that
// ask sends, and returns the answer.
func (l *accessLog) read(path string, ask func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	l.t.Helper()
	before := l.n
	w := ask()
	if line := path + " " + w.Header().Get("Location"); l.n == before && strings.Contains(line, "alice") {
		l.t.Errorf("%d is logged: %s", w.Code, line)
	}
	return w
}

var hrefs = regexp.MustCompile(`href="([^"]+return_to=[^"]*)"`)

// links are those of a page that say where to return to.
func links(w *httptest.ResponseRecorder) (all []string) {
	for _, match := range hrefs.FindAllStringSubmatch(w.Body.String(), -1) {
		all = append(all, html.UnescapeString(match[1]))
	}
	return all
}

// TestSearchInLog_SignIn: an admin whose session has ended looks for somebody, is asked
// to sign in, and does, or WeChat or he himself says no, and he tries again. Nowhere on
// the way does the access log learn whom he looked for; he comes back to the page.
func TestSearchInLog_SignIn(t *testing.T) {
	for name, code := range map[string]string{"agrees": "&code=0123456789abcdef", "refuses": ""} {
		t.Run(name, func(t *testing.T) {
			c := newCallbacks(t)
			c.AdminRoles, c.Offers = []string{"admin"}, []Offer{{login.WebsiteQR, outageApp}}
			c.mux = c.routes()
			log := watch(t, c.Portal)
			get := func(path string) *httptest.ResponseRecorder {
				return log.read(path, func() *httptest.ResponseRecorder {
					return c.send(http.MethodGet, path, "", http.Header{"Accept": {"text/html"}, "Cookie": {"__Host-wechat_browser=" + c.cookie}})
				})
			}
			if w := get(search); w.Code != http.StatusUnauthorized || log.n != 1 {
				t.Fatalf("the search: %d, kept out of the log %d times", w.Code, log.n)
			}
			w := log.read("/_wechat/attempts", func() *httptest.ResponseRecorder {
				return c.serve(http.MethodPost, "/_wechat/attempts", `{"method":"website_qr","return_to":"`+search+`"}`)
			})
			_, state, _ := strings.Cut(w.Body.String(), login.CallbackPath+"#")
			state, _, _ = strings.Cut(state, `"`)
			if w.Code != http.StatusCreated || state == "" || strings.Contains(w.Body.String(), "alice") {
				t.Fatalf("the way to WeChat: %d %s", w.Code, w.Body)
			}
			w = get("/_wechat" + login.CallbackPath + "?state=" + state + code)
			if code != "" {
				if w.Header().Get("Location") != search {
					t.Errorf("signed in: %d to %s", w.Code, w.Header().Get("Location"))
				}
				return
			}
			if got := w.Header().Get("Location"); got != "/_wechat/oauth/failed/refused?return_to=%2F_wechat%2Fadmin" {
				t.Fatalf("refused: %d to %s", w.Code, got)
			}
			again := links(get(w.Header().Get("Location")))
			if len(again) != 1 || again[0] != "/_wechat/login?return_to=%2f_wechat%2fadmin" {
				t.Fatalf("to try again: %q", again)
			}
			if w := get(again[0]); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `/_wechat/admin`) {
				t.Errorf("trying again: %d %s", w.Code, w.Body)
			}
		})
	}
}

// TestSearchInLog_Failed: a page of an ending that an earlier release led to has a link
// without the search, too.
func TestSearchInLog_Failed(t *testing.T) {
	o, _ := newAdmins(t, new(storetest.Memory))
	for why := range endings {
		for _, link := range links(o.get("", "/_wechat/oauth/failed/"+string(why)+"?return_to="+url.QueryEscape(search))) {
			if strings.Contains(link, "alice") {
				t.Errorf("%s: a link to %s", why, link)
			}
		}
	}
}

// TestSearchInLog_Asked: an admin who owes an address, or a name, is asked for it in
// place of the search, and comes to the page where he has done what was asked.
func TestSearchInLog_Asked(t *testing.T) {
	d := newDesk(t, user.Policy{Registration: user.Open, Bind: []user.Channel{user.ByEmail, user.ByPhone}, AskName: true})
	d.AdminRoles = []string{"admin"}
	d.mux = d.routes()
	log := watch(t, d.Portal)
	admin := d.enter("oAdmin")
	get := func(path string) *httptest.ResponseRecorder {
		return log.read(path, func() *httptest.ResponseRecorder { return admin.send(http.MethodGet, path, "text/html", "") })
	}
	// The form with what the page holds, and another that holds the search.
	post := func(path string, fields ...string) *httptest.ResponseRecorder {
		return log.read(path, func() *httptest.ResponseRecorder { return admin.post(path, asForm, fields...) })
	}
	w := get(search)
	if w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "alice") {
		t.Fatalf("the search: %d %s", w.Code, w.Body)
	}
	for _, link := range links(w) {
		get(link)
	}
	const own = "admin@example.com"
	for _, link := range links(post("/_wechat/bind/code", "channel", "email", "address", own, "return_to", search)) {
		get(link)
	}
	w = post("/_wechat/bind", "channel", "email", "address", own, "code", d.box.code(t, own), "return_to", search)
	if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != "/_wechat/admin" {
		t.Errorf("the address is proven: %d to %s", w.Code, got)
	}
	w = post("/_wechat/name", "name", "Anna", "return_to", search)
	if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != "/_wechat/admin" {
		t.Errorf("the name is chosen: %d to %s", w.Code, got)
	}
	for _, path := range []string{"/_wechat/bind", "/_wechat/name"} { // with a search, as nothing here links to it
		if w := admin.send(http.MethodGet, path+"?return_to="+url.QueryEscape(search), "text/html", ""); strings.Contains(w.Body.String(), "alice") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

// TestLinkPath: only the admin page loses its query.
func TestLinkPath(t *testing.T) {
	t.Parallel()
	p := &Portal{Config: Config{Prefix: "/_wechat"}}
	for target, want := range map[string]string{
		search: "/_wechat/admin", "/_wechat/admin": "/_wechat/admin", "/_wechat/%61dmin?q=x": "/_wechat/admin", "/_wechat/admin?q=x#y": "/_wechat/admin",
		"/_wechat/admin/users/bob?done=roles": "/_wechat/admin/users/bob?done=roles", "/admin?q=x": "/admin?q=x", "/?q=/_wechat/admin?q=x": "/?q=/_wechat/admin?q=x",
		"/_wechat/sessions": "/_wechat/sessions", "https://evil.example/_wechat/admin": "/", "//evil.example/_wechat/admin?q=x": "/",
	} {
		if got := p.linkPath(target); got != want {
			t.Errorf("%s leads to %s, want %s", target, got, want)
		}
	}
}
