// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

// texts is every word the pages say in one language. No field may stay empty.
type texts struct {
	Tag      string // for the lang attribute
	ThisSite string // in place of a title that is not set

	SignInTo  string // followed by the title
	NeedsJS   string
	NeedsJSDo string

	Methods     string            // names the row of methods
	MethodNames map[string]string // by the method; short, for five stand in a row

	ConfirmTo    string // followed by the title
	SignedInTo   string // heading of the page on the phone once it is done
	NotMe        string // disowns the sign-in
	NotMeHint    string
	ConfirmWarn  string
	ChooseNumber string
	ConfirmTap   string
	Refuse       string
	Site         string
	Browser      string
	Address      string
	Time         string
	Zone         string // follows a time of Beijing

	SignOutOf  string // followed by the title
	SignedInAs string // followed by the name
	SignOut    string
	Everywhere string
	StaySigned string

	Retry         string
	Home          string
	Back          string // leads to where one came from
	SignIn        string
	OtherIdentity string

	Sessions sessionsTexts
	Admin    adminTexts

	Bind    bindTexts
	Notices [noticeCount]message
	Script  scriptTexts
}

// message says one thing, and what to do.
type message struct {
	Head string `json:"head"`
	Body string `json:"body"`
}

// scriptTexts is what the login page's script says. It fills in {time}, {minutes}
// and {number}.
type scriptTexts struct {
	QRAlt      string `json:"qrAlt"`      // of a QR code that the portal drew
	ImageAlt   string `json:"imageAlt"`   // of a code that is a picture of WeChat's
	FrameTitle string `json:"frameTitle"` // of WeChat's own page

	// Of a phone, which cannot scan its own screen.
	HintScan     string `json:"hintScan"`
	HintChat     string `json:"hintChat"`
	HintInWeChat string `json:"hintInWeChat"` // inside WeChat it can, if the code is a picture
	HintWebsite  string `json:"hintWebsite"`  // and that of WeChat's own page is none

	OpenMini     string `json:"openMini"`
	OpenWebsite  string `json:"openWebsite"`
	Authorize    string `json:"authorize"`
	Copy         string `json:"copy"`
	Copied       string `json:"copied"`
	Trouble      string `json:"trouble"` // says of a method that it failed
	NewCode      string `json:"newCode"`
	NewDigits    string `json:"newDigits"`
	TryAgain     string `json:"tryAgain"`
	TryNow       string `json:"tryNow"`
	RetryIn      string `json:"retryIn"`
	Reconnecting string `json:"reconnecting"`

	Views   map[string]message `json:"views"`   // by the script's name of the view
	Reasons map[string]message `json:"reasons"` // of a denied attempt, by the server's name
}
