// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// maxName bounds, in characters, the display name that a person chooses. It is what
// WeChat allows for a nickname.
const maxName = 32

// namePage is GET name: asks for a display name.
func (p *Portal) namePage(w http.ResponseWriter, r *http.Request) {
	if who := p.signedIn(w, r); who != nil {
		p.pages.Name(w, r, http.StatusOK, p.nameOf(who, page.Name{Name: who.User.Name, ReturnTo: r.URL.Query().Get("return_to")}))
	}
}

// nameOf completes what the page says: where it leads, and back to.
func (p *Portal) nameOf(who *Principal, d page.Name) page.Name {
	d.ReturnTo = p.linkPath(d.ReturnTo)
	d.Back = p.wayBack(who, d.ReturnTo)
	return d
}

// wayBack is where a person can go without having done what a page asks for: empty
// for somebody who has to, and where nobody is known.
func (p *Portal) wayBack(who *Principal, returnTo string) string {
	if returnTo == p.Prefix+sessionsPath || who != nil && p.admission(who) == user.Admitted {
		return returnTo
	}
	return ""
}

// rename is POST name: the person's display name is another from now on. It is what
// others read, and never says who somebody is.
func (p *Portal) rename(w http.ResponseWriter, r *http.Request) {
	who := p.signedIn(w, r)
	if who == nil {
		return
	}
	typed, returnTo, err := readName(w, r)
	name, ok := cleanName(typed)
	if err != nil || !ok {
		p.badName(w, r, p.nameOf(who, page.Name{Name: typed, ReturnTo: returnTo, Problem: page.BadName}))
		return
	}
	before := who.User.Name
	event := audit.Event{
		Action: audit.Rename, Result: audit.OK, Actor: person(who.User.ID), UserID: who.User.ID, SessionID: who.Session.ID,
		Before: before, After: name,
	}
	switch err := p.Users.Rename(r.Context(), who.User.ID, name); {
	case errors.Is(err, user.ErrNotFound): // deleted meanwhile
		p.signInFirst(w, r, session.ErrInvalid)
	case err != nil:
		event.Result, event.Reason, event.Detail = audit.Failed, "store_unavailable", err.Error()
		p.record(r, event)
		p.unavailable(w, r, err)
	default:
		p.record(r, event)
		p.goOn(w, r, returnTo)
	}
}

// readName reads the body, a form or JSON.
func readName(w http.ResponseWriter, r *http.Request) (name, returnTo string, err error) {
	if isJSON(r) {
		var body struct {
			Name     string `json:"name"`
			ReturnTo string `json:"return_to"`
		}
		err = readJSON(w, r, &body)
		return body.Name, body.ReturnTo, err
	}
	err = readForm(w, r)
	return r.PostFormValue("name"), r.PostFormValue("return_to"), err
}

// cleanName returns a name without what cannot be seen, or false for none and for one
// that is too long.
func cleanName(typed string) (string, bool) {
	if utf8.RuneCountInString(strings.TrimSpace(typed)) > maxName {
		return "", false
	}
	name := wechat.CleanNickname(typed)
	return name, name != ""
}

func (p *Portal) badName(w http.ResponseWriter, r *http.Request, d page.Name) {
	if wantsJSON(r) {
		writeError(w, http.StatusBadRequest, string(d.Problem), "a display name has 1 to 32 characters")
		return
	}
	p.pages.Name(w, r, http.StatusBadRequest, d)
}
