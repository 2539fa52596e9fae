// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wanted says in other words than the code what must become of a known user: it goes
// through the questions as an operator would ask them.
func wanted(p Policy, u *User, allowed bool) Admission {
	if u.Status == Disabled {
		return IsDisabled
	}
	for _, ch := range p.Bind {
		if u.Address(ch) == "" {
			return map[Channel]Admission{ByEmail: EmailMissing, ByPhone: PhoneMissing}[ch]
		}
	}
	knownToOperator := u.Status == Active || allowed
	if p.Registration == Closed && !knownToOperator {
		return NotAllowed
	}
	if p.AskName && u.Name == "" {
		return NameMissing
	}
	if p.Registration == Approval && !knownToOperator {
		return AwaitingApproval
	}
	return Admitted
}

// Every policy meets every user: each combination of registration, status, allow
// rule, bound addresses and name.
func TestAdmission_EveryCombination(t *testing.T) {
	seen := make(map[Admission]int)
	binds := [][]Channel{nil, {ByEmail}, {ByPhone}, {ByEmail, ByPhone}, {ByPhone, ByEmail}}
	allows := []Rule{{}, {OpenID, "oAlice"}, {Email, "A@good.example"}, {Phone, "13800138000"}, {OpenID, "oBob"}}
	users := everyUser()
	for _, registration := range []Registration{Open, Approval, Closed} {
		for _, bind := range binds {
			for _, allow := range allows {
				for _, ask := range []bool{false, true} {
					p := Policy{Registration: registration, Bind: bind, AskName: ask}
					if allow != (Rule{}) {
						p.Allow = []Rule{allow}
					}
					if err := p.Validate(); err != nil {
						t.Fatal(err)
					}
					c := p.compile()
					for _, u := range users {
						allowed := allow.Field == OpenID && allow.Value == "oAlice" || allow.Field == Email && u.Email != "" || allow.Field == Phone && u.Phone != ""
						got, want := c.admission(u), wanted(p, u, allowed)
						if seen[got]++; got != want {
							t.Errorf("under %+v the user %+v is admitted as %q, want %q", p, u, got, want)
						}
					}
				}
			}
		}
	}
	if len(seen) != 7 {
		t.Errorf("of the seven admissions %v have come up", seen)
	}
}

func everyUser() (all []*User) {
	for _, status := range []Status{Active, Pending, Disabled} {
		for _, email := range []string{"", "a@good.example"} {
			for _, phone := range []string{"", "+8613800138000"} {
				for _, name := range []string{"", "Alice"} {
					all = append(all, &User{ID: "x", Status: status, Email: email, Phone: phone, Name: name, Identities: []Identity{{AppID: appA, OpenID: "oAlice"}}})
				}
			}
		}
	}
	return all
}

// A site that is closed takes in people whom the operator has imported, once they
// have proven who they are, and nobody else.
func TestAdmission_ClosedWithImport(t *testing.T) {
	w := newTestWorld(t)
	r := w.records()
	if _, _, err := r.Import(t.Context(), Entry{ID: "alice", Email: "alice@good.example", Roles: []string{"staff"}}, false); err != nil {
		t.Fatal(err)
	}
	d := w.under(r, Policy{Registration: Closed, Bind: []Channel{ByEmail}})
	for _, tt := range []struct {
		openID, email string
		id            string
		want          Admission
	}{
		{"oAlice", "Alice@Good.Example", "alice", Admitted},
		{"oMallory", "mallory@evil.example", "", NotAllowed},
	} {
		m, news, err := d.SignIn(t.Context(), Identity{AppID: appA, OpenID: tt.openID})
		if err != nil || !news.Fresh || m.Admission != EmailMissing {
			t.Fatalf("%s enters as %+v, %v", tt.openID, m, err)
		}
		owner, err := d.Bind(t.Context(), m.ID, ByEmail, tt.email)
		if err != nil {
			t.Fatal(err)
		}
		m, err = d.Get(t.Context(), owner)
		if err != nil || m.Admission != tt.want || tt.id != "" && owner != tt.id {
			t.Errorf("%s is %s, admitted as %q, %v; want %q", tt.openID, owner, m.Admission, err, tt.want)
		}
	}
	w.wantWhole()
	w.wantDenied(w.under(w.records(), Policy{Registration: Closed, Bind: []Channel{ByEmail}}), Identity{AppID: appA, OpenID: "oMallory"}, ReasonClosed)
}

// Who is approved or disabled after a rule has let him in stays what the operator said.
func TestAdmission_OperatorPrevails(t *testing.T) {
	p := Policy{Registration: Open, Allow: []Rule{{OpenID, "oAlice"}}}
	u := &User{Status: Disabled, Identities: []Identity{{AppID: appA, OpenID: "oAlice"}}}
	if got := p.compile().admission(u); got != IsDisabled {
		t.Errorf("a disabled person whom a rule names is admitted as %q", got)
	}
	u.Status = Active
	if got := (Policy{Registration: Closed}).compile().admission(u); got != Admitted {
		t.Errorf("an approved person is kept out as %q", got)
	}
}

func TestValidateRole(t *testing.T) {
	for _, tt := range []struct {
		role string
		ok   bool
	}{
		{"admin", true},
		{"a", true},
		{"ops:read-only_v1.2/x", true},
		{"ADMIN", true},
		{strings.Repeat("a", 64), true},
		{strings.Repeat("a", 65), false},
		{"", false},
		{"a,b", false}, // two roles in the header
		{"a b", false},
		{" a", false},
		{"a ", false},
		{"a\r\nX-User-Id: b", false},
		{"a\x00", false},
		{"管理员", false},
		{"аdmin", false}, // Cyrillic а
		{"admin\u200b", false},
		{"a\tb", false},
		{"{env.ROLE}", false},
	} {
		if err := ValidateRole(tt.role); (err == nil) != tt.ok {
			t.Errorf("ValidateRole(%q) = %v", tt.role, err)
		}
	}
}

func TestPolicy_ValidateRolesAndBind(t *testing.T) {
	role := func(name string, field Field, value string) Policy {
		return Policy{Registration: Open, Roles: []RoleRule{{name, Rule{field, value}}}}
	}
	for _, tt := range []struct {
		name   string
		policy Policy
		want   string // part of the error; empty: none
	}{
		{"role", role("admin", UnionID, "u"), ""},
		{"role by phone", role("admin", Phone, "138 0013 8000"), ""},
		{"role with a comma", role("a,b", UnionID, "u"), "cannot be a role"},
		{"role for everybody", role("admin", UnionID, ""), "empty value"},
		{"role by name", role("admin", "name", "Alice"), `role "name" is unknown`},
		{"role by a wrong address", role("admin", Email, "alice"), `role email "alice": not an address: `},
		{"rule with a space", Policy{Registration: Open, Allow: []Rule{{OpenID, "o "}}}, "begins or ends with a space"},
		{"rule with a wrong number", Policy{Registration: Open, Allow: []Rule{{Phone, "12345"}}}, `allow phone "12345": not an address: `},
		{"bind", Policy{Registration: Open, Bind: []Channel{ByPhone, ByEmail}}, ""},
		{"bind something else", Policy{Registration: Open, Bind: []Channel{"fax"}}, `bind "fax" is unknown`},
		{"bind twice", Policy{Registration: Open, Bind: []Channel{ByEmail, ByEmail}}, "stands twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.policy.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Validate = %v; want %q", err, tt.want)
			}
		})
	}
}

// Roles come from the operator and from the rules, each once and in order. Addresses
// in rules may be written in any form, openids in one.
func TestRules_RolesOf(t *testing.T) {
	p := Policy{Registration: Open, Roles: []RoleRule{
		{"by-openid", Rule{OpenID, "oAlice"}},
		{"by-unionid", Rule{UnionID, "uAlice"}},
		{"by-email", Rule{Email, "Alice@GOOD.example"}},
		{"by-phone", Rule{Phone, "138-0013-8000"}},
		{"staff", Rule{Email, "alice@good.example"}},
		{"admin", Rule{OpenID, "oalice"}},
		{"admin", Rule{UnionID, "oAlice"}},
		{"admin", Rule{Email, "alice@good.example.evil.example"}},
	}}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	u := &User{Roles: []string{"staff", "given"}, Email: "alice@good.example", Phone: "+8613800138000", Identities: []Identity{{AppID: appA, OpenID: "oAlice"}, {AppID: appB, OpenID: "oB", UnionID: "uAlice"}}}
	before := slices.Clone(u.Roles)
	want := []string{"by-email", "by-openid", "by-phone", "by-unionid", "given", "staff"}
	if diff := cmp.Diff(want, p.compile().rolesOf(u)); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, u.Roles); diff != "" {
		t.Errorf("the record was changed (-want +got):\n%s", diff)
	}
	if got := p.compile().rolesOf(&User{}); len(got) != 0 {
		t.Errorf("somebody whom no rule names has %v", got)
	}
	d := newTestWorld(t).under(newTestWorld(t).records(), p)
	if diff := cmp.Diff([]string{"by-email", "by-openid", "by-phone", "by-unionid", "staff"}, d.RuleRoles(u)); diff != "" {
		t.Errorf("roles of the rules alone (-want +got):\n%s", diff)
	}
}

func TestMember_HasRole(t *testing.T) {
	m := &Member{AllRoles: []string{"a", "b"}}
	for _, tt := range []struct {
		ask  []string
		want bool
	}{{nil, false}, {[]string{"a"}, true}, {[]string{"c", "b"}, true}, {[]string{"c"}, false}, {[]string{""}, false}, {[]string{"a,b"}, false}, {[]string{"A"}, false}} {
		if got := m.HasRole(tt.ask...); got != tt.want {
			t.Errorf("HasRole(%s) = %v", fmt.Sprint(tt.ask), got)
		}
	}
}
