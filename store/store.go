// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package store defines where the gateway keeps its state: attempts, sessions,
// users, signing keys and the access tokens of WeChat. The contract is as narrow
// as its users allow, so that one machine with a file and many machines with a
// Redis can both keep it; package storetest holds the suite that says whether
// an implementation does.
package store

import (
	"context"
	"errors"
	"time"
)

// VolatilePrefix begins the keys whose values may be forgotten when the process
// ends: attempts, replay guards, access tokens. An implementation may keep them
// in memory only. Every other value survives a crash once its write returned.
const VolatilePrefix = "tmp:"

// MaxKeyLen and MaxValueLen are the sizes, in bytes, that every implementation
// must accept. Larger ones, and empty keys, are refused with ErrTooLarge.
const (
	MaxKeyLen   = 512
	MaxValueLen = 64 << 10
)

var (
	// ErrUnavailable says that the store could not be asked or did not answer.
	// It never means that a key is absent.
	ErrUnavailable = errors.New("store unavailable")

	// ErrNotReady says that a store could not be reached when it was opened. It
	// is open all the same, and works as soon as it can be reached.
	ErrNotReady = errors.New("store not reachable yet")

	// ErrTooLarge says that a key is empty or longer than MaxKeyLen, or a value
	// longer than MaxValueLen.
	ErrTooLarge = errors.New("key or value size not allowed")
)

// Store keeps small values under string keys. All methods are safe for
// concurrent use, and each is one atomic step on one key. A ttl of zero keeps
// the value until it is deleted; a negative ttl is an error. Values returned
// belong to the caller; values passed in are not kept.
//
// An error that wraps context.Canceled or context.DeadlineExceeded of the
// caller's own context says nothing about the store. Every other failure to
// reach the state wraps ErrUnavailable; a write that fails so may have happened
// or not.
type Store interface {
	// Get returns the value of key, or found == false.
	Get(ctx context.Context, key string) (value []byte, found bool, err error)

	// Set writes value, whether or not key exists.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Create writes value only where key does not exist yet, and says whether it did.
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) (created bool, err error)

	// Take returns the value of key and deletes it; of concurrent callers one gets it.
	Take(ctx context.Context, key string) (value []byte, found bool, err error)

	// Update replaces the value of key with what change makes of it. No other
	// write to the key comes between the read and the write. change may run
	// more than once and must not call the store; its error is returned as it
	// is and nothing is written. A nil next leaves the value as it was. What was
	// written is announced.
	Update(ctx context.Context, key string, change func(current []byte, found bool) (next []byte, ttl time.Duration, err error), announce ...Announcement) error

	// Delete removes key and says whether it was there, which is announced in
	// either case: an earlier try may have failed halfway.
	Delete(ctx context.Context, key string, announce ...Announcement) (existed bool, err error)

	// List returns up to limit entries whose keys begin with prefix, in no
	// promised order; limit must be positive. An empty cursor begins; an empty
	// next ends, and a page may be short or empty before it does. A key that
	// exists throughout the listing is returned at least once.
	List(ctx context.Context, prefix, cursor string, limit int) (items []Item, next string, err error)

	// Publish sends payload to every subscriber of topic on every node. It may
	// arrive more than once. A subscriber that may have missed something is
	// told so (see Notice).
	Publish(ctx context.Context, topic, payload string) error

	// Subscribe calls fn for each notice of topic, one at a time and in order,
	// until cancel is called. fn must return quickly and must not call
	// Subscribe or cancel. cancel waits for a call under way, so it must not be
	// called with a lock held that fn takes, and may be called again. After
	// cancel has returned, fn is not called again.
	Subscribe(topic string, fn func(Notice)) (cancel func())

	// Ping returns nil where the store can be read and written.
	Ping(ctx context.Context) error
}

// Announcement is a message that is published in one step with a write: once the
// write has happened it is on its way, even if the process that wrote ends before
// it hears so.
type Announcement struct{ Topic, Payload string }

// Item is one entry of a listing.
type Item struct {
	Key   string
	Value []byte
	// TTL is for how long the entry will still exist; zero is until it is deleted.
	TTL time.Duration
}

// Notice is what a subscriber is told.
type Notice struct {
	Kind    NoticeKind
	Payload string // of a Message
}

// NoticeKind says what a Notice is about.
type NoticeKind int

const (
	// Message carries the payload of one Publish.
	Message NoticeKind = iota
	// Lost says that messages may be missing from now on: what was cached on
	// their strength is no longer known to be true.
	Lost
	// Restored says that messages flow again. Whatever was published between
	// Lost and Restored is gone: read the state anew.
	Restored
)
