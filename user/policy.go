// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"slices"
	"strings"
)

// Registration says what happens to a person who is not known yet.
type Registration string

// The registrations.
const (
	Open     Registration = "open"     // anybody may enter
	Approval Registration = "approval" // an operator lets each person in
	Closed   Registration = "closed"   // nobody new may enter, but whom a rule allows
)

// Unfollow says what happens to a user who unfollows the account.
type Unfollow string

// The answers to an unfollow.
const (
	KeepUser    Unfollow = "keep"
	EndSessions Unfollow = "revoke" // all sessions end
	DeleteUser  Unfollow = "delete" // the user is deleted
)

// Channel is a way to reach a person outside WeChat.
type Channel string

// The channels.
const (
	ByEmail Channel = "email"
	ByPhone Channel = "phone"
)

// Field is what a rule looks at.
type Field string

// The fields of rules.
const (
	OpenID  Field = "openid"
	UnionID Field = "unionid"
	Phone   Field = "phone"
	Email   Field = "email"
)

// Rule names people by one exact value: no pattern, so that no look-alike can
// stand in for another. Addresses are compared in their canonical form, the others
// as they are.
type Rule struct {
	Field Field  `json:"field"`
	Value string `json:"value"`
}

// RoleRule gives a role to the people whom a rule names, as long as it stands.
type RoleRule struct {
	Role string `json:"role"`
	Rule
}

// Policy says who may enter, and as what.
type Policy struct {
	Registration Registration
	// Allow names people who are in whatever Registration says.
	Allow []Rule
	// Roles names people who have a role.
	Roles []RoleRule
	// Bind are the addresses that each person has to prove.
	Bind []Channel
	// AskName says that each person has to choose a display name.
	AskName bool
}

// Validate says what is wrong with a policy.
func (p Policy) Validate() error {
	switch p.Registration {
	case Open, Approval, Closed:
	case "":
		return fmt.Errorf("registration is not set: choose open (anybody with WeChat may enter), approval (you let each person in) or closed (only the people under allow)")
	default:
		return fmt.Errorf("registration %q is unknown: use open, approval or closed", p.Registration)
	}
	for _, rule := range p.Allow {
		if err := rule.Validate(); err != nil {
			return fmt.Errorf("allow %w", err)
		}
	}
	for _, rule := range p.Roles {
		if err := rule.Validate(); err != nil {
			return fmt.Errorf("role %w", err)
		}
	}
	return p.validateBind()
}

func (p Policy) validateBind() error {
	for i, ch := range p.Bind {
		if ch != ByEmail && ch != ByPhone {
			return fmt.Errorf("bind %q is unknown: use email or phone", ch)
		}
		if slices.Contains(p.Bind[:i], ch) {
			return fmt.Errorf("bind %s stands twice: keep one", ch)
		}
	}
	return nil
}

// Validate says what is wrong with a rule.
func (r Rule) Validate() error {
	switch r.Field {
	case OpenID, UnionID, Phone, Email:
	default:
		return fmt.Errorf("%q is unknown: use openid, unionid, phone or email", r.Field)
	}
	if r.Value == "" {
		return fmt.Errorf("%s has an empty value", r.Field)
	}
	if strings.TrimSpace(r.Value) != r.Value {
		return fmt.Errorf("%s %q begins or ends with a space: take it out", r.Field, r.Value)
	}
	if _, err := r.canonical(); err != nil {
		return fmt.Errorf("%s %q: %w", r.Field, r.Value, err)
	}
	return nil
}

// canonical is the rule as it is compared.
func (r Rule) canonical() (Rule, error) {
	var err error
	switch r.Field {
	case Phone, Email:
		r.Value, err = Canonical(Channel(r.Field), r.Value)
	case OpenID, UnionID:
	}
	return r, err
}

// Validate says what is wrong with a rule for a role.
func (r RoleRule) Validate() error {
	if err := ValidateRole(r.Role); err != nil {
		return err
	}
	return r.Rule.Validate()
}

// maxRole bounds, in bytes, the name of a role.
const maxRole = 64

// ValidateRole says what is wrong with the name of a role. Roles stand in a header,
// separated by commas.
func ValidateRole(role string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/"
	if role == "" || len(role) > maxRole || strings.Trim(role, letters) != "" {
		return fmt.Errorf("%q cannot be a role: write up to %d of A–Z, a–z, digits and - _ . : /", role, maxRole)
	}
	return nil
}

// Admission is why a user may not enter; empty means that he may.
type Admission string

// The admissions.
const (
	Admitted         Admission = ""
	AwaitingApproval Admission = "pending"
	NotAllowed       Admission = "registration_closed"
	IsDisabled       Admission = "disabled"
	EmailMissing     Admission = "email_missing"
	PhoneMissing     Admission = "phone_missing"
	NameMissing      Admission = "name_missing"
)

// rules are those of a Policy, ready to be asked.
type rules struct {
	Policy
	allow map[Rule]bool
	roles map[Rule][]string
}

// compile makes the rules of a policy, whose Validate has found nothing.
func (p Policy) compile() *rules {
	c := &rules{Policy: p, allow: make(map[Rule]bool), roles: make(map[Rule][]string)}
	for _, rule := range p.Allow {
		canonical, _ := rule.canonical()
		c.allow[canonical] = true
	}
	for _, rule := range p.Roles {
		canonical, _ := rule.canonical()
		c.roles[canonical] = append(c.roles[canonical], rule.Role)
	}
	return c
}

// names are the rules by which a user can be named.
func names(u *User) []Rule {
	found := make([]Rule, 0, 2+2*len(u.Identities))
	add := func(field Field, value string) {
		if value != "" {
			found = append(found, Rule{field, value})
		}
	}
	add(Email, u.Email)
	add(Phone, u.Phone)
	for _, id := range u.Identities {
		add(OpenID, id.OpenID)
		add(UnionID, id.UnionID)
	}
	return found
}

// allows says whether an allow rule names the user.
func (c *rules) allows(u *User) bool {
	return slices.ContainsFunc(names(u), func(r Rule) bool { return c.allow[r] })
}

// rolesOf are the roles that an operator has given the user, and those of the rules.
func (c *rules) rolesOf(u *User) []string {
	roles := slices.Clone(u.Roles)
	for _, name := range names(u) {
		roles = append(roles, c.roles[name]...)
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// admission says whether the policy lets a known user in now. What the person can
// mend comes before what only an operator can: under closed, whoever proves an
// address may turn out to be somebody the operator knows.
func (c *rules) admission(u *User) Admission {
	welcome := u.Status == Active || u.Status == Pending && (c.Registration == Open || c.allows(u))
	missing := c.missing(u)
	switch {
	case !welcome && u.Status != Pending:
		return IsDisabled
	case missing == EmailMissing, missing == PhoneMissing:
		return missing
	case !welcome && c.Registration == Closed:
		return NotAllowed
	case missing != Admitted:
		return missing
	case !welcome:
		return AwaitingApproval
	default:
		return Admitted
	}
}

// missing is what the person has yet to do.
func (c *rules) missing(u *User) Admission {
	for _, ch := range c.Bind {
		if ch == ByEmail && u.Email == "" {
			return EmailMissing
		}
		if ch == ByPhone && u.Phone == "" {
			return PhoneMissing
		}
	}
	if c.AskName && u.Name == "" {
		return NameMissing
	}
	return Admitted
}
