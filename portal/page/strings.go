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
	PhoneHint string // shown on a narrow touch screen, which cannot scan itself

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

	SignOutOf  string // followed by the title
	SignedInAs string // followed by the name
	SignOut    string
	Everywhere string
	StaySigned string

	Retry         string
	Home          string
	SignIn        string
	OtherIdentity string

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
	QRAlt        string `json:"qrAlt"`
	NewCode      string `json:"newCode"`
	TryAgain     string `json:"tryAgain"`
	TryNow       string `json:"tryNow"`
	RetryIn      string `json:"retryIn"`
	Reconnecting string `json:"reconnecting"`

	Views   map[string]message `json:"views"`   // by the script's name of the view
	Reasons map[string]message `json:"reasons"` // of a denied attempt, by the server's name
}

var chinese = texts{
	Tag:      "zh-CN",
	ThisSite: "本站",

	SignInTo:  "登录",
	NeedsJS:   "请启用 JavaScript",
	NeedsJSDo: "二维码需要 JavaScript 才能显示。请在浏览器设置中启用后刷新本页。",
	PhoneHint: "手机无法扫描自己的屏幕：请在电脑上打开本页；或长按保存二维码图片，再在微信“扫一扫”的相册中选择它。",

	ConfirmTo:    "确认登录",
	SignedInTo:   "已登录",
	NotMe:        "不是我，立即退出",
	NotMeHint:    "你已确认这次登录，现在可以关闭本页。如果不是你本人操作，请立即退出。",
	ConfirmWarn:  "如果不是你本人刚刚打开这个网站，请拒绝。",
	ChooseNumber: "请选择登录页面上显示的数字",
	ConfirmTap:   "确认登录",
	Refuse:       "拒绝",
	Site:         "网站",
	Browser:      "浏览器",
	Address:      "网络地址",
	Time:         "时间",

	SignOutOf:  "退出",
	SignedInAs: "当前登录：",
	SignOut:    "退出登录",
	Everywhere: "在所有设备上退出",
	StaySigned: "保持登录，返回网站",

	Retry:         "重试",
	Home:          "返回网站首页",
	SignIn:        "重新登录",
	OtherIdentity: "退出，换一个微信号",

	Notices: [noticeCount]message{
		Cancelled:   {"已拒绝", "没有人因此登录。本页可以关闭。"},
		WrongNumber: {"数字不符，已拒绝登录", "如果是你本人在登录，请在登录页面获取新的二维码，重新扫描。"},
		LinkExpired: {"链接已过期", "请在登录页面获取新的二维码，重新扫描。"},
		LinkUnknown: {"链接无效", "请从微信聊天中重新打开完整的链接，或重新扫描二维码。"},
		Revoked:     {"已退出该登录", "那个浏览器已被退出。如果不是你本人操作，请不要再扫描来历不明的二维码。"},
		AlreadyDone: {"这次登录已处理", "无需再做什么。如需再次登录，请重新扫描二维码。"},
		Pending:     {"等待审核", "你已登录，网站管理员批准后即可访问。"},
		Disabled:    {"账号已停用", "你的账号已被网站管理员停用。如有疑问，请联系管理员。"},
		NotAdmitted: {"没有访问权限", "你已登录，但你的账号无权访问此页面。请联系网站管理员。"},
		Unavailable: {"登录服务暂时不可用", "你的登录状态不受影响，请稍后重试。"},
		TooMany:     {"操作过于频繁", "请稍等几分钟再试。"},
		NotFound:    {"页面不存在", "这个地址下没有页面。请检查链接，或返回网站首页。"},
		SignedOut:   {"已退出登录", "需要时可以随时重新登录。"},
		CrossOrigin: {"请求已被拒绝", "这个表单来自其他网站。请重新打开原来的链接，在那个页面上操作。"},
	},

	Script: scriptTexts{
		QRAlt:        "微信登录二维码",
		NewCode:      "获取新二维码",
		TryAgain:     "重试",
		TryNow:       "立即重试",
		RetryIn:      "{time} 后自动重试",
		Reconnecting: "网络不稳定，正在重新连接…",
		Views: map[string]message{
			"loading":     {"正在获取二维码", "请稍候…"},
			"pending":     {"请使用微信扫一扫", "二维码 {minutes} 分钟内有效"},
			"number":      {"已扫描", "请打开微信聊天中的链接，选择数字 {number}。"},
			"tap":         {"已扫描", "请打开微信聊天中的链接，确认登录。"},
			"confirmed":   {"已确认", "正在登录…"},
			"cancelled":   {"已在手机上拒绝", "没有登录。如需登录，请获取新的二维码。"},
			"expired":     {"二维码已过期", "点一下，获取新的二维码。"},
			"consumed":    {"这个二维码已用过", "请获取新的二维码。"},
			"wechat":      {"暂时无法连接微信", "将自动重试，无需刷新页面。"},
			"store":       {"登录服务暂时不可用", "将自动重试，无需刷新页面。"},
			"tooMany":     {"尝试次数过多", "你所在的网络请求过于频繁，稍后会自动继续。"},
			"offline":     {"网络已断开", "恢复连接后会自动继续。"},
			"unreachable": {"无法连接网站", "将自动重试，无需刷新页面。"},
			"cookies":     {"浏览器没有保存 Cookie", "请允许本站使用 Cookie，然后重试。"},
			"failed":      {"无法获取二维码", "请重试；如果仍然失败，请联系网站管理员。"},
		},
		Reasons: map[string]message{
			"wrong_number":        {"手机上选择的数字不符", "为了安全，本次登录已取消。"},
			"registration_closed": {"此微信号没有访问权限", "网站未开放注册。请联系网站管理员。"},
			"disabled":            {"账号已停用", "你的账号已被网站管理员停用。"},
			"other":               {"登录被拒绝", "请重试；如果仍被拒绝，请联系网站管理员。"},
		},
	},
}

var english = texts{
	Tag:      "en",
	ThisSite: "this site",

	SignInTo:  "Sign in to",
	NeedsJS:   "Please turn on JavaScript",
	NeedsJSDo: "The QR code cannot be shown without JavaScript. Turn it on in the browser's settings, then reload this page.",
	PhoneHint: "A phone cannot scan its own screen: open this page on a computer, or save the code as a picture and choose it in WeChat under Scan (扫一扫) → Album (相册).",

	ConfirmTo:    "Confirm signing in to",
	SignedInTo:   "Signed in to",
	NotMe:        "That was not me: sign it out",
	NotMeHint:    "You have confirmed this sign-in and may close this page. If it was not you, sign it out now.",
	ConfirmWarn:  "If you did not just open this site yourself, refuse.",
	ChooseNumber: "Choose the number shown on the login page",
	ConfirmTap:   "Confirm",
	Refuse:       "Refuse",
	Site:         "Site",
	Browser:      "Browser",
	Address:      "Address",
	Time:         "Time",

	SignOutOf:  "Sign out of",
	SignedInAs: "Signed in as",
	SignOut:    "Sign out",
	Everywhere: "Sign out everywhere",
	StaySigned: "Stay signed in",

	Retry:         "Try again",
	Home:          "Go to the site",
	SignIn:        "Sign in again",
	OtherIdentity: "Sign out and use another account",

	Notices: [noticeCount]message{
		Cancelled:   {"Refused", "Nobody was signed in. You may close this page."},
		WrongNumber: {"Wrong number, sign-in denied", "If it was you who wanted to sign in, get a new code on the login page and scan that."},
		LinkExpired: {"This link has expired", "Get a new code on the login page and scan that."},
		LinkUnknown: {"This link is not valid", "Open the whole link in the WeChat chat again, or scan the code once more."},
		Revoked:     {"That sign-in has been ended", "The browser is signed out. If it was not yours, do not scan codes that strangers show you."},
		AlreadyDone: {"Already answered", "There is nothing left to do. To sign in again, scan a new code."},
		Pending:     {"Waiting for approval", "You are signed in. The site opens as soon as its operator approves you."},
		Disabled:    {"Account disabled", "The site's operator has disabled your account. If you have questions, please ask them."},
		NotAdmitted: {"No access", "You are signed in, but your account may not open this page. Please ask the site's operator."},
		Unavailable: {"Sign-in is unavailable for now", "You have not been signed out. Please try again shortly."},
		TooMany:     {"Too many requests", "Please wait a few minutes, then try again."},
		NotFound:    {"No such page", "There is nothing at this address. Check the link, or go to the site."},
		SignedOut:   {"Signed out", "You can sign in again at any time."},
		CrossOrigin: {"Request refused", "The form was sent from another site. Open the link you were given again and answer there."},
	},

	Script: scriptTexts{
		QRAlt:        "QR code for signing in with WeChat",
		NewCode:      "Get a new code",
		TryAgain:     "Try again",
		TryNow:       "Try now",
		RetryIn:      "Next try in {time}",
		Reconnecting: "Connection lost, reconnecting…",
		Views: map[string]message{
			"loading":     {"Getting a code", "One moment…"},
			"pending":     {"Scan with WeChat", "The code is valid for {minutes} min"},
			"number":      {"Scanned", "Open the link in the WeChat chat and choose the number {number}."},
			"tap":         {"Scanned", "Open the link in the WeChat chat and confirm."},
			"confirmed":   {"Confirmed", "Signing you in…"},
			"cancelled":   {"Refused on the phone", "Nobody was signed in. To sign in, get a new code."},
			"expired":     {"The code has expired", "One click gets a new one."},
			"consumed":    {"This code was already used", "Please get a new one."},
			"wechat":      {"WeChat cannot be reached", "Trying again by itself, no need to reload."},
			"store":       {"Sign-in is unavailable for now", "Trying again by itself, no need to reload."},
			"tooMany":     {"Too many tries", "Your network has asked too often. This goes on by itself shortly."},
			"offline":     {"You are offline", "This goes on by itself once you are connected."},
			"unreachable": {"The site cannot be reached", "Trying again by itself, no need to reload."},
			"cookies":     {"The browser kept no cookie", "Allow cookies for this site, then try again."},
			"failed":      {"No code could be had", "Please try again. If it keeps failing, ask the site's operator."},
		},
		Reasons: map[string]message{
			"wrong_number":        {"Another number was chosen", "To be safe, this sign-in was cancelled."},
			"registration_closed": {"This WeChat account has no access", "The site is not open to new people. Please ask its operator."},
			"disabled":            {"Account disabled", "The site's operator has disabled your account."},
			"other":               {"Sign-in denied", "Please try again. If it is denied again, ask the site's operator."},
		},
	},
}
