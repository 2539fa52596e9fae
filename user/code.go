// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// CodeTTL is for how long a code can be used.
	CodeTTL = 10 * time.Minute
	// CodeDigits is how many digits a code has.
	CodeDigits = 6
	// codeTries is how many wrong codes end a code.
	codeTries = 5
)

var (
	// ErrWrongCode says that a code is another than the one that was sent.
	ErrWrongCode = errors.New("wrong code")
	// ErrCodeUsedUp says that there is no code to be used: none was sent to this person,
	// it is too old, it was used, or there were too many wrong ones.
	ErrCodeUsedUp = errors.New("no code can be used")
	// ErrNotSent says that a code could not be handed over.
	ErrNotSent = errors.New("the code was not sent")
	// ErrCounts is what deliver wraps where a code counts although it was not handed
	// over: it may be on its way all the same, or it is the address that is wrong.
	ErrCounts = errors.New("it counts as sent")
)

// Codes finds out whether a person has an address, by a code that is sent there.
// What it keeps may be forgotten when the process ends.
type Codes struct {
	store store.Store
	now   func() time.Time
}

// NewCodes returns a Codes that keeps its state in s. now is the clock.
func NewCodes(s store.Store, now func() time.Time) *Codes { return &Codes{store: s, now: now} }

// sentCode is what is kept of a code. Zero Tries are left of one that was used, and
// there are none yet of one that is being delivered.
type sentCode struct {
	// Digest is of the code, whom it was sent to and where.
	Digest    []byte    `json:"digest"`
	Tries     int       `json:"tries"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Send has a new code delivered to an address in canonical form; it takes the place
// of the one that the user was sent before by this channel. Whose the address is
// makes no difference. The error is a *TooManyError, or wraps ErrNotSent and what
// deliver has returned, or is one of the store. No code that was not delivered can be
// used. It does not count either, unless deliver says so with ErrCounts or fails too
// often.
func (c *Codes) Send(ctx context.Context, who Asker, ch Channel, address string, deliver func(code string) error) error {
	taken, err := c.take(ctx, who, ch, address)
	if err != nil {
		return err
	}
	settling := context.WithoutCancel(ctx) // also for a visitor who has gone
	code := newCode()
	s := sentCode{Digest: codeDigest(who.UserID, ch, address, code), ExpiresAt: c.now().Add(CodeTTL)}
	if err := c.keep(ctx, who.UserID, ch, s); err != nil {
		c.giveBack(settling, taken)
		return err
	}
	// Without tries until it is delivered: a sender that fails gives none away, whatever
	// becomes of the store or of this process meanwhile.
	if err := deliver(code); err != nil {
		if !errors.Is(err, ErrCounts) {
			c.giveBackFailed(settling, taken)
		}
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return c.open(settling, who.UserID, ch, s.Digest)
}

// open lets a code be tried, unless another has taken its place.
func (c *Codes) open(ctx context.Context, userID string, ch Channel, digest []byte) error {
	err := c.store.Update(ctx, codeKey(userID, ch), func(raw []byte, found bool) ([]byte, time.Duration, error) {
		s, err := decodeCode(raw, found)
		if err != nil || subtle.ConstantTimeCompare(s.Digest, digest) != 1 {
			return nil, 0, err
		}
		s.Tries = codeTries
		next, err := json.Marshal(s)
		return next, CodeTTL, err
	})
	if err != nil {
		return fmt.Errorf("opening a code: %w", err)
	}
	return nil
}

// decodeCode returns the zero sentCode, of which no tries are left, where there is none.
func decodeCode(raw []byte, found bool) (s sentCode, err error) {
	if !found {
		return s, nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("decoding a code: %w", err)
	}
	return s, nil
}

func (c *Codes) keep(ctx context.Context, userID string, ch Channel, s sentCode) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding a code: %w", err)
	}
	if err := c.store.Set(ctx, codeKey(userID, ch), raw, CodeTTL); err != nil {
		return fmt.Errorf("keeping a code: %w", err)
	}
	return nil
}

// Check uses the code up if it is the one that was sent to the user at the address, in
// canonical form: of concurrent calls with it one succeeds. The error is
// ErrWrongCode, ErrCodeUsedUp, or one of the store.
func (c *Codes) Check(ctx context.Context, userID string, ch Channel, address, code string) error {
	if len(code) != CodeDigits || strings.Trim(code, "0123456789") != "" {
		return ErrWrongCode // a slip of the hand rather than a guess
	}
	digest := codeDigest(userID, ch, address, code)
	var verdict error
	err := c.store.Update(ctx, codeKey(userID, ch), func(raw []byte, found bool) ([]byte, time.Duration, error) {
		verdict = ErrCodeUsedUp
		s, err := decodeCode(raw, found)
		if err != nil || s.Tries <= 0 || !c.now().Before(s.ExpiresAt) {
			return nil, 0, err
		}
		verdict = s.try(digest)
		next, err := json.Marshal(s)
		return next, CodeTTL, err
	})
	if err != nil {
		return fmt.Errorf("checking a code: %w", err)
	}
	return verdict
}

// try compares a code that has tries left.
func (s *sentCode) try(digest []byte) error {
	if subtle.ConstantTimeCompare(s.Digest, digest) == 1 {
		s.Tries = 0
		return nil
	}
	if s.Tries--; s.Tries == 0 {
		return ErrCodeUsedUp
	}
	return ErrWrongCode
}

// newCode returns a random code.
func newCode() string {
	n, _ := rand.Int(rand.Reader, big.NewInt(1_000_000)) // the reader never fails
	return fmt.Sprintf("%0*d", CodeDigits, n)
}

func codeKey(userID string, ch Channel) string {
	return store.VolatilePrefix + "sent-code:" + string(ch) + ":" + userID
}

// codeDigest names the code together with what it is for, so that it proves nothing else.
func codeDigest(userID string, ch Channel, address, code string) []byte {
	return digest("code", userID, string(ch), address, code)
}

// digest is a hash of parts none of which can be taken for one of its neighbours.
func digest(parts ...string) []byte {
	var all []byte
	for _, part := range parts {
		all = binary.AppendUvarint(all, uint64(len(part)))
		all = append(all, part...)
	}
	sum := sha256.Sum256(all)
	return sum[:]
}

// addressDigest stands for an address in keys, which are to hold no personal data.
func addressDigest(ch Channel, address string) string {
	return hex.EncodeToString(digest("address", string(ch), address))
}
