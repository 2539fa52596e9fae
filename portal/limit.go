// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// limitedClients bounds how many clients a limit remembers; the least active
// are forgotten first, which can only be to their advantage.
const limitedClients = 65_536

// Rate is how often a client may do something: Count times in Per, in one burst
// or spread. The zero value sets no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// limiter holds one bucket for each client.
type limiter struct {
	rate    Rate
	buckets *otter.Cache[netip.Prefix, *rate.Limiter]
}

func newLimiter(r Rate) *limiter {
	if r.Count <= 0 {
		return nil
	}
	return &limiter{rate: r, buckets: otter.Must(&otter.Options[netip.Prefix, *rate.Limiter]{MaximumSize: limitedClients})}
}

// take uses up one of the client's turns. Where there is none left it returns
// how long to wait for the next.
func (l *limiter) take(client netip.Addr, now time.Time) (wait time.Duration) {
	if l == nil {
		return 0
	}
	bucket, _ := l.buckets.ComputeIfAbsent(clientPrefix(client), func() (*rate.Limiter, bool) {
		every := rate.Every(l.rate.Per / time.Duration(l.rate.Count))
		return rate.NewLimiter(every, l.rate.Count), false
	})
	turn := bucket.ReserveN(now, 1)
	if wait = turn.DelayFrom(now); wait > 0 {
		turn.CancelAt(now)
	}
	return wait
}

// spent says how long to wait where the client has no turn left, and uses up none.
func (l *limiter) spent(client netip.Addr, now time.Time) (wait time.Duration) {
	if l == nil {
		return 0
	}
	bucket, known := l.buckets.GetIfPresent(clientPrefix(client))
	if !known || bucket.TokensAt(now) >= 1 {
		return 0
	}
	return max(1, l.rate.Per/time.Duration(l.rate.Count))
}

// clientPrefix is what counts as one client: an IPv4 address, or the /64 that
// an IPv6 client can pick its addresses from.
func clientPrefix(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}
