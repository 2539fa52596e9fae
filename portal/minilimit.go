// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// miniTries is how many codes that are no good WeChat is asked about for one
	// attempt. A phone needs one code, and another where the first was too old.
	miniTries = 10
	// triedAttempts bounds for how many attempts that is remembered. Each had to be
	// begun, which is limited, too.
	triedAttempts = 65_536
)

// errTooManyTries says that for this attempt too many codes were no good.
var errTooManyTries = errors.New("too many codes that WeChat does not take were sent for one attempt")

// limitedError says how long to wait for the next turn.
type limitedError struct{ wait time.Duration }

// Error implements error.
func (e limitedError) Error() string {
	return fmt.Sprintf("too much that leads nowhere has come from this address: wait %v", e.wait)
}

// miniLimits bound what strangers can have the gateway do in the name of a mini
// program.
type miniLimits struct {
	guesses // of scenes and tickets
	// codes are those that WeChat did not take.
	codes *limiter
	tries *otter.Cache[string, *tries]
}

// tries are the calls of WeChat for one attempt that did not succeed.
type tries struct {
	turn   chan struct{} // held by the one call that is under way
	failed int           // of who holds the turn
}

func newMiniLimits(r Rate) *miniLimits {
	return &miniLimits{
		guesses: newGuesses(r), codes: newLimiter(r),
		tries: otter.Must(&otter.Options[string, *tries]{MaximumSize: triedAttempts}),
	}
}

// ask has WeChat be asked about a code that came for an attempt, unless it was
// asked too often in vain: for this attempt, or for the client. The turns are used
// up before the call, so that many requests at once get no more of them, and come
// back with its success. For the first code of an attempt the client needs no turn:
// attempts are limited themselves, and who sends nonsense would else lock out those
// who share the address. The error is errTooManyTries, a limitedError, or the call's.
func (l *miniLimits) ask(ctx context.Context, attempt string, client netip.Addr, now time.Time, call func(context.Context) error) error {
	t, _ := l.tries.ComputeIfAbsent(attempt, func() (*tries, bool) { return &tries{turn: make(chan struct{}, 1)}, false })
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the turn to ask WeChat: %w", ctx.Err())
	}
	defer func() { <-t.turn }()
	if t.failed >= miniTries {
		return errTooManyTries
	}
	wait := l.codes.take(client, now)
	if wait > 0 && t.failed > 0 {
		return limitedError{wait}
	}
	t.failed++
	err := call(ctx)
	if err == nil {
		t.failed--
		if wait == 0 {
			l.codes.giveBack(client)
		}
	}
	return err
}
