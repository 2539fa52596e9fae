// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const grace = 5 * time.Minute

type thing struct {
	Name string `json:"name"`
}

// world is a Set on a store that can be watched and broken.
type world struct {
	t     testing.TB
	store *storetest.Memory
	set   *Set[thing]
	clock *clock
	gets  atomic.Int64
	down  atomic.Bool
	// onGet, if set, runs within each read, after the value was fetched.
	onGet atomic.Pointer[func(context.Context)]
}

// clock is a clock that only the test moves.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ns.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) Advance(d time.Duration) { c.ns.Add(int64(d)) }

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, clock: newClock()}
	w.store = &storetest.Memory{Now: w.clock.Now}
	w.store.Before = func(_ context.Context, method, _ string) error {
		if method == "Get" {
			w.gets.Add(1)
		}
		if w.down.Load() {
			return fmt.Errorf("%w: connection refused", store.ErrUnavailable)
		}
		return nil
	}
	w.store.After = func(ctx context.Context, method, _ string) error {
		if fn := w.onGet.Load(); fn != nil && method == "Get" {
			(*fn)(ctx)
		}
		return nil
	}
	w.set = w.newSet()
	return w
}

// newSet returns one more node's Set on the same store.
func (w *world) newSet() *Set[thing] {
	s := New[thing](Config{Store: w.store, Kind: "thing", Size: 100, Now: w.clock.Now})
	w.t.Cleanup(s.Close)
	return s
}

func (w *world) create(id, name string) {
	w.t.Helper()
	if created, err := w.set.Create(w.t.Context(), id, &thing{name}, time.Hour); !created || err != nil {
		w.t.Fatalf("Create = %v, %v", created, err)
	}
}

func (w *world) rename(id, name string) {
	w.t.Helper()
	_, err := w.set.Update(w.t.Context(), id, time.Hour, func(v *thing) (bool, error) {
		v.Name = name
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// want fails the test unless the record has the name; an empty one means that
// there is no record.
func (w *world) want(s *Set[thing], id, name string) {
	w.t.Helper()
	v, found, err := s.Get(w.t.Context(), id, grace)
	if err != nil || found != (name != "") || found && v.Name != name {
		w.t.Errorf("Get(%s) = %+v, %v, %v; want %q", id, v, found, err, name)
	}
}

func (w *world) wantUnavailable(s *Set[thing], id string) {
	w.t.Helper()
	if v, found, err := s.Get(w.t.Context(), id, grace); !errors.Is(err, store.ErrUnavailable) || found || v != nil {
		w.t.Errorf("Get(%s) = %+v, %v, %v; want ErrUnavailable", id, v, found, err)
	}
}

func (w *world) wantGets(want int64, why string) {
	w.t.Helper()
	if got := w.gets.Swap(0); got != want {
		w.t.Errorf("%s: the store was read %d times, want %d", why, got, want)
	}
}

func TestSet_WarmGetsCostNoRead(t *testing.T) {
	w := newWorld(t)
	w.create("a", "one")
	for range 100 {
		w.want(w.set, "a", "one")
	}
	w.wantGets(1, "100 gets")
}

// A record that is not there is not remembered as such: it may come at any time,
// and creating one tells nobody.
func TestSet_AbsenceIsNotCached(t *testing.T) {
	w := newWorld(t)
	w.want(w.set, "a", "")
	w.create("a", "one")
	w.want(w.set, "a", "one")
}

func TestSet_NoticesKeepEveryNodeTrue(t *testing.T) {
	w := newWorld(t)
	other := w.newSet()
	w.create("a", "one")
	w.want(w.set, "a", "one")
	w.want(other, "a", "one")
	w.rename("a", "two")
	w.want(w.set, "a", "two")
	w.want(other, "a", "two")
	if existed, err := other.Delete(t.Context(), "a"); !existed || err != nil {
		t.Fatal(existed, err)
	}
	w.want(w.set, "a", "")
	w.want(other, "a", "")
}

// The change is announced while the old value is on its way from the store: that
// value must not stay in memory, where no further notice would remove it.
func TestSet_LoadRacingANoticeIsNotCached(t *testing.T) {
	w := newWorld(t)
	w.create("a", "old")
	var once sync.Once
	race := func(context.Context) { once.Do(func() { w.rename("a", "new") }) }
	w.onGet.Store(&race)
	w.want(w.set, "a", "old") // read before the change
	w.want(w.set, "a", "new")
}

// A visitor signs out while a slow read of the session is under way. Whoever asks
// after that must not share the answer of that read.
func TestSet_NoticeEndsTheSharingOfARead(t *testing.T) {
	w := newWorld(t)
	w.create("a", "old")
	reading, release := make(chan struct{}), make(chan struct{})
	var later atomic.Bool
	slow := func(context.Context) {
		if !later.Swap(true) {
			close(reading)
			<-release
		}
	}
	w.onGet.Store(&slow)
	first := make(chan struct{})
	go func() {
		defer close(first)
		w.want(w.set, "a", "old")
	}()
	<-reading
	if _, err := w.set.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	w.want(w.set, "a", "")
	close(release)
	<-first
	w.want(w.set, "a", "")
}

func TestSet_ConcurrentReadsShareOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("a", "one")
		release := make(chan struct{})
		wait := func(context.Context) { <-release }
		w.onGet.Store(&wait)
		var readers sync.WaitGroup
		for range 100 {
			readers.Go(func() { w.want(w.set, "a", "one") })
		}
		synctest.Wait()
		close(release)
		readers.Wait()
		w.wantGets(1, "100 gets at once")
	})
}

// Notices are lost, something is changed unheard, notices come back.
func TestSet_LostAndRestored(t *testing.T) {
	w := newWorld(t)
	w.create("a", "old")
	w.want(w.set, "a", "old")
	w.wantGets(1, "first get")

	w.store.Tell("thing", store.Notice{Kind: store.Lost})
	w.store.Tell("thing", store.Notice{Kind: store.Lost}) // twice does no harm
	w.want(w.set, "a", "old")
	w.wantGets(1, "while notices are lost the store is asked")
	unheard(t, w, "a", "new")
	w.want(w.set, "a", "new")
	w.want(w.set, "a", "new")
	w.wantGets(2, "what was read during the outage is not trusted either")

	unheard(t, w, "a", "newest")
	w.store.Tell("thing", store.Notice{Kind: store.Restored})
	w.want(w.set, "a", "newest")
	w.wantGets(1, "everything is read anew")
	w.want(w.set, "a", "newest")
	w.wantGets(0, "and then kept")
}

// unheard changes a record as another node does whose message gets lost.
func unheard(t *testing.T, w *world, id, name string) {
	t.Helper()
	if err := w.store.Set(t.Context(), "thing:"+id, []byte(`{"name":"`+name+`"}`), time.Hour); err != nil {
		t.Fatal(err)
	}
}

// The read began before Restored and ends after it: what it brings is too old.
func TestSet_LoadRacingRestored(t *testing.T) {
	w := newWorld(t)
	w.create("a", "old")
	w.store.Tell("thing", store.Notice{Kind: store.Lost})
	var once sync.Once
	race := func(context.Context) {
		once.Do(func() {
			unheard(t, w, "a", "new")
			w.store.Tell("thing", store.Notice{Kind: store.Restored})
		})
	}
	w.onGet.Store(&race)
	w.want(w.set, "a", "old")
	w.want(w.set, "a", "new")
}

// The store is gone, connection and all. Who was known passes for the grace,
// counted from when notices stopped; nobody else does.
func TestSet_OutageWithLostNotices(t *testing.T) {
	w := newWorld(t)
	w.create("a", "one")
	w.create("b", "two")
	w.want(w.set, "a", "one")
	w.clock.Advance(time.Hour - time.Minute) // kept true by notices all the time
	w.down.Store(true)
	w.store.Tell("thing", store.Notice{Kind: store.Lost})
	for range 100 {
		w.want(w.set, "a", "one")
		w.wantUnavailable(w.set, "b")
	}
	w.clock.Advance(grace)
	w.want(w.set, "a", "one")
	w.clock.Advance(1)
	w.wantUnavailable(w.set, "a")
	if _, _, err := w.set.Get(t.Context(), "a", 0); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without grace: %v", err)
	}
}

// The store comes back for a moment and is gone again before anyone has asked.
// Who was known before the first outage still passes, for as long as the grace
// that began with it.
func TestSet_GraceSurvivesAShortReturn(t *testing.T) {
	w := newWorld(t)
	w.create("a", "one")
	w.want(w.set, "a", "one")
	w.clock.Advance(time.Hour)
	w.down.Store(true)
	for range 3 {
		w.store.Tell("thing", store.Notice{Kind: store.Lost})
		w.clock.Advance(grace / 4)
		w.want(w.set, "a", "one")
		w.store.Tell("thing", store.Notice{Kind: store.Restored})
		w.want(w.set, "a", "one")
	}
	w.clock.Advance(grace/4 + 1)
	w.wantUnavailable(w.set, "a")
}

func TestSet_OnGap(t *testing.T) {
	w := newWorld(t)
	gaps := 0
	w.set.OnGap(func() { gaps++ })
	w.create("a", "one")
	w.rename("a", "two")
	if gaps != 0 || !w.set.Flowing() {
		t.Errorf("%d gaps before any; flowing %v", gaps, w.set.Flowing())
	}
	w.store.Tell("thing", store.Notice{Kind: store.Lost})
	if gaps != 1 || w.set.Flowing() {
		t.Errorf("%d gaps after Lost; flowing %v", gaps, w.set.Flowing())
	}
	w.store.Tell("thing", store.Notice{Kind: store.Restored})
	if gaps != 2 || !w.set.Flowing() {
		t.Errorf("%d gaps after Restored; flowing %v", gaps, w.set.Flowing())
	}
}

func TestSet_OutageEnds(t *testing.T) {
	w := newWorld(t)
	w.create("a", "one")
	w.want(w.set, "a", "one")
	w.down.Store(true)
	w.store.Tell("thing", store.Notice{Kind: store.Lost})
	w.want(w.set, "a", "one")
	w.clock.Advance(2 * grace)
	w.wantUnavailable(w.set, "a")
	w.down.Store(false)
	w.want(w.set, "a", "one")
	w.store.Tell("thing", store.Notice{Kind: store.Restored})
	w.want(w.set, "a", "one")
}

// A store that hangs, and knows no patience, costs a request the load time-out.
func TestSet_HangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.Memory{Before: func(ctx context.Context, _, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		s := New[thing](Config{Store: m, Kind: "thing", Size: 100})
		defer s.Close()
		begun := time.Now()
		_, _, err := s.Get(t.Context(), "a", 0)
		if !errors.Is(err, store.ErrUnavailable) || time.Since(begun) != loadTimeout {
			t.Errorf("Get = %v after %v; want ErrUnavailable after %v", err, time.Since(begun), loadTimeout)
		}
	})
}

// A store that waits for a network is told how long a request can wait.
func TestSet_TellsTheStoreItsPatience(t *testing.T) {
	w := newWorld(t)
	told := func(ctx context.Context) {
		if left := store.PatienceOf(ctx).Left(time.Hour); left != loadPatience {
			t.Errorf("the store may take %v, want %v", left, loadPatience)
		}
	}
	w.onGet.Store(&told)
	if _, _, err := w.set.Get(store.WithPatience(t.Context(), time.Hour), "a", 0); err != nil {
		t.Fatal(err)
	}
}

// A visitor closes the page while the store is asked: that says nothing about the
// store, and who waits for the same record gets it.
func TestSet_CancelledVisitorIsNoStoreError(t *testing.T) {
	w := newWorld(t)
	w.create("a", "one")
	reading, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := func(context.Context) {
		once.Do(func() { close(reading) })
		<-release
	}
	w.onGet.Store(&slow)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, _, err := w.set.Get(ctx, "a", grace)
		gone <- err
	}()
	<-reading
	stays := make(chan struct{})
	go func() {
		defer close(stays)
		w.want(w.set, "a", "one")
	}()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the visitor who went away got %v", err)
	}
	close(release)
	<-stays
	w.want(w.set, "a", "one")
}

func TestSet_OnChange(t *testing.T) {
	w := newWorld(t)
	var told []string
	w.set.OnChange(func(id string) { told = append(told, id) })
	w.create("a", "one")
	w.rename("a", "two")
	if err := w.set.UpdateQuietly(t.Context(), "a", time.Hour, func(v *thing) (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	_, _ = w.set.Update(t.Context(), "a", time.Hour, func(*thing) (bool, error) { return false, nil })
	_, _ = w.set.Delete(t.Context(), "a")
	w.store.Tell("thing", store.Notice{Kind: store.Lost})
	if fmt.Sprint(told) != "[a a]" {
		t.Errorf("told of %v, want a for the update and a for the deletion", told)
	}
}

func TestSet_Update(t *testing.T) {
	w := newWorld(t)
	if v, err := w.set.Update(t.Context(), "absent", 0, func(*thing) (bool, error) {
		t.Error("change is called without a record")
		return true, nil
	}); v != nil || err != nil {
		t.Errorf("Update of no record = %v, %v", v, err)
	}
	w.create("a", "one")
	refused := errors.New("refused")
	if _, err := w.set.Update(t.Context(), "a", 0, func(v *thing) (bool, error) {
		v.Name = "changed"
		return true, refused
	}); !errors.Is(err, refused) {
		t.Errorf("Update = %v", err)
	}
	w.want(w.set, "a", "one")
}

// What somebody else wrote under the key is no record, and no absence of one.
func TestSet_Undecodable(t *testing.T) {
	w := newWorld(t)
	if err := w.store.Set(t.Context(), "thing:a", []byte("{"), 0); err != nil {
		t.Fatal(err)
	}
	if _, found, err := w.set.Get(t.Context(), "a", grace); err == nil || found || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Get = %v, %v; want an error that is not about the store", found, err)
	}
}

// Writers, readers and outages at once; what remains in memory at the end is true.
func TestSet_Concurrent(t *testing.T) {
	w := newWorld(t)
	sets := []*Set[thing]{w.set, w.newSet(), w.newSet()}
	w.create("a", "0")
	var all sync.WaitGroup
	for i, s := range sets {
		all.Go(func() {
			for n := range 200 {
				_, _ = s.Update(t.Context(), "a", time.Hour, func(v *thing) (bool, error) {
					v.Name = fmt.Sprint(i, n)
					return true, nil
				})
			}
		})
		all.Go(func() {
			for range 500 {
				if _, found, err := s.Get(t.Context(), "a", grace); err != nil || !found {
					t.Errorf("Get = %v, %v", found, err)
				}
			}
		})
	}
	all.Go(func() {
		for range 50 {
			w.store.Tell("thing", store.Notice{Kind: store.Lost})
			w.store.Tell("thing", store.Notice{Kind: store.Restored})
		}
	})
	all.Wait()
	last, _, err := sets[0].Reload(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sets {
		w.want(s, "a", last.Name)
	}
}

// A visitor hangs up between a write and its announcement. The other nodes must
// hear of it all the same: a revocation that is done is never half done.
func TestSet_AnnouncesForVisitorsWhoHaveGone(t *testing.T) {
	w := newWorld(t)
	if _, err := w.set.Create(t.Context(), "a", &thing{Name: "old"}, 0); err != nil {
		t.Fatal(err)
	}
	other := w.newSet()
	if _, found, err := other.Get(t.Context(), "a", grace); !found || err != nil {
		t.Fatal(found, err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	after := w.store.After
	w.store.After = func(ctx context.Context, method, key string) error {
		if method == "Delete" {
			hangUp()
		}
		return after(ctx, method, key)
	}
	if _, err := w.set.Delete(ctx, "a"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, found, err := other.Get(t.Context(), "a", grace); found || err != nil {
		t.Errorf("the other node still finds it: %v, %v", found, err)
	}
}
