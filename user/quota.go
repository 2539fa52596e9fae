// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// TooManyError says that no more codes are sent for now.
type TooManyError struct {
	Wait time.Duration // until one more is
}

func (e *TooManyError) Error() string {
	return fmt.Sprintf("too many codes were asked for: the next one can be sent in %v", e.Wait.Round(time.Second))
}

// quota is how many codes are sent within any time so long.
type quota struct {
	count int
	per   time.Duration
}

const day = 24 * time.Hour

// The quotas of a person, those of a person and one address, and those of an address,
// whoever asks. The last are much the widest: nobody is to be kept from proving his
// address by one other person who asks for codes to it.
var (
	personQuotas  = []quota{{5, 10 * time.Minute}, {10, day}}
	pairQuotas    = []quota{{3, time.Hour}, {4, day}}
	addressQuotas = []quota{{30, day}}
)

// failedQuota is how many turns come back because a sender failed: while it does so,
// too, nobody makes it try without end.
var failedQuota = quota{20, time.Hour}

// turn is one place that is taken in the quotas of a key.
type turn struct {
	key string
	at  int64 // Unix time in nanoseconds
}

// turns are those of one key, as Unix times in nanoseconds.
type turns struct {
	Taken []int64 `json:"taken"`
	// Failed are those that came back from a sender that failed.
	Failed []int64 `json:"failed,omitempty"`
}

// Asker is who asks for a code.
type Asker struct {
	UserID string
	// AppID and OpenID are as whom WeChat knows the person. Who is deleted and comes
	// again is another user, and still the same to WeChat.
	AppID, OpenID string
}

// take takes a turn in all quotas that a code is subject to, or in none. A person has
// them as a user and as who he is to WeChat: the former alone begin anew with each user
// he becomes, the latter with each account by which a user can sign in.
func (c *Codes) take(ctx context.Context, who Asker, ch Channel, address string) (all []turn, err error) {
	for _, of := range []struct {
		key    string
		quotas []quota
	}{
		{"codes-of:" + who.UserID, personQuotas},
		{"codes-of-openid:" + hex.EncodeToString(digest("openid", who.AppID, who.OpenID)), personQuotas},
		{"codes-of-to:" + hex.EncodeToString(digest("pair", who.UserID, string(ch), address)), pairQuotas},
		{"codes-of-to:" + hex.EncodeToString(digest("openid pair", who.AppID, who.OpenID, string(ch), address)), pairQuotas},
		{"codes-to:" + addressDigest(ch, address), addressQuotas},
	} {
		t, err := c.takeOne(ctx, store.VolatilePrefix+of.key, of.quotas)
		if err != nil {
			c.giveBack(context.WithoutCancel(ctx), all)
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// takeOne takes a turn in one atomic step, whichever nodes others ask.
func (c *Codes) takeOne(ctx context.Context, key string, quotas []quota) (turn, error) {
	mine := turn{key: key}
	err := c.change(ctx, key, func(t *turns, now time.Time) error {
		if wait := waitFor(t.Taken, quotas, now); wait > 0 {
			return &TooManyError{Wait: wait}
		}
		mine.at = now.UnixNano()
		t.Taken = append(t.Taken, mine.at)
		return nil
	})
	if err != nil {
		return mine, fmt.Errorf("counting codes: %w", err)
	}
	return mine, nil
}

// giveBack undoes take where nothing was tried. Should the store fail, the turns
// lapse by themselves.
func (c *Codes) giveBack(ctx context.Context, all []turn) {
	for _, mine := range all {
		_ = c.change(ctx, mine.key, func(t *turns, _ time.Time) error {
			t.drop(mine.at)
			return nil
		})
	}
}

// giveBackFailed undoes take where a sender has failed, as often as failedQuota says.
func (c *Codes) giveBackFailed(ctx context.Context, all []turn) {
	for _, mine := range all {
		_ = c.change(ctx, mine.key, func(t *turns, now time.Time) error {
			if waitFor(t.Failed, []quota{failedQuota}, now) == 0 && t.drop(mine.at) {
				t.Failed = append(t.Failed, now.UnixNano())
			}
			return nil
		})
	}
}

// drop takes one turn out and says whether it was there.
func (t *turns) drop(at int64) bool {
	i := slices.Index(t.Taken, at)
	if i >= 0 {
		t.Taken = slices.Delete(t.Taken, i, i+1)
	}
	return i >= 0
}

// change changes the turns of a key in one atomic step, and forgets old ones.
func (c *Codes) change(ctx context.Context, key string, fn func(t *turns, now time.Time) error) error {
	return c.store.Update(ctx, key, func(raw []byte, found bool) ([]byte, time.Duration, error) {
		var t turns
		if found {
			if err := json.Unmarshal(raw, &t); err != nil {
				return nil, 0, fmt.Errorf("decoding turns: %w", err)
			}
		}
		now := c.now()
		t.Taken, t.Failed = lately(t.Taken, day, now), lately(t.Failed, failedQuota.per, now)
		if err := fn(&t, now); err != nil {
			return nil, 0, err
		}
		next, err := json.Marshal(t)
		return next, day, err
	})
}

// lately leaves out the turns that are so old.
func lately(taken []int64, old time.Duration, now time.Time) []int64 {
	return slices.DeleteFunc(taken, func(at int64) bool { return now.Sub(time.Unix(0, at)) >= old })
}

// waitFor is how long it is until no quota is used up.
func waitFor(taken []int64, quotas []quota, now time.Time) (wait time.Duration) {
	slices.Sort(taken) // the clocks of two nodes differ
	for _, q := range quotas {
		if len(taken) >= q.count {
			oldest := time.Unix(0, taken[len(taken)-q.count])
			wait = max(wait, oldest.Add(q.per).Sub(now))
		}
	}
	return wait
}
