// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// maxWaiting is how many event streams one session may have: a browser has no more
// tabs that wait.
const maxWaiting = 8

// queues counts the streams of each session. The zero value is ready to use.
type queues struct {
	mu        sync.Mutex
	bySession map[string]int
}

// enter counts one more stream, until leave, and says whether there may be one.
func (q *queues) enter(session string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bySession == nil {
		q.bySession = make(map[string]int)
	}
	if q.bySession[session] >= maxWaiting {
		return false
	}
	q.bySession[session]++
	return true
}

func (q *queues) leave(session string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bySession[session]--; q.bySession[session] == 0 {
		delete(q.bySession, session)
	}
}

// admissionState is why the browser's user may not enter; empty once he may.
type admissionState struct {
	Admission user.Admission `json:"admission"`
}

// streamAdmission is GET admission/events: whether the user may enter, as server-sent
// events, at once and at each change, until he may or the session ends.
func (p *Portal) streamAdmission(w http.ResponseWriter, r *http.Request) {
	who, err := p.identify(r.Context(), credentialsOf(r))
	switch {
	case errors.Is(err, session.ErrInvalid):
		writeError(w, http.StatusUnauthorized, "login_required", "nobody is signed in")
		return
	case err != nil:
		p.unavailable(w, r, err)
		return
	case !p.queues.enter(who.Session.ID):
		setRetryAfter(w, time.Minute)
		writeError(w, http.StatusTooManyRequests, "too_many_streams", "this session has too many event streams open: close some")
		return
	}
	defer p.queues.leave(who.Session.ID)
	s := newEventStream(w)
	if r.Method == http.MethodHead {
		return
	}
	p.followAdmission(r, s, who)
}

// followAdmission writes the stream. The watch comes before the first look, so that
// no change is missed between the two.
func (p *Portal) followAdmission(r *http.Request, s *eventStream, who *Principal) {
	changed, stop := p.Users.Watch(who.User.ID)
	defer stop()
	ended := make(chan struct{}, 1) // also has a value when the user's access changes
	tracked := p.Sessions.Track(who.Session, who.User.AccessAt, func() {
		select {
		case ended <- struct{}{}:
		default:
		}
	})
	defer tracked.Release()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	known := user.Admission("unknown")
	for {
		now, over, err := p.admissionNow(r, who)
		if err == nil && now != known {
			if known = now; s.send(admissionState{now}) != nil {
				return
			}
		}
		if over {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-p.closed:
			return
		case <-beat.C: // to look again costs nothing, and keeps the session in use
			if s.comment() != nil {
				return
			}
		case <-changed:
		case <-ended:
		}
	}
}

// admissionNow looks at the session and its user again, and says whether there is
// nothing more to wait for. Whoever is disabled loses the session, and is told why.
func (p *Portal) admissionNow(r *http.Request, who *Principal) (now user.Admission, over bool, err error) {
	ctx := store.WithPatience(r.Context(), storePatience)
	current, err := p.identify(ctx, credentialsOf(r))
	switch {
	case err == nil:
		now = p.admission(current)
		return now, now == user.Admitted, nil
	case !errors.Is(err, session.ErrInvalid):
		return "", false, err // nothing is known against it
	}
	return p.whyEnded(ctx, who)
}

func (p *Portal) whyEnded(ctx context.Context, who *Principal) (now user.Admission, over bool, err error) {
	m, err := p.Users.Get(ctx, who.User.ID)
	if err == nil && m.Admission != user.IsDisabled {
		err = session.ErrInvalid
	}
	return user.IsDisabled, true, err
}
