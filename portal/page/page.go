// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package page renders the HTML that the gateway itself shows: the login page,
// the page behind the link in the WeChat chat, the sign-out page and short
// notices. It decides nothing; callers say which page, with which status.
//
// Every page works without a third party, under a Content-Security-Policy that
// allows nothing but this package's own assets and, on the login page alone,
// WeChat's own page in a frame. The pages on the phone need no
// script. Texts are in Chinese or English, after Accept-Language.
package page

import (
	"embed"
	"html/template"
	"net/http"
	"time"
)

//go:embed templates/*.html
var templateFiles embed.FS

var templates = template.Must(template.ParseFS(templateFiles, "templates/*.html"))

// Site is what the pages say and link to of the protected site.
type Site struct {
	// Title names the site to people. Any text; it is shown literally.
	// Empty reads as "this site".
	Title string

	// Prefix is the path below which the portal answers, for example
	// "/_wechat", without a slash at the end.
	Prefix string
}

// Pages renders the pages of one site. It is safe for concurrent use.
type Pages struct {
	site   Site
	assets map[string]*asset // by name in the URL
	urls   map[string]string // by name in this package, for example "login.js"
}

// New prepares the pages of a site.
func New(site Site) *Pages {
	p := &Pages{site: site, assets: make(map[string]*asset), urls: make(map[string]string)}
	for _, a := range loadAssets() {
		p.assets[a.hashed] = a
		p.urls[a.name] = site.Prefix + "/assets/" + a.hashed
	}
	return p
}

// Login is what the login page needs to know.
type Login struct {
	ReturnTo string // same-origin path to open once signed in

	// Methods are the login methods in the order to offer. The page opens the
	// first, the others are tabs; where WeChat fails one of them, the page goes on
	// to the next. Those that this package does not know are left out, and so is
	// in_wechat outside WeChat, unless it is the only one: then the page says to
	// open it in WeChat.
	Methods []string

	OnPhone  bool // the browser is on a phone and not inside WeChat: it cannot scan its own screen
	InWeChat bool // the page is open inside WeChat

	// FrameOrigin is where the frame of website_qr comes from, for example
	// "https://open.weixin.qq.com". Empty, or where it is no origin, allows no
	// frame: the page then offers a link instead.
	// https://developers.weixin.qq.com/doc/oplatform/Website_App/WeChat_Login/Wechat_Login.html
	FrameOrigin string
}

// Login writes the login page: with status 200 for a GET of the login URL, with
// 401 in place of a page that needs a session. It works at any path of the site.
func (p *Pages) Login(w http.ResponseWriter, r *http.Request, status int, d Login) {
	// Served in place, the answer depends on all that tells a page navigation
	// without a session from any other request.
	w.Header().Add("Vary", "Accept, Cookie, Sec-Fetch-Mode, Sec-Fetch-Dest")
	v := p.view(r)
	v.Script = p.script(d, v.T)
	p.write(w, r, response{status: status, template: "login", referrer: noReferrer, frame: v.Script.FrameOrigin}, v)
}

// The values of Confirm.Mode.
const (
	ModeNumber = "number" // the person picks the number that the other screen shows
	ModeTap    = "tap"    // the person taps yes
	ModeRevoke = "revoke" // it is done; the person may disown it
)

// Confirm describes the sign-in that a person is asked about on the phone.
type Confirm struct {
	Mode    string    // ModeNumber, ModeTap or ModeRevoke
	Choices []string  // the two-digit numbers to choose from, in ModeNumber
	Browser string    // of the browser that asked, for example "Chrome on Windows"
	Address string    // of the browser that asked, for example "203.0.113.7"
	At      time.Time // when it asked; shown in Beijing time, or the phone's where scripts run
	Host    string    // of the site, for example "example.com"
}

// Confirm writes the page behind the link in the WeChat chat. Its form posts the
// field `choice` to the page's own URL: a number, "yes", "cancel" or "revoke".
func (p *Pages) Confirm(w http.ResponseWriter, r *http.Request, status int, d Confirm) {
	v := p.view(r)
	v.Confirm = d
	p.write(w, r, response{status: status, template: "confirm", referrer: originOnly}, v)
}

// Logout is what the sign-out page needs to know.
type Logout struct {
	Name string // the signed-in person's name, may be empty
}

// Logout writes the sign-out page. Its form posts to the portal's logout URL, with
// `everywhere=true` where all of the person's sessions are to end.
func (p *Pages) Logout(w http.ResponseWriter, r *http.Request, d Logout) {
	v := p.view(r)
	v.Logout = d
	p.write(w, r, response{status: http.StatusOK, template: "logout", referrer: originOnly}, v)
}

// Notice writes a page that says one thing and what to do about it. One that says
// what a person waits for follows admission/events and loads itself again once that
// has come, without scripts every half a minute. For
// Unavailable and TooMany the caller has set Retry-After.
func (p *Pages) Notice(w http.ResponseWriter, r *http.Request, status int, kind NoticeKind) {
	p.notice(w, r, status, kind, noticeView{})
}

// TurnedAway is Notice for a person who is signed in, with status 403. name may be empty.
func (p *Pages) TurnedAway(w http.ResponseWriter, r *http.Request, kind NoticeKind, name string) {
	p.notice(w, r, http.StatusForbidden, kind, noticeView{Name: name})
}

// Failed is Notice for a sign-in that came to nothing. Where the notice offers to
// sign in, that is in order to open returnTo, a same-origin path.
func (p *Pages) Failed(w http.ResponseWriter, r *http.Request, status int, kind NoticeKind, returnTo string) {
	p.notice(w, r, status, kind, noticeView{ReturnTo: returnTo})
}

// notice writes what depends on the kind, and of whom d tells.
func (p *Pages) notice(w http.ResponseWriter, r *http.Request, status int, kind NoticeKind, d noticeView) {
	v := p.view(r)
	look := noticeLooks[kind]
	d.Text, d.Icon, d.Action, d.Admission, d.Disabled = v.T.Notices[kind], look.icon, look.action, look.admission, v.T.Notices[Disabled]
	v.Notice = d
	p.write(w, r, response{status: status, template: "notice", referrer: noReferrer}, v)
}
