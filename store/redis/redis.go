// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package redis keeps the gateway's state in Redis, so that many nodes share it:
// a single server, one watched by Sentinel, or a Cluster. Every operation is one
// atomic step on one key.
//
// A node has one connection on which it hears what the others have changed,
// however many browsers wait. It proves all the time that messages come through
// by sending itself one; when that fails to arrive, subscribers are told at once
// that what they hold in memory is no longer known to be true.
package redis

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/internal/topics"
)

// DefaultKeyPrefix begins every key where the operator names no other.
const DefaultKeyPrefix = "wechat:"

// maxKeyPrefix bounds a key prefix.
const maxKeyPrefix = 64

// Config says where Redis is.
type Config struct {
	// Addresses are host:port of the server, of some Sentinels, or of some
	// nodes of the Cluster.
	Addresses []string
	// Username and Password are those of Redis, where it asks for them.
	Username, Password string
	// SentinelUsername and SentinelPassword are those of the Sentinels.
	SentinelUsername, SentinelPassword string
	// DB is the number of the database; a Cluster has only 0.
	DB int
	// Master is the name by which Sentinel knows the master. Where it is set,
	// Addresses are Sentinels.
	Master string
	// Cluster says that Addresses are nodes of a Cluster.
	Cluster bool
	// TLS encrypts the connections where it is not nil.
	TLS *tls.Config
	// KeyPrefix begins every key and channel. Default: DefaultKeyPrefix.
	KeyPrefix string
}

// Store implements store.Store.
type Store struct {
	client goredis.UniversalClient
	prefix string
	// clustered says that keys have servers of their own.
	clustered bool
	breakers  breakers
	queues    queues
	topics    topics.Topics
	listener  listener

	mu     sync.Mutex
	cancel context.CancelFunc // ends the listener; nil before Open
	done   chan struct{}
	closed bool
}

// New returns a Store, or what is wrong with the configuration. It does not
// touch the network. Close releases it.
func New(c Config) (*Store, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.KeyPrefix == "" {
		c.KeyPrefix = DefaultKeyPrefix
	}
	s := &Store{client: newClient(c), prefix: c.KeyPrefix, clustered: c.Cluster}
	s.listener = newListener(s, rand.Text())
	s.topics.Lose() // until the listener has heard itself
	return s, nil
}

// Check says what is wrong with the configuration, without touching the network.
func (c Config) Check() error {
	switch {
	case len(c.Addresses) == 0:
		return errors.New("no address is given: name at least one host:port, like: address 127.0.0.1:6379")
	case c.Cluster && c.Master != "":
		return errors.New("cluster and master exclude one another: a Cluster has no Sentinels; remove one of them")
	case c.Cluster && c.DB != 0:
		return fmt.Errorf("db %d does not exist: a Redis Cluster has only database 0; remove db", c.DB)
	case c.DB < 0:
		return fmt.Errorf("db %d does not exist: databases count from 0", c.DB)
	case !c.Cluster && c.Master == "" && len(c.Addresses) > 1:
		return errors.New("several addresses are given: say whether they are nodes of a Cluster, with cluster, or Sentinels, with master and its name")
	case len(c.KeyPrefix) > maxKeyPrefix || strings.ContainsAny(c.KeyPrefix, "{}"):
		return fmt.Errorf("key_prefix %q cannot be used: write at most %d bytes, without braces", c.KeyPrefix, maxKeyPrefix)
	}
	return c.checkCredentials()
}

func (c Config) checkCredentials() error {
	switch {
	case c.Master == "" && c.SentinelUsername+c.SentinelPassword != "":
		return errors.New("credentials of a Sentinel are given, but no master: name the master that the Sentinels watch, or remove the credentials")
	case c.Username != "" && c.Password == "", c.SentinelUsername != "" && c.SentinelPassword == "":
		return errors.New("a username is given without a password: give both, or neither for the default user")
	}
	return nil
}

// Open begins to listen and asks Redis once. An error that wraps
// store.ErrNotReady means that Redis does not answer now. Any other means that
// Redis has answered, and that nothing will work until the configuration or the
// server is changed.
func (s *Store) Open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("opening the store: %w: it has been closed", store.ErrUnavailable)
	}
	first := s.cancel == nil
	if first {
		ctx, cancel := context.WithCancel(context.Background())
		s.cancel, s.done = cancel, make(chan struct{})
		go func() {
			defer close(s.done)
			s.listener.run(ctx)
		}()
	}
	err := s.Ping(context.Background())
	if err == nil { // whoever may write may still be forbidden to publish
		err = s.Publish(context.Background(), "", "")
	}
	if err == nil && first {
		err = s.awaitListener()
	}
	if err != nil && !refusedForGood(err) {
		return fmt.Errorf("%w: %w", store.ErrNotReady, err)
	}
	return err
}

// awaitListener waits until the node has heard itself: then the first visitor need
// not ask Redis for what is in memory, and whoever may not subscribe is told so.
func (s *Store) awaitListener() error {
	late := time.NewTimer(connectLimit)
	defer late.Stop()
	err := errSilence
	select {
	case err = <-s.listener.begun:
	case <-late.C:
	}
	if err != nil {
		return fmt.Errorf("listening to Redis: %w: %w%s", store.ErrUnavailable, err, cure(err))
	}
	return nil
}

// Close ends the listener, the subscriptions and the connections.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.cancel != nil {
		s.cancel()
		<-s.done
	}
	s.topics.Close()
	return s.client.Close()
}

// Ping writes to Redis and reads back; see store.Store.
func (s *Store) Ping(ctx context.Context) error {
	key := s.prefix + store.VolatilePrefix + "ping"
	_, err := s.eval(ctx, pingScript, key)
	return err
}

// Subscribe calls fn for each notice of topic until cancel is called; see
// store.Store.
func (s *Store) Subscribe(topic string, fn func(store.Notice)) (cancel func()) {
	return s.topics.Subscribe(topic, fn)
}

// Publish sends payload to the subscribers of topic on every node.
func (s *Store) Publish(ctx context.Context, topic, payload string) error {
	_, err := s.eval(ctx, publishScript, s.channel(), encodeMessage(topic, payload))
	return err
}

// channel is the one on which everything is published. In a Cluster, its name is
// also a key: that is how a command finds the node that publishes and listens.
func (s *Store) channel() string { return s.prefix + "{notices}" }

var _ store.Store = (*Store)(nil)
