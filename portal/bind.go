// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/text/width"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
	"github.com/caddy-wechat/caddy-wechat/sender"
	"github.com/caddy-wechat/caddy-wechat/user"
)

const (
	// sendTime bounds how long a sender may take.
	sendTime = 15 * time.Second
	// retrySender is after how long a person may try again where it fails.
	retrySender = 30 * time.Second
)

// binding is what a person does about an address.
type binding struct {
	who *Principal
	ch  user.Channel
	// address is as the person has typed it, and in its canonical form once it is known.
	address, code, returnTo string
	// again says that the person asks for another code.
	again bool
}

// signedIn returns who a request comes from, for the pages on which people look after
// themselves: whoever is not admitted yet may use them. Where it returns nil it
// has answered.
func (p *Portal) signedIn(w http.ResponseWriter, r *http.Request) *Principal {
	who, err := p.identify(r.Context(), credentialsOf(r))
	switch {
	case err != nil:
		p.signInFirst(w, r, err)
	case who.User.Admission == user.IsDisabled:
		p.turnAway(w, r, who, user.IsDisabled)
	default:
		return who
	}
	return nil
}

// askForMissing answers a person who may enter once something is known of him: a page
// where he can say so, in place, or the address of that page. It reports false
// where that is not what keeps the person out.
func (p *Portal) askForMissing(w http.ResponseWriter, r *http.Request, why user.Admission) bool {
	_, u := p.Original(r)
	answer := apiError{Error: "not_admitted", Reason: string(why)}
	at := p.origin(r) + p.Prefix
	var show func()
	switch why {
	case user.EmailMissing, user.PhoneMissing:
		ch := user.ByEmail
		if why == user.PhoneMissing {
			ch = user.ByPhone
		}
		answer.BindURL, answer.Message = at+"/bind", "this user has to prove an address first, at bind_url"
		show = func() { p.showBind(w, r, http.StatusForbidden, binding{ch: ch, returnTo: u.RequestURI()}, page.Bind{}) }
	case user.NameMissing:
		answer.NameURL, answer.Message = at+"/name", "this user has to choose a display name first, at name_url"
		show = func() { p.pages.Name(w, r, http.StatusForbidden, page.Name{ReturnTo: p.linkPath(u.RequestURI())}) }
	default:
		return false
	}
	if isNavigation(r) {
		show()
	} else {
		writeJSON(w, http.StatusForbidden, answer)
	}
	return true
}

// bindPage is GET bind: asks for the address that is missing, or says which it is.
func (p *Portal) bindPage(w http.ResponseWriter, r *http.Request) {
	who := p.signedIn(w, r)
	if who == nil {
		return
	}
	channels := p.Users.Policy().Bind
	if len(channels) == 0 {
		p.notFound(w, r)
		return
	}
	ch := user.Channel(r.URL.Query().Get("channel"))
	if !slices.Contains(channels, ch) {
		ch = channels[max(0, slices.IndexFunc(channels, func(c user.Channel) bool { return who.User.Address(c) == "" }))]
	}
	b := binding{who: who, ch: ch, returnTo: r.URL.Query().Get("return_to")}
	p.showBind(w, r, http.StatusOK, b, page.Bind{})
}

// showBind writes the page. Of d, it takes what went wrong and whether a code is on its way.
func (p *Portal) showBind(w http.ResponseWriter, r *http.Request, status int, b binding, d page.Bind) {
	d.Channel, d.Address, d.ReturnTo = string(b.ch), b.address, p.linkPath(b.returnTo)
	d.Back = p.wayBack(b.who, d.ReturnTo)
	_, d.BySender = p.Senders[b.ch]
	for _, other := range p.Users.Policy().Bind {
		if other != b.ch && (b.who == nil || b.who.User.Address(other) == "") {
			d.Others = append(d.Others, string(other))
		}
	}
	if b.who != nil {
		if bound := b.who.User.Address(b.ch); bound != "" {
			d.Bound = user.Mask(b.ch, bound)
		}
	}
	p.pages.Bind(w, r, status, d)
}

// readBinding returns what a person who may bind an address asks for. Where it
// reports false it has answered.
func (p *Portal) readBinding(w http.ResponseWriter, r *http.Request) (binding, bool) {
	who := p.signedIn(w, r)
	if who == nil {
		return binding{}, false
	}
	var body struct {
		Channel  string `json:"channel"`
		Address  string `json:"address"`
		Code     string `json:"code"`
		ReturnTo string `json:"return_to"`
	}
	var err error
	if isJSON(r) {
		err = readJSON(w, r, &body)
	} else if err = readForm(w, r); err == nil {
		body.Channel, body.Address = r.PostFormValue("channel"), r.PostFormValue("address")
		body.Code, body.ReturnTo = r.PostFormValue("code"), r.PostFormValue("return_to")
	}
	ch := user.Channel(body.Channel)
	if err != nil || !slices.Contains(p.Users.Policy().Bind, ch) {
		writeError(w, http.StatusBadRequest, "bad_request", "the body must be a small form or JSON object with a channel that this site asks for, and an address")
		return binding{}, false
	}
	b := binding{who: who, ch: ch, address: body.Address, code: plainDigits(body.Code), returnTo: p.linkPath(body.ReturnTo)}
	b.again = !isJSON(r) && r.PostFormValue("again") == "true"
	canonical, err := user.Canonical(ch, body.Address)
	if err != nil {
		p.badAddress(w, r, b)
		return binding{}, false
	}
	b.address = canonical
	return b, true
}

// plainDigits is a code as it was sent: Chinese keyboards type wide digits, and
// people put a space in the middle.
func plainDigits(typed string) string {
	digits := make([]rune, 0, len(typed))
	for _, c := range width.Narrow.String(typed) {
		if c != ' ' {
			digits = append(digits, c)
		}
	}
	return string(digits)
}

func (p *Portal) badAddress(w http.ResponseWriter, r *http.Request, b binding) {
	p.bindProblem(w, r, http.StatusBadRequest, b, page.Bind{Problem: page.BadAddress}, "this address cannot be used: check how it is written")
}

// bindProblem says what is wrong, on the page or as JSON.
func (p *Portal) bindProblem(w http.ResponseWriter, r *http.Request, status int, b binding, d page.Bind, message string) {
	if wantsJSON(r) {
		writeError(w, status, string(d.Problem), message)
		return
	}
	p.showBind(w, r, status, b, d)
}

// sendCode is POST bind/code: has a code sent to an address. The answer is the same
// whosever the address is.
func (p *Portal) sendCode(w http.ResponseWriter, r *http.Request) {
	b, ok := p.readBinding(w, r)
	if !ok || p.alreadyBound(w, r, b, audit.SendCode) {
		return
	}
	to, ok := p.Senders[b.ch]
	if !ok {
		p.bindProblem(w, r, http.StatusBadRequest, b, page.Bind{Problem: page.NotSent}, "no codes are sent by this channel: WeChat's mini program tells the address")
		return
	}
	// Also where the sender fails then: somebody who is in no hurry does not notice.
	if wait := p.limits.codes.take(p.ClientAddr(r), p.Now()); wait > 0 {
		p.tooManyCodes(w, r, b, wait)
		return
	}
	err := p.deliver(r, b, to)
	event := bindEvent(audit.SendCode, b)
	tooMany, limited := errors.AsType[*user.TooManyError](err)
	switch {
	case limited:
		p.tooManyCodes(w, r, b, tooMany.Wait)
	case errors.Is(err, sender.ErrAddress):
		event.Result, event.Reason = audit.Refused, string(page.BadAddress)
		p.record(r, event)
		p.badAddress(w, r, b)
	case errors.Is(err, user.ErrNotSent):
		event.Result, event.Reason, event.Detail = audit.Failed, string(page.NotSent), err.Error()
		p.record(r, event)
		p.warnSender(b.ch, err)
		setRetryAfter(w, retrySender)
		p.bindProblem(w, r, http.StatusServiceUnavailable, b, page.Bind{Problem: page.NotSent}, "the code cannot be sent right now: try again shortly")
	case err != nil:
		p.unavailable(w, r, err)
	default:
		p.record(r, event)
		p.codeSent(w, r, b)
	}
}

// deliver sends a code. What may have been sent counts, and so does an address that
// takes no messages: else the sender's good name would be anybody's to spoil.
func (p *Portal) deliver(r *http.Request, b binding, to sender.Sender) error {
	// A visitor who leaves does not stop it: what may have been sent must count.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), sendTime)
	defer cancel()
	asker := user.Asker{UserID: b.who.User.ID, AppID: b.who.Session.AppID, OpenID: b.who.Session.OpenID}
	return p.codes.Send(ctx, asker, b.ch, b.address, func(code string) error {
		err := to.Send(ctx, sender.Message{To: b.address, Code: code, Site: p.Title, TTL: user.CodeTTL, Language: page.Language(r)})
		if err != nil && (errors.Is(err, sender.ErrAddress) || errors.Is(err, sender.ErrUncertain) || ctx.Err() != nil) {
			return fmt.Errorf("%w: %w", user.ErrCounts, err)
		}
		return err
	})
}

func (p *Portal) codeSent(w http.ResponseWriter, r *http.Request, b binding) {
	p.Log.Info("code sent", zap.String("user_id", b.who.User.ID), zap.String("channel", string(b.ch)),
		zap.String("address", user.Mask(b.ch, b.address)), zap.Stringer("client_ip", p.ClientAddr(r)))
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, struct {
			ExpiresIn int `json:"expires_in"` // seconds
		}{int(user.CodeTTL / time.Second)})
		return
	}
	p.showBind(w, r, http.StatusOK, b, page.Bind{Sent: true})
}

func (p *Portal) tooManyCodes(w http.ResponseWriter, r *http.Request, b binding, wait time.Duration) {
	event := bindEvent(audit.SendCode, b)
	event.Result, event.Reason = audit.Refused, string(page.TooManyOut)
	p.recordRefusal(r, event)
	setRetryAfter(w, wait)
	d := page.Bind{Problem: page.TooManyOut, Sent: b.again} // the code before may be there still
	p.bindProblem(w, r, http.StatusTooManyRequests, b, d, "too many codes were asked for: wait and try again")
}

func bindEvent(action audit.Action, b binding) audit.Event {
	id := b.who.User.ID
	return audit.Event{
		Action: action, Result: audit.OK, Actor: person(id), UserID: id, SessionID: b.who.Session.ID,
		Channel: string(b.ch), Address: b.address,
	}
}
