// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// MiniProgram says who uses a mini program.
type MiniProgram interface {
	// Session returns the person whose wx.login gave the code.
	Session(ctx context.Context, code string) (login.Person, error)
	// PhoneNumber returns the number for which WeChat's button gave the code.
	PhoneNumber(ctx context.Context, code string) (string, error)
}

// miniScan is POST mini/{app_id}/scan: the mini program was opened by a code. The
// code of wx.login proves who opened it; what is returned as the ticket is, from
// then on, the right to answer.
func (p *Portal) miniScan(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Scene string `json:"scene"`
		Code  string `json:"code"`
	}
	mini, ok := p.miniRequest(w, r, &req)
	if !ok {
		return
	}
	appID := r.PathValue("app_id")
	a, ok := p.miniFind(w, r, func(ctx context.Context) (login.Attempt, error) { return p.anySite.ByScene(ctx, appID, req.Scene) })
	if !ok {
		return
	}
	if a.State == login.Expired { // for everybody, whoever asks
		p.miniOver(w, a)
		return
	}
	var who login.Person
	err := p.miniAsk(r, a, func(ctx context.Context) (err error) {
		who, err = mini.Session(ctx, req.Code)
		return err
	})
	if err != nil {
		p.miniFailed(w, r, appID, err)
		return
	}
	a, err = p.anySite.Scan(r.Context(), appID, req.Scene, who)
	switch {
	case err != nil:
		p.miniUnknown(w, r, err)
	case a.OpenID != "" && a.OpenID != who.OpenID:
		writeError(w, http.StatusConflict, "taken", "somebody else has scanned this code: get a new one on the page")
	case a.State != login.Scanned:
		p.miniOver(w, a)
	default:
		p.Count("attempt", appID, string(login.Scanned))
		writeJSON(w, http.StatusOK, miniAttemptOf(a))
	}
}

// miniAttempt is what the person who scanned is asked about.
type miniAttempt struct {
	Ticket    string        `json:"ticket"`
	Site      string        `json:"site"`
	Host      string        `json:"host"`
	Client    login.Client  `json:"client"`
	Confirm   login.Confirm `json:"confirm"`
	Choices   []string      `json:"choices,omitempty"`
	CreatedAt time.Time     `json:"created_at"`
	ExpiresAt time.Time     `json:"expires_at"`
}

func miniAttemptOf(a login.Attempt) miniAttempt {
	return miniAttempt{
		Ticket: a.Token, Site: a.Site, Host: hostOf(a.Portal), Client: a.Client, Confirm: a.Confirm,
		Choices: a.Choices, CreatedAt: a.CreatedAt, ExpiresAt: a.ExpiresAt,
	}
}

// miniConfirm is POST mini/{app_id}/confirm: the person agrees, with the number on
// the page where one is asked for, and may add a name and a phone number.
func (p *Portal) miniConfirm(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Ticket    string `json:"ticket"`
		Number    string `json:"number"`
		Nickname  string `json:"nickname"`
		PhoneCode string `json:"phone_code"`
	}
	mini, ok := p.miniRequest(w, r, &req)
	if !ok {
		return
	}
	a, ok := p.miniAttempt(w, r, req.Ticket)
	if !ok {
		return
	}
	choice := req.Number
	switch {
	case a.Confirm == login.ConfirmTap:
		choice = login.ChoiceYes
	case choice == login.ChoiceCancel, choice == login.ChoiceRevoke:
		choice = "" // no number
	}
	more := login.Person{Name: wechat.CleanNickname(req.Nickname)}
	if req.PhoneCode != "" && a.Accepts(choice) { // each call costs money
		err := p.miniAsk(r, a, func(ctx context.Context) (err error) {
			more.Phone, err = mini.PhoneNumber(ctx, req.PhoneCode)
			return err
		})
		if err != nil {
			p.miniFailed(w, r, a.AppID, err)
			return
		}
	}
	p.miniAnswer(w, r, a, choice, more)
}

// miniCancel is POST mini/{app_id}/cancel: the person refuses, or says "that was not
// me" after the fact, which ends the session that came of it.
func (p *Portal) miniCancel(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Ticket string `json:"ticket"`
	}
	if _, ok := p.miniRequest(w, r, &req); !ok {
		return
	}
	before, ok := p.miniAttempt(w, r, req.Ticket)
	if !ok {
		return
	}
	a, err := p.disown(r, before)
	if err != nil {
		p.miniUnknown(w, r, err)
		return
	}
	switch {
	case before.State == login.Scanned && a.State == login.Cancelled:
		p.answered(r, a)
	case before.State != a.State || before.Disowned != a.Disowned:
		p.noteDisowned(r, a)
	}
	p.miniDone(w, a)
}

func (p *Portal) miniAnswer(w http.ResponseWriter, r *http.Request, a login.Attempt, choice string, more login.Person) {
	a, changed, err := p.anySite.Answer(r.Context(), a.Token, choice, more)
	switch {
	case err != nil:
		p.miniUnknown(w, r, err)
		return
	case a.State == login.Scanned:
		writeError(w, http.StatusBadRequest, "bad_choice", "choose the number that the page shows")
		return
	case changed:
		p.answered(r, a)
	}
	p.miniDone(w, a)
}

// miniDone says what became of an attempt by an answer. A repeated answer is no
// mistake of the person's.
func (p *Portal) miniDone(w http.ResponseWriter, a login.Attempt) {
	if a.State == login.Confirmed || a.State == login.Consumed || a.State == login.Cancelled && a.Reason == login.ReasonPhone {
		writeJSON(w, http.StatusOK, struct {
			State    login.State `json:"state"`
			Disowned bool        `json:"disowned,omitempty"`
		}{a.State, a.Disowned})
		return
	}
	p.miniOver(w, a)
}

// miniOver says that an attempt cannot be answered any more, and why.
func (p *Portal) miniOver(w http.ResponseWriter, a login.Attempt) {
	switch {
	case a.State == login.Denied:
		writeJSON(w, http.StatusForbidden, apiError{Error: string(login.Denied), Reason: a.Reason, Message: "this sign-in was denied: get a new code on the page"})
	case a.State.Final():
		writeError(w, http.StatusGone, string(a.State), "this sign-in is "+string(a.State)+": get a new code on the page")
	default:
		writeError(w, http.StatusConflict, string(a.State), "this sign-in is "+string(a.State)+" already")
	}
}

// miniRequest reads a request of the mini program into body, and answers it itself
// where that cannot be.
func (p *Portal) miniRequest(w http.ResponseWriter, r *http.Request, body any) (MiniProgram, bool) {
	mini := p.Accounts[r.PathValue("app_id")].Mini
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case mini == nil:
		writeError(w, http.StatusNotFound, "unknown_account", "this site has no mini program of that app id")
	case !fromMini(r):
		writeError(w, http.StatusForbidden, "cross_origin", "this endpoint is for the mini program: a page of another site may not call it")
	case kind != "application/json":
		writeError(w, http.StatusUnsupportedMediaType, "unsupported_media_type", "send the body as application/json, as wx.request does unless told otherwise")
	case readJSON(w, r, body) != nil:
		writeError(w, http.StatusBadRequest, "bad_request", "the body must be a small JSON object")
	default:
		return mini, true
	}
	return nil, false
}

// fromMini says whether a request can be one of wx.request, and not one that a page
// elsewhere makes a visitor's browser send. WeChat on a phone sends no Sec-Fetch-Site;
// on a computer it is built on a browser that sends cross-site, with the Referer that
// wx.request has and no page can set:
// https://developers.weixin.qq.com/miniprogram/dev/framework/ability/network.html
func fromMini(r *http.Request) bool {
	if strings.HasPrefix(r.Referer(), "https://servicewechat.com/"+r.PathValue("app_id")+"/") {
		return true
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" && site != "none" {
			return false
		}
	}
	return true
}

// miniFind looks an attempt up, and answers the request itself where there is none.
func (p *Portal) miniFind(w http.ResponseWriter, r *http.Request, look func(context.Context) (login.Attempt, error)) (login.Attempt, bool) {
	a, err := p.mini.find(r.Context(), p.ClientAddr(r), p.Now(), look)
	if err != nil {
		p.miniUnknown(w, r, err)
	}
	return a, err == nil
}

// miniAsk has WeChat be asked about a code that came for an attempt.
func (p *Portal) miniAsk(r *http.Request, a login.Attempt, call func(context.Context) error) error {
	return p.mini.ask(r.Context(), a.ID, p.ClientAddr(r), p.Now(), call)
}

func miniLimited(w http.ResponseWriter, wait time.Duration) {
	setRetryAfter(w, wait)
	writeError(w, http.StatusTooManyRequests, "too_many_requests", "too many wrong codes from this address: wait and try again")
}

// miniAttempt returns the attempt of a ticket of this mini program.
func (p *Portal) miniAttempt(w http.ResponseWriter, r *http.Request, ticket string) (login.Attempt, bool) {
	return p.miniFind(w, r, func(ctx context.Context) (login.Attempt, error) {
		a, err := p.anySite.ByToken(ctx, ticket)
		if err == nil && (a.Method != login.MiniQR || a.AppID != r.PathValue("app_id")) {
			return login.Attempt{}, login.ErrNotFound
		}
		return a, err
	})
}

func (p *Portal) miniUnknown(w http.ResponseWriter, r *http.Request, err error) {
	if limited, ok := errors.AsType[limitedError](err); ok {
		miniLimited(w, limited.wait)
		return
	}
	if errors.Is(err, login.ErrNotFound) {
		writeError(w, http.StatusNotFound, "attempt_not_found", "there is no such sign-in any more: scan the code on the page again")
		return
	}
	p.unavailable(w, r, err)
}

// miniFailed says that WeChat does not take a code, or that it cannot be reached.
func (p *Portal) miniFailed(w http.ResponseWriter, r *http.Request, appID string, err error) {
	limited, isLimited := errors.AsType[limitedError](err)
	switch {
	case r.Context().Err() != nil:
	case isLimited:
		miniLimited(w, limited.wait)
	case errors.Is(err, errTooManyTries):
		writeError(w, http.StatusTooManyRequests, "too_many_tries", "too many wrong codes for this sign-in: get a new one on the page")
	case errors.Is(err, wechat.ErrInvalidCode):
		writeError(w, http.StatusForbidden, "bad_code", "WeChat does not know this code, or it was used before: open the page anew")
	case errors.Is(err, wechat.ErrUserBlocked):
		writeError(w, http.StatusForbidden, "blocked", "WeChat holds this person back: the person finds out why in WeChat")
	default:
		p.warnRefusal(appID, "WeChat does not say who uses the mini program", err)
		setRetryAfter(w, retryWeChat)
		writeError(w, http.StatusServiceUnavailable, "wechat_unavailable", "WeChat does not answer right now: try again shortly")
	}
}

// answered takes note of an answer on the phone.
func (p *Portal) answered(r *http.Request, a login.Attempt) {
	p.Log.Info("sign-in answered on the phone", zap.String("state", string(a.State)), zap.String("reason", a.Reason),
		zap.String("account", a.AppID), zap.String("openid", maskOpenID(a.OpenID)), zap.Stringer("client_ip", p.ClientAddr(r)))
	p.Count("attempt", a.AppID, string(a.State))
	event := ofAttempt(audit.Answer, a, "")
	if a.State == login.Cancelled || a.State == login.Denied {
		event.Result, event.Reason = audit.Refused, a.Reason
	}
	p.record(r, event)
}
