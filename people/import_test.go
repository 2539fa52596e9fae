// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package people

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// An import is in the audit log with what came of it, also one that a store has
// ended; a dry run is not, because nothing was done.
func TestService_ImportIsRecorded(t *testing.T) {
	s := embedded.New(embedded.Config{Dir: t.TempDir()})
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	users, sessions := user.NewRecords(s, nil), session.NewRecords(s, nil)
	t.Cleanup(users.Close)
	t.Cleanup(sessions.Close)
	var events []audit.Event
	service := &Service{Users: users, Sessions: sessions, Audit: func(_ context.Context, e audit.Event) { events = append(events, e) }}
	entries := []Entry{{Entry: user.Entry{ID: "u1"}}, {Entry: user.Entry{ID: "u1", Name: "Li"}}, {Entry: user.Entry{ID: "!"}}, {Entry: user.Entry{ID: "u2", Phone: "13800138000"}}}
	by := audit.Actor{Kind: audit.Operator, IP: "127.0.0.1"}
	for _, dryRun := range []bool{true, false} {
		if _, err := service.Import(t.Context(), by, entries, dryRun); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Close()
	if _, err := service.Import(t.Context(), by, entries, false); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("with the store away: %v", err)
	}
	if len(events) == 2 {
		events[1].Detail = ""
	}
	want := []audit.Event{
		{Action: audit.ImportUsers, Result: audit.OK, Actor: by, Count: 3, Detail: "created 2, updated 1, unchanged 0, failed 1"},
		{Action: audit.ImportUsers, Result: audit.Failed, Reason: "store_unavailable", Actor: by},
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The attack: whoever may import gives himself a role, or lets somebody in again who
// was disabled, and the audit log counts him among thousands. Each such change stands
// there by itself, as if made by a command.
func TestService_ImportRecordsEachChange(t *testing.T) {
	w := newWorld(t)
	w.enter("alice", 2)
	w.enter("bob", 1)
	w.enter("carol", 1)
	disabled := user.Disabled
	if _, _, err := w.Users.Change(t.Context(), "bob", user.Change{Status: &disabled, Roles: &[]string{"reader"}}); err != nil {
		t.Fatal(err)
	}
	entries := []Entry{
		{Entry: user.Entry{Email: "alice@example.com", Status: user.Disabled}},
		{Entry: user.Entry{ID: "bob", Status: user.Active, Roles: []string{"editor", "admin"}}},
		{Entry: user.Entry{ID: "carol", Name: "Carol", Status: user.Active}},
		{Entry: user.Entry{ID: "dora", Roles: []string{"admin"}}},
		{Entry: user.Entry{ID: "emil", Status: user.Pending}},
		{Entry: user.Entry{ID: "carol", Roles: []string{"admin", "a,b"}}},
	}
	if _, err := w.Import(t.Context(), operator, entries, true); err != nil {
		t.Fatal(err)
	}
	w.wantEvents()
	event := func(action audit.Action, userID, before, after string, count int) audit.Event {
		e := ok(action, userID)
		e.Before, e.After, e.Count = before, after, count
		return e
	}
	total := event(audit.ImportUsers, "", "", "", 5)
	total.Detail = "created 2, updated 3, unchanged 0, failed 1"
	for _, want := range [][]audit.Event{
		{
			event(audit.ChangeStatus, "alice", "active", "disabled", 0), event(audit.RevokeSessions, "alice", "", "", 2),
			event(audit.ChangeStatus, "bob", "disabled", "active", 0), event(audit.ChangeRoles, "bob", "reader", "admin,editor", 0),
			event(audit.ChangeRoles, "dora", "", "admin", 0), total,
		},
		{{Action: audit.ImportUsers, Result: audit.OK, Actor: operator, Detail: "created 0, updated 0, unchanged 5, failed 1"}}, // once more
	} {
		if _, err := w.Import(t.Context(), operator, entries, false); err != nil {
			t.Fatal(err)
		}
		// Users are imported side by side, the events of each one in their order.
		last := len(w.events) - 1
		slices.SortStableFunc(w.events[:last], func(a, b audit.Event) int { return strings.Compare(a.UserID, b.UserID) })
		w.wantEvents(want...)
	}
	w.wantSessions("alice", 0)
	w.wantSessions("carol", 1)
}

// The attack: a person who is to be shown out has an identity in the file that is
// another's, or whoever imports goes away just then. The status is written by that
// time, so the sessions end all the same, and the log tells.
func TestService_ImportDisablesWhateverFollows(t *testing.T) {
	alice := Entry{Entry: user.Entry{ID: "alice", Status: user.Disabled}}
	for _, tt := range []struct {
		name       string
		identities []Identity
		cancels    bool
		count      string // empty: any
	}{
		{"identity of another", []Identity{{AppID: "wx1", OpenID: "oAlice"}, {AppID: "wx1", OpenID: "oBob"}}, false, "created 0, updated 0, unchanged 0, failed 1"},
		{"nobody waits", []Identity{{AppID: "wx1", OpenID: "oAlice"}, {AppID: "wx1", OpenID: "oToo"}}, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.enter("alice", 2)
			if _, _, err := w.Users.Import(t.Context(), user.Entry{ID: "bob", AppID: "wx1", OpenID: "oBob"}, false); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.store.After = func(_ context.Context, method, key string) error {
				if tt.cancels && method == "Update" && key == "user:alice" {
					cancel()
				}
				return nil
			}
			alice.Identities = tt.identities
			results, err := w.Import(ctx, operator, []Entry{alice}, false)
			if tt.cancels != (err != nil) || !tt.cancels && !errors.Is(results[0].Err, user.ErrConflict) {
				t.Errorf("Import = %+v, %v", results, err)
			}
			w.wantSessions("alice", 0)
			status, revoked := ok(audit.ChangeStatus, "alice"), ok(audit.RevokeSessions, "alice")
			status.Before, status.After, revoked.Count = "active", "disabled", 2
			last := w.events[len(w.events)-1]
			w.wantEvents(status, revoked, last)
			if last.Action != audit.ImportUsers || tt.count != "" && last.Detail != tt.count {
				t.Errorf("the count is %+v", last)
			}
		})
	}
}

// The answer of the store is lost after it has written: nobody knows whether the role
// was given, so the log tells that it may have been, since the same import would tell
// nothing any more.
func TestService_ImportMayHaveHappened(t *testing.T) {
	w := newWorld(t)
	w.enter("alice", 0)
	lost := true
	w.store.After = func(_ context.Context, method, _ string) error {
		if lost && method == "Update" {
			return store.ErrUnavailable
		}
		return nil
	}
	entries := []Entry{{Entry: user.Entry{ID: "alice", Roles: []string{"admin"}}}}
	if _, err := w.Import(t.Context(), operator, entries, false); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Import = %v", err)
	}
	if len(w.events) != 2 || w.events[0].Detail == "" {
		t.Fatalf("events: %+v", w.events)
	}
	w.events[0].Detail = ""
	total := w.events[1]
	w.wantEvents(audit.Event{Action: audit.ChangeRoles, Result: audit.Failed, Reason: "store_unavailable", Actor: operator, UserID: "alice", After: "admin"}, total)
	lost = false
	if results, err := w.Import(t.Context(), operator, entries, false); err != nil || results[0].Outcome != user.Unchanged {
		t.Errorf("again: %+v, %v", results, err)
	}
}
