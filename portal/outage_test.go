// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	outageApp    = "wx0123456789abcdef"
	outageOrigin = "https://site.example"
)

// brokenStore is a store whose writes to some keys hang, fail, or let something
// else happen first.
type brokenStore struct {
	store.Store
	hang, fail atomic.Pointer[string] // a prefix of keys
	before     atomic.Pointer[func(key string)]
	away       atomic.Bool // no read succeeds
	pings      atomic.Int64
}

// Get implements store.Store.
func (b *brokenStore) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if b.away.Load() {
		return nil, false, fmt.Errorf("reading: %w", store.ErrUnavailable)
	}
	return b.Store.Get(ctx, key)
}

// Ping implements store.Store.
func (b *brokenStore) Ping(ctx context.Context) error {
	b.pings.Add(1)
	return b.Store.Ping(ctx)
}

func (b *brokenStore) disturb(ctx context.Context, key string) error {
	if fn := b.before.Load(); fn != nil {
		(*fn)(key)
	}
	if p := b.hang.Load(); p != nil && strings.HasPrefix(key, *p) {
		<-ctx.Done()
		return fmt.Errorf("writing: %w", ctx.Err())
	}
	if p := b.fail.Load(); p != nil && strings.HasPrefix(key, *p) {
		return fmt.Errorf("writing: %w", store.ErrUnavailable)
	}
	return nil
}

// Set implements store.Store.
func (b *brokenStore) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := b.disturb(ctx, key); err != nil {
		return err
	}
	return b.Store.Set(ctx, key, value, ttl)
}

// Create implements store.Store.
func (b *brokenStore) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	if err := b.disturb(ctx, key); err != nil {
		return false, err
	}
	return b.Store.Create(ctx, key, value, ttl)
}

// Update implements store.Store.
func (b *brokenStore) Update(ctx context.Context, key string, change func([]byte, bool) ([]byte, time.Duration, error), announce ...store.Announcement) error {
	if err := b.disturb(ctx, key); err != nil {
		return err
	}
	return b.Store.Update(ctx, key, change, announce...)
}

// brokenCache is a brokenStore as package wechat sees it.
type brokenCache struct{ *brokenStore }

// Delete implements wechat.Cache.
func (c brokenCache) Delete(ctx context.Context, key string) (bool, error) {
	return c.brokenStore.Delete(ctx, key)
}

// sceneCodes makes QR codes that say nothing but their scene.
type sceneCodes struct{}

func (sceneCodes) CreateQRCode(_ context.Context, scene string, ttl time.Duration) (wechat.QRCode, error) {
	return wechat.QRCode{URL: "http://weixin.qq.com/q/" + scene, ExpiresIn: ttl}, nil
}

// outage is a portal on a brokenStore.
type outage struct {
	*Portal
	t      *testing.T
	store  *brokenStore
	wechat *wechattest.Server
	cookie string
}

func newOutage(t *testing.T, mode login.Confirm) *outage {
	t.Helper()
	o := &outage{t: t, wechat: wechattest.NewServer(wechattest.Options{}), cookie: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
	t.Cleanup(o.wechat.Close)
	if _, err := o.wechat.AddAccount(wechattest.Account{AppID: outageApp, Secret: "s", Token: "pushtoken1234567"}); err != nil {
		t.Fatal(err)
	}
	file := embedded.New(embedded.Config{Dir: t.TempDir()})
	t.Cleanup(func() { _ = file.Close() })
	o.store = &brokenStore{Store: file}
	receiver, err := wechat.NewReceiver(wechat.ReceiverConfig{AppID: outageApp, Token: "pushtoken1234567", Cache: brokenCache{o.store}})
	if err != nil {
		t.Fatal(err)
	}
	attempts := login.NewService(o.store, map[string]login.Starter{
		login.StarterKey(login.OfficialQR, outageApp): &login.Official{Codes: sceneCodes{}, TTL: time.Minute, Confirm: mode},
	}, nil)
	sessions, users := session.NewRecords(o.store, nil), user.NewRecords(o.store, nil)
	t.Cleanup(func() { attempts.Close(); sessions.Close(); users.Close() })
	o.Portal, err = New(Config{
		Title: "site", Prefix: DefaultPrefix, Origins: []string{outageOrigin}, Cookie: DefaultCookie,
		Offers: []Offer{{login.OfficialQR, outageApp}}, Headers: DefaultHeaders(),
		Login: attempts,
		Sessions: session.NewManager(sessions, session.Config{
			TTL: time.Hour, Idle: time.Hour, Grace: time.Minute, Keys: session.StoredKeys(o.store),
		}),
		Users:      user.NewDirectory(users, user.Policy{Registration: user.Open}, time.Minute),
		Accounts:   map[string]Account{outageApp: {Receiver: receiver}},
		Store:      o.store,
		ClientAddr: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
		Original:   func(r *http.Request) (string, *url.URL) { return r.Method, r.URL },
		Log:        zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// serve answers a request of the visitor's browser, to the portal or to the site.
func (o *outage) serve(method, path, body string, cookies ...string) *httptest.ResponseRecorder {
	o.t.Helper()
	r := httptest.NewRequestWithContext(o.t.Context(), method, outageOrigin+path, strings.NewReader(body))
	r.Header.Set("Origin", outageOrigin)
	r.Header.Set("Cookie", strings.Join(append(cookies, "__Host-wechat_browser="+o.cookie), "; "))
	if strings.HasPrefix(body, "choice=") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	err := o.Serve(w, r, func(w http.ResponseWriter, _ *http.Request, _ *Principal) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	if err != nil {
		o.t.Error(err)
	}
	return w
}

// begin begins an attempt and returns its id and scene.
func (o *outage) begin() (id, scene string) {
	o.t.Helper()
	w := o.serve(http.MethodPost, "/_wechat/attempts", "")
	var got struct {
		ID string
		QR struct{ URL string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusCreated {
		o.t.Fatalf("POST attempts: %d %s %v", w.Code, w.Body, err)
	}
	return got.ID, strings.TrimPrefix(got.QR.URL, "http://weixin.qq.com/q/")
}

// push delivers the scan of a code and says how long the answer took.
func (o *outage) push(scene string) (w *httptest.ResponseRecorder, took time.Duration) {
	o.t.Helper()
	m := wechattest.Message{ToUserName: "gh_0", FromUserName: "oAlice", CreateTime: time.Now().Unix(), MsgType: "event", Event: "SCAN", EventKey: scene}
	raw := o.wechat.SignedPush(outageApp, m.XML())
	r := httptest.NewRequestWithContext(o.t.Context(), http.MethodPost,
		outageOrigin+"/_wechat/push/"+outageApp+"?"+raw.Query.Encode(), strings.NewReader(string(raw.Body)))
	w, begun := httptest.NewRecorder(), time.Now()
	if err := o.Serve(w, r, nil); err != nil {
		o.t.Error(err)
	}
	return w, time.Since(begun)
}

// TestPushWhileTheStoreHangs: WeChat gets an answer that it understands within
// two seconds, wherever the store stops answering: a message that asks the person
// to scan again.
func TestPushWhileTheStoreHangs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, key string
	}{
		{"looking for a replay", "wechat:push:"},
		{"moving the attempt on", "tmp:attempt:"},
		{"keeping the answer", "tmp:reply:"},
	} {
		for _, how := range []string{"hangs", "fails"} {
			t.Run(tt.name+" "+how, func(t *testing.T) {
				t.Parallel()
				o := newOutage(t, login.ConfirmNumber)
				_, scene := o.begin()
				if how == "hangs" {
					o.store.hang.Store(&tt.key)
				} else {
					o.store.fail.Store(&tt.key)
				}
				w, took := o.push(scene)
				if took > 2*time.Second {
					t.Errorf("answered after %v", took)
				}
				if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "服务繁忙") {
					t.Errorf("answered %d %q, want an apology", w.Code, w.Body)
				}
				if strings.Contains(w.Header().Get("Content-Type"), "json") || strings.HasPrefix(w.Body.String(), "{") {
					t.Errorf("answered JSON: %q", w.Body)
				}
				o.store.hang.Store(nil)
				o.store.fail.Store(nil)
				if w, _ := o.push(scene); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "/_wechat/confirm/") {
					t.Errorf("once the store is back: %d %q", w.Code, w.Body)
				}
			})
		}
	}
}

// TestDisownedWhileTheSessionIsIssued: the victim of a phished scan taps "that
// was not me" while the attacker's browser is being given its session: after the
// attempt is consumed, before the session is recorded. No session must be left.
func TestDisownedWhileTheSessionIsIssued(t *testing.T) {
	o := newOutage(t, login.ConfirmOff)
	id, scene := o.begin()
	w, _ := o.push(scene)
	_, link, _ := strings.Cut(w.Body.String(), outageOrigin)
	link, _, _ = strings.Cut(link, `"`)
	tapped := false
	tap := func(key string) {
		if strings.HasPrefix(key, "session:") && !tapped {
			tapped = true
			if got := o.serve(http.MethodPost, link, "choice=revoke"); got.Code != http.StatusOK {
				t.Errorf("POST %s: %d", link, got.Code)
			}
		}
	}
	o.store.before.Store(&tap)
	got := o.serve(http.MethodPost, "/_wechat/attempts/"+id+"/session", "")
	if !tapped {
		t.Fatalf("the session was never recorded: %d %s", got.Code, got.Body)
	}
	if got.Code != http.StatusGone || got.Header().Get("Set-Cookie") != "" {
		t.Errorf("POST session: %d %s, cookie %q", got.Code, got.Body, got.Header().Get("Set-Cookie"))
	}
	if items, _, err := o.store.List(t.Context(), "session:", "", 10); err != nil || len(items) != 0 {
		t.Errorf("%d sessions are left (%v)", len(items), err)
	}
}

// TestSignedOutEverywhereWhileTheSessionIsIssued: "sign out everywhere" runs just
// before a new session is recorded. That session must not outlive it.
func TestSignedOutEverywhereWhileTheSessionIsIssued(t *testing.T) {
	o := newOutage(t, login.ConfirmOff)
	id, scene := o.begin()
	o.push(scene)
	sweep := func(key string) {
		if strings.HasPrefix(key, "session:") {
			if _, err := o.Sessions.RevokeUser(t.Context(), onlyUser(t, o.store)); err != nil {
				t.Error(err)
			}
		}
	}
	o.store.before.Store(&sweep)
	if got := o.serve(http.MethodPost, "/_wechat/attempts/"+id+"/session", ""); got.Code != http.StatusGone || got.Header().Get("Set-Cookie") != "" {
		t.Fatalf("POST session: %d %s", got.Code, got.Body)
	}
	o.store.before.Store(nil)
	if items, _, err := o.store.List(t.Context(), "session:", "", 10); err != nil || len(items) != 0 {
		t.Errorf("%d sessions are left (%v)", len(items), err)
	}
}

func onlyUser(t *testing.T, s store.Store) (id string) {
	t.Helper()
	items, _, err := s.List(t.Context(), "user:", "", 10)
	if err != nil || len(items) != 1 {
		t.Fatalf("%d users (%v), want 1", len(items), err)
	}
	return strings.TrimPrefix(items[0].Key, "user:")
}

// TestRevokedBetweenCheckAndTrack: a session ends after the gate has checked it
// and before the gate tracks the request. Without a second look nobody would
// ever close the WebSocket that the request is about to become.
func TestRevokedBetweenCheckAndTrack(t *testing.T) {
	o := newOutage(t, login.ConfirmOff)
	s, _, err := o.Sessions.Issue(t.Context(), session.Session{ID: session.NewID(), UserID: "u"})
	if err != nil {
		t.Fatal(err)
	}
	who := &Principal{Session: &s, User: &user.Member{User: &user.User{ID: "u"}}}
	if _, err := o.Sessions.Revoke(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, outageOrigin+"/ws", nil)
	err = o.pass(r.Context(), w, r, credentials{}, who, func(http.ResponseWriter, *http.Request, *Principal) error {
		t.Error("the request passes")
		return nil
	})
	if err != nil || w.Code != http.StatusUnauthorized {
		t.Errorf("answered %d (%v), want 401", w.Code, err)
	}
}
