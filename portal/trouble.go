// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/sender"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// warnSender tells the operator, once in a while, that codes do not reach people.
// An address that the sender refuses is no matter for an operator.
func (p *Portal) warnSender(ch user.Channel, err error) {
	const what = "a code could not be sent"
	switch {
	case errors.Is(err, sender.ErrAddress):
	case errors.Is(err, sender.ErrUnavailable):
		p.warnings.do(what+string(ch), func() {
			p.Log.Warn(what, zap.String("channel", string(ch)), zap.Error(err))
		})
	default:
		p.warnings.do(what+string(ch)+"trouble", func() {
			p.Log.Error(what, zap.String("channel", string(ch)), zap.Error(err))
			p.trouble(audit.Event{Reason: "sender_refused", Channel: string(ch), Detail: err.Error()})
		})
	}
}

// trouble records what only an operator can mend. It is no visitor's doing.
//
//nolint:contextcheck,nolintlint // nor does it belong to a visitor's request; contextcheck reads this without saying so
func (p *Portal) trouble(e audit.Event) {
	e.Action, e.Result, e.Actor, e.Site = audit.Trouble, audit.Failed, audit.Actor{Kind: audit.Gateway}, p.Origins[0]
	p.Audit(context.Background(), e)
}
