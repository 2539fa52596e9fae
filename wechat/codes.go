// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

// The errcodes that this package itself acts on.
const (
	codeBusy       = -1
	codeDailyQuota = 45009 // at some endpoints it is the quota of a minute
	codeBlocked    = 40226
)

// codeKind says who can do something about an errcode.
type codeKind int

const (
	transient  codeKind = iota // it passes, or the client handles it
	quota                      // it passes within minutes
	dailyQuota                 // it passes with the day
	permanent                  // the operator must act
)

type codeEntry struct {
	meaning string
	cure    string
	kind    codeKind
}

const console = "in 微信开发者平台 (https://developers.weixin.qq.com/platform) → 我的业务 → this account → "

// codes is what is known of each errcode that the calls of this package meet.
// See https://developers.weixin.qq.com/doc/subscription/api/base/api_getstableaccesstoken.html
// and https://developers.weixin.qq.com/doc/service/api/qrcode/qrcodes/api_createqrcode.md
var codes = map[int]codeEntry{
	codeBusy: {"WeChat's system is busy", "wait; it is tried again", transient},

	40001: {"the access token was superseded by a newer one", "let every program that uses this account get its token from stable_token, or from the same cache; reset nothing", transient},
	40014: {"the access token is malformed", "wait; a new one is fetched", transient},
	42001: {"the access token expired", "wait; a new one is fetched", transient},

	40002: {"the grant type is not known to this API URL", "let api_url name WeChat's server API or a proxy that passes bodies on unchanged", permanent},
	40013: {"no account has this app id", "copy the AppID (wx…) again " + console + "基础信息; a gh_… name is not it", permanent},
	40125: {"the secret is not the one of this app id", "copy or reset (重置) the AppSecret " + console + "开发密钥, and put it into the configuration", permanent},
	40164: {"the address of this server is not allowed to call", "add the IP address that the message shows to the IP白名单 " + console + "开发密钥", permanent},
	40169: {"WeChat could not read a field of the call", "let api_url name WeChat's server API or a proxy that passes bodies on unchanged", permanent},
	40243: {"the secret is frozen (冻结)", "unfreeze (解冻) the AppSecret " + console + "开发密钥", permanent},

	40052: {"WeChat does not know the kind of QR code", "report this as a bug, with the rid", permanent},
	40053: {"WeChat does not accept the scene of the QR code", "report this as a bug, with the rid", permanent},
	41001: {"the access token is missing from the call", "let api_url name WeChat's server API or a proxy that keeps the query", permanent},
	41002: {"the app id is missing from the call", "let api_url name WeChat's server API or a proxy that passes bodies on unchanged", permanent},
	41004: {"the secret is missing from the call", "let api_url name WeChat's server API or a proxy that passes bodies on unchanged", permanent},
	43002: {"WeChat did not see a POST", "let api_url name WeChat's server API itself: something on the way turned POST into GET", permanent},
	47001: {"WeChat could not parse the call", "let api_url name WeChat's server API or a proxy that passes bodies on unchanged", permanent},

	codeDailyQuota: {"the daily quota of this API is used up", "wait until tomorrow, or reset it (clear_quota, 10 times a month) in 微信开发者平台; see what else uses this account", dailyQuota},
	45011:          {"the API was called too often in this minute", "wait a minute; see what else uses this account", quota},
	45029:          {"the account has reached its number of permanent QR codes", "use temporary codes", permanent},

	48001: {"the account may not use this API", "use a verified service account (已认证的服务号; its yearly 年审 must not have lapsed) or a test account (测试号): 公众号 (原订阅号) and unverified 服务号 cannot make QR codes, and neither can a 小程序 or 网站应用", permanent},
	48004: {"this API is banned for the account", "read the notice " + console + "通知中心, and appeal there", permanent},
	50002: {"the account is restricted", "log in at https://mp.weixin.qq.com and read the notice to its operator", permanent},
	50004: {"the account may not get access tokens", "log in at https://mp.weixin.qq.com and read the notice to its operator", permanent},
	50007: {"the account is frozen", "log in at https://mp.weixin.qq.com and unfreeze it, or appeal", permanent},

	89501: {"this address waits for the administrator's consent", "let the account's administrator confirm it in WeChat, or add the address to the IP白名单 " + console + "开发密钥", permanent},
	89503: {"this address needs the administrator's consent", "let the account's administrator confirm it in WeChat, or add the address to the IP白名单 " + console + "开发密钥", permanent},
	89506: {"the administrator refused this address twice, so it is shut out for 24 hours", "add the address to the IP白名单 " + console + "开发密钥, or wait a day and let the administrator confirm", permanent},
	89507: {"the administrator refused this address, so it is shut out for an hour", "add the address to the IP白名单 " + console + "开发密钥, or wait an hour and let the administrator confirm", permanent},
}
