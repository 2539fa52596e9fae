// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var contentionChecks = []keyCheck{
	{"Create_OneOfManyWins", checkCreateRace},
	{"Take_OneOfManyWins", checkTakeRace},
	{"Delete_OneOfManySaysExisted", checkDeleteRace},
	{"Update_CountsEveryIncrement", checkUpdateRace},
	{"Update_SeesNoHalfWrites", checkTornWrites},
}

const contenders = 200

// race calls fn from many goroutines that start together.
func race(n int, fn func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}

// Two hundred replays of one WeChat event arrive at once: one is the first.
func checkCreateRace(t testing.TB, h Harness, key func(string) string) {
	var winners atomic.Int64
	var winner atomic.Int64
	race(contenders, func(i int) {
		created, err := h.Store.Create(t.Context(), key("a"), []byte(strconv.Itoa(i)), time.Hour)
		if err != nil {
			t.Errorf("Create: %v", err)
		}
		if created {
			winners.Add(1)
			winner.Store(int64(i))
		}
	})
	if n := winners.Load(); n != 1 {
		t.Fatalf("%d of %d concurrent Creates won; want 1", n, contenders)
	}
	wantValue(t, h.Store, key("a"), strconv.FormatInt(winner.Load(), 10))
}

// Two hundred requests consume one confirmed attempt: one gets the session.
func checkTakeRace(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("a"), "prize", 0)
	var winners atomic.Int64
	race(contenders, func(int) {
		value, found, err := h.Store.Take(t.Context(), key("a"))
		if err != nil {
			t.Errorf("Take: %v", err)
		}
		if found {
			winners.Add(1)
			if string(value) != "prize" {
				t.Errorf("Take returned %q", value)
			}
		}
	})
	if n := winners.Load(); n != 1 {
		t.Fatalf("%d of %d concurrent Takes won; want 1", n, contenders)
	}
	wantAbsent(t, h.Store, key("a"))
}

func checkDeleteRace(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("a"), "value", 0)
	var winners atomic.Int64
	race(contenders, func(int) {
		existed, err := h.Store.Delete(t.Context(), key("a"))
		if err != nil {
			t.Errorf("Delete: %v", err)
		}
		if existed {
			winners.Add(1)
		}
	})
	if n := winners.Load(); n != 1 {
		t.Fatalf("%d of %d concurrent Deletes said that the key existed; want 1", n, contenders)
	}
}

// No increment is lost or counted twice, even where change runs more than once.
func checkUpdateRace(t testing.TB, h Harness, key func(string) string) {
	const goroutines, each = 50, 4
	increment := func(current []byte, found bool) ([]byte, time.Duration, error) {
		n := 0
		if found {
			var err error
			if n, err = strconv.Atoi(string(current)); err != nil {
				return nil, 0, err
			}
		}
		return []byte(strconv.Itoa(n + 1)), time.Hour, nil
	}
	race(goroutines, func(int) {
		for range each {
			if err := h.Store.Update(t.Context(), key("counter"), increment); err != nil {
				t.Errorf("Update: %v", err)
			}
		}
	})
	wantValue(t, h.Store, key("counter"), strconv.Itoa(goroutines*each))
}

// Writers of every kind meet on one key. Whoever reads sees one whole value that
// somebody wrote, never a mixture.
func checkTornWrites(t testing.TB, h Harness, key func(string) string) {
	const each = 5
	const letters = "abcdefghijklmnopqrstuvwxy" // one for each writer
	value := func(i int) []byte { return bytes.Repeat([]byte{letters[i]}, 1000+i) }
	whole := func(b []byte) error {
		if len(b) < 1000 || !bytes.Equal(b, value(len(b)-1000)) {
			return fmt.Errorf("a value of %d bytes that no one wrote", len(b))
		}
		return nil
	}
	race(len(letters), func(i int) {
		for range each {
			if err := mixedOperation(t, h, key("a"), i, value(i), whole); err != nil {
				t.Error(err)
			}
		}
	})
}

func mixedOperation(t testing.TB, h Harness, key string, i int, value []byte, whole func([]byte) error) (err error) {
	var got []byte
	var found bool
	switch i % 5 {
	case 0:
		err = h.Store.Set(t.Context(), key, value, 0)
	case 1:
		_, err = h.Store.Create(t.Context(), key, value, 0)
	case 2:
		got, found, err = h.Store.Take(t.Context(), key)
	case 3:
		got, found, err = h.Store.Get(t.Context(), key)
	case 4:
		err = h.Store.Update(t.Context(), key, func(current []byte, found bool) ([]byte, time.Duration, error) {
			if found {
				return value, 0, whole(current)
			}
			return value, 0, nil
		})
	}
	if err == nil && found {
		err = whole(got)
	}
	return err
}
