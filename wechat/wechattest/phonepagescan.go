// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// miniInView is how long a mini program's code counts as one that somebody looks
// at: it never expires.
const miniInView = 5 * time.Minute

// codeView is a QR code in view of the phone.
type codeView struct {
	URL, Name, Kind, Detail string
	Created                 time.Time
	Expires                 time.Time // zero: never
}

func (s *Server) pageScan(w http.ResponseWriter, _ *http.Request, p *Phone) {
	v := s.view(p, "scan", "扫一扫")
	v.Codes, v.Cards = s.codesInView(), s.cards()
	render(w, http.StatusOK, v)
}

// codesInView lists the QR codes of all kinds that can be scanned, newest first:
// that is the one on the screen.
func (s *Server) codesInView() []codeView {
	now := s.opts.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	views := slices.Concat(s.officialCodesLocked(now), s.miniCodesLocked(now), s.loginCodesLocked(now))
	slices.SortFunc(views, func(a, b codeView) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.URL, b.URL))
	})
	return views[:min(len(views), maxShownCodes)]
}

func (s *Server) officialCodesLocked(now time.Time) (views []codeView) {
	for _, code := range s.codes {
		if code.expired(now) {
			continue
		}
		views = append(views, codeView{
			URL: s.opts.QRBase + "/q/" + code.id, Name: s.accounts[code.appID].Name, Kind: "公众号 Official account",
			Detail: code.scene, Created: code.created, Expires: code.expires,
		})
	}
	return views
}

func (s *Server) miniCodesLocked(now time.Time) (views []codeView) {
	for appID, m := range s.mini.programs {
		for _, code := range m.recent {
			if now.Sub(code.at) >= miniInView {
				continue
			}
			views = append(views, codeView{
				URL: code.content, Name: s.accounts[appID].Name, Kind: "小程序码 Mini program", Detail: appID, Created: code.at,
			})
		}
	}
	return views
}

func (s *Server) loginCodesLocked(now time.Time) (views []codeView) {
	for _, login := range s.oauth.logins {
		if login.statusAt(now) != loginWaiting {
			continue
		}
		views = append(views, codeView{
			URL: s.confirmURL(login.uuid), Name: s.accounts[login.appID].Name, Kind: "网站登录 Sign-in to a website",
			Detail: login.appID, Created: login.created, Expires: login.expires,
		})
	}
	return views
}

// cards lists the own codes of the accounts that can be followed.
func (s *Server) cards() (views []codeView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for appID, app := range s.accounts {
		if app.followable() {
			views = append(views, codeView{URL: s.opts.QRBase + "/r/" + app.cardID, Name: app.Name, Kind: "公众号二维码 The account's own code", Detail: appID})
		}
	}
	slices.SortFunc(views, func(a, b codeView) int { return strings.Compare(a.Detail, b.Detail) })
	return views
}

func (s *Server) postScan(w http.ResponseWriter, r *http.Request, p *Phone) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.scanAndShow(w, r, p, strings.TrimSpace(r.PostFormValue("qr")))
}

// openCode is the link in a code, opened by a camera that knows no WeChat, or a
// link into a mini program.
func (s *Server) openCode(w http.ResponseWriter, r *http.Request, p *Phone) {
	s.scanAndShow(w, r, p, s.opts.QRBase+r.URL.RequestURI())
}

func (s *Server) scanAndShow(w http.ResponseWriter, r *http.Request, p *Phone, qrURL string) {
	if s.scansLogin(qrURL) {
		s.scanLoginAndShow(w, r, p, qrURL)
		return
	}
	if s.opensMini(qrURL) {
		http.Redirect(w, r, "/phone/mini?"+url.Values{"code": {qrURL}}.Encode(), http.StatusSeeOther)
		return
	}
	code, err := s.findCode(qrURL)
	if err != nil {
		s.fail(w, p, err)
		return
	}
	err = s.do(func(ctx context.Context) error {
		_, err := p.Scan(ctx, qrURL)
		return err
	})
	s.show(w, r, p, code.appID, err)
}
