// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// Get returns the value of key, or found == false.
func (s *Store) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	return asValue(s.do(ctx, s.prefix+key, "get", s.prefix+key))
}

// Set writes value, whether or not key exists.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := checkWrite(key, value, ttl); err != nil {
		return err
	}
	args := []any{"set", s.prefix + key, value}
	if ttl > 0 {
		args = append(args, "px", milliseconds(ttl))
	}
	_, err := s.do(ctx, s.prefix+key, args...)
	return err
}

// Create writes value only where key does not exist yet, and says whether it did.
func (s *Store) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (created bool, err error) {
	if err := checkWrite(key, value, ttl); err != nil {
		return false, err
	}
	args := []any{"set", s.prefix + key, value, "nx"}
	if ttl > 0 {
		args = append(args, "px", milliseconds(ttl))
	}
	result, err := s.do(ctx, s.prefix+key, args...)
	return result != nil, err
}

// Take returns the value of key and deletes it; of concurrent callers one gets it.
func (s *Store) Take(ctx context.Context, key string) (value []byte, found bool, err error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	return asValue(s.do(ctx, s.prefix+key, "getdel", s.prefix+key))
}

// Delete removes key and says whether it was there; see store.Store.
func (s *Store) Delete(ctx context.Context, key string, announce ...store.Announcement) (existed bool, err error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	ctx = patient(ctx)
	result, err := s.eval(ctx, deleteScript, s.prefix+key, s.announcements(announce)...)
	if err != nil {
		return false, err
	}
	s.announceAgain(ctx, announce)
	return result == int64(1), nil
}

// Update replaces the value of key with what change makes of it; see store.Store.
// It reads, and writes only if nothing else has written since; else it begins
// anew. The updates of this node to one key wait for one another, so that they
// need not do so often.
func (s *Store) Update(ctx context.Context, key string, change func(current []byte, found bool) (next []byte, ttl time.Duration, err error), announce ...store.Announcement) error {
	if err := checkKey(key); err != nil {
		return err
	}
	ctx = patient(ctx)
	leave, err := s.queues.enter(ctx, key)
	if err != nil {
		return err
	}
	defer leave()
	current, found, err := s.Get(ctx, key)
	for tries := 0; err == nil; tries++ {
		if tries == maxTries {
			return fmt.Errorf("updating a value in Redis: %w: others wrote to it %d times in between", store.ErrUnavailable, tries)
		}
		next, ttl, changeErr := change(append([]byte(nil), current...), found)
		if changeErr != nil || next == nil {
			return changeErr
		}
		if err = checkWrite(key, next, ttl); err != nil {
			return err
		}
		var written bool
		written, current, found, err = s.replace(ctx, key, current, found, next, ttl, announce)
		if written {
			s.announceAgain(ctx, announce)
			return nil
		}
	}
	return err
}

// patient lets the commands of one operation together take no longer than one may.
func patient(ctx context.Context) context.Context {
	if store.PatienceOf(ctx) != nil {
		return ctx
	}
	return store.WithPatience(ctx, callTimeout)
}

// maxTries bounds how often an update begins anew. Each time, another node has
// written; so many do not.
const maxTries = 64

// replace writes next if the value of key is still current, and else returns
// what it is now.
func (s *Store) replace(ctx context.Context, key string, current []byte, found bool, next []byte, ttl time.Duration, announce []store.Announcement) (written bool, now []byte, foundNow bool, err error) {
	expected := "0"
	if found {
		expected = "1"
	}
	args := append([]any{expected, current, next, milliseconds(ttl)}, s.announcements(announce)...)
	result, err := s.eval(ctx, replaceScript, s.prefix+key, args...)
	if err != nil {
		return false, nil, false, err
	}
	answer, ok := result.([]any)
	if !ok || len(answer) == 0 {
		return false, nil, false, errAnswer
	}
	if answer[0] == int64(1) {
		return true, nil, false, nil
	}
	if len(answer) == 1 { // what is false or nil in Lua ends a list
		return false, nil, false, nil
	}
	now, foundNow, err = asValue(answer[1], nil)
	return false, now, foundNow, err
}

// announcements returns a script's last arguments.
func (s *Store) announcements(all []store.Announcement) []any {
	args := make([]any, 0, 1+len(all))
	args = append(args, s.channel())
	for _, a := range all {
		args = append(args, encodeMessage(a.Topic, a.Payload))
	}
	return args
}

// announceAgain sends the announcements of a write in a Cluster once more, now
// through the node that everyone listens to. The first time they came from the
// node that has the key, and the way between the two may be broken. It is the
// caller who must know of his write, and it is done: an error is not his.
func (s *Store) announceAgain(ctx context.Context, all []store.Announcement) {
	if !s.clustered || len(all) == 0 {
		return
	}
	ctx = store.WithPatience(context.WithoutCancel(ctx), callTimeout/4)
	_, _ = s.eval(ctx, publishScript, s.channel(), s.announcements(all)[1:]...)
}

var errAnswer = fmt.Errorf("%w: Redis gave an answer of an unexpected kind", store.ErrUnavailable)

func asValue(result any, err error) (value []byte, found bool, _ error) {
	if err != nil || result == nil {
		return nil, false, err
	}
	text, ok := result.(string)
	if !ok {
		return nil, false, errAnswer
	}
	return []byte(text), true, nil
}

// milliseconds is a ttl as Redis takes it: 0 is never.
func milliseconds(ttl time.Duration) string {
	if ttl == 0 {
		return "0"
	}
	return strconv.FormatInt(min(max(ttl.Milliseconds(), 1), maxMilliseconds), 10)
}

// maxMilliseconds is a ttl that Redis can still add to the time of day.
const maxMilliseconds = int64(1) << 52

func checkKey(key string) error {
	if key == "" || len(key) > store.MaxKeyLen {
		return fmt.Errorf("checking a key of %d bytes (1 to %d are allowed): %w", len(key), store.MaxKeyLen, store.ErrTooLarge)
	}
	return nil
}

func checkWrite(key string, value []byte, ttl time.Duration) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if len(value) > store.MaxValueLen {
		return fmt.Errorf("checking a value of %d bytes (at most %d are allowed): %w", len(value), store.MaxValueLen, store.ErrTooLarge)
	}
	if ttl < 0 {
		return fmt.Errorf("checking a ttl of %s: it must not be negative", ttl)
	}
	return nil
}
