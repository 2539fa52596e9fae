// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// TestFloodOfRefusals: whoever is signed in, and be it a stranger who awaits approval,
// can have something refused as often as he likes. Those who are told of events hear of
// it once a minute, and how often it was.
func TestFloodOfRefusals(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := func() time.Time { return now }
	o := newTown(t, new(storetest.Memory), user.Policy{Registration: user.Approval}, "admin")
	o.Now, o.warnings = clock, newThrottle(clock)
	o.add(user.Entry{ID: "stranger", Status: user.Pending})
	o.add(user.Entry{ID: "other", Status: user.Pending})
	_, cookie := o.signIn("stranger")
	_, second := o.signIn("stranger")
	_, others := o.signIn("other")
	want := func(when string, counts ...int) {
		t.Helper()
		var got []int
		for _, e := range o.events.take() {
			if e.Action != audit.AdminRefused || e.Result != audit.Refused || e.Reason != "pending" {
				t.Errorf("%s: %+v", when, e)
			}
			got = append(got, e.Count)
		}
		if fmt.Sprint(got) != fmt.Sprint(counts) {
			t.Errorf("%s: events that count %v, want %v", when, got, counts)
		}
	}
	var refused atomic.Int64 // a busy machine answers some with "unavailable"
	ask := func(cookie string) {
		if o.get(cookie, "/_wechat/admin").Code == http.StatusForbidden {
			refused.Add(1)
		}
	}
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { ask(cookie) })
		all.Go(func() { ask(second) }) // another session helps nobody
	}
	all.Wait()
	if refused.Load() < 2 {
		t.Fatalf("%d were refused", refused.Load())
	}
	want("a flood", 0)
	o.get(others, "/_wechat/admin")
	want("somebody else meanwhile", 0)
	o.post(cookie, "/_wechat/admin/users/other", url.Values{"do": {"delete"}})
	want("something else meanwhile", 0)
	now = now.Add(time.Minute - 1)
	o.get(cookie, "/_wechat/admin")
	want("a moment before the minute is over")
	now = now.Add(1)
	o.get(cookie, "/_wechat/admin")
	o.get(cookie, "/_wechat/admin")
	want("after the minute", int(refused.Load())+1)
	now = now.Add(time.Hour)
	o.get(cookie, "/_wechat/admin")
	want("after an hour", 2)
	now = now.Add(time.Hour)
	o.get(cookie, "/_wechat/admin")
	want("and another", 0)
}

// TestFloodOfBindRefusals is TestFloodOfRefusals for all that is refused of proofs of
// addresses. What was sent is told each time, though.
func TestFloodOfBindRefusals(t *testing.T) {
	t.Parallel()
	const a, b = "mallory@example.com", "victim@example.com"
	many := Rate{Count: 1_000_000, Per: time.Hour}
	few := Rate{Count: 3, Per: time.Hour}
	for _, tt := range []struct {
		reason string
		action audit.Action
		limit  Rate
		do     func(mallory *visitor)
	}{
		{"too_many_codes", audit.SendCode, many, func(v *visitor) { v.askCode(b) }},
		{"too_many_codes", audit.SendCode, few, func(v *visitor) { v.askCode(b) }},
		{"already_bound", audit.SendCode, many, func(v *visitor) { v.d.bindTo(v.userID, a); v.askCode(b) }},
		{"already_bound", audit.Bind, many, func(v *visitor) { v.d.bindTo(v.userID, a); v.give(b, "123456") }},
		{"wrong_code", audit.Bind, many, func(v *visitor) { v.give(b, "no code") }},
		{"code_used_up", audit.Bind, many, func(v *visitor) { v.give(b, "123456") }},
		{"too_many_wrong_codes", audit.Bind, few, func(v *visitor) { v.give(b, "123456") }},
	} {
		t.Run(fmt.Sprint(tt.action, " ", tt.reason, " ", tt.limit.Count), func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			clock := func() time.Time { return now }
			d := newDesk(t, byEmail(user.Open))
			limits := NewCodeLimits(tt.limit)
			d.Now, d.warnings, d.limits.codes, d.limits.wrongCodes = clock, newThrottle(clock), limits.sent, limits.wrong
			var told []audit.Event
			sent := 0
			d.Audit = func(_ context.Context, e audit.Event) {
				if e.Action == tt.action && e.Reason == tt.reason {
					told = append(told, e)
				} else if e.Action == audit.SendCode && e.Result == audit.OK {
					sent++
				}
			}
			mallory := d.enter("oMallory")
			for range 50 {
				tt.do(mallory)
			}
			if len(told) != 1 || told[0].Count != 0 || told[0].UserID != mallory.userID {
				t.Fatalf("told within a minute: %d events, %+v", len(told), told)
			}
			now = now.Add(time.Minute)
			tt.do(mallory)
			if len(told) != 2 || told[1].Count < 40 || told[1].Count > 50 {
				t.Errorf("told after the minute: %+v", told[1:])
			}
			if sent != d.box.count() {
				t.Errorf("%d codes were sent and %d told of", d.box.count(), sent)
			}
		})
	}
}

// bindTo gives a user an address.
func (d *desk) bindTo(userID, address string) {
	d.t.Helper()
	if _, err := d.Users.Bind(d.t.Context(), userID, user.ByEmail, address); err != nil {
		d.t.Fatal(err)
	}
}
