// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-wechat/caddy-wechat/audit"
)

// recorder is an event handler as somebody else might write one.
type recorder struct{}

// handled gets the events of all recorders.
var handled = make(chan caddy.Event, 10)

func init() { caddy.RegisterModule(recorder{}) }

func (recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.wechat_test_recorder", New: func() caddy.Module { return new(recorder) }}
}

func (recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

func (recorder) Handle(_ context.Context, e caddy.Event) error {
	handled <- e
	return nil
}

// An operator routes the audit log to a file of its own and subscribes to an event,
// as docs/audit.md shows. Both tell the same, under the documented names.
func TestAudit_LogAndEvents(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	g := gateway{addr: freeAddr(t), dir: stateOf(t), api: unusedAPI(t)}
	text := strings.Replace(g.caddyfile(), "\tauto_https off\n", fmt.Sprintf(`	auto_https off
	log wechat_audit {
		include wechat.audit
		output file %s
		format json
	}
	log default {
		exclude wechat.audit
		output discard
	}
	events {
		on wechat.change_roles wechat_test_recorder
	}
`, file), 1)
	raw, err := adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	config := parseConfig(t, raw)
	var logging struct{ Logging *caddy.Logging }
	if err := json.Unmarshal(raw, &logging); err != nil {
		t.Fatal(err)
	}
	config.Logging = logging.Logging
	defer stop(t)
	if err := load(t, config); err != nil {
		t.Fatal(err)
	}
	app, err := caddy.ActiveContext().App("wechat")
	if err != nil {
		t.Fatal(err)
	}
	event := audit.Event{
		Action: audit.ChangeRoles, Result: audit.OK, Reason: "r", Actor: audit.Actor{Kind: audit.Admin, ID: "a", IP: "192.0.2.1", UserAgent: "ua"},
		UserID: "u", SessionID: "s", Site: "https://example.com", Method: "official_qr", Account: "wx", OpenID: "o",
		Channel: "email", Address: "ann@example.com", Before: "b", After: "c", Count: 2, Detail: "d",
	}
	app.(*App).auditor.record(t.Context(), event) //nolint:forcetypeassert // it is ours
	app.(*App).auditor.record(t.Context(), audit.Event{Action: audit.SignOut, Result: audit.OK})
	want := map[string]any{
		"action": "change_roles", "result": "ok", "reason": "r", "actor": "admin", "actor_id": "a", "ip": "192.0.2.1", "user_agent": "ua",
		"user_id": "u", "session_id": "s", "site": "https://example.com", "method": "official_qr", "account": "wx", "openid": "o",
		"channel": "email", "address": "ann@example.com", "before": "b", "after": "c", "count": 2, "detail": "d",
	}
	got := <-handled
	if diff := cmp.Diff(want, got.Data); got.Name() != "wechat.change_roles" || got.Origin().CaddyModule().ID != "wechat" || diff != "" {
		t.Errorf("event %s of %s (-want +got):\n%s", got.Name(), got.Origin().CaddyModule().ID, diff)
	}
	want["count"] = 2.0
	for i, line := range logLines(t, file) {
		if line["logger"] != "wechat.audit" || line["level"] != "info" || line["ts"] == nil {
			t.Errorf("line %v", line)
		}
		for _, key := range []string{"logger", "level", "ts"} {
			delete(line, key)
		}
		expected := want
		if i == 1 {
			expected = map[string]any{"action": "sign_out", "result": "ok"}
		}
		expected["msg"] = expected["action"]
		if diff := cmp.Diff(expected, line); i > 1 || diff != "" {
			t.Errorf("line %d (-want +got):\n%s", i, diff)
		}
	}
}

// logLines are the lines of a log, which are there: the log is written at once.
func logLines(t *testing.T, file string) (lines []map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(raw)) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		lines = append(lines, line)
	}
	if len(lines) != 2 {
		t.Fatalf("%d lines in the log:\n%s", len(lines), raw)
	}
	return lines
}

// A configuration goes while events are queued: their handlers get them all the
// same, although Caddy has ended the context.
func TestAudit_LastEventsOfAConfiguration(t *testing.T) {
	g := gateway{addr: freeAddr(t), dir: stateOf(t), api: unusedAPI(t)}
	text := strings.Replace(g.caddyfile(), "\tauto_https off\n", "\tauto_https off\n\tevents {\n\t\ton wechat.rename wechat_test_recorder\n\t}\n", 1)
	if err := load(t, mustAdapt(t, text)); err != nil {
		t.Fatal(err)
	}
	app, err := caddy.ActiveContext().App("wechat")
	if err != nil {
		t.Fatal(err)
	}
	const many = 100 // more than the recorder takes before somebody reads
	for range many {
		app.(*App).auditor.record(t.Context(), audit.Event{Action: audit.Rename, Result: audit.OK}) //nolint:forcetypeassert // it is ours
	}
	var seen sync.WaitGroup
	seen.Go(func() {
		for range many {
			<-handled
		}
	})
	stop(t)
	seen.Wait()
}

// emissions are n events, named by their numbers.
func emissions(n int) (all []emission) {
	for i := range n {
		all = append(all, emission{name: fmt.Sprint(i)})
	}
	return all
}

// Handlers get every event, one at a time and in order, the queued ones at the end
// of the configuration included.
func TestEmitter_Order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []emission // written by one goroutine at a time, or the race detector says so
		cancelled := false
		q := newEmitter(func(e emission) {
			time.Sleep(time.Millisecond) //nolint:forbidigo // a handler that takes its time, in the bubble
			got = append(got, e)
		}, func() { cancelled = true }, zap.NewNop())
		for _, e := range emissions(50) {
			q.add(e)
		}
		synctest.Wait()
		time.Sleep(time.Second) //nolint:forbidigo // in the bubble
		for _, e := range emissions(50) {
			q.add(e)
		}
		q.close()
		if diff := cmp.Diff(append(emissions(50), emissions(50)...), got, cmp.AllowUnexported(emission{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		q.close() // Caddy may clean up twice
		if !cancelled {
			t.Error("the handlers' context is not ended")
		}
	})
}

// A flood of sign-ins meets a handler that hangs: memory is bounded, nobody waits,
// and the log says once a minute how much was missed. The end of the configuration
// does not wait for it either.
func TestEmitter_HangingHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.WarnLevel)
		ctx, cancel := context.WithCancel(context.Background())
		emitted := 0
		q := newEmitter(func(emission) { emitted++; <-ctx.Done() }, cancel, zap.New(core))
		q.add(emission{})
		synctest.Wait() // the handler has it
		for _, e := range emissions(maxQueued + 10) {
			q.add(e)
		}
		if len(q.queue) != maxQueued {
			t.Errorf("%d events are queued, want %d", len(q.queue), maxQueued)
		}
		time.Sleep(warnLostEvery) //nolint:forbidigo // in the bubble
		q.add(emission{})
		begin := time.Now()
		q.close()
		if waited := time.Since(begin); waited != lastEmissions {
			t.Errorf("closing takes %v", waited)
		}
		synctest.Wait()
		if emitted != maxQueued+1 {
			t.Errorf("%d events were emitted", emitted)
		}
		q.add(emission{}) // of a request that outlives its configuration
		var lost []int64
		for _, line := range logs.All() {
			lost = append(lost, line.ContextMap()["lost"].(int64)) //nolint:forcetypeassert // it is a number
		}
		if diff := cmp.Diff([]int64{1, 10}, lost); diff != "" {
			t.Errorf("warnings of lost events (-want +got):\n%s", diff)
		}
	})
}

func TestEmitter_NothingToDo(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		newEmitter(func(emission) {}, func() {}, zap.NewNop()).close()
	})
}
