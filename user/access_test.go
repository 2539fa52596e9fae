// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"fmt"
	"runtime"
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

// openHere are the connections of a node: of each user one, which comes back as soon as
// it has ended, if it may.
type openHere struct {
	mu    sync.Mutex
	asOf  map[string]time.Time
	ended []string
	// back is what somebody does whose connection has ended; nil for nothing.
	back func(id string)
}

// Online implements Connections.
func (o *openHere) Online() (ids []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.asOf {
		ids = append(ids, id)
	}
	return ids
}

// EndConnections implements Connections.
func (o *openHere) EndConnections(id string) {
	o.mu.Lock()
	o.ended = append(o.ended, id)
	delete(o.asOf, id)
	o.mu.Unlock()
	if o.back != nil {
		o.back(id)
	}
}

// EndOutdated implements Connections.
func (o *openHere) EndOutdated(id string, asOf time.Time) {
	o.mu.Lock()
	judged, open := o.asOf[id]
	o.mu.Unlock()
	if open && !judged.Equal(asOf) {
		o.EndConnections(id)
	}
}

// connect opens connections, as the gate does that judges the users as they are now.
func (o *openHere) connect(t *testing.T, r *Records, ids ...string) {
	t.Helper()
	for _, id := range ids {
		u, err := r.Find(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		o.mu.Lock()
		if o.asOf == nil {
			o.asOf = make(map[string]time.Time)
		}
		o.asOf[id] = u.AccessAt
		o.mu.Unlock()
	}
}

// take returns whose connections have ended, and forgets it.
func (o *openHere) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	ended := o.ended
	o.ended = nil
	slices.Sort(ended)
	return ended
}

// cluster are two nodes in a bubble: one hears nothing but of gaps.
type cluster struct {
	*storetest.Memory
	t     *testing.T
	deaf  *Records
	other *Records
	open  openHere
	// unreadable are the keys that cannot be read, all where away is set.
	unreadable sync.Map
	away       atomic.Bool
	gets       atomic.Int64
	delay      time.Duration // of each read
}

// deafStore is a store whose messages do not arrive.
type deafStore struct{ *storetest.Memory }

// Subscribe implements store.Store.
func (d deafStore) Subscribe(topic string, fn func(store.Notice)) (cancel func()) {
	return d.Memory.Subscribe(topic, func(n store.Notice) {
		if n.Kind != store.Message {
			fn(n)
		}
	})
}

func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, Memory: new(storetest.Memory)}
	c.Before = func(ctx context.Context, method, key string) error {
		if method != "Get" {
			return nil
		}
		c.gets.Add(1)
		wait := time.NewTimer(c.delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, broken := c.unreadable.Load(key); broken || c.away.Load() {
			return store.ErrUnavailable
		}
		return nil
	}
	c.deaf, c.other = NewRecords(deafStore{c.Memory}, nil), NewRecords(c.Memory, nil)
	t.Cleanup(func() { c.deaf.Close(); c.other.Close() })
	for _, name := range names {
		if _, _, err := c.other.Import(t.Context(), Entry{ID: name}, false); err != nil {
			t.Fatal(err)
		}
	}
	c.deaf.OnAccess(&c.open)
	c.open.connect(t, c.other, names...)
	return c
}

func (c *cluster) lose() { c.tell(store.Lost) }

func (c *cluster) restore() { c.tell(store.Restored) }

// tell tells of a gap as a store does: all topics.
func (c *cluster) tell(kind store.NoticeKind) {
	for _, topic := range []string{"user", accessTopic} {
		c.Tell(topic, store.Notice{Kind: kind})
	}
}

// change gives the user other roles.
func (c *cluster) change(id string, roles ...string) {
	c.t.Helper()
	if _, _, err := c.other.Change(c.t.Context(), id, Change{Roles: &roles}); err != nil {
		c.t.Fatal(err)
	}
}

// expect says whose connections end by the next look.
func (c *cluster) expect(when string, want ...string) {
	c.t.Helper()
	time.Sleep(lookInterval + time.Millisecond) //nolint:forbidigo // in a bubble
	synctest.Wait()
	if diff := cmp.Diff(want, c.open.take()); diff != "" {
		c.t.Errorf("%s: ended (-want +got):\n%s", when, diff)
	}
}

// expectGoroutines fails the test unless so many look.
func (c *cluster) expectGoroutines(want int) {
	c.t.Helper()
	synctest.Wait()
	all := make([]byte, 8<<20)
	if got := strings.Count(string(all[:runtime.Stack(all, true)]), ".lookOut("); got != want {
		c.t.Errorf("%d goroutines look, want %d", got, want)
	}
}

// TestOnAccess_InAGap: a node that hears nothing finds out by itself, soon, and once for
// each change: whoever comes back with other roles may stay. Where the store is away
// when the gap ends, it looks again.
func TestOnAccess_InAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "alice", "bob")
		c.open.back = func(id string) { c.open.connect(t, c.other, id) }
		c.lose()
		c.expect("nothing has changed")
		c.change("alice", "a")
		c.expect("a change", "alice")
		c.expect("no other change")
		c.change("alice", "b")
		c.expect("another change", "alice")
		c.away.Store(true)
		c.expect("the store is away")
		c.away.Store(false)
		c.change("alice", "c")
		c.away.Store(true)
		c.restore()
		c.expect("heard again, the store is away")
		c.away.Store(false)
		c.expect("the store is back", "alice")
		c.expectGoroutines(0)
		c.change("alice", "d")
		c.expect("after the gap, which this node would hear of")
	})
}

// TestOnAccess_AfterAGap: while a node was frozen, an operator took roles and deleted
// people who have WebSockets open there. That is longer ago than anybody could guess when
// the node wakes and learns that it has missed something: it knows whose to end all the
// same, also where it hears again in that moment. Those of others stay open.
func TestOnAccess_AfterAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "alice", "bob", "carol", "dave")
		c.change("carol", "a") // and she has come back since then
		c.open.connect(t, c.other, "carol")
		c.change("alice", "a")
		if _, err := c.other.Delete(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) //nolint:forbidigo // in a bubble
		c.lose()
		c.lose()
		c.restore()
		c.restore() // of no gap
		c.expect("a gap of no time", "alice", "bob")
		c.expectGoroutines(0)
	})
}

// TestOnAccess_Flapping: a line that breaks again and again has the connections of a
// person ended once for a change, and not once for each gap after it.
func TestOnAccess_Flapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "alice", "bob")
		c.open.back = func(id string) { c.open.connect(t, c.other, id) }
		c.change("alice", "a")
		for i := range 10 {
			c.lose()
			if i == 0 {
				c.expect("the first gap", "alice")
			}
			c.expect("in a gap")
			c.restore()
			if i%2 == 0 {
				c.expect("after a gap")
			}
		}
	})
}

// TestOnAccess_Unreadable: a record that cannot be read, because it is broken or its
// server is away, keeps the node looking, by one goroutine however many gaps there are,
// and for that record only. All others are told apart as ever. When it can be read, or
// the user has left, that is over.
func TestOnAccess_Unreadable(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, "alice", "bob")
			c.unreadable.Store("user:bob", true)
			c.change("bob", "a")
			for range 200 {
				c.lose()
				c.restore()
			}
			c.expectGoroutines(1)
			c.change("alice", "a")
			c.lose()
			c.expect("in a gap", "alice")
			c.open.connect(t, c.other, "alice")
			c.change("alice", "b")
			c.restore()
			c.expect("after it", "alice")
			c.open.connect(t, c.other, "alice")
			c.gets.Store(0)
			for range 10 {
				c.expect("nothing new")
			}
			if got := c.gets.Load(); got > 11 {
				t.Errorf("%d reads in ten looks: others are read, too", got)
			}
			c.expectGoroutines(1)
			if leaves {
				c.open.EndConnections("bob")
				c.open.take()
				c.expect("he has left")
			} else {
				c.unreadable.Clear()
				c.expect("he can be read", "bob")
			}
			c.expectGoroutines(0)
		})
	}
}

// TestOnAccess_Many: so many are online that one look cannot take them all. It goes on
// where it has stopped, and nobody is passed over.
func TestOnAccess_Many(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 200 {
			names = append(names, fmt.Sprintf("u%03d", i))
		}
		c := newCluster(t, names...)
		for _, name := range names {
			c.change(name, "a")
		}
		c.delay = 400 * time.Millisecond // 16 at once: five of these in one look, and 200 take 13
		c.lose()
		c.restore()
		time.Sleep(10 * time.Second) //nolint:forbidigo // in a bubble
		synctest.Wait()
		if diff := cmp.Diff(names, c.open.take()); diff != "" {
			t.Errorf("ended (-want +got):\n%s", diff)
		}
		c.expectGoroutines(0)
	})
}

// TestOnAccess_Close: nothing is left when the records are closed in the middle of a look,
// be it in a gap or after one.
func TestOnAccess_Close(t *testing.T) {
	for _, heard := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, "alice", "bob")
			c.delay = time.Hour
			c.lose()
			if heard {
				c.restore()
			}
			c.expectGoroutines(1)
			begun := time.Now()
			c.deaf.Close()
			if took := time.Since(begun); took > 0 {
				t.Errorf("Close took %v", took)
			}
			c.expectGoroutines(0)
			c.lose()
			c.expectGoroutines(0)
			time.Sleep(2 * time.Second) //nolint:forbidigo // in a bubble: reads outlive who asks
		})
	}
}

// TestOnAccess_LateNotice: who is led back to the site after he has changed something
// himself, such as his address, may be there before this node hears of it. What begins
// after the change goes on.
func TestOnAccess_LateNotice(t *testing.T) {
	w := newTestWorld(t)
	here, there := w.records(), w.records()
	id := w.person("Alice").ID
	var before, after openHere
	before.connect(t, here, id)
	if _, err := there.Bind(t.Context(), id, ByEmail, newMail); err != nil {
		t.Fatal(err)
	}
	after.connect(t, here, id)
	u := w.find(id)
	for name, o := range map[string]*openHere{"before": &before, "after": &after} {
		a := access{records: here, open: o}
		a.notice(store.Notice{Kind: store.Message, Payload: accessChanged(id, u.AccessAt).Payload})
		if want := name == "before"; (len(o.ended) == 1) != want {
			t.Errorf("what began %s the change: ended %v", name, o.ended)
		}
	}
	for _, payload := range []string{id, id + " ", id + " 2026", id + " x y"} { // of another version
		var o openHere
		o.connect(t, here, id)
		(&access{records: here, open: &o}).notice(store.Notice{Kind: store.Message, Payload: payload})
		if len(o.ended) != 1 {
			t.Errorf("%q: ended %v", payload, o.ended)
		}
	}
}

// TestOnAccess_NothingOldIsLeft: whoever's connection is ended comes back at once, and
// does not find the roles of before.
func TestOnAccess_NothingOldIsLeft(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	u := w.signIn(d, Identity{AppID: appA, OpenID: "oAlice"})
	role := []string{"staff"}
	if _, _, err := d.Change(t.Context(), u.ID, Change{Roles: &role}); err != nil {
		t.Fatal(err)
	}
	if m, err := d.Get(t.Context(), u.ID); err != nil || !m.HasRole("staff") { // and now it is in memory
		t.Fatalf("Get = %+v, %v", m, err)
	}
	var found []string
	here := openHere{back: func(id string) {
		if m, err := d.Get(t.Context(), id); err == nil {
			found = append(found, m.RolesText)
		}
	}}
	here.connect(t, d.Records, u.ID)
	d.OnAccess(&here)
	other := NewRecords(w.store, nil) // another node
	defer other.Close()
	if _, _, err := other.Change(t.Context(), u.ID, Change{Roles: &[]string{}}); err != nil {
		t.Fatal(err)
	}
	if want := []string{""}; !slices.Equal(found, want) {
		t.Errorf("found the roles %q", found)
	}
}

// Renew is the last look before a request is let in: while notices flow nobody looks
// after that, so who has changed must not pass where it cannot be known how.
func TestRenew_WithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "alice")
		var losing atomic.Bool
		before := c.Before
		c.Before = func(ctx context.Context, method, key string) error {
			if losing.Load() {
				c.lose()
				return store.ErrUnavailable
			}
			return before(ctx, method, key)
		}
		d := NewDirectory(c.deaf, Policy{Registration: Open}, time.Hour)
		m, err := d.Get(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		expect := func(when string, known bool) {
			t.Helper()
			if got, err := d.Renew(t.Context(), m); (err == nil) != known || known && got != m {
				t.Errorf("%s: Renew = %v, %v", when, got, err)
			}
		}
		c.away.Store(true)
		expect("in memory", true)
		c.lose()
		expect("in a gap", true)
		time.Sleep(time.Second) //nolint:forbidigo // in a bubble
		c.restore()
		expect("a second later, and within the grace, after the gap", true)
		c.deaf.set.Forget("alice") // as a notice does
		expect("changed meanwhile", false)
		losing.Store(true)
		expect("the gap begins meanwhile", true)
	})
}
