// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/store"
)

func TestSignIn_Registration(t *testing.T) {
	id := Identity{AppID: appA, OpenID: "oAlice", UnionID: "uAlice"}
	byOpenID, byUnionID := Rule{OpenID, "oAlice"}, Rule{UnionID, "uAlice"}
	other := Rule{OpenID, "oBob"}
	tests := []struct {
		name         string
		registration Registration
		allow        []Rule
		status       Status // empty: denied
		admission    Admission
	}{
		{"open", Open, nil, Active, Admitted},
		{"open, allowed", Open, []Rule{byOpenID}, Active, Admitted},
		{"open, others are allowed", Open, []Rule{other}, Active, Admitted},
		{"approval", Approval, nil, Pending, AwaitingApproval},
		{"approval, openid allowed", Approval, []Rule{other, byOpenID}, Pending, Admitted},
		{"approval, unionid allowed", Approval, []Rule{byUnionID}, Pending, Admitted},
		{"approval, others are allowed", Approval, []Rule{other}, Pending, AwaitingApproval},
		{"closed", Closed, nil, "", ""},
		{"closed, openid allowed", Closed, []Rule{byOpenID}, Pending, Admitted},
		{"closed, unionid allowed", Closed, []Rule{byUnionID}, Pending, Admitted},
		{"closed, others are allowed", Closed, []Rule{other}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newTestWorld(t)
			d := w.directory(tt.registration, tt.allow...)
			if tt.status == "" {
				w.wantDenied(d, id, ReasonClosed)
				if keys := w.store.Keys(); len(keys) != 0 {
					t.Errorf("of a person who was refused %v is kept", keys)
				}
				return
			}
			u := w.signIn(d, id)
			if u.Status != tt.status || d.rules.admission(u) != tt.admission {
				t.Errorf("status %q, admission %q; want %q, %q", u.Status, d.rules.admission(u), tt.status, tt.admission)
			}
			if again := w.signIn(d, id); again.ID != u.ID {
				t.Errorf("the second sign-in makes user %s of %s", again.ID, u.ID)
			}
		})
	}
}

// An attacker makes an identity that looks like one on the allow list: to an
// administrator, to a case-folding compare, to a trimming one.
func TestSignIn_AllowComparesExactly(t *testing.T) {
	const allowed = "oAliceAdmin_1"
	for _, lookalike := range []string{
		"oaliceadmin_1", "OALICEADMIN_1", " oAliceAdmin_1", "oAliceAdmin_1 ", "oAliceAdmin_1\n", "oAliceAdmin_1\x00",
		"oAliceAdmin", "oAliceAdmin_12", "oАliceAdmin_1", // Cyrillic А
		"oAliceAdmin_１", "o\u200bAliceAdmin_1", "oAliceAdmin_1\u0301", "*", "oAlice*", ".*", "%", "oAliceAdmin_1,x", `"oAliceAdmin_1"`,
	} {
		w := newTestWorld(t)
		d := w.directory(Closed, Rule{OpenID, allowed}, Rule{UnionID, allowed}, Rule{Email, "a@good.example"}, Rule{Phone, "+8613800000000"})
		w.wantDenied(d, Identity{AppID: appA, OpenID: lookalike, UnionID: lookalike}, ReasonClosed)
	}
}

// A nickname is any text that a person likes, and no identity (Q15).
func TestSignIn_NicknameIsNoIdentity(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Closed, Rule{OpenID, "oAlice"})
	w.wantDenied(d, Identity{AppID: appA, OpenID: "oMallory", Nickname: "oAlice", Avatar: "oAlice"}, ReasonClosed)
}

func TestPolicy_AllowByEmailAndPhone(t *testing.T) {
	p := Policy{Registration: Closed, Allow: []Rule{{Email, "alice@good.example"}, {Phone, "+8613800000000"}}}
	for _, tt := range []struct {
		user User
		want bool
	}{
		{User{Email: "alice@good.example"}, true},
		{User{Phone: "+8613800000000"}, true},
		{User{Email: "Alice@good.example"}, false},
		{User{Email: "alice@good.example@evil.example"}, false},
		{User{Email: "alice@evil.example@good.example"}, false},
		{User{Email: "xalice@good.example"}, false},
		{User{Email: "alice@good.example."}, false},
		{User{Phone: "8613800000000"}, false},
		{User{Email: "+8613800000000", Phone: "alice@good.example"}, false},
		{User{}, false},
	} {
		if got := p.compile().allows(&tt.user); got != tt.want {
			t.Errorf("allows(%q, %q) = %v", tt.user.Email, tt.user.Phone, got)
		}
	}
}

// An empty value in a rule would match every person without that field.
func TestPolicy_Validate(t *testing.T) {
	for _, tt := range []struct {
		policy Policy
		want   string // part of the error; empty: none
	}{
		{Policy{Registration: Open}, ""},
		{Policy{Registration: Closed, Allow: []Rule{{Email, "a@b"}}}, ""},
		{Policy{}, "choose open"},
		{Policy{Registration: "Open"}, "unknown"},
		{Policy{Registration: Open, Allow: []Rule{{Email, ""}}}, "empty value"},
		{Policy{Registration: Open, Allow: []Rule{{"nickname", "x"}}}, `allow "nickname" is unknown`},
	} {
		err := tt.policy.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("Validate(%+v) = %v; want %q", tt.policy, err, tt.want)
		}
	}
}

// Whoever a rule has let in is out when the operator takes the rule away.
func TestSignIn_RuleTakenAway(t *testing.T) {
	w := newTestWorld(t)
	id := Identity{AppID: appA, OpenID: "oAlice"}
	u := w.signIn(w.directory(Closed, Rule{OpenID, "oAlice"}), id)
	closed := w.directory(Closed)
	if got := closed.rules.admission(u); got != NotAllowed {
		t.Errorf("a session of earlier is admitted as %q", got)
	}
	w.wantDenied(closed, id, ReasonClosed)
}

// Admission follows the policy and the operator of today.
func TestAdmission_ChangesWithPolicy(t *testing.T) {
	w := newTestWorld(t)
	id := Identity{AppID: appA, OpenID: "oAlice"}
	u := w.signIn(w.directory(Approval), id)
	for _, tt := range []struct {
		d    *Directory
		want Admission
	}{
		{w.directory(Approval), AwaitingApproval},
		{w.directory(Closed), NotAllowed},
		{w.directory(Open), Admitted},
		{w.directory(Closed, Rule{OpenID, "oAlice"}), Admitted},
	} {
		if got := tt.d.rules.admission(u); got != tt.want {
			t.Errorf("under %+v: %q, want %q", tt.d.Policy(), got, tt.want)
		}
	}
	for _, status := range []Status{Disabled, "", "anything else"} {
		if got := (Policy{Registration: Open, Allow: []Rule{{OpenID, "oAlice"}}}).compile().admission(&User{Status: status, Identities: u.Identities}); got != IsDisabled {
			t.Errorf("status %q is admitted as %q", status, got)
		}
	}
}

func TestSignIn_NeedsAppAndOpenID(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	for _, id := range []Identity{{}, {AppID: appA}, {OpenID: "oAlice"}, {UnionID: "uAlice"}} {
		if u, _, err := d.SignIn(t.Context(), id); err == nil {
			t.Errorf("SignIn(%+v) = %+v", id, u)
		}
	}
}

// An openid means nothing outside its app: the same text of another app is
// another person (Q15).
func TestSignIn_OpenIDOfAnotherApp(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	a := w.signIn(d, Identity{AppID: appA, OpenID: "oSame"})
	b := w.signIn(d, Identity{AppID: appB, OpenID: "oSame"})
	if a.ID == b.ID {
		t.Error("two people are one user")
	}
	u, err := d.Get(t.Context(), a.ID)
	if err != nil || u.Identity(appB, "oSame") != nil {
		t.Errorf("the first person has the second one's identity: %+v, %v", u, err)
	}
}

// One person signs in with 200 browsers at the same time, on three nodes.
func TestSignIn_SamePersonConcurrently(t *testing.T) {
	w := newTestWorld(t)
	nodes := []*Directory{w.directory(Open), w.directory(Open), w.directory(Open)}
	ids := make([]string, 200)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			u, _, err := nodes[i%len(nodes)].SignIn(t.Context(), Identity{AppID: appA, OpenID: "oAlice", UnionID: "uAlice", Nickname: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = u.ID
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Fatalf("one person is several users: %v", ids)
		}
	}
	if n := len(w.users()); n != 1 {
		t.Errorf("%d users, want 1", n)
	}
	w.wantWhole()
}

// 300 people sign in at the same time: nobody gets another one's record (G6).
func TestSignIn_DistinctPeopleConcurrently(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			id := Identity{AppID: appA, OpenID: fmt.Sprint("o", i), UnionID: fmt.Sprint("u", i), Nickname: fmt.Sprint("name", i)}
			u, _, err := d.SignIn(t.Context(), id)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := d.Get(t.Context(), u.ID)
			if err != nil {
				t.Error(err)
				return
			}
			if diff := cmp.Diff([]Identity{id}, got.Identities); diff != "" || got.Name != id.Nickname {
				t.Errorf("person %d (-want +got):\n%s", i, diff)
			}
		})
	}
	all.Wait()
	if n := len(w.users()); n != 300 {
		t.Errorf("%d users, want 300", n)
	}
	w.wantWhole()
}

// Two apps of one person, both new, at the same time: two users may come of it,
// and one is left once each app has been used again.
func TestSignIn_TwoAppsConcurrently(t *testing.T) {
	for range 50 {
		w := newTestWorld(t)
		d := w.directory(Open)
		ids := []Identity{{AppID: appA, OpenID: "oA", UnionID: "u"}, {AppID: appB, OpenID: "oB", UnionID: "u"}}
		var all sync.WaitGroup
		for _, id := range ids {
			all.Go(func() { w.signIn(d, id) })
		}
		all.Wait()
		w.signIn(d, ids[0])
		second := w.signIn(d, ids[1])
		first := w.signIn(d, ids[0])
		if first.ID != second.ID || len(w.users()) != 1 {
			t.Fatalf("one person is %d users: %s, %s", len(w.users()), first.ID, second.ID)
		}
		w.wantWhole()
	}
}

// WeChat gives a unionid only once the account is bound to an open platform.
func TestSignIn_UnionIDAppearsLater(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	before := w.signIn(d, Identity{AppID: appA, OpenID: "oA"})
	after := w.signIn(d, Identity{AppID: appA, OpenID: "oA", UnionID: "u"})
	if after.ID != before.ID || after.UnionID() != "u" {
		t.Errorf("user %s became %s with unionid %q", before.ID, after.ID, after.UnionID())
	}
	again := w.signIn(d, Identity{AppID: appA, OpenID: "oA"})
	if again.UnionID() != "u" {
		t.Error("a unionid that WeChat leaves out once is forgotten")
	}
	if joined := w.signIn(d, Identity{AppID: appB, OpenID: "oB", UnionID: "u"}); joined.ID != before.ID {
		t.Error("the second app does not join the user")
	}
	w.wantWhole()
}

// One person was two users before WeChat gave a unionid. They become one, and
// every identity of both leads there.
func TestSignIn_Merge(t *testing.T) {
	for _, tt := range []struct {
		name      string
		a, b      Status
		want      Status
		admission Admission
	}{
		{"both active", Active, Active, Active, Admitted},
		{"one disabled", Disabled, Active, Disabled, IsDisabled},
		{"the other disabled", Active, Disabled, Disabled, IsDisabled},
		{"disabled and pending", Pending, Disabled, Disabled, IsDisabled},
		{"one approved", Active, Pending, Active, Admitted},
		{"the other approved", Pending, Active, Active, Admitted},
		{"none approved", Pending, Pending, Pending, AwaitingApproval},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newTestWorld(t)
			d := w.directory(Approval)
			a := w.signIn(d, Identity{AppID: appA, OpenID: "oA"})
			b := w.signIn(d, Identity{AppID: appB, OpenID: "oB", UnionID: "u"})
			w.setStatus(d, a.ID, tt.a)
			w.setStatus(d, b.ID, tt.b)
			_, _, _ = d.SignIn(t.Context(), Identity{AppID: appA, OpenID: "oA", UnionID: "u"})
			all := w.users()
			if len(all) != 1 || len(all[0].Identities) != 2 {
				t.Fatalf("users after the merge: %+v", all)
			}
			if all[0].Status != tt.want || d.rules.admission(&all[0]) != tt.admission {
				t.Errorf("status %q, admission %q; want %q, %q", all[0].Status, d.rules.admission(&all[0]), tt.want, tt.admission)
			}
			w.wantWhole()
		})
	}
}

// The open platform that gave the first unionid is gone, and two users who became
// one had different ones. Both lead to the one who is left.
func TestSignIn_MergeMovesUnionID(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	w.signIn(d, Identity{AppID: appA, OpenID: "oA", UnionID: "old"})
	u := w.signIn(d, Identity{AppID: appB, OpenID: "oB", UnionID: "new"})
	w.signIn(d, Identity{AppID: appA, OpenID: "oA", UnionID: "new"})
	if got := w.signIn(d, Identity{AppID: "wxcccccccccccccccc", OpenID: "oC", UnionID: "old"}); got.ID != u.ID {
		t.Errorf("the old unionid leads to user %s, want %s", got.ID, u.ID)
	}
	w.wantWhole()
}

// Disabled is the person, by whatever app he comes (G5).
func TestSignIn_DisabledByEveryIdentity(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open, Rule{UnionID, "u"})
	a, b := Identity{AppID: appA, OpenID: "oA", UnionID: "u"}, Identity{AppID: appB, OpenID: "oB", UnionID: "u"}
	u := w.signIn(d, a)
	w.signIn(d, b)
	w.setStatus(d, u.ID, Disabled)
	w.wantDenied(d, a, ReasonDisabled)
	w.wantDenied(d, b, ReasonDisabled)
	w.wantDenied(d, Identity{AppID: appB, OpenID: "oB"}, ReasonDisabled)
	w.wantDenied(d, Identity{AppID: "wxcccccccccccccccc", OpenID: "oC", UnionID: "u"}, ReasonDisabled)
	if all := w.users(); len(all) != 1 || all[0].Status != Disabled {
		t.Errorf("users: %+v", all)
	}
}

func TestGet(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	if _, err := d.Get(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get = %v; want ErrNotFound", err)
	}
	u := w.signIn(d, Identity{AppID: appA, OpenID: "oA", Nickname: "Alice"})
	got, err := w.directory(Open).Get(t.Context(), u.ID)
	if diff := cmp.Diff(u, got.User); err != nil || diff != "" {
		t.Errorf("Get: %v (-want +got):\n%s", err, diff)
	}
}

func TestSignIn_Outage(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	w.failAt.Store(1)
	if _, _, err := d.SignIn(t.Context(), Identity{AppID: appA, OpenID: "oA"}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("SignIn = %v; want ErrUnavailable", err)
	}
}

// What WeChat leaves out this time is not forgotten.
func TestUser_Learn(t *testing.T) {
	u := User{}
	id := Identity{AppID: appA, OpenID: "oA", UnionID: "u", Nickname: "Alice", Avatar: "https://example.com/a.png"}
	u.learn(id)
	u.learn(Identity{AppID: appA, OpenID: "oA"})
	if diff := cmp.Diff([]Identity{id}, u.Identities); diff != "" || u.Name != "Alice" || u.Avatar != id.Avatar {
		t.Errorf("user %+v (-want +got):\n%s", u, diff)
	}
	u.learn(Identity{AppID: appA, OpenID: "oA", Nickname: "Ali"})
	if u.Name != "Ali" || len(u.Identities) != 1 {
		t.Errorf("a new nickname is not taken over: %+v", u)
	}
}
