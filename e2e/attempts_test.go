// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEventStream follows an attempt as the page does, over HTTP/1.1 and HTTP/2,

// with access logs on: those put a writer in between that cannot flush by itself.

func TestEventStream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, proto string
		options     options
	}{{"HTTP/1.1", "HTTP/1.1", options{}}, {"HTTP/2", "HTTP/2.0", overTLS}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.options)
			phone := w.wechat.Phone("alice")
			a := w.browser().begin()
			s := a.stream()
			if s.Proto != tt.proto || s.Header.Get("Content-Type") != "text/event-stream" || s.Header.Get("Cache-Control") != "no-store" ||
				s.Header.Get("X-Accel-Buffering") != "no" {
				t.Errorf("%s with the headers %v", s.Proto, s.Header)
			}
			s.expect("pending")
			link := w.scan(phone, a)
			s.expect("scanned")
			if got := w.choose(phone, link, a.Number); got.Status != http.StatusOK {
				t.Fatalf("confirming: %d %s", got.Status, got.Body)
			}
			s.expect("confirmed")
			a.consume()
			s.expect("consumed")
			s.expectEnd()
			again := a.stream()
			again.expect("consumed")
			again.expectEnd()
			if !a.browser.signedIn() {
				t.Error("the browser is not signed in")
			}
		})
	}
}

// TestLongPoll waits for each state by requests that are held, as the page does

// where a proxy does not let event streams through.

func TestLongPoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	var link string
	for _, tt := range []struct {
		known, next string
		act         func()
	}{
		{"pending", "scanned", func() { link = w.scan(phone, a) }},
		{"scanned", "confirmed", func() { w.choose(phone, link, a.Number) }},
		{"confirmed", "consumed", func() { a.consume() }},
	} {
		got := make(chan answer, 1)
		go func() { got <- a.browser.do(http.MethodGet, "/_wechat/attempts/"+a.ID+"?wait=25&state="+tt.known, nil) }()
		tt.act()
		select {
		case got := <-got:
			if state := got.json(t)["state"]; state != tt.next {
				t.Fatalf("after %s: %v", tt.known, state)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the poll is held although the attempt is %s", tt.next)
		}
	}
	if got := a.browser.do(http.MethodGet, "/_wechat/attempts/"+a.ID+"?wait=25", nil); got.json(t)["state"] != "consumed" {
		t.Errorf("a final state: %s", got.Body)
	}
}

// TestExpired waits for the end of a code. The stream says that it has expired,

// after that nothing brings the attempt back, and who scans late is told so.

func TestExpired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "qr_ttl 30s"})
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	scene, ticket, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := a.stream()
	s.expect("pending")
	for comments := 0; ; {
		e, open := <-s.events // the server's own timer ends this
		if !open {
			t.Fatalf("the stream ends: %v", s.err)
		}
		if e.comment {
			comments++
			continue
		}
		if e.State != "expired" || comments == 0 {
			t.Fatalf("after %d comments: %s", comments, e.State)
		}
		break
	}
	s.expectEnd()
	if got := a.session(); got.Status != http.StatusGone || got.json(t)["error"] != "expired" {
		t.Errorf("POST session: %d %s", got.Status, got.Body)
	}
	// The scan happened in time, the push comes late.
	status, body := w.push(event(phone.OpenID(appID), "SCAN", scene, ticket))
	if status != http.StatusOK || !strings.Contains(body, "过期") {
		t.Errorf("the late push is answered %d %q", status, body)
	}
	if got := a.state(); got != "expired" {
		t.Errorf("after the late push: %s", got)
	}
}

// TestQ1ConsentPhishing: the attacker shows his own code to a victim, who scans it

// in good faith. What the victim then sees names the attacker's browser, address

// and time; and only the number that stands on the attacker's screen, which the

// victim cannot see, would sign that browser in. One wrong number ends it.

func TestQ1ConsentPhishing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{gate: "wechat_auth {\n title \"我的网站\"\n}"})
	victim := w.wechat.Phone("victim")
	for _, choice := range []string{"wrong number", "cancel", "no answer"} {
		b := w.browser()
		a := b.begin()
		link := w.scan(victim, a)
		for where, text := range map[string]string{"chat": lastReply(t, victim), "page": w.openLink(victim, link).Body} {
			for _, part := range []string{"我的网站", "127.0.0.1", a.Expires.Add(-5 * time.Minute).In(time.FixedZone("", 8*3600)).Format("15:04")} {
				if !strings.Contains(text, part) {
					t.Errorf("the %s does not name %q:\n%s", where, part, text)
				}
			}
		}
		if page := w.openLink(victim, link); len(offered(page.Body)) != 3 || !slices.Contains(offered(page.Body), a.Number) || !strings.Contains(page.Body, `value="cancel"`) {
			t.Errorf("the page offers %v", offered(page.Body))
		}
		want, status := "denied", http.StatusOK
		answer := choice
		switch choice {
		case "wrong number":
			answer = w.wrongNumber(victim, link, a)
		case "cancel":
			want = "cancelled"
		default:
			want, status = "scanned", http.StatusBadRequest
		}
		if got := w.choose(victim, link, answer); got.Status != status {
			t.Errorf("%s: %d", choice, got.Status)
		}
		if want != "scanned" { // the right number comes too late
			if got := w.choose(victim, link, a.Number); got.Status != http.StatusConflict {
				t.Errorf("%s, then the right number: %d", choice, got.Status)
			}
		}
		if got := a.state(); got != want {
			t.Errorf("%s: %s, want %s", choice, got, want)
		}
		if got := a.session(); got.Status == http.StatusOK || b.signedIn() {
			t.Errorf("%s: the attacker is signed in: %d %s", choice, got.Status, got.Body)
		}
	}
}

// TestQ1ThatWasNotMe: whoever has confirmed in error, or scanned where the

// operator has turned confirming off, ends the session by the link in the chat.

func TestQ1ThatWasNotMe(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"tap", "off"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{account: "confirm " + mode})
			victim := w.wechat.Phone("victim")
			a := w.browser().begin()
			link := w.scan(victim, a)
			if mode == "tap" {
				if a.state() != "scanned" || a.Number != "" {
					t.Fatalf("after the scan: %+v", a)
				}
				if got := w.choose(victim, link, "yes"); got.Status != http.StatusOK {
					t.Fatalf("confirming: %d", got.Status)
				}
			}
			if got := a.state(); got != "confirmed" {
				t.Fatalf("after confirming: %s", got)
			}
			a.consume()
			if !a.browser.signedIn() {
				t.Fatal("not signed in")
			}
			if page := w.openLink(victim, link); !strings.Contains(page.Body, `value="revoke"`) {
				t.Errorf("the page offers no way out: %s", page.Body)
			}
			if got := w.choose(victim, link, "revoke"); got.Status != http.StatusOK {
				t.Fatalf("revoking: %d", got.Status)
			}
			if a.browser.signedIn() {
				t.Error("the browser is still signed in")
			}
		})
	}
}

// TestQ1SecondScannerChangesNothing: two people scan one code. The second is told

// so, gets no link, and neither takes the attempt over nor spoils it.

func TestQ1SecondScannerChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	first, second := w.wechat.Phone("first"), w.wechat.Phone("second")
	a := w.browser().begin()
	link := w.scan(first, a)
	if got := w.scan(second, a); got != "" || !strings.Contains(lastReply(t, second), "其他人") {
		t.Fatalf("the second scanner gets the link %q and %q", got, lastReply(t, second))
	}
	if again := w.scan(first, a); again != link {
		t.Errorf("who scans twice gets %q, then %q", link, again)
	}
	w.choose(first, link, a.Number)
	if got := w.scan(second, a); got != "" {
		t.Errorf("once it is confirmed the second scanner gets the link %q", got)
	}
	a.consume()
	a.browser.get("/")
	if got := w.upstream.last(t).Header.Get("X-User-Openid"); got != first.OpenID(appID) {
		t.Errorf("signed in as %q, want the first scanner", got)
	}
}

// TestQ2OtherBrowsersSeeNothing: someone looks over the visitor's shoulder and

// knows the QR code, its scene and its ticket, and the attempt's id. With these,

// from another browser, with another cookie or none, the attempt does not exist:

// the answer is the very one that an invented id gets.

// TestQ3DoubleConsume: two hundred requests of one browser consume one attempt at

// the same moment. One gets a session, all others are told that it is gone.

// TestQ3LinkTwice: the confirm link is opened and answered twice, also after the

// session began. The second answer changes nothing.

func TestQ3LinkTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	link := w.scan(phone, a)
	w.choose(phone, link, a.Number)
	for _, choice := range []string{a.Number, "00", "yes", ""} {
		if got := w.choose(phone, link, choice); got.Status != http.StatusConflict {
			t.Errorf("%q again: %d", choice, got.Status)
		}
	}
	a.consume()
	for _, choice := range []string{a.Number, "00", "cancel"} {
		if got := w.choose(phone, link, choice); got.Status != http.StatusConflict {
			t.Errorf("%q after the session: %d", choice, got.Status)
		}
	}
	if !a.browser.signedIn() {
		t.Error("the late answers end the session")
	}
}

// TestQ4Guessing: ids, scenes and tokens that a stranger makes up hit nothing,

// and who guesses links is slowed down.

// TestQ5ClientChoosesNothing: the browser sends an id, a scene, a state, a number

// and a person of its own. All that it gets is the server's.

// TestQ6IdentityFromParameters: the attacker signs in as himself and names the

// victim wherever a request has room for it. He stays himself.

// TestQ7AnswersNameNobody: nothing that the browser is told of its attempt says

// who scanned, and nothing that would let it confirm by itself.

// TestQ11LoginCSRF: the attacker has a confirmed attempt and makes the victim's

// browser consume it, which would sign the victim in as the attacker. The attempt

// is bound to the attacker's own browser; and a planted cookie without the form of

// ours is not adopted.

// TestQ12NothingToLeak: no address that a browser or phone is left on after a

// step holds anything of value, and none is told to other sites.

// TestQ13Frames: another site cannot show any answer of the gateway in a frame,

// and what is reflected into one is text and runs nothing.
