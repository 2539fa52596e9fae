// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/sender"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// What only the operator can mend is in the audit log, once a minute however many
// visitors run into it; what mends itself, or is the visitor's matter, is not.
func TestTrouble_IsRecordedOnce(t *testing.T) {
	gateway := audit.Actor{Kind: audit.Gateway}
	refusal := &wechat.Error{Endpoint: "cgi-bin/qrcode/create", Code: 48001, Message: "no"}
	for _, tt := range []struct {
		name  string
		fail  func(*Portal)
		level zapcore.Level // DebugLevel for no line
		want  []audit.Event
	}{
		{"an account without permission", func(p *Portal) { p.warnRefusal("wx1", "no codes", fmt.Errorf("asking: %w", refusal)) }, zap.ErrorLevel, []audit.Event{{
			Action: audit.Trouble, Result: audit.Failed, Reason: "wechat_refused", Actor: gateway, Site: "https://example.com", Account: "wx1",
			Detail: "no codes: " + refusal.Meaning() + ": " + refusal.Cure(),
		}}},
		{"WeChat away", func(p *Portal) { p.warnRefusal("wx1", "no codes", wechat.ErrUnavailable) }, zap.WarnLevel, nil},
		{"a visitor's code", func(p *Portal) { p.warnRefusal("wx1", "no codes", wechat.ErrInvalidCode) }, zap.InfoLevel, nil},
		{"a wrong mail password", func(p *Portal) { p.warnSender(user.ByEmail, errors.New("refuses the password")) }, zap.ErrorLevel, []audit.Event{{
			Action: audit.Trouble, Result: audit.Failed, Reason: "sender_refused", Actor: gateway, Site: "https://example.com", Channel: "email", Detail: "refuses the password",
		}}},
		{"a mail server away", func(p *Portal) { p.warnSender(user.ByEmail, fmt.Errorf("sending: %w", sender.ErrUnavailable)) }, zap.WarnLevel, nil},
		{"no such mailbox", func(p *Portal) { p.warnSender(user.ByEmail, fmt.Errorf("sending: %w", sender.ErrAddress)) }, zap.DebugLevel, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			now := noon
			var events []audit.Event
			p := &Portal{Config: Config{
				Log: zap.New(core), Origins: []string{"https://example.com"},
				Audit: func(_ context.Context, e audit.Event) { events = append(events, e) },
			}, warnings: newThrottle(func() time.Time { return now })}
			for range 100 {
				tt.fail(p)
			}
			if diff := cmp.Diff(tt.want, events); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			lines := 1
			if tt.level == zap.DebugLevel {
				lines = 0
			}
			if logs.Len() != lines || logs.FilterLevelExact(tt.level).Len() != lines {
				t.Errorf("logged %v, want %d at %v", logs.All(), lines, tt.level)
			}
			now = now.Add(warnEvery)
			if tt.fail(p); len(events) != 2*len(tt.want) {
				t.Errorf("%d events after a minute, want %d", len(events), 2*len(tt.want))
			}
		})
	}
}
