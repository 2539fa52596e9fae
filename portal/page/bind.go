// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import "net/http"

// Problem says why what a person has typed does not do; empty for nothing. It is
// also the error code that a script gets.
type Problem string

// The problems of Bind, and that of Name.
const (
	BadAddress Problem = "bad_address"          // it is none, or takes no messages
	WrongCode  Problem = "wrong_code"           // the code is another one
	CodeUsedUp Problem = "code_used_up"         // the code is too old, used, or guessed at too often
	TooManyBad Problem = "too_many_wrong_codes" // this client has typed too many
	TooManyOut Problem = "too_many_codes"       // too many have been sent
	NotSent    Problem = "sender_unavailable"   // the service that sends them is out of order
	// AlreadyBound says that the person has another address, which Bind shows.
	AlreadyBound Problem = "already_bound"
	BadName      Problem = "bad_name" // it is empty or too long
)

// Bind is what the page needs to know on which a person proves to have an address.
type Bind struct {
	Channel string   // email or phone
	Others  []string // the other channels for which an address is missing
	Bound   string   // the address that the person has, masked; empty for none. Only an operator replaces it
	Address string   // as the person has typed it
	Sent    bool     // whether a code is on its way to Address
	// BySender says that codes can be sent. Where they cannot, only WeChat can tell.
	BySender bool
	ReturnTo string // same-origin path to open once that is done
	Back     string // same-origin path to go back to without; empty where there is no way on
	Problem  Problem
}

// Bind writes the page on which a person proves to have an address: with status 200
// for a GET of its URL, with 403 in place of a page that asks for the address. Its
// forms post `channel`, `address` and `return_to` to bind/code, and `code` besides
// to bind. A second code is asked for with `again=true`.
func (p *Pages) Bind(w http.ResponseWriter, r *http.Request, status int, d Bind) {
	inPlace(w)
	v := p.view(r)
	v.Bind = d
	p.write(w, r, response{status: status, template: "bind", referrer: originOnly}, v)
}

// Name is what the page needs to know on which a person chooses a display name.
type Name struct {
	Name     string // the present one, or what the person has typed
	ReturnTo string // same-origin path to open once that is done
	Back     string // as in Bind
	Problem  Problem
}

// Name writes the page on which a person chooses a display name. Its form posts `name`
// and `return_to` to the portal's name URL.
func (p *Pages) Name(w http.ResponseWriter, r *http.Request, status int, d Name) {
	inPlace(w)
	v := p.view(r)
	v.Name = d
	p.write(w, r, response{status: status, template: "name", referrer: originOnly}, v)
}

// inPlace names what tells apart the answers that one URL of the site has.
func inPlace(w http.ResponseWriter) {
	w.Header().Add("Vary", "Accept, Cookie, Sec-Fetch-Mode, Sec-Fetch-Dest")
}

// bindTexts is what the pages for addresses and names say.
type bindTexts struct {
	Channels map[string]channelTexts // by channel

	Code     string // names the field of the code
	CodeHint string
	SentTo   string // followed by the address
	Confirm  string
	SendCode string
	SendNew  string
	Bound    string // what to do for another address
	Problems map[string]string

	NameHead  string
	NameLabel string
	NameHint  string
	NameSave  string
}

// channelTexts is what the page says of one channel.
type channelTexts struct {
	Head    string
	Why     string
	Label   string
	Bound   string // followed by the address that the person has
	Hint    string // how an address is written
	Other   string // leads to another address
	Instead string // leads here from the page of another channel
	Mini    string // where no code can be sent
}

// problem is the text of a problem.
func (t *bindTexts) problem(p Problem) string { return t.Problems[string(p)] }

// BindChannel is what the page says of the channel it is for.
func (v *view) BindChannel() channelTexts { return v.T.Bind.Channels[v.Bind.Channel] }

// Alert is what is wrong with what the person has typed.
func (v *view) Alert() string {
	if v.Name.Problem != "" {
		return v.T.Bind.problem(v.Name.Problem)
	}
	return v.T.Bind.problem(v.Bind.Problem)
}

var bindChinese = bindTexts{
	Channels: map[string]channelTexts{
		"email": {
			Head: "验证邮箱", Why: "本站需要一个属于你的邮箱。我们会把验证码发送到这个邮箱。",
			Bound: "你的邮箱：", Label: "邮箱地址", Hint: "例如 name@example.com", Other: "换一个邮箱", Instead: "验证邮箱",
			Mini: "目前无法发送邮件验证码。请联系网站管理员。",
		},
		"phone": {
			Head: "验证手机号", Why: "本站需要你的手机号。我们会用短信发送验证码。",
			Bound: "你的手机号：", Label: "手机号", Hint: "例如 13800138000", Other: "换一个手机号", Instead: "验证手机号",
			Mini: "本站从微信小程序获取手机号。请退出登录，然后用小程序扫码重新登录，并同意提供手机号。",
		},
	},
	Code:     "验证码",
	CodeHint: "6 位数字，10 分钟内有效。",
	SentTo:   "验证码已发送到",
	Confirm:  "验证",
	SendCode: "发送验证码",
	SendNew:  "重新发送",
	Bound:    "如需更换，请联系网站管理员。",
	Problems: map[string]string{
		string(BadAddress): "这个地址无法使用。请检查是否输入正确。",
		string(WrongCode):  "验证码不正确。请检查后重新输入。",
		string(CodeUsedUp): "这个验证码已失效。请重新获取。",
		string(TooManyBad): "验证码错误次数过多。请稍等几分钟再试。",
		string(TooManyOut): "获取验证码过于频繁，请稍后再试。最近收到的验证码在有效期内仍可使用。",
		string(NotSent):    "验证码暂时无法发送。请稍后重试；如果仍然失败，请联系网站管理员。",
		string(BadName):    "请输入 1 到 32 个字符的显示名。",
	},
	NameHead:  "你的显示名",
	NameLabel: "显示名",
	NameHint:  "最多 32 个字符。其他人会看到它，它不能用来登录。",
	NameSave:  "保存",
}

var bindEnglish = bindTexts{
	Channels: map[string]channelTexts{
		"email": {
			Head: "Confirm your e-\u2060mail address", Why: "This site needs an e-mail address of yours. We send a code there.",
			Bound: "Your e-mail address is", Label: "E-mail address", Hint: "Such as name@example.com", Other: "Use another address", Instead: "Confirm an e-mail address",
			Mini: "Codes cannot be sent by e-mail. Please ask the site's operator.",
		},
		"phone": {
			Head: "Confirm your phone number", Why: "This site needs your phone number. We send a code in a text message.",
			Bound: "Your phone number is", Label: "Phone number", Hint: "Such as 13800138000 or +44 20 7946 0018", Other: "Use another number", Instead: "Confirm a phone number",
			Mini: "This site gets the number from WeChat's mini program. Sign out, sign in again with the mini program, and agree to share it.",
		},
	},
	Code:     "Code",
	CodeHint: "Six digits, valid for 10 minutes.",
	SentTo:   "A code was sent to",
	Confirm:  "Confirm",
	SendCode: "Send a code",
	SendNew:  "Send a new code",
	Bound:    "To change it, please ask the site's operator.",
	Problems: map[string]string{
		string(BadAddress): "This address cannot be used. Please check how it is written.",
		string(WrongCode):  "That is not the code. Please check it and type it again.",
		string(CodeUsedUp): "This code can no longer be used. Please get a new one.",
		string(TooManyBad): "Too many wrong codes. Please wait a few minutes, then try again.",
		string(TooManyOut): "Too many codes were asked for. Please try again later. The last code you got works as long as it is valid.",
		string(NotSent):    "The code cannot be sent right now. Please try again shortly. If it keeps failing, ask the site's operator.",
		string(BadName):    "Please write a name of 1 to 32 characters.",
	},
	NameHead:  "Your name",
	NameLabel: "Display name",
	NameHint:  "Up to 32 characters. Others see this name. It is not used to sign in.",
	NameSave:  "Save",
}
