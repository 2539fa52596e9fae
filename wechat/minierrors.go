// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

const (
	loginAgain   = "let the person open the mini program again"
	perMinute    = "wait a minute; see what else uses this account"
	reportABug   = "report this as a bug, with the rid"
	officialOnly = "use the app id and secret of the 小程序: those of a 公众号, 服务号 or 网站应用 cannot call this"
)

// miniCodes is what errcodes mean at the endpoints of a mini program, where that
// differs from codes. At the endpoints that take a person's code, none is
// permanent that one person can bring about.
// See https://developers.weixin.qq.com/miniprogram/dev/server/API/qrcode-link/qr-code/api_getunlimitedqrcode
// and https://developers.weixin.qq.com/miniprogram/dev/server/API/user-login/api_code2session.html
// and https://developers.weixin.qq.com/miniprogram/dev/server/API/qrcode-link/url-link/api_generateurllink.html
var miniCodes = map[string]map[int]codeEntry{
	miniCodeEndpoint: {
		40097:          {"WeChat does not know the version or another field of the code", reportABug, permanent},
		40129:          {"WeChat does not accept the characters of the scene", reportABug, permanent},
		40169:          {"the scene is empty or too long, or WeChat could not read the call", "let api_url name WeChat's server API or a proxy that passes bodies on unchanged", permanent},
		41030:          {"the released mini program does not have this page", "publish (发布) the mini program with the page in app.json, and configure the page without a leading slash; for a trial or develop version (体验版, 开发版) configure that version", permanent},
		85096:          {"the page contains scancode_time, which WeChat keeps for itself", "rename the page", permanent},
		codeDailyQuota: {"more than 5,000 codes were made in this minute", perMinute, quota},
		48001:          {"the account may not make mini program codes", officialOnly, permanent},
	},
	sessionEndpoint: {
		40001:       codes[40125], // no token is sent, so the bad credential is the secret
		40029:       {"the code of wx.login is unknown, too old, or another mini program's", loginAgain + "; if it meets everyone, compare the AppID of the mini program (project.config.json) with the configuration", transient},
		40163:       {"the code of wx.login was used already", loginAgain, transient},
		codeBlocked: {"WeChat holds this person back as a high risk", "let the person use another way to sign in, or ask WeChat's support", transient},
		45011:       {"this person or the account signed in too often in this minute", perMinute, quota},
		40002:       {"the grant type is not known to this API URL", keepsQuery, permanent},
		41002:       {"the app id is missing from the call", keepsQuery, permanent},
		41004:       {"the secret is missing from the call", keepsQuery, permanent},
		41008:       {"the code is missing from the call", keepsQuery, permanent},
		43001:       {"WeChat did not see a GET", "let api_url name WeChat's server API itself: something on the way turned GET into POST", permanent},
	},
	phoneEndpoint: {
		40029: {"the code of getPhoneNumber is unknown, too old, used, or another mini program's", "let the person tap the button again; if it meets everyone, send the button's code and not that of wx.login", transient},
		40163: {"the code of getPhoneNumber was used already", "let the person tap the button again", transient},
		48001: {"the account may not read phone numbers", "use a verified mini program (已认证的小程序) that is not an individual's, or do without the phone number", permanent},
	},
	linkEndpoint: {
		40002: linkForbidden, // "invalid grant_type", though the call has none
		40013: linkBanned,    // "invalid appid", though the token names it
		40097: {"WeChat does not accept a field of the link", reportABug, permanent},
		40165: {"the released mini program does not have this page", "publish (发布) the mini program with the page in app.json, and configure the page without a leading slash", permanent},
		40212: {"WeChat does not accept the query of the link", reportABug, permanent},
		44990: {"more than 100 links were made in this second", "wait a moment; see what else uses this account", transient},
		44993: {"more than 500,000 links were made today", "wait until tomorrow; see what else uses this account", dailyQuota},
		48001: {"the account may not make links into the mini program", officialOnly + "; or write links off, and visitors on a phone scan the code", permanent},
		85079: {"no version of the mini program is released, and a link needs one, whatever version it opens", "publish (发布) the mini program; until then write links off, and visitors on a phone scan the code", permanent},
		85400: {"the link's lifetime is too long, or the quota of such links is used up", "wait until tomorrow; see what else uses this account", dailyQuota},
		85401: {"WeChat does not accept the time at which the link ends", "set this server's clock: the time must be more than 1 minute and at most 30 days ahead", permanent},
		85402: {"WeChat does not know the version of the mini program", reportABug, permanent},
		85407: linkForbidden,
		85408: linkBanned,
	},
}

var (
	linkForbidden = codeEntry{"the mini program may not make links (暂无生成权限): it is an individual's", "use a mini program that is not an individual's (非个人主体), or write links off; visitors on a phone can still scan the code", permanent}
	linkBanned    = codeEntry{"making links is banned for the mini program (生成权限被封禁)", "read the notice " + console + "通知中心, and appeal there; until then write links off, and visitors on a phone scan the code", permanent}
)

func (e *Error) rejectsPhoneCode() bool {
	return e.Endpoint == phoneEndpoint && (e.Code == 40029 || e.Code == 40163)
}
