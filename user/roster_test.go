// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"encoding/json"
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
	"pgregory.net/rapid"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// ticking is a clock that moves a second each time it is read.
type ticking struct{ n atomic.Int64 }

func (c *ticking) Now() time.Time {
	return time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(c.n.Add(1)) * time.Second)
}

func (c *ticking) advance(d time.Duration) { c.n.Add(int64(d / time.Second)) }

// crowd imports users named 000, 001 and so on, the last of whom is the newest.
func (w *world) crowd(n int) *ticking {
	w.t.Helper()
	clock := new(ticking)
	r := NewRecords(w.store, clock.Now)
	w.t.Cleanup(r.Close)
	for i := range n {
		e := Entry{ID: fmt.Sprintf("id-%03d", i), Name: fmt.Sprintf("Name %03d", i), Email: fmt.Sprintf("mail%03d@example.com", i)}
		if i%10 == 0 {
			e.Status = Pending
		}
		if _, _, err := r.Import(w.t.Context(), e, false); err != nil {
			w.t.Fatalf("%v", err)
		}
	}
	return clock
}

func (w *world) list(r *Records, q Query) Page {
	w.t.Helper()
	page, err := r.List(w.t.Context(), q)
	if err != nil {
		w.t.Fatalf("listing %+v: %v", q, err)
	}
	return page
}

// pages lists all users page by page, and calls between after each page.
func (w *world) pages(r *Records, q Query, between func()) (ids []string) {
	w.t.Helper()
	for {
		page := w.list(r, q)
		ids = append(ids, idsOf(page)...)
		if q.Cursor = page.Next; page.Next == "" {
			return ids
		}
		between()
	}
}

func idsOf(p Page) (ids []string) {
	for _, u := range p.Users {
		ids = append(ids, u.ID)
	}
	return ids
}

func idsFrom(first, last int) (ids []string) {
	for i := first; i >= last; i-- {
		ids = append(ids, fmt.Sprintf("id-%03d", i))
	}
	return ids
}

func TestList_Pages(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(130)
	r := w.records()
	for _, tt := range []struct{ limit, want int }{{0, DefaultLimit}, {-1, DefaultLimit}, {1, 1}, {7, 7}, {129, 129}, {130, 130}, {131, 130}, {MaxLimit + 1, 130}} {
		page := w.list(r, Query{Limit: tt.limit})
		if diff := cmp.Diff(idsFrom(129, 130-tt.want), idsOf(page)); diff != "" || page.Total != 130 || (page.Next == "") != (tt.want == 130) {
			t.Errorf("limit %d: total %d, next %q (-want +got):\n%s", tt.limit, page.Total, page.Next, diff)
		}
	}
	for _, limit := range []int{1, 7, 10, 65, 129, 130} {
		if diff := cmp.Diff(idsFrom(129, 0), w.pages(r, Query{Limit: limit}, func() {})); diff != "" {
			t.Errorf("by pages of %d (-want +got):\n%s", limit, diff)
		}
	}
	if page := w.list(newTestWorld(t).records(), Query{}); len(page.Users) != 0 || page.Total != 0 || page.Next != "" {
		t.Errorf("of nobody: %+v", page)
	}
}

// No page is larger than what an operator's browser, and the store, can take.
func TestList_MaxLimit(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(MaxLimit + 1)
	if page := w.list(w.records(), Query{Limit: 1 << 30}); len(page.Users) != MaxLimit || page.Next == "" {
		t.Errorf("%d users, next %q", len(page.Users), page.Next)
	}
}

// Users come and go, by other nodes, while an operator turns the pages: who is there
// all the time is on one page, once.
func TestList_ComingAndGoing(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(100)
	here, there := w.records(), w.records()
	gone, n := []string{}, 0
	ids := w.pages(here, Query{Limit: 9}, func() {
		n++
		for _, i := range []int{n, 99 - 9*n} { // one of a page to come, and the last that was shown
			id := fmt.Sprintf("id-%03d", i)
			if _, err := there.Delete(t.Context(), id); err != nil {
				t.Error(err)
			}
			gone = append(gone, id)
		}
		w.person(fmt.Sprint("New", n))
	})
	for _, id := range idsFrom(99, 0) {
		count := 0
		for _, other := range ids {
			if id == other {
				count++
			}
		}
		if count > 1 || count == 0 && !slices.Contains(gone, id) {
			t.Errorf("%s is shown %d times", id, count)
		}
	}
	if n < 9 {
		t.Errorf("%d pages only", n)
	}
	if page := w.list(here, Query{Limit: MaxLimit}); page.Total != 100-len(gone)+n {
		t.Errorf("in the end there are %d, want %d", page.Total, 100-len(gone)+n)
	}
}

func TestList_Query(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(30)
	r := w.records()
	alice := w.person("Alice", Rule{Phone, "13912345678"}) // oAlice, uAlice
	w.change(alice.ID, Change{Status: new(Disabled)})
	for _, tt := range []struct {
		name  string
		query Query
		want  []string
	}{
		{"id", Query{Text: "id-007"}, []string{"id-007"}},
		{"name in any case", Query{Text: "nAME 00"}, idsFrom(9, 0)},
		{"spaces around", Query{Text: "  name 007\t"}, []string{"id-007"}},
		{"part of an e-mail address", Query{Text: "L012@EXAMPLE"}, []string{"id-012"}},
		{"openid", Query{Text: "oalice"}, []string{alice.ID}},
		{"unionid", Query{Text: "uAlice"}, []string{alice.ID}},
		{"phone", Query{Text: "12345678"}, []string{alice.ID}},
		{"nobody", Query{Text: "mallory"}, nil},
		{"no pattern", Query{Text: ".*"}, nil},
		{"no pattern either", Query{Text: "%"}, nil},
		{"pending", Query{Status: Pending}, []string{"id-020", "id-010", "id-000"}},
		{"disabled", Query{Status: Disabled}, []string{alice.ID}},
		{"status and text", Query{Status: Pending, Text: "mail01"}, []string{"id-010"}},
		{"no such status", Query{Status: "banned"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, limit := range []int{1, 2, MaxLimit} {
				q := tt.query
				q.Limit = limit
				if page := w.list(r, q); page.Total != len(tt.want) {
					t.Errorf("total %d, want %d", page.Total, len(tt.want))
				}
				if diff := cmp.Diff(tt.want, w.pages(r, q, func() {})); diff != "" {
					t.Errorf("by pages of %d (-want +got):\n%s", limit, diff)
				}
			}
		})
	}
}

// A user leaves the selection between two pages: the cursor still holds.
func TestList_CursorOfSomebodyGone(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(31)
	r := w.records()
	page := w.list(r, Query{Status: Pending, Limit: 2})
	for _, id := range idsOf(page) {
		w.change(id, Change{Status: new(Active)})
	}
	rest := w.list(r, Query{Status: Pending, Limit: 2, Cursor: page.Next})
	if diff := cmp.Diff([]string{"id-010", "id-000"}, idsOf(rest)); diff != "" || rest.Total != 2 || rest.Next != "" {
		t.Errorf("the next page: total %d, next %q (-want +got):\n%s", rest.Total, rest.Next, diff)
	}
}

func TestList_WrongCursor(t *testing.T) {
	w := newTestWorld(t)
	r := w.records()
	for _, cursor := range []string{"x", ".", "1", "1.", ".a", "x.a", "1x.a", "0x1.a", " 1.a", "1e3.a", "99999999999999999999.a", "1." + strings.Repeat("a", store.MaxKeyLen), "\x00", "null"} {
		if page, err := r.List(t.Context(), Query{Cursor: cursor}); !errors.Is(err, ErrCursor) {
			t.Errorf("List(%q) = %+v, %v", cursor, page, err)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("1.a")
	f.Add("-1.a.b")
	f.Add("1")
	f.Fuzz(func(t *testing.T, raw string) {
		l, err := parseCursor(raw)
		if err != nil || l == nil {
			if !errors.Is(err, ErrCursor) && raw != "" {
				t.Errorf("parseCursor(%q) = %v, %v", raw, l, err)
			}
			return
		}
		again, err := parseCursor(l.cursor())
		if err != nil || again.id != l.id || again.created != l.created {
			t.Errorf("of %q it makes %+v, and then %+v, %v", raw, l, again, err)
		}
	})
}

// reads counts how often all users are read.
func (w *world) reads() *atomic.Int64 {
	var n atomic.Int64
	before := w.store.Before
	w.store.Before = func(ctx context.Context, method, key string) error {
		if method == "List" && key == "user:" {
			n.Add(1)
		}
		return before(ctx, method, key)
	}
	return &n
}

// Once all users have been read, notices of other nodes keep the list true.
func TestList_KeptTrueByNotices(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(20)
	here, there := w.records(), w.records()
	reads := w.reads()
	w.list(here, Query{})
	for _, tt := range []struct {
		name  string
		do    func() error
		query Query
		want  []string
	}{
		{"registered", func() error { w.person("Zoe"); return nil }, Query{Text: "ozoe"}, nil},
		{"imported", func() error { _, _, err := there.Import(t.Context(), Entry{ID: "new"}, false); return err }, Query{Text: "new"}, []string{"new"}},
		{"renamed", func() error { return there.Rename(t.Context(), "id-003", "Zed") }, Query{Text: "zed"}, []string{"id-003"}},
		{"approved", func() error {
			_, _, err := there.Change(t.Context(), "id-010", Change{Status: new(Active)})
			return err
		}, Query{Status: Pending}, []string{"id-000"}},
		{"bound", func() error { _, err := there.Bind(t.Context(), "id-004", ByPhone, newPhone); return err }, Query{Text: newPhone}, []string{"id-004"}},
		{"become one", func() error { _, err := there.Bind(t.Context(), "id-005", ByPhone, newPhone); return err }, Query{Text: "mail005"}, nil},
		{"deleted", func() error { _, err := there.Delete(t.Context(), "id-004"); return err }, Query{Text: "id-004"}, nil},
		{"imported again", func() error { _, _, err := there.Import(t.Context(), Entry{ID: "id-004"}, false); return err }, Query{Text: "id-004"}, []string{"id-004"}},
	} {
		if err := tt.do(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if tt.name == "registered" {
			u := w.list(here, tt.query)
			if len(u.Users) != 1 || u.Users[0].Name != "Zoe" {
				t.Errorf("who has registered is not listed: %+v", u)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, idsOf(w.list(here, tt.query))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("all users were read %d times, want once", n)
	}
	// The same as somebody sees who has just begun.
	all := Query{Limit: MaxLimit}
	if diff := cmp.Diff(w.list(w.records(), all), w.list(here, all)); diff != "" {
		t.Errorf("the list has drifted (-fresh +kept):\n%s", diff)
	}
}

// unheard changes a user as another node does whose notice gets lost.
func (w *world) unheard(id string, status Status) {
	w.t.Helper()
	u := w.find(id)
	u.Status = status
	raw, err := json.Marshal(u)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	if err := w.store.Set(w.t.Context(), "user:"+id, raw, 0); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// Notices are lost, and things change meanwhile: the list is true all the same.
func TestList_LostNotices(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(20)
	r := w.records()
	reads := w.reads()
	want := func(n int, why string) {
		t.Helper()
		if page := w.list(r, Query{Status: Pending}); page.Total != n || len(page.Users) != n {
			t.Errorf("%s: %d of %d, want %d", why, len(page.Users), page.Total, n)
		}
	}
	want(2, "before")
	w.store.Tell("user", store.Notice{Kind: store.Lost})
	w.unheard("id-001", Pending)
	want(3, "without notices")
	w.unheard("id-002", Pending)
	want(4, "without notices, once more")
	w.unheard("id-003", Pending)
	w.store.Tell("user", store.Notice{Kind: store.Restored})
	want(5, "when notices are back")
	if n := reads.Swap(0); n != 4 {
		t.Errorf("all users were read %d times, want 4", n)
	}
	want(5, "and then")
	if n := reads.Load(); n != 0 {
		t.Errorf("all users are read %d times while notices flow", n)
	}
}

// A notice may be lost and nobody know it. An hour is as long as that can last.
func TestList_ReadAnewInAnHour(t *testing.T) {
	w := newTestWorld(t)
	clock := w.crowd(20)
	r := NewRecords(w.store, clock.Now)
	defer r.Close()
	w.list(r, Query{Status: Pending})
	w.unheard("id-001", Pending)
	if page := w.list(r, Query{Status: Pending}); page.Total != 2 {
		t.Errorf("total %d; was it read for nothing?", page.Total)
	}
	clock.advance(rosterAge)
	if page := w.list(r, Query{Status: Pending}); page.Total != 3 {
		t.Errorf("after an hour: total %d, want 3", page.Total)
	}
}

// Who has just been approved is not shown as waiting, though the notice is on its way.
func TestList_NoticeOnItsWay(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(31)
	r := w.records()
	first := w.list(r, Query{Status: Pending, Limit: 1})
	w.unheard("id-020", Active)
	if page := w.list(r, Query{Status: Pending, Limit: 2, Cursor: first.Next}); !slices.Equal(idsOf(page), []string{"id-010"}) {
		t.Errorf("waiting are %v", idsOf(page))
	}
}

// Nobody has asked for a while: the memory is given back, and read anew.
func TestList_Forgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWorld(t)
		w.crowd(20)
		r := w.records()
		reads := w.reads()
		for range 3 {
			w.list(r, Query{})
			time.Sleep(rosterTTL - 1) //nolint:forbidigo // in a bubble
		}
		w.list(r, Query{})
		if n := reads.Swap(0); n != 1 {
			t.Errorf("all users were read %d times by somebody who goes on asking, want once", n)
		}
		time.Sleep(rosterTTL) //nolint:forbidigo // in a bubble
		synctest.Wait()
		r.roster.mu.Lock()
		if r.roster.lines != nil {
			t.Error("the list is still in memory")
		}
		r.roster.mu.Unlock()
		if page := w.list(r, Query{}); page.Total != 20 || reads.Load() != 1 {
			t.Errorf("total %d after %d reads; want 20 after one", page.Total, reads.Load())
		}
	})
}

// The store fails while the list is read, or while what has changed is: that is said,
// and forgotten once the store is back.
func TestList_Outage(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(20)
	r, there := w.records(), w.records()
	for _, method := range []string{"List", "Get"} {
		if _, _, err := there.Change(t.Context(), "id-001", Change{Status: new(Pending)}); err != nil {
			t.Fatal(err)
		}
		w.store.Before = func(_ context.Context, m, _ string) error {
			if m == method {
				return errCrash
			}
			return nil
		}
		if page, err := r.List(t.Context(), Query{}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("List without %s = %+v, %v", method, page, err)
		}
		w.store.Before = nil
		if page := w.list(r, Query{Status: Pending}); page.Total != 3 || len(page.Users) != 3 {
			t.Errorf("after an outage of %s: %v", method, idsOf(page))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.List(ctx, Query{}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("List for somebody who has gone: %v", err)
	}
	if page := w.list(r, Query{}); page.Total != 20 {
		t.Errorf("total %d after somebody has gone", page.Total)
	}
}

// So many change that it is cheaper to read all.
func TestList_ManyChanges(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(20)
	r := w.records()
	reads := w.reads()
	w.list(r, Query{})
	for i := range maxChanged + 1 {
		w.store.Tell("user", store.Notice{Kind: store.Message, Payload: fmt.Sprint(i)})
	}
	r.roster.changedMu.Lock()
	if n := len(r.roster.changed); n > maxChanged {
		t.Errorf("%d changes are remembered", n)
	}
	r.roster.changedMu.Unlock()
	if page := w.list(r, Query{}); page.Total != 20 || reads.Load() != 2 {
		t.Errorf("total %d after %d reads", page.Total, reads.Load())
	}
}

// Operators look while people register, change and go on two nodes. In the end the
// lists of both nodes are what the store says.
func TestList_Concurrently(t *testing.T) {
	w := newTestWorld(t)
	w.crowd(60)
	nodes := []*Records{w.records(), w.records()}
	var all sync.WaitGroup
	for i := range 40 {
		r := nodes[i%2]
		all.Go(func() {
			for q := range 10 {
				page, err := r.List(t.Context(), Query{Limit: 10 + q, Text: []string{"", "name 00", "example"}[q%3], Status: []Status{"", Pending}[q%2]})
				if err != nil || len(page.Users) > 10+q || !slices.IsSortedFunc(page.Users, func(a, b *User) int { return compareLines(lineOf(a), lineOf(b)) }) {
					t.Errorf("List = %v, %v", idsOf(page), err)
				}
			}
		})
		all.Go(func() {
			id := fmt.Sprintf("id-%03d", i)
			var err error
			switch i % 4 {
			case 0:
				_, err = r.Delete(t.Context(), id)
			case 1:
				_, _, err = r.Change(t.Context(), id, Change{Status: new(Pending)})
			case 2:
				err = r.Rename(t.Context(), id, "Renamed")
			default:
				_, _, err = r.Import(t.Context(), Entry{Email: id + "@new.example"}, false)
			}
			if err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			w.store.Tell("user", store.Notice{Kind: []store.NoticeKind{store.Lost, store.Restored}[i%2]})
		})
	}
	all.Wait()
	w.store.Tell("user", store.Notice{Kind: store.Restored})
	want := w.list(w.records(), Query{Limit: MaxLimit})
	if want.Total != 60 {
		t.Errorf("%d users, want 60", want.Total)
	}
	for _, r := range nodes {
		if diff := cmp.Diff(want, w.list(r, Query{Limit: MaxLimit})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string, from int64) (lines []line) {
			for i, at := range rapid.SliceOfN(rapid.Int64Range(0, 20), 0, 30).Draw(t, label) {
				lines = append(lines, line{id: fmt.Sprint(from, "-", i), created: at})
			}
			slices.SortFunc(lines, compareLines)
			return lines
		}
		many, few := draw("many", 1), draw("few", 2)
		want := slices.Concat(many, few)
		slices.SortFunc(want, compareLines)
		if got := merge(slices.Grow(slices.Clone(many), rapid.IntRange(0, 40).Draw(t, "room")), few); !slices.Equal(got, want) {
			t.Fatalf("merge = %v, want %v", got, want)
		}
	})
}
