// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// The tests below drive the login page in a real Chromium against a scripted backend.

// visit opens a path of the backend in a new tab, where time passes factor times as
// fast for the page. When the test ends, the page must have made no trouble.
func visit(t *testing.T, b *backend, path string, factor int, setup ...chrometest.Action) *chrometest.Tab {
	t.Helper()
	page := chrometest.Open(t)
	u, err := url.Parse(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { page.Clean(u.Host) })
	if factor > 1 {
		setup = append(setup, chrometest.Faster(factor))
	}
	page.Run(append(setup, chromedp.Navigate(b.URL+path))...)
	return page
}

// awaits waits until the backend has had n requests that begin with a prefix.
func (b *backend) awaits(t *testing.T, n int, prefix string) {
	t.Helper()
	limit, tick := time.After(chrometest.Patience), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for b.count(prefix) < n {
		select {
		case <-limit:
			t.Fatalf("waiting for %d × %q; the requests were:\n%s", n, prefix, strings.Join(b.log(), "\n"))
		case <-tick.C:
		}
	}
}

func heading(view string) string { return english.Script.Views[view].Head }

func press(keys ...string) chrometest.Action { return chromedp.KeyEvent(strings.Join(keys, "")) }

// click presses the login page's one button.
func click() chrometest.Action { return chromedp.Click(chromedp.ID("action")) }

const hint = "A phone cannot scan its own screen"

func TestLoginPage_SignsInOverEvents(t *testing.T) {
	b := newBackend(t)
	page := visit(t, b, "/deep/page?q=1", 1)
	page.Sees("Sign in to Example")
	page.Sees(heading("pending"))
	page.Sees("The code is valid for 5 min")
	if strings.Contains(page.Text(), hint) {
		t.Error("a computer is shown the phone's hint")
	}
	b.set("scanned", "")
	page.Sees("choose the number 42")
	page.Until(`document.getElementById('number').innerText === '42' && !document.getElementById('qr').offsetParent`)
	b.set("confirmed", "")
	page.Sees("Inside")
	if at := chrometest.Eval[string](page, `location.pathname`); at != "/inside" {
		t.Errorf("left for %s", at)
	}
	if n := b.count("GET /_wechat/attempts/attempt-1?wait"); n != 0 {
		t.Errorf("%d long polls although events came", n)
	}
	// The portal refuses any other Origin, `null` above all.
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, origin := range b.origins {
		if origin != b.URL {
			t.Errorf("a POST with Origin %q, want %q", origin, b.URL)
		}
	}
}

// Where the operator wants a tap instead of a number, there is none to show.
func TestLoginPage_Tap(t *testing.T) {
	b := newBackend(t)
	b.number = ""
	page := visit(t, b, "/", 1)
	page.Sees(heading("pending"))
	b.set("scanned", "")
	page.Sees(english.Script.Views["tap"].Body)
}

// Proxies that buffer or refuse event streams, and proxies that cut long requests, must
// not keep anyone out.
func TestLoginPage_FallsBack(t *testing.T) {
	tests := []struct {
		name          string
		events, polls string
		want          string // the request by which the state comes in the end
		factor        int
	}{
		{"events refused", "error", "", "GET /_wechat/attempts/attempt-1?wait=25", 1},
		{"events buffered", "silent", "", "GET /_wechat/attempts/attempt-1?wait=25", 8},
		{"long polls refused", "error", "error", "GET /_wechat/attempts/attempt-1", 8},
		{"long polls hang", "silent", "hang", "GET /_wechat/attempts/attempt-1", 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t)
			b.events, b.polls = tt.events, tt.polls
			page := visit(t, b, "/", tt.factor)
			page.Sees(heading("pending"))
			if tt.polls != "" {
				b.awaits(t, 1, "GET /_wechat/attempts/attempt-1?wait=25")
				seen := b.count(tt.want)
				b.awaits(t, seen+3, tt.want)
			} else {
				b.awaits(t, 1, tt.want)
			}
			b.set("scanned", "")
			page.Sees("choose the number 42")
			b.set("confirmed", "")
			page.Sees("Inside")
			if n := b.count("GET /_wechat/attempts/attempt-1/events"); n != 1 {
				t.Errorf("%d event streams, want the one that failed", n)
			}
		})
	}
}

// A reload of the server, or a laptop that sleeps, ends the stream: another follows, and
// what happened in between is not missed.
func TestLoginPage_Reconnects(t *testing.T) {
	b := newBackend(t)
	page := visit(t, b, "/", 1)
	page.Sees(heading("pending"))
	b.awaits(t, 1, "GET /_wechat/attempts/attempt-1/events")
	b.set("scanned", "")
	page.Sees("choose the number 42") // the stream works
	b.CloseClientConnections()
	b.awaits(t, 2, "GET /_wechat/attempts/attempt-1/events")
	page.Run(chromedp.Evaluate[chromedp.Void](`dispatchEvent(new Event('online'))`)) // as after sleep
	b.awaits(t, 3, "GET /_wechat/attempts/attempt-1/events")
	b.set("confirmed", "")
	page.Sees("Inside")
	if b.made != 1 {
		t.Errorf("%d attempts, want 1", b.made)
	}
}

func TestLoginPage_FinalStates(t *testing.T) {
	reasons := english.Script.Reasons
	tests := []struct {
		state, reason string
		head          string
		button        string
	}{
		{"cancelled", "", heading("cancelled"), english.Script.NewCode},
		{"expired", "", heading("expired"), english.Script.NewCode},
		{"consumed", "", heading("consumed"), english.Script.NewCode},
		{"denied", "wrong_number", reasons["wrong_number"].Head, english.Script.TryAgain},
		{"denied", "registration_closed", reasons["registration_closed"].Head, english.Script.TryAgain},
		{"denied", "disabled", reasons["disabled"].Head, english.Script.TryAgain},
		{"denied", "constructor", reasons["other"].Head, english.Script.TryAgain},
	}
	b := newBackend(t)
	page := visit(t, b, "/", 1)
	for _, tt := range tests {
		t.Run(tt.state+" "+tt.reason, func(t *testing.T) {
			page.T = t
			page.Sees(heading("pending"))
			b.set(tt.state, tt.reason)
			page.Sees(tt.head)
			page.Sees(tt.button)
			page.Run(click()) // one click brings a new code
		})
	}
	page.T = t
	page.Sees(heading("pending"))
}

// The page tells the expiry by itself where the server cannot, and by the time since the
// code was made: a visitor's clock that is two days off changes nothing.
func TestLoginPage_ExpiresByItself(t *testing.T) {
	for name, skew := range map[string]time.Duration{"true clock": 0, "fast clock": -48 * time.Hour, "slow clock": 48 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			b.skew, b.ttl = skew, time.Minute
			page := visit(t, b, "/", 20)
			page.Sees(heading("pending"))
			page.Sees("The code is valid for 1 min")
			page.Sees(heading("expired"))
			page.Run(click())
			page.Sees(heading("pending"))
			if n := b.count("POST /_wechat/attempts"); n != 2 {
				t.Errorf("%d attempts, want 2", n)
			}
		})
	}
}

func TestLoginPage_CreateFails(t *testing.T) {
	wechatDown := map[string]any{"error": "wechat_unavailable"}
	storeDown := map[string]any{"error": "store_unavailable"}
	tests := []struct {
		name    string
		answers []answer
		head    string
		button  bool // whether it takes a click to go on
	}{
		{"WeChat down", []answer{{503, wechatDown, "20"}}, heading("wechat"), false},
		{"store down twice", []answer{{503, storeDown, ""}, {503, storeDown, "20"}}, heading("store"), false},
		{"too many", []answer{{429, map[string]any{"error": "too_many_attempts"}, "20"}}, heading("tooMany"), false},
		{"bad gateway", []answer{{502, nil, ""}, {502, nil, "20"}}, heading("store"), false},
		{"refused", []answer{{403, nil, ""}}, heading("failed"), true},
		{"not understood", []answer{{400, nil, ""}}, heading("failed"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t)
			b.creates = slices.Clone(tt.answers)
			page := visit(t, b, "/", 10)
			page.Sees(tt.head)
			if tt.button {
				page.Run(click())
			} else {
				page.Sees("Next try in 0:")
			}
			page.Sees(heading("pending"))
			if n := b.count("POST /_wechat/attempts"); n != len(tt.answers)+1 {
				t.Errorf("%d tries, want %d", n, len(tt.answers)+1)
			}
		})
	}
}

// Retry-After is the server's to say: the page does not come back any sooner.
func TestLoginPage_RespectsRetryAfter(t *testing.T) {
	b := newBackend(t)
	b.creates = []answer{{429, nil, "90"}}
	page := visit(t, b, "/", 1)
	page.Sees(heading("tooMany"))
	page.Sees("Next try in 1:3")
	page.Run(chromedp.Evaluate[chromedp.Void](`dispatchEvent(new Event('online'))`))
	page.Until(`document.getElementById('countdown').innerText.includes('1:2')`)
	if n := b.count("POST /_wechat/attempts"); n != 1 {
		t.Errorf("%d tries within Retry-After", n)
	}
	if strings.Contains(page.Text(), english.Script.TryNow) {
		t.Error("the page offers to try at once")
	}
}

func TestLoginPage_Offline(t *testing.T) {
	b := newBackend(t)
	page := visit(t, b, "/", 1)
	page.Sees(heading("pending"))
	b.set("expired", "")
	page.Sees(heading("expired"))
	page.Run(chrometest.Offline(true), click())
	page.Sees(heading("offline"))
	page.Run(chrometest.Offline(false))
	page.Sees(heading("pending"))
}

// A network lost while the code is shown leaves the code where it is.
func TestLoginPage_ConnectionLost(t *testing.T) {
	b := newBackend(t)
	page := visit(t, b, "/", 1)
	page.Sees(heading("pending"))
	b.awaits(t, 1, "GET /_wechat/attempts/attempt-1/events")
	page.Run(chrometest.Offline(true))
	b.CloseClientConnections()
	page.Sees(english.Script.Reconnecting)
	page.Sees(heading("pending"))
	page.Run(chrometest.Offline(false))
	page.Until(`document.getElementById('note').hidden`)
	b.set("scanned", "")
	page.Sees("choose the number 42")
}

func TestLoginPage_Session(t *testing.T) {
	tests := []struct {
		name    string
		answers []answer
		sees    string
	}{
		{"gone", []answer{{410, nil, ""}}, heading("expired")},
		{"stranger", []answer{{403, map[string]any{"error": "denied", "reason": "registration_closed"}, ""}}, english.Script.Reasons["registration_closed"].Head},
		{"foreign", []answer{{403, map[string]any{"error": "cross_origin"}, ""}}, english.Script.Reasons["other"].Head},
		{"not yet", []answer{{409, nil, ""}, {409, nil, ""}}, "Inside"},
		{"store down", []answer{{503, nil, "3"}, {503, nil, ""}}, "Inside"},
		{"unknown", []answer{{404, nil, ""}}, heading("pending")}, // a new code, by itself
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t)
			b.sessions = slices.Clone(tt.answers)
			page := visit(t, b, "/", 5)
			page.Sees(heading("pending"))
			b.set("confirmed", "")
			b.awaits(t, len(tt.answers), "POST /_wechat/attempts/attempt-1/session")
			page.Sees(tt.sees)
		})
	}
}

// The answer to the session request may be lost on the way: the browser is signed in, but
// its second request finds the attempt used up.
func TestLoginPage_LostAnswer(t *testing.T) {
	b := newBackend(t)
	page := visit(t, b, "/app", 1)
	page.Sees(heading("pending"))
	b.script(func(b *backend) { b.sessions, b.signedIn = []answer{{410, nil, ""}}, true })
	b.set("confirmed", "")
	page.Sees("Inside")
}

// Not even a server gone wrong sends a visitor to another site (G12).
func TestLoginPage_RedirectStaysHere(t *testing.T) {
	for _, evil := range []string{
		"//evil.example/", `/\evil.example/`, "/\t/evil.example/", "https://evil.example/",
		"javascript:alert(1)", "evil.example", "", "\\\\evil.example",
	} {
		t.Run(evil, func(t *testing.T) {
			b := newBackend(t)
			b.redirect = evil
			page := visit(t, b, "/app", 1)
			page.Sees(heading("pending"))
			b.set("confirmed", "")
			page.Sees("Inside")
			if at := chrometest.Eval[string](page, `location.href`); at != b.URL+"/" {
				t.Errorf("left for %s, want %s/", at, b.URL)
			}
		})
	}
}

// Shown in place of /app#part, the page returns to just that part.
func TestLoginPage_KeepsFragment(t *testing.T) {
	b := newBackend(t)
	b.redirect = "/app?x=1"
	page := visit(t, b, "/app?x=1#part", 1)
	page.Sees(heading("pending"))
	b.set("confirmed", "")
	page.Sees("Inside")
	if at := chrometest.Eval[string](page, `location.href`); at != b.URL+"/app?x=1#part" {
		t.Errorf("left for %s", at)
	}
}

// A browser that keeps no cookie never sees its attempt again. Asking for one new code
// after another would only burn WeChat's quota.
func TestLoginPage_WithoutCookies(t *testing.T) {
	b := newBackend(t)
	b.events = "error"
	b.forgets = true
	page := visit(t, b, "/", 1)
	page.Sees(heading("cookies"))
	if n := b.count("POST /_wechat/attempts"); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

func TestLoginPage_Keyboard(t *testing.T) {
	b := newBackend(t)
	page := visit(t, b, "/", 1)
	page.Sees(heading("pending"))
	b.set("scanned", "")
	page.Sees("choose the number 42")
	page.Run(press(kb.Tab))
	page.Until(`document.activeElement.id === 'action'`)
	page.Run(press(kb.Enter)) // a new code while the old one is open gives that up
	page.Sees(heading("pending"))
	page.Until(`document.activeElement.id === 'head'`)
	b.awaits(t, 1, "DELETE /_wechat/attempts/attempt-1")
	b.set("expired", "")
	page.Sees(heading("expired"))
	page.Until(`document.activeElement.id === 'action'`)
	page.Run(press(kb.Enter))
	page.Sees(heading("pending"))
}

// Every change is told to those who listen rather than look.
func TestLoginPage_Announces(t *testing.T) {
	b := newBackend(t)
	page := visit(t, b, "/", 1)
	page.Sees(heading("pending"))
	b.set("scanned", "")
	page.Until(`document.querySelector('[role=status][aria-atomic=true]').innerText.includes('choose the number 42')`)
	if alt := chrometest.Eval[string](page, `document.getElementById('qr').alt`); alt != english.Script.QRAlt {
		t.Errorf("the code's alternative text is %q", alt)
	}
}

func TestLoginPage_Tabs(t *testing.T) {
	b := newBackend(t)
	first := visit(t, b, "/one", 1)
	first.Sees(heading("pending"))
	second := visit(t, b, "/two", 1)
	second.Sees(heading("pending"))
	b.set("confirmed", "") // the newest attempt is the second tab's
	second.Sees("Inside")
	first.Sees("Inside")
	if at := chrometest.Eval[string](first, `location.pathname`); at != "/one" {
		t.Errorf("the other tab went to %s", at)
	}
}

func TestLoginPage_Phone(t *testing.T) {
	b := newBackend(t)
	page := visit(t, b, "/", 1, chromedp.EmulateViewport(320, 640, chromedp.EmulateMobile, chromedp.EmulateTouch))
	page.Sees(hint)
	page.Until(`document.getElementById('qr').src.startsWith('data:image/png')`) // which an album takes
	page.Until(`document.getElementById('qr').getBoundingClientRect().width >= 200`)
	if wide := chrometest.Eval[float64](page, `document.documentElement.scrollWidth`); wide > 320 {
		t.Errorf("the page is %v px wide on a screen of 320", wide)
	}
}

func TestLoginPage_WithoutScript(t *testing.T) {
	b := newBackend(t)
	page := visit(t, b, "/", 1, chrometest.Command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	shown, err := chrometest.Do(page, chromedp.Text(chromedp.CSS("main")))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(shown, english.NeedsJSDo) || strings.Contains(shown, heading("loading")) {
		t.Errorf("without JavaScript the page shows:\n%s", shown)
	}
	if n := b.count(http.MethodPost); n != 0 {
		t.Errorf("%d attempts without a script", n)
	}
}
