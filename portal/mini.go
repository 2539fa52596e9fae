// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

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
	who, err := mini.Session(r.Context(), req.Code)
	if err != nil {
		p.miniFailed(w, r, appID, err)
		return
	}
	a, err := p.Login.Scan(r.Context(), appID, req.Scene, who)
	switch {
	case errors.Is(err, login.ErrNotFound):
		p.limits.confirms.take(p.ClientAddr(r), p.Now())
		writeError(w, http.StatusNotFound, "attempt_not_found", "no sign-in shows this code any more: scan the one on the page again")
	case err != nil:
		p.unavailable(w, r, err)
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
		var err error
		if more.Phone, err = mini.PhoneNumber(r.Context(), req.PhoneCode); err != nil {
			p.miniFailed(w, r, a.AppID, err)
			return
		}
	}
	p.miniAnswer(w, r, a, choice, more)
}

// miniCancel is POST mini/{app_id}/cancel: the person refuses.
func (p *Portal) miniCancel(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Ticket string `json:"ticket"`
	}
	if _, ok := p.miniRequest(w, r, &req); !ok {
		return
	}
	if a, ok := p.miniAttempt(w, r, req.Ticket); ok {
		p.miniAnswer(w, r, a, login.ChoiceCancel, login.Person{})
	}
}

func (p *Portal) miniAnswer(w http.ResponseWriter, r *http.Request, a login.Attempt, choice string, more login.Person) {
	a, changed, err := p.Login.Answer(r.Context(), a.Token, choice, more)
	switch {
	case err != nil:
		p.miniTicketUnknown(w, r, err)
		return
	case a.State == login.Scanned:
		writeError(w, http.StatusBadRequest, "bad_choice", "choose the number that the page shows")
		return
	case changed:
		p.answered(r, a)
	}
	// A repeated answer is no mistake of the person's.
	if a.State == login.Confirmed || a.State == login.Consumed || a.State == login.Cancelled && a.Reason == login.ReasonPhone {
		writeJSON(w, http.StatusOK, struct {
			State login.State `json:"state"`
		}{a.State})
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
	if wait := p.limits.confirms.spent(p.ClientAddr(r), p.Now()); wait > 0 {
		setRetryAfter(w, wait)
		writeError(w, http.StatusTooManyRequests, "too_many_requests", "too many wrong codes from this address: wait and try again")
		return nil, false
	}
	mini := p.Accounts[r.PathValue("app_id")].Mini
	if mini == nil {
		writeError(w, http.StatusNotFound, "unknown_account", "this site has no mini program of that app id")
		return nil, false
	}
	if err := readJSON(w, r, body); err != nil {
		writeError(w, http.StatusBadRequest, "bad_request", "the body must be a small JSON object")
		return nil, false
	}
	return mini, true
}

// miniAttempt returns the attempt of a ticket of this mini program.
func (p *Portal) miniAttempt(w http.ResponseWriter, r *http.Request, ticket string) (login.Attempt, bool) {
	a, err := p.Login.ByToken(r.Context(), ticket)
	if err == nil && (a.Method != login.MiniQR || a.AppID != r.PathValue("app_id")) {
		err = login.ErrNotFound
	}
	if err != nil {
		p.miniTicketUnknown(w, r, err)
		return login.Attempt{}, false
	}
	return a, true
}

func (p *Portal) miniTicketUnknown(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, login.ErrNotFound) {
		p.unavailable(w, r, err)
		return
	}
	p.limits.confirms.take(p.ClientAddr(r), p.Now())
	writeError(w, http.StatusNotFound, "attempt_not_found", "there is no such sign-in any more: scan the code on the page again")
}

// miniFailed says that WeChat does not take a code, or that it cannot be reached.
func (p *Portal) miniFailed(w http.ResponseWriter, r *http.Request, appID string, err error) {
	if r.Context().Err() != nil {
		return
	}
	if errors.Is(err, wechat.ErrInvalidCode) {
		p.limits.confirms.take(p.ClientAddr(r), p.Now())
		writeError(w, http.StatusForbidden, "bad_code", "WeChat does not know this code, or it was used before: open the page anew")
		return
	}
	if errors.Is(err, wechat.ErrUserBlocked) {
		writeError(w, http.StatusForbidden, "blocked", "WeChat holds this person back: the person finds out why in WeChat")
		return
	}
	p.warnRefusal(appID, "WeChat does not say who uses the mini program", err)
	setRetryAfter(w, retryWeChat)
	writeError(w, http.StatusServiceUnavailable, "wechat_unavailable", "WeChat does not answer right now: try again shortly")
}

// answered takes note of an answer on the phone.
func (p *Portal) answered(r *http.Request, a login.Attempt) {
	p.Log.Info("sign-in answered on the phone", zap.String("state", string(a.State)), zap.String("reason", a.Reason),
		zap.String("account", a.AppID), zap.String("openid", maskOpenID(a.OpenID)), zap.Stringer("client_ip", p.ClientAddr(r)))
	p.Count("attempt", a.AppID, string(a.State))
}
