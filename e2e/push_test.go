// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// pushURL is where WeChat delivers the messages of an account.
func (w *world) pushURL(appID string) string { return w.origin() + "/_wechat/push/" + appID }

// event is the body of a push.
func event(openID, name, key, ticket string) []byte {
	return wechattest.Message{
		ToUserName: "gh_0123456789ab", FromUserName: openID, CreateTime: time.Now().Unix(), MsgType: "event",
		Event: name, EventKey: key, Ticket: ticket,
	}.XML()
}

// push delivers a body as WeChat does, but for the options.
func (w *world) push(body []byte, opts ...wechattest.PushOption) (status int, answer string) {
	w.t.Helper()
	status, raw, err := w.wechat.Send(w.t.Context(), w.pushURL(appID), w.wechat.SignedPush(appID, body, opts...))
	if err != nil {
		w.t.Fatal(err)
	}
	return status, string(raw)
}

// TestQ8ForgedPushes: the attacker has a code on his screen, knows its scene, and
// sends the push that would say that the victim has scanned it. Without the token
// and the key there is no way to say it so that it counts.
func TestQ8ForgedPushes(t *testing.T) {
	t.Parallel()
	// Not by the second: this test may have to wait for its turn.
	old, future := wechattest.WithTimestamp(time.Now().Add(-6*time.Minute)), wechattest.WithTimestamp(time.Now().Add(time.Hour))
	for _, mode := range []struct {
		name        string
		mode, other wechattest.Mode
	}{{"plaintext", wechattest.Plain, wechattest.Secure}, {"compatible", wechattest.Compatible, wechattest.Plain}, {"secure", wechattest.Secure, wechattest.Plain}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{mode: mode.mode, account: "confirm off"})
			a := w.browser().begin()
			scene, ticket, err := w.wechat.Scene(a.QR.URL)
			if err != nil {
				t.Fatal(err)
			}
			victim := event(w.wechat.Phone("victim").OpenID(appID), "SCAN", scene, ticket)
			for name, opts := range map[string][]wechattest.PushOption{
				"no signature":             {wechattest.WithoutSignature()},
				"bad signature":            {wechattest.WithBadSignature()},
				"other token":              {wechattest.WithToken("othertoken123456")},
				"stale":                    {old},
				"from the future":          {future},
				"stale, bad signature":     {old, wechattest.WithBadSignature()},
				"other mode":               {wechattest.WithMode(mode.other)},
				"other mode, no signature": {wechattest.WithMode(mode.other), wechattest.WithoutSignature()},
				"other mode, bad":          {wechattest.WithMode(mode.other), wechattest.WithBadSignature()},
				"other mode, stale":        {wechattest.WithMode(mode.other), old},
			} {
				if status, body := w.push(victim, opts...); status < 400 || status > 499 || body != "" {
					t.Errorf("%s: answered %d %q, want 4xx and nothing", name, status, body)
				}
			}
			if mode.mode != wechattest.Plain {
				for name, opt := range map[string]wechattest.PushOption{
					"other app id": wechattest.WithAppID("wx0000000000000000"), "bad padding": wechattest.WithBadPadding(), "no blocks": wechattest.WithBadCiphertext(),
				} {
					if status, body := w.push(victim, opt); status < 400 || status > 499 || body != "" {
						t.Errorf("%s: answered %d %q, want 4xx and nothing", name, status, body)
					}
				}
			}
			raw := w.wechat.SignedPush(appID, victim)
			if status, _, err := w.wechat.Send(t.Context(), w.pushURL("wx0000000000000000"), raw); err != nil || status != http.StatusNotFound {
				t.Errorf("to an account that is not configured: %d (%v)", status, err)
			}
			if got := a.state(); got != "pending" {
				t.Fatalf("after all of these the attempt is %s", got)
			}
			w.checkNonce(a, victim, "confirmed")
		})
	}
}

// checkNonce: an attacker on the way, where the push is not encrypted, keeps the
// signature of a true push and puts a body of his own under it. The true push of that
// body then leads to the state after.
func (w *world) checkNonce(a *attempt, body []byte, after string) {
	w.t.Helper()
	harmless := w.wechat.SignedPush(appID, event("oSomebody", "unsubscribe", "", ""))
	if status, _, err := w.wechat.Send(w.t.Context(), w.pushURL(appID), harmless); err != nil || status != http.StatusOK {
		w.t.Fatalf("a true push: %d (%v)", status, err)
	}
	forged := w.wechat.SignedPush(appID, body)
	forged.Query = harmless.Query
	if status, _, err := w.wechat.Send(w.t.Context(), w.pushURL(appID), forged); err != nil || status < 400 || status > 499 {
		w.t.Errorf("another body under the same signature: %d (%v)", status, err)
	}
	if got := a.state(); got != "pending" {
		w.t.Errorf("the attempt is %s", got)
	}
	if status, _ := w.push(body); status != http.StatusOK || a.state() != after {
		w.t.Errorf("the true push: %d, the attempt is %s", status, a.State)
	}
}

// TestQ8CompatibleModeBelievesTheCipherOnly: in compatible mode each push has the
// fields in the clear beside the encrypted ones, and only these are signed. The
// attacker changes the clear ones.
func TestQ8CompatibleModeBelievesTheCipherOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{mode: wechattest.Compatible, account: "confirm off"})
	mallory, victim := w.wechat.Phone("mallory").OpenID(appID), w.wechat.Phone("victim").OpenID(appID)
	a := w.browser().begin()
	scene, ticket, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	raw := w.wechat.SignedPush(appID, event(mallory, "SCAN", scene, ticket))
	forged := strings.ReplaceAll(string(raw.Body), mallory, victim)
	if forged == string(raw.Body) {
		t.Fatal("the push has no clear fields to change")
	}
	raw.Body = []byte(forged)
	if status, _, err := w.wechat.Send(t.Context(), w.pushURL(appID), raw); err != nil || status != http.StatusOK {
		t.Fatalf("%d (%v)", status, err)
	}
	a.consume()
	a.browser.get("/")
	if got := w.upstream.last(t).Header.Get("X-User-Openid"); got != mallory {
		t.Errorf("signed in as %q, want %q", got, mallory)
	}
}

// TestQ9Replays: WeChat delivers an event three times, out of order and late; an
// attacker replays it, too. Everyone gets the answer that there was the first
// time, and nothing happens a second time.
func TestQ9Replays(t *testing.T) {
	t.Parallel()
	for _, mode := range []wechattest.Mode{wechattest.Plain, wechattest.Secure} {
		t.Run(fmt.Sprint("mode", mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{mode: mode})
			phone := w.wechat.Phone("alice")
			a := w.browser().begin()
			link := w.scan(phone, a)
			log := w.wechat.Log()
			raw := log[len(log)-1].Push
			replay := func(when string) {
				t.Helper()
				status, body, err := w.wechat.Send(t.Context(), w.pushURL(appID), raw)
				if err != nil || status != http.StatusOK {
					t.Errorf("%s: %d (%v)", when, status, err)
				}
				if mode == wechattest.Plain && string(body) != string(log[len(log)-1].Body) {
					t.Errorf("%s: another answer: %s", when, body)
				}
			}
			replay("at once")
			if got := a.state(); got != "scanned" {
				t.Errorf("after the replay: %s", got)
			}
			w.choose(phone, link, a.Number)
			replay("after confirming")
			if got := a.state(); got != "confirmed" {
				t.Errorf("after the replay: %s", got)
			}
			a.consume()
			replay("after the session")
			if got := a.session(); got.Status != http.StatusGone || !a.browser.signedIn() {
				t.Errorf("after the replay: %d %s", got.Status, got.Body)
			}
			a.browser.do(http.MethodPost, "/_wechat/logout", url.Values{})
			replay("after the logout")
			if a.session().Status != http.StatusGone || a.browser.signedIn() {
				t.Error("the replay brings the session back")
			}
		})
	}
}

// TestQ9Redelivered: the answer to a scan got lost on its way, so WeChat delivers
// the event again, with a new signature. The person gets the same link.
func TestQ9Redelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{mode: wechattest.Plain})
	a := w.browser().begin()
	scene, ticket, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	body := event(w.wechat.Phone("alice").OpenID(appID), "SCAN", scene, ticket)
	_, first := w.push(body)
	for range 2 {
		if _, again := w.push(body); again == "" || content(again) != content(first) {
			t.Errorf("first %q, then %q", content(first), content(again))
		}
	}
	if got := a.state(); got != "scanned" {
		t.Errorf("the attempt is %s", got)
	}
}

// content is the text of a reply that is not encrypted.
func content(reply string) string {
	_, text, _ := strings.Cut(reply, "<Content>")
	text, _, _ = strings.Cut(text, "</Content>")
	return text
}

// TestQ16WaysToFollow: a subscribe event comes from a scan, from a search, from a
// payment. The first signs in, the others are answered politely and change nothing.
func TestQ16WaysToFollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	a := w.browser().begin()
	scene, ticket, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{
		"search": "", "payment": "last_trade_no_4200001234", "a scene without its prefix": scene,
		"a payment named like the scene": "last_trade_no_" + scene, "prefix twice": "qrscene_qrscene_" + scene, "case": "QRSCENE_" + scene,
	} {
		status, body := w.push(event("oNewcomer"+strings.ReplaceAll(name, " ", ""), "subscribe", key, ""))
		if status != http.StatusOK || strings.Contains(body, "/confirm/") {
			t.Errorf("%s: %d %q", name, status, body)
		}
		if got := a.state(); got != "pending" {
			t.Fatalf("%s: the attempt is %s", name, got)
		}
	}
	for name, body := range map[string][]byte{
		"unsubscribe": event("oLeaver", "unsubscribe", "", ""), "click": event("oClicker", "CLICK", scene, ""), "view": event("oViewer", "VIEW", "https://x/", ""),
		"text": wechattest.Message{ToUserName: "gh_0123456789ab", FromUserName: "oTalker", CreateTime: time.Now().Unix(), MsgType: "text", Content: scene, MsgID: "1"}.XML(),
	} {
		if status, answer := w.push(body); status != http.StatusOK || strings.Contains(answer, "/confirm/") || a.state() != "pending" {
			t.Errorf("%s: %d %q, the attempt is %s", name, status, answer, a.State)
		}
	}
	searcher := w.wechat.Phone("searcher")
	if d, err := searcher.Scan(t.Context(), a.QR.URL, wechattest.FollowBySearch()); err != nil || d.Err != nil || !strings.Contains(d.Reply.Text, "欢迎") {
		t.Errorf("following by search: %+v (%v)", d, err)
	}
	if status, _ := w.push(event(w.wechat.Phone("alice").OpenID(appID), "subscribe", "qrscene_"+scene, ticket)); status != http.StatusOK || a.state() != "scanned" {
		t.Errorf("following by the code: %d, %s", status, a.State)
	}
}

// TestR1HostileBodies: bodies that are signed, as whoever learns the token could
// send them, and bodies that a stranger sends. All are refused at once.
func TestR1HostileBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{mode: wechattest.Plain, account: ""})
	b := w.browser()
	const fields = "<FromUserName>oEvil</FromUserName><CreateTime>1</CreateTime><MsgType>event</MsgType><Event>SCAN</Event>"
	for name, body := range map[string]string{
		"DTD":      `<!DOCTYPE xml [<!ENTITY a "b">]><xml>` + fields + `<EventKey>&a;</EventKey></xml>`,
		"external": `<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml>` + fields + `<EventKey>&a;</EventKey></xml>`,
		"entity":   "<xml>" + fields + "<EventKey>&lol;</EventKey></xml>",
		"depth":    "<xml>" + strings.Repeat("<a>", 100_000) + strings.Repeat("</a>", 100_000) + fields + "</xml>",
		"size":     "<xml>" + fields + "<EventKey>" + strings.Repeat("x", 2<<20) + "</EventKey></xml>",
		"NUL":      "<xml>" + fields + "<\x00/></xml>",
		"UTF-16":   "\xff\xfe<\x00x\x00m\x00l\x00>\x00",
		"no XML":   "hello",
		"empty":    "",
		"JSON":     strings.Repeat("[", 500_000),
		"twice":    "<xml>" + fields + "<FromUserName>oOther</FromUserName></xml>",
	} {
		begun := time.Now()
		if status, _ := w.push([]byte(body)); status < 400 || status > 499 {
			t.Errorf("%s: answered %d", name, status)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("%s: answered after %v", name, took)
		}
	}
	for name, body := range map[string]string{
		"depth": strings.Repeat(`[`, 4000), "objects": strings.Repeat(`{"method":`, 400), "size": `{"method":"` + strings.Repeat("x", 1<<20) + `"}`,
		"type": `{"method":["official_qr"]}`, "garbage": "\x00\xff", "two values": `{"method":"official_qr"}{}`,
	} {
		got := b.do(http.MethodPost, "/_wechat/attempts", nil, func(r *http.Request) {
			r.Body, r.ContentLength = http.NoBody, -1
			withBody(r, body)
		})
		if got.Status != http.StatusBadRequest {
			t.Errorf("attempts, %s: %d %s", name, got.Status, got.Body)
		}
	}
	// The largest headers that Caddy passes on by default, and larger ones.
	for size, want := range map[int]int{12_000: http.StatusUnauthorized, 2_000_000: http.StatusRequestHeaderFieldsTooLarge} {
		for _, part := range []string{"wechat_session=x; wechat_browser=y; ", "wechat_session=a.b.c;", "A", ".", "wechat_session=;;=", "%"} {
			cookie := "wechat_session=" + strings.Repeat(part, size/len(part))
			if got := b.do(http.MethodGet, "/", nil, header("Cookie", cookie)); got.Status != want {
				t.Errorf("%d bytes of %q as cookies: %d, want %d", size, part, got.Status, want)
			}
		}
	}
	if len(w.upstream.requests()) > 0 {
		t.Error("something of this reached the upstream")
	}
}

func withBody(r *http.Request, body string) {
	r.Body = struct {
		*strings.Reader
		nopCloser
	}{strings.NewReader(body), nopCloser{}}
	r.ContentLength = int64(len(body))
}

type nopCloser struct{}

// Close implements io.Closer.
func (nopCloser) Close() error { return nil }

// TestR1SlowBodies: a client announces a body and sends it one byte in an hour.
// Every endpoint that reads a body gives up on it, a push in less than two seconds.
func TestR1SlowBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{mode: wechattest.Secure})
	signed := w.wechat.SignedPush(appID, event("oAlice", "SCAN", "x", ""))
	for path, limit := range map[string]time.Duration{
		"/_wechat/push/" + appID + "?" + signed.Query.Encode(): 2500 * time.Millisecond,
		"/_wechat/attempts":        12 * time.Second,
		"/_wechat/logout":          12 * time.Second,
		"/_wechat/confirm/UNKNOWN": 12 * time.Second,
	} {
		t.Run(strings.SplitN(path, "/", 4)[2], func(t *testing.T) {
			t.Parallel()
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			begun := time.Now()
			_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nx", path, w.addr, w.origin())
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			line, err := bufio.NewReader(conn).ReadString('\n')
			if took := time.Since(begun); err != nil || took > limit {
				t.Errorf("answered %q (%v) after %v, want at most %v", line, err, took, limit)
			}
		})
	}
}
