// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/store"
)

func (w *world) get(d *Directory, id string) *Member {
	w.t.Helper()
	m, err := d.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatalf("getting %s: %v", id, err)
	}
	return m
}

// What the policy makes of a user is remembered, and found out anew when the user has
// changed, on whichever node.
func TestMember_FollowsTheRecord(t *testing.T) {
	w := newTestWorld(t)
	p := Policy{Registration: Approval, Roles: []RoleRule{{"staff", Rule{Email, "alice@good.example"}}}}
	here, there := w.under(w.records(), p), w.under(w.records(), p)
	id := w.signIn(here, Identity{AppID: appA, OpenID: "oAlice"}).ID
	for _, tt := range []struct {
		name      string
		change    func() error
		admission Admission
		roles     string
	}{
		{"new", func() error { return nil }, AwaitingApproval, ""},
		{"approved there", func() error { _, _, err := there.Change(t.Context(), id, Change{Status: new(Active)}); return err }, Admitted, ""},
		{"roles there", func() error {
			_, _, err := there.Change(t.Context(), id, Change{Roles: &[]string{"b", "a"}})
			return err
		}, Admitted, "a,b"},
		{"bound there", func() error { _, err := there.Bind(t.Context(), id, ByEmail, "Alice@good.example"); return err }, Admitted, "a,b,staff"},
		{"roles taken here", func() error { _, _, err := here.Change(t.Context(), id, Change{Roles: &[]string{}}); return err }, Admitted, "staff"},
		{"disabled there", func() error { _, _, err := there.Change(t.Context(), id, Change{Status: new(Disabled)}); return err }, IsDisabled, "staff"},
	} {
		if err := tt.change(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		for _, d := range []*Directory{here, there} {
			if m := w.get(d, id); m.Admission != tt.admission || m.RolesText != tt.roles {
				t.Errorf("%s: admission %q, roles %q; want %q, %q", tt.name, m.Admission, m.RolesText, tt.admission, tt.roles)
			}
		}
	}
	if _, err := there.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if m, err := here.Get(t.Context(), id); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted user is %+v, %v", m, err)
	}
}

// Two sites share a store, and the users in memory, under different policies.
func TestMember_PoliciesDoNotMix(t *testing.T) {
	w := newTestWorld(t)
	r := w.records()
	open := w.under(r, Policy{Registration: Open, Roles: []RoleRule{{"reader", Rule{OpenID, "oAlice"}}}})
	closed := w.under(r, Policy{Registration: Closed, Roles: []RoleRule{{"admin", Rule{OpenID, "oBob"}}}})
	strict := w.under(r, Policy{Registration: Open, Bind: []Channel{ByPhone}, AskName: true})
	alice := w.signIn(w.under(r, Policy{Registration: Approval}), Identity{AppID: appA, OpenID: "oAlice"}).ID
	bob := w.signIn(w.under(r, Policy{Registration: Approval}), Identity{AppID: appA, OpenID: "oBob"}).ID
	for range 3 {
		for _, tt := range []struct {
			name      string
			d         *Directory
			id        string
			admission Admission
			roles     string
		}{
			{"open", open, alice, Admitted, "reader"},
			{"open", open, bob, Admitted, ""},
			{"closed", closed, alice, NotAllowed, ""},
			{"closed", closed, bob, NotAllowed, "admin"},
			{"strict", strict, alice, PhoneMissing, ""},
		} {
			if m := w.get(tt.d, tt.id); m.ID != tt.id || m.Admission != tt.admission || m.RolesText != tt.roles {
				t.Errorf("%s: %+v; want %q, %q", tt.name, m, tt.admission, tt.roles)
			}
		}
	}
}

// Every request of somebody signed in asks for the user: it must cost nothing.
func TestDirectory_GetAllocatesNothing(t *testing.T) {
	w := newTestWorld(t)
	d := w.under(w.records(), Policy{Registration: Open, Roles: []RoleRule{{"admin", Rule{OpenID, "oAlice"}}}})
	id := w.signIn(d, Identity{AppID: appA, OpenID: "oAlice"}).ID
	w.get(d, id)
	ctx := t.Context()
	allocs := testing.AllocsPerRun(1000, func() {
		if m, err := d.Get(ctx, id); err != nil || m.RolesText != "admin" || !m.HasRole("admin") {
			t.Error(m, err)
		}
	})
	if allocs > 0 {
		t.Errorf("a warm Get makes %v allocations, want none", allocs)
	}
}

// A mini program has a phone number that WeChat has verified. It is bound like one
// that was proven by a code.
func TestSignIn_PhoneNumber(t *testing.T) {
	const number = "+8613800138000"
	phone := Policy{Registration: Open, Bind: []Channel{ByPhone}}
	mini := func(openid, number string) Identity { return Identity{AppID: appA, OpenID: openid, Phone: number} }
	t.Run("new", func(t *testing.T) {
		w := newTestWorld(t)
		d := w.under(w.records(), phone)
		m, news, err := d.SignIn(t.Context(), mini("oAlice", number))
		if err != nil || !news.Fresh || m.Phone != number || m.Admission != Admitted {
			t.Errorf("SignIn = %+v, %v, %v", m, news, err)
		}
		again, news, err := d.SignIn(t.Context(), mini("oAlice", ""))
		if err != nil || news.Fresh || again.ID != m.ID || again.Phone != number {
			t.Errorf("without the number: %+v, %v, %v", again, news, err)
		}
		w.wantWhole()
	})
	t.Run("imported user", func(t *testing.T) {
		w := newTestWorld(t)
		r := w.records()
		if _, _, err := r.Import(t.Context(), Entry{ID: "alice", Phone: "138 0013 8000", Roles: []string{"staff"}}, false); err != nil {
			t.Fatal(err)
		}
		m, news, err := w.under(r, Policy{Registration: Closed, Bind: []Channel{ByPhone}}).SignIn(t.Context(), mini("oAlice", number))
		if err != nil || !news.Fresh || m.ID != "alice" || m.RolesText != "staff" || m.Identity(appA, "oAlice") == nil || m.Admission != Admitted {
			t.Errorf("SignIn = %+v, %v, %v", m, news, err)
		}
		if len(w.users()) != 1 {
			t.Errorf("users: %+v", w.users())
		}
		w.wantWhole()
	})
	t.Run("closed, and nobody knows the number", func(t *testing.T) {
		w := newTestWorld(t)
		w.wantDenied(w.under(w.records(), Policy{Registration: Closed, Bind: []Channel{ByPhone}}), mini("oMallory", number), ReasonClosed)
	})
	t.Run("closed, and a rule names the number", func(t *testing.T) {
		for _, bind := range [][]Channel{nil, {ByPhone}} {
			w := newTestWorld(t)
			p := Policy{Registration: Closed, Bind: bind, Allow: []Rule{{Phone, "13800138000"}}}
			if u := w.signIn(w.under(w.records(), p), mini("oAlice", number)); u.Phone != number {
				t.Errorf("under bind %v the user is %+v", bind, u)
			}
		}
	})
	t.Run("number of a disabled user", func(t *testing.T) {
		w := newTestWorld(t)
		d := w.under(w.records(), phone)
		u := w.signIn(d, mini("oAlice", number))
		w.setStatus(d, u.ID, Disabled)
		w.wantDenied(d, mini("oAlice2", number), ReasonDisabled)
		w.wantDenied(d, mini("oAlice2", ""), ReasonDisabled) // is the same person from now on
		w.wantWhole()
	})
	t.Run("another number", func(t *testing.T) {
		w := newTestWorld(t)
		d := w.under(w.records(), phone)
		w.signIn(d, mini("oAlice", number))
		alice := w.signIn(d, mini("oAlice", "+8613900139000"))
		if bob := w.signIn(d, mini("oBob", number)); bob.ID == alice.ID || alice.Phone != "+8613900139000" {
			t.Errorf("who has got the old number of %+v is taken for her: %+v", alice, bob)
		}
		w.wantWhole()
	})
	t.Run("a number that is none", func(t *testing.T) {
		w := newTestWorld(t)
		m, _, err := w.under(w.records(), phone).SignIn(t.Context(), mini("oAlice", "+861234"))
		if err != nil || m.Phone != "" || m.Admission != PhoneMissing {
			t.Errorf("SignIn = %+v, %v", m, err)
		}
	})
	// One site binds numbers, another on the same store does not.
	t.Run("another number where numbers are not bound", func(t *testing.T) {
		w := newTestWorld(t)
		d := w.under(w.records(), phone)
		w.signIn(d, mini("oAlice", number))
		alice := w.signIn(w.under(w.records(), Policy{Registration: Open}), mini("oAlice", "+8613900139000"))
		if bob := w.signIn(d, mini("oBob", number)); bob.ID == alice.ID {
			t.Errorf("who has got the old number of %+v is taken for her", alice)
		}
	})
}

// While the store is away, whoever was known just now is served, and nobody else.
func TestGet_Outage(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	known, unknown := w.signIn(d, Identity{AppID: appA, OpenID: "oA"}), w.signIn(d, Identity{AppID: appA, OpenID: "oB"})
	w.get(d, known.ID)
	w.store.Before = func(context.Context, string, string) error { return fmt.Errorf("%w: refused", store.ErrUnavailable) }
	w.store.Tell("user", store.Notice{Kind: store.Lost})
	m, err := d.Get(t.Context(), known.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(known, m.User); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if m, err := d.Get(t.Context(), unknown.ID); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Get = %+v, %v", m, err)
	}
}
