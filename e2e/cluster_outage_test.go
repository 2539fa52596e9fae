// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
)

// slowest is what an answer may take while Redis is away: the second that a
// request waits for the store, and what the rest of it and the test may take.
const slowest = time.Second + 500*time.Millisecond

// outage is a way in which Redis fails, and how it comes back.
type outage struct {
	name        string
	begin, over func(f *fleet)
	// readable says that Redis can be read all the same.
	readable bool
}

func outages() []outage {
	lines := func(harm func(*redistest.Proxy)) func(*fleet) {
		return func(f *fleet) {
			for _, line := range f.lines {
				harm(line)
			}
		}
	}
	command := func(args ...string) func(*fleet) { return func(f *fleet) { f.redis.Do(f.t, args...) } }
	heal := lines((*redistest.Proxy).Heal)
	return []outage{
		{name: "slow", begin: lines(func(p *redistest.Proxy) { p.Slow(5 * time.Second) }), over: heal},
		{name: "network hangs", begin: lines((*redistest.Proxy).Hang), over: heal},
		{name: "network refuses", begin: lines((*redistest.Proxy).Cut), over: heal},
		{name: "server hangs", begin: func(f *fleet) { f.redis.Pause() }, over: func(f *fleet) { f.redis.Resume() }},
		{name: "crash and restart", begin: func(f *fleet) { f.redis.Kill() }, over: func(f *fleet) { f.redis.Start() }},
		{name: "READONLY", begin: command("REPLICAOF", "127.0.0.1", "1"), over: command("REPLICAOF", "NO", "ONE"), readable: true},
		{name: "OOM", begin: command("CONFIG", "SET", "maxmemory", "1"), over: command("CONFIG", "SET", "maxmemory", "0"), readable: true},
	}
}

// TestClusterG3Outages: Redis fails in each way that it can, while people use the
// site at all nodes (G3). Whom a node knows goes on as if nothing were; whom it
// does not know is told to come back, in time, and keeps his cookie. Nobody is let
// in, sent to the login page or signed out by it. When it is over everything works
// again by itself, and the log has said what there was to say, once.
func TestClusterG3Outages(t *testing.T) {
	f := newFleet(t, fleetOptions{wechat: "limit attempts off\nlimit confirms off", redis: []string{"appendonly yes", "appendfsync always"}})
	known := f.keep(f.signIn(0, "alice"))
	known.expect(http.StatusOK)
	for _, o := range outages() {
		t.Run(o.name, func(t *testing.T) {
			known := f.keep(f.signIn(0, "carol"))
			known.expect(http.StatusOK)
			stranger := f.keep(f.signIn(0, "dave "+o.name)) // node 0 has not seen him since
			o.begin(f)
			begun := time.Now()
			f.duringOutage(o, known, stranger)
			o.over(f)
			f.afterOutage(t, known, stranger)
			t.Logf("the outage took %v", time.Since(begun).Round(time.Millisecond))
		})
	}
	known.expect(http.StatusOK)
	for i, w := range f.nodes {
		f.nodes[i].noSecrets(w.output.String())
		w.noPanic()
		if strings.Contains(w.output.String(), nodePassword(i)) {
			t.Errorf("node %d: Redis's password is in the log", i)
		}
		lines := w.logged()
		t.Logf("node %d has logged %d lines:\n%s", i, len(lines), strings.Join(lines, ""))
		if len(lines) > 20*len(outages()) {
			t.Errorf("node %d has logged %d lines", i, len(lines))
		}
	}
}

// logged returns the lines that the gateway has logged as warnings and errors.
func (w *world) logged() (lines []string) {
	for line := range strings.Lines(w.output.String()) {
		var l struct{ Level, Logger string }
		if json.Unmarshal([]byte(line), &l) == nil && strings.Contains(l.Logger, "wechat") && (l.Level == "warn" || l.Level == "error") {
			lines = append(lines, line)
		}
	}
	return lines
}

// duringOutage sends requests to all nodes for three seconds. The stranger has a
// session that only its own node has ever seen.
func (f *fleet) duringOutage(o outage, known, stranger holder) {
	f.t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := make(map[string]int)
	worst := time.Duration(0)
	over := time.Now().Add(3 * time.Second)
	load := func(who string, ask func() answer, want ...int) {
		all.Go(func() {
			for n := 0; time.Now().Before(over); n++ {
				begun := time.Now()
				got := ask()
				took := time.Since(begun)
				mu.Lock()
				answers[fmt.Sprintf("%s: %d", who, got.Status)]++
				worst = max(worst, took)
				mu.Unlock()
				if took > slowest {
					f.t.Errorf("%s: %s: answered %d after %v", o.name, who, got.Status, took)
				}
				if bad := f.checkOutage(got, want); bad != "" {
					f.t.Errorf("%s: %s: %s", o.name, who, bad)
					return
				}
			}
		})
	}
	unknown := []int{http.StatusServiceUnavailable}
	if o.readable {
		unknown = []int{http.StatusOK}
	}
	for i := range f.nodes {
		load("known", func() answer { return known.at(i) }, http.StatusOK)
		load("a new visitor", func() answer {
			return f.browser(i).do(http.MethodPost, "/_wechat/attempts", nil)
		}, http.StatusServiceUnavailable)
		if i > 0 {
			load("unknown", func() answer { return stranger.at(i) }, unknown...)
		}
	}
	all.Wait()
	f.t.Logf("%s: %v, the slowest after %v", o.name, answers, worst.Round(time.Millisecond))
}

// checkOutage says what is wrong with an answer during an outage.
func (f *fleet) checkOutage(got answer, want []int) string {
	switch {
	case got.Status != want[0]:
		return fmt.Sprintf("%d %s, want %d", got.Status, got.Body, want[0])
	case got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") == "":
		return "503 without Retry-After"
	case strings.Contains(strings.Join(got.Header["Set-Cookie"], " "), "wechat_session"):
		return fmt.Sprintf("Set-Cookie: %q", got.Header["Set-Cookie"])
	}
	return ""
}

// afterOutage waits until all works again.
func (f *fleet) afterOutage(t *testing.T, known, stranger holder) {
	t.Helper()
	back := time.Now()
	for i := range f.nodes {
		f.healthy(i)
	}
	t.Logf("all nodes are healthy %v after the outage", time.Since(back).Round(time.Millisecond))
	for i := range f.nodes {
		poll(t, "the stranger's return", func() bool {
			got := stranger.at(i)
			if got.Status != http.StatusOK && got.Status != http.StatusServiceUnavailable {
				t.Fatalf("node %d: %d %s", i, got.Status, got.Body)
			}
			return got.Status == http.StatusOK
		})
		poll(t, "new attempts", func() bool {
			return f.browser(i).do(http.MethodPost, "/_wechat/attempts", nil).Status == http.StatusCreated
		})
	}
	t.Logf("all nodes serve everyone %v after the outage", time.Since(back).Round(time.Millisecond))
	known.expect(http.StatusOK)
	for i := range f.nodes {
		f.signIn(i, "erin")
	}
}

// TestClusterStartsWithoutRedis: a node is restarted while Redis is away. It comes
// up, says that it cannot tell who anybody is, and serves everyone as soon as Redis
// is back.
func TestClusterStartsWithoutRedis(t *testing.T) {
	f := newFleet(t, fleetOptions{redis: []string{"appendonly yes", "appendfsync always"}})
	known := f.keep(f.signIn(0, "alice"))
	known.expect(http.StatusOK)
	f.redis.Kill()
	f.nodes[1].stop()
	f.nodes[1].start()
	for range 10 {
		begun := time.Now()
		got := known.at(1)
		if bad := f.checkOutage(got, []int{http.StatusServiceUnavailable}); bad != "" {
			t.Error(bad)
		}
		if took := time.Since(begun); took > slowest {
			t.Errorf("an answer takes %v", took)
		}
	}
	if got := f.browser(1).do(http.MethodGet, "/_wechat/healthz", nil); got.Status != http.StatusServiceUnavailable {
		t.Errorf("healthz says %d", got.Status)
	}
	f.redis.Start()
	back := time.Now()
	poll(t, "the return", func() bool { return known.at(1).Status == http.StatusOK })
	t.Logf("let in %v after the outage", time.Since(back).Round(time.Millisecond))
	f.healthy(1)
	f.signIn(1, "bob")
	t.Logf("signed in %v after the outage", time.Since(back).Round(time.Millisecond))
}
