// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/sender"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// TestBindNetworks: Mallory has a /24, or an IPv6 /48, and a WeChat account for each of
// its addresses. The whole has ten clients' worth of codes, and of wrong ones.
func TestBindNetworks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, format, elsewhere string }{
		{"IPv4", "198.51.100.%d", "198.51.101.1"},
		{"IPv6", "2001:db8:1:%x::1", "2001:db8:2::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, byEmail(user.Open))
			limits := NewCodeLimits(Rate{Count: 2, Per: time.Hour})
			d.limits.codes, d.limits.wrongCodes = limits.sent, limits.wrong
			var client netip.Addr
			d.ClientAddr = func(*http.Request) netip.Addr { return client }
			wrong := 0
			for i := range 50 {
				client = netip.MustParseAddr(fmt.Sprintf(tt.format, i))
				mallory := d.enter(fmt.Sprint("oMallory", i))
				mallory.askCode(fmt.Sprintf("a%d@example.com", i))
				if w := mallory.give("victim@example.com", "123456"); w.Code != http.StatusTooManyRequests {
					wrong++
				}
			}
			if n := d.box.count(); n != 20 || wrong != 20 {
				t.Errorf("%d codes went out and %d guesses were looked at, want 20 of each", n, wrong)
			}
			client = netip.MustParseAddr(tt.elsewhere)
			if w := d.enter("oAlice").prove("alice@example.com"); w.Code != http.StatusOK {
				t.Errorf("an honest visitor elsewhere: %d", w.Code)
			}
		})
	}
}

// TestBindRightCodesCostNothing: a whole town behind one address proves its addresses.
func TestBindRightCodesCostNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	d.limits.wrongCodes = newWideLimiter(Rate{Count: 1, Per: time.Hour})
	for i := range 30 {
		if w := d.enter(fmt.Sprint("o", i)).prove(fmt.Sprintf("a%d@example.com", i)); w.Code != http.StatusOK {
			t.Fatalf("visitor %d: %d %s", i, w.Code, w.Body)
		}
	}
}

// TestBindSitesShare: Mallory goes from site to site of one gateway. All together send
// him as many codes, and look at as many wrong ones, as one site does.
func TestBindSitesShare(t *testing.T) {
	t.Parallel()
	limits := Limits{Codes: NewCodeLimits(Rate{Count: 4, Per: time.Hour})}
	sent, looked := 0, 0
	for i := range 3 {
		d := newDesk(t, byEmail(user.Open))
		d.limits = newLimits(limits)
		for j := range 4 {
			mallory := d.enter(fmt.Sprint("oMallory", j))
			mallory.askCode(fmt.Sprintf("a%d@example.com", 10*i+j))
			if w := mallory.give("victim@example.com", "123456"); w.Code != http.StatusTooManyRequests {
				looked++
			}
		}
		sent += d.box.count()
	}
	if sent != 4 || looked != 4 {
		t.Errorf("three sites send %d codes and look at %d wrong ones, want 4 of each", sent, looked)
	}
}

// TestBindLimitsAreAudited: whoever reads the audit log sees the flood, also the part
// that a client's limit has stopped.
func TestBindLimitsAreAudited(t *testing.T) {
	t.Parallel()
	const a = "alice@example.com"
	d := newDesk(t, byEmail(user.Open))
	limits := NewCodeLimits(Rate{Count: 1, Per: time.Hour})
	d.limits.codes, d.limits.wrongCodes = limits.sent, limits.wrong
	mallory := d.enter("oMallory")
	for range 2 {
		mallory.askCode(a)
	}
	wrong := "000000"
	if d.box.code(t, a) == wrong {
		wrong = "000001"
	}
	for range 2 {
		mallory.give(a, wrong)
	}
	of := func(action audit.Action, result audit.Result, reason string) audit.Event {
		return audit.Event{Action: action, Result: result, Reason: reason, UserID: mallory.userID, Channel: "email", Address: a}
	}
	d.wantEvents(
		of(audit.SendCode, audit.OK, ""), of(audit.SendCode, audit.Refused, "too_many_codes"),
		of(audit.Bind, audit.Refused, "wrong_code"), of(audit.Bind, audit.Refused, "too_many_wrong_codes"),
	)
}

// TestBindNobodyLocksOut: a stranger whom the site does not even let in has codes sent
// to the address of somebody who is expected, so that he cannot prove it. He can.
func TestBindNobodyLocksOut(t *testing.T) {
	t.Parallel()
	const a = "victim@corp.com"
	d := newDesk(t, user.Policy{
		Registration: user.Closed, Bind: []user.Channel{user.ByEmail}, Allow: []user.Rule{{Field: user.Email, Value: a}},
	})
	mallory := d.enter("oMallory")
	for range 20 {
		mallory.askCode(a)
	}
	if n := d.box.count(); n != 3 {
		t.Errorf("the victim got %d mails, want 3", n)
	}
	victim := d.enter("oVictim")
	if w := victim.prove(a); w.Code != http.StatusOK || !victim.inside() {
		t.Errorf("the victim: %d %s", w.Code, w.Body)
	}
}

// TestBindFailuresThatCount: for as long as a sender fails it is tried on and on only
// where it is certain that nothing was sent. In no case can the code be used.
func TestBindFailuresThatCount(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		err    error
		status int
		tried  int
	}{
		{"refused", errors.New("BUSINESS_LIMIT_CONTROL"), http.StatusServiceUnavailable, 20 + 3},
		{"away", sender.ErrUnavailable, http.StatusServiceUnavailable, 20 + 3},
		{"no answer", fmt.Errorf("%w: %w", sender.ErrUnavailable, sender.ErrUncertain), http.StatusServiceUnavailable, 3},
		{"no such mailbox", sender.ErrAddress, http.StatusBadRequest, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, byEmail(user.Open))
			mallory, tried, code := d.enter("oMallory"), 0, ""
			d.Senders[user.ByEmail] = sending(func(_ context.Context, m sender.Message) error {
				tried++
				code = m.Code
				if w := mallory.give(m.To, m.Code); w.Code != http.StatusGone {
					t.Errorf("its code, before the sender has failed: %d", w.Code)
				}
				return tt.err
			})
			for i := range 30 {
				want := tt.status
				if i >= tt.tried {
					want = http.StatusTooManyRequests
				}
				if w := mallory.askCode("alice@example.com"); w.Code != want {
					t.Fatalf("time %d: %d %s", i+1, w.Code, w.Body)
				}
				if w := mallory.give("alice@example.com", code); w.Code != http.StatusGone || !strings.Contains(w.Body.String(), "code_used_up") {
					t.Fatalf("its code: %d %s", w.Code, w.Body)
				}
			}
			if tried != tt.tried {
				t.Errorf("the sender was tried %d times, want %d", tried, tt.tried)
			}
		})
	}
}

// sending is a function as a sender.Sender.
type sending func(ctx context.Context, m sender.Message) error

// Send implements sender.Sender.
func (s sending) Send(ctx context.Context, m sender.Message) error { return s(ctx, m) }

// TestBindSlowSender: a sender of somebody else's that gives up only when it is told
// to, without saying that the message may be on its way, cannot be used for a flood.
func TestBindSlowSender(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, byEmail(user.Open))
		tried := 0
		d.Senders[user.ByEmail] = sending(func(ctx context.Context, _ sender.Message) error {
			tried++
			<-ctx.Done()
			return sender.ErrUnavailable
		})
		mallory := d.enter("oMallory")
		for range 10 {
			mallory.askCode("alice@example.com")
		}
		if tried != 3 {
			t.Errorf("the sender was tried %d times, want 3", tried)
		}
	})
}

// TestBindUnfollowed: at a site that deletes whoever unfollows, Mallory follows, signs
// in, has codes sent to somebody else's address, unfollows, and begins again as a new
// user. She has one person's codes, and the owner of the address gets his.
func TestBindUnfollowed(t *testing.T) {
	t.Parallel()
	const a = "victim@example.com"
	d := newDesk(t, byEmail(user.Open))
	d.Unfollow = user.DeleteUser
	d.People = &people.Service{Users: d.Users.Records, Sessions: d.Sessions.Records, Audit: audit.Discard}
	ids := make(map[string]bool)
	for range 20 {
		mallory := d.enter("oMallory")
		ids[mallory.userID] = true
		for range 6 {
			mallory.askCode(a)
		}
		if err := d.unfollowed(t.Context(), outageApp, "oMallory"); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.box.count(); n != 3 || len(ids) != 20 {
		t.Errorf("as %d users one WeChat account had %d codes sent in an hour, want 3", len(ids), n)
	}
	if w := d.enter("oVictim").prove(a); w.Code != http.StatusOK {
		t.Errorf("the owner of the address: %d %s", w.Code, w.Body)
	}
}

// TestBindMergedKeepsQuotas: Mallory has a user of another account of hers, and becomes
// him by an address of her own. What her WeChat account has had counts on.
func TestBindMergedKeepsQuotas(t *testing.T) {
	t.Parallel()
	const own, a = "mallory@example.com", "victim@example.com"
	d := newDesk(t, byEmail(user.Open))
	if w := d.enter("oOther").prove(own); w.Code != http.StatusOK {
		t.Fatalf("the other account: %d", w.Code)
	}
	mallory := d.enter("oMallory")
	for range 6 {
		mallory.askCode(a)
	}
	if w := mallory.prove(own); w.Code != http.StatusOK {
		t.Fatalf("becoming one: %d %s", w.Code, w.Body)
	}
	who, err := d.identify(t.Context(), credentials{sessions: [maxCredentials]string{mallory.cookie[len("__Host-wechat_session="):]}})
	if err != nil || who.User.ID == mallory.userID || who.Session.OpenID != "oMallory" {
		t.Fatalf("the session that took the place of the first: %+v, %v", who, err)
	}
	asker := user.Asker{UserID: who.User.ID, AppID: who.Session.AppID, OpenID: who.Session.OpenID}
	err = d.codes.Send(t.Context(), asker, user.ByEmail, a, func(string) error { return nil })
	if _, limited := errors.AsType[*user.TooManyError](err); !limited {
		t.Errorf("another code to the same address, as the other user: %v", err)
	}
}
