// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestClusterG4Operators: an operator disables people, deletes them, or takes the role
// that the site wants, at one node, by the admin API or the command. What each had open
// through another node is closed within a second, and every node refuses the cookie by
// then. Who keeps the role may connect again at once, with the new roles (G4).
func TestClusterG4Operators(t *testing.T) {
	f := newFleet(t, fleetOptions{account: "confirm tap", gate: "require role member"})
	forget(t, f.upstream.longLived())
	lastRoles := f.upstream.watchRoles()
	stays := f.nodes[1].connect(f.via(f.member("bob"), 1))
	api := func(method string, change any) func(id string) {
		return func(id string) {
			if got := f.nodes[0].adminAPI(method, "users/"+id, change); got.Status >= http.StatusBadRequest {
				t.Errorf("the admin API: %d %s", got.Status, got.Body)
			}
		}
	}
	command := func(args ...string) func(id string) {
		return func(id string) { f.nodes[0].operate(0, append(args, id)...) }
	}
	for _, tt := range []struct {
		name   string
		act    func(id string)
		status int // of a request with the cookie afterwards
	}{
		{"disable", api(http.MethodPatch, map[string]string{"status": "disabled"}), http.StatusUnauthorized},
		{"disable by command", command("users", "disable"), http.StatusUnauthorized},
		{"delete", api(http.MethodDelete, nil), http.StatusUnauthorized},
		{"delete by command", command("users", "delete", "--yes"), http.StatusUnauthorized},
		{"end the sessions by command", command("sessions", "revoke", "--user"), http.StatusUnauthorized},
		{"take the role", api(http.MethodPatch, map[string][]string{"roles": {"editor"}}), http.StatusForbidden},
		{"take the role by command", command("users", "roles", "--remove", "member"), http.StatusForbidden},
		{"one more role", api(http.MethodPatch, map[string][]string{"roles": {"editor", "member"}}), http.StatusOK},
		{"one more role by command", command("users", "roles", "--add", "editor"), http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := f.member(tt.name)
			h, c := f.keep(b), f.nodes[1].connect(f.via(b, 1))
			id := b.userID()
			begun := time.Now()
			done := make(chan struct{})
			go func() { defer close(done); tt.act(id) }()
			if strings.HasSuffix(tt.name, "command") {
				<-done // a process has to start first
				begun = time.Now()
			}
			var all sync.WaitGroup
			all.Go(func() { c.closed(f, begun) })
			if tt.status != http.StatusOK {
				all.Go(func() { h.answered(tt.status, begun) })
			}
			all.Wait()
			<-done
			if tt.status == http.StatusOK {
				h.expect(http.StatusOK)
				again := f.nodes[1].connect(f.via(b, 1))
				poll(t, "the new roles at the site", func() bool { h.at(1); return lastRoles() == "editor,member" })
				f.inTime("the site hears of the new roles", begun)
				again.expectAlive()
			} else if _, _, resp := f.nodes[1].dialWebSocket(f.via(b, 1)); resp.StatusCode != tt.status { //nolint:bodyclose // dialWebSocket does
				t.Errorf("connecting again: %d", resp.StatusCode)
			}
			stays.expectAlive()
		})
	}
	f.each(func(_ int, w *world) { w.noPanic() })
}

// TestClusterG4RoleTakenUnheard: an operator takes the role that the site wants, and one
// node does not hear of it. It finds out within a second: the cookie is refused, and
// what the person had open there is closed (G4). What another has open stays, though he
// got his role a moment before.
func TestClusterG4RoleTakenUnheard(t *testing.T) {
	for _, tt := range cuts() {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, fleetOptions{account: "confirm tap", gate: "require role member"})
			forget(t, f.upstream.longLived())
			stays := f.nodes[1].connect(f.via(f.member("bob"), 1))
			for i := range 3 {
				b := f.member(fmt.Sprintf("alice %d", i))
				h, c := f.keep(b), f.nodes[1].connect(f.via(b, 1))
				h.expect(http.StatusOK)
				id := b.userID()
				if got := f.redis.Do(t, tt.cut...); got == "0" {
					t.Fatalf("%v has no effect", tt.cut)
				}
				begun := time.Now()
				if got := f.nodes[0].adminAPI(http.MethodPatch, "users/"+id, map[string][]string{"roles": {"editor"}}); got.Status != http.StatusOK {
					t.Fatalf("taking the role: %d %s", got.Status, got.Body)
				}
				var both sync.WaitGroup
				both.Go(func() { c.closed(f, begun) })
				h.answered(http.StatusForbidden, begun)
				both.Wait()
				f.redis.Do(t, tt.mend...)
				f.heardAt(1)
				stays.expectAlive()
			}
		})
	}
}

// forget takes what a channel brings until the end of the test, so that whoever sends
// need not wait.
func forget[T any](t *testing.T, c <-chan T) {
	go func() {
		for {
			select {
			case <-c:
			case <-t.Context().Done():
				return
			}
		}
	}()
}

// member signs somebody in at the first node whom an operator at the last one gives the
// role that the site wants, and waits until all nodes let the browser in.
func (f *fleet) member(person string) *browser {
	f.t.Helper()
	b := f.signInTap(0, person)
	h := f.keep(b)
	h.expect(http.StatusForbidden)
	last := f.nodes[len(f.nodes)-1]
	id := last.idOf(f.wechat.Phone(person).OpenID(appID))
	begun := time.Now()
	if got := last.adminAPI(http.MethodPatch, "users/"+id, map[string][]string{"roles": {"member"}}); got.Status != http.StatusOK {
		f.t.Fatalf("giving the role: %d %s", got.Status, got.Body)
	}
	h.answered(http.StatusOK, begun)
	return b
}

// answered waits until every node answers the holder so, and fails the test where one
// does so late.
func (h holder) answered(status int, begun time.Time) {
	h.f.t.Helper()
	var all sync.WaitGroup
	for i := range h.f.nodes {
		all.Go(func() {
			what := fmt.Sprintf("the answer %d of node %d", status, i)
			poll(h.f.t, what, func() bool { return h.at(i).Status == status })
			h.f.inTime(what, begun)
		})
	}
	all.Wait()
}
