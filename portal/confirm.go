// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/session"
)

// confirmPage is GET confirm/{token}: what the person who scanned is asked.
func (p *Portal) confirmPage(w http.ResponseWriter, r *http.Request) {
	a, err := p.linkedAttempt(r)
	if err != nil {
		p.linkUnknown(w, r, err)
		return
	}
	if a.State == login.Scanned {
		if !p.proven(r, a) {
			p.askProof(w, r, a)
			return
		}
		p.showConfirm(w, r, http.StatusOK, a)
		return
	}
	p.showOutcome(w, r, http.StatusOK, a)
}

// confirm is POST confirm/{token}: the answer.
func (p *Portal) confirm(w http.ResponseWriter, r *http.Request) {
	choice := ""
	if readForm(w, r) == nil { // half a form is no answer
		choice = r.PostFormValue("choice")
	}
	if choice == login.ChoiceRevoke {
		p.revokeAttempt(w, r)
		return
	}
	a, err := p.linkedAttempt(r)
	if err != nil {
		p.linkUnknown(w, r, err)
		return
	}
	a, changed, err := p.answerLink(r, a, choice)
	switch {
	case errors.Is(err, login.ErrUnproven):
		p.askProof(w, r, a)
	case err != nil:
		p.linkUnknown(w, r, err)
	case a.State == login.Scanned: // no answer at all
		p.showConfirm(w, r, http.StatusBadRequest, a)
	case changed:
		p.answered(r, a)
		p.showOutcome(w, r, http.StatusOK, a)
	default:
		p.showOutcome(w, r, http.StatusConflict, a)
	}
}

// linkedAttempt returns the attempt of the link that the person who scanned got in
// the chat. A ticket of a mini program is no such link.
func (p *Portal) linkedAttempt(r *http.Request) (login.Attempt, error) {
	return p.limits.confirms.find(r.Context(), p.ClientAddr(r), p.Now(), func(ctx context.Context) (login.Attempt, error) {
		a, err := p.Login.ByToken(ctx, r.PathValue("token"))
		if err == nil && a.Method == login.MiniQR {
			return login.Attempt{}, login.ErrNotFound
		}
		return a, err
	})
}

// disown ends the session of an attempt, also where a store that is full does not
// take the answer. Without an error, there is none any more.
func (p *Portal) disown(r *http.Request, a login.Attempt) (login.Attempt, error) {
	answered, _, err := p.anySite.Answer(r.Context(), a.Token, login.ChoiceRevoke, login.Person{})
	if err == nil {
		a = answered
	}
	if a.SessionID != "" {
		if endErr := p.endDisowned(r, a); err == nil {
			err = endErr
		}
	}
	return a, err
}

// endDisowned ends the session that came of an attempt, and the one that took its
// place: whoever has it may have had the user made one with his own, by an address, and
// got another session for that.
func (p *Portal) endDisowned(r *http.Request, a login.Attempt) error {
	// This comes first: a session that is about to take its place is not given out then.
	if _, err := p.Sessions.Revoke(r.Context(), a.SessionID); err != nil {
		return err
	}
	for id := a.SessionID; ; {
		next, found, err := p.Store.Get(r.Context(), handedPrefix+id)
		if err != nil || !found {
			return err
		}
		id = string(next)
		if err := p.endHanded(r, a, id); err != nil {
			return err
		}
	}
}

// endHanded ends a session that took the place of another.
func (p *Portal) endHanded(r *http.Request, a login.Attempt, id string) error {
	s, err := p.Sessions.Find(r.Context(), id)
	if errors.Is(err, session.ErrInvalid) {
		return nil
	}
	if err == nil {
		_, err = p.Sessions.Revoke(r.Context(), id)
	}
	if err == nil {
		event := ofAttempt(audit.RevokeSession, a, "") // whose session it is did nothing
		event.UserID, event.SessionID, event.Count = s.UserID, id, 1
		p.record(r, event)
	}
	return err
}

// revokeAttempt is the answer "that was not me" after the fact: the session that
// came of the attempt ends, and one that has yet to come never does.
func (p *Portal) revokeAttempt(w http.ResponseWriter, r *http.Request) {
	a, err := p.linkedAttempt(r)
	if err == nil {
		a, err = p.disown(r, a)
	}
	if err != nil {
		p.linkUnknown(w, r, err)
		return
	}
	p.noteDisowned(r, a)
	p.pages.Notice(w, r, http.StatusOK, page.Revoked)
}

// noteDisowned takes note of "that was not me".
func (p *Portal) noteDisowned(r *http.Request, a login.Attempt) {
	p.Log.Warn("sign-in disowned on the phone", zap.String("account", a.AppID), zap.String("openid", maskOpenID(a.OpenID)),
		zap.String("browser_ip", a.Client.Address), zap.Stringer("client_ip", p.ClientAddr(r)))
	p.Count("attempt", a.AppID, "disowned")
	p.record(r, ofAttempt(audit.Disown, a, ""))
}

func (p *Portal) showConfirm(w http.ResponseWriter, r *http.Request, status int, a login.Attempt) {
	p.pages.Confirm(w, r, status, confirmOf(a, string(a.Confirm)))
}

func confirmOf(a login.Attempt, mode string) page.Confirm {
	return page.Confirm{
		Mode: mode, Choices: a.Choices, Browser: a.Client.Browser, Address: a.Client.Address,
		At: a.CreatedAt.In(login.Beijing), Host: hostOf(a.Portal),
	}
}

// hostOf is the host of a URL with its port, and hostnameOf without.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func hostnameOf(address string) string {
	host := url.URL{Host: hostOf(address)}
	return host.Hostname()
}

// showOutcome says what became of an attempt that is not to be answered any more.
func (p *Portal) showOutcome(w http.ResponseWriter, r *http.Request, status int, a login.Attempt) {
	switch {
	case a.State == login.Confirmed, a.State == login.Consumed:
		// The page says that it is done, and offers "that was not me".
		p.pages.Confirm(w, r, status, confirmOf(a, page.ModeRevoke))
	case a.State == login.Expired:
		p.pages.Notice(w, r, status, page.LinkExpired)
	case a.State == login.Denied && a.Reason == login.ReasonWrongNumber:
		p.pages.Notice(w, r, status, page.WrongNumber)
	case a.State == login.Cancelled && a.Reason == login.ReasonPhone:
		p.pages.Notice(w, r, status, page.Cancelled)
	default:
		p.pages.Notice(w, r, status, page.AlreadyDone)
	}
}

// linkUnknown answers for a link that leads nowhere, or might.
func (p *Portal) linkUnknown(w http.ResponseWriter, r *http.Request, err error) {
	if limited, ok := errors.AsType[limitedError](err); ok {
		setRetryAfter(w, limited.wait)
		p.pages.Notice(w, r, http.StatusTooManyRequests, page.TooMany)
		return
	}
	if errors.Is(err, login.ErrNotFound) {
		p.pages.Notice(w, r, http.StatusNotFound, page.LinkUnknown)
		return
	}
	p.unavailable(w, r, err)
}
