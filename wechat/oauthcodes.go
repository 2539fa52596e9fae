// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import "strings"

const (
	keepsQuery  = "let api_url name WeChat's server API or a proxy that keeps the query"
	signInAgain = "let the visitor sign in again"
)

// oauthCodes is what errcodes mean to a code or the token of a person; the rest
// is in codes. None is permanent that one person can bring about.
// See https://developers.weixin.qq.com/doc/service/api/webdev/access/api_snsaccesstoken
var oauthCodes = map[int]codeEntry{
	40029: {"the code is unknown, too old, or another app's", signInAgain + "; if it meets everyone, app id and secret are not those of the app that the sign-in link names", transient},
	40163: {"the code was used already", signInAgain + "; a callback that comes twice must not exchange its code twice", transient},
	42003: {"the code expired", signInAgain, transient},

	40001: {"the token of the person is not valid, or the secret is not the one of this app id", signInAgain + "; if it meets everyone, copy the AppSecret again " + console + "开发密钥", transient},
	40003: {"the openid is not the one of the token", signInAgain, transient},
	40014: {"the token of the person is malformed", signInAgain, transient},
	42001: {"the token of the person expired", signInAgain, transient},
	48001: {"the person did not agree to show their profile, or is a virtual user of a snapshot page", signInAgain + ", after 使用完整服务 where WeChat offers it; if it meets everyone, the account is not a verified service account (已认证的服务号) with 网页授权", transient},

	40002: {"the grant type is not known to this API URL", keepsQuery, permanent},
	41001: {"the token is missing from the call", keepsQuery, permanent},
	41002: {"the app id is missing from the call", keepsQuery, permanent},
	41004: {"the secret is missing from the call", keepsQuery, permanent},
	41008: {"the code is missing from the call", keepsQuery, permanent},
	43001: {"WeChat did not see a GET", "let api_url name WeChat's server API itself: something on the way turned GET into POST", permanent},
}

func (e *Error) oauth() bool { return e.Endpoint == exchangeEndpoint || e.Endpoint == userInfoEndpoint }

// rejectsCode says that another code would do; a mini program's included.
func (e *Error) rejectsCode() bool {
	return strings.HasPrefix(e.Endpoint, "sns/") && (e.Code == 40029 || e.Code == 40163 || e.Code == 42003)
}
