// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"
)

const (
	// lockTTL frees the lock of a process that died while it refreshed. It is
	// no shorter than callTimeout, so a living owner is done before it ends.
	lockTTL = 5 * time.Second

	// cacheTimeout bounds one step on the cache: a cache that hangs must not
	// keep visitors from a WeChat that answers.
	cacheTimeout = 500 * time.Millisecond

	// cachePause is how long the cache is left alone after it failed.
	cachePause = 5 * time.Second
)

// WeChat allows force_refresh 20 times a day, at least 30 s apart.
// See https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/getStableAccessToken.html
const (
	forcePause     = 30 * time.Second
	maxForcePerDay = 20
)

var errCacheResting = errors.New("the cache failed a moment ago")

// accessToken is a token with the end of its life.
type accessToken struct {
	value   string
	expires time.Time
}

func (t accessToken) valid(now time.Time) bool { return t.value != "" && now.Before(t.expires) }

// tokenCache is the part of a Cache in which the processes of one account share
// a token, the lock to refresh it, and the count of forced refreshes.
type tokenCache struct {
	cache  Cache
	prefix string
	now    func() time.Time

	mu        sync.Mutex
	restUntil time.Time
	lastForce time.Time
	forceDay  string
	forced    int // on forceDay, by this process
}

func newTokenCache(cache Cache, appID string, now func() time.Time) *tokenCache {
	return &tokenCache{cache: cache, prefix: "wechat:token:" + appID + ":", now: now}
}

type tokenRecord struct {
	Value   string `json:"value"`
	Expires int64  `json:"expires"` // Unix milliseconds
}

// load returns the shared token if there is a valid one. What does not look
// like one counts as none and is overwritten by the next save.
func (c *tokenCache) load(ctx context.Context) (accessToken, bool, error) {
	data, found, err := c.get(ctx, "current")
	var r tokenRecord
	if err != nil || !found || json.Unmarshal(data, &r) != nil {
		return accessToken{}, false, err
	}
	t := accessToken{r.Value, time.UnixMilli(r.Expires)}
	return t, t.valid(c.now()), nil
}

// save shares t for the rest of its life. A failure costs only economy: other
// processes get the same token from WeChat.
func (c *tokenCache) save(ctx context.Context, t accessToken) {
	ttl := t.expires.Sub(c.now())
	data, err := json.Marshal(tokenRecord{t.value, t.expires.UnixMilli()})
	if err != nil || ttl <= 0 {
		return // some caches take a ttl of zero for "forever"
	}
	_ = c.step(ctx, func(ctx context.Context) error {
		return c.cache.Set(ctx, c.prefix+"current", data, ttl)
	})
}

// forget removes the shared token if it still is the rejected one.
func (c *tokenCache) forget(ctx context.Context, rejected string) {
	if t, found, err := c.load(ctx); err != nil || !found || t.value != rejected {
		return
	}
	c.remove(ctx, "current")
}

// lock tries once to become the process that refreshes. release is nil where
// another process is it.
func (c *tokenCache) lock(ctx context.Context) (release func(), err error) {
	owner := rand.Text()
	taken := c.now()
	created, err := c.create(ctx, "lock", owner, lockTTL)
	if err != nil || !created {
		return nil, err
	}
	return func() { c.unlock(context.WithoutCancel(ctx), owner, taken) }, nil
}

// unlock lets go of the lock, unless it has ended or is so near its end that it
// may be another process's before Delete arrives.
func (c *tokenCache) unlock(ctx context.Context, owner string, taken time.Time) {
	if c.now().Sub(taken) > lockTTL-2*cacheTimeout {
		return
	}
	if value, found, err := c.get(ctx, "lock"); err == nil && found && string(value) == owner {
		c.remove(ctx, "lock")
	}
}

// mayForce claims one forced refresh. At most one process gets it in 30 s, and
// at most 20 a day; where the cache is down the process keeps to the limits by itself.
func (c *tokenCache) mayForce(ctx context.Context) bool {
	day := c.now().In(beijing).Format(time.DateOnly)
	if !c.mayForceHere(day) {
		return false
	}
	created, err := c.create(ctx, "force", "1", forcePause)
	if err != nil {
		return true
	}
	return created && c.countForce(ctx, "forced-"+day)
}

func (c *tokenCache) mayForceHere(day string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if day != c.forceDay {
		c.forceDay, c.forced = day, 0
	}
	now := c.now()
	if c.forced >= maxForcePerDay || (!c.lastForce.IsZero() && now.Sub(c.lastForce) < forcePause) {
		return false
	}
	c.lastForce = now
	c.forced++
	return true
}

// countForce needs no lock of its own: only the owner of "force" gets here.
func (c *tokenCache) countForce(ctx context.Context, key string) bool {
	data, _, err := c.get(ctx, key)
	if err != nil {
		return true
	}
	n, err := strconv.Atoi(string(data))
	if err == nil && n >= maxForcePerDay {
		return false
	}
	_ = c.step(ctx, func(ctx context.Context) error {
		return c.cache.Set(ctx, c.prefix+key, strconv.AppendInt(nil, int64(n+1), 10), 24*time.Hour)
	})
	return true
}

// beijing is WeChat's day.
var beijing = time.FixedZone("UTC+8", 8*60*60)

func (c *tokenCache) get(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = c.step(ctx, func(ctx context.Context) error {
		var err error
		value, found, err = c.cache.Get(ctx, c.prefix+key)
		return err
	})
	return value, found, err
}

func (c *tokenCache) create(ctx context.Context, key, value string, ttl time.Duration) (created bool, err error) {
	err = c.step(ctx, func(ctx context.Context) error {
		var err error
		created, err = c.cache.Create(ctx, c.prefix+key, []byte(value), ttl)
		return err
	})
	return created, err
}

func (c *tokenCache) remove(ctx context.Context, key string) {
	_ = c.step(ctx, func(ctx context.Context) error {
		_, err := c.cache.Delete(ctx, c.prefix+key)
		return err
	})
}

// step runs one bounded operation, or none while the cache rests.
func (c *tokenCache) step(ctx context.Context, op func(context.Context) error) error {
	c.mu.Lock()
	resting := c.now().Before(c.restUntil)
	c.mu.Unlock()
	if resting {
		return errCacheResting
	}
	stepCtx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	err := op(stepCtx)
	if err != nil && ctx.Err() == nil {
		c.mu.Lock()
		c.restUntil = c.now().Add(cachePause)
		c.mu.Unlock()
	}
	return err
}
