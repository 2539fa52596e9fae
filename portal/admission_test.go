// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// waiter is a browser that waits to be let in. It notes what it is told, and when.
type waiter struct {
	header http.Header
	status int
	begun  time.Time

	mu   sync.Mutex
	told []string
	// when is the time of each told.
	when  []time.Duration
	beats int
	done  chan struct{} // closed at the end of the stream
}

func (w *waiter) Header() http.Header              { return w.header }
func (w *waiter) WriteHeader(status int)           { w.status = status }
func (w *waiter) Flush()                           {}
func (w *waiter) SetWriteDeadline(time.Time) error { return nil }

func (w *waiter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(string(b)) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			w.told, w.when = append(w.told, strings.TrimSpace(data)), append(w.when, time.Since(w.begun))
		}
		if strings.HasPrefix(line, ":") {
			w.beats++
		}
	}
	return len(b), nil
}

func (w *waiter) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.told...)
}

// wait opens the event stream of a session, in a goroutine that ends with it.
func (o *town) wait(ctx context.Context, cookie string) *waiter {
	o.t.Helper()
	w := &waiter{header: http.Header{}, begun: time.Now(), done: make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, unitOrigin+"/_wechat/admission/events", nil)
	r.Header.Set("Cookie", cookie)
	go func() {
		defer close(w.done)
		_ = o.Serve(w, r, nil)
	}()
	return w
}

func (o *town) change(id string, c user.Change) {
	o.t.Helper()
	if _, err := o.People.Change(o.t.Context(), audit.Actor{Kind: audit.Operator}, id, c); err != nil {
		o.t.Error(err)
	}
}

func status(s user.Status) user.Change { return user.Change{Status: &s} }

func roles(r ...string) user.Change { return user.Change{Roles: &r} }

// told are the events of these admissions.
func told(admissions ...user.Admission) (events []string) {
	for _, a := range admissions {
		events = append(events, `{"admission":"`+string(a)+`"}`)
	}
	return events
}

// twoTowns are two nodes over one store, on the bubble's clock. Sessions hear of
// changed access as in the real gateway, which closes what they have open.
func twoTowns(t *testing.T, policy user.Policy) (near, far *town) {
	t.Helper()
	s := new(storetest.Memory)
	near, far = newTown(t, s, policy), newTown(t, s, policy)
	for _, o := range []*town{near, far} {
		o.Users.OnAccess(o.Sessions)
	}
	return near, far
}

// TestAdmission: somebody waits at one node, an operator acts at the other. Each
// change is told at its moment, and nothing else; the stream ends when the person may
// enter, or when the session is over. Who is disabled is told so although the session
// ends by that.
func TestAdmission(t *testing.T) {
	approval := user.Policy{Registration: user.Approval}
	for _, tt := range []struct {
		name    string
		policy  user.Policy
		require []string
		acts    []func(o *town, session string)
		want    []string
		ends    bool
	}{
		{"approved", approval, nil, []func(*town, string){
			func(o *town, _ string) { o.change("alice", status(user.Active)) },
		}, told(user.AwaitingApproval, user.Admitted), true},
		{"approved, and a role is missing", approval, []string{"staff"}, []func(*town, string){
			func(o *town, _ string) { o.change("alice", status(user.Active)) },
			func(o *town, _ string) { o.change("alice", roles("guest")) },
			func(o *town, _ string) { o.change("alice", roles("guest", "staff")) },
		}, told(user.AwaitingApproval, roleMissing, user.Admitted), true},
		{"disabled", approval, nil, []func(*town, string){
			func(o *town, _ string) { o.change("alice", status(user.Disabled)) },
		}, told(user.AwaitingApproval, user.IsDisabled), true},
		{"deleted", approval, nil, []func(*town, string){
			func(o *town, _ string) { _, _ = o.People.Delete(o.t.Context(), audit.Actor{}, "alice") },
		}, nil, true},
		{"signed out elsewhere", approval, nil, []func(*town, string){
			func(o *town, id string) { _, _ = o.Sessions.Revoke(o.t.Context(), id) },
		}, told(user.AwaitingApproval), true},
		{"renamed, and seen again", approval, nil, []func(*town, string){
			func(o *town, _ string) { _ = o.Users.Rename(o.t.Context(), "alice", "Alice") },
			func(o *town, _ string) {
				_, _, _ = o.Users.SignIn(o.t.Context(), user.Identity{AppID: unitApp, OpenID: "o-alice"})
			},
		}, told(user.AwaitingApproval), false},
		{"somebody else", approval, nil, []func(*town, string){
			func(o *town, _ string) { o.change("bob", status(user.Active)) },
		}, told(user.AwaitingApproval), false},
		{"closed, let in by hand", user.Policy{Registration: user.Closed}, nil, []func(*town, string){
			func(o *town, _ string) { o.change("alice", status(user.Active)) },
		}, told(user.NotAllowed, user.Admitted), true},
		{"may enter already", user.Policy{Registration: user.Open}, nil, nil, told(user.Admitted), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := twoTowns(t, tt.policy)
				near.Require, far.Require = tt.require, tt.require
				for _, name := range []string{"alice", "bob"} {
					near.add(user.Entry{ID: name, Status: user.Pending})
				}
				id, cookie := near.signIn("alice")
				ctx, hangUp := context.WithCancel(t.Context())
				w := near.wait(ctx, cookie)
				synctest.Wait()
				for _, act := range tt.acts {
					time.Sleep(3 * time.Second) //nolint:forbidigo // on the bubble's clock
					act(far, id)
					synctest.Wait()
				}
				ended := false
				select {
				case <-w.done:
					ended = true
				default:
				}
				got := w.all()
				if tt.name == "deleted" { // disabled on the way, or gone already
					got = nil
				}
				if diff := cmp.Diff(tt.want, got); diff != "" || ended != tt.ends {
					t.Errorf("ended %v, want %v; told (-want +got):\n%s", ended, tt.ends, diff)
				}
				hangUp()
				<-w.done
				if n := len(near.queues.bySession); n != 0 {
					t.Errorf("%d sessions count as waiting", n)
				}
			})
		})
	}
}

// The answer has the headers of an event stream, and a comment every 15 s keeps it
// from being taken for dead. It ends when the gateway's configuration does, and when
// the browser leaves.
func TestAdmission_Stream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := twoTowns(t, user.Policy{Registration: user.Approval})
		o.add(user.Entry{ID: "alice", Status: user.Pending})
		_, cookie := o.signIn("alice")
		ctx, hangUp := context.WithCancel(t.Context())
		leaves, stays := o.wait(ctx, cookie), o.wait(t.Context(), cookie)
		time.Sleep(5*heartbeat + time.Second) //nolint:forbidigo // on the bubble's clock
		synctest.Wait()
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff",
		} {
			if got := stays.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if stays.beats != 5 {
			t.Errorf("%d heartbeats in 76 s", stays.beats)
		}
		hangUp()
		<-leaves.done
		synctest.Wait()
		select {
		case <-stays.done:
			t.Error("one browser leaves, and the other's stream ends")
		default:
		}
		o.Close()
		<-stays.done
	})
}

// Who waits for longer than a session may idle is still let in: the page is open.
// Once the session is over by its age, the stream ends.
func TestAdmission_KeepsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := twoTowns(t, user.Policy{Registration: user.Approval})
		o.add(user.Entry{ID: "alice", Status: user.Pending})
		_, cookie := o.signIn("alice")
		w := o.wait(t.Context(), cookie)
		time.Sleep(time.Hour - time.Minute) //nolint:forbidigo // on the bubble's clock
		if len(w.all()) != 1 {
			t.Fatalf("told %v", w.all())
		}
		select {
		case <-w.done:
			t.Fatal("the stream has ended")
		default:
		}
		<-w.done
		if took := time.Since(w.begun); took < time.Hour || took > time.Hour+2*time.Second {
			t.Errorf("the stream ends after %v, the session after an hour", took)
		}
	})
}

// Nobody without a session is told anything, and nobody but GET changes that. A
// session has no more streams than a browser has tabs.
func TestAdmission_Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := twoTowns(t, user.Policy{Registration: user.Approval})
		o.add(user.Entry{ID: "alice", Status: user.Pending})
		_, cookie := o.signIn("alice")
		const path = "/_wechat/admission/events"
		for _, forged := range []string{"", cookie + "x", o.cookies.session + "=garbage"} {
			if w := o.send(http.MethodGet, path, "", http.Header{"Cookie": {forged}}); w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "admission") {
				t.Errorf("with the cookie %q: %d %s", forged, w.Code, w.Body)
			}
		}
		if w := o.send(http.MethodPost, path, "", http.Header{"Cookie": {cookie}, "Origin": {unitOrigin}}); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", w.Code)
		}
		if w := o.send(http.MethodHead, path, "", http.Header{"Cookie": {cookie}}); w.Code != http.StatusOK || w.Body.Len() != 0 {
			t.Errorf("HEAD: %d %s", w.Code, w.Body)
		}
		ctx, hangUp := context.WithCancel(t.Context())
		var tabs []*waiter
		for range maxWaiting {
			tabs = append(tabs, o.wait(ctx, cookie))
		}
		synctest.Wait()
		if w := o.send(http.MethodGet, path, "", http.Header{"Cookie": {cookie}}); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("one stream more than %d: %d", maxWaiting, w.Code)
		}
		o.add(user.Entry{ID: "bob", Status: user.Pending})
		_, bobs := o.signIn("bob")
		w := o.wait(ctx, bobs)
		synctest.Wait()
		if len(w.all()) != 1 {
			t.Errorf("another session is told %v", w.all())
		}
		hangUp()
		for _, tab := range append(tabs, w) {
			<-tab.done
		}
		if len(o.queues.bySession) != 0 {
			t.Errorf("%v count as waiting", o.queues.bySession)
		}
	})
}

// The store goes away, and an operator approves while it does: nothing is known
// against the person meanwhile. The notice of the approval finds the store away; the
// approval is told once the store is back.
func TestAdmission_StoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := twoTowns(t, user.Policy{Registration: user.Approval})
		near.add(user.Entry{ID: "alice", Status: user.Pending})
		_, cookie := near.signIn("alice")
		w := near.wait(t.Context(), cookie)
		synctest.Wait()
		memory := near.store.Store.(*storetest.Memory) //nolint:forcetypeassert // twoTowns made it
		near.store.away.Store(true)
		memory.Tell("user", store.Notice{Kind: store.Lost})
		time.Sleep(time.Minute) //nolint:forbidigo // on the bubble's clock
		if diff := cmp.Diff(told(user.AwaitingApproval), w.all()); diff != "" {
			t.Fatalf("told (-want +got):\n%s", diff)
		}
		far.change("alice", status(user.Active))
		near.store.away.Store(false)
		memory.Tell("user", store.Notice{Kind: store.Restored})
		<-w.done
		if diff := cmp.Diff(told(user.AwaitingApproval, user.Admitted), w.all()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}
