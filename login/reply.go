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
// Taken may contain {site}. An empty one is the default.
type Replies struct {
	// Confirm asks the person who scanned to open {link}.
	Confirm string `json:"confirm,omitempty"`
	// SignedIn says that the browser is signed in, or is about to be.
	SignedIn string `json:"signed_in,omitempty"`
	// Declined says that the attempt was declined or given up.
	Declined string `json:"declined,omitempty"`
	// Expired says that the code is too old.
	Expired string `json:"expired,omitempty"`
	// Taken says that somebody else has scanned the code before.
	Taken string `json:"taken,omitempty"`
	// TooMany says that a person has sent too many wrong codes.
	TooMany string `json:"too_many,omitempty"`
	// Welcome greets a new follower who has scanned no code.
	Welcome string `json:"welcome,omitempty"`
	// Busy says that the event could not be handled.
	Busy string `json:"busy,omitempty"`
}

var defaultReplies = Replies{
	Confirm: "【{site}】有浏览器正在请求登录\n\n浏览器：{browser}\n地址：{address}\n时间：{time}（北京时间）\n\n" +
		"<a href=\"{link}\">点击这里确认或拒绝</a>\n\n如果不是你本人正在登录，请拒绝或忽略本消息。",
	SignedIn: "你已登录【{site}】\n\n浏览器：{browser}\n地址：{address}\n时间：{time}（北京时间）\n\n" +
		"不是你本人？<a href=\"{link}\">点击这里立即退出该登录</a>",
	Declined: "【{site}】本次登录已取消。如需登录，请刷新网页后扫描新的二维码。",
	Expired:  "二维码已过期。请在网页上获取新的二维码，再扫一次。",
	Taken:    "【{site}】这个二维码已被其他人扫描。请刷新网页，扫描属于你的二维码。",
	TooMany:  "验证码错误次数过多，请 10 分钟后再试。",
	Welcome:  "欢迎关注。需要登录网站时，请扫描网页上显示的二维码。",
	Busy:     "服务繁忙，请稍后再扫一次。",
}

// Beijing is the time zone that people in China read times in, wherever the server is.
var Beijing = time.FixedZone("UTC+8", 8*60*60)

// ToScan is the answer to the person who scanned the code of an attempt.
func (r Replies) ToScan(a Attempt, openID string) string {
	if a.OpenID != "" && a.OpenID != openID {
		// Nothing of somebody else's attempt, least of all its link.
		return strings.ReplaceAll(cmp.Or(r.Taken, defaultReplies.Taken), "{site}", a.Site)
	}
	return strings.NewReplacer(
		"{site}", a.Site,
		"{link}", a.Portal+"/confirm/"+a.Token,
		"{browser}", a.Client.Browser,
		"{address}", a.Client.Address,
		"{time}", a.CreatedAt.In(Beijing).Format("2006-01-02 15:04:05"),
	).Replace(r.toOwner(a.State))
}

// toOwner is the answer to the person whose attempt it is.
func (r Replies) toOwner(s State) string {
	switch s {
	case Scanned:
		return cmp.Or(r.Confirm, defaultReplies.Confirm)
	case Confirmed, Consumed:
		return cmp.Or(r.SignedIn, defaultReplies.SignedIn)
	case Expired:
		return cmp.Or(r.Expired, defaultReplies.Expired)
	default:
		return cmp.Or(r.Declined, defaultReplies.Declined)
	}
}

// ToUnknownCode is the answer to the scan of a code that no attempt shows any more.
func (r Replies) ToUnknownCode() string { return cmp.Or(r.Expired, defaultReplies.Expired) }

// ToGuesser is the answer to a person who has sent too many wrong codes.
func (r Replies) ToGuesser() string { return cmp.Or(r.TooMany, defaultReplies.TooMany) }

// ToFollower is the answer to a person who follows the account without a code.
func (r Replies) ToFollower() string { return cmp.Or(r.Welcome, defaultReplies.Welcome) }

// ToFailure is the answer where the event could not be handled in time.
func (r Replies) ToFailure() string { return cmp.Or(r.Busy, defaultReplies.Busy) }
