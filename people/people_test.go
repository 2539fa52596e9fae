// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package people

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var operator = audit.Actor{Kind: audit.Operator, IP: "127.0.0.1"}

// world is a Service on a store that fails at one operation.
type world struct {
	*Service
	t      *testing.T
	store  *storetest.Memory
	mu     sync.Mutex
	events []audit.Event
	failAt atomic.Int64 // counts down; the one that takes it to zero fails
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	w.store = &storetest.Memory{Before: func(context.Context, string, string) error {
		if w.failAt.Add(-1) == 0 {
			return fmt.Errorf("%w: refused", store.ErrUnavailable)
		}
		return nil
	}}
	w.Service = &Service{Users: user.NewRecords(w.store, nil), Sessions: session.NewRecords(w.store, nil), Audit: w.note}
	t.Cleanup(w.Users.Close)
	t.Cleanup(w.Sessions.Close)
	return w
}

func (w *world) note(_ context.Context, e audit.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// enter makes a user with so many sessions.
func (w *world) enter(id string, sessions int) (ids []string) {
	w.t.Helper()
	if _, _, err := w.Users.Import(w.t.Context(), user.Entry{ID: id, Email: id + "@example.com"}, false); err != nil {
		w.t.Fatal(err)
	}
	keys, err := session.FixedKeys("key-a-0123456789abcdef0123456789")
	if err != nil {
		w.t.Fatal(err)
	}
	m := session.NewManager(w.Sessions, session.Config{TTL: time.Hour, Idle: time.Hour, Keys: keys})
	for range sessions {
		s, _, err := m.Issue(w.t.Context(), session.Session{ID: session.NewID(), UserID: id})
		if err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	return ids
}

func (w *world) wantEvents(want ...audit.Event) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.events); diff != "" {
		w.t.Errorf("events (-want +got):\n%s", diff)
	}
	w.events = nil
}

func (w *world) wantSessions(userID string, want int) {
	w.t.Helper()
	all, err := w.Sessions.List(w.t.Context(), userID)
	if err != nil || len(all) != want {
		w.t.Errorf("%s has %d sessions, %v; want %d", userID, len(all), err, want)
	}
}

func ok(action audit.Action, userID string) audit.Event {
	return audit.Event{Action: action, Result: audit.OK, Actor: operator, UserID: userID}
}

func TestService_Change(t *testing.T) {
	w := newWorld(t)
	w.enter("alice", 2)
	w.enter("bob", 1)
	status := func(before, after string) audit.Event {
		e := ok(audit.ChangeStatus, "alice")
		e.Before, e.After = before, after
		return e
	}
	roles := func(before, after string) audit.Event {
		e := ok(audit.ChangeRoles, "alice")
		e.Before, e.After = before, after
		return e
	}
	revoked := ok(audit.RevokeSessions, "alice")
	revoked.Count = 2
	for _, tt := range []struct {
		name     string
		change   user.Change
		want     []audit.Event
		sessions int
	}{
		{"nothing", user.Change{Status: new(user.Active)}, nil, 2},
		{"status", user.Change{Status: new(user.Pending)}, []audit.Event{status("active", "pending")}, 2},
		{"roles", user.Change{Roles: &[]string{"b", "a"}}, []audit.Event{roles("", "a,b")}, 2},
		{"the same roles", user.Change{Roles: &[]string{"a", "b", "a"}}, nil, 2},
		{"disabled, and roles", user.Change{Status: new(user.Disabled), Roles: &[]string{}}, []audit.Event{status("pending", "disabled"), roles("a,b", ""), revoked}, 0},
		{"disabled again", user.Change{Status: new(user.Disabled)}, nil, 0},
		{"enabled", user.Change{Status: new(user.Active)}, []audit.Event{status("disabled", "active")}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := w.Change(t.Context(), operator, "alice", tt.change); err != nil {
				t.Fatal(err)
			}
			w.wantEvents(tt.want...)
			w.wantSessions("alice", tt.sessions)
			w.wantSessions("bob", 1)
		})
	}
}

func TestService_Refused(t *testing.T) {
	w := newWorld(t)
	w.enter("alice", 0)
	refused := func(action audit.Action, userID, reason string) audit.Event {
		return audit.Event{Action: action, Result: audit.Refused, Reason: reason, Actor: operator, UserID: userID}
	}
	if _, err := w.Change(t.Context(), operator, "nobody", user.Change{Status: new(user.Active)}); !errors.Is(err, user.ErrNotFound) {
		t.Errorf("Change = %v", err)
	}
	w.wantEvents(refused(audit.ChangeStatus, "nobody", "unknown_user"))
	if _, err := w.Change(t.Context(), operator, "alice", user.Change{Roles: &[]string{"a"}, If: func(*user.User) bool { return false }}); !errors.Is(err, user.ErrChanged) {
		t.Errorf("Change = %v", err)
	}
	w.wantEvents(refused(audit.ChangeRoles, "alice", "changed_meanwhile"))
	if _, err := w.Delete(t.Context(), operator, "nobody"); !errors.Is(err, user.ErrNotFound) {
		t.Errorf("Delete = %v", err)
	}
	w.wantEvents(refused(audit.DeleteUser, "nobody", "unknown_user"))
	if n, err := w.RevokeSessions(t.Context(), operator, "nobody"); n != 0 || err != nil {
		t.Errorf("RevokeSessions = %d, %v", n, err)
	}
	if found, err := w.RevokeSession(t.Context(), operator, "nothing"); found || err != nil {
		t.Errorf("RevokeSession = %v, %v", found, err)
	}
	w.wantEvents()
}

func TestService_DeleteAndRevoke(t *testing.T) {
	w := newWorld(t)
	ids := w.enter("alice", 3)
	w.enter("bob", 1)
	if found, err := w.RevokeSession(t.Context(), operator, ids[0]); !found || err != nil {
		t.Errorf("RevokeSession = %v, %v", found, err)
	}
	one := ok(audit.RevokeSession, "alice")
	one.SessionID, one.Count = ids[0], 1
	w.wantEvents(one)
	w.wantSessions("alice", 2)
	if n, err := w.RevokeSessions(t.Context(), operator, "bob"); n != 1 || err != nil {
		t.Errorf("RevokeSessions = %d, %v", n, err)
	}
	bobs := ok(audit.RevokeSessions, "bob")
	bobs.Count = 1
	w.wantEvents(bobs)
	u, err := w.Delete(t.Context(), operator, "alice")
	if err != nil || u.Email != "alice@example.com" {
		t.Errorf("Delete = %+v, %v", u, err)
	}
	w.wantEvents(ok(audit.DeleteUser, "alice"))
	w.wantGone("alice", ids)
}

// wantGone fails the test where anything of the user is left.
func (w *world) wantGone(userID string, sessions []string) {
	w.t.Helper()
	w.wantSessions(userID, 0)
	for _, key := range w.store.Keys() {
		for _, id := range append([]string{"user:" + userID, "email:" + userID}, sessions...) {
			if strings.Contains(key, id) {
				w.t.Errorf("%s is left", key)
			}
		}
	}
}

// The store fails at each step in turn. Each failure is recorded, and whoever tries
// again gets what he wanted.
func TestService_StoreFailsAtEveryStep(t *testing.T) {
	for _, tt := range []struct {
		name    string
		do      func(w *world, ids []string) error
		actions []audit.Action // that may be said to have failed
		after   func(w *world, ids []string)
	}{
		{
			"disable",
			func(w *world, _ []string) error {
				_, err := w.Change(w.t.Context(), operator, "alice", user.Change{Status: new(user.Disabled)})
				return err
			},
			[]audit.Action{audit.ChangeStatus, audit.RevokeSessions},
			func(w *world, _ []string) { w.wantSessions("alice", 0) },
		},
		{
			"delete",
			func(w *world, _ []string) error { _, err := w.Delete(w.t.Context(), operator, "alice"); return err },
			[]audit.Action{audit.DeleteUser},
			func(w *world, ids []string) { w.wantGone("alice", ids) },
		},
		{
			"revoke",
			func(w *world, ids []string) error {
				_, err := w.RevokeSession(w.t.Context(), operator, ids[0])
				return err
			},
			[]audit.Action{audit.RevokeSession},
			func(w *world, _ []string) { w.wantSessions("alice", 1) },
		},
		{
			"revoke all",
			func(w *world, _ []string) error {
				_, err := w.RevokeSessions(w.t.Context(), operator, "alice")
				return err
			},
			[]audit.Action{audit.RevokeSessions},
			func(w *world, _ []string) { w.wantSessions("alice", 0) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			failed := 0
			for n := int64(1); ; n++ {
				w := newWorld(t)
				ids := w.enter("alice", 2)
				w.failAt.Store(n)
				err := tt.do(w, ids)
				if w.failAt.Load() > 0 { // it makes fewer steps
					break
				}
				if err != nil {
					failed++
					last := w.events[len(w.events)-1]
					if last.Result != audit.Failed || last.Reason != "store_unavailable" || last.Detail == "" || !slices.Contains(tt.actions, last.Action) {
						t.Errorf("step %d: %v is recorded as %+v", n, err, last)
					}
					if err := tt.do(w, ids); err != nil && !errors.Is(err, user.ErrNotFound) {
						t.Errorf("step %d, once more: %v", n, err)
					}
				}
				tt.after(w, ids)
			}
			if failed == 0 {
				t.Error("nothing has failed")
			}
		})
	}
}

// A person leaves, and an operator disables him meanwhile. Where the operator is told
// that it is done, it is: a deleted person could come back as a stranger.
func TestService_DisabledWhileLeaving(t *testing.T) {
	kept := 0
	for n, reached := 1, true; reached; n++ {
		w := newWorld(t)
		w.enter("mallory", 1)
		other := &Service{Users: user.NewRecords(w.store, nil), Sessions: w.Sessions, Audit: w.note}
		t.Cleanup(other.Users.Close)
		var told error
		count := 0
		w.store.Before = func(context.Context, string, string) error {
			if count++; count == n {
				_, told = other.Change(t.Context(), operator, "mallory", user.Change{Status: new(user.Disabled)})
			}
			return nil
		}
		_, err := w.Leave(t.Context(), audit.Actor{Kind: audit.Gateway}, "mallory")
		reached = count >= n
		w.store.Before = nil
		u, findErr := w.Users.Find(t.Context(), "mallory")
		switch {
		case !reached:
		case told == nil:
			kept++
			if findErr != nil || u.Status != user.Disabled || !errors.Is(err, user.ErrChanged) {
				t.Errorf("operation %d: disabled, and then %+v, %v; Leave = %v", n, u, findErr, err)
			}
		case !errors.Is(told, user.ErrNotFound) || !errors.Is(findErr, user.ErrNotFound):
			t.Errorf("operation %d: the operator is told %v of %+v, %v", n, told, u, findErr)
		}
		w.wantSessions("mallory", 0)
	}
	if kept == 0 {
		t.Error("the operator was never in time")
	}
}
