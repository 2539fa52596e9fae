// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The states of a QR code on the page of connect/qrconnect, by the numbers that
// the page gets.
const (
	loginExpired   = 402
	loginRefused   = 403
	loginScanned   = 404
	loginConfirmed = 405
	loginWaiting   = 408
)

const (
	loginLifetime = 5 * time.Minute
	pollTime      = 25 * time.Second
	openBase      = "https://open.weixin.qq.com"
	confirmPath   = "/connect/confirm"
)

// webLogin is one page with a QR code that asks somebody to sign in to a
// website. It is guarded by Server.mu.
type webLogin struct {
	uuid, appID, redirectURI, state string
	created, expires                time.Time
	status                          int
	person                          *Phone // who has scanned it
	code                            string
	changed                         chan struct{} // closed at each change
}

func (l *webLogin) statusAt(now time.Time) int {
	if !now.Before(l.expires) && (l.status == loginWaiting || l.status == loginScanned) {
		return loginExpired
	}
	return l.status
}

func (l *webLogin) change(status int) {
	l.status = status
	close(l.changed)
	l.changed = make(chan struct{})
}

// loginView is what the page of a webLogin shows and does.
type loginView struct {
	UUID, Callback, State, Refused string
	SelfRedirect, White, Lite      bool
}

// qrconnect is connect/qrconnect: a page with a QR code, on its own or in a
// frame, which it does not forbid.
func (s *Server) qrconnect(w http.ResponseWriter, c call) {
	l, e := readQRConnectLink(c.URL.RawQuery)
	if e.occurred() {
		showError(w, e)
		return
	}
	s.mu.Lock()
	page, e := s.answerQRConnectLocked(l, c.now)
	s.mu.Unlock()
	if e.occurred() {
		showError(w, e)
		return
	}
	renderOAuth(w, page)
}

func (s *Server) answerQRConnectLocked(l link, now time.Time) (oauthPage, pageError) {
	app := s.accounts[l.values["appid"]]
	redirectURI, state := l.values["redirect_uri"], l.values["state"]
	switch {
	case app == nil || app.Kind != Website:
		return oauthPage{}, pageError{text: "AppID 参数错误", cause: "the app id is not a website application's"}
	case !app.allowsCallback(redirectURI):
		return oauthPage{}, unreachable("the host of the redirect_uri is not the callback domain")
	}
	login := s.newLoginLocked(app, redirectURI, state, now)
	return oauthPage{App: app.Name, Login: &loginView{
		UUID: login.uuid, Callback: redirectURI, State: state,
		Refused:      s.opts.Refusal.refusedCallback(redirectURI, state),
		SelfRedirect: l.values["login_type"] == "jssdk" && l.values["self_redirect"] == "true",
		White:        l.values["style"] == "white",
		Lite:         l.values["stylelite"] == "1",
	}}, pageError{}
}

func (s *Server) newLoginLocked(app *account, redirectURI, state string, now time.Time) *webLogin {
	s.purgeOAuthLocked(now)
	login := &webLogin{
		uuid: "0" + randomDigits(2) + randomString(13), appID: app.AppID, redirectURI: redirectURI, state: state,
		created: now, expires: now.Add(loginLifetime), status: loginWaiting, changed: make(chan struct{}),
	}
	s.oauth.logins[login.uuid] = login
	s.version++
	return login
}

// confirmURL is the content of the picture on the page.
func (s *Server) confirmURL(uuid string) string {
	base := openBase
	if s.opts.QRBase != weixinBase {
		base = s.opts.QRBase
	}
	return base + confirmPath + "?uuid=" + uuid
}

func (s *Server) loginPicture(w http.ResponseWriter, r *http.Request) {
	uuid := r.PathValue("uuid")
	s.mu.Lock()
	found := s.oauth.logins[uuid] != nil
	s.mu.Unlock()
	if !found {
		http.NotFound(w, r)
		return
	}
	picture, err := drawCode(s.confirmURL(uuid))
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "image/jpeg")
	_, _ = w.Write(picture) // the client is gone if this fails
}

// pollLogin is the long poll of the page. With last=404 it does not tell again
// that the code was scanned.
func (s *Server) pollLogin(w http.ResponseWriter, c call) {
	timer := time.NewTimer(pollTime)
	defer timer.Stop()
	status, code := loginExpired, ""
	for {
		s.mu.Lock()
		login := s.oauth.logins[c.query("uuid")]
		var changed <-chan struct{}
		if login != nil {
			status, code, changed = login.statusAt(s.opts.Now()), login.code, login.changed
		}
		s.mu.Unlock()
		news := status != loginWaiting && (status != loginScanned || c.query("last") != "404")
		if news {
			break
		}
		if !s.waitForChange(c.Request, changed, timer.C) {
			status, code = loginWaiting, ""
			break
		}
	}
	w.Header().Set("Content-Type", "text/javascript")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = fmt.Fprintf(w, "window.wx_errcode=%d;window.wx_code='%s';", status, code) // the client is gone if this fails
}

// waitForChange reports whether something changed in time.
func (s *Server) waitForChange(r *http.Request, changed <-chan struct{}, timeout <-chan time.Time) bool {
	select {
	case <-changed:
		return true
	case <-timeout:
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
	return false
}

// findLoginLocked finds the page whose picture holds text; the address of the
// picture will do.
func (s *Server) findLoginLocked(text string) *webLogin {
	u, err := url.Parse(text)
	if err != nil {
		return nil
	}
	if u.Path == confirmPath {
		return s.oauth.logins[u.Query().Get("uuid")]
	}
	if uuid, ok := strings.CutPrefix(u.Path, "/connect/qrcode/"); ok {
		return s.oauth.logins[uuid]
	}
	return nil
}
