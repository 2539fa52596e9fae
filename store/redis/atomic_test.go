// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
)

// unreliable resets connections again and again, before requests and after: whoever
// gets an error cannot know what has been done.
func unreliable(r *relay) {
	var n atomic.Int64
	r.decide(func(request string) fate {
		if strings.Contains(request, "hello") {
			return passes // or hardly anything would be asked at all
		}
		switch n.Add(1) % 7 {
		case 2:
			return cutBefore
		case 5:
			return cutAfter
		}
		return passes
	})
}

// crowd runs fn 200 times at once, in groups of connections that are reset.
func crowd(fn func(i int)) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range 200 {
		all.Go(func() {
			<-begin
			fn(i)
		})
	}
	close(begin)
	all.Wait()
}

// One WeChat event is delivered to many nodes, and one confirmed attempt consumed by
// many browsers, while the network fails: never do two of them win. The winner may
// be one who does not know.
func TestAmbiguity_OneWinner(t *testing.T) {
	server := sharedServer()
	r := newRelay(t, server.Addr())
	direct := newStore(t, alone(configOf(server.Addr())))
	s := newStore(t, Config{Addresses: []string{r.addr()}, KeyPrefix: direct.prefix})
	unreliable(r)
	for round := range 5 {
		key := "kept:" + strconv.Itoa(round)
		var created, taken, unknown atomic.Int64
		var winner atomic.Int64
		var failed sync.Map // who does not know whether he has won
		crowd(func(i int) {
			won, err := s.Create(t.Context(), key, []byte(strconv.Itoa(i)), time.Hour)
			if won {
				created.Add(1)
				winner.Store(int64(i))
			}
			if err != nil {
				failed.Store(strconv.Itoa(i), true)
			}
			countUnknown(t, err, &unknown)
		})
		value, found, err := direct.Get(t.Context(), key)
		if err != nil || !found {
			t.Fatalf("after 200 Creates, Get = %v, %v", found, err)
		}
		// An entry of someone who was told that it is another's would be nobody's.
		if _, doubtful := failed.Load(string(value)); created.Load() > 1 || created.Load() == 0 && !doubtful {
			t.Errorf("%d Creates won, and the value is that of %s", created.Load(), value)
		} else if created.Load() == 1 && string(value) != strconv.FormatInt(winner.Load(), 10) {
			t.Errorf("%d won, and the value is that of %s", winner.Load(), value)
		}
		if unknown.Load() == 0 {
			t.Error("no call has failed: the network is too good")
		}
		unknown.Store(0)
		crowd(func(int) {
			_, won, err := s.Take(t.Context(), key)
			if won {
				taken.Add(1)
			}
			countUnknown(t, err, &unknown)
		})
		if n := taken.Load(); n > 1 || n == 0 && unknown.Load() == 0 {
			t.Errorf("%d Takes won, %d do not know", n, unknown.Load())
		}
	}
}

func countUnknown(t testing.TB, err error, unknown *atomic.Int64) {
	if err == nil {
		return
	}
	unknown.Add(1)
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v; want ErrUnavailable", err)
	}
}

// No increment that was acknowledged is lost, and none is made twice.
func TestAmbiguity_UpdateCounts(t *testing.T) {
	server := sharedServer()
	r := newRelay(t, server.Addr())
	direct := newStore(t, alone(configOf(server.Addr())))
	c := Config{Addresses: []string{r.addr()}, KeyPrefix: direct.prefix}
	nodes := []*Store{newStore(t, c), newStore(t, c)} // which contend
	unreliable(r)
	var done, unknown atomic.Int64
	crowd(func(i int) {
		err := increment(t.Context(), nodes[i%2], "kept:counter")
		if err == nil {
			done.Add(1)
		}
		countUnknown(t, err, &unknown)
	})
	value, _, err := direct.Get(t.Context(), "kept:counter")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < done.Load() || n > done.Load()+unknown.Load() {
		t.Errorf("the counter is %q after %d increments and %d that may have been made", value, done.Load(), unknown.Load())
	}
	if done.Load() == 0 || unknown.Load() == 0 {
		t.Errorf("%d increments succeeded and %d failed: the test shows nothing", done.Load(), unknown.Load())
	}
}

// A write and its announcement are one command, so one step: no crash of ours can
// come between them.
func TestAnnounce_IsPartOfTheWrite(t *testing.T) {
	server := redistest.Start(t)
	s := newStore(t, configOf(server.Addr())) // no listener, which sends commands, too
	told := store.Announcement{Topic: "topic", Payload: "payload"}
	write := func() error {
		return s.Update(t.Context(), "kept:a", func([]byte, bool) ([]byte, time.Duration, error) { return []byte("v"), time.Hour, nil }, told, told)
	}
	remove := func() error { _, err := s.Delete(t.Context(), "kept:a", told); return err }
	for _, call := range []func() error{write, remove} { // Redis knows the scripts now
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		call func() error
		want map[string]int // how often each command ran; those in the script count, too
	}{
		{"update", write, map[string]int{"evalsha": 1, "eval": 0, "get": 2, "set": 1, "publish": 2}},
		{"delete", remove, map[string]int{"evalsha": 1, "eval": 0, "get": 0, "del": 1, "publish": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server.Do(t, "CONFIG", "RESETSTAT")
			if err := test.call(); err != nil {
				t.Fatal(err)
			}
			stats := server.Do(t, "INFO", "commandstats")
			for command, want := range test.want {
				_, rest, _ := strings.Cut(stats, "cmdstat_"+command+":calls=")
				count, _, _ := strings.Cut(rest, ",")
				if got, _ := strconv.Atoi(count); got != want {
					t.Errorf("%s ran %d times; want %d:\n%s", command, got, want, stats)
				}
			}
		})
	}
}

// The node that signs a visitor out dies, or its connection does, right after it has
// asked: whatever was done, all the others hear of it.
func TestAnnounce_SurvivesALostAnswer(t *testing.T) {
	server := redistest.Start(t)
	r := newRelay(t, server.Addr())
	c := alone(configOf(server.Addr()))
	there := openStore(t, c)
	c.Addresses = []string{r.addr()}
	here := newStore(t, c)
	calls := map[string]func(key string) error{
		"Update": func(key string) error {
			return here.Update(t.Context(), key, func([]byte, bool) ([]byte, time.Duration, error) {
				return []byte("written"), time.Hour, nil
			}, store.Announcement{Topic: "topic", Payload: key})
		},
		"Delete": func(key string) error {
			_, err := here.Delete(t.Context(), key, store.Announcement{Topic: "topic", Payload: key})
			return err
		},
	}
	for name, call := range calls { // Redis knows the scripts now
		if err := call("kept:" + name); err != nil {
			t.Fatal(err)
		}
	}
	told := listenTo(t, there, "topic")
	for name, call := range calls {
		for _, f := range []struct {
			name string
			fate fate
			done bool
		}{{"cut before", cutBefore, false}, {"cut after", cutAfter, true}} {
			t.Run(name+"/"+f.name, func(t *testing.T) {
				key := "kept:" + name + f.name
				if err := there.Set(t.Context(), key, []byte("old"), 0); err != nil {
					t.Fatal(err)
				}
				met := r.once("evalsha", f.fate)
				if err := call(key); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s = %v; want ErrUnavailable", name, err)
				}
				<-met
				value, _, err := there.Get(t.Context(), key)
				if err != nil || (string(value) == "old") == f.done {
					t.Errorf("the value is %q, %v", value, err)
				}
				if err := there.Publish(t.Context(), "topic", "end of "+key); err != nil {
					t.Fatal(err)
				}
				told.await(t, "end of "+key)
				heard := strings.Contains(strings.Join(told.messages(), "\n")+"\n", "\n"+key+"\n") || told.messages()[0] == key
				if heard != f.done {
					t.Errorf("heard %q; want it announced: %v", told.messages(), f.done)
				}
			})
		}
	}
}

// The same while Redis hangs: it carries out later what it was sent.
func TestAnnounce_AfterAPause(t *testing.T) {
	server := redistest.Start(t)
	s := openStore(t, configOf(server.Addr()))
	here := newStore(t, configOf(server.Addr()))
	if _, err := here.Delete(t.Context(), "kept:a"); err != nil {
		t.Fatal(err)
	}
	told := listenTo(t, s, "topic")
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := here.Delete(ctx, "kept:a", store.Announcement{Topic: "topic", Payload: "deleted"}); err == nil {
		t.Error("Delete succeeds on a server that hangs")
	}
	server.Resume()
	eventually(t, "the announcement, or the notice that some are lost", func() bool {
		return told.has(store.Lost) || len(told.messages()) > 0
	})
}
