// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-wechat/caddy-wechat/login"
)

const (
	// maxWait bounds, in seconds, how long a poll is held.
	maxWait = 30
	// heartbeat keeps an event stream from being taken for dead.
	heartbeat = 15 * time.Second
	// reconnect is after how many milliseconds, and up to as many more, a browser
	// whose stream was cut comes back; and after how many an attempt that could
	// not be read is read again. Many streams are cut at once.
	reconnect = 1000
)

// waitOf is how long the browser asks for its answer to be held.
func waitOf(r *http.Request) time.Duration {
	seconds, err := strconv.Atoi(r.URL.Query().Get("wait"))
	if err != nil {
		return 0
	}
	return time.Duration(min(max(seconds, 0), maxWait)) * time.Second
}

// streamAttempt is GET attempts/{id}/events: the state as server-sent events.
func (p *Portal) streamAttempt(w http.ResponseWriter, r *http.Request) {
	changed, stop := p.Login.Watch(r.PathValue("id"))
	defer stop()
	a, err := p.attempt(r)
	if err != nil {
		p.attemptUnknown(w, r, err)
		return
	}
	s := newEventStream(w)
	if r.Method == http.MethodHead || s.send(stateOf(a)) != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	over := time.NewTimer(a.ExpiresAt.Sub(p.Now()))
	defer over.Stop()
	for !a.State.Final() {
		select {
		case <-r.Context().Done():
			return
		case <-p.closed:
			return
		case <-beat.C:
			if s.comment() != nil {
				return
			}
		case <-changed:
		case <-over.C:
		}
		next, err := p.attempt(patient(r))
		if errors.Is(err, login.ErrNotFound) {
			return // the browser comes back and is told why
		}
		if err != nil {
			over.Reset(aWhile())
			continue
		}
		over.Reset(max(next.ExpiresAt.Sub(p.Now()), time.Millisecond))
		if next.State == a.State {
			continue
		}
		if a = next; s.send(stateOf(a)) != nil {
			return
		}
	}
}

// aWhile is a pause that is another for each stream.
func aWhile() time.Duration {
	more, _ := rand.Int(rand.Reader, big.NewInt(reconnect)) // never fails since Go 1.24
	return time.Duration(reconnect+more.Int64()) * time.Millisecond
}

// eventStream writes server-sent events.
type eventStream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func newEventStream(w http.ResponseWriter) *eventStream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx in front must not hold events back
	h.Set("X-Content-Type-Options", "nosniff")
	return &eventStream{w: w, rc: http.NewResponseController(w)}
}

// send sends the event `state`.
func (s *eventStream) send(state any) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return s.write(fmt.Sprintf("retry: %d\nevent: state\ndata: %s\n\n", aWhile().Milliseconds(), data))
}

func (s *eventStream) comment() error { return s.write(":\n\n") }

func (s *eventStream) write(text string) error {
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	if err := s.rc.Flush(); err != nil {
		return err
	}
	// The server arms a deadline before each write, and over HTTP/2 it cuts the
	// stream when that passes, even if nothing was being written.
	return s.rc.SetWriteDeadline(time.Time{})
}
