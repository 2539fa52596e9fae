// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// beatInterval is how often a node sends itself a message.
	beatInterval = 200 * time.Millisecond
	// beatLimit is how long none may arrive before messages count as lost. What
	// another node revokes is refused here within a second, whatever breaks.
	beatLimit = 700 * time.Millisecond
	// minPause and maxPause bound the wait before a new connection is tried. It
	// is random, so that the nodes do not all come at once.
	minPause = 50 * time.Millisecond
	maxPause = 400 * time.Millisecond
)

var (
	errSilence = errors.New("the node's own messages do not arrive")
	errOver    = errors.New("the connection has ended")
)

// listener hears what is published, on one connection, and tells the topics
// when it may have missed something.
//
// That the connection is open proves nothing: the server at its other end may be
// cut off, or be a master that has been replaced. So the node publishes a message
// to itself, the same way as others publish theirs, and trusts what it hears only
// as long as that message comes back.
type listener struct {
	store *Store
	// own is the channel of the node's messages to itself. The braces put it on
	// the same server as the channel for all.
	own string
	// begun gets the outcome of the first connection: nil when it works.
	begun chan error
}

func newListener(s *Store, node string) listener {
	return listener{store: s, own: s.channel() + ":" + node, begun: make(chan error, 1)}
}

// run listens until ctx ends.
func (l *listener) run(ctx context.Context) {
	for ctx.Err() == nil {
		l.tell(l.listen(ctx))
		// Whatever it was, subscribers know that they miss something.
		l.store.topics.Lose()
		l.store.lookAround(ctx)
		pause(ctx)
	}
}

// tell tells Open how it went, once.
func (l *listener) tell(outcome error) {
	select {
	case l.begun <- outcome:
	default:
	}
}

// listen listens on one connection until it fails.
func (l *listener) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	subscription := l.store.client.Subscribe(ctx, l.store.channel(), l.own)
	messages, subscribed, beaten := make(chan *goredis.Message, 64), make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(messages)
		failed <- receive(ctx, subscription, subscribed, messages)
	}()
	go l.beat(ctx, subscribed, beaten)
	defer func() {
		cancel()
		_ = subscription.Close()
		for range messages { // until receive has ended
		}
		<-beaten
	}()
	if err := l.hear(ctx, messages); !errors.Is(err, errOver) {
		return err
	}
	return <-failed
}

// hear hands on what arrives. It returns when nothing comes from the node itself
// any more.
func (l *listener) hear(ctx context.Context, messages <-chan *goredis.Message) error {
	silence := time.NewTimer(beatLimit)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-silence.C:
			return errSilence
		case m, ok := <-messages:
			switch {
			case !ok:
				return errOver
			case m.Channel == l.own:
				silence.Reset(beatLimit)
				l.store.topics.Restore()
				l.tell(nil)
			default:
				if topic, payload, ok := decodeMessage(m.Payload); ok {
					l.store.topics.Publish(topic, payload)
				}
			}
		}
	}
}

// receive reads the connection. go-redis would open another by itself when this
// one fails; what was published in between would be lost without a word. So the
// first error ends it.
func receive(ctx context.Context, subscription *goredis.PubSub, subscribed chan<- struct{}, messages chan<- *goredis.Message) error {
	for {
		received, err := subscription.Receive(ctx)
		if err != nil {
			return err
		}
		switch received := received.(type) {
		case *goredis.Subscription:
			if received.Count == 2 { // the channel for all, and the node's own
				close(subscribed)
			}
		case *goredis.Message:
			select {
			case messages <- received:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// beat sends the node's messages to itself.
func (l *listener) beat(ctx context.Context, subscribed <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	select {
	case <-ctx.Done():
		return
	case <-subscribed:
	}
	tick := time.NewTicker(beatInterval)
	defer tick.Stop()
	for {
		_, _ = l.store.eval(ctx, publishScript, l.own, "") // its silence will be noticed
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pause waits a random while.
func pause(ctx context.Context) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	span := uint64(maxPause - minPause)
	wait := time.NewTimer(minPause + time.Duration(binary.BigEndian.Uint64(b[:])%span)) // below span
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
	}
}
