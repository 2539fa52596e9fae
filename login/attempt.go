// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package login keeps the attempts to sign in: one browser's try, from the QR
// code on its page to the moment when it may have a session. An attempt is a
// small state machine whose every step is one atomic update in the store.
package login

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// State is where an attempt stands.
type State string

// The states. The last four are final.
const (
	Pending   State = "pending"   // nobody has scanned
	Scanned   State = "scanned"   // somebody has, and has yet to confirm
	Confirmed State = "confirmed" // the browser may have its session
	Consumed  State = "consumed"  // and has got it
	Cancelled State = "cancelled" // given up, on the phone or in the browser
	Expired   State = "expired"
	Denied    State = "denied"
)

// Final says whether nothing can happen to an attempt in this state any more.
func (s State) Final() bool {
	return s == Consumed || s == Cancelled || s == Expired || s == Denied
}

// Reasons for which an attempt ends.
const (
	ReasonWrongNumber = "wrong_number" // of Denied
	ReasonPhone       = "phone"        // of Cancelled: declined by the person who scanned
	ReasonBrowser     = "browser"      // of Cancelled: given up on the page
	ReasonVirtual     = "virtual_user" // of Denied: WeChat named a visitor who is no account
	ReasonExchange    = "exchange"     // of Denied: WeChat did not take the code that it had given
)

// Confirm is what the person who scanned must do on the phone.
type Confirm string

// The confirmations.
const (
	ConfirmNumber Confirm = "number" // choose the number that the browser shows
	ConfirmTap    Confirm = "tap"    // tap a button
	ConfirmOff    Confirm = "off"    // nothing: the scan signs in
)

// scanMargin is the least time that a person has to confirm once the code is
// scanned, however late it was scanned.
const scanMargin = 2 * time.Minute

// claimMargin is the least time that remains to find out who has authorized.
const claimMargin = 30 * time.Second

// Attempt is one browser's try to sign in.
type Attempt struct {
	ID     string `json:"id"`
	Method string `json:"method"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`

	// Site is what the messages call the site, and Portal the URL under which
	// its endpoints are.
	Site   string `json:"site"`
	Portal string `json:"portal"`
	// ReturnTo is the path to go to once signed in.
	ReturnTo string `json:"return_to"`
	Client   Client `json:"client"`
	// Browser is the hash of the secret that only the browser which began the
	// attempt holds.
	Browser string `json:"browser"`

	// OnPhone says that the browser is on a phone, which cannot scan its own
	// screen. It counts when the attempt begins.
	OnPhone bool `json:"-"`
	// Quiet says that few attempts have come from the browser's network lately;
	// the last of a Budget is for those. It counts then, too.
	Quiet bool `json:"-"`

	AppID   string  `json:"app_id"`
	Scene   string  `json:"scene"`
	Confirm Confirm `json:"confirm"`
	// Number is shown in the browser, Choices on the phone.
	Number  string   `json:"number,omitempty"`
	Choices []string `json:"choices,omitempty"`
	// Code is what the person sends to the account, in the method ChatCode.
	Code string `json:"code,omitempty"`
	// Token names the attempt in the link that the person who scanned gets in
	// the chat. It is made with the attempt, so that a repeated event finds it.
	Token string `json:"token"`

	// Person is who scanned first, or whom WeChat has authorized, and so owns
	// the attempt.
	Person
	// Prover is the hash of the secret of the browser in which WeChat has named
	// that person.
	Prover string `json:"prover,omitempty"`
	// Proofs counts the ways to WeChat and back to learn that.
	Proofs int `json:"proofs,omitempty"`
	// SessionID is the session that the browser got, and Disowned says that the
	// person does not want it to live.
	SessionID string `json:"session_id,omitempty"`
	Disowned  bool   `json:"disowned,omitempty"`

	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Person is what WeChat says of the person who signs in, and what the person adds.
type Person struct {
	OpenID  string `json:"openid,omitempty"`
	UnionID string `json:"unionid,omitempty"`
	// Name and Avatar are any text: no two people need differ in them.
	Name   string `json:"name,omitempty"`
	Avatar string `json:"avatar,omitempty"`
	// Phone is a number that WeChat has verified.
	Phone string `json:"phone,omitempty"`
}

// learn adds to a person what is known of the same person from elsewhere.
func (p *Person) learn(more Person) {
	p.UnionID = cmp.Or(p.UnionID, more.UnionID)
	p.Name = cmp.Or(more.Name, p.Name)
	p.Avatar = cmp.Or(more.Avatar, p.Avatar)
	p.Phone = cmp.Or(more.Phone, p.Phone)
}

// Client is the browser that began an attempt, as the person who scans is told.
type Client struct {
	Browser string `json:"browser"` // such as "Chrome · Windows"
	Address string `json:"address"`
}

// Choices of the confirm page besides a number.
const (
	ChoiceYes    = "yes"
	ChoiceCancel = "cancel"
	ChoiceRevoke = "revoke" // "that was not me": ends the session that came of it
)

// ErrState says that an attempt is not in a state in which this can happen.
var ErrState = errors.New("the attempt is in another state")

// at is the attempt as it is at a moment: time alone ends it.
func (a Attempt) at(now time.Time) Attempt {
	if !a.State.Final() && !now.Before(a.ExpiresAt) {
		a.State = Expired
	}
	return a
}

// scan gives a pending attempt to the person who scanned.
func (a *Attempt) scan(who Person, now time.Time) bool {
	if a.State != Pending || a.authorizes() || who.OpenID == "" {
		return false
	}
	a.Person = who
	a.State = Scanned
	if a.Confirm == ConfirmOff {
		a.State = Confirmed
	}
	if least := now.Add(scanMargin); a.ExpiresAt.Before(least) {
		a.ExpiresAt = least
	}
	return true
}

// answer applies what the person who scanned chose.
func (a *Attempt) answer(choice string) bool {
	if a.authorizes() {
		return false // WeChat itself asks
	}
	switch {
	case choice == ChoiceRevoke && a.State == Consumed && !a.Disowned:
		a.Disowned = true
	case (choice == ChoiceCancel || choice == ChoiceRevoke) && (a.State == Scanned || a.State == Confirmed):
		a.State, a.Reason = Cancelled, ReasonPhone
	case a.State != Scanned:
		return false
	case a.Accepts(choice):
		a.State = Confirmed
	case a.Confirm == ConfirmNumber && isNumber(choice):
		a.State, a.Reason = Denied, ReasonWrongNumber
	default:
		return false
	}
	return true
}

// Accepts says whether a choice confirms a scanned attempt.
func (a *Attempt) Accepts(choice string) bool {
	return a.State == Scanned && !a.authorizes() && (a.Confirm == ConfirmTap && choice == ChoiceYes ||
		a.Confirm == ConfirmNumber && subtle.ConstantTimeCompare([]byte(choice), []byte(a.Number)) == 1)
}

// isNumber says whether a choice has the form of the numbers on the page: only
// such a one is a wrong answer, anything else is no answer at all.
func isNumber(choice string) bool {
	return len(choice) == 2 && strings.Trim(choice, "0123456789") == ""
}

// authorizes says whether WeChat's own page asks the person, and leads back with a
// code for which WeChat then names the person.
func (a *Attempt) authorizes() bool { return a.Method == WebsiteQR || a.Method == InWeChat }

// claim lets one of several calls of the page that WeChat leads back to use the
// code that it brings.
func (a *Attempt) claim(now time.Time) bool {
	if a.State != Pending || !a.authorizes() {
		return false
	}
	a.State = Scanned
	if least := now.Add(claimMargin); a.ExpiresAt.Before(least) {
		a.ExpiresAt = least
	}
	return true
}

// authorize confirms a claimed attempt for the person whom WeChat has named.
func (a *Attempt) authorize(who Person) bool {
	if a.State != Scanned || !a.authorizes() || a.OpenID != "" {
		return false
	}
	a.Person, a.State = who, Confirmed
	return true
}

// refuse ends an attempt for which WeChat has named nobody.
func (a *Attempt) refuse(reason string) bool {
	if a.State.Final() || !a.authorizes() || a.State == Confirmed {
		return false
	}
	if reason == ReasonPhone && a.State != Pending { // another call has brought a code
		return false
	}
	a.State, a.Reason = Cancelled, reason
	if reason != ReasonPhone {
		a.State = Denied
	}
	return true
}

// isOf says whether that person owns the attempt.
func (a *Attempt) isOf(who Person) bool {
	return a.OpenID != "" && subtle.ConstantTimeCompare([]byte(a.OpenID), []byte(who.OpenID)) == 1
}

// prove takes note that WeChat has named the owner in the browser of that secret.
func (a *Attempt) prove(who Person, browser string) bool {
	if !a.isOf(who) || a.State.Final() {
		return false
	}
	a.Prover = hash(browser)
	a.learn(who)
	return true
}

// provenIn says whether WeChat has named the owner in the browser of that secret.
func (a *Attempt) provenIn(browser string) bool {
	return a.Prover != "" && subtle.ConstantTimeCompare([]byte(a.Prover), []byte(hash(browser))) == 1
}

// askProof counts one more way to WeChat and back.
func (a *Attempt) askProof() bool {
	if a.State.Final() || a.Proofs >= maxProofs {
		return false
	}
	a.Proofs++
	return true
}

// cancel gives the attempt up in the browser.
func (a *Attempt) cancel() bool {
	if a.State.Final() {
		return false
	}
	a.State, a.Reason = Cancelled, ReasonBrowser
	return true
}

// consume hands the confirmed attempt to its browser, once.
func (a *Attempt) consume(sessionID string) bool {
	if a.State != Confirmed {
		return false
	}
	a.State, a.SessionID = Consumed, sessionID
	return true
}

// deny ends a confirmed attempt of a person who may not enter.
func (a *Attempt) deny(reason string) bool {
	if a.State != Confirmed {
		return false
	}
	a.State, a.Reason = Denied, reason
	return true
}

// boundTo says whether the browser that holds secret began the attempt.
func (a *Attempt) boundTo(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(a.Browser), []byte(hash(secret))) == 1
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
