// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"net/http"
	"net/url"
)

// routeLoginPage adds what the page of a phone shows after the scan of a
// website's QR code.
func (s *Server) routeLoginPage(mux *http.ServeMux) {
	guard := http.NewCrossOriginProtection()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request, *Phone)) {
		mux.Handle(pattern, guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			setPageHeaders(w.Header())
			h(w, r, s.personOf(w, r))
		})))
	}
	handle("GET "+confirmPath, s.openLogin)
	handle("GET /phone/login/{uuid}", s.pageLogin)
	handle("POST /phone/login/{uuid}", s.postLogin)
}

// openLogin is the link in the code, opened by a camera that knows no WeChat.
func (s *Server) openLogin(w http.ResponseWriter, r *http.Request, p *Phone) {
	s.scanLoginAndShow(w, r, p, s.confirmURL(r.URL.Query().Get("uuid")))
}

// scansLogin reports whether the content of a code is for [Phone.ScanLogin].
func (s *Server) scansLogin(qrURL string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findLoginLocked(qrURL) != nil
}

func (s *Server) scanLoginAndShow(w http.ResponseWriter, r *http.Request, p *Phone, qrURL string) {
	login, err := p.ScanLogin(qrURL)
	if err != nil {
		s.fail(w, p, err)
		return
	}
	http.Redirect(w, r, "/phone/login/"+url.PathEscape(login.uuid), http.StatusSeeOther)
}

// pageLogin asks the person who has scanned the code.
func (s *Server) pageLogin(w http.ResponseWriter, r *http.Request, p *Phone) {
	login, err := p.ScanLogin(s.confirmURL(r.PathValue("uuid")))
	if err != nil {
		s.fail(w, p, err)
		return
	}
	v := s.view(p, "", "微信登录")
	v.Login = login
	render(w, http.StatusOK, v)
}

func (s *Server) postLogin(w http.ResponseWriter, r *http.Request, p *Phone) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	login, err := p.ScanLogin(s.confirmURL(r.PathValue("uuid")))
	if err == nil {
		if r.PostFormValue("decision") == "allow" {
			_, err = login.Confirm()
		} else {
			_, err = login.Refuse()
		}
	}
	if err != nil {
		s.fail(w, p, err)
		return
	}
	http.Redirect(w, r, "/phone/", http.StatusSeeOther)
}
