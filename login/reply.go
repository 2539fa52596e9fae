// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"cmp"
	"strings"
	"time"
)

// Replies are the messages that a person gets in the chat. Those to the person
// whose attempt it is may contain {site}, {link}, {browser}, {address} and {time};
// Taken and CodeTaken may contain {site}. An empty one is the default.
type Replies struct {
	// Confirm asks the person who scanned to open {link}.
	Confirm string `json:"confirm,omitempty"`
	// SignedIn says that the browser is signed in, or is about to be.
	SignedIn string `json:"signed_in,omitempty"`
	// NewSignIn tells of a browser that has been signed in, once it is; {link} ends
	// that again for a day.
	NewSignIn string `json:"new_sign_in,omitempty"`
	// Declined says that the attempt was declined or given up.
	Declined string `json:"declined,omitempty"`
	// Expired says that the QR code is too old.
	Expired string `json:"expired,omitempty"`
	// CodeExpired says that the code which a person has sent is too old, or wrong.
	CodeExpired string `json:"code_expired,omitempty"`
	// Taken says that somebody else has scanned the QR code before.
	Taken string `json:"taken,omitempty"`
	// CodeTaken says that somebody else has sent the code before.
	CodeTaken string `json:"code_taken,omitempty"`
	// TooMany says that a person has sent too many wrong codes.
	TooMany string `json:"too_many,omitempty"`
	// Welcome greets a new follower who has scanned no code. By default it says
	// what to do with the codes that the account has.
	Welcome string `json:"welcome,omitempty"`
	// Busy says that the event could not be handled.
	Busy string `json:"busy,omitempty"`
}

var defaultReplies = Replies{
	Confirm: "【{site}】有浏览器正在请求登录\n\n浏览器：{browser}\n地址：{address}\n时间：{time}（北京时间）\n\n" +
		"<a href=\"{link}\">点击这里确认或拒绝</a>\n\n如果不是你本人正在登录，请拒绝或忽略本消息。",
	SignedIn: "你已登录【{site}】\n\n浏览器：{browser}\n地址：{address}\n时间：{time}（北京时间）\n\n" +
		"不是你本人？<a href=\"{link}\">点击这里立即退出该登录</a>",
	NewSignIn: "【{site}】有新的登录\n\n浏览器：{browser}\n地址：{address}\n时间：{time}（北京时间）\n\n" +
		"不是你本人？<a href=\"{link}\">点击这里立即退出该登录</a>（24 小时内有效）",
	Declined:    "【{site}】本次登录已取消。如需登录，请刷新网页再试一次。",
	Expired:     "二维码已过期。请在网页上获取新的二维码，再扫一次。",
	CodeExpired: "验证码不正确或已过期。请核对网页上的验证码，或在网页上获取新的验证码，再发送一次。",
	Taken:       "【{site}】这个二维码已被其他人扫描。请刷新网页，扫描属于你的二维码。",
	CodeTaken:   "【{site}】这个验证码已被其他人使用。请刷新网页，发送属于你的验证码。",
	TooMany:     "验证码错误次数过多，请 10 分钟后再试。",
	Welcome:     "欢迎关注。需要登录网站时，请扫描网页上显示的二维码。",
	Busy:        "服务繁忙，请稍后再试一次。",
}

// welcomeSender is Welcome for an account to which people send codes: whoever comes
// by the account's own QR code has one before the eyes.
const welcomeSender = "欢迎关注。需要登录网站时，请把网页上显示的 6 位验证码发送到这里。"

// Beijing is the time zone that people in China read times in, wherever the server is.
var Beijing = time.FixedZone("UTC+8", 8*60*60)

// ToScan is the answer to the person who scanned the code of an attempt, or sent it.
func (r Replies) ToScan(a Attempt, openID string) string {
	if a.OpenID != "" && a.OpenID != openID {
		// Nothing of somebody else's attempt, least of all its link.
		return strings.ReplaceAll(r.taken(a.Method), "{site}", a.Site)
	}
	return fill(r.toOwner(a), a)
}

// ToSignedIn tells the person whose attempt it is of the session that came of it.
func (r Replies) ToSignedIn(a Attempt) string {
	return fill(cmp.Or(r.NewSignIn, defaultReplies.NewSignIn), a)
}

// fill puts what an attempt is about into a message.
func fill(text string, a Attempt) string {
	return strings.NewReplacer(
		"{site}", a.Site,
		"{link}", a.Portal+"/confirm/"+a.Token,
		"{browser}", a.Client.Browser,
		"{address}", a.Client.Address,
		"{time}", a.CreatedAt.In(Beijing).Format("2006-01-02 15:04:05"),
	).Replace(text)
}

// toOwner is the answer to the person whose attempt it is.
func (r Replies) toOwner(a Attempt) string {
	switch a.State {
	case Scanned:
		return cmp.Or(r.Confirm, defaultReplies.Confirm)
	case Confirmed, Consumed:
		return cmp.Or(r.SignedIn, defaultReplies.SignedIn)
	case Expired:
		return r.ToUnknown(a.Method)
	default:
		return cmp.Or(r.Declined, defaultReplies.Declined)
	}
}

func (r Replies) taken(method string) string {
	if method == ChatCode {
		return cmp.Or(r.CodeTaken, defaultReplies.CodeTaken)
	}
	return cmp.Or(r.Taken, defaultReplies.Taken)
}

// ToUnknown is the answer to a code that no attempt shows any more: one that was
// sent in the method ChatCode, one that was scanned in any other.
func (r Replies) ToUnknown(method string) string {
	if method == ChatCode {
		return cmp.Or(r.CodeExpired, defaultReplies.CodeExpired)
	}
	return cmp.Or(r.Expired, defaultReplies.Expired)
}

// ToGuesser is the answer to a person who has sent too many wrong codes.
func (r Replies) ToGuesser() string { return cmp.Or(r.TooMany, defaultReplies.TooMany) }

// ToFollower is the answer to a person who follows an account, without having
// scanned a code, where the account is for one method or the other.
func (r Replies) ToFollower(method string) string {
	if method == ChatCode {
		return cmp.Or(r.Welcome, welcomeSender)
	}
	return cmp.Or(r.Welcome, defaultReplies.Welcome)
}

// ToFailure is the answer where the event could not be handled in time.
func (r Replies) ToFailure() string { return cmp.Or(r.Busy, defaultReplies.Busy) }
