// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

const miniTestApp = "wx00000000000000a1"

// miniWeChat stands in for WeChat: it takes codes that begin with "good", says that
// they are of the person of that name, and counts what it is asked.
type miniWeChat struct {
	asked  atomic.Int64
	scenes sync.Map // by ticket of nobody yet: all that were shown
}

func (m *miniWeChat) Session(_ context.Context, code string) (login.Person, error) {
	m.asked.Add(1)
	if !strings.HasPrefix(code, "good") {
		return login.Person{}, &wechat.Error{Endpoint: "sns/jscode2session", Code: 40029}
	}
	return login.Person{OpenID: code}, nil
}

func (m *miniWeChat) PhoneNumber(_ context.Context, code string) (string, error) {
	m.asked.Add(1)
	if !strings.HasPrefix(code, "good") {
		return "", &wechat.Error{Endpoint: "wxa/business/getuserphonenumber", Code: 40029}
	}
	return "+8613800000000", nil
}

// MiniCode draws a code that says nothing but its scene.
func (m *miniWeChat) MiniCode(_ context.Context, scene, _, _ string) ([]byte, error) {
	m.scenes.Store(scene, true)
	return []byte("\x89PNG\r\n\x1a\n"), nil
}

func (m *miniWeChat) MiniLink(context.Context, string, string, string, time.Duration) (string, error) {
	return "", &wechat.Error{Endpoint: "wxa/generate_urllink", Code: 40002}
}

// miniSite is a portal with a mini program.
type miniSite struct {
	*Portal
	t      *testing.T
	wechat *miniWeChat
	now    atomic.Int64 // nanoseconds after noon
}

func newMiniSite(t *testing.T, confirms Rate) *miniSite {
	t.Helper()
	m := &miniSite{t: t, wechat: new(miniWeChat)}
	clock := func() time.Time { return noon.Add(time.Duration(m.now.Load())) }
	file := embedded.New(embedded.Config{Dir: t.TempDir(), Now: clock})
	t.Cleanup(func() { _ = file.Close() })
	attempts := login.NewService(file, map[string]login.Starter{
		login.StarterKey(login.MiniQR, miniTestApp): &login.Mini{Codes: m.wechat, TTL: 5 * time.Minute, Confirm: login.ConfirmTap, Links: true},
	}, clock)
	t.Cleanup(attempts.Close)
	var err error
	m.Portal, err = New(Config{
		Title: "site", Prefix: DefaultPrefix, Origins: []string{outageOrigin}, Cookie: DefaultCookie,
		Offers: []Offer{{login.MiniQR, miniTestApp}}, Login: attempts, Store: file,
		Accounts:   map[string]Account{miniTestApp: {Mini: m.wechat}},
		Limits:     Limits{Confirms: confirms},
		ClientAddr: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
		Original:   func(r *http.Request) (string, *url.URL) { return r.Method, r.URL },
		Log:        zap.NewNop(), Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// begin begins an attempt and returns the scene that it shows.
func (m *miniSite) begin() (scene string) {
	m.t.Helper()
	_, _, err := m.Login.Begin(m.t.Context(), login.Request{
		Method: login.MiniQR, AppID: miniTestApp, Portal: outageOrigin + DefaultPrefix, Browser: "b",
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.wechat.scenes.Range(func(key, _ any) bool {
		scene, _ = key.(string)
		m.wechat.scenes.Delete(key)
		return false
	})
	return scene
}

// call is wx.request.
func (m *miniSite) call(action, body string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(m.t.Context(), http.MethodPost, outageOrigin+"/_wechat/mini/"+miniTestApp+"/"+action, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	if err := m.Serve(w, r, nil); err != nil {
		m.t.Error(err)
	}
	return w
}

func (m *miniSite) scan(scene, code string) *httptest.ResponseRecorder {
	return m.call("scan", `{"scene":"`+scene+`","code":"`+code+`"}`)
}

// ticket is what a person gets for a scan.
func (m *miniSite) ticket(scene, code string) string {
	m.t.Helper()
	var got miniAttempt
	w := m.scan(scene, code)
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || got.Ticket == "" {
		m.t.Fatalf("scan: %d %s", w.Code, w.Body)
	}
	return got.Ticket
}

func (m *miniSite) expect(what string, w *httptest.ResponseRecorder, status int, code string) {
	m.t.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), `"`+code+`"`) {
		m.t.Errorf("%s: %d %s, want %d %s", what, w.Code, w.Body, status, code)
	}
	if limited := status == http.StatusTooManyRequests && code == "too_many_requests"; limited != (w.Header().Get("Retry-After") != "") {
		m.t.Errorf("%s: Retry-After is %q", what, w.Header().Get("Retry-After"))
	}
}

// TestQ4MiniScene: a stranger sends scenes that he has made up, and old ones. WeChat,
// which lets a mini program ask so often and no more, is not asked about any of them;
// and the phone next to him, at the same address, is served (Q14).
func TestQ4MiniScene(t *testing.T) {
	t.Parallel()
	m := newMiniSite(t, Rate{Count: 3, Per: time.Hour})
	old := m.begin()
	m.now.Add(int64(6 * time.Minute))
	right := m.begin()
	m.expect("an expired scene", m.scan(old, "bad"), http.StatusGone, "expired")
	for range 3 {
		m.expect("a made-up scene", m.scan(strings.Repeat("A", 26), "bad"), http.StatusNotFound, "attempt_not_found")
	}
	for range 5 {
		m.expect("one more", m.scan(strings.Repeat("B", 26), "bad"), http.StatusTooManyRequests, "too_many_requests")
		m.expect("a made-up ticket", m.call("confirm", `{"ticket":"`+strings.Repeat("C", 26)+`"}`), http.StatusTooManyRequests, "too_many_requests")
	}
	if n := m.wechat.asked.Load(); n != 0 {
		t.Errorf("WeChat is asked %d times about scenes of nobody", n)
	}
	ticket := m.ticket(right, "good")
	m.expect("confirm", m.call("confirm", `{"ticket":"`+ticket+`","phone_code":"good"}`), http.StatusOK, "confirmed")
	m.expect("cancel", m.call("cancel", `{"ticket":"`+ticket+`"}`), http.StatusOK, "cancelled")
}

// TestQ14MiniCodes: a stranger photographs a code that waits, and sends codes of
// wx.login that he has made up for it, all at once. WeChat is asked a handful of
// times, whatever the limits are; the people around him are served.
func TestQ14MiniCodes(t *testing.T) {
	t.Parallel()
	for _, limit := range []Rate{{}, {Count: 1000, Per: time.Hour}} {
		m := newMiniSite(t, limit)
		scene, other := m.begin(), m.begin()
		statuses := make([]int, 100)
		var all sync.WaitGroup
		for i := range statuses {
			all.Go(func() { statuses[i] = m.scan(scene, "bad").Code })
		}
		all.Wait()
		counts := make(map[int]int)
		for _, s := range statuses {
			counts[s]++
		}
		if n := m.wechat.asked.Load(); n != miniTries || counts[http.StatusForbidden] != miniTries || counts[http.StatusTooManyRequests] != 100-miniTries {
			t.Errorf("limit %v: WeChat is asked %d times: %v", limit, n, counts)
		}
		m.expect("this attempt is over", m.scan(scene, "good"), http.StatusTooManyRequests, "too_many_tries")
		m.ticket(other, "good")
	}
}

// TestQ14MiniCodesOfAnAddress: a stranger begins attempts of his own and sends codes
// that are none, until his address has no turn left. Somebody else's phone there has
// one good code for its attempt, and that is enough.
func TestQ14MiniCodesOfAnAddress(t *testing.T) {
	t.Parallel()
	m := newMiniSite(t, Rate{Count: 3, Per: time.Hour})
	his, hers := m.begin(), m.begin()
	for range 3 {
		m.expect("a made-up code", m.scan(his, "bad"), http.StatusForbidden, "bad_code")
	}
	for range 20 {
		m.expect("one more", m.scan(his, "bad"), http.StatusTooManyRequests, "too_many_requests")
	}
	if n := m.wechat.asked.Load(); n != 3 {
		t.Errorf("WeChat is asked %d times", n)
	}
	ticket := m.ticket(hers, "good")
	for range 20 { // who succeeds uses up nothing
		if again := m.ticket(hers, "good"); again != ticket {
			t.Fatal("another ticket")
		}
	}
	m.now.Add(int64(20 * time.Minute)) // time enough for one turn to come back
	his = m.begin()
	m.expect("a turn came back", m.scan(his, "bad"), http.StatusForbidden, "bad_code")
	m.expect("and is used up", m.scan(his, "bad"), http.StatusTooManyRequests, "too_many_requests")
}

// TestMiniPhoneCodes: each phone number costs money, and each wrong code a call: who
// holds a ticket and the right answer can have WeChat asked a handful of times.
func TestMiniPhoneCodes(t *testing.T) {
	t.Parallel()
	m := newMiniSite(t, Rate{})
	ticket := m.ticket(m.begin(), "good")
	asked := m.wechat.asked.Load()
	for range miniTries {
		m.expect("a made-up code", m.call("confirm", `{"ticket":"`+ticket+`","phone_code":"bad"}`), http.StatusForbidden, "bad_code")
	}
	m.expect("one more", m.call("confirm", `{"ticket":"`+ticket+`","phone_code":"good"}`), http.StatusTooManyRequests, "too_many_tries")
	if n := m.wechat.asked.Load() - asked; n != miniTries {
		t.Errorf("WeChat is asked %d times", n)
	}
	m.expect("without a number", m.call("confirm", `{"ticket":"`+ticket+`"}`), http.StatusOK, "confirmed")
}

// TestMiniLimits_Failures: a turn comes back with a success alone. An outage, a person
// who hangs up and a code that is no good use it up: each was a call.
func TestMiniLimits_Failures(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.1")
	for _, err := range []error{wechat.ErrUnavailable, wechat.ErrInvalidCode, context.Canceled} {
		l := newMiniLimits(Rate{Count: 2, Per: time.Hour})
		calls := 0
		ask := func(answer error) error {
			return l.ask(t.Context(), "attempt", client, noon, func(context.Context) error { calls++; return answer })
		}
		for range 10 {
			if got := ask(nil); got != nil {
				t.Fatalf("success: %v", got)
			}
		}
		for range 2 {
			if got := ask(err); !errors.Is(got, err) {
				t.Errorf("got %v, want %v", got, err)
			}
		}
		if got, ok := errors.AsType[limitedError](ask(nil)); !ok || got.wait <= 0 || calls != 12 {
			t.Errorf("after two times %v: %v, and %d calls", err, got, calls)
		}
	}
}

// TestMiniLimits_OneAfterTheOther: calls for one attempt wait for one another, not
// for those of another, and who hangs up waits no more.
func TestMiniLimits_OneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newMiniLimits(Rate{})
		client, release := netip.MustParseAddr("192.0.2.1"), make(chan struct{})
		held := func(context.Context) error { <-release; return nil }
		ctx, hangUp := context.WithCancel(t.Context())
		var waited error
		go func() { _ = l.ask(t.Context(), "a", client, noon, held) }()
		synctest.Wait()
		go func() {
			waited = l.ask(ctx, "a", client, noon, func(context.Context) error { t.Error("two calls at once"); return nil })
		}()
		synctest.Wait()
		if err := l.ask(t.Context(), "b", client, noon, func(context.Context) error { return nil }); err != nil {
			t.Errorf("another attempt: %v", err)
		}
		hangUp()
		synctest.Wait()
		if !errors.Is(waited, context.Canceled) {
			t.Errorf("who hangs up gets %v", waited)
		}
		close(release)
		synctest.Wait()
		if err := l.ask(t.Context(), "a", client, noon, func(context.Context) error { return nil }); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestMiniLimits_Bounded: however many attempts there are, few are remembered.
func TestMiniLimits_Bounded(t *testing.T) {
	t.Parallel()
	l := newMiniLimits(Rate{})
	for range 2 * triedAttempts {
		_ = l.ask(t.Context(), rand.Text(), netip.MustParseAddr("192.0.2.1"), noon, func(context.Context) error { return wechat.ErrInvalidCode })
	}
	l.tries.CleanUp()
	if n := l.tries.EstimatedSize(); n > triedAttempts {
		t.Errorf("%d attempts are remembered", n)
	}
}

// TestMiniDriveBy: a page that a visitor happens upon has the visitor's browser call
// the endpoints of the mini program, to use up the turns of the visitor's address, or
// WeChat's. A form cannot send JSON, and a script's request says where it comes from.
// WeChat on a computer says so, too, but with a Referer that no page can have.
func TestMiniDriveBy(t *testing.T) {
	t.Parallel()
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	const site, kind = "Sec-Fetch-Site", "Content-Type"
	referer := "https://servicewechat.com/" + miniTestApp + "/1/page-frame.html"
	for _, tt := range []struct {
		name   string
		edit   []func(*http.Request)
		status int
	}{
		{"a phone", nil, 404},
		{"with a charset", []func(*http.Request){set(kind, "application/json; charset=utf-8")}, 404},
		{"WeChat on a computer", []func(*http.Request){set(site, "cross-site"), set("Referer", referer)}, 404},
		{"typed by hand", []func(*http.Request){set(site, "none")}, 404},
		{"another site", []func(*http.Request){set(site, "cross-site")}, 403},
		{"a neighbour", []func(*http.Request){set(site, "same-site")}, 403},
		{"one of two", []func(*http.Request){set(site, "none", "cross-site")}, 403},
		{"unknown", []func(*http.Request){set(site, "Cross-Site")}, 403},
		{"another mini program", []func(*http.Request){set(site, "cross-site"), set("Referer", strings.Replace(referer, "a1", "a2", 1))}, 403},
		{"a host that looks alike", []func(*http.Request){set(site, "cross-site"), set("Referer", strings.Replace(referer, ".com", ".com.evil.example", 1))}, 403},
		{"an app id that looks alike", []func(*http.Request){set(site, "cross-site"), set("Referer", strings.Replace(referer, "/1/", "x/1/", 1))}, 403},
		{"a form", []func(*http.Request){set(kind, "application/x-www-form-urlencoded")}, 415},
		{"a form of text", []func(*http.Request){set(kind, "text/plain")}, 415},
		{"a form with a file", []func(*http.Request){set(kind, "multipart/form-data; boundary=x")}, 415},
		{"a script that hides it", []func(*http.Request){set(kind, "text/plain; application/json")}, 415},
		{"a type like it", []func(*http.Request){set(kind, "application/jsonp")}, 415},
		{"a beacon", []func(*http.Request){func(r *http.Request) { r.Header.Del(kind) }}, 415},
	} {
		m := newMiniSite(t, Rate{Count: 1, Per: time.Hour})
		for _, action := range []string{"scan", "confirm", "cancel"} {
			for range 3 {
				w := m.call(action, `{"scene":"x","code":"bad","ticket":"x"}`, tt.edit...)
				if w.Code == tt.status {
					continue
				}
				if tt.status != 404 || w.Code != http.StatusTooManyRequests {
					t.Errorf("%s, %s: %d %s, want %d", tt.name, action, w.Code, w.Body, tt.status)
				}
			}
		}
		// What was refused has used up no turn of the address.
		if w := m.scan("x", "bad"); tt.status != 404 && w.Code != http.StatusNotFound {
			t.Errorf("%s: the address has no turn left: %d", tt.name, w.Code)
		}
	}
}
