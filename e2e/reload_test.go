// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// soon is what a reload or an exit may take. It is far less than the grace period
// that the tests below set, which a stream that nobody ends would use up.
const soon = 15 * time.Second

// patient makes Caddy wait for open requests for longer than any test does.
func patient(caddyfile string) string {
	return strings.Replace(caddyfile, "grace_period 2s", "grace_period 10m", 1)
}

// TestReloadInMidLogin: the operator reloads the configuration while one visitor
// looks at the code, one has scanned, and one is about to get a session. None of
// them notices, over HTTP/1.1 and HTTP/2: event streams end as a server ends them,
// browsers come back, and the attempts go on under the new configuration.
func TestReloadInMidLogin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options options
	}{{"HTTP/1.1", options{}}, {"HTTP/2", overTLS}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.options)
			w.caddyfile = patient(w.caddyfile)
			if err := w.reload(); err != nil {
				t.Fatal(err)
			}
			member := w.signIn("member")
			tokens := len(w.account.AccessTokens())
			phones := []string{"pending", "scanned", "confirmed"}
			attempts, streams, links := make([]*attempt, 3), make([]*stream, 3), make([]string, 3)
			for i, state := range phones {
				attempts[i] = w.browser().begin()
				if state != "pending" {
					links[i] = w.scan(w.wechat.Phone(state), attempts[i])
				}
				if state == "confirmed" {
					w.choose(w.wechat.Phone(state), links[i], attempts[i].Number)
				}
				streams[i] = attempts[i].stream()
				streams[i].expect(state)
			}
			poll := make(chan answer, 1)
			go func() {
				poll <- attempts[0].browser.do(http.MethodGet, "/_wechat/attempts/"+attempts[0].ID+"?wait=30", nil)
			}()
			w.caddyfile = strings.Replace(w.caddyfile, "wechat_auth", "wechat_auth {\n title \"the new title\"\n}", 1)
			begun := time.Now()
			if err := w.reload(); err != nil {
				t.Fatal(err)
			}
			for _, s := range streams {
				s.expectEnd()
			}
			select {
			case got := <-poll:
				if got.json(t)["state"] != "pending" {
					t.Errorf("the poll is answered %d %s", got.Status, got.Body)
				}
			case <-time.After(soon):
				t.Error("the poll is held after the reload")
			}
			if took := time.Since(begun); took > soon {
				t.Errorf("the reload took %v", took)
			}
			for i, state := range phones {
				s := attempts[i].stream()
				s.expect(state)
				phone := w.wechat.Phone(state)
				if state == "pending" {
					links[i] = w.scan(phone, attempts[i])
					s.expect("scanned")
				}
				if page := w.openLink(phone, links[i]); !strings.Contains(page.Body, "the new title") {
					t.Errorf("%s: the page is not the new configuration's: %s", state, page.Body)
				}
				if state != "confirmed" {
					w.choose(phone, links[i], attempts[i].Number)
					s.expect("confirmed")
				}
				attempts[i].consume()
				s.expect("consumed")
				s.expectEnd()
			}
			if !member.signedIn() {
				t.Error("the reload ends a session")
			}
			if got := len(w.account.AccessTokens()); got != tokens {
				t.Errorf("the reload costs access tokens: %d, there were %d", got, tokens)
			}
		})
	}
}

// TestExitWithOpenStreams: waiting browsers do not keep Caddy from ending.
func TestExitWithOpenStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.caddyfile = patient(w.caddyfile)
	if err := w.reload(); err != nil {
		t.Fatal(err)
	}
	streams := make([]*stream, 5)
	for i := range streams {
		streams[i] = w.browser().begin().stream()
		streams[i].expect("pending")
	}
	begun := time.Now()
	w.stop()
	if took := time.Since(begun); took > soon {
		t.Errorf("the exit took %v", took)
	}
	for _, s := range streams {
		s.expectEnd()
	}
}

// TestRejectedReload: a reload that fails, because the configuration is wrong or
// only at its start because a port is taken, leaves all as it was: the open event
// stream, the attempts, the sessions, the counters, the policy.
func TestRejectedReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	good := w.caddyfile
	member := w.signIn("member")
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	phone := w.wechat.Phone("alice")
	a := w.browser().begin()
	s := a.stream()
	s.expect("pending")
	before := w.metrics()
	for _, tt := range []struct{ name, caddyfile, want string }{
		{"unknown subdirective", strings.Replace(good, "wechat_auth", "wechat_auth {\n nonsense\n}", 1), "nonsense"},
		{"no registration", strings.Replace(good, "registration open", "", 1), "registration"},
		{"empty secret", strings.Replace(good, "{env.WECHAT_SECRET}", "{env.NO_SUCH_VARIABLE}", 1), "NO_SUCH_VARIABLE"},
		{"unusable AES key", strings.Replace(good, "token {env.WECHAT_TOKEN}", "token {env.WECHAT_TOKEN}\n aes_key short", 1), ""},
		{"port taken, everybody shut out", strings.Replace(good, "registration open", "registration closed", 1) + fmt.Sprintf("http://%s {\n respond hi\n}\n", taken.Addr()), "address already in use"},
		{"store unusable", strings.Replace(good, w.dir+"/state", "/dev/null/state", 1), "/dev/null/state"},
	} {
		if tt.caddyfile == good {
			t.Fatalf("%s: the configuration is not another", tt.name)
		}
		w.caddyfile = tt.caddyfile
		if err := w.reload(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: the reload says %v, want something with %q", tt.name, err, tt.want)
		} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error holds a secret: %v", tt.name, err)
		}
		if !member.signedIn() {
			t.Fatalf("%s: the member is signed out", tt.name)
		}
		if got := a.state(); got != "pending" {
			t.Fatalf("%s: the attempt is %s", tt.name, got)
		}
	}
	if after := w.metrics(); after != before {
		t.Errorf("the counters were\n%s\nand are\n%s", before, after)
	}
	link := w.scan(phone, a)
	s.expect("scanned")
	w.choose(phone, link, a.Number)
	s.expect("confirmed")
	a.consume()
	s.expect("consumed")
	s.expectEnd()
}

// metrics returns the gateway's lines of the admin endpoint's metrics.
func (w *world) metrics() string {
	w.t.Helper()
	var lines []string
	for line := range strings.SplitSeq(w.allMetrics(), "\n") {
		if strings.HasPrefix(line, "caddy_wechat_") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func (w *world) allMetrics() string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+w.admin+"/metrics", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatal(resp.StatusCode, err)
	}
	return string(text)
}

// TestMetricsAcrossReloads: counters go on counting where they were.
func TestMetricsAcrossReloads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	expect := func(when string, logins int) {
		t.Helper()
		for _, line := range []string{
			`caddy_wechat_attempts_total{account="` + appID + `",result="begun"} `, `caddy_wechat_attempts_total{account="` + appID + `",result="confirmed"} `,
			`caddy_wechat_attempts_total{account="` + appID + `",result="signed_in"} `, `caddy_wechat_pushes_total{account="` + appID + `",result="handled"} `,
			`caddy_wechat_sessions_total{account="` + appID + `",result="signed_out"} `,
		} {
			if got := w.metrics(); !strings.Contains(got, line+fmt.Sprint(logins)) {
				t.Errorf("%s: %s%d is not in\n%s", when, line, logins, got)
			}
		}
	}
	login := func() { w.signIn("alice").do(http.MethodPost, "/_wechat/logout", url.Values{}) }
	login()
	expect("before", 1)
	for i := range 2 {
		if err := w.reload(); err != nil {
			t.Fatal(err)
		}
		expect("after a reload", i+1)
		login()
		expect("after another login", i+2)
	}
}
