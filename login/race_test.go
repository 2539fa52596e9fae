// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestQ3OneOfManyConsumers(t *testing.T) {
	f := newFixture(t, ConfirmOff)
	a := f.begin()
	f.scan(a, person)
	var won atomic.Int64
	parallel(200, func(i int) {
		switch err := f.Consume(t.Context(), a.ID, browser, fmt.Sprint("session", i)); {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, ErrState):
			t.Errorf("consumer %d: %v", i, err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d requests consumed the attempt, want 1", won.Load())
	}
}

func TestQ10OneFirstScanner(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a := f.begin()
	owners := make([]string, 100)
	parallel(len(owners), func(i int) {
		got, err := f.Scan(t.Context(), app, a.Scene, Person{OpenID: fmt.Sprint("person", i)})
		if err != nil {
			t.Error(err)
		}
		owners[i] = got.OpenID
	})
	for i, owner := range owners {
		if owner == "" || owner != owners[0] {
			t.Fatalf("person %d is told that the attempt is %q's, person 0 %q's", i, owner, owners[0])
		}
	}
}

func TestQ10OneAnswerCounts(t *testing.T) {
	for range 25 {
		f := newFixture(t, ConfirmNumber)
		a := f.begin()
		f.scan(a, person)
		choices := append(a.Choices, ChoiceCancel)
		var denied, consumed atomic.Int64
		parallel(40, func(i int) {
			got, changed, err := f.Answer(t.Context(), a.Token, choices[i%len(choices)], Person{})
			if err != nil {
				t.Error(err)
			}
			if changed && got.State == Denied {
				denied.Add(1)
			}
			if i%8 == 0 && f.Consume(t.Context(), a.ID, browser, "session") == nil {
				consumed.Add(1)
			}
		})
		state := f.state(a)
		if denied.Load() > 1 || consumed.Load() > 1 {
			t.Fatalf("denied %d times, consumed %d times", denied.Load(), consumed.Load())
		}
		if (denied.Load() == 1) != (state == Denied) || (consumed.Load() == 1) != (state == Consumed) {
			t.Fatalf("denied %d times, consumed %d times, and then %s", denied.Load(), consumed.Load(), state)
		}
	}
}

func parallel(n int, fn func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	all.Wait()
}
