// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"net/http"
	"strings"
	"time"
)

// Session is one signed-in browser. Times are shown in Beijing time, or the browser's
// where scripts run.
type Session struct {
	ID      string
	Browser string // for example "Chrome · Windows"; empty where that is unknown
	Address string
	Method  string // as in Login.Methods
	Begun   time.Time
	Seen    time.Time
	Current bool // the browser that looks at the page
}

// SignedInBy says by which method a session was begun. The tab of in_wechat says what
// to do, which is no name for what has been done.
func (v *view) SignedInBy(method string) string {
	if method == inWeChat {
		return v.T.Sessions.InWeChat
	}
	return v.T.MethodNames[method]
}

// Sessions is a person's own page.
type Sessions struct {
	Name string // may be empty
	// Email and Phone are masked; empty where there is none.
	Email, Phone string
	Binds        bool // the person has yet to prove an address
	Admin        bool // the person may see Admin
	Sessions     []Session
	Done         string // what the form has just done; see sessionsTexts.Done
}

// Sessions writes a person's own page. Its form posts the field `end` to the same
// URL: a session's id, "others" or "all".
func (p *Pages) Sessions(w http.ResponseWriter, r *http.Request, d Sessions) {
	v := p.view(r)
	v.Sessions = d
	p.write(w, r, response{status: http.StatusOK, template: "sessions", referrer: originOnly}, v)
}

// Person is a user as an operator sees him.
type Person struct {
	ID, Name, Email, Phone string
	Status                 string // active, pending or disabled
	Waits                  bool   // for approval
	Admission              string // why the person may not enter; empty where he may
	Roles                  []string
	RuleRoles              []string // those that come from the configuration
	Identities             []Identity
	Created                time.Time
	Seen                   time.Time // zero for never
}

// Standing is the status, with a name of its own for those who are pending but whom
// the configuration lets in.
func (p Person) Standing() string {
	if p.Status == "pending" && !p.Waits {
		return "ruled"
	}
	return p.Status
}

// RoleList is what a form shows and takes of the roles that can be changed.
func (p Person) RoleList() string { return strings.Join(p.Roles, ",") }

// Identity is a WeChat identity of a Person.
type Identity struct{ AppID, OpenID, UnionID string }

// Admin is the page that lists people.
type Admin struct {
	// Waiting are those who wait for approval, the newest first, and WaitingTotal
	// how many there are; shown on the first page.
	Waiting      []Person
	WaitingTotal int
	Text, Status string // what is searched for
	People       []Person
	Total        int    // that the search finds
	Later        bool   // this is not the first page
	Next         string // the cursor of the next page; empty where there is none
	Done         string // see adminTexts
}

// Statuses are those by which people can be selected.
func (Admin) Statuses() []string { return []string{"pending", "active", "disabled"} }

// said is what has come of the last form: one of the two, or neither.
type said struct{ Done, Refused string }

// Said returns the text for what a form has done, or why it has not.
func (v *view) Said(name string) said {
	return said{v.T.Admin.Done[name], v.T.Admin.Refused[name]}
}

// Admin writes the page that lists people. Its search form gets the same URL with
// `q`, `status` and `cursor`; the others post as AdminUser's do.
func (p *Pages) Admin(w http.ResponseWriter, r *http.Request, d Admin) {
	v := p.view(r)
	v.Admin = d
	p.write(w, r, response{status: http.StatusOK, template: "admin", referrer: originOnly}, v)
}

// AdminUser is the page of one person.
type AdminUser struct {
	Person
	Self     bool // who looks at the page
	Sessions []Session
	Done     string // see adminTexts
}

// AdminUser writes the page of one person. Its forms post `do` to the same URL: what
// to do, by its name in adminTexts.Questions, with `roles` and `was`, or `session`.
func (p *Pages) AdminUser(w http.ResponseWriter, r *http.Request, d AdminUser) {
	v := p.view(r)
	v.AdminUser = d
	p.write(w, r, response{status: http.StatusOK, template: "admin_user", referrer: originOnly}, v)
}

// AdminConfirm asks an operator whether to do something to a person.
type AdminConfirm struct {
	Person
	Do    string   // its name in adminTexts.Questions
	Roles []string // those that the person is to have, for `roles`
	// LetsIn says that the person may enter afterwards, unless Still says why not, as
	// Admission does.
	LetsIn bool
	Still  string
	// Session is the one to end, for `end_session`.
	Session *Session
}

// NewRoles is what the form carries on of Roles.
func (d AdminConfirm) NewRoles() string { return strings.Join(d.Roles, ",") }

// AdminConfirm writes the question. Its form posts the same again to the same URL,
// with `confirmed=yes`.
func (p *Pages) AdminConfirm(w http.ResponseWriter, r *http.Request, d AdminConfirm) {
	v := p.view(r)
	v.AdminConfirm = d
	p.write(w, r, response{status: http.StatusOK, template: "admin_confirm", referrer: originOnly}, v)
}
