// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// exchanges stands in for WeChat, which names alice, or fails.
type exchanges struct {
	calls atomic.Int64
	err   error
}

// Exchange implements OAuth.
func (e *exchanges) Exchange(context.Context, string) (login.Person, error) {
	e.calls.Add(1)
	return login.Person{OpenID: "oAlice"}, e.err
}

// callbacks is an outage with a website application.
type callbacks struct {
	*outage
	oauth *exchanges
}

func newCallbacks(t *testing.T) *callbacks {
	t.Helper()
	c := &callbacks{outage: newOutage(t, login.ConfirmTap), oauth: new(exchanges)}
	authorizer := &login.Authorizer{URL: func(callback, state string) string { return callback + "#" + state }}
	c.Login = login.NewService(c.store, map[string]login.Starter{login.StarterKey(login.WebsiteQR, outageApp): authorizer}, nil)
	t.Cleanup(c.Login.Close)
	c.Accounts[outageApp] = Account{OAuth: c.oauth}
	return c
}

// agreed is an attempt whose person has agreed, and the path that WeChat leads back to.
func (c *callbacks) agreed() (login.Attempt, string) {
	c.t.Helper()
	a, _, err := c.Login.Begin(c.t.Context(), login.Request{
		Method: login.WebsiteQR, AppID: outageApp, Site: "site", Portal: outageOrigin + DefaultPrefix, ReturnTo: "/after?x=1", Browser: c.cookie,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return a, DefaultPrefix + login.CallbackPath + "?code=0123456789abcdef&state=" + a.Scene
}

// state is where the attempt stands.
func (c *callbacks) state(a login.Attempt) login.State {
	c.t.Helper()
	now, err := c.Login.Get(c.t.Context(), a.ID, c.cookie)
	if err != nil {
		c.t.Fatal(err)
	}
	return now.State
}

// sessions is how many there are.
func (c *callbacks) sessions() int {
	c.t.Helper()
	items, _, err := c.store.List(c.t.Context(), "session:", "", 100)
	if err != nil {
		c.t.Fatal(err)
	}
	return len(items)
}

// wantEnding fails the test unless the callback leads to that page.
func (c *callbacks) wantEnding(w *httptest.ResponseRecorder, why ending) {
	c.t.Helper()
	want := DefaultPrefix + failedPath + string(why) + "?return_to=%2Fafter%3Fx%3D1"
	if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != want || w.Header().Get("Set-Cookie") != "" {
		c.t.Errorf("answered %d to %q, want %q", w.Code, got, want)
	}
}

func wantSignedIn(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/after?x=1" || !strings.Contains(w.Header().Get("Set-Cookie"), DefaultCookie+"=") {
		t.Errorf("answered %d to %q with %q", w.Code, w.Header().Get("Location"), w.Header().Get("Set-Cookie"))
	}
}

// TestEndings: each ending has a page of its status that says what it is and offers
// what helps; no other address does.
func TestEndings(t *testing.T) {
	c := newCallbacks(t)
	path := func(name, query string) string { return DefaultPrefix + failedPath + name + query }
	for why, end := range endings {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := c.serve(method, path(string(why), "?return_to=%2Fafter%3Fx%3D1"), "")
			if w.Code != end.status || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || w.Header().Get("Cache-Control") != "no-store" ||
				(w.Header().Get("Retry-After") != "") != (end.status == http.StatusServiceUnavailable) {
				t.Errorf("%s %s: %d %v", method, why, w.Code, w.Header())
			}
			if body := w.Body.String(); (method == http.MethodHead) != (body == "") || strings.Contains(body, `href=""`) { // the same page again is of no help
				t.Errorf("%s %s: %s", method, why, body)
			}
		}
	}
	for query, want := range map[string]string{
		"?return_to=%2Fafter%3Fx%3D1": "/login?return_to=%2fafter%3fx%3d1", "": "/login?return_to=%2f",
		"?return_to=https%3A%2F%2Fevil.example": "/login?return_to=%2f", "?return_to=%2F%2Fevil.example": "/login?return_to=%2f",
		"?return_to=%22%3E%3Cscript%3E&code=x&state=y": "/login?return_to=%2f",
	} {
		if w := c.serve(http.MethodGet, path("refused", query), ""); !strings.Contains(w.Body.String(), `href="`+DefaultPrefix+want+`"`) {
			t.Errorf("%q: no button to %s: %s", query, want, w.Body)
		}
	}
	for _, name := range []string{"", "x", "REFUSED", "refused ", "refused/", "%00", "unavailable;x"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, outageOrigin+DefaultPrefix+failedPath, nil)
		r.URL.Path += name
		w := httptest.NewRecorder()
		if err := c.Serve(w, r, nil); err != nil || w.Code != http.StatusNotFound {
			t.Errorf("%q: %d (%v)", name, w.Code, err)
		}
	}
}

// TestQ12EveryCallbackLeadsAway: whatever comes of the callback, its address, with
// code and state, is not where the browser stays: also where the store is away, and
// for programs that do not say that they show pages.
func TestQ12EveryCallbackLeadsAway(t *testing.T) {
	away := func(c *callbacks) { c.store.away.Store(true) }
	failing := func(key string) func(*callbacks) {
		return func(c *callbacks) { c.store.fail.Store(&key) }
	}
	for _, tt := range []struct {
		name, query string
		before      func(*callbacks)
		want        string
	}{
		{"malformed", "code=%00", nil, "malformed"},
		{"two states", "code=0123456789abcdef&state=A&state=B", nil, "malformed"},
		{"unknown state", "code=0123456789abcdef&state=" + strings.Repeat("A", 26), nil, "other-browser"},
		{"unknown proof", "code=0123456789abcdef&state=p" + strings.Repeat("A", 26), nil, "link-unknown"},
		{"store away", "", away, "unavailable"},
		{"store away, proof", "code=0123456789abcdef&state=p" + strings.Repeat("A", 26), failing("tmp:proof:"), "unavailable"},
		{"claim fails", "", failing("tmp:attempt:"), "unavailable?return_to=%2Fafter%3Fx%3D1"},
		{"user fails", "", failing("user:"), "unavailable?return_to=%2Fafter%3Fx%3D1"},
		{"refused", "state=", nil, "refused?return_to=%2Fafter%3Fx%3D1"},
		{"code fails", "", func(c *callbacks) { c.oauth.err = wechat.ErrInvalidCode }, "exchange?return_to=%2Fafter%3Fx%3D1"},
		{"virtual user", "", func(c *callbacks) { c.oauth.err = wechat.ErrVirtualUser }, "virtual-user?return_to=%2Fafter%3Fx%3D1"},
		{"closed", "", func(c *callbacks) {
			users := user.NewRecords(c.store, nil)
			c.t.Cleanup(users.Close)
			c.Users = user.NewDirectory(users, user.Policy{Registration: user.Closed}, time.Minute)
		}, "not-admitted?return_to=%2Fafter%3Fx%3D1"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			t.Run(tt.name+" "+method, func(t *testing.T) {
				c := newCallbacks(t)
				a, path := c.agreed()
				if tt.query == "state=" {
					path = DefaultPrefix + login.CallbackPath + "?state=" + a.Scene
				} else if tt.query != "" {
					path = DefaultPrefix + login.CallbackPath + "?" + tt.query
				}
				if tt.before != nil {
					tt.before(c)
				}
				w := c.serve(method, path+"&return_to=https://evil.example&reason=x", "")
				if want := DefaultPrefix + failedPath + tt.want; w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
					t.Errorf("answered %d to %q, want %q", w.Code, w.Header().Get("Location"), want)
				}
				if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" || strings.Contains(w.Body.String(), a.Scene) {
					t.Errorf("answered %v %s", h, w.Body)
				}
			})
		}
	}
}

// TestCallbackFinishesWhatDied: the first call has learnt who has authorized and then
// died: its process was killed, or the store failed. The code is used up; the second
// call signs in all the same, once.
func TestCallbackFinishesWhatDied(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		c := newCallbacks(t)
		a, path := c.agreed()
		if ok, err := c.Login.Claim(t.Context(), a.ID); !ok || err != nil {
			t.Fatalf("claimed %v, error %v", ok, err)
		}
		if _, err := c.Login.Authorize(t.Context(), a.ID, login.Person{OpenID: "oAlice"}); err != nil {
			t.Fatal(err)
		}
		wantSignedIn(t, c.serve(http.MethodGet, path, ""))
		if calls := c.oauth.calls.Load(); calls != 0 || c.sessions() != 1 {
			t.Errorf("%d exchanges, %d sessions", calls, c.sessions())
		}
	})
	for _, key := range []string{"user:", "identity:"} {
		t.Run("store fails at "+key, func(t *testing.T) {
			c := newCallbacks(t)
			a, path := c.agreed()
			c.store.fail.Store(&key)
			c.wantEnding(c.serve(http.MethodGet, path, ""), endUnavailable)
			if got := c.state(a); got != login.Confirmed || c.sessions() != 0 {
				t.Fatalf("then the attempt is %s, with %d sessions", got, c.sessions())
			}
			c.store.fail.Store(nil)
			wantSignedIn(t, c.serve(http.MethodGet, path, ""))
			if calls := c.oauth.calls.Load(); calls != 1 || c.sessions() != 1 {
				t.Errorf("%d exchanges, %d sessions", calls, c.sessions())
			}
		})
	}
}

// TestQ3CallbacksFinishOnce: many calls find an attempt whose first call has died,
// and the page asks for the session besides. There is one, and all callbacks bring it.
func TestQ3CallbacksFinishOnce(t *testing.T) {
	c := newCallbacks(t)
	a, path := c.agreed()
	if ok, err := c.Login.Claim(t.Context(), a.ID); !ok || err != nil {
		t.Fatalf("claimed %v, error %v", ok, err)
	}
	if _, err := c.Login.Authorize(t.Context(), a.ID, login.Person{OpenID: "oAlice"}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			if i%6 == 0 {
				c.serve(http.MethodPost, DefaultPrefix+"/attempts/"+a.ID+"/session", "")
				return
			}
			wantSignedIn(t, c.serve(http.MethodGet, path, ""))
		})
	}
	all.Wait()
	if c.sessions() != 1 {
		t.Errorf("%d sessions", c.sessions())
	}
}

// TestCallbackBesideAStranger: somebody knows the id of another's attempt, and asks for a
// session with that id as his browser's secret, which has the same form, and with a path
// of his choice. The callback must not take his request for one of its own and wait for
// it, or share its outcome.
func TestCallbackBesideAStranger(t *testing.T) {
	c := newCallbacks(t)
	a, path := c.agreed()
	if !isBrowserSecret(a.ID) {
		t.Errorf("%q is no browser's secret: the story has changed", a.ID)
	}
	begun, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, _, _ = c.opening.Do(openingKey("callback:", a.ID), func() (any, error) {
			close(begun)
			<-release
			return nil, nil //nolint:nilnil // as openSession
		})
	})
	<-begun
	answer := make(chan *httptest.ResponseRecorder, 1)
	all.Go(func() { answer <- c.serve(http.MethodGet, path, "") })
	select {
	case w := <-answer:
		wantSignedIn(t, w)
	case <-time.After(20 * time.Second):
		t.Error("the callback waits for a stranger")
	}
	close(release)
	all.Wait()
}

// What names the opening of a session says which attempt and which browser, and no other
// pair of them, nor a callback.
func TestOpeningKey(t *testing.T) {
	for _, other := range []string{openingKey("a", "bc"), openingKey("", "abc"), openingKey("ab\x00", "c"), "callback:abc"} {
		if got := openingKey("ab", "c"); got == other {
			t.Errorf("%q names two", got)
		}
	}
}

// TestCallbackSignedOutMeanwhile: "sign out everywhere" runs just before the session
// of a callback is recorded. The person is told so: nothing has failed.
func TestCallbackSignedOutMeanwhile(t *testing.T) {
	c := newCallbacks(t)
	_, path := c.agreed()
	sweep := func(key string) {
		if strings.HasPrefix(key, "session:") {
			if _, err := c.Sessions.RevokeUser(t.Context(), onlyUser(t, c.store)); err != nil {
				t.Error(err)
			}
		}
	}
	c.store.before.Store(&sweep)
	w := c.serve(http.MethodGet, path, "")
	c.store.before.Store(nil)
	c.wantEnding(w, endSignedOut)
	if c.sessions() != 0 {
		t.Errorf("%d sessions are left", c.sessions())
	}
}

// TestOpenSessionAfterOneThatFailed: of the page's requests for its session the one
// that is served fails. The others say what has failed; where it was only that its
// own browser has gone, one of them does the work.
func TestOpenSessionAfterOneThatFailed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		failed error
		want   map[int]int
	}{
		{"the browser has gone", context.Canceled, map[int]int{http.StatusOK: 1, http.StatusGone: 19}},
		{"the attempt was not confirmed yet", login.ErrState, map[int]int{http.StatusOK: 1, http.StatusGone: 19}},
		{"the store", errNoPatience, map[int]int{http.StatusServiceUnavailable: 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOutage(t, login.ConfirmOff)
			id, scene := o.begin()
			o.push(scene)
			if key := "tmp:attempt:"; errors.Is(tt.failed, store.ErrUnavailable) {
				o.store.fail.Store(&key)
			}
			begun, release := make(chan struct{}), make(chan struct{})
			var all sync.WaitGroup
			all.Go(func() {
				_, _, _ = o.opening.Do(openingKey(id, o.cookie), func() (any, error) {
					close(begun)
					<-release
					return nil, tt.failed
				})
			})
			<-begun
			var waiting sync.WaitGroup
			waiting.Add(20)
			o.Original = func(r *http.Request) (string, *url.URL) { waiting.Done(); return r.Method, r.URL }
			statuses := make(chan int, 20)
			for range 20 {
				all.Go(func() { statuses <- o.serve(http.MethodPost, DefaultPrefix+"/attempts/"+id+"/session", "").Code })
			}
			waiting.Wait()
			close(release)
			all.Wait()
			close(statuses)
			got := make(map[int]int)
			for status := range statuses {
				got[status]++
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
