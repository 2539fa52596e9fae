// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var longAgo = time.Date(2019, 3, 4, 5, 6, 7, 89, time.UTC)

func TestEntry_Canonical(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry Entry
		want  Entry
		err   string // part of the error; empty: none
	}{
		{"id alone", Entry{ID: "alice.1_x-2"}, Entry{ID: "alice.1_x-2"}, ""},
		{"e-mail", Entry{Email: "Alice@Example.COM"}, Entry{Email: "alice@example.com"}, ""},
		{"phone", Entry{Phone: "138 0013 8000"}, Entry{Phone: "+8613800138000"}, ""},
		{"identity", Entry{AppID: appA, OpenID: "oA", UnionID: "u"}, Entry{AppID: appA, OpenID: "oA", UnionID: "u"}, ""},
		{"name", Entry{ID: "a", Name: " Ali\u202e\nce "}, Entry{ID: "a", Name: "Ali ce"}, ""},
		{"longest id", Entry{ID: strings.Repeat("a", 64)}, Entry{ID: strings.Repeat("a", 64)}, ""},
		{"id too long", Entry{ID: strings.Repeat("a", 65)}, Entry{}, "cannot be used"},
		{"id of a path", Entry{ID: "../sessions"}, Entry{}, "cannot be used"},
		{"id with a slash", Entry{ID: "a/b"}, Entry{}, "cannot be used"},
		{"id with a colon", Entry{ID: "a:b"}, Entry{}, "cannot be used"},
		{"id with a dot at the end", Entry{ID: "a."}, Entry{}, "cannot be used"},
		{"id with a line break", Entry{ID: "a\n"}, Entry{}, "cannot be used"},
		{"id of an endpoint", Entry{ID: "import"}, Entry{}, "the admin API has an endpoint of that name"},
		{"id of another endpoint", Entry{ID: "search", Email: "a@example.com"}, Entry{}, "the admin API has an endpoint of that name"},
		{"id with the name of an endpoint in it", Entry{ID: "import-1"}, Entry{ID: "import-1"}, ""},
		{"creation in another zone", Entry{ID: "a", CreatedAt: longAgo.In(time.FixedZone("", 8*60*60))}, Entry{ID: "a", CreatedAt: longAgo}, ""},
		{"creation before time began", Entry{ID: "a", CreatedAt: time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC)}, Entry{}, "of the year 1969"},
		{"creation after time ends", Entry{ID: "a", CreatedAt: time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)}, Entry{}, "of the year 2262"},
		{"nothing", Entry{Name: "Alice", Roles: []string{"a"}}, Entry{}, "nobody could ever sign in"},
		{"unionid alone", Entry{UnionID: "u"}, Entry{}, "nobody could ever sign in"},
		{"unionid without openid", Entry{ID: "a", UnionID: "u"}, Entry{}, "needs both"},
		{"openid without app", Entry{OpenID: "oA"}, Entry{}, "go together"},
		{"app without openid", Entry{ID: "a", AppID: appA}, Entry{}, "go together"},
		{"wrong e-mail", Entry{Email: "alice"}, Entry{}, "name@example.com"},
		{"wrong phone", Entry{Phone: "12345"}, Entry{}, "13800138000"},
		{"wrong status", Entry{ID: "a", Status: "banned"}, Entry{}, "use active, pending or disabled"},
		{"wrong role", Entry{ID: "a", Roles: []string{"a,b"}}, Entry{}, "cannot be a role"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.entry.Canonical()
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("Canonical = %v; want %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Errorf("Canonical: %v (-want +got):\n%s", err, diff)
			}
			if again, err := got.Canonical(); err != nil || !cmp.Equal(got, again, cmpopts.EquateEmpty()) {
				t.Errorf("of %+v it makes %+v, %v", got, again, err)
			}
		})
	}
}

func FuzzEntry_Canonical(f *testing.F) {
	f.Add("a", "Alice", "active", "admin", "alice@example.com", "13800138000", appA, "oA", "u")
	f.Add("..", "\u202e", "", ",", "a@b@c", "+86", "", "", "")
	f.Fuzz(func(t *testing.T, id, name, status, role, email, phone, app, openid, unionid string) {
		e := Entry{ID: id, Name: name, Status: Status(status), Roles: []string{role}, Email: email, Phone: phone, AppID: app, OpenID: openid, UnionID: unionid}
		got, err := e.Canonical()
		if err != nil {
			return
		}
		again, err := got.Canonical()
		if diff := cmp.Diff(got, again); err != nil || diff != "" {
			t.Errorf("of %+v it makes %v (-want +got):\n%s", got, err, diff)
		}
		if got.ID != "" && (!ValidID(got.ID) || strings.ContainsAny(got.ID, "/\\:?#% \r\n\x00")) {
			t.Errorf("the id %q goes into URLs", got.ID)
		}
	})
}

// imported imports one entry and returns its outcome and id.
func (w *world) imported(e Entry) (Outcome, string) {
	w.t.Helper()
	before, after, err := w.records().Import(w.t.Context(), e, false)
	if err != nil {
		w.t.Fatalf("importing %+v: %v", e, err)
	}
	return OutcomeOf(before, after), after.ID
}

// Each entry on top of those before it: dry first, which says what will happen and
// does nothing, then for good, and once more, which changes nothing.
func TestImport(t *testing.T) {
	w := newTestWorld(t)
	known := w.person("Carol", Rule{Email, "carol@example.com"})
	w.change(known.ID, Change{Status: new(Disabled), Roles: &[]string{"kept"}})
	for _, tt := range []struct {
		name    string
		entry   Entry
		outcome Outcome
		id      string // empty: any
		want    User
	}{
		{"created with an id", Entry{ID: "alice", Email: "Alice@example.com", Roles: []string{"b", "a"}}, Created, "alice", User{Status: Active, Email: "alice@example.com", Roles: []string{"a", "b"}}},
		{"unchanged", Entry{ID: "alice", Email: "alice@example.com"}, Unchanged, "alice", User{Status: Active, Email: "alice@example.com", Roles: []string{"a", "b"}}},
		{"found by e-mail", Entry{Email: "alice@EXAMPLE.com", Phone: "13800000001"}, Updated, "alice", User{Status: Active, Email: "alice@example.com", Phone: oldPhone, Roles: []string{"a", "b"}}},
		{"found by phone", Entry{Phone: oldPhone, Email: newMail, Name: "Ali"}, Updated, "alice", User{Name: "Ali", NameChosen: true, Status: Active, Email: newMail, Phone: oldPhone, Roles: []string{"a", "b"}}},
		{"disabled", Entry{ID: "alice", Status: Disabled}, Updated, "alice", User{Name: "Ali", NameChosen: true, Status: Disabled, Email: newMail, Phone: oldPhone, Roles: []string{"a", "b"}}},
		{"not enabled by the way", Entry{ID: "alice", Roles: []string{"c"}}, Updated, "alice", User{Name: "Ali", NameChosen: true, Status: Disabled, Email: newMail, Phone: oldPhone, Roles: []string{"c"}}},
		{"identity", Entry{ID: "alice", AppID: appB, OpenID: "oB", UnionID: "uA"}, Updated, "alice", User{Name: "Ali", NameChosen: true, Status: Disabled, Email: newMail, Phone: oldPhone, Roles: []string{"c"}, Identities: []Identity{{AppID: appB, OpenID: "oB", UnionID: "uA"}}}},
		{"found by openid", Entry{AppID: appB, OpenID: "oB", Status: Active}, Updated, "alice", User{Name: "Ali", NameChosen: true, Status: Active, Email: newMail, Phone: oldPhone, Roles: []string{"c"}, Identities: []Identity{{AppID: appB, OpenID: "oB", UnionID: "uA"}}}},
		{"found by unionid", Entry{AppID: appA, OpenID: "oA", UnionID: "uA"}, Updated, "alice", User{Name: "Ali", NameChosen: true, Status: Active, Email: newMail, Phone: oldPhone, Roles: []string{"c"}, Identities: []Identity{{AppID: appB, OpenID: "oB", UnionID: "uA"}, {AppID: appA, OpenID: "oA", UnionID: "uA"}}}},
		{"who has signed in", Entry{AppID: appA, OpenID: "oCarol", Phone: newPhone}, Updated, known.ID, User{Name: "Carol", Status: Disabled, Email: "carol@example.com", Phone: newPhone, Roles: []string{"kept"}, Identities: known.Identities}},
		{"created without an id", Entry{Email: "dora@example.com", Status: Pending}, Created, "", User{Status: Pending, Email: "dora@example.com"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys := w.dump()
			before, after, err := w.records().Import(t.Context(), tt.entry, true)
			if err != nil || OutcomeOf(before, after) != tt.outcome || tt.id != "" && after.ID != tt.id {
				t.Errorf("on a dry run: %+v becomes %+v, %v; want %q, %q", before, after, err, tt.outcome, tt.id)
			}
			if diff := cmp.Diff(keys, w.dump()); diff != "" {
				t.Errorf("the dry run writes (-want +got):\n%s", diff)
			}
			outcome, id := w.imported(tt.entry)
			if outcome != tt.outcome || tt.id != "" && id != tt.id {
				t.Errorf("Import = %q, %q; want %q, %q", outcome, id, tt.outcome, tt.id)
			}
			if diff := cmp.Diff(&tt.want, w.find(id), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(User{}, "ID", "CreatedAt", "LastSeenAt", "AccessAt")); diff != "" {
				t.Errorf("the user (-want +got):\n%s", diff)
			}
			keys = w.dump()
			if outcome, again := w.imported(tt.entry); outcome != Unchanged || again != id {
				t.Errorf("once more it is %q, %q", outcome, again)
			}
			if diff := cmp.Diff(keys, w.dump()); diff != "" {
				t.Errorf("once more it writes (-want +got):\n%s", diff)
			}
			w.wantWhole()
		})
	}
}

// A new user was created when the file says, but not in time to come; one who is known
// was created when he was.
func TestImport_CreatedAt(t *testing.T) {
	w := newTestWorld(t)
	for _, tt := range []struct {
		name  string
		entry Entry
		want  func(created time.Time) bool
	}{
		{"given", Entry{ID: "alice", CreatedAt: longAgo}, longAgo.Equal},
		{"known", Entry{ID: "alice", Name: "Ali", CreatedAt: longAgo.Add(time.Hour)}, longAgo.Equal},
		{"not given", Entry{ID: "bob"}, longAgo.Before},
		{"to come", Entry{ID: "carol", CreatedAt: time.Date(2261, 1, 1, 0, 0, 0, 0, time.UTC)}, time.Now().Add(time.Hour).After},
	} {
		_, id := w.imported(tt.entry)
		if u := w.find(id); !tt.want(u.CreatedAt) {
			t.Errorf("%s: created at %v", tt.name, u.CreatedAt)
		}
	}
	keys := w.dump()
	if outcome, _ := w.imported(Entry{ID: "alice", CreatedAt: longAgo.Add(time.Hour)}); outcome != Unchanged {
		t.Errorf("another time of creation: %q", outcome)
	}
	if diff := cmp.Diff(keys, w.dump()); diff != "" {
		t.Errorf("it writes (-want +got):\n%s", diff)
	}
}

// dump returns everything in the store.
func (w *world) dump() map[string]string {
	w.t.Helper()
	all := make(map[string]string)
	items, _, err := w.store.List(w.t.Context(), "", "", 100_000)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	for _, item := range items {
		all[item.Key] = string(item.Value)
	}
	return all
}

// An entry that fits no single user changes nothing, nor does the try.
func TestImport_Conflict(t *testing.T) {
	w := newTestWorld(t)
	alice, bob := w.person("Alice", Rule{Email, oldMail}), w.person("Bob", Rule{Phone, oldPhone})
	keys := w.dump()
	for _, tt := range []struct {
		name  string
		entry Entry
	}{
		{"two addresses of two", Entry{Email: oldMail, Phone: oldPhone}},
		{"id of one, address of another", Entry{ID: bob.ID, Email: oldMail}},
		{"id of nobody, address of one", Entry{ID: "carol", Email: oldMail}},
		{"openid of one, address of another", Entry{AppID: appA, OpenID: "oAlice", Phone: oldPhone}},
		{"openid of one, unionid of another", Entry{AppID: appA, OpenID: "oAlice", UnionID: "uBob"}},
		{"id of one, unionid of another", Entry{ID: alice.ID, AppID: appB, OpenID: "oB", UnionID: "uBob"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, dry := range []bool{true, false} {
				before, after, err := w.records().Import(t.Context(), tt.entry, dry)
				if !errors.Is(err, ErrConflict) || before != nil || after != nil {
					t.Errorf("Import(dry %v) = %+v, %+v, %v", dry, before, after, err)
				}
				if err != nil && (strings.Contains(err.Error(), oldMail) || strings.Contains(err.Error(), oldPhone)) {
					t.Errorf("the error tells an address: %v", err)
				}
			}
			if diff := cmp.Diff(keys, w.dump()); diff != "" {
				t.Errorf("the store (-want +got):\n%s", diff)
			}
		})
	}
}

// The same file is imported on two nodes at once, while the people in it sign in.
func TestImport_Concurrently(t *testing.T) {
	w := newTestWorld(t)
	nodes := []*Records{w.records(), w.records()}
	var all sync.WaitGroup
	for i := range 50 {
		openid, email := fmt.Sprint("o", i), fmt.Sprintf("p%d@example.com", i)
		for _, r := range nodes {
			all.Go(func() {
				if _, _, err := r.Import(t.Context(), Entry{AppID: appA, OpenID: openid, Email: email, Roles: []string{"r"}}, false); err != nil && !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			if _, _, err := NewDirectory(nodes[0], Policy{Registration: Open}, 0).SignIn(t.Context(), Identity{AppID: appA, OpenID: openid}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// An entry may have lost against its twin before either was written.
	for i := range 50 {
		w.imported(Entry{AppID: appA, OpenID: fmt.Sprint("o", i), Email: fmt.Sprintf("p%d@example.com", i), Roles: []string{"r"}})
	}
	for _, u := range w.users() {
		if len(u.Identities) != 1 || u.Email != "p"+u.Identities[0].OpenID[1:]+"@example.com" || !slices.Equal(u.Roles, []string{"r"}) {
			t.Errorf("%+v is not what was imported", u)
		}
	}
	if n := len(w.users()); n != 50 {
		t.Errorf("%d users, want 50", n)
	}
	w.wantWhole()
}

// The user is deleted while an entry brings him up to date: that is no update.
func TestImport_DeletedMeanwhile(t *testing.T) {
	w := newTestWorld(t)
	u := w.person("Alice")
	var once sync.Once
	w.store.After = func(ctx context.Context, method, key string) error {
		if method == "Create" && key == "email:"+newMail {
			once.Do(func() {
				if _, err := w.records().Delete(ctx, u.ID); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	}
	if before, after, err := w.records().Import(t.Context(), Entry{ID: u.ID, Email: newMail}, false); !errors.Is(err, ErrNotFound) || before != nil || after != nil {
		t.Errorf("Import = %+v, %+v, %v", before, after, err)
	}
	w.imported(Entry{ID: u.ID, Email: newMail})
	w.wantWhole()
}

func TestImport_Outage(t *testing.T) {
	w := newTestWorld(t)
	r := w.records()
	w.store.Before = func(context.Context, string, string) error { return errCrash }
	if _, _, err := r.Import(t.Context(), Entry{Email: oldMail}, true); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrConflict) {
		t.Errorf("Import = %v", err)
	}
}

// What another node does within an import fails because of the store: the entry is
// not said to be in conflict.
func TestImport_OutageIsNoConflict(t *testing.T) {
	w := newTestWorld(t)
	w.person("Alice", Rule{Email, oldMail})
	asked := 0
	w.store.Before = func(_ context.Context, method, key string) error {
		if method == "Get" && key == "email:"+oldMail {
			if asked++; asked > 1 {
				return errCrash
			}
		}
		return nil
	}
	id := w.owner("email:" + oldMail)
	asked = 0
	_, _, err := w.records().Import(t.Context(), Entry{ID: id, Email: oldMail, Name: "Ali"}, false)
	if err == nil || !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrConflict) {
		t.Errorf("Import = %v", err)
	}
}
