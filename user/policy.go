// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import "fmt"

// Registration says what happens to a person who is not known yet.
type Registration string

// The registrations.
const (
	Open     Registration = "open"     // anybody may enter
	Approval Registration = "approval" // an operator lets each person in
	Closed   Registration = "closed"   // nobody new may enter, but whom a rule allows
)

// Field is what an allow rule looks at.
type Field string

// The fields of allow rules.
const (
	OpenID  Field = "openid"
	UnionID Field = "unionid"
	Phone   Field = "phone"
	Email   Field = "email"
)

// Rule names people by one exact value: no pattern, no folding of case, so that
// no look-alike can stand in for another.
type Rule struct {
	Field Field  `json:"field"`
	Value string `json:"value"`
}

// Policy says who may enter.
type Policy struct {
	Registration Registration
	// Allow names people who are in whatever Registration says.
	Allow []Rule
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
			return err
		}
	}
	return nil
}

// Validate says what is wrong with a rule.
func (r Rule) Validate() error {
	switch r.Field {
	case OpenID, UnionID, Phone, Email:
	default:
		return fmt.Errorf("allow %q is unknown: use openid, unionid, phone or email", r.Field)
	}
	if r.Value == "" {
		return fmt.Errorf("allow %s has an empty value", r.Field)
	}
	return nil
}

// allows says whether an allow rule names the user.
func (p Policy) allows(u *User) bool {
	for _, rule := range p.Allow {
		if rule.matches(u) {
			return true
		}
	}
	return false
}

func (r Rule) matches(u *User) bool {
	switch r.Field {
	case Phone:
		return u.Phone == r.Value
	case Email:
		return u.Email == r.Value
	case OpenID, UnionID:
	}
	for _, id := range u.Identities {
		if r.Field == OpenID && id.OpenID == r.Value || r.Field == UnionID && id.UnionID == r.Value {
			return true
		}
	}
	return false
}

// Admission is why a user may not enter; empty means that he may.
type Admission string

// The admissions.
const (
	Admitted         Admission = ""
	AwaitingApproval Admission = "pending"
	NotAllowed       Admission = "registration_closed"
	IsDisabled       Admission = "disabled"
)

// Admission says whether the policy lets a known user in now.
func (p Policy) Admission(u *User) Admission {
	switch {
	case u.Status == Active, u.Status == Pending && (p.Registration == Open || p.allows(u)):
		return Admitted
	case u.Status == Pending && p.Registration == Closed:
		return NotAllowed
	case u.Status == Pending:
		return AwaitingApproval
	default:
		return IsDisabled
	}
}
