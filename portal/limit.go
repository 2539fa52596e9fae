// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/caddy-wechat/caddy-wechat/internal/bucket"
	"github.com/caddy-wechat/caddy-wechat/login"
)

const (
	// limitedClients bounds how many clients a limit remembers; the least active
	// are forgotten first, which can only be to their advantage.
	limitedClients = 65_536
	// wider is how many clients' worth of turns one network has, and how many
	// requests are still looked at once a client's turns for wrong ones are spent.
	wider = 10
)

// Rate is how often a client may do something: Count times in Per, in one burst
// or spread. The zero value sets no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// wider is the same rate for so many more.
func (r Rate) wider() Rate { return Rate{Count: r.Count * wider, Per: r.Per} }

// limiter holds one bucket for each client, or for each network of clients. The
// nil limiter sets no limit.
type limiter struct {
	rate    Rate
	keyOf   func(netip.Addr) netip.Prefix
	buckets *otter.Cache[netip.Prefix, *bucket.Bucket]
}

// newLimiter returns a limit for each client.
func newLimiter(r Rate) *limiter { return newLimiterBy(clientPrefix, r) }

// newNetworkLimiter returns a limit for each network.
func newNetworkLimiter(r Rate) *limiter { return newLimiterBy(networkPrefix, r) }

func newLimiterBy(keyOf func(netip.Addr) netip.Prefix, r Rate) *limiter {
	if r.Count <= 0 {
		return nil
	}
	return &limiter{rate: r, keyOf: keyOf, buckets: otter.Must(&otter.Options[netip.Prefix, *bucket.Bucket]{MaximumSize: limitedClients})}
}

// take uses up one of the client's turns. Where there is none left it returns
// how long to wait for the next.
func (l *limiter) take(client netip.Addr, now time.Time) (wait time.Duration) {
	if l == nil {
		return 0
	}
	b, _ := l.buckets.ComputeIfAbsent(l.keyOf(client), func() (*bucket.Bucket, bool) { return new(bucket.Bucket), false })
	return b.Take(bucket.Rate(l.rate), 0, now)
}

// giveBack returns a turn that the client has taken and that did not count.
func (l *limiter) giveBack(client netip.Addr) {
	if l == nil {
		return
	}
	if b, known := l.buckets.GetIfPresent(l.keyOf(client)); known {
		b.GiveBack()
	}
}

// CodeLimits are those for codes: of those sent to an address, and of the wrong ones
// typed. All sites of one gateway share them, else each would add to what a client may
// do. The nil *CodeLimits sets no limit.
type CodeLimits struct{ sent, wrong wideLimiter }

// NewCodeLimits returns limits of which nobody has used a turn.
func NewCodeLimits(r Rate) *CodeLimits {
	return &CodeLimits{sent: newWideLimiter(r), wrong: newWideLimiter(r)}
}

// wideLimiter is a limit for each client and a wider one for its network.
type wideLimiter struct{ clients, networks *limiter }

func newWideLimiter(r Rate) wideLimiter {
	return wideLimiter{clients: newLimiter(r), networks: newNetworkLimiter(r.wider())}
}

// take uses up a turn, and says how long to wait where there is none. Where the
// network has none, the client keeps its own.
func (l wideLimiter) take(client netip.Addr, now time.Time) (wait time.Duration) {
	if wait = l.clients.take(client, now); wait > 0 {
		return wait
	}
	if wait = l.networks.take(client, now); wait > 0 {
		l.clients.giveBack(client)
	}
	return wait
}

// giveBack returns a turn that was taken and that did not count.
func (l wideLimiter) giveBack(client netip.Addr) {
	l.clients.giveBack(client)
	l.networks.giveBack(client)
}

// limits are those of a Portal.
type limits struct {
	attempts wideLimiter
	pushes   *limiter
	// codes are those sent to an address, wrongCodes the wrong ones typed.
	codes, wrongCodes wideLimiter
	// quiet tells networks from which hardly anybody has begun an attempt.
	quiet    *limiter
	confirms guesses
}

func newLimits(l Limits) limits {
	codes := cmp.Or(l.Codes, new(CodeLimits))
	return limits{
		attempts: newWideLimiter(l.Attempts), pushes: newLimiter(l.Pushes),
		codes: codes.sent, wrongCodes: codes.wrong,
		quiet:    newNetworkLimiter(Rate{Count: quietAttempts, Per: 24 * time.Hour}),
		confirms: newGuesses(l.Confirms),
	}
}

// quietAttempts is how many attempts a network may begin, and again in a day, that
// are served to the last of what WeChat grants.
const quietAttempts = 5

// guesses bound what it costs that strangers guess at secrets. What leads somewhere
// counts against nobody: a whole town may share one address.
type guesses struct {
	// wrong are guesses that lead nowhere, and looks how many are looked up all the
	// same: more, so that who guesses does not lock out who shares the address.
	wrong, looks *limiter
}

func newGuesses(r Rate) guesses {
	return guesses{wrong: newLimiter(r), looks: newLimiter(r.wider())}
}

// find looks an attempt up. The turn is used up before and comes back where there
// is one, so that many requests at once get no more of them. The error is that of
// look, or a limitedError where login.ErrNotFound came too often.
func (g guesses) find(ctx context.Context, client netip.Addr, now time.Time, look func(context.Context) (login.Attempt, error)) (login.Attempt, error) {
	if wait := g.looks.take(client, now); wait > 0 {
		return login.Attempt{}, limitedError{wait}
	}
	a, err := look(ctx)
	if !errors.Is(err, login.ErrNotFound) {
		g.looks.giveBack(client)
		return a, err
	}
	if wait := g.wrong.take(client, now); wait > 0 {
		err = limitedError{wait}
	}
	return a, err
}

// clientPrefix is what counts as one client: an IPv4 address, or the /64 that
// an IPv6 client can pick its addresses from.
func clientPrefix(a netip.Addr) netip.Prefix { return prefix(a, 32, 64) }

// networkPrefix is what counts as one network: those which many addresses of one
// owner are in.
func networkPrefix(a netip.Addr) netip.Prefix { return prefix(a, 24, 48) }

func prefix(a netip.Addr, bits4, bits6 int) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := bits4
	if a.Is6() {
		bits = bits6
	}
	p, _ := a.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}
