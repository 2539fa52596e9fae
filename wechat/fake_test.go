// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testAppID  = "wxba5fad812f8e6fb9"
	testSecret = "5ec2e7a1f0d94b6c8e3a"
)

// fakeWeChat answers stable_token and qrcode/create in memory, so that it works
// in a synctest bubble. It follows the documented rules: the same token until
// its last 5 minutes, another one when forced.
type fakeWeChat struct {
	mu       sync.Mutex
	calls    map[string]int
	forced   int
	serial   int
	token    string
	expires  time.Time
	lifetime time.Duration
	rejected map[string]int                           // tokens that are refused, and with which errcode
	delay    func(endpoint string) time.Duration      // of an answer
	override func(endpoint string, force bool) string // body to send instead; "" for none
	seen     []qrcodeRequest
}

func newFake() *fakeWeChat {
	return &fakeWeChat{calls: map[string]int{}, rejected: map[string]int{}, lifetime: 2 * time.Hour}
}

func (f *fakeWeChat) RoundTrip(req *http.Request) (*http.Response, error) {
	endpoint := strings.TrimPrefix(req.URL.Path, "/")
	payload, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if f.delay != nil {
		select {
		case <-req.Context().Done():
			return nil, req.Context().Err()
		case <-time.After(f.delay(endpoint)):
		}
	}
	return respond(http.StatusOK, f.answer(endpoint, req.URL.Query().Get("access_token"), payload)), nil
}

func respond(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

func (f *fakeWeChat) answer(endpoint, token string, payload []byte) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[endpoint]++
	var body struct {
		AppID  string `json:"appid"`
		Secret string `json:"secret"`
		Force  bool   `json:"force_refresh"`
	}
	if err := json.Unmarshal(payload, &body); err != nil {
		return `{"errcode":47001,"errmsg":"data format error"}`
	}
	if f.override != nil {
		if answer := f.override(endpoint, body.Force); answer != "" {
			return answer
		}
	}
	if endpoint == tokenEndpoint {
		if body.AppID != testAppID || body.Secret != testSecret {
			return `{"errcode":40125,"errmsg":"invalid appsecret rid: 61250a39-612fed42-36740516"}`
		}
		return f.stableToken(body.Force)
	}
	return f.createQRCode(token, payload)
}

func (f *fakeWeChat) stableToken(force bool) string {
	if force {
		f.forced++
	}
	if force || time.Until(f.expires) <= 5*time.Minute {
		f.serial++
		f.token = fmt.Sprintf("token-%d", f.serial)
		f.expires = time.Now().Add(f.lifetime)
	}
	return fmt.Sprintf(`{"access_token":%q,"expires_in":%d}`, f.token, int(time.Until(f.expires).Seconds()))
}

func (f *fakeWeChat) createQRCode(token string, payload []byte) string {
	if code, bad := f.rejected[token]; bad {
		return fmt.Sprintf(`{"errcode":%d,"errmsg":"invalid credential %s rid: 61250a39-612fed42-36740516"}`, code, token)
	}
	var r qrcodeRequest
	_ = json.Unmarshal(payload, &r)
	f.seen = append(f.seen, r)
	return fmt.Sprintf(`{"ticket":"gQH_%s","expire_seconds":%d,"url":"http://weixin.qq.com/q/abc"}`, r.ActionInfo.Scene.Str, r.ExpireSeconds)
}

func (f *fakeWeChat) count(endpoint string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[endpoint]
}

func (f *fakeWeChat) forces() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.forced
}

// reject makes WeChat refuse the token it gave last, though it keeps handing it out.
func (f *fakeWeChat) reject(code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rejected[f.token] = code
}

func (f *fakeWeChat) answerWith(fn func(endpoint string, force bool) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.override = fn
}

// roundTripper makes a function an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (fn roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return fn(r) }

func newTestClient(tb testing.TB, transport http.RoundTripper, cache Cache) *Client {
	tb.Helper()
	c, err := NewClient(Config{
		AppID: testAppID, Secret: testSecret, APIURL: "http://wechat.test", Cache: cache,
		HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

func mustToken(tb testing.TB, c *Client) string {
	tb.Helper()
	token, err := c.AccessToken(context.Background())
	if err != nil {
		tb.Fatalf("AccessToken: %v", err)
	}
	return token
}

var errCacheDown = errors.New("cache down")

// downCache fails every step, after delay or when the context ends.
type downCache struct {
	mu    sync.Mutex
	steps int
	hang  bool
}

func (c *downCache) fail(ctx context.Context) error {
	c.mu.Lock()
	c.steps++
	c.mu.Unlock()
	if c.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return errCacheDown
}

func (c *downCache) Get(ctx context.Context, _ string) ([]byte, bool, error) {
	return nil, false, c.fail(ctx)
}

func (c *downCache) Set(ctx context.Context, _ string, _ []byte, _ time.Duration) error {
	return c.fail(ctx)
}

func (c *downCache) Create(ctx context.Context, _ string, _ []byte, _ time.Duration) (bool, error) {
	return false, c.fail(ctx)
}

func (c *downCache) Delete(ctx context.Context, _ string) (bool, error) { return false, c.fail(ctx) }

// strictCache is a memoryCache that fails the test where a key or a time to live
// breaks the rules of Cache.
type strictCache struct {
	*memoryCache
	tb testing.TB
}

func newStrictCache(tb testing.TB) *strictCache {
	tb.Helper()
	return &strictCache{newMemoryCache(time.Now), tb}
}

func (c *strictCache) check(key string, ttl time.Duration) {
	if !strings.HasPrefix(key, "wechat:") || !strings.Contains(key, testAppID) {
		c.tb.Errorf("cache key %q does not begin with wechat: or does not name the app id", key)
	}
	if ttl <= 0 || ttl > 24*time.Hour {
		c.tb.Errorf("cache key %q has a time to live of %v", key, ttl)
	}
}

func (c *strictCache) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	c.check(key, ttl)
	return c.memoryCache.Set(ctx, key, value, ttl)
}

func (c *strictCache) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	c.check(key, ttl)
	if strings.HasSuffix(key, ":lock") && ttl > 5*time.Second {
		c.tb.Errorf("the lock lives for %v, want at most 5s", ttl)
	}
	return c.memoryCache.Create(ctx, key, value, ttl)
}

// advance lets d pass on the clock of a synctest bubble. Nothing waits for it.
func advance(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // only in bubbles
}
