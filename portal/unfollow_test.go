// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const otherApp = "wx00000000000000c1"

// farm is a town to which two accounts push.
type farm struct {
	*town
	wechat *wechattest.Server
}

func newFarm(t *testing.T, how user.Unfollow) *farm {
	t.Helper()
	f := &farm{newTown(t, new(storetest.Memory), openToAll), wechattest.NewServer(wechattest.Options{})}
	t.Cleanup(f.wechat.Close)
	f.Unfollow, f.Accounts = how, make(map[string]Account)
	for _, id := range []string{unitApp, otherApp} {
		if _, err := f.wechat.AddAccount(wechattest.Account{AppID: id, Secret: "s", Token: "pushtoken1234567"}); err != nil {
			t.Fatal(err)
		}
		receiver, err := wechat.NewReceiver(wechat.ReceiverConfig{AppID: id, Token: "pushtoken1234567", Cache: brokenCache{f.store}})
		if err != nil {
			t.Fatal(err)
		}
		f.Accounts[id] = Account{Receiver: receiver}
	}
	f.add(user.Entry{ID: "alice", AppID: unitApp, OpenID: "o-alice"})
	f.add(user.Entry{ID: "bob", AppID: unitApp, OpenID: "o-bob"})
	return f
}

// deliver delivers an event of a person's, signed anew.
func (f *farm) deliver(appID, openID, event, key string, at time.Time) *httptest.ResponseRecorder {
	f.t.Helper()
	m := wechattest.Message{ToUserName: "gh_0", FromUserName: openID, CreateTime: at.Unix(), MsgType: "event", Event: event, EventKey: key}
	raw := f.wechat.SignedPush(appID, m.XML())
	r := httptest.NewRequestWithContext(f.t.Context(), http.MethodPost,
		unitOrigin+"/_wechat/push/"+appID+"?"+raw.Query.Encode(), strings.NewReader(string(raw.Body)))
	w := httptest.NewRecorder()
	if err := f.Serve(w, r, nil); err != nil {
		f.t.Error(err)
	}
	return w
}

// gateway leaves out of the events what differs from run to run.
func gateway(events []audit.Event) (all []audit.Event) {
	for _, e := range events {
		if e.Actor.Kind != audit.Gateway {
			continue
		}
		all = append(all, e)
	}
	return all
}

// TestUnfollow: what happens to whoever unfollows, once, however often WeChat tells.
// Only an account of the person's own counts, and nobody else is touched. The answer
// is empty: there is no chat any more.
func TestUnfollow(t *testing.T) {
	byGateway := audit.Actor{Kind: audit.Gateway}
	unfollow := audit.Event{Action: audit.Unfollow, Result: audit.OK, Actor: byGateway, UserID: "alice", Account: unitApp, OpenID: "o-alice"}
	revoked, deleted := unfollow, unfollow
	revoked.After, deleted.After = "revoke", "delete"
	for _, tt := range []struct {
		how            user.Unfollow
		exists, signed bool // alice, afterwards
		events         []audit.Event
	}{
		{"", true, true, nil},
		{user.KeepUser, true, true, nil},
		{user.EndSessions, true, false, []audit.Event{
			{Action: audit.RevokeSessions, Result: audit.OK, Actor: byGateway, UserID: "alice", Count: 2}, revoked,
		}},
		{user.DeleteUser, false, false, []audit.Event{
			{Action: audit.DeleteUser, Result: audit.OK, Actor: byGateway, UserID: "alice"}, deleted,
		}},
	} {
		t.Run(string(tt.how), func(t *testing.T) {
			f := newFarm(t, tt.how)
			one, _ := f.signIn("alice")
			two, _ := f.signIn("alice")
			bobs, _ := f.signIn("bob")
			now := time.Now()
			check := func(when string, exists, signed bool) {
				t.Helper()
				if (f.find("alice") != nil) != exists || f.alive(one) != signed || f.alive(two) != signed || !f.alive(bobs) || f.find("bob") == nil {
					t.Errorf("%s: alice exists %v, sessions %v %v, bob's %v", when, f.find("alice") != nil, f.alive(one), f.alive(two), f.alive(bobs))
				}
			}
			for _, stranger := range []struct{ app, openID string }{{unitApp, "o-carol"}, {otherApp, "o-alice"}} {
				if w := f.deliver(stranger.app, stranger.openID, "unsubscribe", "", now); w.Code != http.StatusOK || w.Body.Len() > len("success") {
					t.Errorf("a stranger: %d %q", w.Code, w.Body)
				}
			}
			check("somebody else unfollows", true, true)
			for range 3 {
				if w := f.deliver(unitApp, "o-alice", "unsubscribe", "", now); w.Code != http.StatusOK || w.Body.Len() > len("success") {
					t.Fatalf("%d %q", w.Code, w.Body)
				}
				check("after the unfollow", tt.exists, tt.signed)
			}
			if diff := cmp.Diff(tt.events, gateway(f.events.take())); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if !tt.exists {
				return
			}
			// She comes back and signs in: the old event, delivered late, ends nothing.
			three, _ := f.signIn("alice")
			f.deliver(unitApp, "o-alice", "unsubscribe", "", now)
			if !f.alive(three) {
				t.Error("an old unfollow ends a new session")
			}
		})
	}
}

// A person has two identities: unfollowing the account of either counts. An event key
// that WeChat puts there by mistake changes nothing, and neither does the case.
func TestUnfollow_EitherIdentity(t *testing.T) {
	for _, app := range []string{unitApp, otherApp} {
		f := newFarm(t, user.EndSessions)
		union := user.Identity{AppID: unitApp, OpenID: "o-two", UnionID: "u-two"}
		m, _, err := f.Users.SignIn(t.Context(), union)
		if err != nil {
			t.Fatal(err)
		}
		union.AppID, union.OpenID = otherApp, "o-two-there"
		if other, _, err := f.Users.SignIn(t.Context(), union); err != nil || other.ID != m.ID {
			t.Fatalf("not one person: %v", err)
		}
		id, _ := f.signIn(m.ID)
		f.deliver(app, map[string]string{unitApp: "o-two", otherApp: "o-two-there"}[app], "Unsubscribe", "last_trade_no_4009012001", time.Now())
		if f.alive(id) {
			t.Errorf("unfollowing %s ends nothing", app)
		}
	}
}

// The store fails while an unfollow is handled, at any step of it. WeChat gets no
// answer that it takes for one, repeats the event, and the repetition gets it done.
func TestUnfollow_StoreFails(t *testing.T) {
	for _, how := range []user.Unfollow{user.EndSessions, user.DeleteUser} {
		for _, key := range []string{"wechat:push:", "identity:", "user:", "session:", "sessions:", "tmp:reply:"} {
			t.Run(string(how)+" "+key, func(t *testing.T) {
				f := newFarm(t, how)
				id, _ := f.signIn("alice")
				now := time.Now()
				memory := f.store.Store.(*storetest.Memory) //nolint:forcetypeassert // newFarm made it
				failed := failOn(memory, key)
				w := f.deliver(unitApp, "o-alice", "unsubscribe", "", now)
				if hit := failed(); hit && w.Code != http.StatusServiceUnavailable || !hit && w.Code != http.StatusOK {
					t.Fatalf("the store failed: %v; answered %d %q", hit, w.Code, w.Body)
				}
				if strings.HasPrefix(w.Body.String(), "{") {
					t.Errorf("answered JSON: %q", w.Body)
				}
				if w := f.deliver(unitApp, "o-alice", "unsubscribe", "", now); w.Code != http.StatusOK {
					t.Fatalf("delivered again: %d %q", w.Code, w.Body)
				}
				if f.alive(id) || (f.find("alice") != nil) != (how == user.EndSessions) {
					t.Error("the repetition does not get it done")
				}
			})
		}
	}
}

// failOn has the store fail for keys of a prefix until the function that it returns
// is called, which says whether it has.
func failOn(m *storetest.Memory, prefix string) (failed func() bool) {
	var mu sync.Mutex
	hits, over := 0, false
	m.Before = func(_ context.Context, _, key string) error {
		mu.Lock()
		defer mu.Unlock()
		if over || !strings.HasPrefix(key, prefix) {
			return nil
		}
		hits++
		return fmt.Errorf("failing at %s: %w", prefix, store.ErrUnavailable)
	}
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		over = true
		return hits > 0
	}
}

// TestG5UnfollowKeepsTheDisabledOut: somebody disabled unfollows, to be forgotten and to
// come back as a stranger. What he gets rid of is his sessions.
func TestG5UnfollowKeepsTheDisabledOut(t *testing.T) {
	f := newFarm(t, user.DeleteUser)
	if _, _, err := f.Users.Change(t.Context(), "alice", user.Change{Status: new(user.Disabled)}); err != nil {
		t.Fatal(err)
	}
	f.events.take()
	if w := f.deliver(unitApp, "o-alice", "unsubscribe", "", time.Now()); w.Code != http.StatusOK {
		t.Errorf("answered %d", w.Code)
	}
	var denied *user.DeniedError
	if m, _, err := f.Users.SignIn(t.Context(), user.Identity{AppID: unitApp, OpenID: "o-alice"}); !errors.As(err, &denied) || denied.Reason != user.ReasonDisabled {
		t.Errorf("after the unfollow she signs in as %+v (%v)", m, err)
	}
	events := gateway(f.events.take())
	if len(events) == 0 || events[len(events)-1].Action != audit.Unfollow || events[len(events)-1].After != "revoke" {
		t.Errorf("events %+v", events)
	}
}
