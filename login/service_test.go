// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

const (
	app     = "wx0123456789abcdef"
	browser = "the browser's secret"
	person  = "oAlice"
)

// alice is the person who scans.
var alice = Person{OpenID: person}

// codes stands in for WeChat and remembers the scene of each code.

type codes struct {
	mu     sync.Mutex
	scenes []string
	err    error
	grants time.Duration // if not zero, less than what was asked for
}

func (c *codes) CreateQRCode(_ context.Context, scene string, ttl time.Duration) (wechat.QRCode, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scenes = append(c.scenes, scene)
	if c.grants != 0 {
		ttl = c.grants
	}
	return wechat.QRCode{URL: "http://weixin.qq.com/q/02" + scene, ExpiresIn: ttl}, c.err
}

// clock is a time that only the test moves.

type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time { return epoch.Add(time.Duration(c.nanos.Load())) }

func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// fixture is a Service on the embedded store.

type fixture struct {
	*Service
	t     *testing.T
	clock *clock
	codes *codes
	minis *minis
	store *embedded.Store
}

func newFixture(t *testing.T, mode Confirm) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: new(clock), codes: new(codes), minis: &minis{image: []byte("\x89PNG\r\n\x1a\n")}}
	f.store = embedded.New(embedded.Config{Dir: t.TempDir(), Now: f.clock.now})
	t.Cleanup(func() {
		if err := f.store.Close(); err != nil {
			t.Error(err)
		}
	})
	page := func(callback, state string) string {
		return "https://open.example/page?to=" + callback + "&state=" + state
	}
	frame := func(callback, state string) string {
		return "https://open.example/frame?to=" + callback + "&state=" + state
	}
	f.Service = NewService(f.store, map[string]Starter{
		StarterKey(OfficialQR, app): &Official{Codes: f.codes, TTL: codeTTL, Confirm: mode},
		StarterKey(MiniQR, app):     &Mini{Codes: f.minis, Page: "pages/login/login", Env: "trial", TTL: codeTTL, Confirm: mode, Links: true},
		StarterKey(ChatCode, app):   &Chat{Store: f.store, Image: "data:image/png;base64,", TTL: codeTTL, Confirm: mode},
		StarterKey(WebsiteQR, app):  &Authorizer{URL: page, Frame: frame},
		StarterKey(InWeChat, app):   &Authorizer{URL: page},
	}, f.clock.now)
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) begin() Attempt {
	f.t.Helper()
	a, shown, err := f.Begin(f.t.Context(), Request{Method: OfficialQR, AppID: app, Site: "site", Portal: "https://site/_wechat", Browser: browser})
	if err != nil {
		f.t.Fatal(err)
	}
	if shown.QR == nil || a.State != Pending {
		f.t.Fatalf("attempt %+v shows %+v", a, shown)
	}
	return a
}

// with begins an attempt of a method.
func (f *fixture) with(method string) (Attempt, Shown) {
	f.t.Helper()
	a, shown, err := f.Begin(f.t.Context(), Request{Method: method, AppID: app, Site: "site", Portal: "https://site/_wechat", Browser: browser})
	if err != nil || a.State != Pending {
		f.t.Fatalf("attempt %+v, error %v", a, err)
	}
	return a, shown
}

func (f *fixture) scan(a Attempt, openID string) Attempt {
	f.t.Helper()
	got, err := f.Scan(f.t.Context(), app, a.Scene, Person{OpenID: openID})
	if err != nil {
		f.t.Fatal(err)
	}
	return got
}

func (f *fixture) state(a Attempt) State {
	f.t.Helper()
	got, err := f.Get(f.t.Context(), a.ID, browser)
	if err != nil {
		f.t.Fatal(err)
	}
	return got.State
}

// TestQ3OneOfManyConsumers: two hundred requests consume one confirmed attempt at

// the same moment, each for a session of its own. One of them gets it.

// TestQ10OneFirstScanner: a hundred people scan one code at the same moment. The

// attempt is one person's from the first moment to the last, and all are told the same.

// TestQ10OneAnswerCounts: the confirm page is open in many tabs, and all three

// numbers and "cancel" are sent at once, while the browser gives up and consumes.

// Exactly one answer counts, and what it led to is what stays.

// parallel calls fn n times at the same moment.

// TestQ2AnotherBrowserSeesNothing: who knows the id but not the browser's secret

// gets the very answer that there is to an id that nobody has.

func TestQ2AnotherBrowserSeesNothing(t *testing.T) {
	f := newFixture(t, ConfirmOff)
	a := f.begin()
	f.scan(a, person)
	for _, try := range []struct{ name, id, browser string }{
		{"another browser", a.ID, "another secret"},
		{"no cookie", a.ID, ""},
		{"the hash", a.ID, a.Browser},
		{"unknown id", "NOSUCHATTEMPT", browser},
		{"the scene as id", a.Scene, browser},
		{"the token as id", a.Token, browser},
	} {
		_, get := f.Get(t.Context(), try.id, try.browser)
		for what, err := range map[string]error{
			"get":     get,
			"cancel":  f.Cancel(t.Context(), try.id, try.browser),
			"consume": f.Consume(t.Context(), try.id, try.browser, "session"),
			"deny":    f.Deny(t.Context(), try.id, try.browser, "reason"),
		} {
			if !errors.Is(err, ErrNotFound) || err.Error() != ErrNotFound.Error() {
				t.Errorf("%s, %s: %v, want %v", try.name, what, err, ErrNotFound)
			}
		}
	}
	if got := f.state(a); got != Confirmed {
		t.Errorf("the attempt is %s now", got)
	}
}

// TestExpiry moves the clock across the end of an attempt in each of its states.

func TestExpiry(t *testing.T) {
	for _, tt := range []struct {
		name  string
		mode  Confirm
		until func(*fixture, Attempt)
		want  State
	}{
		{"pending", ConfirmNumber, func(*fixture, Attempt) {}, Expired},
		{"scanned", ConfirmNumber, func(f *fixture, a Attempt) { f.scan(a, person) }, Expired},
		{"confirmed", ConfirmOff, func(f *fixture, a Attempt) { f.scan(a, person) }, Expired},
		{"consumed", ConfirmOff, func(f *fixture, a Attempt) {
			f.scan(a, person)
			if err := f.Consume(f.t.Context(), a.ID, browser, "s"); err != nil {
				f.t.Fatal(err)
			}
		}, Consumed},
		{"cancelled", ConfirmNumber, func(f *fixture, a Attempt) {
			if err := f.Cancel(f.t.Context(), a.ID, browser); err != nil {
				f.t.Fatal(err)
			}
		}, Cancelled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.mode)
			a := f.begin()
			tt.until(f, a)
			f.clock.advance(codeTTL)
			if got := f.state(a); got != tt.want {
				t.Errorf("after its time it is %s, want %s", got, tt.want)
			}
			f.checkOver(a)
		})
	}
}

// checkOver says that nothing moves an attempt that is over.

func (f *fixture) checkOver(a Attempt) {
	f.t.Helper()
	want := f.state(a)
	late := f.scan(a, "oLate")
	if _, changed, err := f.Answer(f.t.Context(), a.Token, a.Number, Person{}); changed || err != nil {
		f.t.Errorf("a late answer: changed %v, error %v", changed, err)
	}
	if err := f.Consume(f.t.Context(), a.ID, browser, "late"); !errors.Is(err, ErrState) {
		f.t.Errorf("a late consume: %v, want %v", err, ErrState)
	}
	if got := f.state(a); got != want || late.State != want || late.OpenID == "oLate" {
		f.t.Errorf("after late events it is %s (of %q), want %s", got, late.OpenID, want)
	}
}

// TestWeChatGrantsLess: the code on the page must not outlive the one at WeChat.

func TestWeChatGrantsLess(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	f.codes.grants = time.Minute
	if a := f.begin(); a.ExpiresAt.Sub(a.CreatedAt) != time.Minute {
		t.Errorf("the attempt lives %v, its code %v", a.ExpiresAt.Sub(a.CreatedAt), time.Minute)
	}
}

// TestForgotten: what can no longer be of use leaves the store.

func TestForgotten(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a := f.begin()
	f.clock.advance(codeTTL + linger + revocable + time.Second)
	if _, err := f.Get(t.Context(), a.ID, browser); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	items, _, err := f.store.List(t.Context(), store.VolatilePrefix, "", 100)
	if err != nil || len(items) != 0 {
		t.Errorf("the store still holds %d entries (%v)", len(items), err)
	}
}

// TestDisownedBeforeThereIsASession: the person says "that was not me" in the

// moment after the browser has consumed the attempt, when there is no session to

// end yet. The attempt remembers it, so that the session is not let live.

func TestDisownedBeforeThereIsASession(t *testing.T) {
	f := newFixture(t, ConfirmOff)
	a := f.begin()
	f.scan(a, person)
	if err := f.Consume(t.Context(), a.ID, browser, "session"); err != nil {
		t.Fatal(err)
	}
	if got, changed, err := f.Answer(t.Context(), a.Token, ChoiceRevoke, Person{}); err != nil || !changed || !got.Disowned || got.SessionID != "session" {
		t.Fatalf("disowning: %+v, changed %v, error %v", got, changed, err)
	}
	f.clock.advance(revocable - time.Minute)
	if got, err := f.Get(t.Context(), a.ID, browser); err != nil || !got.Disowned {
		t.Errorf("later it is %+v, error %v", got, err)
	}
}

// TestQ5OnlyTheServerMakesSecrets: ids, scenes and tokens are of 128 bits at

// least, all different, and none can be had from another.

func TestQ5OnlyTheServerMakesSecrets(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	seen := make(map[string]bool)
	for range 200 {
		a := f.begin()
		for _, secret := range []string{a.ID, a.Scene, a.Token} {
			if len(secret)*5 < 128 || seen[secret] {
				t.Fatalf("%q is short, or not the first", secret)
			}
			seen[secret] = true
		}
	}
	if f.codes.scenes[0] == "" || !seen[f.codes.scenes[0]] {
		t.Errorf("WeChat is given the scene %q, which is no attempt's", f.codes.scenes[0])
	}
}

// TestQ4GuessesCostNothing: guesses at each of the three secrets hit nothing and

// leave nothing behind in the store.

func TestQ4GuessesCostNothing(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a := f.begin()
	count := func() int {
		items, _, err := f.store.List(t.Context(), store.VolatilePrefix, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(items)
	}
	before := count()
	for i := range 20_000 {
		guess := fmt.Sprintf("%s%06d", a.Scene[:20], i)
		if _, err := f.Scan(t.Context(), app, guess, alice); !errors.Is(err, ErrNotFound) {
			t.Fatalf("scene %s: %v", guess, err)
		}
		if _, err := f.ByToken(t.Context(), guess); !errors.Is(err, ErrNotFound) {
			t.Fatalf("token %s: %v", guess, err)
		}
		if _, _, err := f.Answer(t.Context(), guess, ChoiceYes, Person{}); !errors.Is(err, ErrNotFound) {
			t.Fatalf("answer %s: %v", guess, err)
		}
		if _, err := f.Get(t.Context(), guess, browser); !errors.Is(err, ErrNotFound) {
			t.Fatalf("id %s: %v", guess, err)
		}
	}
	if after := count(); after != before || f.state(a) != Pending {
		t.Errorf("the guesses leave %d entries, there were %d; the attempt is %s", after, before, f.state(a))
	}
}

// TestQ6SceneOfAnotherAccount: the scene counts only in a push of the account

// that made its code.

func TestQ6SceneOfAnotherAccount(t *testing.T) {
	f := newFixture(t, ConfirmOff)
	a := f.begin()
	for _, other := range []string{"wxother", "", app + ":" + a.Scene[:1]} {
		if _, err := f.Scan(t.Context(), other, a.Scene, alice); !errors.Is(err, ErrNotFound) {
			t.Errorf("account %q: %v", other, err)
		}
	}
	if got := f.state(a); got != Pending {
		t.Errorf("the attempt is %s", got)
	}
}

// TestBeginRefusesAndFails: nothing is kept of an attempt without a code.

func TestBeginRefusesAndFails(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	if _, _, err := f.Begin(t.Context(), Request{Method: MiniQR, AppID: "wxother"}); err == nil {
		t.Error("a method that is not configured begins an attempt")
	}
	f.codes.err = wechat.ErrUnavailable
	if _, _, err := f.Begin(t.Context(), Request{Method: OfficialQR, AppID: app}); !errors.Is(err, wechat.ErrUnavailable) {
		t.Errorf("WeChat's error is lost: %v", err)
	}
	if items, _, err := f.store.List(t.Context(), store.VolatilePrefix, "", 10); err != nil || len(items) != 0 {
		t.Errorf("the store holds %d entries (%v)", len(items), err)
	}
}

// TestWatch: whoever waits for an attempt is woken by each of its changes, and

// by no other attempt's.

func TestWatch(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	mine, other := f.begin(), f.begin()
	changed, stop := f.Watch(mine.ID)
	defer stop()
	idle, stopIdle := f.Watch(other.ID)
	defer stopIdle()
	f.scan(mine, person)
	<-changed
	if _, _, err := f.Answer(t.Context(), mine.Token, mine.Number, Person{}); err != nil {
		t.Fatal(err)
	}
	<-changed
	// Notices come in order: one about the other comes after all about mine.
	f.scan(other, person)
	<-idle
	select {
	case <-changed:
		t.Error("woken a third time")
	case <-idle:
		t.Error("woken by another attempt")
	default:
	}
}

// TestCloseWakesWhoWaits: at a reload nobody is left waiting on the old service.

func TestCloseWakesWhoWaits(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a := f.begin()
	changed, stop := f.Watch(a.ID)
	f.Close()
	<-changed
	stop()
	stop() // again does no harm
	if n := f.watchers.Watched(); n != 0 {
		t.Errorf("%d attempts are still watched", n)
	}
}
