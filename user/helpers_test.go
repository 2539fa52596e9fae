// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appA = "wxaaaaaaaaaaaaaaaa"
	appB = "wxbbbbbbbbbbbbbbbb"
)

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
	Cleanup(fn func())
}

// world is a store of users.
type world struct {
	t     tester
	store *storetest.Memory
	// failAt counts down with each write; the one that takes it to zero fails,
	// after it happened where failAfter is set.
	failAt    atomic.Int64
	failAfter bool
}

var errCrash = fmt.Errorf("%w: the process ends here", store.ErrUnavailable)

func newWorld(t tester) *world {
	w := &world{t: t}
	crash := func(after bool) func(context.Context, string, string) error {
		return func(_ context.Context, method, _ string) error {
			if method == "Get" || method == "List" || method == "Ping" || after != w.failAfter {
				return nil
			}
			if w.failAt.Add(-1) == 0 {
				return errCrash
			}
			return nil
		}
	}
	w.store = &storetest.Memory{Before: crash(false), After: crash(true)}
	return w
}

// directory returns a Directory as a process has it that has just started.
func (w *world) directory(registration Registration, allow ...Rule) *Directory {
	w.t.Helper()
	p := Policy{Registration: registration, Allow: allow}
	if err := p.Validate(); err != nil {
		w.t.Fatalf("%v", err)
	}
	r := NewRecords(w.store, nil)
	w.t.Cleanup(r.Close)
	return NewDirectory(r, p, time.Minute)
}

func (w *world) signIn(d *Directory, id Identity) *User {
	w.t.Helper()
	u, _, err := d.SignIn(w.t.Context(), id)
	if err != nil {
		w.t.Fatalf("signing in as %+v: %v", id, err)
	}
	return u.User
}

func (w *world) wantDenied(d *Directory, id Identity, reason string) {
	w.t.Helper()
	var denied *DeniedError
	if u, _, err := d.SignIn(w.t.Context(), id); !errors.As(err, &denied) || denied.Reason != reason || u != nil {
		w.t.Errorf("signing in as %+v = %+v, %v; want denied, %s", id, u, err, reason)
	}
}

// setStatus decides about a user as an operator does.
func (w *world) setStatus(d *Directory, id string, status Status) {
	w.t.Helper()
	if _, err := d.set.Update(w.t.Context(), id, 0, func(u *User) (bool, error) {
		u.Status = status
		return true, nil
	}); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// users returns all users in the store.
func (w *world) users() (all []User) {
	w.t.Helper()
	items, next, err := w.store.List(w.t.Context(), "user:", "", 10_000)
	if err != nil || next != "" {
		w.t.Fatalf("listing users: %v", err)
	}
	for _, item := range items {
		var u User
		if err := json.Unmarshal(item.Value, &u); err != nil {
			w.t.Fatalf("%v", err)
		}
		all = append(all, u)
	}
	return all
}

// wantWhole fails the test unless every identity, unionid and address of a user has
// its pointer, and every pointer leads to a user who names what it is from. A unionid
// that WeChat has replaced by another leads to its user all the same.
func (w *world) wantWhole() {
	w.t.Helper()
	names := make(map[string][]string)
	for _, u := range w.users() {
		names[u.ID] = u.keys()
		for _, key := range u.keys() {
			if owner := w.owner(key); owner != u.ID {
				w.t.Errorf("user %s names %s, which leads to %q", u.ID, key, owner)
			}
		}
	}
	for _, key := range w.pointers() {
		owner := w.owner(key)
		if all, exists := names[owner]; !exists || !slices.Contains(all, key) && !strings.HasPrefix(key, unionPrefix) {
			w.t.Errorf("%s leads to %q, who does not name it", key, owner)
		}
	}
}

// keys are those of the store, but for the notes of users who are gone.
func (w *world) keys() []string {
	return slices.DeleteFunc(w.store.Keys(), func(key string) bool { return strings.HasPrefix(key, gonePrefix) })
}

// pointers returns the keys that lead to users.
func (w *world) pointers() []string {
	return slices.DeleteFunc(w.store.Keys(), func(key string) bool {
		return !slices.ContainsFunc([]string{identityPrefix, unionPrefix, "email:", "phone:"}, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	})
}

// owner returns whom a pointer leads to.
func (w *world) owner(key string) string {
	w.t.Helper()
	id, _, err := w.store.Get(w.t.Context(), key)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return string(id)
}

// records returns the users as another process has them that has just started.
func (w *world) records() *Records {
	r := NewRecords(w.store, nil)
	w.t.Cleanup(r.Close)
	return r
}

// under returns a Directory with any policy.
func (w *world) under(r *Records, p Policy) *Directory {
	w.t.Helper()
	if err := p.Validate(); err != nil {
		w.t.Fatalf("%v", err)
	}
	return NewDirectory(r, p, time.Minute)
}

// person registers somebody at app A who has the addresses given.
func (w *world) person(name string, addresses ...Rule) *User {
	w.t.Helper()
	r := w.records()
	u := w.signIn(NewDirectory(r, Policy{Registration: Open}, 0), Identity{AppID: appA, OpenID: "o" + name, UnionID: "u" + name, Nickname: name})
	for _, a := range addresses {
		if _, err := r.Bind(w.t.Context(), u.ID, Channel(a.Field), a.Value); err != nil {
			w.t.Fatalf("binding %v: %v", a, err)
		}
	}
	return w.find(u.ID)
}

// find returns a user as the store has him.
func (w *world) find(id string) *User {
	w.t.Helper()
	u, err := w.records().Find(w.t.Context(), id)
	if err != nil {
		w.t.Fatalf("finding %s: %v", id, err)
	}
	return u
}

func newTestWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t)
}
