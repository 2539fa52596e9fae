// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

const (
	// tellTime is how long telling one person of a sign-in may take.
	tellTime = 5 * time.Second
	// tellersMax is how many are told at a time, and toTellMax how many may wait for
	// that; beyond, somebody is not told.
	tellersMax = 8
	toTellMax  = 256
	// refusedPause is for how long an account that may not write is not asked to.
	refusedPause = 10 * time.Minute
)

// messages tells people in the chat, behind the requests. Its goroutines end when
// there is nobody left to tell.
type messages struct {
	ctx  context.Context //nolint:containedctx // of the goroutines, until close
	stop context.CancelFunc
	all  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting []func(context.Context)
	tellers int
	pauses  map[string]time.Time // by account, until when it is not asked
}

func newMessages() *messages {
	m := &messages{pauses: make(map[string]time.Time)}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// add has tell called soon, unless it is closed, and says whether there was room.
func (m *messages) add(tell func(context.Context)) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(m.waiting) >= toTellMax {
		return m.closed
	}
	m.waiting = append(m.waiting, tell)
	if m.tellers < tellersMax {
		m.tellers++
		m.all.Go(m.run)
	}
	return true
}

func (m *messages) run() {
	for tell := m.next(); tell != nil; tell = m.next() {
		ctx, cancel := context.WithTimeout(m.ctx, tellTime)
		tell(ctx)
		cancel()
	}
}

// next returns what is to be told next; nil ends the teller.
func (m *messages) next() (tell func(context.Context)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) == 0 {
		m.tellers--
		return nil
	}
	tell, m.waiting = m.waiting[0], m.waiting[1:]
	return tell
}

// close drops what waits, breaks off what is under way, and waits for its end.
func (m *messages) close() {
	m.mu.Lock()
	m.closed, m.waiting = true, nil
	m.mu.Unlock()
	m.stop()
	m.all.Wait()
}

// pause has an account not asked for a while.
func (m *messages) pause(appID string, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pauses[appID] = until
}

func (m *messages) paused(appID string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.pauses[appID])
}

// tellOfSignIn has the person told in the chat that a browser is signed in now, and
// how to end that. The sign-in neither waits for it nor fails with it. Where nothing
// had to be confirmed, the answer to the scan has said the same.
func (p *Portal) tellOfSignIn(a login.Attempt) {
	account := p.Accounts[a.AppID]
	inChat := a.Method == login.OfficialQR || a.Method == login.ChatCode
	if account.Messenger == nil || !inChat || a.Confirm == login.ConfirmOff {
		return
	}
	told := p.messages.add(func(ctx context.Context) {
		if p.messages.paused(a.AppID, p.Now()) {
			return
		}
		err := account.Messenger.SendText(ctx, a.OpenID, account.Replies.ToSignedIn(a))
		p.told(ctx, a, err)
	})
	if !told {
		p.warnings.do("messages", func() { p.Log.Warn("too many people are to be told of a new sign-in; some are not") })
	}
}

// told judges what came of telling a person.
func (p *Portal) told(ctx context.Context, a login.Attempt, err error) {
	switch {
	case err == nil:
		p.Log.Debug("told of a new sign-in", zap.String("account", a.AppID), zap.String("openid", maskOpenID(a.OpenID)))
		return
	case errors.Is(err, wechat.ErrUnreachable):
		p.Log.Debug("not told of a new sign-in", zap.String("account", a.AppID), zap.String("openid", maskOpenID(a.OpenID)), zap.Error(err))
		return
	case errors.Is(ctx.Err(), context.Canceled): // by close
		return
	}
	pause := wechat.RetryAfter(err)
	if refusal, ok := errors.AsType[*wechat.Error](err); ok && refusal.Permanent() {
		pause = refusedPause
	}
	p.messages.pause(a.AppID, p.Now().Add(pause))
	p.warnRefusal(a.AppID, "people are not told of new sign-ins in the chat", err)
}
