// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// beatInterval is how often a node sends itself a message.
	beatInterval = 200 * time.Millisecond
	// beatLimit is how old the last one that has arrived may be before messages
	// count as lost. What another node revokes is refused here within a second,
	// whatever breaks.
	beatLimit = 700 * time.Millisecond
	// connectLimit is how long a new connection may take until the first arrives.
	// Nobody trusts it until then.
	connectLimit = 3 * time.Second
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
	// epoch is what the times in those messages count from.
	epoch time.Time
	// begun gets the outcome of the first connection: nil when it works.
	begun chan error
}

func newListener(s *Store, node string) listener {
	return listener{store: s, own: s.channel() + ":" + node, epoch: time.Now(), begun: make(chan error, 1)}
}

// run listens until ctx ends.
func (l *listener) run(ctx context.Context) {
	for ctx.Err() == nil {
		l.tell(l.listen(ctx))
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
	err := l.hear(ctx, messages)
	// Whatever it was, subscribers must know at once that they miss something;
	// what follows may take its time.
	l.store.topics.Lose()
	if errors.Is(err, errOver) {
		err = <-failed
	}
	return err
}

// hear hands on what arrives. It returns when nothing comes from the node itself
// any more.
func (l *listener) hear(ctx context.Context, messages <-chan *goredis.Message) error {
	silence := time.NewTimer(connectLimit)
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
				age := l.age(m.Payload)
				if age >= beatLimit { // what others have sent is as late
					return errSilence
				}
				silence.Reset(beatLimit - age)
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

// age is how long ago this node sent a message to itself.
func (l *listener) age(payload string) time.Duration {
	sent, err := strconv.ParseInt(payload, 10, 64)
	if err != nil {
		return beatLimit // not one of ours
	}
	return time.Since(l.epoch) - time.Duration(sent)
}

// receive reads the connection. go-redis would open another by itself when this
// one fails; what was published in between would be lost without a word. So the
// first error ends it.
func receive(ctx context.Context, subscription *goredis.PubSub, subscribed chan<- struct{}, messages chan<- *goredis.Message) error {
	var once sync.Once
	for {
		received, err := subscription.Receive(ctx)
		if err != nil {
			return err
		}
		switch received := received.(type) {
		case *goredis.Subscription:
			if received.Count == 2 { // the channel for all, and the node's own
				once.Do(func() { close(subscribed) })
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
		// An answer that does not come tells of the server, also where nobody
		// waits for it any more. That the message does not arrive will be noticed.
		sent := strconv.FormatInt(int64(time.Since(l.epoch)), 10)
		_, _ = l.store.eval(context.WithoutCancel(ctx), publishScript, l.own, sent)
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
