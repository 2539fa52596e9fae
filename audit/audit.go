// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package audit says what is worth remembering of what people and operators do:
// who did what to whom, from where, and what came of it. It writes nothing; where
// an Event goes is for a Recorder to know.
package audit

import "context"

// Action is what was done, or tried.
type Action string

// The actions. docs/audit.md tells which fields each one fills.
const (
	SignIn         Action = "sign_in"         // a browser got a session, or was refused one
	SignOut        Action = "sign_out"        // a person ended a session, or all of them
	Answer         Action = "answer"          // a person confirmed or refused a sign-in on the phone
	Disown         Action = "disown"          // a person said "that was not me"
	Register       Action = "register"        // a person became known
	Bind           Action = "bind"            // a person proved an e-mail address or phone number, or failed to
	SendCode       Action = "send_code"       // a code went out to an address, or could not
	Rename         Action = "rename"          // a person chose a display name
	Merge          Action = "merge"           // two users turned out to be one person
	ChangeStatus   Action = "change_status"   // approval, disabling, enabling
	ChangeRoles    Action = "change_roles"    // roles were given or taken
	RevokeSession  Action = "revoke_session"  // an operator or the person ended one session
	RevokeSessions Action = "revoke_sessions" // all sessions of a user were ended
	DeleteUser     Action = "delete_user"     // a user was deleted
	ImportUsers    Action = "import_users"    // users came from a file
	AdminRefused   Action = "admin_refused"   // somebody without the role asked for the admin page
	Unfollow       Action = "unfollow"        // a person unfollowed the account
	Trouble        Action = "trouble"         // WeChat, a sender or the store refuses, and only an operator can help
)

// Result is what came of an action.
type Result string

// The results.
const (
	OK      Result = "ok"
	Refused Result = "refused" // by a rule, a limit or a person
	Failed  Result = "failed"  // for a reason outside
)

// ActorKind is what sort of actor did something.
type ActorKind string

// The kinds of actors.
const (
	Visitor  ActorKind = "visitor"  // somebody without a session
	Person   ActorKind = "person"   // a user, with a session or through WeChat
	Admin    ActorKind = "admin"    // a user on the admin page
	Operator ActorKind = "operator" // whoever uses Caddy's admin API, or the command line
	Gateway  ActorKind = "gateway"  // the gateway by itself
)

// Actor is who did something.
type Actor struct {
	Kind ActorKind
	ID   string // the user, where it is one
	// IP is the address that the actor came from, and UserAgent what it calls itself.
	IP, UserAgent string
}

// Event is one thing that happened. Fields that do not apply are empty. It may
// hold personal data, which no other log does.
type Event struct {
	Action Action
	Result Result
	// Reason says why the result is not OK, as one snake_case word.
	Reason string
	Actor  Actor
	// UserID is the user concerned, SessionID the session.
	UserID, SessionID string
	// Site is the origin of the site at which it happened; empty for none.
	Site string
	// Method, Account and OpenID say how a person signed in.
	Method, Account, OpenID string
	// Channel and Address are what is bound: email or phone, and which.
	Channel, Address string
	// Before and After are what a change was from and to.
	Before, After string
	// Count is how many sessions or users it concerned, where that may be more than one;
	// of what was refused again and again, for how many such events this one stands.
	Count int
	// Detail is what else an operator should read: an error, a cure.
	Detail string
}

// Recorder takes note of an Event. It must return quickly, and keep no reference
// to the context.
type Recorder func(ctx context.Context, e Event)

// Discard takes note of nothing.
func Discard(context.Context, Event) {}
