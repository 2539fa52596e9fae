// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// overTLS are the options of a site with a certificate of Caddy's own.
var overTLS = options{scheme: "https", global: "auto_https disable_redirects"}

// stream is an open stream of server-sent events.
type stream struct {
	t      testing.TB
	Header http.Header
	Proto  string
	events chan sentEvent // closed at the end of the stream
	err    error          // how it ended, once events is closed; nil: cleanly
}

// sentEvent is one event, or a comment.
type sentEvent struct {
	comment bool
	name    string
	attempt
}

// stream opens the event stream of an attempt.
func (a *attempt) stream() *stream {
	b := a.browser
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.origin+"/_wechat/attempts/"+a.ID+"/events", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	client := *b.client
	client.Timeout = 0
	resp, err := client.Do(req) //nolint:bodyclose // read closes it
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("GET events: %d", resp.StatusCode)
	}
	s := &stream{t: b.t, Header: resp.Header, Proto: resp.Proto, events: make(chan sentEvent, 64)}
	go s.read(resp.Body)
	return s
}

func (s *stream) read(body io.ReadCloser) {
	defer close(s.events)
	defer body.Close()
	var e sentEvent
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		switch value = strings.TrimPrefix(value, " "); field {
		case "":
			if lines.Text() == "" {
				s.events <- e
				e = sentEvent{}
			} else {
				e.comment = true
			}
		case "event":
			e.name = value
		case "data":
			if s.err = json.Unmarshal([]byte(value), &e.attempt); s.err != nil {
				return
			}
		}
	}
	s.err = lines.Err()
}

// next returns the next event that is no comment.
func (s *stream) next() sentEvent {
	s.t.Helper()
	for {
		select {
		case e, open := <-s.events:
			if !open {
				s.t.Fatalf("the event stream ends: %v", s.err)
			}
			if !e.comment {
				return e
			}
		case <-time.After(patience):
			s.t.Fatal("no event comes")
		}
	}
}

// expect fails the test unless the next events are of these states.
func (s *stream) expect(states ...string) {
	s.t.Helper()
	for _, want := range states {
		if e := s.next(); e.name != "state" || e.State != want {
			s.t.Fatalf("event %q, state %q; want %q", e.name, e.State, want)
		}
	}
}

// expectEnd fails the test unless the stream ends, in the way that a server ends
// it: a browser must be able to tell that from a broken connection.
func (s *stream) expectEnd() {
	s.t.Helper()
	select {
	case e, open := <-s.events:
		if open {
			s.t.Fatalf("after the end comes %+v", e)
		}
	case <-time.After(patience):
		s.t.Fatal("the event stream does not end")
	}
	if s.err != nil {
		s.t.Errorf("the event stream breaks off: %v", s.err)
	}
}

// signedIn says whether the site lets the browser in.
func (b *browser) signedIn() bool {
	b.t.Helper()
	switch got := b.do(http.MethodGet, "/", nil); got.Status {
	case http.StatusOK:
		return true
	case http.StatusUnauthorized:
		return false
	default:
		b.t.Fatalf("GET /: %d %s", got.Status, got.Body)
		return false
	}
}

// consume fails the test unless the attempt gives its browser a session.
func (a *attempt) consume() {
	a.browser.t.Helper()
	if got := a.session(); got.Status != http.StatusOK {
		a.browser.t.Fatalf("POST session: %d %s", got.Status, got.Body)
	}
}

// wrongNumber is one that the page offers and the browser does not show.
func (w *world) wrongNumber(phone *wechattest.Phone, link string, a *attempt) string {
	w.t.Helper()
	for _, n := range offered(w.openLink(phone, link).Body) {
		if n != a.Number {
			return n
		}
	}
	w.t.Fatal("the confirm page offers no wrong number")
	return ""
}

// offered returns the numbers on a confirm page.
func offered(page string) (numbers []string) {
	for _, part := range strings.Split(page, `value="`)[1:] {
		if n, _, _ := strings.Cut(part, `"`); len(n) == 2 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// openLink opens a link of the chat on the phone.
func (w *world) openLink(phone *wechattest.Phone, link string) answer {
	w.t.Helper()
	resp, err := phone.Browser().Get(link)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// lastReply is what the account last wrote into the chat.
func lastReply(t testing.TB, phone *wechattest.Phone) string {
	t.Helper()
	chat := phone.Chat(appID)
	if len(chat) == 0 {
		t.Fatal("the chat is empty")
	}
	return chat[len(chat)-1].Text
}
