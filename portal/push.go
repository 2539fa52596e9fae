// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

const (
	// pushBudget is how long a push may take. WeChat allows 5 s; a person who
	// has scanned should not wait half as long.
	pushBudget = 1800 * time.Millisecond
	// answered is how long the answer to an event is remembered, for WeChat to
	// get the same one again. It covers the window in which a push is fresh.
	answered    = 15 * time.Minute
	replyPrefix = store.VolatilePrefix + "reply:"
)

// verifyPushURL is GET push/{app_id}: the check that WeChat's console makes.
func (p *Portal) verifyPushURL(w http.ResponseWriter, r *http.Request) {
	appID := r.PathValue("app_id")
	account, ok := p.Accounts[appID]
	if !ok || account.Receiver == nil {
		p.refusePush(w, r, appID, errUnknownAccount)
		return
	}
	echo, err := account.Receiver.VerifyURL(r.Context(), r.URL.Query())
	if err != nil {
		p.refusePush(w, r, appID, err)
		return
	}
	p.Count("push", appID, "verified")
	p.Log.Info("WeChat has verified the push URL", zap.String("account", appID))
	writePush(w, []byte(echo), "text/plain; charset=utf-8")
}

// push is POST push/{app_id}: an event or a message.
func (p *Portal) push(w http.ResponseWriter, r *http.Request) {
	appID := r.PathValue("app_id")
	account, ok := p.Accounts[appID]
	if !ok || account.Receiver == nil {
		p.refusePush(w, r, appID, errUnknownAccount)
		return
	}
	if wait := p.limits.pushes.take(p.ClientAddr(r), p.Now()); wait > 0 {
		p.Count("push", appID, "limited")
		setRetryAfter(w, wait)
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pushBudget)
	defer cancel()
	// A sender that trickles its body must not outstay the budget either.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(pushBudget))
	m, err := account.Receiver.Receive(ctx, r.URL.Query(), r.Body)
	if m == nil {
		p.refusePush(w, r, appID, err)
		return
	}
	text := ""
	if err == nil {
		text, err = p.answer(ctx, appID, account, m)
	}
	if err != nil && m.Is("unsubscribe") {
		p.deliverAgain(w, appID, err)
		return
	}
	if err != nil {
		text = account.Replies.ToFailure()
		p.Count("push", appID, "failed")
		p.warnings.do("push", func() {
			p.Log.Error("cannot handle a push; the person is asked to try again", zap.String("account", appID), zap.Error(err))
		})
	}
	body, contentType, err := account.Receiver.TextReply(m, text)
	if err != nil {
		p.Log.Error("cannot encode the reply to a push", zap.String("account", appID), zap.Error(err))
		body, contentType = []byte("success"), "text/plain; charset=utf-8"
	}
	writePush(w, body, contentType)
}

// deliverAgain leaves a push without an answer, so that WeChat repeats it: nobody is
// left in the chat who could be asked to.
func (p *Portal) deliverAgain(w http.ResponseWriter, appID string, err error) {
	p.Count("push", appID, "failed")
	p.warnings.do("unfollow", func() {
		p.Log.Error("cannot handle that somebody has unfollowed; WeChat is left to repeat it", zap.String("account", appID), zap.Error(err))
	})
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusServiceUnavailable)
}

// answer returns the reply to a message, empty for none. The same message gets
// the same reply, however often it is delivered.
func (p *Portal) answer(ctx context.Context, appID string, account Account, m *wechat.Message) (string, error) {
	sum := sha256.Sum256([]byte(m.DedupKey()))
	key := replyPrefix + appID + ":" + base64.RawURLEncoding.EncodeToString(sum[:])
	earlier, found, err := p.Store.Get(ctx, key)
	if err != nil {
		return "", err
	}
	if found {
		p.Count("push", appID, "repeated")
		return string(earlier), nil
	}
	text, err := p.handle(ctx, appID, account, m)
	if err == nil {
		err = p.Store.Set(ctx, key, []byte(text), answered)
	}
	if err != nil {
		return "", err
	}
	p.Count("push", appID, "handled")
	return text, nil
}

// handle does what a message asks for and returns the reply.
func (p *Portal) handle(ctx context.Context, appID string, account Account, m *wechat.Message) (string, error) {
	who, replies := login.Person{OpenID: m.FromUserName}, account.Replies
	if scene, ok := m.Scene(); ok {
		a, err := p.Login.Scan(ctx, appID, scene, who)
		return toScan(replies, login.OfficialQR, a, who, err)
	}
	method := login.OfficialQR
	if account.ChatCode {
		method = login.ChatCode
	}
	if m.Is("subscribe") {
		return replies.ToFollower(method), nil
	}
	if m.Is("unsubscribe") {
		return "", p.unfollowed(ctx, appID, m.FromUserName)
	}
	if m.MsgType != "text" || !account.ChatCode {
		return "", nil
	}
	code, ok := login.CodeIn(m.Content)
	if !ok { // a message that is not for us
		return "", nil
	}
	a, err := p.Login.SendCode(ctx, appID, code, who)
	return toScan(replies, method, a, who, err)
}

// toScan is the answer to the person who has scanned a code, or sent one.
func toScan(replies login.Replies, method string, a login.Attempt, who login.Person, err error) (string, error) {
	switch {
	case errors.Is(err, login.ErrTooManyTries):
		return replies.ToGuesser(), nil
	case errors.Is(err, login.ErrNotFound):
		return replies.ToUnknown(method), nil
	case err != nil:
		return "", err
	}
	return replies.ToScan(a, who.OpenID), nil
}

var errUnknownAccount = errors.New("no account of this site has that app id")

// refusePush answers a push that does not prove that WeChat sent it, in few
// words: most come from scanners of the internet.
func (p *Portal) refusePush(w http.ResponseWriter, r *http.Request, appID string, err error) {
	status, result := http.StatusForbidden, "refused"
	switch {
	case errors.Is(err, errUnknownAccount):
		status, appID = http.StatusNotFound, ""
	case errors.Is(err, wechat.ErrTooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, wechat.ErrMalformed):
		status = http.StatusBadRequest
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		// Nothing is known against it. WeChat delivers it again; by then the store may be back.
		status, result = http.StatusServiceUnavailable, "failed"
	}
	p.Count("push", appID, result)
	p.warnings.do("push "+appID, func() {
		p.Log.Warn("refusing a push", zap.String("account", appID), zap.Stringer("client_ip", p.ClientAddr(r)), zap.Error(err))
	})
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

func writePush(w http.ResponseWriter, body []byte, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	// Should WeChat have hung up, it will deliver again.
	_, _ = w.Write(body) //nolint:gosec // XML of ours, or an echo that the receiver has judged
}
