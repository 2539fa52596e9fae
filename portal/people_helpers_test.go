// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// town is a portal with an admin page, and the people who use it.
type town struct {
	*Portal
	t      testing.TB
	store  *brokenStore
	events auditLog
}

// auditLog is an audit.Recorder.
type auditLog struct {
	mu  sync.Mutex
	all []audit.Event
}

func (e *auditLog) record(_ context.Context, event audit.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// take returns what was recorded, and forgets it.
func (e *auditLog) take() []audit.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

func newTown(t testing.TB, s store.Store, policy user.Policy, adminRoles ...string) *town {
	t.Helper()
	u := newUnit(t)
	o := &town{t: t, store: &brokenStore{Store: s}}
	keys, err := session.FixedKeys(strings.Repeat("k", session.MinKeyLen))
	if err != nil {
		t.Fatal(err)
	}
	sessions, users := session.NewRecords(o.store, nil), user.NewRecords(o.store, nil)
	c := u.Config
	c.Store, c.AdminRoles, c.Audit = o.store, adminRoles, o.events.record
	c.Sessions = session.NewManager(sessions, session.Config{TTL: time.Hour, Idle: time.Hour, Grace: time.Hour, Keys: keys})
	c.Users = user.NewDirectory(users, policy, time.Hour)
	c.People = &people.Service{Users: users, Sessions: sessions, Audit: o.events.record}
	if o.Portal, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close(); sessions.Close(); users.Close() })
	return o
}

// add makes a user, whose id is the name.
func (o *town) add(e user.Entry) {
	o.t.Helper()
	if e.OpenID == "" {
		e.AppID, e.OpenID = unitApp, "o-"+e.ID
	}
	if _, _, err := o.Users.Import(o.t.Context(), e, false); err != nil {
		o.t.Fatal(err)
	}
}

// signIn returns the id and the cookie of a new session.
func (o *town) signIn(userID string) (id, cookie string) {
	o.t.Helper()
	s, value, err := o.Sessions.Issue(o.t.Context(), session.Session{
		ID: session.NewID(), UserID: userID, Method: "official_qr", AppID: unitApp, OpenID: "o-" + userID,
		IP: "192.0.2.7", UserAgent: "Mozilla/5.0 (Windows NT 10.0) Chrome/140.0",
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return s.ID, o.cookies.session + "=" + value
}

// alive says whether a session is.
func (o *town) alive(id string) bool {
	o.t.Helper()
	_, err := o.Sessions.Find(o.t.Context(), id)
	return err == nil
}

// find returns a user, nil where there is none.
func (o *town) find(id string) *user.User {
	o.t.Helper()
	u, err := o.Users.Find(o.t.Context(), id)
	if err != nil {
		return nil
	}
	return u
}

// get asks for a page as a person does.
func (o *town) get(cookie, path string) *httptest.ResponseRecorder {
	o.t.Helper()
	return o.send(http.MethodGet, path, "", http.Header{"Cookie": {cookie}, "Accept": {"text/html"}})
}

// post sends a form from a page of the site.
func (o *town) post(cookie, path string, form url.Values) *httptest.ResponseRecorder {
	o.t.Helper()
	return o.send(http.MethodPost, path, form.Encode(), http.Header{
		"Cookie": {cookie}, "Accept": {"text/html"}, "Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {unitOrigin},
	})
}

func (o *town) send(method, path, body string, header http.Header) *httptest.ResponseRecorder {
	o.t.Helper()
	r := httptest.NewRequestWithContext(o.t.Context(), method, unitOrigin+path, strings.NewReader(body))
	r.Header = header
	r.Header.Set("Accept-Language", "en")
	w := httptest.NewRecorder()
	if err := o.Serve(w, r, func(w http.ResponseWriter, _ *http.Request, _ *Principal) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	}); err != nil {
		o.t.Error(err)
	}
	return w
}
