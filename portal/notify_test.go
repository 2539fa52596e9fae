// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// chats is a Messenger that notes what it sends.
type chats struct {
	mu   sync.Mutex
	sent map[string][]string // by openid
	err  error
	// hold, if set, keeps each message until it is closed, or the time is up.
	hold chan struct{}
	// asked is how many messages there were, and busy how many are under way.
	asked, busy int
}

// SendText implements Messenger.
func (c *chats) SendText(ctx context.Context, openID, text string) error {
	c.mu.Lock()
	c.asked++
	c.busy++
	hold, err := c.hold, c.err
	c.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", wechat.ErrUnavailable, ctx.Err())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
	if err != nil {
		return err
	}
	if c.sent == nil {
		c.sent = make(map[string][]string)
	}
	c.sent[openID] = append(c.sent[openID], text)
	return nil
}

func (c *chats) counts() (asked, busy int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.busy
}

// newChatTown is a town whose account writes to people by c, and what it logs.
func newChatTown(t testing.TB, c *chats, confirm login.Confirm) (*town, *observer.ObservedLogs) {
	t.Helper()
	o := newTown(t, new(storetest.Memory), openToAll)
	core, logs := observer.New(zapcore.DebugLevel)
	o.Log = zap.New(core)
	o.Accounts = map[string]Account{unitApp: {Messenger: c, Replies: login.Replies{}}}
	if confirm != login.ConfirmNumber {
		o.Login = login.NewService(o.store, map[string]login.Starter{
			login.StarterKey(login.OfficialQR, unitApp): &login.Official{Codes: fixedCodes{}, TTL: unitTTL, Confirm: confirm},
		}, nil)
		o.anySite = o.Login
		t.Cleanup(o.Login.Close)
	}
	return o, logs
}

// scanIn signs a person in by a QR code, and returns the attempt and the answer.
func (o *town) scanIn(openID string) (login.Attempt, *httptest.ResponseRecorder) {
	o.t.Helper()
	begun := o.send(http.MethodPost, "/_wechat/attempts", "{}", http.Header{"Origin": {unitOrigin}, "User-Agent": {"Mozilla/5.0 (X11; Linux) Firefox/140.0"}})
	var got struct{ ID string }
	if err := json.Unmarshal(begun.Body.Bytes(), &got); err != nil || begun.Code != http.StatusCreated {
		o.t.Fatalf("POST attempts: %d %s", begun.Code, begun.Body)
	}
	cookie, _, _ := strings.Cut(begun.Header().Get("Set-Cookie"), ";")
	_, secret, _ := strings.Cut(cookie, "=")
	a, err := o.Login.Get(o.t.Context(), got.ID, secret)
	if err != nil {
		o.t.Fatal(err)
	}
	who := login.Person{OpenID: openID}
	if _, err = o.Login.Scan(o.t.Context(), unitApp, a.Scene, who); err == nil && a.Confirm != login.ConfirmOff {
		choice := a.Number
		if a.Confirm == login.ConfirmTap {
			choice = login.ChoiceYes
		}
		_, _, err = o.Login.Answer(o.t.Context(), a.Token, choice, login.Person{})
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return a, o.send(http.MethodPost, "/_wechat/attempts/"+got.ID+"/session", "", http.Header{"Origin": {unitOrigin}, "Cookie": {cookie}})
}

// TestTellOfSignIn: once a browser is signed in that was confirmed on the phone, its
// person is told which, and how to end that; nobody else is.
func TestTellOfSignIn(t *testing.T) {
	for _, confirm := range []login.Confirm{login.ConfirmNumber, login.ConfirmTap, login.ConfirmOff} {
		t.Run(string(confirm), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &chats{}
				o, logs := newChatTown(t, c, confirm)
				a, w := o.scanIn("oAliceAliceAlice")
				if w.Code != http.StatusOK {
					t.Fatalf("POST session: %d %s", w.Code, w.Body)
				}
				synctest.Wait()
				if confirm == login.ConfirmOff { // the answer to the scan has said so
					if len(c.sent) != 0 {
						t.Errorf("sent %v", c.sent)
					}
					return
				}
				got := c.sent["oAliceAliceAlice"]
				if len(got) != 1 || len(c.sent) != 1 {
					t.Fatalf("sent %v", c.sent)
				}
				for _, part := range []string{"Site", "Firefox · Linux", "192.0.2.1", a.CreatedAt.In(login.Beijing).Format(time.DateTime), unitOrigin + "/_wechat/confirm/" + a.Token} {
					if !strings.Contains(got[0], part) {
						t.Errorf("%q lacks %q", got[0], part)
					}
				}
				if n := logs.FilterLevelExact(zapcore.WarnLevel).Len() + logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 0 {
					t.Errorf("logged: %v", logs.All())
				}
			})
		})
	}
}

// TestTellOfSignIn_Refused: WeChat does not pass the message on. The sign-in succeeds
// all the same. What is about one person is no matter for the operator and ends
// nothing; what is about the account is told to the operator once, with the cure, and
// WeChat is left alone for a while. No log names the person, or holds the link.
func TestTellOfSignIn_Refused(t *testing.T) {
	refusal := func(code int) error {
		return &wechat.Error{Endpoint: "cgi-bin/message/custom/send", Code: code, Message: "refused"}
	}
	for _, tt := range []struct {
		name  string
		err   error
		asked int // of 5 sign-ins at once
		logs  int // warnings and errors
		pause time.Duration
	}{
		{"out of time", refusal(45015), 5, 0, 0},
		{"too many", refusal(45047), 5, 0, 0},
		{"unfollowed", refusal(43004), 5, 0, 0},
		{"no permission", refusal(48001), 1, 1, refusedPause},
		{"quota", refusal(45009), 1, 1, 5 * time.Minute},
		{"away", wechat.ErrUnavailable, 1, 1, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &chats{err: tt.err}
				o, logs := newChatTown(t, c, login.ConfirmNumber)
				var tokens []string
				for range 5 {
					a, w := o.scanIn("oAliceAliceAlice")
					if w.Code != http.StatusOK {
						t.Fatalf("POST session: %d %s", w.Code, w.Body)
					}
					tokens = append(tokens, a.Token)
					synctest.Wait()
				}
				loud := append(logs.FilterLevelExact(zapcore.WarnLevel).All(), logs.FilterLevelExact(zapcore.ErrorLevel).All()...)
				if c.asked != tt.asked || len(loud) != tt.logs {
					t.Errorf("WeChat is asked %d times, want %d; logged %v", c.asked, tt.asked, loud)
				}
				for _, entry := range logs.All() {
					text, _ := json.Marshal(entry.ContextMap())
					for _, secret := range append(tokens, "oAliceAliceAlice") {
						if strings.Contains(string(text)+entry.Message, secret) {
							t.Errorf("the log holds %s: %s %s", secret, entry.Message, text)
						}
					}
				}
				time.Sleep(tt.pause + time.Second) //nolint:forbidigo // on the bubble's clock
				c.err = nil
				o.scanIn("oAliceAliceAlice")
				synctest.Wait()
				if len(c.sent["oAliceAliceAlice"]) != 1 {
					t.Errorf("after %v nothing is sent", tt.pause)
				}
			})
		})
	}
}

// TestTellOfSignIn_Slow: WeChat does not answer. No sign-in waits for it; what is
// under way and what waits is bounded, each for 5 s at most, and nothing goes on once
// the portal is closed.
func TestTellOfSignIn_Slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &chats{hold: make(chan struct{})}
		o, logs := newChatTown(t, c, login.ConfirmNumber)
		begun := time.Now()
		for range tellersMax {
			o.tellOfSignIn(login.Attempt{AppID: unitApp, Method: login.OfficialQR, Person: login.Person{OpenID: "oBob"}})
		}
		synctest.Wait()
		for range toTellMax + 10 {
			o.tellOfSignIn(login.Attempt{AppID: unitApp, Method: login.ChatCode, Person: login.Person{OpenID: "oBob"}})
		}
		if _, w := o.scanIn("oAlice"); w.Code != http.StatusOK || time.Since(begun) != 0 {
			t.Fatalf("POST session: %d %s, after %v", w.Code, w.Body, time.Since(begun))
		}
		if asked, busy := c.counts(); busy != tellersMax || asked != tellersMax || len(o.messages.waiting) != toTellMax {
			t.Errorf("%d at a time, %d wait; want %d and %d", busy, len(o.messages.waiting), tellersMax, toTellMax)
		}
		if n := logs.FilterMessageSnippet("too many people").Len(); n != 1 {
			t.Errorf("the operator is told %d times that not all are told", n)
		}
		time.Sleep(tellTime + time.Second) //nolint:forbidigo // on the bubble's clock
		synctest.Wait()
		if asked, busy := c.counts(); asked != tellersMax || busy != 0 {
			t.Errorf("after %v %d were asked and %d are under way; want those that timed out, and then a pause", tellTime, asked, busy)
		}
		o.scanIn("oAlice")
		o.Close()
		asked, busy := c.counts()
		if busy != 0 {
			t.Errorf("%d messages are under way after Close", busy)
		}
		o.scanIn("oBob")
		synctest.Wait()
		if now, _ := c.counts(); now != asked {
			t.Error("a message begins after Close")
		}
	})
}

// TestMessages_EndWithClose: what has never been closed leaves nothing running once
// all is told; what is closed half-way leaves nothing either.
func TestMessages_EndWithClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	m := newMessages()
	told := make(chan struct{})
	m.add(func(context.Context) { close(told) })
	<-told
	done := make(chan error, 1)
	begun := make(chan struct{})
	m.add(func(ctx context.Context) {
		close(begun)
		<-ctx.Done()
		done <- ctx.Err()
	})
	<-begun
	m.close()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a message under way ends with %v", err)
	}
}

// TestRevokeByMessage: the link in the message ends the session that it tells of, for
// as long as the message says.
func TestRevokeByMessage(t *testing.T) {
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{time.Minute, http.StatusOK}, {24*time.Hour - time.Minute, http.StatusOK}, {25 * time.Hour, http.StatusNotFound}} {
		synctest.Test(t, func(t *testing.T) {
			c := &chats{}
			o, _ := newChatTown(t, c, login.ConfirmTap)
			_, signedIn := o.scanIn("oAlice")
			synctest.Wait()
			_, link, _ := strings.Cut(c.sent["oAlice"][0], unitOrigin)
			link, _, _ = strings.Cut(link, `"`)
			cookie, _, _ := strings.Cut(signedIn.Header().Get("Set-Cookie"), ";")
			time.Sleep(tt.after) //nolint:forbidigo // on the bubble's clock
			if page := o.get("", link); page.Code != tt.want {
				t.Fatalf("after %v the link leads to %d", tt.after, page.Code)
			}
			if tt.after > time.Hour {
				return // the session of this town is over by then
			}
			if w := o.send(http.MethodPost, link, "choice=revoke", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {unitOrigin}}); w.Code != http.StatusOK {
				t.Errorf("revoking: %d %s", w.Code, w.Body)
			}
			if w := o.send(http.MethodGet, "/_wechat/me", "", http.Header{"Cookie": {cookie}}); w.Code != http.StatusUnauthorized {
				t.Errorf("the session goes on: %d", w.Code)
			}
		})
	}
}
