// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAccessToken_IsFetchedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.delay = func(string) time.Duration { return 100 * time.Millisecond }
		c := newTestClient(t, fake, newStrictCache(t))
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got := mustToken(t, c); got != "token-1" {
					t.Errorf("token = %q, want token-1", got)
				}
			})
		}
		wg.Wait()
		if n := fake.count(tokenEndpoint); n != 1 {
			t.Errorf("%d calls of stable_token, want 1", n)
		}
		c.Close()
	})
}

func TestAccessToken_TwoProcessesShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.delay = func(string) time.Duration { return 300 * time.Millisecond }
		cache := newStrictCache(t)
		a, b := newTestClient(t, fake, cache), newTestClient(t, fake, cache)
		var wg sync.WaitGroup
		for _, c := range []*Client{a, b} {
			wg.Go(func() { mustToken(t, c) })
		}
		wg.Wait()
		if n := fake.count(tokenEndpoint); n != 1 {
			t.Errorf("%d calls of stable_token, want 1", n)
		}
		if _, found, _ := cache.Get(t.Context(), "wechat:token:"+testAppID+":lock"); found {
			t.Error("the lock is still held after the refresh")
		}
		a.Close()
		b.Close()
	})
}

// A node dies while it holds the lock. Nobody may be blocked for more than 5 s.
func TestAccessToken_OwnerOfTheLockDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, cache := newFake(), newStrictCache(t)
		if _, err := cache.Create(t.Context(), "wechat:token:"+testAppID+":lock", []byte("dead"), lockTTL); err != nil {
			t.Fatal(err)
		}
		c := newTestClient(t, fake, cache)
		start := time.Now()
		mustToken(t, c)
		if waited := time.Since(start); waited > 5*time.Second {
			t.Errorf("waited %v for a dead owner, want at most 5s", waited)
		}
		value, _, _ := cache.Get(t.Context(), "wechat:token:"+testAppID+":lock")
		if string(value) != "dead" {
			t.Error("the lock of another owner was released")
		}
		c.Close()
	})
}

func TestAccessToken_WaiterTakesOverAReleasedLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, cache := newFake(), newStrictCache(t)
		if _, err := cache.Create(t.Context(), "wechat:token:"+testAppID+":lock", []byte("failed"), time.Second); err != nil {
			t.Fatal(err)
		}
		c := newTestClient(t, fake, cache)
		start := time.Now()
		mustToken(t, c)
		if waited := time.Since(start); waited > 1200*time.Millisecond {
			t.Errorf("waited %v although the lock ended after 1s", waited)
		}
		c.Close()
	})
}

func TestAccessToken_CacheDownDoesNotStopLogin(t *testing.T) {
	for name, hang := range map[string]bool{"refuses": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake, cache := newFake(), &downCache{hang: hang}
				c := newTestClient(t, fake, cache)
				start := time.Now()
				mustToken(t, c)
				if waited := time.Since(start); waited > time.Second {
					t.Errorf("a cache that %s cost %v", name, waited)
				}
				for range 100 {
					mustToken(t, c)
				}
				if n := fake.count(tokenEndpoint); n != 1 {
					t.Errorf("%d calls of stable_token, want 1: the cache is down, WeChat must not pay for it", n)
				}
				c.Close()
			})
		})
	}
}

func TestAccessToken_IgnoresWhatIsNoTokenInTheCache(t *testing.T) {
	tests := map[string]string{
		"garbage": "garbage", "empty": "", "no value": `{"expires":99999999999999}`, "expired": `{"value":"old","expires":1}`, "null": "null",
	}
	for name, value := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache := newStrictCache(t)
				if err := cache.Set(t.Context(), "wechat:token:"+testAppID+":current", []byte(value), time.Hour); err != nil {
					t.Fatal(err)
				}
				c := newTestClient(t, newFake(), cache)
				if got := mustToken(t, c); got != "token-1" {
					t.Errorf("token = %q, want token-1", got)
				}
				c.Close()
			})
		})
	}
}

func TestRenewal_NoVisitorWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.delay = func(string) time.Duration { return time.Second }
		c := newTestClient(t, fake, newStrictCache(t))
		mustToken(t, c)
		for range 12 * 60 { // twelve hours with one visitor a minute
			advance(time.Minute)
			start := time.Now()
			mustToken(t, c)
			if waited := time.Since(start); waited != 0 {
				t.Fatalf("a visitor waited %v for a token", waited)
			}
		}
		// A token serves 1 h 55 m 30 s: 12 h need the first and six more.
		if n := fake.count(tokenEndpoint); n != 7 {
			t.Errorf("%d calls of stable_token in 12 h, want 7", n)
		}
		c.Close()
	})
}

func TestRenewal_IdleAccountCallsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		c := newTestClient(t, fake, nil)
		mustToken(t, c)
		advance(24 * time.Hour)
		if n := fake.count(tokenEndpoint); n != 2 {
			t.Errorf("%d calls of stable_token for one visitor in a day, want 2: the fetch and one renewal", n)
		}
		if got := mustToken(t, c); got != "token-3" {
			t.Errorf("token after a day = %q, want token-3", got)
		}
		c.Close()
	})
}

func TestRenewal_BacksOffAndKeepsTheOldToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		c := newTestClient(t, fake, nil)
		mustToken(t, c)
		fake.answerWith(func(string, bool) string { return "<html>502</html>" })
		advance(2*time.Hour - 10*time.Second)
		if got := mustToken(t, c); got != "token-1" {
			t.Errorf("token while renewal fails = %q, want the old token-1", got)
		}
		if n := fake.count(tokenEndpoint); n < 3 || n > 10 {
			t.Errorf("%d calls of stable_token, want a few tries in the last 4.5 minutes", n)
		}
		advance(time.Minute)
		if _, err := c.AccessToken(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("error after the end of the token = %v, want ErrUnavailable", err)
		}
		fake.answerWith(nil)
		advance(unavailablePause)
		mustToken(t, c)
		c.Close()
	})
}

// WeChat never says less than 300 s, but what it says is obeyed.
func TestAccessToken_ShortLives(t *testing.T) {
	tests := []struct {
		name      string
		expiresIn int
		maxCalls  int // in ten minutes with a visitor a second
	}{
		{"least legal", 300, 25},
		{"one minute", 60, 25},
		{"one second", 1, 601},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				serial := 0
				fake.answerWith(func(string, bool) string {
					serial++
					return fmt.Sprintf(`{"access_token":"short-%d","expires_in":%d}`, serial, tt.expiresIn)
				})
				c := newTestClient(t, fake, newStrictCache(t))
				for range 600 {
					mustToken(t, c)
					advance(time.Second)
				}
				n := fake.count(tokenEndpoint)
				if least := 600 / (tt.expiresIn + 1); n < least || n > tt.maxCalls {
					t.Errorf("%d calls in 10 minutes, want %d to %d", n, least, tt.maxCalls)
				}
				c.Close()
			})
		})
	}
}

func TestAccessToken_RefusesUnusableAnswers(t *testing.T) {
	tests := map[string]string{
		"no token":       `{"expires_in":7200}`,
		"null":           `null`,
		"no expiry":      `{"access_token":"abc"}`,
		"zero expiry":    `{"access_token":"abc","expires_in":0}`,
		"negative":       `{"access_token":"abc","expires_in":-1}`,
		"line break":     `{"access_token":"a\nb","expires_in":7200}`,
		"endless token":  `{"access_token":"` + strings.Repeat("a", maxTokenLen+1) + `","expires_in":7200}`,
		"other type":     `{"access_token":7,"expires_in":7200}`,
		"array":          `[]`,
		"truncated":      `{"access_token":"abc","expi`,
		"huge errcode":   `{"errcode":99999999999999999999}`,
		"overflow":       `{"access_token":"abc","expires_in":99999999999999999999}`,
		"fraction":       `{"access_token":"abc","expires_in":1.5}`,
		"empty":          ``,
		"foreign object": `{"message":"bad gateway"}`,
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.answerWith(func(string, bool) string { return body + " " })
				c := newTestClient(t, fake, nil)
				if _, err := c.AccessToken(t.Context()); !errors.Is(err, ErrUnavailable) {
					t.Errorf("error = %v, want ErrUnavailable", err)
				}
				c.Close()
			})
		})
	}
}

func TestAccessToken_ObeysAnEndlessLifetimeWithoutOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.answerWith(func(string, bool) string { return `{"access_token":"abc","expires_in":9223372036854775807}` })
		c := newTestClient(t, fake, nil)
		mustToken(t, c)
		advance(24 * time.Hour)
		mustToken(t, c)
		if n := fake.count(tokenEndpoint); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		c.Close()
	})
}

// 10^4 page loads while the token endpoint fails are a handful of calls to WeChat.
func TestAccessToken_NegativeCache(t *testing.T) {
	tests := []struct {
		name, answer string
		most         int // calls in a minute
	}{
		{"down", "<html>", 12},
		{"wrong secret", `{"errcode":40125,"errmsg":"invalid appsecret"}`, 2},
		{"wrong secret, the other errcode", `{"errcode":"40001","errmsg":"invalid credential"}`, 2},
		{"quota", `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.answerWith(func(string, bool) string { return tt.answer })
				c := newTestClient(t, fake, nil)
				for range 600 {
					for range 20 {
						if _, err := c.AccessToken(t.Context()); err == nil || RetryAfter(err) == 0 {
							t.Fatalf("error = %v, want one worth retrying after a while", err)
						}
					}
					advance(100 * time.Millisecond)
				}
				if n := fake.count(tokenEndpoint); n < 1 || n > tt.most {
					t.Errorf("%d calls in a minute, want 1 to %d", n, tt.most)
				}
				c.Close()
			})
		})
	}
}

func TestAccessToken_BusyIsRetriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		busy := 1
		fake.answerWith(func(string, bool) string {
			if busy--; busy >= 0 {
				return `{"errcode":-1,"errmsg":"system error"}`
			}
			return ""
		})
		c := newTestClient(t, fake, nil)
		mustToken(t, c)
		if n := fake.count(tokenEndpoint); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
		c.Close()

		busy = 1000
		d := newTestClient(t, fake, nil)
		if _, err := d.AccessToken(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("error = %v, want ErrUnavailable", err)
		}
		if n := fake.count(tokenEndpoint); n != 4 {
			t.Errorf("%d calls, want 2 more: one retry", n)
		}
		d.Close()
	})
}

func TestAccessToken_ImpatientCallerDoesNotFailTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.delay = func(string) time.Duration { return 2 * time.Second }
		c := newTestClient(t, fake, nil)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := c.AccessToken(ctx)
			gone <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
			t.Errorf("error of the caller who left = %v, want context.Canceled alone", err)
		}
		mustToken(t, c)
		if n := fake.count(tokenEndpoint); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		c.Close()
	})
}

func TestClose_EndsARefreshUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.delay = func(string) time.Duration { return time.Hour }
		c := newTestClient(t, fake, nil)
		result := make(chan error)
		go func() {
			_, err := c.AccessToken(t.Context())
			result <- err
		}()
		synctest.Wait()
		start := time.Now()
		c.Close()
		if err := <-result; !errors.Is(err, ErrUnavailable) || errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want ErrUnavailable alone", err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("Close waited %v", waited)
		}
		if _, err := c.AccessToken(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("error after Close = %v, want ErrUnavailable", err)
		}
	})
}
