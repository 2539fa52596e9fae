// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCreateQRCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		c := newTestClient(t, fake, nil)
		got, err := c.CreateQRCode(t.Context(), "login-1", 5*time.Minute+time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		want := QRCode{Ticket: "gQH_login-1", URL: "http://weixin.qq.com/q/abc", ExpiresIn: 5 * time.Minute}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("QRCode (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]qrcodeRequest{newQRCodeRequest("login-1", 5*time.Minute)}, fake.seen); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
		if a := fake.seen[0]; a.ActionName != "QR_STR_SCENE" || a.ExpireSeconds != 300 {
			t.Errorf("request = %+v, want QR_STR_SCENE for 300 s", a)
		}
		c.Close()
	})
}

func TestCreateQRCode_RefusesBadArgumentsBeforeAnyCall(t *testing.T) {
	fake := newFake()
	c := newTestClient(t, fake, nil)
	tests := []struct {
		name, scene string
		ttl         time.Duration
	}{
		{"empty", "", time.Minute},
		{"65 characters", strings.Repeat("a", 65), time.Minute},
		{"space", "a b", time.Minute},
		{"quote", `a"b`, time.Minute},
		{"line break", "a\n", time.Minute},
		{"not ASCII", "场景", time.Minute},
		{"no time", "a", 0},
		{"below a second", "a", 999 * time.Millisecond},
		{"negative", "a", -time.Minute},
		{"above 30 days", "a", 30*24*time.Hour + 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := c.CreateQRCode(t.Context(), tt.scene, tt.ttl); err == nil {
				t.Error("no error")
			}
		})
	}
	if len(fake.calls) != 0 {
		t.Errorf("calls = %v, want none", fake.calls)
	}
}

func TestCreateQRCode_AcceptsTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, newFake(), nil)
		for _, scene := range []string{"a", strings.Repeat("Z", 64), "a-b_0"} {
			for _, ttl := range []time.Duration{time.Second, maxQRCodeTTL} {
				if _, err := c.CreateQRCode(t.Context(), scene, ttl); err != nil {
					t.Errorf("scene %q for %v: %v", scene, ttl, err)
				}
			}
		}
		c.Close()
	})
}

// Another program superseded the token (40001): 200 goroutines on three nodes
// notice at the same time. Exactly one forced refresh may follow, and every
// visitor must get a code.
func TestCreateQRCode_BurstOfRejectionsForcesOneRefresh(t *testing.T) {
	for _, code := range []int{40001, 40014, 42001} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake, cache := newFake(), newStrictCache(t)
				fake.delay = func(string) time.Duration { return 50 * time.Millisecond }
				nodes := make([]*Client, 3)
				for i := range nodes {
					nodes[i] = newTestClient(t, fake, cache)
					mustToken(t, nodes[i])
				}
				before := fake.count(tokenEndpoint)
				fake.reject(code)
				var wg sync.WaitGroup
				for i := range 200 {
					wg.Go(func() {
						if _, err := nodes[i%3].CreateQRCode(t.Context(), "a", time.Minute); err != nil {
							t.Errorf("CreateQRCode: %v", err)
						}
					})
				}
				wg.Wait()
				if n := fake.forces(); n != 1 {
					t.Errorf("%d forced refreshes, want 1", n)
				}
				if n := fake.count(tokenEndpoint) - before; n != 2 {
					t.Errorf("%d calls of stable_token, want 2: a normal one that returned the same token, and the forced one", n)
				}
				for _, c := range nodes {
					c.Close()
				}
			})
		})
	}
}

func TestCreateQRCode_BurstWhileTheCacheIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		c := newTestClient(t, fake, &downCache{})
		mustToken(t, c)
		fake.reject(40001)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := c.CreateQRCode(t.Context(), "a", time.Minute); err != nil {
					t.Errorf("CreateQRCode: %v", err)
				}
			})
		}
		wg.Wait()
		if n := fake.forces(); n != 1 {
			t.Errorf("%d forced refreshes, want 1", n)
		}
		c.Close()
	})
}

// A late 40001, whose call began with the old token, must not throw away the new one.
func TestReplace_ComparesBeforeItInvalidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		c := newTestClient(t, fake, &downCache{}) // a cache would hide the loss
		mustToken(t, c)
		cause := &Error{Endpoint: qrcodeEndpoint, Code: 40001}
		got, err := c.tokens.replace(t.Context(), "an older one", cause)
		if err != nil || got != "token-1" {
			t.Errorf("replace = %q, %v, want token-1", got, err)
		}
		if n := fake.count(tokenEndpoint); n != 1 {
			t.Errorf("%d calls of stable_token, want 1", n)
		}
		c.Close()
	})
}

// Another node has already replaced the token: its token comes from the cache.
func TestReplace_AdoptsTheTokenOfAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, cache := newFake(), newStrictCache(t)
		c := newTestClient(t, fake, cache)
		old := mustToken(t, c)
		c.tokens.shared.save(t.Context(), accessToken{"from-another-node", time.Now().Add(time.Hour)})
		got, err := c.tokens.replace(t.Context(), old, &Error{Endpoint: qrcodeEndpoint, Code: 40001})
		if err != nil || got != "from-another-node" {
			t.Errorf("replace = %q, %v", got, err)
		}
		if n := fake.count(tokenEndpoint); n != 1 {
			t.Errorf("%d calls of stable_token, want 1", n)
		}
		c.Close()
	})
}

// WeChat rejects every token it gives, all day, while visitors load the page
// twice a second on two nodes. The limits of force_refresh must hold, and the
// calls stay few.
func TestCreateQRCode_AlwaysRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, cache := newFake(), newStrictCache(t)
		fake.answerWith(func(endpoint string, _ bool) string {
			if endpoint == qrcodeEndpoint {
				return `{"errcode":40001,"errmsg":"invalid credential"}`
			}
			return ""
		})
		a, b := newTestClient(t, fake, cache), newTestClient(t, fake, cache)
		var last time.Time
		forced := 0
		for range 2 * 60 * 60 {
			for _, c := range []*Client{a, b} {
				if _, err := c.CreateQRCode(t.Context(), "a", time.Minute); err == nil {
					t.Fatal("no error")
				}
				if n := fake.forces(); n != forced {
					if n != forced+1 || time.Since(last) < 30*time.Second {
						t.Fatalf("forced refresh %d came %v after the one before", n, time.Since(last))
					}
					forced, last = n, time.Now()
				}
			}
			advance(500 * time.Millisecond)
		}
		if forced < 2 || forced > maxForcePerDay {
			t.Errorf("%d forced refreshes in an hour, want 2 to 20", forced)
		}
		if n := fake.count(tokenEndpoint) + fake.count(qrcodeEndpoint); n > 5*2*720 {
			t.Errorf("%d calls for 14400 page loads, want at most some per node and 5 s", n)
		}
		a.Close()
		b.Close()
	})
}

func TestCreateQRCode_DoesNotRetryWhatIsPermanent(t *testing.T) {
	for _, code := range []int{40013, 40125, 40164, 40243, 48001, 50007, 45009} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.answerWith(func(endpoint string, _ bool) string {
					if endpoint == qrcodeEndpoint {
						return fmt.Sprintf(`{"errcode":%d,"errmsg":"no"}`, code)
					}
					return ""
				})
				c := newTestClient(t, fake, nil)
				for range 50 { // page loads in the same moment
					_, err := c.CreateQRCode(t.Context(), "a", time.Minute)
					refusal, ok := errors.AsType[*Error](err)
					if !ok || refusal.Code != code || refusal.Endpoint != qrcodeEndpoint {
						t.Fatalf("error = %v, want errcode %d of qrcode/create", err, code)
					}
				}
				if n := fake.count(qrcodeEndpoint); n != 1 {
					t.Errorf("%d calls, want 1", n)
				}
				fake.answerWith(nil) // the operator has cured it
				advance(5 * time.Minute)
				if _, err := c.CreateQRCode(t.Context(), "a", time.Minute); err != nil {
					t.Errorf("after the cure: %v", err)
				}
				c.Close()
			})
		})
	}
}

func TestCreateQRCode_UnusableAnswer(t *testing.T) {
	for name, body := range map[string]string{
		"no ticket": `{"url":"http://weixin.qq.com/q/abc"}`, "no url": `{"ticket":"abc"}`, "wrong type": `{"ticket":1,"url":"x"}`, "HTML": "<html>",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.answerWith(func(endpoint string, _ bool) string {
					if endpoint == qrcodeEndpoint {
						return body
					}
					return ""
				})
				c := newTestClient(t, fake, nil)
				if _, err := c.CreateQRCode(t.Context(), "a", time.Minute); !errors.Is(err, ErrUnavailable) {
					t.Errorf("error = %v, want ErrUnavailable", err)
				}
				c.Close()
			})
		})
	}
}

func TestCreateQRCode_EndsWithinFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.delay = func(endpoint string) time.Duration {
			if endpoint == qrcodeEndpoint {
				return time.Hour
			}
			return 3 * time.Second
		}
		c := newTestClient(t, fake, nil)
		start := time.Now()
		_, err := c.CreateQRCode(t.Context(), "a", time.Minute)
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want ErrUnavailable for lack of time", err)
		}
		if took := time.Since(start); took > callTimeout {
			t.Errorf("took %v, want at most %v", took, callTimeout)
		}
		c.Close()
	})
}

// The rejected token must not stay in the cache when no other can be had: every
// node would go on to use it.
func TestReplace_RemovesTheRejectedTokenFromTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, cache := newFake(), newStrictCache(t)
		c := newTestClient(t, fake, cache)
		mustToken(t, c)
		fake.reject(40001)
		fake.answerWith(func(endpoint string, _ bool) string {
			if endpoint == tokenEndpoint {
				return "<html>"
			}
			return ""
		})
		if _, err := c.CreateQRCode(t.Context(), "a", time.Minute); !errors.Is(err, ErrUnavailable) {
			t.Errorf("error = %v, want ErrUnavailable", err)
		}
		if _, found, _ := c.tokens.shared.load(t.Context()); found {
			t.Error("the rejected token is still in the cache")
		}
		c.Close()
	})
}

func TestLock_IsReleasedByItsOwnerAlone(t *testing.T) {
	tests := []struct {
		name   string
		before func(ctx context.Context, c Cache, key string)
		held   bool // after the release
	}{
		{"owner", func(context.Context, Cache, string) {}, false},
		{"taken over", func(ctx context.Context, c Cache, key string) { _ = c.Set(ctx, key, []byte("other"), lockTTL) }, true},
		// Between the look at the lock and its removal another may take it.
		{"about to end", func(context.Context, Cache, string) { advance(lockTTL - 500*time.Millisecond) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache := newStrictCache(t)
				shared := newTokenCache(cache, testAppID, time.Now)
				release, err := shared.lock(t.Context())
				if err != nil || release == nil {
					t.Fatal("not locked:", err)
				}
				if second, err := shared.lock(t.Context()); second != nil || err != nil {
					t.Errorf("locked twice, or %v", err)
				}
				tt.before(t.Context(), cache, shared.prefix+"lock")
				release()
				if _, held, _ := cache.Get(t.Context(), shared.prefix+"lock"); held != tt.held {
					t.Errorf("held after the release: %v, want %v", held, tt.held)
				}
			})
		})
	}
}

// Two nodes together keep to the limits of one account.
func TestMayForce_IsCountedForAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newStrictCache(t)
		nodes := []*tokenCache{newTokenCache(cache, testAppID, time.Now), newTokenCache(cache, testAppID, time.Now)}
		allowed := 0
		for i := range 60 {
			if nodes[i%2].mayForce(t.Context()) {
				allowed++
			}
			if i == 0 && nodes[1].mayForce(t.Context()) {
				t.Error("two forced refreshes within 30 s")
			}
			advance(61 * time.Second)
		}
		if allowed != maxForcePerDay {
			t.Errorf("%d forced refreshes on two nodes, want %d", allowed, maxForcePerDay)
		}
		alone := newTokenCache(&downCache{}, testAppID, time.Now)
		if !alone.mayForce(t.Context()) || alone.mayForce(t.Context()) {
			t.Error("without a cache: want the first and not the second within 30 s")
		}
	})
}

func TestMayForce_LimitsPerDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, cache := range map[string]Cache{"cache": newStrictCache(t), "cache down": &downCache{}} {
			shared := newTokenCache(cache, testAppID, time.Now)
			advance(24 * time.Hour)
			allowed := 0
			for range 16 * 60 { // from 8 in the morning in Beijing, the clock of a bubble begins at midnight UTC
				if shared.mayForce(t.Context()) {
					allowed++
				}
				advance(59 * time.Second)
			}
			if allowed != maxForcePerDay {
				t.Errorf("%s: %d forced refreshes in a day, want %d", name, allowed, maxForcePerDay)
			}
			advance(8 * time.Hour)
			if !shared.mayForce(t.Context()) {
				t.Errorf("%s: none allowed on the next day", name)
			}
		}
	})
}
