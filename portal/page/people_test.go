// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// peopleRenderings lists the pages that show people, as renderings does.
func peopleRenderings(text string) []rendering {
	at := time.Date(2026, 11, 21, 8, 9, 10, 0, time.UTC)
	sessions := []Session{
		{ID: "ONE", Browser: "Chrome · Windows", Address: text, Method: "official_qr", Begun: at, Seen: at, Current: true},
		{ID: "TWO", Address: text, Method: text, Begun: at, Seen: at},
	}
	person := Person{
		ID: "user-1", Name: text, Email: text, Phone: text, Status: "pending", Waits: true, Admission: "email_missing",
		Roles: []string{"admin", "a-rather-long-role:with/parts"}, RuleRoles: []string{"editor"},
		Identities: []Identity{{AppID: "wx0123456789abcdef", OpenID: text, UnionID: text}}, Created: at,
	}
	nameless := Person{ID: "user-2", Status: "disabled", Admission: "disabled", Created: at, Seen: at}
	admin := func(name string, d Admin) rendering {
		return rendering{name, http.StatusOK, originOnly, "", func(p *Pages, w http.ResponseWriter, r *http.Request) { p.Admin(w, r, d) }}
	}
	user := func(name string, d AdminUser) rendering {
		return rendering{name, http.StatusOK, originOnly, "", func(p *Pages, w http.ResponseWriter, r *http.Request) { p.AdminUser(w, r, d) }}
	}
	confirm := func(do string, session *Session) rendering {
		return rendering{"admin asked to " + do, http.StatusOK, originOnly, "", func(p *Pages, w http.ResponseWriter, r *http.Request) {
			p.AdminConfirm(w, r, AdminConfirm{Person: person, Do: do, Roles: []string{"b", "c"}, Session: session})
		}}
	}
	return []rendering{
		{"sessions", http.StatusOK, originOnly, "", func(p *Pages, w http.ResponseWriter, r *http.Request) {
			p.Sessions(w, r, Sessions{Name: text, Email: text, Phone: text, Binds: true, Admin: true, Sessions: sessions, Done: "ended"})
		}},
		admin("admin", Admin{
			Waiting: []Person{person}, WaitingTotal: 3, Text: text, Status: "pending", People: []Person{person, nameless}, Total: 120,
			Later: true, Next: "1.x", Done: "approve",
		}),
		admin("admin, nobody found", Admin{Text: text, Status: text, Done: text}),
		user("admin, one user", AdminUser{Person: person, Sessions: sessions, Done: "changed"}),
		user("admin, oneself", AdminUser{Person: nameless, Self: true, Done: text}),
		confirm("delete", nil), confirm("roles", nil), confirm("end_session", &sessions[0]),
	}
}

func renderingOf(t *testing.T, name string) rendering {
	t.Helper()
	for _, r := range peopleRenderings("x") {
		if r.name == name {
			return r
		}
	}
	t.Fatalf("no rendering %q", name)
	return rendering{}
}

// Each action has a button, a question and an answer, and the portal's words for why
// nothing was done all have a text.
func TestAdminTexts_FitTogether(t *testing.T) {
	for name, texts := range map[string]adminTexts{"Chinese": chineseAdmin, "English": englishAdmin} {
		for action := range texts.Actions {
			if texts.Questions[action].Head == "" || texts.Done[action] == "" {
				t.Errorf("%s: %s has no question or no answer", name, action)
			}
		}
		if len(texts.Questions) != len(texts.Actions) || len(texts.Done) != len(texts.Actions) {
			t.Errorf("%s: actions %d, questions %d, answers %d", name, len(texts.Actions), len(texts.Questions), len(texts.Done))
		}
		for why := range texts.Refused {
			if texts.Done[why] != "" {
				t.Errorf("%s: %s is an answer and a refusal", name, why)
			}
		}
	}
}

// What stands in the address of a page after a form is the page's own word or nothing:
// nobody can put a message of theirs on it by a link.
func TestAdmin_SaysOnlyItsOwnWords(t *testing.T) {
	for _, done := range []string{"", "pwned", "Approved.", "approve "} {
		w := httptest.NewRecorder()
		New(plainSite).Admin(w, request(t, http.MethodGet, "en"), Admin{Done: done})
		if strings.Contains(w.Body.String(), "flash") || strings.Contains(w.Body.String(), "pwned") {
			t.Errorf("done=%q is shown:\n%s", done, w.Body)
		}
	}
}

// Before an approval the page says whether that is enough.
func TestAdminConfirm_SaysWhatIsMissing(t *testing.T) {
	for still, want := range map[string]string{
		"":              englishAdmin.NowIn,
		"role_missing":  englishAdmin.StillOut + " No role for this site",
		"email_missing": englishAdmin.StillOut + " E-mail not proven yet",
	} {
		w := httptest.NewRecorder()
		New(plainSite).AdminConfirm(w, request(t, http.MethodGet, "en"), AdminConfirm{Person: Person{ID: "u", Status: "pending", Waits: true}, Do: "approve", LetsIn: true, Still: still})
		body := w.Body.String()
		if !strings.Contains(body, want) || strings.Contains(body, englishAdmin.NowIn) == strings.Contains(body, englishAdmin.StillOut) {
			t.Errorf("still %q: the page does not say %q:\n%s", still, want, body)
		}
	}
}

// Nobody can disable or delete himself: the page does not offer it.
func TestAdminUser_OffersWhatFits(t *testing.T) {
	for _, tt := range []struct {
		status string
		self   bool
		want   []string
	}{
		{"pending", false, []string{"approve", "disable", "delete", "roles"}},
		{"active", false, []string{"disable", "delete", "roles"}},
		{"disabled", false, []string{"enable", "delete", "roles"}},
		{"active", true, []string{"roles"}},
	} {
		d := AdminUser{Person: Person{ID: "u", Status: tt.status}, Self: tt.self}
		_, doc := parse(t, plainSite, rendering{show: func(p *Pages, w http.ResponseWriter, r *http.Request) { p.AdminUser(w, r, d) }}, "en")
		var offered []string
		for _, b := range elements(doc, "button") {
			offered = append(offered, attribute(b, "value"))
		}
		if diff := cmp.Diff(tt.want, offered); diff != "" {
			t.Errorf("%s, oneself %v (-want +got):\n%s", tt.status, tt.self, diff)
		}
	}
}

// The pages need no script, and their forms carry the page's own Origin.
func TestPeoplePages_PostWithoutScript(t *testing.T) {
	english := &english
	for _, tt := range []struct {
		name, page, button string
		path               string
		want               url.Values
	}{
		{"end one", "sessions", english.Sessions.End, "/_wechat/sessions", url.Values{"end": {"TWO"}}},
		{"end the others", "sessions", english.Sessions.EndOthers, "/_wechat/sessions", url.Values{"end": {"others"}}},
		{"end all", "sessions", english.Everywhere, "/_wechat/sessions", url.Values{"end": {"all"}}},
		{"approve", "admin", english.Admin.Actions["approve"], "/_wechat/admin/users/user-1", url.Values{"do": {"approve"}}},
		{"delete", "admin, one user", english.Admin.Actions["delete"], "/_wechat/admin/users/user-1", url.Values{"do": {"delete"}}},
		{"roles", "admin, one user", english.Admin.Actions["roles"], "/_wechat/admin/users/user-1", url.Values{
			"do": {"roles"}, "roles": {"admin,a-rather-long-role:with/parts"}, "was": {"admin,a-rather-long-role:with/parts"},
		}},
		{"end a session", "admin, one user", english.Admin.Actions["end_session"], "/_wechat/admin/users/user-1", url.Values{"do": {"end_session"}, "session": {"ONE"}}},
		{"confirm roles", "admin asked to roles", english.Admin.Actions["roles"], "/_wechat/admin/users/user-1", url.Values{
			"do": {"roles"}, "roles": {"b,c"}, "was": {"admin,a-rather-long-role:with/parts"}, "confirmed": {"yes"},
		}},
		{"confirm the end of a session", "admin asked to end_session", english.Admin.Actions["end_session"], "/_wechat/admin/users/user-1", url.Values{
			"do": {"end_session"}, "session": {"ONE"}, "confirmed": {"yes"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, forms := gallery(t, []rendering{renderingOf(t, tt.page)})
			tab := chrometest.Open(t)
			tab.Run(
				chrometest.Command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}),
				chromedp.Navigate(base+"/0"),
				chromedp.Click(chromedp.Search(`//button[text()="`+tt.button+`"]`)),
			)
			form := posted(t, forms)
			if diff := cmp.Diff(tt.want, form.PostForm); diff != "" || form.URL.Path != tt.path || form.Header.Get("Origin") != base {
				t.Errorf("POST %s from %q (-want +got):\n%s", form.URL.Path, form.Header.Get("Origin"), diff)
			}
		})
	}
}

// A person may have 500 browsers.
func TestSessions_ManyAreShown(t *testing.T) {
	many := make([]Session, 500)
	for i := range many {
		many[i] = Session{ID: strings.Repeat("A", 26), Address: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Method: "official_qr"}
	}
	w := httptest.NewRecorder()
	New(plainSite).Sessions(w, request(t, http.MethodGet, "zh"), Sessions{Sessions: many})
	if got := strings.Count(w.Body.String(), "<li>"); got != 500 || w.Body.Len() > 400<<10 {
		t.Errorf("%d sessions in %d bytes", got, w.Body.Len())
	}
}

// Without scripts a time is Beijing's, whatever the server's zone, and says so.
func TestPages_SayWhoseTimeItIs(t *testing.T) {
	for language, want := range map[string]string{"en": "2026-11-21 16:09<span> UTC+8</span></time>", "zh-CN": "2026-11-21 16:09<span>（北京时间）</span></time>"} {
		w := httptest.NewRecorder()
		renderingOf(t, "sessions").show(New(Site{Prefix: "/_wechat"}), w, request(t, http.MethodGet, language))
		if body := w.Body.String(); strings.Count(body, strings.ReplaceAll(want, "+", "&#43;")) != 4 {
			t.Errorf("%s: no %q in %s", language, want, body)
		}
	}
}

// A session was begun inside WeChat; what the tab says to do there names no session.
func TestSessionsPage_InWeChat(t *testing.T) {
	w := httptest.NewRecorder()
	New(Site{Prefix: "/_wechat"}).Sessions(w, request(t, http.MethodGet, "en"), Sessions{Sessions: []Session{{ID: "ONE", Method: inWeChat}}})
	if body := w.Body.String(); !strings.Contains(body, "Inside WeChat") || strings.Contains(body, english.MethodNames[inWeChat]) {
		t.Errorf("%s", body)
	}
}
