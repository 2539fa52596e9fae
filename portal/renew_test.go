// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// TestG4ChangedBetweenCheckAndTrack: a role is taken, or the user deleted, after the gate
// has judged a request and before the gate tracks it. Without a second look nobody would
// ever close the WebSocket that the request is about to become.
func TestG4ChangedBetweenCheckAndTrack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(o *town) error
		status int
	}{
		{"nothing", func(*town) error { return nil }, http.StatusOK},
		{"another role", func(o *town) error {
			_, _, err := o.Users.Change(t.Context(), "anna", user.Change{Roles: &[]string{"staff", "more"}})
			return err
		}, http.StatusOK},
		{"the role is taken", func(o *town) error {
			_, _, err := o.Users.Change(t.Context(), "anna", user.Change{Roles: &[]string{}})
			return err
		}, http.StatusForbidden},
		{"deleted", func(o *town) error { _, err := o.Users.Delete(t.Context(), "anna"); return err }, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newTown(t, new(storetest.Memory), openToAll)
			o.Require = []string{"staff"}
			o.add(user.Entry{ID: "anna", Roles: []string{"staff"}})
			id, _ := o.signIn("anna")
			s, err := o.Sessions.Find(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			before, err := o.Users.Get(t.Context(), "anna")
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.change(o); err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, unitOrigin+"/ws", nil)
			passed := false
			err = o.pass(w, r, credentials{}, &Principal{Session: &s, User: before}, func(http.ResponseWriter, *http.Request, *Principal) error {
				passed = true
				return nil
			})
			if err != nil || w.Code != tt.status || passed != (tt.status == http.StatusOK) {
				t.Errorf("answered %d (%v), passed %v; want %d", w.Code, err, passed, tt.status)
			}
		})
	}
}
