// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// status has an operator set the status of a person, by the admin API.
func (w *world) status(person, status string) {
	w.t.Helper()
	w.operate(0, "users", map[string]string{"active": "approve", "disabled": "disable"}[status], w.idOf(w.wechat.Phone(person).OpenID(appID)))
}

// idOf is the user who has an openid.
func (w *world) idOf(openID string) string {
	w.t.Helper()
	var u struct{ ID string }
	if err := json.Unmarshal([]byte(w.operate(0, "users", "show", openID, "--json").stdout), &u); err != nil {
		w.t.Fatal(err)
	}
	return u.ID
}

// admissions opens the stream by which a browser learns whether it may enter. The
// channel is closed at its end.
func (b *browser) admissions() <-chan string {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.origin+"/_wechat/admission/events", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	client := *b.client
	client.Timeout = 0
	resp, err := client.Do(req) //nolint:bodyclose // the goroutine closes it
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("GET admission/events: %d", resp.StatusCode)
	}
	told := make(chan string, 16)
	go func() {
		defer close(told)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				told <- data
			}
		}
	}()
	return told
}

// next is what a stream tells next, empty at its end.
func next(t testing.TB, told <-chan string) string {
	t.Helper()
	select {
	case data := <-told:
		return data
	case <-time.After(patience):
		t.Fatal("nothing more is told")
		return ""
	}
}

// TestClusterAdmission: people wait at every node; whoever is approved, or disabled, at
// one of them is told so at his within a second (G4, over Redis).
func TestClusterAdmission(t *testing.T) {
	f := newFleet(t, fleetOptions{users: "registration approval"})
	for i, act := range []struct{ status, told string }{{"active", ""}, {"disabled", "disabled"}} {
		person := fmt.Sprint("person", i)
		told := f.signIn(1+i, person).admissions()
		if got := next(t, told); got != `{"admission":"pending"}` {
			t.Fatalf("told %s", got)
		}
		f.nodes[0].status(person, act.status)
		begun := time.Now()
		if got := next(t, told); got != `{"admission":"`+act.told+`"}` {
			t.Errorf("%s: told %s", act.status, got)
		}
		f.inTime("node "+fmt.Sprint(1+i)+" tells", begun)
		if got := next(t, told); got != "" {
			t.Errorf("then told %s", got)
		}
	}
}

// TestBrowserWaits: a person waits in a browser, and is let in within a second of the
// approval, at the address first asked for; or is told of being disabled. Where a
// proxy lets no event stream through, the page asks now and then instead.
func TestBrowserWaits(t *testing.T) {
	w := newWorld(t, options{users: "registration approval"})
	for _, tt := range []struct {
		name, status, sees string
		blocked            []string
		within             time.Duration
	}{
		{"approved", "active", "hello", nil, heard},
		{"disabled", "disabled", "Account disabled", nil, heard},
		{"no stream", "active", "hello", []string{"http://*:*/_wechat/admission/events"}, 25 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.upstream.longLived()
			tab := w.as(w.signIn(tt.name), "/after?x=1#part")
			if tt.blocked != nil {
				tab.Run(blocked(tt.blocked...), chromedp.Reload())
			}
			tab.Sees("Waiting for approval")
			tab.Until(`performance.getEntriesByType('resource').some((e) => e.name.includes('admission.'))`)
			w.status(tt.name, tt.status)
			begun := time.Now()
			tab.Sees(tt.sees)
			if took := time.Since(begun); took > tt.within {
				t.Errorf("%v after the operator's act", took)
			} else {
				t.Logf("%v after the operator's act", took.Round(time.Millisecond))
			}
			if got := chrometest.Eval[string](tab, `location.pathname + location.search + location.hash`); got != "/after?x=1#part" {
				t.Errorf("the browser is at %s", got)
			}
		})
	}
}

// TestG5EveryMethod: a person whom nobody has approved, and then one who is disabled,
// tries every method and keeps an old session. The site opens to none of it, whatever
// the kind of request (G5).
func TestG5EveryMethod(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{openPlatform: "ours", options: options{users: "registration approval", account: "web_oauth snsapi_userinfo"}})
	alice := m.wechat.Phone("alice")
	old := map[string]*browser{"in_wechat": m.byWeChatPending(alice), "mini_qr": m.browser(), "website_qr": m.browser()}
	m.byMini(old["mini_qr"], alice)
	m.byWebsite(old["website_qr"], alice)
	m.shut("awaiting approval", old)
	id := m.idOf(alice.OpenID(miniAppID))
	m.operate(0, "users", "approve", id)
	for method, b := range old {
		if !b.admitted() {
			t.Errorf("approved, and shut out by %s", method)
		}
	}
	m.operate(0, "users", "disable", id)
	m.shut("disabled", old)
	for _, method := range []string{"mini_qr", "website_qr"} {
		b := m.browser()
		a := b.beginBy(method)
		switch method {
		case "mini_qr":
			page := m.openMini(alice, a)
			m.request(page, miniAppID, "confirm", map[string]string{"ticket": m.ticket(page), "number": a.Number})
			if got := a.session(); got.Status != http.StatusForbidden || got.json(t)["reason"] != "disabled" || len(got.Header["Set-Cookie"]) > 0 {
				t.Errorf("disabled, by %s: %d %s", method, got.Status, got.Body)
			}
		case "website_qr":
			if got := b.back(m.agree(alice, a)); got.Status != http.StatusForbidden {
				t.Errorf("disabled, by %s: %d", method, got.Status)
			}
		}
		m.shut("disabled, signing in anew", map[string]*browser{method: b})
	}
	inside := m.inside(alice)
	if v := m.follow(inside, inside.beginBy("in_wechat").Redirect, "allow"); v.Status != http.StatusForbidden {
		t.Errorf("disabled, in WeChat: %d", v.Status)
	}
	m.shut("disabled, in WeChat anew", map[string]*browser{"in_wechat": inside})
	if n := len(m.upstream.requests()); n != 3 {
		t.Errorf("%d requests reached the upstream, want the 3 of the approved person", n)
	}
}

// shut fails the test where the site opens to one of the browsers, to whatever kind of
// request.
func (m *methods) shut(when string, all map[string]*browser) {
	m.t.Helper()
	for method, b := range all {
		for _, r := range []struct{ method, path string }{{"GET", "/"}, {"HEAD", "/"}, {"POST", "/api"}, {"GET", "/_wechat/me"}, {"OPTIONS", "/api"}} {
			if got := b.do(r.method, r.path, nil); got.Status != http.StatusForbidden && got.Status != http.StatusUnauthorized {
				m.t.Errorf("%s, by %s, %s %s: %d", when, method, r.method, r.path, got.Status)
			}
		}
		if _, _, resp := m.dialWebSocket(b); resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusUnauthorized { //nolint:bodyclose // dialWebSocket does
			m.t.Errorf("%s, by %s, WebSocket: %d", when, method, resp.StatusCode)
		}
	}
}

// byWeChatPending is byWeChat for somebody who may not enter yet.
func (m *methods) byWeChatPending(phone *wechattest.Phone) *browser {
	m.t.Helper()
	b := m.inside(phone)
	if v := m.follow(b, b.beginBy("in_wechat").Redirect, "allow"); v.Status != http.StatusForbidden {
		m.t.Fatalf("in WeChat: %d %s", v.Status, v.Body)
	}
	return b
}

// TestNewSignInMessage: a person is told in the chat of a browser that was signed in,
// and signs it out from there by one tap. With notify off nobody is told.
func TestNewSignInMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{wechat: "limit attempts off"})
	alice := w.wechat.Phone("alice")
	b := w.signIn("alice")
	poll(t, "the message", func() bool { return strings.Contains(lastReply(t, alice), "有新的登录") })
	links := alice.Links(appID)
	if len(links) != 1 || !strings.HasPrefix(links[0], w.origin()+"/_wechat/confirm/") {
		t.Fatalf("the message links to %q", links)
	}
	if page := w.openLink(alice, links[0]); !strings.Contains(page.Body, `value="revoke"`) || !b.signedIn() {
		t.Errorf("the link leads to %s", page.Body)
	}
	if got := w.choose(alice, links[0], "revoke"); got.Status != http.StatusOK || b.signedIn() {
		t.Errorf("revoking: %d", got.Status)
	}
	if n := w.account.Calls(wechattest.EndpointMessage); n != 1 {
		t.Errorf("%d messages", n)
	}
	w.noSecrets(w.output.String())
	w.reloadWith("secret {env.WECHAT_SECRET}", "secret {env.WECHAT_SECRET}\nnotify off")
	w.signIn("alice")
	w.reloadWith("notify off", "")
	w.signIn("bob")
	poll(t, "the message to bob", func() bool { return strings.Contains(lastReply(t, w.wechat.Phone("bob")), "有新的登录") })
	if n := w.account.Calls(wechattest.EndpointMessage); n != 2 {
		t.Errorf("%d messages, want that of the first sign-in and of bob's", n)
	}
}

// TestUnfollow: who unfollows the account is signed out, or forgotten, as the site
// wants, at once and with what is open through the gate.
func TestUnfollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{wechat: "limit attempts off", users: "registration open\nunfollow revoke"})
	w.upstream.longLived()
	alice, other := w.wechat.Phone("alice"), w.signIn("bob")
	b := w.signIn("alice")
	id := b.userID()
	open := w.connect(b)
	if err := alice.Unfollow(t.Context(), appID); err != nil {
		t.Fatal(err)
	}
	inForce(t, "the connections close", open.over)
	if b.signedIn() || !other.signedIn() {
		t.Errorf("alice is signed in: %v, bob: %v", b.signedIn(), other.signedIn())
	}
	again := w.signIn("alice")
	if again.userID() != id {
		t.Error("she has come back as somebody else")
	}
	w.reloadWith("unfollow revoke", "unfollow delete")
	bob := other.userID()
	if err := w.wechat.Phone("bob").Unfollow(t.Context(), appID); err != nil {
		t.Fatal(err)
	}
	if other.signedIn() || !again.signedIn() {
		t.Errorf("bob, who is deleted, is signed in: %v; alice: %v", other.signedIn(), again.signedIn())
	}
	if w.signIn("bob").userID() == bob {
		t.Error("the deleted user is back")
	}
	for _, how := range []string{"revoke", "delete"} {
		if !strings.Contains(w.output.String(), `"action":"unfollow","result":"ok"`) || !strings.Contains(w.output.String(), `"after":"`+how+`"`) {
			t.Errorf("the audit log has no unfollow with %s", how)
		}
	}
}
