// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The process ends at each write of a sign-in in turn, before or after the write
// has happened. Whatever the person does next, one user is left who has all
// identities.
func TestSignIn_CrashAtEveryWrite(t *testing.T) {
	a1, b1 := Identity{AppID: appA, OpenID: "oA"}, Identity{AppID: appB, OpenID: "oB"}
	c1 := Identity{AppID: "wxcccccccccccccccc", OpenID: "oC"}
	with := func(id Identity) Identity { id.UnionID = "u"; return id }
	scenarios := []struct {
		name    string
		before  []Identity // sign-ins that have succeeded
		crashed Identity   // the one that does not
		ids     []Identity // all that belong to the person in the end
	}{
		{"first sign-in", nil, a1, []Identity{a1}},
		{"first sign-in with unionid", nil, with(a1), []Identity{a1}},
		{"sign-in again", []Identity{a1}, a1, []Identity{a1}},
		{"unionid appears", []Identity{a1}, with(a1), []Identity{a1}},
		{"second app joins", []Identity{with(a1)}, with(b1), []Identity{a1, b1}},
		{"two users become one", []Identity{a1, with(b1)}, with(a1), []Identity{a1, b1}},
		{"two users with two apps become one", []Identity{{AppID: appA, OpenID: "oA", UnionID: "old"}, {AppID: c1.AppID, OpenID: c1.OpenID, UnionID: "old"}, with(b1)}, with(a1), []Identity{a1, b1, c1}},
	}
	for _, sc := range scenarios {
		for _, after := range []bool{false, true} {
			for _, next := range append([]Identity{{}}, sc.ids...) {
				for n := int64(1); ; n++ {
					name := fmt.Sprintf("%s/write %d/after=%v/then %s", sc.name, n, after, next.AppID)
					crashed := false
					t.Run(name, func(t *testing.T) {
						w := newTestWorld(t)
						for _, id := range sc.before {
							w.signIn(w.directory(Open), id)
						}
						w.failAfter = after
						w.failAt.Store(n)
						_, _, err := w.directory(Open).SignIn(t.Context(), sc.crashed)
						crashed = errors.Is(err, errCrash)
						if err != nil && !crashed {
							t.Fatal(err)
						}
						w.failAt.Store(0)
						if next != (Identity{}) && known(sc.before, sc.crashed, next) {
							w.signIn(w.directory(Open), next) // without a unionid, before the retry
						}
						w.wantOnePerson(sc.crashed, sc.ids)
					})
					if !crashed {
						break
					}
				}
			}
		}
	}
}

// known says whether an identity has been used: one that has not, and comes
// without a unionid, is rightly taken for a new person.
func known(before []Identity, crashed, id Identity) bool {
	return slices.ContainsFunc(append(before, crashed), func(other Identity) bool {
		return other.AppID == id.AppID && !(other == crashed && len(before) > 0 && !slices.ContainsFunc(before, func(b Identity) bool { return b.AppID == id.AppID }))
	})
}

// wantOnePerson repeats the sign-in that crashed and then uses every identity.
func (w *world) wantOnePerson(crashed Identity, ids []Identity) {
	w.t.Helper()
	u := w.signIn(w.directory(Open), crashed)
	for _, id := range ids {
		if got := w.signIn(w.directory(Open), id); got.ID != u.ID {
			w.t.Errorf("by %s the person is user %s, by %s %s", crashed.AppID, u.ID, id.AppID, got.ID)
		}
	}
	all := w.users()
	if len(all) != 1 || len(all[0].Identities) != len(ids) {
		w.t.Errorf("one person with %d identities is: %+v", len(ids), all)
	}
	w.wantWhole()
}

// model is what must be known of each person: which of the three identities have
// been linked to which others.
type model struct {
	groups []*group
}

type group struct {
	id         string // of the user
	identities map[string]bool
	union      bool // known by unionid
	disabled   bool
}

func (m *model) byIdentity(key string) *group {
	i := slices.IndexFunc(m.groups, func(g *group) bool { return g.identities[key] })
	if i < 0 {
		return nil
	}
	return m.groups[i]
}

func (m *model) byUnion(person string) *group {
	i := slices.IndexFunc(m.groups, func(g *group) bool { return g.union && g.identities[person] })
	if i < 0 {
		return nil
	}
	return m.groups[i]
}

// signIn returns the group that a sign-in leads to.
func (m *model) signIn(person, key string, union bool) *group {
	g, u := m.byIdentity(key), (*group)(nil)
	if union {
		u = m.byUnion(person)
	}
	switch {
	case g == nil && u == nil:
		g = &group{identities: map[string]bool{}}
		m.groups = append(m.groups, g)
	case g == nil:
		g = u
	case u != nil && u != g: // one person after all
		for k := range g.identities {
			u.identities[k] = true
		}
		u.disabled = u.disabled || g.disabled
		m.groups = slices.DeleteFunc(m.groups, func(other *group) bool { return other == g })
		g = u
	}
	g.identities[key] = true
	if union {
		g.union = true
		g.identities[person] = true // marks whose unionid it is
	}
	return g
}

// People sign in by three apps in any order, with and without unionid, on nodes
// that fail now and then; operators disable some. What the directory knows is
// what the model knows.
func TestDirectory_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, m := newWorld(t), &model{}
		nodes := []*Directory{w.directory(Open), w.directory(Open)}
		t.Repeat(map[string]func(*rapid.T){
			"sign in": func(t *rapid.T) {
				person := rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(t, "person")
				app := rapid.SampledFrom([]string{appA, appB, "wxcccccccccccccccc"}).Draw(t, "app")
				union := rapid.Bool().Draw(t, "union")
				id := Identity{AppID: app, OpenID: "o" + person}
				if union {
					id.UnionID = "u" + person
				}
				d := nodes[rapid.IntRange(0, 1).Draw(t, "node")]
				w.failAfter = rapid.Bool().Draw(t, "after")
				w.failAt.Store(rapid.Int64Range(0, 6).Draw(t, "fail at"))
				u, _, err := d.SignIn(t.Context(), id)
				w.failAt.Store(0)
				if errors.Is(err, errCrash) {
					u, _, err = d.SignIn(t.Context(), id) // the visitor tries again
				}
				m.check(t, m.signIn(person, app+":"+person, union), recordOf(u), err)
			},
			"disable": func(t *rapid.T) {
				if len(m.groups) == 0 {
					return
				}
				g := rapid.SampledFrom(m.groups).Draw(t, "group")
				w.setStatus(nodes[0], g.id, Disabled)
				g.disabled = true
			},
			"": func(t *rapid.T) {
				if n := len(w.users()); n != len(m.groups) {
					t.Fatalf("%d users, want %d", n, len(m.groups))
				}
				w.wantWhole()
			},
		})
	})
}

// check compares the outcome of a sign-in with the group it must lead to.
func (m *model) check(t *rapid.T, g *group, u *User, err error) {
	var denied *DeniedError
	if g.disabled {
		if !errors.As(err, &denied) || denied.Reason != ReasonDisabled {
			t.Fatalf("a disabled person signs in: %+v, %v", u, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("signing in: %v", err)
	}
	if g.id == "" {
		g.id = u.ID
	}
	if g.id != u.ID {
		t.Fatalf("the person was user %s and is now %s", g.id, u.ID)
	}
	for _, id := range u.Identities {
		if !g.identities[id.AppID+":"+id.OpenID[1:]] {
			t.Fatalf("user %s has the identity %+v of somebody else", u.ID, id)
		}
	}
}

// recordOf is the record of a member, nil for nobody.
func recordOf(m *Member) *User {
	if m == nil {
		return nil
	}
	return m.User
}
