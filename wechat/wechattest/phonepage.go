// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed page
var pageFiles embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"clock":   func(t time.Time) string { return t.Format("15:04:05") },
	"initial": initial,
}).ParseFS(pageFiles, "page/*.html"))

const (
	defaultPerson = "小明"
	personCookie  = "wechattest_person"
	maxPersonName = 32 // characters
	maxShownCodes = 20
	maxText       = 2048        // bytes
	pageWait      = time.Second // for an answer, before the page is shown without it
)

// routePhone adds the web page of a phone, for demos.
func (s *Server) routePhone(mux *http.ServeMux) {
	guard := http.NewCrossOriginProtection()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request, *Phone)) {
		mux.Handle(pattern, guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			setPageHeaders(w.Header())
			h(w, r, s.personOf(w, r))
		})))
	}
	handle("GET /phone/{$}", s.pageChats)
	handle("GET /phone/me", s.pageMe)
	handle("GET /phone/scan", s.pageScan)
	handle("POST /phone/scan", s.postScan)
	handle("GET /phone/chat/{app}", s.pageChat)
	handle("POST /phone/chat/{app}", s.postText)
	handle("POST /phone/follow/{app}", s.postFollow)
	handle("POST /phone/unfollow/{app}", s.postUnfollow)
	handle("GET /phone/mini", s.pageMini)
	handle("POST /phone/mini", s.postMini)
	handle("GET /q/{id}", s.openCode)
	handle("GET /r/{id}", s.openCode)
	handle("GET "+miniCodePath, s.openCode)
	handle("GET "+linkPath+"{id}", s.openCode)
	mux.Handle("GET /phone", http.RedirectHandler("/phone/", http.StatusSeeOther))
	mux.HandleFunc("GET /phone/version", s.pageVersion)
	mux.HandleFunc("GET /phone/assets/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, pageFiles, "page/"+r.PathValue("name"))
	})
}

func setPageHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; "+
		"connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'")
}

// view is what the templates get.
type view struct {
	Person  string
	Tab     string // "chats", "scan", "me"
	Title   string
	Version int
	Chats   []chatView
	Chat    *chatView
	Sites   []siteView
	Codes   []codeView
	Cards   []codeView // the accounts' own codes
	Login   *WebLogin
	Mini    *miniView
	People  []string
	Error   string
}

type chatView struct {
	AppID, Name string
	Follows     bool
	Last        string
	At          time.Time
	Messages    []messageView
}

type messageView struct {
	ChatMessage
	Parts []textPart
}

// siteView is a site to be opened inside WeChat.
type siteView struct{ Address, Link string }

// personOf reads who holds the phone from ?person= or from the cookie that it sets.
func (s *Server) personOf(w http.ResponseWriter, r *http.Request) *Phone {
	name := cleanName(r.URL.Query().Get("person"))
	if name != "" {
		http.SetCookie(w, &http.Cookie{ //nolint:gosec // the demo runs on plain http, and the name is no secret
			Name: personCookie, Value: url.QueryEscape(name), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		})
		return s.Phone(name)
	}
	if c, err := r.Cookie(personCookie); err == nil {
		name, _ = url.QueryUnescape(c.Value) // a bad value names nobody
	}
	return s.Phone(cmp.Or(cleanName(name), defaultPerson))
}

func cleanName(name string) string {
	name = strings.Join(strings.Fields(strings.ToValidUTF8(name, "")), " ")
	if utf8.RuneCountInString(name) > maxPersonName {
		return string([]rune(name)[:maxPersonName])
	}
	return name
}

func initial(name string) string {
	r, _ := utf8.DecodeRuneInString(name)
	return strings.ToUpper(string(r))
}

func render(w http.ResponseWriter, status int, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = pages.ExecuteTemplate(w, "page.html", v) // the client is gone if this fails
}

func (s *Server) pageVersion(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	version := s.version
	s.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(strconv.Itoa(version))) // the client is gone if this fails
}

func (s *Server) pageChats(w http.ResponseWriter, _ *http.Request, p *Phone) {
	v := s.view(p, "chats", "微信")
	for _, site := range s.opts.Sites {
		v.Sites = append(v.Sites, siteView{site, s.opts.webview(site)})
	}
	render(w, http.StatusOK, v)
}

func (s *Server) pageMe(w http.ResponseWriter, _ *http.Request, p *Phone) {
	v := s.view(p, "me", "我")
	s.mu.Lock()
	for name := range s.people {
		v.People = append(v.People, name)
	}
	s.mu.Unlock()
	for _, name := range []string{defaultPerson, "alice", "bob"} {
		if !slices.Contains(v.People, name) {
			v.People = append(v.People, name)
		}
	}
	slices.Sort(v.People)
	render(w, http.StatusOK, v)
}

func (s *Server) pageChat(w http.ResponseWriter, r *http.Request, p *Phone) {
	v := s.view(p, "", "")
	i := slices.IndexFunc(v.Chats, func(c chatView) bool { return c.AppID == r.PathValue("app") })
	if i < 0 {
		s.fail(w, p, errors.New("没有这个公众号 no such account"))
		return
	}
	v.Chat, v.Title = &v.Chats[i], v.Chats[i].Name
	for _, m := range p.Chat(v.Chat.AppID) {
		parts := m.parts()
		for i := range parts {
			parts[i].Link = s.opts.webview(parts[i].Link)
		}
		v.Chat.Messages = append(v.Chat.Messages, messageView{m, parts})
	}
	render(w, http.StatusOK, v)
}

// view collects what every page shows: the accounts, followed ones first, then
// by the time of the last message.
func (s *Server) view(p *Phone, tab, title string) view {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := view{Person: p.name, Tab: tab, Title: title, Version: s.version}
	for id, app := range s.accounts {
		if !app.followable() {
			continue
		}
		c := chatView{AppID: id, Name: app.Name, Follows: p.follows[id]}
		if chat := p.chats[id]; len(chat) > 0 {
			last := chat[len(chat)-1]
			c.At = last.At
			for _, part := range last.parts() {
				c.Last += part.Text
			}
		}
		v.Chats = append(v.Chats, c)
	}
	slices.SortFunc(v.Chats, func(a, b chatView) int {
		if a.Follows != b.Follows {
			if a.Follows {
				return -1
			}
			return 1
		}
		return cmp.Or(b.At.Compare(a.At), strings.Compare(a.Name, b.Name), strings.Compare(a.AppID, b.AppID))
	})
	return v
}

// webview is where a link leads inside WeChat; see [Options.Webviews].
func (o Options) webview(link string) string {
	for site, inWeChat := range o.Webviews {
		if path, ok := strings.CutPrefix(link, site); ok && strings.HasPrefix(path, "/") {
			return inWeChat + path
		}
	}
	return link
}

// do runs an action of the phone and waits for its end, but not for long: the
// page renews itself when the answer comes.
func (s *Server) do(action func(context.Context) error) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.pushes.Add(1)
	s.mu.Unlock()
	result := make(chan error, 1)
	go func() {
		defer s.pushes.Done()
		result <- action(s.ctx)
	}()
	timer := time.NewTimer(pageWait)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		return nil
	}
}

func (s *Server) postText(w http.ResponseWriter, r *http.Request, p *Phone) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	appID, text := r.PathValue("app"), strings.TrimSpace(r.PostFormValue("text"))
	if len(text) > maxText {
		s.fail(w, p, errors.New("消息太长 the message is too long"))
		return
	}
	err := s.do(func(ctx context.Context) error {
		_, err := p.SendText(ctx, appID, text)
		return err
	})
	s.show(w, r, p, appID, err)
}

func (s *Server) postFollow(w http.ResponseWriter, r *http.Request, p *Phone) {
	appID := r.PathValue("app")
	s.show(w, r, p, appID, s.do(func(ctx context.Context) error { return p.Follow(ctx, appID) }))
}

func (s *Server) postUnfollow(w http.ResponseWriter, r *http.Request, p *Phone) {
	appID := r.PathValue("app")
	if err := s.do(func(ctx context.Context) error { return p.Unfollow(ctx, appID) }); err != nil {
		s.fail(w, p, err)
		return
	}
	http.Redirect(w, r, "/phone/", http.StatusSeeOther)
}

// show goes to the chat, where the outcome appears.
func (s *Server) show(w http.ResponseWriter, r *http.Request, p *Phone, appID string, err error) {
	if err != nil {
		s.fail(w, p, err)
		return
	}
	http.Redirect(w, r, "/phone/chat/"+url.PathEscape(appID), http.StatusSeeOther)
}

func (s *Server) fail(w http.ResponseWriter, p *Phone, err error) {
	v := s.view(p, "", "提示")
	v.Error = err.Error()
	switch {
	case errors.Is(err, ErrUnknownCode):
		v.Error = "不是微信的二维码 Not a QR code of this WeChat"
	case errors.Is(err, ErrExpiredCode):
		v.Error = "二维码已过期 The QR code has expired"
	case errors.Is(err, ErrTaken):
		v.Error = "二维码已被他人扫描或已处理 The QR code was scanned by another person, or is decided already"
	case errors.Is(err, ErrNoPage), errors.Is(err, ErrNotMember):
		v.Error = "小程序没有可打开的页面 The mini program has no page to open"
	case errors.Is(err, ErrNotFollower):
		v.Error = "尚未关注该公众号 Not following this account"
	}
	render(w, http.StatusBadRequest, v)
}
