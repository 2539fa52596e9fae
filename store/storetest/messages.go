// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var messageChecks = []check{
	{"Publish_EverySubscriberInOrder", checkOrder},
	{"Publish_TopicsAreIsolated", checkTopics},
	{"Publish_AnyPayload", checkPayloads},
	{"Publish_WithoutSubscribers", checkNoSubscribers},
	{"Publish_FromManyGoroutines", checkManyPublishers},
	{"Subscribe_CancelStops", checkCancel},
	{"Subscribe_CancelWaitsForRunningCall", checkCancelWaits},
	{"Subscribe_SlowSubscriberKeepsOrder", checkSlow},
	{"Subscribe_MayUseTheStore", checkReentrant},
}

// listener collects the messages of one topic. On a store of many nodes a
// subscription takes effect a little later; the listener is only made when it has.
type listener struct {
	mu       sync.Mutex
	payloads []string
	lost     bool // the subscriber was told that messages may be missing
	arrived  chan struct{}
}

const probe = "probe"

func listen(t testing.TB, s store.Store, topic string) *listener {
	t.Helper()
	l := &listener{arrived: make(chan struct{}, 1)}
	live := make(chan struct{})
	var once sync.Once
	t.Cleanup(s.Subscribe(topic, func(n store.Notice) {
		if n.Kind == store.Message && n.Payload == probe {
			once.Do(func() { close(live) })
			return
		}
		l.add(n)
	}))
	publishUntil(t, s, topic, live)
	return l
}

// publishUntil publishes probes until one has come through.
func publishUntil(t testing.TB, s store.Store, topic string, live <-chan struct{}) {
	t.Helper()
	deadline := time.After(patience)
	for {
		publish(t, s, topic, probe)
		select {
		case <-live:
			return
		case <-deadline:
			t.Fatalf("waited %s in vain for a subscription to %q", patience, topic)
		case <-time.After(10 * time.Millisecond): // at most once: the next one may come through
		}
	}
}

func publish(t testing.TB, s store.Store, topic, payload string) {
	t.Helper()
	if err := s.Publish(t.Context(), topic, payload); err != nil {
		t.Fatalf("Publish(%q): %v", topic, err)
	}
}

func (l *listener) add(n store.Notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch n.Kind {
	case store.Message:
		l.payloads = append(l.payloads, n.Payload)
	case store.Lost:
		l.lost = l.lost || len(l.payloads) > 0
	case store.Restored:
	}
	select {
	case l.arrived <- struct{}{}:
	default:
	}
}

// until waits for the message last and returns what came up to it.
func (l *listener) until(t testing.TB, last string) []string {
	t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		got, lost := slices.Clone(l.payloads), l.lost
		l.mu.Unlock()
		if i := slices.Index(got, last); i >= 0 {
			return got[:i+1]
		}
		if lost {
			t.Fatal("the store lost messages that it had no reason to lose")
		}
		select {
		case <-l.arrived:
		case <-deadline:
			t.Fatalf("waited %s in vain for message %q; got %d others", patience, last, len(got))
		}
	}
}

func numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all
}

func checkOrder(t testing.TB, h Harness) {
	listeners := []*listener{listen(t, h.Store, "topic"), listen(t, h.Store, "topic"), listen(t, h.Store, "topic")}
	want := numbers(50)
	for _, payload := range want {
		publish(t, h.Store, "topic", payload)
	}
	for i, l := range listeners {
		if got := l.until(t, "49"); !slices.Equal(got, want) {
			t.Errorf("subscriber %d got %v; want 0 to 49 in order", i, got)
		}
	}
}

func checkTopics(t testing.TB, h Harness) {
	topics := []string{"a", "b", "ab", "a*", "*", "A", ""}
	listeners := make(map[string]*listener)
	for _, topic := range topics {
		listeners[topic] = listen(t, h.Store, topic)
	}
	for _, topic := range topics {
		publish(t, h.Store, topic, "to "+topic)
		publish(t, h.Store, topic, "end")
	}
	for _, topic := range topics {
		if got := listeners[topic].until(t, "end"); !slices.Equal(got, []string{"to " + topic, "end"}) {
			t.Errorf("the subscriber of %q got %q", topic, got)
		}
	}
}

func checkPayloads(t testing.TB, h Harness) {
	l := listen(t, h.Store, "topic")
	want := []string{"", "\x00\xff\r\n", "中文", strings.Repeat("x", 10_000), "end"}
	for _, payload := range want {
		publish(t, h.Store, "topic", payload)
	}
	if got := l.until(t, "end"); !slices.Equal(got, want) {
		t.Errorf("payloads arrived changed: %q", got)
	}
}

func checkNoSubscribers(t testing.TB, h Harness) {
	publish(t, h.Store, "topic", "before anyone listens")
	l := listen(t, h.Store, "topic")
	publish(t, h.Store, "topic", "end")
	l.until(t, "end") // what was on its way when it subscribed may come, too
}

// Each publisher's messages stay in its order, and all subscribers get all.
func checkManyPublishers(t testing.TB, h Harness) {
	const publishers, each = 10, 20
	listeners := []*listener{listen(t, h.Store, "topic"), listen(t, h.Store, "topic")}
	race(publishers, func(p int) {
		for i := range each {
			if err := h.Store.Publish(t.Context(), "topic", fmt.Sprintf("%d:%d", p, i)); err != nil {
				t.Errorf("Publish: %v", err)
			}
		}
	})
	publish(t, h.Store, "topic", "end")
	for _, l := range listeners {
		got := l.until(t, "end")
		if len(got) != publishers*each+1 {
			t.Errorf("a subscriber got %d messages; want %d", len(got), publishers*each+1)
		}
		next := make(map[string]int)
		for _, payload := range got[:len(got)-1] {
			p, i, _ := strings.Cut(payload, ":")
			if i != strconv.Itoa(next[p]) {
				t.Fatalf("message %s of publisher %s came when %d was due", i, p, next[p])
			}
			next[p]++
		}
	}
}

// A request that has ended must not be called back: what fn uses is gone.
func checkCancel(t testing.TB, h Harness) {
	witness := listen(t, h.Store, "topic")
	var over atomic.Bool
	live := make(chan struct{})
	var once sync.Once
	cancel := h.Store.Subscribe("topic", func(store.Notice) {
		if over.Load() {
			t.Error("fn was called after cancel had returned")
		}
		once.Do(func() { close(live) })
	})
	publishUntil(t, h.Store, "topic", live)
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() { publishStream(t, h.Store, stop) })
	cancel()
	over.Store(true)
	close(stop)
	publisher.Wait()
	cancel() // again, as a deferred call may
	for _, payload := range append(numbers(20), "end") {
		publish(t, h.Store, "topic", payload)
	}
	witness.until(t, "end")
}

func publishStream(t testing.TB, s store.Store, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		if err := s.Publish(t.Context(), "topic", "stream"); err != nil {
			t.Errorf("Publish: %v", err)
			return
		}
	}
}

// cancel returns only when a call that is under way has returned.
func checkCancelWaits(t testing.TB, h Harness) {
	entered, leave, left := make(chan struct{}), make(chan struct{}), atomic.Bool{}
	var once sync.Once
	cancel := h.Store.Subscribe("topic", func(n store.Notice) {
		if n.Kind != store.Message {
			return
		}
		once.Do(func() {
			close(entered)
			<-leave
			left.Store(true)
		})
	})
	publishUntil(t, h.Store, "topic", entered)
	cancelled := make(chan struct{})
	go func() {
		defer close(cancelled)
		cancel()
		if !left.Load() {
			t.Error("cancel returned while fn was running")
		}
	}()
	publish(t, h.Store, "topic", "more") // waits for neither
	select {
	case <-cancelled: // which has failed the test
	case <-time.After(100 * time.Millisecond): // it does wait, as it should
	}
	close(leave)
	wait(t, cancelled, "cancel")
}

// A subscriber that is held up gets what came in the meantime, in order.
func checkSlow(t testing.TB, h Harness) {
	entered, leave, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	var got []string
	cancel := h.Store.Subscribe("topic", func(n store.Notice) {
		if n.Kind != store.Message {
			return
		}
		once.Do(func() {
			close(entered)
			<-leave
		})
		if n.Payload != probe {
			got = append(got, n.Payload)
		}
		if n.Payload == "29" {
			close(done)
		}
	})
	defer cancel()
	publishUntil(t, h.Store, "topic", entered)
	want := numbers(30)
	for _, payload := range want {
		publish(t, h.Store, "topic", payload)
	}
	close(leave)
	wait(t, done, "the last message")
	if !slices.Equal(got, want) {
		t.Errorf("the slow subscriber got %v; want 0 to 29 in order", got)
	}
}

// fn may read, write and publish: caches do, to fill themselves anew.
func checkReentrant(t testing.TB, h Harness) {
	second := listen(t, h.Store, "second")
	live := make(chan struct{})
	var once sync.Once
	cancel := h.Store.Subscribe("first", func(n store.Notice) {
		if n.Kind != store.Message {
			return
		}
		if n.Payload == probe {
			once.Do(func() { close(live) })
			return
		}
		for _, key := range []string{"kept:" + n.Payload, store.VolatilePrefix + n.Payload} {
			if err := h.Store.Set(t.Context(), key, []byte("seen"), 0); err != nil {
				t.Errorf("Set: %v", err)
			}
			if _, found, err := h.Store.Get(t.Context(), key); err != nil || !found {
				t.Errorf("Get = %v, %v; want it found", found, err)
			}
		}
		if err := h.Store.Publish(t.Context(), "second", n.Payload); err != nil {
			t.Errorf("Publish: %v", err)
		}
	})
	defer cancel()
	publishUntil(t, h.Store, "first", live)
	for _, payload := range numbers(10) {
		publish(t, h.Store, "first", payload)
	}
	if got := second.until(t, "9"); !slices.Equal(got, numbers(10)) {
		t.Errorf("got %v; want 0 to 9", got)
	}
}
