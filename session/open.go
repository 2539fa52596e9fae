// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// openConns are the requests in progress. The zero value is ready to use. Every request
// waits for its lock, so none of what is done under it is more than is asked for.
type openConns struct {
	mu sync.Mutex
	// first begins the list of those of one session, and of one user, by the id.
	first [2]map[string]*Tracked
}

// The lists in which each request is.
const (
	ofSession = iota
	ofUser
)

// Tracked is one request in progress, in the list of its session's and in that of its
// user's. Nearly every request makes one: it costs one allocation.
type Tracked struct {
	among          *openConns
	ids            [2]string
	end            func()
	expires        time.Time
	asOf           time.Time // see Track
	previous, next [2]*Tracked
}

// Release ends the tracking.
func (c *Tracked) Release() { c.among.remove(c) }

// Judged takes note that the request was judged again, by a later state of the user.
func (c *Tracked) Judged(asOf time.Time) {
	c.among.mu.Lock()
	defer c.among.mu.Unlock()
	c.asOf = asOf
}

func (o *openConns) add(s *Session, asOf time.Time, end func()) *Tracked {
	c := &Tracked{among: o, ids: [2]string{ofSession: s.ID, ofUser: s.UserID}, end: end, expires: s.ExpiresAt, asOf: asOf}
	o.mu.Lock()
	defer o.mu.Unlock()
	for list, id := range c.ids {
		if o.first[list] == nil {
			o.first[list] = make(map[string]*Tracked)
		}
		if c.next[list] = o.first[list][id]; c.next[list] != nil {
			c.next[list].previous[list] = c
		}
		o.first[list][id] = c
	}
	return c
}

func (o *openConns) remove(c *Tracked) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for list, id := range c.ids {
		previous, next := c.previous[list], c.next[list]
		if next != nil {
			next.previous[list] = previous
		}
		switch {
		case previous != nil:
			previous.next[list] = next
		case next != nil:
			o.first[list][id] = next
		default:
			delete(o.first[list], id)
		}
	}
}

// sessions returns the ids of the sessions with requests in progress.
func (o *openConns) sessions() []string { return o.keys(ofSession) }

// users returns whose requests are in progress.
func (o *openConns) users() []string { return o.keys(ofUser) }

func (o *openConns) keys(list int) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.first[list]))
}

// end ends the connections of one session. They stay listed until they are released.
func (o *openConns) end(id string) { o.endList(ofSession, id) }

// endUser ends the connections of one user.
func (o *openConns) endUser(id string) { o.endList(ofUser, id) }

func (o *openConns) endList(list int, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := o.first[list][id]; c != nil; c = c.next[list] {
		c.end()
	}
}

// endOutdated ends the connections of one user that were judged by another state of his,
// once for each: what goes on all the same has looked at the user again.
func (o *openConns) endOutdated(id string, asOf time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := o.first[ofUser][id]; c != nil; c = c.next[ofUser] {
		if !c.asOf.Equal(asOf) {
			c.asOf = asOf
			c.end()
		}
	}
}

// endExpired ends the connections of the sessions that are over.
func (o *openConns) endExpired(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.first[ofSession] {
		if now.Before(c.expires) {
			continue
		}
		for ; c != nil; c = c.next[ofSession] {
			c.end()
		}
	}
}
