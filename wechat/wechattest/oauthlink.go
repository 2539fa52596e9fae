// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// link is a sign-in link, read as strictly as WeChat may read it.
type link struct {
	names  []string
	values map[string]string
	raw    map[string]string
}

// readLink keeps the order of the parameters. It refuses a repeated one and an
// escape that is none.
func readLink(query string) (link, bool) {
	l := link{values: map[string]string{}, raw: map[string]string{}}
	for part := range strings.SplitSeq(query, "&") {
		name, raw, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(raw) // a "+" stays one
		if _, repeated := l.raw[name]; repeated || err != nil {
			return link{}, false
		}
		l.names = append(l.names, name)
		l.values[name], l.raw[name] = value, raw
	}
	return l, true
}

// begins reports whether the link begins with these parameters, and has of
// others only those that are allowed.
func (l link) begins(order, allowed []string) bool {
	n := len(order)
	if len(l.names) < n || !slices.Equal(l.names[:n], order) {
		return false
	}
	return !slices.ContainsFunc(l.names[n:], func(name string) bool { return !slices.Contains(allowed, name) })
}

var (
	documentedOrder  = []string{"appid", "redirect_uri", "response_type", "scope", "state"}
	authorizeOptions = []string{"connect_redirect", "forcePopup", "forceSnapShot"}

	// wxLogin.js has an order of its own, and sends no response_type.
	scriptOrder      = []string{"appid", "scope", "redirect_uri", "state", "login_type", "self_redirect"}
	qrconnectOptions = []string{
		"lang", "login_type", "self_redirect", "styletype", "sizetype", "bgcolor", "rst", "style", "href", "stylelite", "fast_login",
	}

	// encodedPattern is what encodeURIComponent leaves.
	encodedPattern = regexp.MustCompile(`^[A-Za-z0-9\-_.!~*'()%]+$`)
	statePattern   = regexp.MustCompile(`^[A-Za-z0-9]{1,128}$`)
)

// pageError is an error that WeChat shows to the person. Its zero value is none;
// with a cause alone the page is blank, which the person cannot explain, but a test can.
type pageError struct {
	code  int // 0: the page names none
	text  string
	cause string
}

func (e pageError) occurred() bool { return e != pageError{} }

// emptyParameters are the errors for parameters that are missing or empty.
var emptyParameters = []struct {
	name string
	err  pageError
}{
	{"appid", pageError{code: 10012, text: "appid 参数为空"}},
	{"redirect_uri", pageError{code: 10011, text: "redirect_uri 参数为空"}},
	{"scope", pageError{code: 10010, text: "scope 参数为空"}},
	{"state", pageError{code: 10013, text: "state 参数为空"}},
}

// readAuthorizeLink reads a link to connect/oauth2/authorize. What the strict
// pattern of WeChat does not match gives a blank page.
// https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
func readAuthorizeLink(query string) (link, pageError) {
	l, ok := readLink(query)
	if !ok {
		return link{}, pageError{cause: "a parameter is repeated or badly encoded"}
	}
	for _, empty := range emptyParameters {
		if l.raw[empty.name] == "" {
			return link{}, empty.err
		}
	}
	switch {
	case !l.begins(documentedOrder, authorizeOptions):
		return link{}, pageError{cause: "the parameters are not in WeChat's order"}
	case !encodedPattern.MatchString(l.raw["redirect_uri"]):
		return link{}, pageError{cause: "the redirect_uri is not URL-encoded"}
	case l.raw["response_type"] != "code":
		return link{}, pageError{cause: "the response_type is not code"}
	case !statePattern.MatchString(l.raw["state"]):
		return link{}, pageError{cause: "the state is not 1 to 128 letters and digits"}
	}
	return l, pageError{}
}

// unreachable is the page for every mistake in a link to connect/qrconnect.
func unreachable(cause string) pageError {
	return pageError{text: "该链接无法访问", cause: cause}
}

// readQRConnectLink reads a link to connect/qrconnect. That a parameter it does
// not know is a mistake is this simulator's own rule.
// https://developers.weixin.qq.com/doc/oplatform/Website_App/WeChat_Login/Wechat_Login.html
func readQRConnectLink(query string) (link, pageError) {
	l, ok := readLink(query)
	if !ok {
		return link{}, unreachable("a parameter is repeated or badly encoded")
	}
	embedded := l.raw["login_type"] == "jssdk"
	documented := l.begins(documentedOrder, qrconnectOptions) && l.raw["response_type"] == "code"
	switch {
	case !documented && (!embedded || !l.begins(scriptOrder, qrconnectOptions)):
		return link{}, unreachable("the parameters are not in WeChat's order")
	case !encodedPattern.MatchString(l.raw["redirect_uri"]):
		return link{}, unreachable("the redirect_uri is not URL-encoded")
	case l.raw["scope"] != scopeLogin:
		return link{}, pageError{text: "Scope 参数错误或没有 Scope 权限", cause: "the scope is not snsapi_login"}
	}
	return l, pageError{}
}

// oauthPage is what the pages of signing in show.
type oauthPage struct {
	Error   string
	Code    int
	Cause   string
	Blank   bool
	App     string
	Person  string
	Login   *loginView
	Refused bool
}

func renderOAuth(w http.ResponseWriter, page oauthPage) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = pages.ExecuteTemplate(w, "oauth.html", page) // the client is gone if this fails
}

// showError answers 200 as WeChat's other errors do (the status of these pages
// is not documented).
func showError(w http.ResponseWriter, e pageError) {
	page := oauthPage{Error: e.text, Code: e.code, Cause: e.cause, Blank: e.text == ""}
	if e.code != 0 {
		page.Error = fmt.Sprintf("%s，错误码:%d", e.text, e.code)
	}
	renderOAuth(w, page)
}
