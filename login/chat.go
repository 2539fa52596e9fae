// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	codePrefix  = store.VolatilePrefix + "code:"
	triesPrefix = store.VolatilePrefix + "tries:"
	// codeLen is the length of a code in digits.
	codeLen = 6
	// maxCodes is how many codes of one account are taken at most: six digits
	// are hard to hit, by a guess or by a slip of the finger, only while few of
	// them are anybody's. Of neighbours that share a place, one is.
	maxCodes     = 20_000
	codesOfPlace = 1_000_000 / maxCodes
	// codeDraws is how often a code is drawn anew because its place is taken.
	// With three quarters taken, one attempt in a hundred finds none.
	codeDraws = 16
	// maxTries is how many wrong codes a person may send within triesTTL: with
	// all places taken, a guess hits somebody's code once in fifty.
	maxTries = 5
	triesTTL = 10 * time.Minute
)

var (
	// ErrTooManyTries says that a person has sent too many wrong codes.
	ErrTooManyTries = errors.New("too many wrong codes")

	// ErrNoCode says that an account has as many codes as it may have.
	ErrNoCode = fmt.Errorf("no code is free: the account has %d codes, each of which is kept until its attempt is forgotten", maxCodes)
)

// Chat begins attempts of the method ChatCode.
type Chat struct {
	// Store keeps which code is whose.
	Store store.Store
	// Image is the account's own QR code, as a data URI; empty for none.
	Image string
	// TTL is how long a code can be sent.
	TTL time.Duration
	// Confirm is what the person who sends the code must do.
	Confirm Confirm
}

// NewImage returns an image of the account's QR code as a page shows it.
func NewImage(image []byte) string { return dataURI(image) }

// Start implements Starter. It fails with ErrNoCode where too many codes are taken.
func (c *Chat) Start(ctx context.Context, a *Attempt) (Shown, error) {
	a.ExpiresAt = a.CreatedAt.Add(c.TTL)
	a.ask(c.Confirm)
	for range codeDraws {
		code := fmt.Sprintf("%0*d", codeLen, randomInt(1_000_000))
		// It stays taken as long as an attempt is remembered that nobody was
		// signed in by, so that a late message never meets another's attempt.
		free, err := c.Store.Create(ctx, codeKey(a.AppID, code), []byte(code+codeSeparator+a.ID), c.TTL+scanMargin+linger)
		if err != nil {
			return Shown{}, fmt.Errorf("keeping the code: %w", err)
		}
		if free {
			a.Code = code
			shown := Shown{Code: code}
			if c.Image != "" {
				shown.QR = &QR{Image: c.Image}
			}
			return shown, nil
		}
	}
	return Shown{}, ErrNoCode
}

// CodeIn returns the code that a message consists of. People write spaces, and
// keyboards digits of other widths.
func CodeIn(message string) (code string, ok bool) {
	if len(message) > 100 {
		return "", false
	}
	var b strings.Builder
	for _, r := range message {
		switch {
		case r >= '0' && r <= '9':
			b.WriteRune(r)
		case r >= '０' && r <= '９':
			b.WriteRune(r - '０' + '0')
		case strings.ContainsRune(" \t\r\n\u00a0\u3000-", r):
		default:
			return "", false
		}
	}
	return b.String(), b.Len() == codeLen
}

// SendCode gives the attempt that shows the code to the person who sent it,
// unless somebody was faster. A code that is nobody's is ErrNotFound, and after
// some of them ErrTooManyTries.
func (v *Service) SendCode(ctx context.Context, appID, code string, who Person) (Attempt, error) {
	// A code counts as wrong until it turns out to be right: so many at once are
	// no more tries than one after the other.
	if left, err := v.try(ctx, appID, who.OpenID); err != nil || !left {
		return Attempt{}, cmp.Or(err, ErrTooManyTries)
	}
	a, err := v.scanCode(ctx, appID, code, who)
	if err == nil && a.OpenID == who.OpenID {
		err = v.untry(ctx, appID, who.OpenID)
	}
	return a, err
}

func (v *Service) scanCode(ctx context.Context, appID, code string, who Person) (Attempt, error) {
	taken, _, err := v.store.Get(ctx, codeKey(appID, code))
	if err != nil {
		return Attempt{}, fmt.Errorf("finding the attempt: %w", err)
	}
	id, found := strings.CutPrefix(string(taken), code+codeSeparator)
	if !found { // the place is free, or another code's
		return Attempt{}, ErrNotFound
	}
	a, _, err := v.change(ctx, id, func(a *Attempt) bool {
		return a.Method == ChatCode && a.scan(who, v.now().UTC())
	})
	return a, err
}

// try counts a code of a person's, and says whether there was a try left for it.
func (v *Service) try(ctx context.Context, appID, openID string) (left bool, err error) {
	err = v.tries(ctx, appID, openID, func(n int) int {
		if left = n < maxTries; left {
			n++
		}
		return n
	})
	return left, err
}

// untry takes back a try for a code that was right.
func (v *Service) untry(ctx context.Context, appID, openID string) error {
	return v.tries(ctx, appID, openID, func(n int) int { return max(n-1, 0) })
}

// tries changes how many wrong codes a person has sent lately.
func (v *Service) tries(ctx context.Context, appID, openID string, change func(n int) int) error {
	err := v.store.Update(ctx, triesPrefix+appID+":"+openID, func(raw []byte, _ bool) ([]byte, time.Duration, error) {
		before, _ := strconv.Atoi(string(raw)) // what is no number counts as none
		after := change(before)
		if after == before {
			return nil, 0, nil
		}
		return strconv.AppendInt(nil, int64(after), 10), triesTTL, nil
	})
	if err != nil {
		return fmt.Errorf("counting wrong codes: %w", err)
	}
	return nil
}

// codeSeparator stands between a code and the id of its attempt in the store.
const codeSeparator = " "

// codeKey names the place of a code, which one code can take.
func codeKey(appID, code string) string {
	n, _ := strconv.Atoi(code) // what is no code is found at no place
	return codePrefix + appID + ":" + strconv.Itoa(n/codesOfPlace)
}
