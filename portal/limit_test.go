// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-wechat/caddy-wechat/internal/bucket"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// countingStarter begins attempts as WeChat would, and counts how often it is asked.
type countingStarter struct {
	asked atomic.Int64
	err   error
}

func (c *countingStarter) Start(_ context.Context, a *login.Attempt) (login.Shown, error) {
	c.asked.Add(1)
	a.ExpiresAt = a.CreatedAt.Add(time.Minute)
	return login.Shown{Redirect: "https://wechat.example/"}, c.err
}

// crowd is a portal and all who come to it.
type crowd struct {
	*Portal
	t      testing.TB
	store  *storetest.Memory
	reads  atomic.Int64
	wechat countingStarter
	log    *observer.ObservedLogs
	from   netip.Addr
	now    time.Time
}

func newCrowd(t testing.TB, limits Limits, budget login.Budget) *crowd {
	t.Helper()
	c := &crowd{t: t, from: netip.MustParseAddr("192.0.2.1"), now: noon}
	clock := func() time.Time { return c.now }
	c.store = &storetest.Memory{Now: clock}
	c.store.Before = func(context.Context, string, string) error { c.reads.Add(1); return nil }
	core, logs := observer.New(zapcore.WarnLevel)
	c.log = logs
	budget.Taken = new(bucket.Bucket)
	attempts := login.NewService(c.store, map[string]login.Starter{
		login.StarterKey(login.OfficialQR, unitApp): &login.Metered{Starter: &c.wechat, Codes: budget},
	}, clock)
	sessions, users := session.NewRecords(c.store, clock), user.NewRecords(c.store, clock)
	t.Cleanup(func() { attempts.Close(); sessions.Close(); users.Close() })
	var err error
	c.Portal, err = New(Config{
		Title: "Site", Prefix: DefaultPrefix, Origins: []string{unitOrigin}, Cookie: DefaultCookie,
		Offers:   []Offer{{login.OfficialQR, unitApp}},
		Login:    attempts,
		Sessions: session.NewManager(sessions, session.Config{TTL: time.Hour, Idle: time.Hour, Keys: session.StoredKeys(c.store)}),
		Users:    user.NewDirectory(users, user.Policy{Registration: user.Open}, 0),
		Store:    c.store, Log: zap.New(core), Limits: limits, Now: clock,
		ClientAddr: func(*http.Request) netip.Addr { return c.from },
		Original:   func(r *http.Request) (string, *url.URL) { return r.Method, r.URL },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// send is a request that comes from an address.
func (c *crowd) send(from, method, path string) *httptest.ResponseRecorder {
	c.t.Helper()
	c.from = netip.MustParseAddr(from)
	r := httptest.NewRequestWithContext(c.t.Context(), method, unitOrigin+path, nil)
	r.Header.Set("Origin", unitOrigin)
	w := httptest.NewRecorder()
	if err := c.Serve(w, r, func(http.ResponseWriter, *http.Request, *Principal) error { return nil }); err != nil {
		c.t.Error(err)
	}
	return w
}

func (c *crowd) begin(from string) *httptest.ResponseRecorder {
	c.t.Helper()
	return c.send(from, http.MethodPost, "/_wechat/attempts")
}

// A network has ten times the turns of one client, and neither its neighbours nor
// the client's own turns suffer when it has none left.
func TestLimits_Network(t *testing.T) {
	for _, tt := range []struct{ name, in, other string }{
		{"IPv4", "198.51.100.", "198.51.101.1"},
		{"IPv6", "2001:db8:1:", "2001:db8:2::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrowd(t, Limits{Attempts: Rate{Count: 3, Per: time.Minute}}, login.Budget{})
			address := func(i int) string {
				if strings.Contains(tt.in, ":") {
					return tt.in + strconv.Itoa(i) + "::1" // a /64 each
				}
				return tt.in + strconv.Itoa(i)
			}
			begun := 0
			for i := range 100 {
				if c.begin(address(i)).Code == http.StatusCreated {
					begun++
				}
			}
			if begun != 30 || c.wechat.asked.Load() != 30 {
				t.Errorf("100 clients of one network begin %d attempts and ask WeChat %d times, want 30", begun, c.wechat.asked.Load())
			}
			w := c.begin(address(99))
			if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
				t.Errorf("one more: %d %v", w.Code, w.Header())
			}
			if w := c.begin(tt.other); w.Code != http.StatusCreated {
				t.Errorf("another network: %d %s", w.Code, w.Body)
			}
			// While the network had no turn the client's were not used up.
			c.now = c.now.Add(2 * time.Second) // one for the network
			if w := c.begin(address(99)); w.Code != http.StatusCreated {
				t.Errorf("once the network has turns again: %d", w.Code)
			}
		})
	}
}

// TestQ14ManyAddresses: a hundred thousand addresses begin an attempt each, which
// no limit for clients or networks can tell from a hundred thousand visitors. WeChat
// is asked less often than its quota allows, what is remembered is bounded, and a
// visitor from elsewhere still gets a code; the attackers' networks have had theirs.
func TestQ14ManyAddresses(t *testing.T) {
	t.Parallel()
	const perDay = 90_000
	c := newCrowd(t, Limits{Attempts: Rate{Count: 30, Per: time.Minute}}, login.Budget{Name: "qr_codes", Count: perDay, Per: 24 * time.Hour})
	statuses := make(map[int]int)
	for i := range 100_000 {
		c.from = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		statuses[c.begin(c.from.String()).Code]++
	}
	if asked := c.wechat.asked.Load(); asked > perDay/2 || asked < perDay/4 {
		t.Errorf("WeChat is asked %d times at once, want at most %d", asked, perDay/2)
	}
	if statuses[http.StatusCreated]+statuses[http.StatusServiceUnavailable] != 100_000 || statuses[http.StatusServiceUnavailable] < 50_000 {
		t.Errorf("the flood is answered %v", statuses)
	}
	for _, honest := range []string{"203.0.113.9", "2001:db8::9"} {
		if w := c.begin(honest); w.Code != http.StatusCreated {
			t.Errorf("an honest visitor from %s: %d %s", honest, w.Code, w.Body)
		}
	}
	for name, l := range map[string]*limiter{"attempts": c.limits.attempts.clients, "networks": c.limits.attempts.networks, "quiet": c.limits.quiet} {
		l.buckets.CleanUp()
		if n := l.buckets.EstimatedSize(); n > limitedClients {
			t.Errorf("%s: %d clients are remembered", name, n)
		}
	}
	// The page does with it what it does while WeChat is away: it offers another way.
	w := c.begin("10.0.0.1")
	var answer apiError
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusServiceUnavailable ||
		answer.Error != "wechat_unavailable" || w.Header().Get("Retry-After") == "" {
		t.Errorf("beyond the budget: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if logged := c.log.FilterMessageSnippet("too many visitors"); logged.Len() != 1 || logged.All()[0].ContextMap()["cure"] == "" {
		t.Errorf("the operator is told %d times", logged.Len())
	}
	if w := c.send("10.0.0.1", http.MethodGet, "/_wechat/login"); w.Code != http.StatusOK {
		t.Errorf("the login page: %d", w.Code)
	}
}

// What WeChat did not make costs nothing of its budget, so that an hour without
// WeChat leaves the rest of the day as it was.
func TestBudget_FailuresCostNothing(t *testing.T) {
	c := newCrowd(t, Limits{}, login.Budget{Name: "qr_codes", Count: 20, Per: 24 * time.Hour})
	c.wechat.err = errors.New("failed")
	for range 100 {
		c.begin("192.0.2.1")
	}
	c.wechat.err = nil
	if w := c.begin("192.0.2.1"); w.Code != http.StatusCreated {
		t.Errorf("after the failures: %d %s", w.Code, w.Body)
	}
}

// guess is a link that leads nowhere.
const guess = "/_wechat/confirm/AAAAAAAAAAAAAAAAAAAAAAAAAA"

// TestQ14GuessesLockNobodyOut: somebody behind the same address sends links that
// lead nowhere, so that others there cannot confirm. They can, and he is turned away;
// and however many he sends, the store is spared (Q4).
func TestQ14GuessesLockNobodyOut(t *testing.T) {
	t.Parallel()
	o := newOutage(t, login.ConfirmTap)
	o.limits.confirms = newGuesses(Rate{Count: 3, Per: time.Hour})
	_, scene := o.begin()
	w, _ := o.push(scene)
	_, link, _ := strings.Cut(w.Body.String(), outageOrigin)
	link, _, _ = strings.Cut(link, `"`)
	for range 20 {
		o.serve(http.MethodGet, guess, "")
	}
	if w := o.serve(http.MethodGet, guess, ""); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Fatalf("who guesses is answered %d", w.Code)
	}
	for range 50 {
		if w := o.serve(http.MethodGet, link, ""); w.Code != http.StatusOK {
			t.Fatalf("a right link from the same address: %d", w.Code)
		}
	}
	if w := o.serve(http.MethodPost, link, "choice=yes"); w.Code != http.StatusOK {
		t.Errorf("confirming from the same address: %d", w.Code)
	}
}

// TestQ4GuessesCostTheStoreNothing: of a million guesses a few are looked up, also
// where all come at once.
func TestQ4GuessesCostTheStoreNothing(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, Limits{Confirms: Rate{Count: 30, Per: time.Minute}}, login.Budget{})
	before := c.reads.Load()
	var all sync.WaitGroup
	var found atomic.Int64
	look := func(ctx context.Context) (login.Attempt, error) { // as linkedAttempt does
		return c.Login.ByToken(ctx, strings.Repeat("A", 26))
	}
	for range 100 {
		all.Go(func() {
			for range 10_000 {
				if _, err := c.limits.confirms.find(t.Context(), c.from, c.now, look); err == nil {
					found.Add(1)
				}
			}
		})
	}
	all.Wait()
	if reads := c.reads.Load() - before; reads != 300 || found.Load() != 0 {
		t.Errorf("a million guesses read the store %d times and find %d attempts, want 300 and none", reads, found.Load())
	}
	if w := c.send("192.0.2.1", http.MethodGet, guess); w.Code != http.StatusTooManyRequests {
		t.Errorf("one more: %d", w.Code)
	}
	if w := c.send("192.0.2.2", http.MethodGet, guess); w.Code != http.StatusNotFound {
		t.Errorf("from another address: %d", w.Code)
	}
}

// Whether a million requests at once find what they look for or not, no turn is lost.
func TestGuesses_FindCostsNothing(t *testing.T) {
	g := newGuesses(Rate{Count: 1, Per: time.Hour})
	client := netip.MustParseAddr("192.0.2.1")
	look := func(context.Context) (login.Attempt, error) { return login.Attempt{ID: "found"}, nil }
	var all sync.WaitGroup
	for range 5 { // fewer at once than may be looked up
		all.Go(func() {
			for range 1000 {
				if a, err := g.find(t.Context(), client, noon, look); err != nil || a.ID != "found" {
					t.Error(a, err)
				}
			}
		})
	}
	all.Wait()
	broken := errors.New("broken")
	for range 100 {
		if _, err := g.find(t.Context(), client, noon, func(context.Context) (login.Attempt, error) { return login.Attempt{}, broken }); !errors.Is(err, broken) {
			t.Fatal(err)
		}
	}
}
