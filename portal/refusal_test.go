// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// TestWarnRefusal: what a visitor causes is no error and has no cure; what lasts until
// the operator acts is an error with its cure. Neither fills the log.
func TestWarnRefusal(t *testing.T) {
	refused := func(endpoint string, code int) error {
		return fmt.Errorf("asking: %w", &wechat.Error{Endpoint: endpoint, Code: code, Message: "no"})
	}
	for _, tt := range []struct {
		name  string
		err   error
		level zapcore.Level
		cure  bool
		code  int64
	}{
		{"a code that is made up", refused("sns/oauth2/access_token", 40029), zap.InfoLevel, false, 40029},
		{"a code that is used", refused("sns/oauth2/access_token", 40163), zap.InfoLevel, false, 40163},
		{"a code that is too old", refused("sns/oauth2/access_token", 42003), zap.InfoLevel, false, 42003},
		{"a mini program's code", refused("sns/jscode2session", 40029), zap.InfoLevel, false, 40029},
		{"what cannot be a code", fmt.Errorf("asking: %w: it is too long", wechat.ErrInvalidCode), zap.InfoLevel, false, 0},
		{"a wrong secret", refused("sns/oauth2/access_token", 40125), zap.ErrorLevel, true, 40125},
		{"an account without permission", refused("cgi-bin/qrcode/create", 48001), zap.ErrorLevel, true, 48001},
		{"WeChat cannot be reached", fmt.Errorf("asking: %w", wechat.ErrUnavailable), zap.WarnLevel, false, 0},
		{"something else", errors.New("something else"), zap.WarnLevel, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			now := noon
			p := &Portal{Config: Config{Log: zap.New(core), Origins: []string{"https://example.com"}, Audit: audit.Discard}, warnings: newThrottle(func() time.Time { return now })}
			for range 100 {
				p.warnRefusal("wxaccount", "WeChat does not say who it is", tt.err)
			}
			if logs.Len() != 1 {
				t.Fatalf("a hundred of them are %d lines", logs.Len())
			}
			line := logs.All()[0]
			fields := line.ContextMap()
			_, cure := fields["cure"]
			code, _ := fields["errcode"].(int64)
			if line.Level != tt.level || cure != tt.cure || code != tt.code || fields["account"] != "wxaccount" {
				t.Errorf("logged as %v with %v, want %v with cure %v and errcode %d", line.Level, fields, tt.level, tt.cure, tt.code)
			}
			now = now.Add(warnEvery)
			if p.warnRefusal("wxaccount", "WeChat does not say who it is", tt.err); logs.Len() != 2 {
				t.Errorf("a minute later: %d lines", logs.Len())
			}
		})
	}
	t.Run("visitors do not hide what lasts", func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		p := &Portal{Config: Config{Log: zap.New(core), Origins: []string{"https://example.com"}, Audit: audit.Discard}, warnings: newThrottle(func() time.Time { return noon })}
		p.warnRefusal("wxaccount", "what", refused("sns/oauth2/access_token", 40163))
		p.warnRefusal("wxaccount", "what", refused("sns/oauth2/access_token", 40125))
		if got := logs.FilterLevelExact(zap.ErrorLevel).Len(); got != 1 {
			t.Errorf("%d errors among %v", got, logs.All())
		}
	})
}

// fullStore is a store in which every code is taken.
type fullStore struct{ store.Store }

func (fullStore) Create(context.Context, string, []byte, time.Duration) (bool, error) {
	return false, nil
}

// TestQ14NoCodeLeft: an attacker has taken all codes of an account. Visitors are told
// to use another method, and shown it first, as if WeChat had refused; the store is not
// blamed, and the operator hears once what it is and what to do.
func TestQ14NoCodeLeft(t *testing.T) {
	o := newOutage(t, login.ConfirmNumber)
	core, logs := observer.New(zap.DebugLevel)
	now := time.Now()
	clock := func() time.Time { return now }
	o.Log, o.Now, o.warnings = zap.New(core), clock, newThrottle(clock)
	counted := make(map[string]int)
	o.Count = func(event, _, result string) { counted[event+" "+result]++ }
	o.Login = login.NewService(o.store, map[string]login.Starter{
		login.StarterKey(login.ChatCode, outageApp):   &login.Chat{Store: fullStore{o.store}, TTL: time.Minute, Confirm: login.ConfirmNumber},
		login.StarterKey(login.OfficialQR, outageApp): &login.Official{Codes: sceneCodes{}, TTL: time.Minute, Confirm: login.ConfirmNumber},
	}, clock)
	t.Cleanup(o.Login.Close)
	chat := Offer{Method: login.ChatCode, AppID: outageApp}
	o.Offers = []Offer{chat, {Method: login.OfficialQR, AppID: outageApp}}
	shows := &shop{Portal: o.Portal}

	shows.shows(t, "before", desktopUA, login.ChatCode, login.OfficialQR)
	for range 3 {
		w := o.serve(http.MethodPost, "/_wechat/attempts", `{"method":"chat_code"}`)
		if retry := w.Header().Get("Retry-After"); w.Code != http.StatusServiceUnavailable || retry != "60" || !strings.Contains(w.Body.String(), `"error":"wechat_unavailable"`) {
			t.Errorf("answered %d, Retry-After %q: %s", w.Code, retry, w.Body)
		}
	}
	if lines := logs.All(); len(lines) != 1 || lines[0].Level != zap.ErrorLevel || lines[0].ContextMap()["cure"] == nil {
		t.Errorf("the operator hears %v", lines)
	}
	if counted["attempt limited"] != 3 || counted["attempt store_failed"] != 0 {
		t.Errorf("counted %v", counted)
	}
	shows.shows(t, "while it is full", desktopUA, login.OfficialQR, login.ChatCode)
	if w := o.serve(http.MethodPost, "/_wechat/attempts", `{"method":"official_qr"}`); w.Code != http.StatusCreated {
		t.Errorf("the other method: %d %s", w.Code, w.Body)
	}
	now = now.Add(troubleTime)
	shows.shows(t, "a minute later", desktopUA, login.ChatCode, login.OfficialQR)
}
