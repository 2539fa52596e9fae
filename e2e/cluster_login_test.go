// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// TestClusterLoginAcrossNodes: a load balancer sends each request of one login to
// another node. The page and the attempt come from the first; WeChat's push reaches
// the second; the phone opens the link at the third, at the first it is answered;
// the browser waits at the third, polls at the second and consumes at the second.
// Nobody notices.
func TestClusterLoginAcrossNodes(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name string
		mode wechattest.Mode
	}{{"plaintext", wechattest.Plain}, {"compatible", wechattest.Compatible}, {"secure", wechattest.Secure}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, fleetOptions{mode: mode.mode})
			phone := f.wechat.Phone("alice")
			b := f.browser(0)
			if page := b.get("/after?x=1"); page.Status != http.StatusUnauthorized || !strings.Contains(page.Body, "<html") {
				t.Fatalf("without a session: %d", page.Status)
			}
			a := b.begin()
			s := f.viaNode(a, 2).stream()
			s.expect("pending")
			f.pushesTo.Store(1)
			link := f.nodes[0].scan(phone, a)
			s.expect("scanned")
			f.phonesTo.Store(2)
			if page := f.nodes[0].openLink(phone, link); page.Status != http.StatusOK || !slices.Contains(offered(page.Body), a.Number) {
				t.Fatalf("the page behind the link: %d %s", page.Status, page.Body)
			}
			f.phonesTo.Store(0)
			if got := f.nodes[0].choose(phone, link, a.Number); got.Status != http.StatusOK {
				t.Fatalf("confirming: %d %s", got.Status, got.Body)
			}
			s.expect("confirmed")
			if got := f.viaNode(a, 1).state(); got != "confirmed" {
				t.Fatalf("another node says %s", got)
			}
			if got := f.viaNode(a, 1).session(); got.Status != http.StatusOK || got.json(t)["redirect"] != "/after?x=1" {
				t.Fatalf("POST session: %d %s", got.Status, got.Body)
			}
			s.expect("consumed")
			s.expectEnd()
			for i := range f.nodes {
				if got := f.via(b, i).get("/after?x=1"); got.Status != http.StatusOK {
					t.Errorf("node %d: with a session: %d", i, got.Status)
				}
				if got := f.upstream.last(t).Header.Get("X-User-Openid"); got != phone.OpenID(appID) {
					t.Errorf("node %d: X-User-Openid is %q, want %q", i, got, phone.OpenID(appID))
				}
				if got := f.viaNode(a, i).session(); got.Status != http.StatusGone {
					t.Errorf("node %d: consuming again: %d %s", i, got.Status, got.Body)
				}
			}
		})
	}
}

// TestClusterQ3ParallelConsumes: a browser asks 200 times at once, at three nodes,
// for the session of its confirmed attempt. It gets one (Q3). All of these want to
// write to one user's record; those that wait a second for that in vain are told to
// try again, and would then be told that it is too late.
func TestClusterQ3ParallelConsumes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{})
	a := f.browser(0).begin()
	phone := f.wechat.Phone("alice")
	link := f.nodes[0].scan(phone, a)
	f.nodes[0].choose(phone, link, a.Number)
	answers := make([]answer, 200)
	var all sync.WaitGroup
	for n := range answers {
		mine := f.viaNode(a, n%fleetSize)
		all.Go(func() { answers[n] = mine.session() })
	}
	all.Wait()
	sessions, late := 0, 0
	for _, got := range answers {
		switch {
		case got.Status == http.StatusOK && strings.Contains(got.Header.Get("Set-Cookie"), "wechat_session="):
			sessions++
		case got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") != "" && got.Header.Get("Set-Cookie") == "":
			late++
		case got.Status != http.StatusGone || got.Header.Get("Set-Cookie") != "":
			t.Errorf("POST session: %d %s, Set-Cookie %q", got.Status, got.Body, got.Header["Set-Cookie"])
		}
	}
	if sessions != 1 || late > len(answers)/2 {
		t.Errorf("%d sessions, want 1; %d answers are late", sessions, late)
	}
	if got := a.session(); got.Status != http.StatusGone {
		t.Errorf("consuming again: %d %s", got.Status, got.Body)
	}
	if !a.browser.signedIn() {
		t.Error("the browser is not signed in")
	}
	if list := f.redis.Do(t, "KEYS", "wechat:session:*"); strings.Contains(list, "\n") || list == "" {
		t.Errorf("the sessions in the store are %q, want one", list)
	}
}

// TestClusterQ9PushTwiceAtOnce: WeChat delivers one event twice, at the same
// moment, at two nodes, twenty times over. Both get the same reply, there is one
// link, and the attempt moves on once (Q9).
func TestClusterQ9PushTwiceAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{wechat: "limit attempts off"})
	phone := f.wechat.Phone("alice")
	for range 20 {
		a := f.browser(0).begin()
		s := f.viaNode(a, 2).stream()
		s.expect("pending")
		scene, ticket, err := f.wechat.Scene(a.QR.URL)
		if err != nil {
			t.Fatal(err)
		}
		body := event(phone.OpenID(appID), "SCAN", scene, ticket)
		replies := make([]string, 2)
		var both sync.WaitGroup
		for i := range replies {
			both.Go(func() {
				w := f.nodes[i]
				status, raw, err := f.wechat.Send(t.Context(), "http://"+w.addr+"/_wechat/push/"+appID, f.wechat.SignedPush(appID, body))
				if err != nil || status != http.StatusOK {
					t.Errorf("node %d: %d (%v)", i, status, err)
				}
				replies[i] = content(string(raw))
			})
		}
		both.Wait()
		s.expect("scanned")
		if a.state() != "scanned" {
			t.Errorf("the attempt is %s", a.State)
		}
		if replies[0] != replies[1] || !strings.Contains(replies[0], "/_wechat/confirm/") {
			t.Errorf("the replies are %q", replies)
		}
	}
}

// TestClusterSigningKeysMadeOnce: all nodes start at once on an empty Redis, and
// all are asked for a session at once. There is one set of keys: a cookie that one
// has issued is good at all.
func TestClusterSigningKeysMadeOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{})
	browsers := make([]*browser, fleetSize)
	f.each(func(i int, w *world) {
		b := f.browser(i)
		a := b.begin()
		phone := f.wechat.Phone(nodeUser(i))
		w.choose(phone, w.scan(phone, a), a.Number)
		a.consume()
		browsers[i] = b
	})
	for from, b := range browsers {
		for at := range f.nodes {
			if !f.via(b, at).signedIn() {
				t.Errorf("a cookie of node %d is refused at node %d", from, at)
			}
		}
	}
}
