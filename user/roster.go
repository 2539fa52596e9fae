// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// rosterTTL is after how long without a question the roster is forgotten, and
	// rosterAge how old it may get before it is read anew: a notice may be lost.
	rosterTTL = 10 * time.Minute
	rosterAge = time.Hour
	// rosterPage is how many users are read at a time, and rosterReads how many of
	// those that have changed at the same time.
	rosterPage  = 2000
	rosterReads = 16
	// maxChanged is how many changed users are read one by one; beyond, all are read.
	maxChanged = 20_000
	// rosterPatience is how long reading it may take.
	rosterPatience = 30 * time.Second
)

// roster is a short line about each user, so that an operator can look through a
// hundred thousand of them page by page: the store knows no order and no search. It
// is read when it is first asked for and kept true by notices.
type roster struct {
	records *Records

	mu     sync.Mutex // held while the roster is read
	lines  []line     // newest first
	read   time.Time
	forget *time.Timer

	// changedMu guards what notices say in the meantime.
	changedMu sync.Mutex
	changed   map[string]bool
	gap       bool
}

// line is what can be asked about a user.
type line struct {
	id      string
	created int64 // Unix nanoseconds
	status  Status
	search  string // what a query is looked for in
}

func (o *roster) init(r *Records) {
	o.records = r
	o.changed = make(map[string]bool)
	o.gap = true // nothing is known
	r.set.OnChange(o.noteChange)
	r.set.OnGap(o.noteGap)
}

func (o *roster) noteChange(id string) {
	o.changedMu.Lock()
	defer o.changedMu.Unlock()
	if o.gap { // all are to be read anyway
		return
	}
	if o.changed[id] = true; len(o.changed) > maxChanged {
		o.forgetChanges()
	}
}

func (o *roster) noteGap() {
	o.changedMu.Lock()
	defer o.changedMu.Unlock()
	o.forgetChanges()
}

func (o *roster) forgetChanges() {
	o.gap = true
	clear(o.changed)
}

// takeChanges returns which users to read, or that all are.
func (o *roster) takeChanges() (ids []string, all bool) {
	o.changedMu.Lock()
	defer o.changedMu.Unlock()
	all = o.gap || !o.records.set.Flowing()
	o.gap = false
	for id := range o.changed {
		ids = append(ids, id)
	}
	clear(o.changed)
	return ids, all
}

// Query asks for a page of users, newest first.
type Query struct {
	// Status selects those of one status; empty means all.
	Status Status
	// Text selects those whose name, address, id, openid or unionid contains it,
	// in any case; empty means all.
	Text string
	// Cursor is where the page before ended; empty begins.
	Cursor string
	// Limit bounds the page; zero means DefaultLimit.
	Limit int
}

// DefaultLimit and MaxLimit bound a page of users.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// Page is some of the users that a Query asks for.
type Page struct {
	Users []*User
	// Next is the cursor of the page that follows; empty where none does.
	Next string
	// Total is how many users the query selects in all.
	Total int
}

// List returns a page of users. A user who comes or goes meanwhile moves no other
// user to another page.
func (r *Records) List(ctx context.Context, q Query) (Page, error) {
	q.Limit = min(cmp.Or(max(q.Limit, 0), DefaultLimit), MaxLimit)
	after, err := parseCursor(q.Cursor)
	if err != nil {
		return Page{}, err
	}
	var page Page
	ids, err := r.roster.find(ctx, q, after, &page)
	if err != nil {
		return Page{}, fmt.Errorf("listing users: %w", err)
	}
	users := make([]*User, len(ids))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(rosterReads)
	for i, id := range ids {
		group.Go(func() error {
			u, _, err := r.set.Get(groupCtx, id, 0)
			users[i] = u
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Page{}, fmt.Errorf("listing users: %w", err)
	}
	page.Users = slices.DeleteFunc(users, func(u *User) bool {
		// Gone, or changed a moment ago, of which the notice is still on its way.
		return u == nil || q.Status != "" && u.Status != q.Status
	})
	return page, nil
}

// find returns the ids of a page, and fills in the rest of it.
func (o *roster) find(ctx context.Context, q Query, after *line, page *Page) (ids []string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// To read all users may take longer than a request waits for the store; whoever
	// asks next is glad of what was read.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rosterPatience)
	defer cancel()
	if err := o.refresh(store.WithPatience(ctx, rosterPatience)); err != nil {
		return nil, err
	}
	text := strings.ToLower(strings.TrimSpace(q.Text))
	var last line
	for _, l := range o.lines {
		if q.Status != "" && l.status != q.Status || !strings.Contains(l.search, text) {
			continue
		}
		page.Total++
		if after != nil && compareLines(l, *after) <= 0 {
			continue
		}
		switch {
		case len(ids) < q.Limit:
			ids = append(ids, l.id)
			last = l
		case page.Next == "":
			page.Next = last.cursor()
		}
	}
	return ids, nil
}

// refresh makes the roster true.
func (o *roster) refresh(ctx context.Context) error {
	ids, all := o.takeChanges()
	now := o.records.now()
	var err error
	if all || o.lines == nil || now.Sub(o.read) > rosterAge {
		err = o.readAll(ctx, now)
	} else if len(ids) > 0 {
		err = o.readSome(ctx, ids)
	}
	if err != nil {
		o.noteGap() // what was to be read is not known any more
		return err
	}
	if o.forget == nil {
		o.forget = time.AfterFunc(rosterTTL, o.drop)
	}
	o.forget.Reset(rosterTTL)
	return nil
}

// drop gives the memory back.
func (o *roster) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = nil
}

func (o *roster) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = nil
	if o.forget != nil {
		o.forget.Stop()
	}
}

func (o *roster) readAll(ctx context.Context, now time.Time) error {
	byID := make(map[string]line, len(o.lines))
	err := o.records.set.Each(ctx, rosterPage, func(u *User) {
		if u.Into == "" {
			byID[u.ID] = lineOf(u)
		}
	})
	if err != nil {
		return err
	}
	o.read = now
	o.lines = slices.AppendSeq(make([]line, 0, len(byID)), maps.Values(byID))
	slices.SortFunc(o.lines, compareLines)
	return nil
}

func (o *roster) readSome(ctx context.Context, ids []string) error {
	var mu sync.Mutex
	var found []line
	changed := make(map[string]bool, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rosterReads)
	for _, id := range ids {
		changed[id] = true
		group.Go(func() error {
			u, exists, err := o.records.set.Get(ctx, id, 0)
			if err != nil || !exists || u.Into != "" {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			found = append(found, lineOf(u))
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	slices.SortFunc(found, compareLines)
	o.lines = merge(slices.DeleteFunc(o.lines, func(l line) bool { return changed[l.id] }), found)
	return nil
}

// merge returns the lines of two sorted slices in their order. It uses the space of
// the first, from its end on.
func merge(many, few []line) []line {
	i, j := len(many)-1, len(few)-1
	all := append(many, few...)
	for k := len(all) - 1; j >= 0; k-- {
		if i >= 0 && compareLines(all[i], few[j]) > 0 {
			all[k] = all[i]
			i--
		} else {
			all[k] = few[j]
			j--
		}
	}
	return all
}

func lineOf(u *User) line {
	parts := []string{u.ID, u.Name, u.Email, u.Phone}
	for _, id := range u.Identities {
		parts = append(parts, id.OpenID, id.UnionID)
	}
	return line{id: u.ID, created: u.CreatedAt.UnixNano(), status: u.Status, search: strings.ToLower(strings.Join(parts, "\n"))}
}

// compareLines puts the newest first.
func compareLines(a, b line) int {
	return cmp.Or(cmp.Compare(b.created, a.created), cmp.Compare(a.id, b.id))
}

func (l line) cursor() string { return fmt.Sprintf("%d.%s", l.created, l.id) }

// ErrCursor says that a cursor is none that List has given out.
var ErrCursor = fmt.Errorf("not a cursor of this list")

func parseCursor(raw string) (*line, error) {
	if raw == "" {
		return nil, nil //nolint:nilnil // from the beginning
	}
	created, id, ok := strings.Cut(raw, ".")
	at, err := strconv.ParseInt(created, 10, 64)
	if err != nil || !ok || id == "" || len(raw) > store.MaxKeyLen {
		return nil, ErrCursor
	}
	return &line{created: at, id: id}, nil
}
