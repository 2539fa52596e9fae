// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// ownerPrefix begins the keys under which the sessions of a user are listed.
	ownerPrefix = "sessions-of:"
	// maxSessions bounds how many sessions one user has. The one that would end
	// first gives way to a new one.
	maxSessions = 500
)

// owners keeps the list of each user's sessions: one value for a user, so that
// "sign out everywhere" is found by one read in a store of any size.
type owners struct {
	store store.Store
	now   func() time.Time
}

// owned are sessions of one user: the Unix second of their end, by id.
type owned map[string]int64

// add enters a session and returns those that were too many.
func (o *owners) add(ctx context.Context, userID, id string, expires time.Time) (surplus []string, err error) {
	err = o.change(ctx, userID, func(all owned) {
		all[id] = expires.Unix()
		surplus = all.shrink()
	})
	return surplus, err
}

// remove takes sessions off the list.
func (o *owners) remove(ctx context.Context, userID string, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	return o.change(ctx, userID, func(all owned) {
		for _, id := range ids {
			delete(all, id)
		}
	})
}

// list returns the ids of a user's sessions. Some may be gone, or not issued yet.
func (o *owners) list(ctx context.Context, userID string) ([]string, error) {
	raw, _, err := o.store.Get(ctx, ownerPrefix+userID)
	if err != nil {
		return nil, fmt.Errorf("listing sessions: %w", err)
	}
	all, err := o.decode(raw)
	return slices.Collect(maps.Keys(all)), err
}

func (o *owners) change(ctx context.Context, userID string, edit func(owned)) error {
	err := o.store.Update(ctx, ownerPrefix+userID, func(raw []byte, _ bool) ([]byte, time.Duration, error) {
		all, err := o.decode(raw)
		if err != nil {
			return nil, 0, err
		}
		edit(all)
		next, err := json.Marshal(all)
		return next, o.ttl(all), err
	})
	if err != nil {
		return fmt.Errorf("listing a session: %w", err)
	}
	return nil
}

// decode returns the sessions that have not ended.
func (o *owners) decode(raw []byte) (owned, error) {
	all := make(owned)
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &all); err != nil {
			return nil, fmt.Errorf("decoding a list of sessions: %w", err)
		}
	}
	now := o.now().Unix()
	maps.DeleteFunc(all, func(_ string, end int64) bool { return end < now })
	return all, nil
}

// ttl is until the last of the sessions ends.
func (o *owners) ttl(all owned) time.Duration {
	last := int64(0)
	for _, end := range all {
		last = max(last, end)
	}
	return max(time.Unix(last+1, 0).Sub(o.now()), time.Second)
}

// shrink takes off and returns what is more than maxSessions.
func (all owned) shrink() (surplus []string) {
	if len(all) <= maxSessions {
		return nil
	}
	byEnd := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(all[a], all[b]), cmp.Compare(a, b))
	})
	surplus = byEnd[:len(all)-maxSessions]
	for _, id := range surplus {
		delete(all, id)
	}
	return surplus
}
