// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package people

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// importsAtOnce is how many entries are written at a time: a store that writes to a
// disk, or across a network, takes many in one step.
const importsAtOnce = 48

// Entry is a user who comes from elsewhere.
type Entry struct {
	user.Entry
	// Identities are those of a user who has several, instead of AppID and its fellows.
	Identities []Identity `json:"identities,omitempty"`
}

// Identity is who a person is at one WeChat account.
type Identity struct {
	AppID   string `json:"app_id"`
	OpenID  string `json:"openid"`
	UnionID string `json:"unionid"`
}

// IdentitiesOf are those of a user.
func IdentitiesOf(u *user.User) []Identity {
	all := make([]Identity, len(u.Identities))
	for i, id := range u.Identities {
		all[i] = Identity{id.AppID, id.OpenID, id.UnionID}
	}
	return all
}

// split returns the entry with its first identity, and the others.
func (e Entry) split() (first user.Entry, rest []Identity, err error) {
	first = e.Entry
	if len(e.Identities) == 0 {
		return first, nil, nil
	}
	if first.AppID+first.OpenID+first.UnionID != "" {
		return first, nil, errors.New("it has both identities and an openid of its own: put all into identities")
	}
	head := e.Identities[0]
	first.AppID, first.OpenID, first.UnionID = head.AppID, head.OpenID, head.UnionID
	return first, e.Identities[1:], nil
}

// names are what can name the user of the entry, none where the entry is wrong.
func (e Entry) names() (names []string) {
	c, err := e.Canonical()
	if err != nil {
		return nil
	}
	add := func(kind, value string) {
		if value != "" {
			names = append(names, kind+":"+value)
		}
	}
	add("id", c.ID)
	add("email", c.Email)
	add("phone", c.Phone)
	for _, id := range append(slices.Clone(e.Identities), Identity{c.AppID, c.OpenID, c.UnionID}) {
		add("openid", id.OpenID)
		add("unionid", id.UnionID)
	}
	return names
}

// Imported is what came of one entry: an outcome, or what is wrong with the entry.
type Imported struct {
	Outcome user.Outcome
	ID      string
	Err     error
}

// Import enters users, or brings them up to date, and says of each entry what came
// of it, or would on a dry run. Entries that name the same user count in their
// order. The error is one of the store: some entries may have been entered then,
// and all can be imported again.
func (s *Service) Import(ctx context.Context, by audit.Actor, entries []Entry, dryRun bool) ([]Imported, error) {
	results := make([]Imported, len(entries))
	err := s.importAll(ctx, by, entries, dryRun, results)
	if !dryRun {
		s.imported(ctx, by, results, err)
	}
	return results, err
}

// importAll imports entries side by side, but none before an earlier one that may
// be of the same user.
func (s *Service) importAll(ctx context.Context, by audit.Actor, entries []Entry, dryRun bool, results []Imported) error {
	for begin := 0; begin < len(entries); {
		end := begin + strangers(entries[begin:])
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(importsAtOnce)
		for i := begin; i < end; i++ {
			group.Go(func() error {
				r, err := s.importOne(groupCtx, by, entries[i], dryRun)
				results[i] = r
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

// strangers returns how many entries, from the first on, have no name in common.
func strangers(entries []Entry) int {
	seen := make(map[string]bool)
	for i, e := range entries {
		names := e.names()
		if slices.ContainsFunc(names, func(name string) bool { return seen[name] }) {
			return i
		}
		for _, name := range names {
			seen[name] = true
		}
	}
	return len(entries)
}

// importOne returns an error only where the store, or whoever waits, has one.
func (s *Service) importOne(ctx context.Context, by audit.Actor, e Entry, dryRun bool) (Imported, error) {
	r, err := s.enter(ctx, by, e, dryRun)
	if err == nil {
		return r, nil
	}
	if errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
		return r, fmt.Errorf("importing: %w", err)
	}
	return Imported{Err: err}, nil
}

// enter enters the user with all identities.
func (s *Service) enter(ctx context.Context, by audit.Actor, e Entry, dryRun bool) (Imported, error) {
	first, rest, err := e.split()
	if err != nil {
		return Imported{}, err
	}
	before, after, err := s.Users.Import(ctx, first, dryRun)
	if after != nil && !dryRun {
		err = s.entered(ctx, by, before, after, err)
	}
	if err != nil {
		return Imported{}, err
	}
	r := Imported{Outcome: user.OutcomeOf(before, after), ID: after.ID}
	for _, more := range rest {
		next := user.Entry{ID: r.ID, AppID: more.AppID, OpenID: more.OpenID, UnionID: more.UnionID}
		before, after, err := s.Users.Import(ctx, next, dryRun)
		if err != nil {
			return Imported{}, err
		}
		if r.Outcome == user.Unchanged {
			r.Outcome = user.OutcomeOf(before, after)
		}
	}
	return r, nil
}

// entered follows up what was written of a user before anything else of his entry can
// fail: whoever is disabled loses all sessions, even if nobody waits for it any more,
// or another entry has failed meanwhile.
func (s *Service) entered(ctx context.Context, by audit.Actor, before, after *user.User, err error) error {
	s.recordChange(ctx, by, before, after, err)
	if err != nil || before == nil || after.Status != user.Disabled {
		return err
	}
	_, err = s.RevokeSessions(context.WithoutCancel(ctx), by, after.ID)
	return err
}

// imported records what an import has done.
func (s *Service) imported(ctx context.Context, by audit.Actor, results []Imported, err error) {
	count := make(map[user.Outcome]int)
	wrong := 0
	for _, r := range results {
		if count[r.Outcome]++; r.Err != nil {
			wrong++
		}
	}
	event := audit.Event{Action: audit.ImportUsers, Result: audit.OK, Actor: by, Count: count[user.Created] + count[user.Updated]}
	event.Detail = fmt.Sprintf("created %d, updated %d, unchanged %d, failed %d", count[user.Created], count[user.Updated], count[user.Unchanged], wrong)
	if err != nil {
		event.Result, event.Reason, event.Detail = audit.Failed, "store_unavailable", event.Detail+": "+err.Error()
	}
	s.Audit(ctx, event)
}
