// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/audit"
)

// eventPrefix begins the names of the Caddy events.
const eventPrefix = "wechat."

// auditor writes each event to the log `wechat.audit` and emits it as a Caddy event.
type auditor struct {
	log    *zap.Logger
	events *emitter
}

func newAuditor(ctx caddy.Context, log *zap.Logger) (*auditor, error) {
	mod, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("loading the events app: %w", err)
	}
	events, ok := mod.(*caddyevents.App)
	if !ok {
		return nil, fmt.Errorf("the events app is a %T", mod)
	}
	// The last events are emitted when Caddy has ended the context already.
	living, cancel := context.WithCancel(context.WithoutCancel(ctx.Context))
	ctx.Context = living
	emit := func(e emission) { events.Emit(ctx, e.name, e.data) }
	return &auditor{log: log.Named("audit"), events: newEmitter(emit, cancel, log)}, nil
}

// record is an audit.Recorder.
func (a *auditor) record(_ context.Context, e audit.Event) {
	fields := fieldsOf(e)
	zapFields := make([]zap.Field, len(fields))
	data := make(map[string]any, len(fields))
	for i, f := range fields {
		zapFields[i], data[f.name] = zap.Any(f.name, f.value), f.value
	}
	a.log.Info(string(e.Action), zapFields...)
	a.events.add(emission{eventPrefix + string(e.Action), data})
}

// close emits what is queued.
func (a *auditor) close() { a.events.close() }

// field is one field of an event as it is written.
type field struct {
	name  string
	value any
}

// fieldsOf returns the fields of an event that have a value, in a fixed order.
func fieldsOf(e audit.Event) []field {
	fields := []field{{"action", string(e.Action)}, {"result", string(e.Result)}}
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, field{name, value})
		}
	}
	add("reason", e.Reason)
	add("actor", string(e.Actor.Kind))
	add("actor_id", e.Actor.ID)
	add("ip", e.Actor.IP)
	add("user_agent", e.Actor.UserAgent)
	add("user_id", e.UserID)
	add("session_id", e.SessionID)
	add("site", e.Site)
	add("method", e.Method)
	add("account", e.Account)
	add("openid", e.OpenID)
	add("channel", e.Channel)
	add("address", e.Address)
	add("before", e.Before)
	add("after", e.After)
	if e.Count != 0 {
		fields = append(fields, field{"count", e.Count})
	}
	add("detail", e.Detail)
	return fields
}
