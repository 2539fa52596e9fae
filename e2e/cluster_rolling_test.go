// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// balancer starts a Caddy at the fleet's door that spreads requests over the nodes. Phones and WeChat then come in through it, too.
func (f *fleet) balancer() *world {
	f.t.Helper()
	w := &world{t: f.t, dir: f.t.TempDir(), addr: f.door, admin: freeAddr(f.t), output: newOutput()}
	w.caddyfile = fmt.Sprintf(`{
	admin %s
	default_bind 127.0.0.1
	persist_config off
	storage file_system %s
	log {
		output stderr
		format json
	}
}
http://%s {
	reverse_proxy %s {
		lb_policy round_robin
		lb_try_duration 5s
		lb_try_interval 50ms
		lb_retry_match {
			method GET HEAD POST PUT PATCH DELETE
		}
		request_buffers 64KiB
	}
}
`, w.admin, filepath.Join(w.dir, "caddy"), w.addr, strings.Join([]string{f.nodes[0].addr, f.nodes[1].addr, f.nodes[2].addr}, " "))
	w.start()
	f.roads = append(f.roads, f.road(f.door))
	f.pushesTo.Store(fleetSize)
	f.phonesTo.Store(fleetSize)
	return w
}

// doorBrowser is a new browser that comes in through the balancer.
func (f *fleet) doorBrowser() *browser {
	f.t.Helper()
	b := f.nodes[0].browser()
	b.origin = "http://" + f.door
	return b
}

// TestClusterRollingRestart: behind a load balancer, the nodes are restarted one
// after the other, and then each loads its configuration anew, three times.
// Meanwhile members use the site and visitors sign in, all through the balancer. No
// request fails, every sign-in that is begun comes to its end, the one that was
// begun before it all included, and nobody is signed out.
//
// What this needs of the balancer are its retries, for all methods: when an HTTP/1
// server of Go's shuts down, it drops a request that it has just read, unserved.
func TestClusterRollingRestart(t *testing.T) {
	f := newFleet(t, fleetOptions{
		wechat: "limit attempts off\nlimit confirms off\nlimit pushes off",
		global: "grace_period 10s\nservers {\n trusted_proxies static 127.0.0.1/8\n}",
	})
	f.upstream.answerSlowly()
	balancer := f.balancer()
	early := f.doorBrowser().begin()
	l := &load{f: f}
	for i := range 3 {
		l.member(fmt.Sprint("member ", i))
	}
	for i := range 2 {
		l.visitor(fmt.Sprint("visitor ", i))
	}
	l.watch(early)
	for i, w := range f.nodes {
		begun := time.Now()
		w.stop()
		stopped := time.Since(begun)
		w.start()
		f.healthy(i)
		t.Logf("node %d: stopped in %v, back after %v", i, stopped.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	}
	for range 3 {
		for _, w := range f.nodes {
			if err := w.reload(); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.nodes[0].signInEarly(f, early)
	l.end()
	if t.Failed() {
		for _, w := range append(f.nodes, balancer) {
			t.Log(w.addr, w.logged())
		}
	}
	t.Logf("%d requests, %d sign-ins, %d event streams, %d late", l.requests.Load(), l.signIns.Load(), l.streams.Load(), l.late.Load())
	if l.late.Load() > 3 {
		t.Errorf("%d requests were to be repeated later", l.late.Load())
	}
	if l.requests.Load() < 100 || l.signIns.Load() < 5 {
		t.Error("there was too little load for this to mean anything")
	}
}

// answerSlowly makes the app take its time for /slow, so that there are always
// requests under way.
func (u *upstream) answerSlowly() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handle = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-time.After(300 * time.Millisecond)
		}
		_, _ = w.Write([]byte("hello " + r.Header.Get("X-User-Id")))
	}
}

// signInEarly completes an attempt that is watched elsewhere.
func (w *world) signInEarly(f *fleet, a *attempt) {
	w.t.Helper()
	phone := f.wechat.Phone("early bird")
	if got := w.choose(phone, w.scan(phone, a), a.Number); got.Status != http.StatusOK {
		w.t.Fatalf("confirming: %d", got.Status)
	}
}

// load is what people do at the door until it ends.
type load struct {
	f                          *fleet
	all                        sync.WaitGroup
	over                       atomic.Bool
	requests, signIns, streams atomic.Int64
	late                       atomic.Int64
}

// ask repeats a request that is to be repeated later, as the page and people do. A
// machine that is too busy to reach Redis within a second is no fault of a restart.
func (l *load) ask(request func() answer) answer {
	for {
		got := request()
		l.requests.Add(1)
		if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			return got
		}
		l.late.Add(1)
		<-time.After(time.Second)
	}
}

func (l *load) end() {
	l.over.Store(true)
	l.all.Wait()
}

// member signs in and then uses the site, reading and writing.
func (l *load) member(name string) {
	b := l.f.doorBrowser()
	l.f.nodes[0].signInWith(b, name)
	id := b.userID()
	l.all.Go(func() {
		for n := 0; !l.over.Load(); n++ {
			method := []string{http.MethodGet, http.MethodPost}[n%2]
			path := "/"
			if n%10 == 0 {
				path = "/slow"
			}
			got := l.ask(func() answer { return b.do(method, path, nil) })
			if got.Status != http.StatusOK || got.Body != "hello "+id {
				l.f.t.Errorf("%s: %s %s: %d %s", name, method, path, got.Status, got.Body)
			}
		}
	})
}

// visitor signs in again and again, each time in a new browser.
func (l *load) visitor(name string) {
	phone := l.f.wechat.Phone(name)
	l.all.Go(func() {
		for !l.over.Load() {
			b := l.f.doorBrowser()
			a := &attempt{browser: b}
			got := l.ask(func() answer { return b.do(http.MethodPost, "/_wechat/attempts", nil) })
			if err := json.Unmarshal([]byte(got.Body), a); err != nil || got.Status != http.StatusCreated {
				l.f.t.Errorf("%s: POST attempts: %d %s", name, got.Status, got.Body)
				return
			}
			if !l.signIn(phone, a) {
				return
			}
			l.signIns.Add(1)
		}
	})
}

// signIn takes an attempt to its end, in which the browser hears of its
// confirmation by the event stream.
func (l *load) signIn(phone *wechattest.Phone, a *attempt) bool {
	confirmed := make(chan struct{})
	go func() {
		defer close(confirmed)
		l.follow(a, "confirmed")
	}()
	for _, step := range []struct {
		what string
		ask  func() answer
	}{
		{"confirming", func() answer {
			link := l.f.nodes[0].scan(phone, a)
			if link == "" { // the reply asks to scan again
				return answer{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}}
			}
			return l.f.nodes[0].choose(phone, link, a.Number)
		}},
		{"POST session", func() answer {
			await(l.f.t, confirmed, "the event of the confirmation")
			return a.session()
		}},
		{"GET /", func() answer { return a.browser.do(http.MethodGet, "/", nil) }},
	} {
		if got := l.ask(step.ask); got.Status != http.StatusOK {
			l.f.t.Errorf("%s: %d %s", step.what, got.Status, got.Body)
			return false
		}
	}
	return true
}

// watch follows an attempt to its confirmation and consumes it.
func (l *load) watch(a *attempt) {
	l.all.Go(func() {
		l.follow(a, "confirmed")
		a.consume()
		if !a.browser.signedIn() {
			l.f.t.Error("the early attempt gives no session")
		}
	})
}

// follow reads an attempt's event stream, as a browser's EventSource does: when it
// ends it is opened anew.
func (l *load) follow(a *attempt, state string) {
	for {
		s := a.stream()
		l.streams.Add(1)
		for e := range s.events {
			if e.State == state {
				go drain(s.events)
				return
			}
		}
	}
}

func drain(events <-chan sentEvent) {
	for range events { // until the stream ends
	}
}
