// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestG6ConcurrentLogins: a thousand people sign in at the same time: all codes are on
// the screens before the first is scanned, all are scanned before the first is
// confirmed, and so on. Each person has a role that a rule gives and a name, and each
// browser is, in every later request, the person who has scanned its code, and nobody
// else (G6).
func TestG6ConcurrentLogins(t *testing.T) {
	const people = 1000
	w := newWorld(t, options{
		users: "registration open\nask_name\nrole nobody openid oNobody", account: "confirm number\nnotify off",
		wechat: "limit attempts off\nlimit confirms off",
	})
	role := func(i int) string { return fmt.Sprintf("role-%03d", i) }
	phone := func(i int) string { return fmt.Sprintf("person-%03d", i) }
	var rules strings.Builder
	for i := range people {
		fmt.Fprintf(&rules, "role %s openid %s\n", role(i), w.wechat.Phone(phone(i)).OpenID(appID))
	}
	w.reloadWith("role nobody openid oNobody\n", rules.String())
	attempts, links := make([]*attempt, people), make([]string, people)
	atOnce(people, func(i int) { attempts[i] = w.browser().begin() })
	atOnce(people, func(i int) { links[i] = w.scan(w.wechat.Phone(phone(i)), attempts[i]) })
	atOnce(people, func(i int) {
		if got := w.choose(w.wechat.Phone(phone(i)), links[i], attempts[i].Number); got.Status != http.StatusOK {
			t.Errorf("confirming: %d %s", got.Status, got.Body)
		}
	})
	atOnce(people, func(i int) { attempts[i].consume() })
	atOnce(people, func(i int) {
		name := url.Values{"name": {"名字 " + phone(i)}}
		if got := attempts[i].browser.do(http.MethodPost, "/_wechat/name", name); got.Status != http.StatusSeeOther {
			t.Errorf("POST name: %d %s", got.Status, got.Body)
		}
	})
	const rounds = 3
	for round := range rounds {
		atOnce(people, func(i int) {
			if got := attempts[i].browser.do(http.MethodGet, fmt.Sprintf("/%d/%d", round, i), nil); got.Status != http.StatusOK {
				t.Errorf("%s: %d %s", phone(i), got.Status, got.Body)
			}
		})
	}
	ids := make(map[string]int)
	all := w.upstream.requests()
	for _, r := range all {
		var round, i int
		if _, err := fmt.Sscanf(r.URI, "/%d/%d", &round, &i); err != nil {
			t.Fatalf("%s: %v", r.URI, err)
		}
		for field, want := range map[string]string{
			"Openid": w.wechat.Phone(phone(i)).OpenID(appID), "Roles": role(i), "Name": url.PathEscape("名字 " + phone(i)),
		} {
			if got := r.Header["X-User-"+field]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: X-User-%s is %q, want %q", phone(i), field, got, want)
			}
		}
		id := r.Header.Get("X-User-Id")
		if other, known := ids[id]; id == "" || known && other != i {
			t.Errorf("%s is user %q, and so is %s", phone(i), id, phone(other))
		}
		ids[id] = i
	}
	if len(all) != rounds*people || len(ids) != people {
		t.Errorf("%d requests of %d users reached the site", len(all), len(ids))
	}
	w.noPanic()
}

// atOnce calls fn for each of n, a hundred at a time: beyond, what is measured is how
// long a request may wait on a small machine.
func atOnce(n int, fn func(i int)) {
	var all sync.WaitGroup
	var next atomic.Int64
	for range 100 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
		})
	}
	all.Wait()
}
