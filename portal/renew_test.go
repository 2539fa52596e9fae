// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
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
			err = o.pass(r.Context(), w, r, credentials{}, &Principal{Session: &s, User: before}, func(http.ResponseWriter, *http.Request, *Principal) error {
				passed = true
				return nil
			})
			if err != nil || w.Code != tt.status || passed != (tt.status == http.StatusOK) {
				t.Errorf("answered %d (%v), passed %v; want %d", w.Code, err, passed, tt.status)
			}
		})
	}
}

// lateStore is a store of which one answer is late: another node changes the record
// between the moment it was read and the answer, and after that it cannot be read.
type lateStore struct {
	*storetest.Memory
	prefix string
	armed  atomic.Bool
	away   atomic.Bool
	// meanwhile happens while the answer is on its way.
	meanwhile func()
}

func newLateStore(prefix string) *lateStore {
	s := &lateStore{Memory: new(storetest.Memory), prefix: prefix}
	s.Before = func(_ context.Context, method, key string) error {
		if method == "Get" && s.away.Load() && strings.HasPrefix(key, prefix) {
			return store.ErrUnavailable
		}
		return nil
	}
	s.After = func(_ context.Context, method, key string) error {
		if method == "Get" && strings.HasPrefix(key, prefix) && s.armed.CompareAndSwap(true, false) {
			s.meanwhile()
			s.away.Store(true)
		}
		return nil
	}
	return s
}

// TestG4CannotLookAgain: what the gate has read is out of date when it comes, and the
// notice that says so has come before it. The second look, which is to find that out,
// fails. While notices flow nobody would look a third time, so the request must not
// become a WebSocket that stays open for ever: it is answered 503. Where notices were lost
// it passes, because whoever is online is looked at; and a visitor who has left is no
// trouble of the store's.
func TestG4CannotLookAgain(t *testing.T) {
	lose := func(s *lateStore) {
		for _, topic := range []string{"session", "user", "user-access"} {
			s.Tell(topic, store.Notice{Kind: store.Lost})
		}
	}
	for _, tt := range []struct {
		name, prefix string
		act          func(t *testing.T, s *lateStore, id string)
		want         int
	}{
		{"revoked", "session:", func(t *testing.T, s *lateStore, id string) {
			t.Helper()
			other := session.NewRecords(s, nil)
			defer other.Close()
			if ended, err := other.Revoke(t.Context(), id); !ended || err != nil {
				t.Errorf("Revoke = %v, %v", ended, err)
			}
		}, http.StatusServiceUnavailable},
		{"the role is taken", "user:", func(t *testing.T, s *lateStore, _ string) {
			t.Helper()
			other := user.NewRecords(s, nil)
			defer other.Close()
			if _, _, err := other.Change(t.Context(), "anna", user.Change{Roles: &[]string{}}); err != nil {
				t.Error(err)
			}
		}, http.StatusServiceUnavailable},
		{"nothing, notices are lost", "session:", func(_ *testing.T, s *lateStore, _ string) { lose(s) }, http.StatusTeapot},
		{"nothing of the user, notices are lost", "user:", func(_ *testing.T, s *lateStore, _ string) { lose(s) }, http.StatusTeapot},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newLateStore(tt.prefix)
			o := newTown(t, s, openToAll)
			o.Require = []string{"staff"}
			o.Users.OnAccess(o.Sessions)
			o.add(user.Entry{ID: "anna", Roles: []string{"staff"}})
			id, cookie := o.signIn("anna")
			s.meanwhile = func() { tt.act(t, s, id) }
			s.armed.Store(true)
			w := o.send(http.MethodGet, "/ws", "", http.Header{"Cookie": {cookie}})
			if w.Code != tt.want || !s.away.Load() {
				t.Errorf("answered %d, want %d; the store is away: %v", w.Code, tt.want, s.away.Load())
			}
		})
	}
}

// A visitor who leaves while the gate looks again does not pass, and is not told of as
// trouble with the store.
func TestG4LeavesWhileLookedAt(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan struct{})
	var reads atomic.Int64
	s := new(storetest.Memory)
	s.Before = func(_ context.Context, method, key string) error {
		if method == "Get" && key == "user:anna" && reads.Add(1) == 2 {
			leave()
			<-answered
		}
		return nil
	}
	s.After = func(_ context.Context, method, key string) error {
		if method == "Get" && key == "user:anna" { // changed meanwhile: it must be read again
			s.Tell("user", store.Notice{Kind: store.Message, Payload: "anna"})
		}
		return nil
	}
	o := newTown(t, s, openToAll)
	core, logs := observer.New(zap.WarnLevel)
	o.Log = zap.New(core)
	o.add(user.Entry{ID: "anna"})
	_, cookie := o.signIn("anna")
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, unitOrigin+"/", nil)
	r.Header.Set("Cookie", cookie)
	err := o.Serve(httptest.NewRecorder(), r, func(http.ResponseWriter, *http.Request, *Principal) error {
		t.Error("the request passes")
		return nil
	})
	close(answered)
	if err != nil || reads.Load() != 2 || logs.Len() != 0 {
		t.Errorf("Serve = %v after %d reads; logged %v", err, reads.Load(), logs.All())
	}
}

// Somebody gets another role between the check and the tracking, and passes by what he is
// then: the look after the next gap finds nothing new in that, and ends nothing.
func TestG4PassesByTheNewRole(t *testing.T) {
	o := newTown(t, new(storetest.Memory), openToAll)
	o.add(user.Entry{ID: "anna"})
	id, _ := o.signIn("anna")
	s, err := o.Sessions.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	before, err := o.Users.Get(t.Context(), "anna")
	if err != nil {
		t.Fatal(err)
	}
	_, after, err := o.Users.Change(t.Context(), "anna", user.Change{Roles: &[]string{"staff"}})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, unitOrigin+"/ws", nil)
	passed := false
	err = o.pass(r.Context(), httptest.NewRecorder(), r, credentials{}, &Principal{Session: &s, User: before}, func(_ http.ResponseWriter, r *http.Request, _ *Principal) error {
		passed = true
		o.Sessions.EndOutdated("anna", after.AccessAt)
		if r.Context().Err() != nil {
			t.Error("ended, though he was let in by the new role")
		}
		o.Sessions.EndOutdated("anna", before.AccessAt)
		if r.Context().Err() == nil {
			t.Error("goes on, though he was let in by another state")
		}
		return nil
	})
	if err != nil || !passed {
		t.Errorf("passed %v, error %v", passed, err)
	}
}
