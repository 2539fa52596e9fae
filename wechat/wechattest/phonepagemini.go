// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// miniTimeout is that of wx.request in examples/miniprogram.
const miniTimeout = 10 * time.Second

// miniView is the login page of a mini program on the phone: a small imitation of
// examples/miniprogram, which calls the gateway as wx.request would.
type miniView struct {
	Name   string // of the mini program
	Code   string // that opened it, or the link
	Number string // of the phone, masked as WeChat does where it asks
	Ask    *miniAsk
	End    *miniEnd
}

// miniAsk is what the gateway wants the person to be asked.
type miniAsk struct {
	Ticket string
	Site   string
	Host   string
	Client struct{ Browser, Address string }

	Confirm   string
	Choices   []string
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Asked is when the browser has asked.
func (a miniAsk) Asked() string { return a.CreatedAt.In(beijing).Format(time.DateTime) }

// miniEnd is how it ended, or why it cannot go on.
type miniEnd struct {
	Title, Text string
	Done, Retry bool
	Ticket      string // with which the person may still say "that was not me"
}

var errNoPortal = errors.New("这个小程序没有登录页 this mini program has no login page: set its Portal")

// opensMini reports whether the content of a code, or a link, opens a mini program.
func (s *Server) opensMini(qrURL string) bool {
	return strings.HasPrefix(qrURL, s.opts.QRBase+miniCodePath+"?") || strings.HasPrefix(qrURL, s.linkBase())
}

func (s *Server) openMini(p *Phone, code string) (*MiniPage, error) {
	if strings.HasPrefix(code, s.linkBase()) {
		return p.OpenURLLink(code)
	}
	return p.ScanMiniCode(code)
}

// pageMini opens the page. As the page of the example does, it tells the gateway
// of the scan at once, and again where it is loaded again.
func (s *Server) pageMini(w http.ResponseWriter, r *http.Request, p *Phone) {
	s.stepMini(w, p, r.FormValue("code"), func(m *MiniPage, v *miniView) error {
		var ask miniAsk
		err := m.call(r.Context(), "scan", map[string]string{"scene": m.Scene(), "code": m.Login()}, &ask)
		if err == nil {
			v.Ask = &ask
		}
		return err
	})
}

// postMini is the person's answer.
func (s *Server) postMini(w http.ResponseWriter, r *http.Request, p *Phone) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	answer := (*MiniPage).confirm
	if r.PostFormValue("refuse") != "" {
		answer = (*MiniPage).refuse
	}
	s.stepMini(w, p, r.PostFormValue("code"), func(m *MiniPage, v *miniView) error { return answer(m, r, v) })
}

func (m *MiniPage) confirm(r *http.Request, v *miniView) error {
	body := map[string]string{
		"ticket": r.PostFormValue("ticket"), "number": r.PostFormValue("number"), "nickname": cleanName(r.PostFormValue("nickname")),
	}
	if r.PostFormValue("phone") != "" {
		code, err := m.GetPhoneNumber(true)
		if err != nil {
			return err
		}
		body["phone_code"] = code
	}
	v.End = &miniEnd{Title: "已确认登录 Confirmed", Text: "请回到网页继续。 Go on in the browser.", Done: true, Ticket: body["ticket"]}
	return m.call(r.Context(), "confirm", body, nil)
}

// refuse is the answer "that was not me", before the person has confirmed or after.
func (m *MiniPage) refuse(r *http.Request, v *miniView) error {
	var now struct{ State string }
	err := m.call(r.Context(), "cancel", map[string]string{"ticket": r.PostFormValue("ticket")}, &now)
	v.End = &miniEnd{Title: "已拒绝登录 Refused", Text: "网页没有登录。 Nobody was signed in."}
	if now.State == "consumed" || r.PostFormValue("refuse") == "after" {
		v.End = &miniEnd{Title: "已退出登录 Signed out", Text: "网页上的这次登录已经失效。 The browser is not signed in any more."}
	}
	return err
}

// stepMini opens the page, does one step, and shows what came of it.
func (s *Server) stepMini(w http.ResponseWriter, p *Phone, code string, step func(*MiniPage, *miniView) error) {
	m, err := s.openMini(p, code)
	if err != nil {
		s.fail(w, p, err)
		return
	}
	v := s.view(p, "", "登录确认")
	v.Mini = &miniView{Name: m.name(), Code: code, Number: p.PhoneNumber().masked()}
	err = step(m, v.Mini)
	if errors.Is(err, errNoPortal) {
		s.fail(w, p, err)
		return
	}
	if err != nil {
		v.Mini.Ask, v.Mini.End = nil, endOf(err)
	}
	render(w, http.StatusOK, v)
}

func (m *MiniPage) name() string {
	m.phone.server.mu.Lock()
	defer m.phone.server.mu.Unlock()
	return m.phone.server.accounts[m.AppID].Name
}

func (n Number) masked() string {
	if len(n.National) < 7 {
		return n.National
	}
	return n.National[:3] + "****" + n.National[len(n.National)-4:]
}

// refusedError is an answer of the gateway that is no success.
type refusedError struct{ Code, Reason string }

// Error implements error.
func (e refusedError) Error() string {
	return "the gateway refuses: " + strings.TrimSpace(e.Code+" "+e.Reason)
}

// call is wx.request to an endpoint of the gateway. Its error is a [refusedError]
// where the gateway answers.
func (m *MiniPage) call(ctx context.Context, action string, body, answer any) error {
	m.phone.server.mu.Lock()
	portal := m.phone.server.mini.programs[m.AppID].Portal
	m.phone.server.mu.Unlock()
	if portal == "" {
		return errNoPortal
	}
	ctx, cancel := context.WithTimeout(ctx, miniTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, portal+"/mini/"+m.AppID+"/"+action, bytes.NewReader(encodeJSON(body)))
	if err != nil {
		return fmt.Errorf("preparing wx.request: %w", err)
	}
	resp, err := m.Client().Do(r)
	if err != nil {
		return fmt.Errorf("calling the gateway: %w", withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("reading the gateway's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var refusal struct{ Error, Reason string }
		_ = json.Unmarshal(raw, &refusal) // what is no JSON has no reason
		return refusedError{refusal.Error, refusal.Reason}
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("reading the gateway's answer: %w", err)
	}
	return nil
}

// miniEnds are what the page says to the refusals that a demo can meet.
var miniEnds = map[string]miniEnd{
	"attempt_not_found":   {Title: "登录码已失效 No longer valid", Text: "请回到网页，刷新后扫描新的登录码。 Scan the newest code."},
	"expired":             {Title: "登录码已过期 Expired", Text: "请回到网页，刷新后扫描新的登录码。 Get a new code on the page."},
	"cancelled":           {Title: "登录已取消 Cancelled", Text: "请回到网页，刷新后扫描新的登录码。 Scan the newest code."},
	"taken":               {Title: "登录码已被他人扫描 Scanned by somebody else", Text: "请回到网页，刷新后扫描新的登录码。 Get a new code on the page."},
	"confirmed":           {Title: "已经确认过了 Confirmed already", Text: "请回到网页继续。 Go on in the browser."},
	"consumed":            {Title: "登录已完成 Done already", Text: "请回到网页继续。 Go on in the browser."},
	"denied":              {Title: "登录被拒绝 Denied", Text: "网站没有接受这次登录。 The site does not take this sign-in."},
	"wrong_number":        {Title: "数字不正确 Not that number", Text: "为了安全，这次登录已被拒绝。 To be safe, this sign-in was denied."},
	"registration_closed": {Title: "暂不开放注册 Not open to new people", Text: "请联系网站管理员。 Ask the site's operator."},
}

func endOf(err error) *miniEnd {
	if refusal, ok := errors.AsType[refusedError](err); ok {
		for _, why := range []string{refusal.Reason, refusal.Code} {
			if end, known := miniEnds[why]; known {
				return &end
			}
		}
	}
	return &miniEnd{Title: "网站暂时不可用 The site is unavailable", Text: "请稍后再试。 Try again. " + err.Error(), Retry: true}
}
