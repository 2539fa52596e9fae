// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

// DefaultOpenURL is where the pages are on which a person signs in.
const DefaultOpenURL = "https://open.weixin.qq.com"

// Scope is what an authorisation is for.
type Scope string

// The scopes of an authorisation inside WeChat.
const (
	// ScopeBase gives the openid, silently.
	ScopeBase Scope = "snsapi_base"
	// ScopeUserInfo gives nickname, avatar and unionid, and asks the person,
	// about once in 30 days.
	ScopeUserInfo Scope = "snsapi_userinfo"

	// scopeLogin is the one scope of a website application.
	scopeLogin Scope = "snsapi_login"
)

// Authorize describes a link of [Client.AuthorizeURL].
type Authorize struct {
	Scope       Scope
	RedirectURI string // absolute, on the 网页授权域名 of the account, without fragment
	State       string // comes back in the callback: 1 to 128 letters and digits
	ForcePopup  bool   // ask for consent although the person gave it lately
}

// AuthorizeURL returns the link that leads a browser inside WeChat to
// RedirectURI, with a code for [Client.ExchangeCode]. The account must be a
// verified service account (服务号) or a test account (测试号). It fails where a
// field of a does not have the form that WeChat accepts.
//
// The order of the parameters is part of WeChat's interface: WeChat on a desktop
// shows a blank page for any other.
// See https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
func (c *Client) AuthorizeURL(a Authorize) (string, error) {
	if a.Scope != ScopeBase && a.Scope != ScopeUserInfo {
		return "", errors.New("building the authorisation link: the scope must be snsapi_base or snsapi_userinfo")
	}
	link, err := c.openLink("connect/oauth2/authorize", a.Scope, a.RedirectURI, a.State)
	if err != nil {
		return "", err
	}
	if a.ForcePopup {
		link.add("forcePopup", "true")
	}
	return link.String(), nil
}

// QRConnect describes a link of [Client.QRConnectURL].
type QRConnect struct {
	RedirectURI string // absolute, on the 授权回调域 of the application, without fragment
	State       string // comes back in the callback: 1 to 128 letters and digits
	English     bool   // texts in English instead of Chinese
	Embed       *Embed // how the page looks in a frame; nil: it is a page of its own
}

// Embed makes the page of a [QRConnect] fit for a frame.
//
// Give the iframe at least 220 × 220 px, or 300 × 400 px without StyleLite;
// sandbox="allow-scripts allow-same-origin allow-top-navigation", because
// browsers stop a frame that leads its top window elsewhere without a click
// unless that is allowed; and allow="local-network-access", because the page
// looks for a WeChat on this computer.
type Embed struct {
	// SelfRedirect leads the frame itself, not its top window, to RedirectURI.
	SelfRedirect bool
	// StyleLite is the newer look.
	StyleLite bool
	// White is for a dark background. Default: black text.
	White bool
	// Stylesheet is an https URL, or "data:text/css;base64,…". It has no effect on StyleLite.
	Stylesheet string
	// NoFastLogin leaves the one-click sign-in of a WeChat on this computer out,
	// which makes Chrome ask for access to the local network. Said to work with
	// StyleLite only.
	NoFastLogin bool
}

// QRConnectURL returns the link to the page with the QR code of a website
// application (网站应用). It leads to RedirectURI with a code for
// [Client.ExchangeCode]. Where the person refuses, it depends on WeChat whether
// it leads anywhere; see [ParseCallback].
//
// See https://developers.weixin.qq.com/doc/oplatform/Website_App/WeChat_Login/Wechat_Login.html
func (c *Client) QRConnectURL(q QRConnect) (string, error) {
	link, err := c.openLink("connect/qrconnect", scopeLogin, q.RedirectURI, q.State)
	if err != nil {
		return "", err
	}
	if q.English {
		link.add("lang", "en")
	}
	if q.Embed != nil {
		if err := q.Embed.check(); err != nil {
			return "", err
		}
		q.Embed.addTo(link)
	}
	return link.String(), nil
}

func (e *Embed) check() error {
	switch {
	case e.Stylesheet == "":
		return nil
	case e.StyleLite:
		return errors.New("building the QR login link: a stylesheet has no effect together with StyleLite; set one of them")
	case !strings.HasPrefix(e.Stylesheet, "https://") && !strings.HasPrefix(e.Stylesheet, "data:text/css;base64,"):
		return errors.New("building the QR login link: the stylesheet must be an https URL or data:text/css;base64,…")
	}
	return nil
}

// addTo adds what WeChat's own wxLogin.js adds, in its order.
func (e *Embed) addTo(link *openLink) {
	link.add("login_type", "jssdk")
	link.add("self_redirect", map[bool]string{true: "true", false: "false"}[e.SelfRedirect])
	if e.White {
		link.add("style", "white")
	}
	if e.Stylesheet != "" {
		link.add("href", e.Stylesheet)
	}
	if e.StyleLite {
		link.add("stylelite", "1")
	}
	if e.NoFastLogin {
		link.add("fast_login", "0")
	}
}

// openLink is a link whose parameters keep their order.
type openLink struct{ text strings.Builder }

var statePattern = regexp.MustCompile(`^[A-Za-z0-9]{1,128}$`)

// openLink begins a link with the parameters that all have.
func (c *Client) openLink(page string, scope Scope, redirectURI, state string) (*openLink, error) {
	if err := checkRedirectURI(redirectURI); err != nil {
		return nil, err
	}
	if !statePattern.MatchString(state) {
		return nil, errors.New("building the sign-in link: the state must be 1 to 128 letters and digits")
	}
	link := &openLink{}
	link.text.WriteString(c.openURL + "/" + page + "?appid=" + c.appID)
	link.add("redirect_uri", redirectURI)
	link.add("response_type", "code")
	link.add("scope", string(scope))
	link.add("state", state)
	return link, nil
}

func (l *openLink) add(name, value string) {
	l.text.WriteString("&" + name + "=" + encodeComponent(value))
}

// String ends the link with the fragment that WeChat insists on.
func (l *openLink) String() string { return l.text.String() + "#wechat_redirect" }

// encodeComponent encodes a space as %20, as a browser's encodeURIComponent
// does and WeChat's documents ask, not as "+".
func encodeComponent(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

// checkRedirectURI refuses a fragment because WeChat has put the code before or
// after it, depending on how the person signed in.
func checkRedirectURI(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil || strings.Contains(raw, "#") {
		return errors.New("building the sign-in link: the redirect URI must look like https://host/path, without user or fragment")
	}
	return nil
}

func parseOpenURL(raw string) (string, error) {
	base, err := parseAPIURL(raw)
	if err != nil {
		return "", errors.New("checking the open URL: it must look like https://host[:port][/path], without user, query or fragment")
	}
	return base, nil
}
