// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	proofPrefix = store.VolatilePrefix + "proof:"
	proofTTL    = 5 * time.Minute
	// maxProofs bounds how often one attempt makes a browser go to WeChat: each
	// time costs a call of WeChat's.
	maxProofs = 20
)

var (
	// ErrUnproven says that a browser may not answer before WeChat has named the
	// person who uses it as the one who scanned.
	ErrUnproven = errors.New("the browser is not known to be that of the person who scanned")
	// ErrTooManyProofs says that no more browsers are sent to WeChat for an attempt.
	ErrTooManyProofs = errors.New("too many browsers were to prove for one attempt who uses them")
)

// proof is a way to WeChat and back, by which it names the person who has opened
// the link of an attempt.
type proof struct {
	Attempt string `json:"attempt"`
	Browser string `json:"browser"` // the hash of its secret
	Claimed bool   `json:"claimed"`
}

// Proven says whether WeChat has named the person who uses that browser as the one
// who scanned.
func (v *Service) Proven(a Attempt, browser string) bool { return a.provenIn(browser) }

// AnswerProven is Answer in a browser that must be proven. As long as there is
// anything to answer, any other gets ErrUnproven, and the attempt as it is.
func (v *Service) AnswerProven(ctx context.Context, token, choice, browser string) (a Attempt, changed bool, err error) {
	if a, err = v.ByToken(ctx, token); err != nil {
		return Attempt{}, false, err
	}
	unproven := false
	a, changed, err = v.change(ctx, a.ID, func(a *Attempt) bool {
		unproven = (a.State == Scanned || a.State == Confirmed) && !a.provenIn(browser)
		return !unproven && a.answer(choice)
	})
	if err == nil && unproven {
		err = ErrUnproven
	}
	return a, changed, err
}

// AskProof returns a state, beginning with prefix, for the way to WeChat and back.
// The error is ErrTooManyProofs, ErrState for an attempt that is over,
// ErrNotFound, or one of the store.
func (v *Service) AskProof(ctx context.Context, a Attempt, prefix, browser string) (state string, err error) {
	now, asked, err := v.change(ctx, a.ID, (*Attempt).askProof)
	switch {
	case err != nil:
		return "", err
	case now.State.Final():
		return "", ErrState
	case !asked:
		return "", ErrTooManyProofs
	}
	raw, err := json.Marshal(proof{Attempt: a.ID, Browser: hash(browser)})
	if err != nil {
		return "", fmt.Errorf("encoding a proof: %w", err)
	}
	state = prefix + rand.Text()
	if err := v.store.Set(ctx, proofPrefix+state, raw, proofTTL); err != nil {
		return "", fmt.Errorf("keeping a proof: %w", err)
	}
	return state, nil
}

// ClaimProof returns the attempt for which this browser went to WeChat, and says
// whether the caller is the first to come back.
func (v *Service) ClaimProof(ctx context.Context, state, browser string) (a Attempt, first bool, err error) {
	if len(state) > 2*idLen {
		return Attempt{}, false, ErrNotFound
	}
	var known proof
	err = v.store.Update(ctx, proofPrefix+state, func(raw []byte, found bool) ([]byte, time.Duration, error) {
		known, first = proof{}, false
		if !found {
			return nil, 0, ErrNotFound
		}
		if err := json.Unmarshal(raw, &known); err != nil {
			return nil, 0, fmt.Errorf("decoding a proof: %w", err)
		}
		if subtle.ConstantTimeCompare([]byte(known.Browser), []byte(hash(browser))) != 1 {
			return nil, 0, ErrNotFound
		}
		if first = !known.Claimed; !first {
			return nil, 0, nil
		}
		known.Claimed = true
		next, err := json.Marshal(known)
		return next, proofTTL, err
	})
	if err != nil {
		return Attempt{}, false, fmt.Errorf("finding a proof: %w", err)
	}
	a, err = v.read(ctx, known.Attempt)
	return a, first, err
}

// Prove takes note that WeChat has named the person who uses the browser, and says
// whether it is the one who scanned.
func (v *Service) Prove(ctx context.Context, id string, who Person, browser string) (same bool, err error) {
	_, _, err = v.change(ctx, id, func(a *Attempt) bool {
		same = a.isOf(who)
		return a.prove(who, browser)
	})
	return same, err
}
