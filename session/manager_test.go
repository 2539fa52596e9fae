// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

func TestManager_Issue(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	issued, cookie := w.issue(m, "alice")
	now := w.clock.Now().UTC()
	if !issued.CreatedAt.Equal(now) || !issued.LastSeenAt.Equal(now) || !issued.ExpiresAt.Equal(now.Add(testTTL)) {
		t.Errorf("issued %+v at %v", issued, now)
	}
	if diff := cmp.Diff(issued, *w.wantValid(m, cookie)); diff != "" {
		t.Errorf("Check (-issued +got):\n%s", diff)
	}
}

// Nothing is issued that could not be found again.
func TestManager_IssueDuringOutage(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	w.down.Store(true)
	if _, cookie, err := m.Issue(t.Context(), Session{ID: NewID(), UserID: "alice"}); !errors.Is(err, store.ErrUnavailable) || cookie != "" {
		t.Errorf("Issue = %q, %v; want ErrUnavailable and no cookie", cookie, err)
	}
}

// However busy, a session ends; in use until then, it does not end before.
func TestManager_AbsoluteExpiry(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, cookie := w.issue(m, "alice")
	for w.clock.Now().Add(12 * time.Hour).Before(s.ExpiresAt) {
		w.clock.Advance(12 * time.Hour)
		w.wantValid(m, cookie)
		w.awaitTouch(s.ID)
	}
	w.clock.Advance(s.ExpiresAt.Sub(w.clock.Now()) - 1)
	w.wantValid(m, cookie)
	w.clock.Advance(1)
	w.wantInvalid(m, cookie)
	w.wantInvalid(w.node(), cookie) // nor does one that has not seen it
}

func TestManager_IdleExpiry(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	_, cookie := w.issue(m, "alice")
	w.wantValid(m, cookie)
	w.clock.Advance(testIdle - 1)
	s := w.wantValid(m, cookie)
	w.awaitTouch(s.ID)
	w.clock.Advance(testIdle)
	w.wantInvalid(m, cookie)
	w.wantInvalid(w.node(), cookie)
}

// A session that is used on one node is not idle on another, which remembers it
// from long ago.
func TestManager_IdleOnOneNodeOnly(t *testing.T) {
	w := newWorld(t)
	one, other := w.node(), w.node()
	s, cookie := w.issue(one, "alice")
	w.wantValid(other, cookie)
	for range 3 {
		w.clock.Advance(testIdle / 2)
		w.wantValid(one, cookie)
		w.awaitTouch(s.ID)
	}
	w.wantValid(other, cookie)
}

// Seeing a session again and again costs the store one write in a granularity.
func TestManager_TouchGranularity(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, cookie := w.issue(m, "alice")
	for range 100 {
		w.wantValid(m, cookie)
	}
	w.clock.Advance(m.granularity() - 1)
	w.wantValid(m, cookie)
	w.clock.Advance(1)
	for range 100 {
		w.wantValid(m, cookie)
	}
	w.awaitTouch(s.ID)
	w.clock.Advance(m.granularity())
	w.wantValid(m, cookie)
	w.awaitTouch(s.ID) // in order behind all others: so these were the only ones
	w.wantNoTouch()
	if got := w.wantValid(w.node(), cookie).LastSeenAt; !got.Equal(w.clock.Now()) {
		t.Errorf("another node finds it last seen at %v, want %v", got, w.clock.Now())
	}
}

func TestManager_Granularity(t *testing.T) {
	for _, tt := range []struct{ idle, want time.Duration }{
		{24 * time.Hour, 5 * time.Minute}, {time.Hour, 3 * time.Minute}, {time.Minute, 3 * time.Second},
	} {
		if got := (&Manager{config: Config{Idle: tt.idle}}).granularity(); got != tt.want {
			t.Errorf("idle %v: granularity %v, want %v", tt.idle, got, tt.want)
		}
	}
}

// The session is revoked between the moment when it was seen and the moment when
// that is written. The write must not bring it back.
func TestManager_TouchDoesNotResurrect(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, cookie := w.issue(m, "alice")
	touching, release := make(chan struct{}), make(chan struct{})
	w.before(func(_ context.Context, method, key string) error {
		if method == "Update" && strings.HasPrefix(key, "session:") {
			close(touching)
			<-release
		}
		return nil
	})
	w.clock.Advance(m.granularity())
	w.wantValid(m, cookie)
	<-touching
	if found, err := m.Revoke(t.Context(), s.ID); !found || err != nil {
		t.Fatal(found, err)
	}
	close(release)
	w.awaitTouch(s.ID)
	w.wantInvalid(m, cookie)
	w.wantInvalid(w.node(), cookie)
	w.clock.Advance(3 * time.Second) // in which the empty list of her sessions goes
	for _, key := range w.store.Keys() {
		t.Errorf("%s is left in the store", key)
	}
}

// The cookie was copied before its owner signed out.
func TestManager_Revoke(t *testing.T) {
	w := newWorld(t)
	one, other := w.node(), w.node()
	s, cookie := w.issue(one, "alice")
	_, second := w.issue(one, "alice")
	w.wantValid(one, cookie)
	w.wantValid(other, cookie)
	if found, err := one.Revoke(t.Context(), s.ID); !found || err != nil {
		t.Fatalf("Revoke = %v, %v", found, err)
	}
	w.wantInvalid(one, cookie)
	w.wantInvalid(other, cookie)
	w.wantValid(other, second)
	if found, err := other.Revoke(t.Context(), s.ID); found || err != nil {
		t.Errorf("Revoke once more = %v, %v", found, err)
	}
}

func TestManager_RevokeUser(t *testing.T) {
	w := newWorld(t)
	one, other := w.node(), w.node()
	var cookies []string
	for range 250 { // more than one page of the listing
		_, cookie := w.issue(one, "alice")
		cookies = append(cookies, cookie)
	}
	_, bob := w.issue(one, "bob")
	_, prefix := w.issue(one, "alice2") // whose id begins with hers
	for _, c := range cookies {
		w.wantValid(other, c)
	}
	if n, err := one.RevokeUser(t.Context(), "alice"); n != len(cookies) || err != nil {
		t.Errorf("RevokeUser = %d, %v; want %d", n, err, len(cookies))
	}
	for _, c := range cookies {
		w.wantInvalid(one, c)
		w.wantInvalid(other, c)
	}
	w.wantValid(other, bob)
	w.wantValid(other, prefix)
	if n, err := other.RevokeUser(t.Context(), "alice"); n != 0 || err != nil {
		t.Errorf("RevokeUser once more = %d, %v", n, err)
	}
}

// "Sign out everywhere" comes while a sign-in of the same person is being
// recorded. Whichever wins, no session may live on that the next one misses.
func TestManager_RevokeUserRacingIssue(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	var once atomic.Bool
	w.before(func(ctx context.Context, method, _ string) error {
		if method == "Create" && !once.Swap(true) {
			if _, err := m.RevokeUser(ctx, "alice"); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	s := Session{ID: NewID(), UserID: "alice"}
	if _, _, err := m.Issue(t.Context(), s); !errors.Is(err, ErrSignedOut) {
		t.Errorf("Issue = %v; want it to see the sign-out", err)
	}
	if _, found, err := m.set.Get(t.Context(), s.ID, 0); found || err != nil {
		t.Errorf("the session lives on: %v, %v", found, err)
	}
}

// The sign-out comes just after the session is recorded, and before Issue has looked.
func TestManager_RevokeUserRacingTheEndOfIssue(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	var once atomic.Bool
	after := w.store.After
	w.store.After = func(ctx context.Context, method, key string) error {
		if method == "Create" && !once.Swap(true) {
			if n, err := m.RevokeUser(ctx, "alice"); n != 1 || err != nil {
				t.Errorf("RevokeUser = %d, %v", n, err)
			}
		}
		return after(ctx, method, key)
	}
	if _, _, err := m.Issue(t.Context(), Session{ID: NewID(), UserID: "alice"}); !errors.Is(err, ErrSignedOut) {
		t.Errorf("Issue = %v; want it to see the sign-out", err)
	}
}

// A session without an owner's entry could not be found to be ended: where the
// second write fails, the first is all there is, and harmless.
func TestManager_IssueHalfDone(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	w.before(func(_ context.Context, method, key string) error {
		if method == "Create" && strings.HasPrefix(key, "session:") {
			return fmt.Errorf("%w: broken pipe", store.ErrUnavailable)
		}
		return nil
	})
	if _, _, err := m.Issue(t.Context(), Session{ID: NewID(), UserID: "alice"}); err == nil {
		t.Fatal("Issue reports no error")
	}
	if n, err := m.RevokeUser(t.Context(), "alice"); n != 0 || err != nil {
		t.Errorf("RevokeUser = %d, %v", n, err)
	}
}

// The connections that a session opened end with it, on whichever node they are,
// and no others do.
func TestRecords_Track(t *testing.T) {
	w := newWorld(t)
	one, other := w.node(), w.node()
	s, _ := w.issue(one, "alice")
	b, _ := w.issue(one, "bob")
	var mu sync.Mutex
	var ended []string
	track := func(m *Manager, s Session, name string) (release func()) {
		return m.Track(&s, time.Time{}, func() {
			mu.Lock()
			defer mu.Unlock()
			ended = append(ended, name)
		}).Release
	}
	track(one, s, "here")
	track(other, s, "there")
	track(other, b, "bob's")
	track(one, s, "released")()
	if _, err := one.Revoke(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	has := map[string]bool{}
	for _, name := range ended {
		has[name] = true
	}
	if diff := cmp.Diff(map[string]bool{"here": true, "there": true}, has); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
}

// A connection that was open when its session's time was up is closed soon after.
func TestRecords_TrackEndsWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecords(new(storetest.Memory), nil)
		defer r.Close()
		begun := time.Now()
		ended := make(chan time.Duration, 100) // once a second until it is released
		defer r.Track(&Session{ID: "short", ExpiresAt: begun.Add(time.Minute)}, time.Time{}, func() { ended <- time.Since(begun) }).Release()
		defer r.Track(&Session{ID: "long", ExpiresAt: begun.Add(time.Hour)}, time.Time{}, func() { t.Error("a session is ended before its time") }).Release()
		if after := <-ended; after < time.Minute || after > time.Minute+expiryCheck {
			t.Errorf("ended after %v, want %v", after, time.Minute)
		}
	})
}

// However many requests of a session or user come and go in whatever order, those
// that are open are ended and no others.
func TestRecords_TrackManyOfOne(t *testing.T) {
	ends := map[string]func(*openConns){
		"session": func(o *openConns) { o.end("s") },
		"user":    func(o *openConns) { o.endUser("u") },
	}
	for gone := range 16 {
		for name, end := range ends {
			var o openConns
			var ended [4]bool
			var release [4]func()
			for i := range ended {
				s := &Session{ID: "s", UserID: "u"}
				if i == 3 {
					s.ID = "another"
				}
				release[i] = o.add(s, time.Time{}, func() { ended[i] = true }).Release
			}
			o.add(&Session{ID: "bobs", UserID: "bob"}, time.Time{}, func() { t.Error("somebody else's is ended") })
			for _, i := range []int{1, 3, 0, 2} {
				if gone&(1<<i) != 0 {
					release[i]()
				}
			}
			end(&o)
			for i := range ended {
				if want := gone&(1<<i) == 0 && (i < 3 || name == "user"); ended[i] != want {
					t.Errorf("released %04b, %s: connection %d ended %v, want %v", gone, name, i, ended[i], want)
				}
			}
			users := []string{"bob", "u"}
			if gone == 15 {
				users = users[:1]
			}
			if diff := cmp.Diff(users, slices.Sorted(slices.Values(o.users()))); diff != "" {
				t.Errorf("released %04b: users (-want +got):\n%s", gone, diff)
			}
		}
	}
}

func TestRecords_TrackLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { m.Track(&Session{ID: "session"}, time.Time{}, func() {}).Release() })
	}
	all.Wait()
	if n, users := len(m.open.first[ofSession]), len(m.open.first[ofUser]); n+users != 0 {
		t.Errorf("%d sessions of %d users are still tracked", n, users)
	}
}

// The session is revoked after it was checked and before its connection is
// tracked: asked then, Live says so.
func TestRecords_Live(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, cookie := w.issue(m, "alice")
	w.wantValid(m, cookie)
	if err := m.Live(t.Context(), s.ID); err != nil {
		t.Errorf("a live session: %v", err)
	}
	if _, err := w.node().Revoke(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if err := m.Live(t.Context(), s.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("a revoked session: %v", err)
	}
}

// What was in memory is gone, mostly because of a notice, and the store cannot be asked
// why. While notices flow nobody would look again at what passes now, so it must not;
// while they do not, those with connections are looked at. A visitor who leaves is no
// failure of the store.
func TestRecords_LiveWithoutTheStore(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, _ := w.issue(m, "alice")
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := m.Live(gone, s.ID); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		t.Errorf("for a visitor who has left: %v", err)
	}
	w.down.Store(true)
	if err := m.Live(t.Context(), s.ID); !errors.Is(err, ErrUnavailable) {
		t.Errorf("while notices flow: %v", err)
	}
	w.store.Tell("session", store.Notice{Kind: store.Lost})
	if err := m.Live(t.Context(), s.ID); err != nil {
		t.Errorf("while they do not: %v", err)
	}
}

// The notices are lost while the store is asked: those with connections are looked at
// from then on, so nothing need be held against the session.
func TestRecords_LiveAtTheBeginOfAnOutage(t *testing.T) {
	s := new(storetest.Memory)
	s.Before = func(_ context.Context, method, _ string) error {
		if method != "Get" {
			return nil
		}
		s.Tell("session", store.Notice{Kind: store.Lost})
		return store.ErrUnavailable
	}
	r := NewRecords(s, nil)
	defer r.Close()
	if err := r.Live(t.Context(), "a"); err != nil {
		t.Errorf("Live = %v", err)
	}
}

// The store goes away. Who was signed in passes for the grace, then gets 503,
// never "signed out"; and all is well when the store is back.
func TestManager_Outage(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	_, known := w.issue(m, "alice")
	_, unknown := w.issue(m, "bob")
	w.wantValid(m, known)
	w.down.Store(true)
	w.store.Tell("session", store.Notice{Kind: store.Lost})
	w.wantValid(m, known)
	w.wantUnavailable(m, unknown)
	w.clock.Advance(testGrace)
	w.wantValid(m, known)
	w.clock.Advance(1)
	w.wantUnavailable(m, known)
	w.wantInvalid(m, known+"x") // a forgery is one without any store
	w.down.Store(false)
	w.clock.Advance(2 * time.Second)
	w.store.Tell("session", store.Notice{Kind: store.Restored})
	w.wantValid(m, known)
	w.wantValid(m, unknown)
}

// The session was revoked elsewhere while this node heard nothing.
func TestManager_RevokedDuringOutage(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, cookie := w.issue(m, "alice")
	w.wantValid(m, cookie)
	w.store.Tell("session", store.Notice{Kind: store.Lost})
	if _, err := w.store.Delete(t.Context(), "session:"+s.ID); err != nil {
		t.Fatal(err)
	}
	w.wantInvalid(m, cookie) // the store can be asked, so it is
	w.store.Tell("session", store.Notice{Kind: store.Restored})
	w.wantInvalid(m, cookie)
}

// A visitor who goes away says nothing about the store.
func TestManager_CancelledVisitor(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	_, cookie := w.issue(m, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Check(ctx, cookie); errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) {
		t.Errorf("Check = %v", err)
	}
	w.wantValid(m, cookie)
}

func TestManager_ConcurrentUse(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(func() { close(w.written) }) // after the nodes have ended
	nodes := []*Manager{w.node(), w.node(), w.node()}
	go func() { // nobody waits for the touches here
		for range w.written {
		}
	}()
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			m := nodes[i%len(nodes)]
			person := fmt.Sprint("person", i)
			s, cookie := w.issue(m, person)
			for range 20 {
				w.clock.Advance(time.Minute)
				for _, n := range nodes {
					if got, err := n.Check(t.Context(), cookie); err != nil || got.UserID != person {
						t.Errorf("Check = %+v, %v; want %s", got, err, person)
					}
				}
			}
			if _, err := m.Revoke(t.Context(), s.ID); err != nil {
				t.Error(err)
			}
			for _, n := range nodes {
				w.wantInvalid(n, cookie)
			}
		})
	}
	all.Wait()
}

// A warm check asks nobody: not the store, and not for the signature again.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	m := w.node()
	_, cookie := w.issue(m, "alice")
	w.wantValid(m, cookie)
	w.calls.Store(0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Check(b.Context(), cookie); err != nil {
			b.Fatal(err)
		}
	}
	if n := w.calls.Load(); n != 0 {
		b.Errorf("%d calls of the store", n)
	}
}

// BenchmarkCheck_Cold is the cost of a cookie that was not seen before.
func BenchmarkCheck_Cold(b *testing.B) {
	k := newKey([]byte(keyA))
	cookie, err := signCookie(k, NewID(), time.Now().Add(time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseCookie([]key{k}, cookie, time.Now); err != nil {
			b.Fatal(err)
		}
	}
}

// The same as a test, so that it cannot slip.
func TestManager_WarmCheckCostsNoStoreCall(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	_, cookie := w.issue(m, "alice")
	w.wantValid(m, cookie)
	w.calls.Store(0)
	for range 1000 {
		w.wantValid(m, cookie)
	}
	if n := w.calls.Load(); n != 0 {
		t.Errorf("1000 warm checks called the store %d times", n)
	}
}

// TestReissue: the answer with the cookie of a new session was lost, and the browser
// asks again. It gets the same session, which lives no longer for that; one that is
// over, revoked, or minutes old, or never was, is given to nobody.
func TestReissue(t *testing.T) {
	w := newWorld(t)
	m, other := w.node(), w.node(keyB)
	s, cookie := w.issue(m, "u1")
	w.clock.Advance(reissuable - time.Second)
	again, reissued, err := other.Reissue(t.Context(), s.ID)
	if err != nil || again != s || reissued == cookie {
		t.Fatalf("Reissue = %+v, %v; want %+v", again, err, s)
	}
	if got := w.wantValid(other, reissued); got.ID != s.ID || !got.ExpiresAt.Equal(s.ExpiresAt) {
		t.Errorf("the cookie names %+v, want %+v", got, s)
	}
	if _, err := m.Revoke(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	late, _ := w.issue(m, "u1")
	w.clock.Advance(testTTL)
	old, _ := w.issue(m, "u1")
	w.clock.Advance(reissuable)
	for name, id := range map[string]string{"revoked": s.ID, "over": late.ID, "minutes old": old.ID, "unknown": NewID(), "empty": ""} {
		if got, cookie, err := m.Reissue(t.Context(), id); !errors.Is(err, ErrInvalid) || cookie != "" || got != (Session{}) {
			t.Errorf("%s: Reissue = %+v, %q, %v; want ErrInvalid", name, got, cookie, err)
		}
	}
	live, _ := w.issue(m, "u2")
	w.down.Store(true)
	if _, cookie, err := w.node().Reissue(t.Context(), live.ID); !errors.Is(err, ErrUnavailable) || cookie != "" {
		t.Errorf("while the store is down: %q, %v; want ErrUnavailable", cookie, err)
	}
}

// TestReissueRevokedUnheard: the person has signed out everywhere by way of another
// node, and this one, which has the session in memory, has not heard of it yet. It
// brings the session back for nobody.
func TestReissueRevokedUnheard(t *testing.T) {
	w := newWorld(t)
	m := w.node()
	s, cookie := w.issue(m, "u1")
	w.wantValid(m, cookie)
	if existed, err := w.store.Delete(t.Context(), "session:"+s.ID); !existed || err != nil {
		t.Fatalf("existed %v, error %v", existed, err)
	}
	w.wantValid(m, cookie) // else the test shows nothing
	if got, cookie, err := m.Reissue(t.Context(), s.ID); !errors.Is(err, ErrInvalid) || cookie != "" {
		t.Errorf("Reissue = %+v, %q, %v; want ErrInvalid", got, cookie, err)
	}
}
