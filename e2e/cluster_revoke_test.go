// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// heard is how soon every node must refuse what was revoked: a second, and what
// the test itself may take.
const heard = time.Second + 250*time.Millisecond

// holder has kept the cookie of a browser and shows it to any node, whatever the
// gateway says.
type holder struct {
	f      *fleet
	cookie string
}

func (f *fleet) keep(b *browser) holder { return holder{f, b.cookieValue()} }

func (h holder) at(i int) answer {
	h.f.t.Helper()
	b := h.f.browser(i)
	b.client.Jar = nil
	return b.do(http.MethodGet, "/", nil, header("Cookie", h.cookie))
}

// expect fails the test unless all nodes answer so.
func (h holder) expect(status int) {
	h.f.t.Helper()
	for i := range h.f.nodes {
		if got := h.at(i); got.Status != status {
			h.f.t.Fatalf("node %d: %d %s, want %d", i, got.Status, got.Body, status)
		}
	}
}

// refused waits until each node refuses the holder, and fails the test where one
// does so late, or answers anything but the site and the refusal.
func (h holder) refused(begun time.Time) {
	h.f.t.Helper()
	var all sync.WaitGroup
	for i := range h.f.nodes {
		all.Go(func() {
			poll(h.f.t, fmt.Sprintf("the refusal at node %d", i), func() bool {
				got := h.at(i)
				if got.Status != http.StatusUnauthorized && got.Status != http.StatusOK {
					h.f.t.Errorf("node %d: %d %s", i, got.Status, got.Body)
				}
				return got.Status != http.StatusOK
			})
			h.f.inTime(fmt.Sprintf("node %d refuses", i), begun)
		})
	}
	all.Wait()
}

func (f *fleet) inTime(what string, begun time.Time) {
	f.t.Helper()
	took := time.Since(begun).Round(time.Millisecond)
	f.t.Logf("%s after %v", what, took)
	if took > heard {
		f.t.Errorf("%s after %v, want %v", what, took, heard)
	}
}

// closed waits until both connections are closed.
func (c connections) closed(f *fleet, begun time.Time) {
	c.t.Helper()
	if _, err := c.socket.ReadByte(); err == nil || strings.Contains(err.Error(), "timeout") {
		c.t.Errorf("the WebSocket goes on (%v)", err)
	}
	f.inTime("the WebSocket is closed", begun)
	_, _ = io.ReadAll(c.events)
	f.inTime("the event stream is closed", begun)
}

// TestClusterG4RevokedOnEveryNode: someone signs out at one node, everywhere or
// here alone, or says on the phone that it was not him. Within a second the cookie
// is refused at every node, and what it had opened through the gate of another node
// is closed; others' connections go on (G4).
func TestClusterG4RevokedOnEveryNode(t *testing.T) {
	f := newFleet(t, fleetOptions{account: "confirm tap"})
	f.upstream.longLived()
	other := f.nodes[1].connect(f.signInTap(0, "bob"))
	for _, tt := range []struct {
		name string
		end  func(b *browser, link string)
	}{
		{"logout", func(b *browser, _ string) { b.do(http.MethodPost, "/_wechat/logout", url.Values{}) }},
		{"logout everywhere", func(*browser, string) {
			f.signInTap(0, "alice").do(http.MethodPost, "/_wechat/logout", url.Values{"everywhere": {"true"}})
		}},
		{"not me", func(_ *browser, link string) { f.nodes[0].choose(f.wechat.Phone("alice"), link, "revoke") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := f.browser(0)
			link := f.nodes[0].signInTap(b, "alice")
			h, c := f.keep(b), f.nodes[1].connect(f.via(b, 1))
			h.expect(http.StatusOK)
			tt.end(b, link)
			begun := time.Now()
			var both sync.WaitGroup
			both.Go(func() { c.closed(f, begun) })
			h.refused(begun)
			both.Wait()
			other.expectAlive()
		})
	}
}

func (f *fleet) signInTap(i int, person string) *browser {
	f.t.Helper()
	b := f.browser(i)
	f.nodes[i].signInTap(b, person)
	return b
}

// cut is how the second node is kept from hearing what the others announce.
type cut struct {
	name      string
	cut, mend []string // commands of Redis
}

func cuts() []cut {
	return []cut{
		{"broken once", []string{"CLIENT", "KILL", "TYPE", "pubsub", "USER", nodeUser(1)}, []string{"PING"}},
		{"forbidden", []string{"ACL", "SETUSER", nodeUser(1), "resetchannels"}, []string{"ACL", "SETUSER", nodeUser(1), "allchannels"}},
	}
}

// TestClusterG4SubscriptionCut: the connection on which a node hears of
// revocations breaks just before one, or cannot be had again at all, while the node
// reaches Redis otherwise. It cannot know what it misses, so it asks: the cookie is
// refused within a second, and its connections are closed.
func TestClusterG4SubscriptionCut(t *testing.T) {
	for _, tt := range cuts() {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, fleetOptions{account: "confirm tap"})
			f.upstream.longLived()
			for range 3 {
				b := f.signInTap(0, "alice")
				h, c := f.keep(b), f.nodes[1].connect(f.via(b, 1))
				h.expect(http.StatusOK)
				if got := f.redis.Do(t, tt.cut...); got == "0" {
					t.Fatalf("%v has no effect", tt.cut)
				}
				b.do(http.MethodPost, "/_wechat/logout", url.Values{})
				begun := time.Now()
				var both sync.WaitGroup
				both.Go(func() { c.closed(f, begun) })
				h.refused(begun)
				both.Wait()
				f.redis.Do(t, tt.mend...)
				f.heardAt(1)
			}
		})
	}
}

// heardAt waits until node i listens to Redis.
func (f *fleet) heardAt(i int) {
	f.t.Helper()
	poll(f.t, "the subscription", func() bool {
		for line := range strings.Lines(f.redis.Do(f.t, "CLIENT", "LIST", "TYPE", "pubsub")) {
			if strings.Contains(line, "user="+nodeUser(i)) && strings.Contains(line, "sub=2") {
				return true
			}
		}
		return false
	})
}

// TestClusterG4Partitioned: a node is cut off from Redis, silently, and then a
// session is revoked elsewhere. The node lets those in whom it knows, for the grace
// and no longer; then it says that it cannot tell. Once it reaches Redis again, it
// refuses the revoked one at once, closes what that one had open, and lets all
// others in.
func TestClusterG4Partitioned(t *testing.T) {
	const grace = 3 * time.Second
	f := newFleet(t, fleetOptions{account: "confirm tap", wechat: "session {\n grace 3s\n}"})
	f.upstream.longLived()
	b := f.signInTap(0, "alice")
	h, bystander := f.keep(b), f.keep(f.signInTap(0, "bob"))
	c := f.nodes[1].connect(f.via(b, 1))
	h.expect(http.StatusOK)
	bystander.expect(http.StatusOK)
	f.lines[1].Hang()
	hung := time.Now()
	b.do(http.MethodPost, "/_wechat/logout", url.Values{})
	if got := h.at(0); got.Status != http.StatusUnauthorized {
		t.Errorf("where it was revoked: %d", got.Status)
	}
	passed := 0
	poll(t, "the end of the grace", func() bool {
		for _, who := range []holder{h, bystander} {
			begun := time.Now()
			got := who.at(1)
			took := time.Since(begun)
			if took > slowest {
				t.Errorf("an answer takes %v", took)
			}
			if got.Status == http.StatusOK {
				passed++
			} else if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || got.Header.Get("Set-Cookie") != "" {
				t.Fatalf("%d %s %v", got.Status, got.Body, got.Header)
			} else {
				return true
			}
		}
		return false
	})
	if over := time.Since(hung); passed < 2 || over < grace-time.Second || over > grace+2*time.Second {
		t.Errorf("the grace of %v is over after %v", grace, over)
	} else {
		t.Logf("%d requests pass until %v after the cut", passed, over.Round(time.Millisecond))
	}
	c.expectAlive() // nothing is known against it
	f.lines[1].Heal()
	healed := time.Now()
	poll(t, "the refusal", func() bool {
		got := h.at(1)
		if got.Status == http.StatusOK {
			t.Fatalf("the revoked session passes %v after the healing", time.Since(healed))
		}
		return got.Status == http.StatusUnauthorized
	})
	t.Logf("refused %v after the healing", time.Since(healed).Round(time.Millisecond))
	poll(t, "the bystander's return", func() bool { return bystander.at(1).Status == http.StatusOK })
	t.Logf("let in %v after the healing", time.Since(healed).Round(time.Millisecond))
	if _, err := c.socket.ReadByte(); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the WebSocket goes on (%v)", err)
	}
	t.Logf("the WebSocket is closed %v after the healing", time.Since(healed).Round(time.Millisecond))
	bystander.expect(http.StatusOK)
}
