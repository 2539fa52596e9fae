// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Headers that a [Phone]'s browser adds for [EndpointAuthorize] alone, in place
// of what WeChat's own browser tells its server.
const (
	personHeader   = "Wechattest-Person"
	fragmentHeader = "Wechattest-Fragment"
	consentHeader  = "Wechattest-Consent" // in an answer: this is the page that asks
	noFragment     = "none"
)

func (p *Phone) identify(r *http.Request) {
	r.Header.Set(personHeader, url.QueryEscape(p.name))
	fragment := noFragment
	if r.URL.Fragment == "wechat_redirect" {
		fragment = r.URL.Fragment
	}
	r.Header.Set(fragmentHeader, fragment)
}

// inWeChat tells WeChat's browser, on a phone or a computer, from others and
// from 企业微信, which calls itself both.
func inWeChat(userAgent string) bool {
	return strings.Contains(userAgent, "MicroMessenger") && !strings.Contains(userAgent, "wxwork")
}

// authorize is connect/oauth2/authorize: the page that asks a person inside
// WeChat, or silently leads on. A POST is the person's answer.
func (s *Server) authorize(w http.ResponseWriter, c call) {
	if !s.opts.AnyBrowser && !inWeChat(c.UserAgent()) {
		showError(w, pageError{text: "请在微信客户端打开链接"})
		return
	}
	if c.Header.Get(fragmentHeader) == noFragment && c.Method == http.MethodGet {
		showError(w, pageError{cause: "the link does not end in #wechat_redirect"})
		return
	}
	l, e := readAuthorizeLink(c.URL.RawQuery)
	if e.occurred() {
		showError(w, e)
		return
	}
	form, _ := url.ParseQuery(string(c.body)) // a bad form answers nothing
	p := s.holder(w, c.Request)
	s.mu.Lock()
	answer := s.answerAuthorizeLocked(c, l, p, form.Get("decision"))
	s.mu.Unlock()
	answer(w)
}

// holder is the person who holds the phone that a request comes from.
func (s *Server) holder(w http.ResponseWriter, r *http.Request) *Phone {
	if name, err := url.QueryUnescape(r.Header.Get(personHeader)); err == nil && name != "" {
		return s.Phone(name)
	}
	return s.personOf(w, r)
}

func (s *Server) answerAuthorizeLocked(c call, l link, p *Phone, decision string) func(http.ResponseWriter) {
	app, e := s.checkAuthorizeLocked(l, p)
	if e.occurred() {
		return func(w http.ResponseWriter) { showError(w, e) }
	}
	redirectURI, state := l.values["redirect_uri"], l.values["state"]
	switch {
	case decision == "refuse":
		return refused(app.Name, s.opts.Refusal.refusedCallback(redirectURI, state))
	case decision == "allow":
		p.oauth.consents[app.AppID] = c.now
	case p.mustAskLocked(l, c.now):
		return ask(oauthPage{App: app.Name, Person: p.oauth.nickname})
	}
	code := s.newOAuthCodeLocked(app, p, l.values["scope"], p.virtualLocked(l), c.now)
	return func(w http.ResponseWriter) { redirect(w, callback(redirectURI, code, state)) }
}

func refused(appName, target string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		if target != "" {
			redirect(w, target)
			return
		}
		renderOAuth(w, oauthPage{App: appName, Refused: true})
	}
}

func ask(page oauthPage) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set(consentHeader, "1")
		renderOAuth(w, page)
	}
}

func redirect(w http.ResponseWriter, target string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusFound)
}

func (s *Server) checkAuthorizeLocked(l link, p *Phone) (*account, pageError) {
	app := s.accounts[l.values["appid"]]
	scope := l.values["scope"]
	switch {
	case app == nil:
		return nil, pageError{text: "AppID 参数错误"}
	case app.Kind == Website || app.Kind == VerifiedMiniProgram:
		return nil, pageError{code: 10016, text: "不支持微信开放平台的 AppID，请使用公众号 AppID"}
	case !app.mayAuthorize() || (scope != scopeBase && scope != scopeUserInfo):
		return nil, pageError{code: 10005, text: "该公众号没有这些 scope 的权限"}
	case !app.allowsCallback(l.values["redirect_uri"]):
		return nil, pageError{code: 10003, text: "redirect_uri 域名与后台配置不一致"}
	case app.Kind == TestAccount && !p.follows[app.AppID]:
		return nil, pageError{code: 10006, text: "必须关注此测试号"}
	}
	return app, pageError{}
}

// mustAskLocked says whether the person is asked: for the profile only, and not
// again within 30 days. A snapshot page does not ask.
func (p *Phone) mustAskLocked(l link, now time.Time) bool {
	if l.values["scope"] != scopeUserInfo || p.virtualLocked(l) {
		return false
	}
	given, ok := p.oauth.consents[l.values["appid"]]
	return !ok || now.Sub(given) >= consentLifetime || l.values["forcePopup"] == "true"
}

// virtualLocked says whether WeChat shows the site as a snapshot, and so names a
// virtual user.
func (p *Phone) virtualLocked(l link) bool {
	return p.oauth.snapshot || l.values["forceSnapShot"] == "true"
}
