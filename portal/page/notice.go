// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

// NoticeKind names what a notice page says.
type NoticeKind int

// The notices. Those from Cancelled to Revoked end a visit on the phone. A kind
// left out by mistake says nothing that matters.
const (
	NotFound     NoticeKind = iota // no such page below the prefix
	Cancelled                      // the sign-in was refused on the phone
	WrongNumber                    // the wrong number was chosen, the sign-in is denied
	LinkExpired                    // the link in the chat is too old
	LinkUnknown                    // the link in the chat never existed
	AlreadyDone                    // the sign-in was confirmed or refused before
	Revoked                        // the sign-in was disowned on the phone: its session has ended
	Pending                        // signed in, awaiting the operator's approval
	Disabled                       // signed in, but the operator has disabled the person
	NotAdmitted                    // signed in, but not among those who may enter
	RoleMissing                    // signed in, but without a role that this site requires
	Unavailable                    // the store cannot be reached; try again later
	TooMany                        // too many requests from this address
	SignedOut                      // the session has ended
	CrossOrigin                    // the form was sent from another site
	AuthOutage                     // the store cannot be reached; begin again later
	OtherBrowser                   // the sign-in was begun in another browser, or too long ago
	AuthRefused                    // the person has refused in WeChat
	AuthFailed                     // WeChat did not confirm who the person is
	VirtualUser                    // WeChat opened the page in snapshot mode and names nobody real
	OpenInWeChat                   // the link only works inside WeChat
	NotScanner                     // whoever opened the link is not who scanned
	noticeCount
)

// noticeLook is how a notice looks and what it offers, apart from its text.
type noticeLook struct {
	icon   string // a symbol of templates/base.html
	action string // "" | "retry" | "wait" | "home" | "login" | "logout"
	// admission is what the portal calls the reason, where the page goes away by
	// itself once it holds no more.
	admission string
}

var noticeLooks = [noticeCount]noticeLook{
	Cancelled:   {icon: "stop"},
	WrongNumber: {icon: "stop"},
	LinkExpired: {icon: "clock"},
	LinkUnknown: {icon: "stop"},
	AlreadyDone: {icon: "info"},
	Revoked:     {icon: "ok"},
	Pending:     {icon: "clock", action: "wait", admission: "pending"},
	Disabled:    {icon: "stop", action: "logout"},
	NotAdmitted: {icon: "stop", action: "logout", admission: "registration_closed"},
	RoleMissing: {icon: "stop", action: "logout", admission: "role_missing"},
	Unavailable: {icon: "cloud", action: "retry"},
	TooMany:     {icon: "clock"},
	NotFound:    {icon: "info", action: "home"},
	SignedOut:   {icon: "ok", action: "login"},
	CrossOrigin: {icon: "stop"},

	AuthOutage:   {icon: "cloud", action: "login"},
	OtherBrowser: {icon: "clock", action: "login"},
	AuthRefused:  {icon: "stop", action: "login"},
	AuthFailed:   {icon: "cloud", action: "login"},
	VirtualUser:  {icon: "info", action: "login"},
	OpenInWeChat: {icon: "chat"},
	NotScanner:   {icon: "stop"},
}

// noticeView is what the notice template shows.
type noticeView struct {
	Text      message
	Icon      string
	Action    string
	Admission string
	// Disabled is what the page says once the person has been disabled.
	Disabled message
	Name     string // of whoever is signed in; may be empty
	ReturnTo string // for "login"; empty is the site's start
}
