// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// wantUnavailable fails the test where err is not an outage that says all of parts.
func wantUnavailable(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v; want ErrUnavailable", err)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func set(t testing.TB, s *Store, key, value string, ttl time.Duration) {
	t.Helper()
	if err := s.Set(t.Context(), key, []byte(value), ttl); err != nil {
		t.Fatal(err)
	}
}

func wantValue(t testing.TB, s *Store, key, want string) {
	t.Helper()
	value, found, err := s.Get(t.Context(), key)
	if err != nil || !found || string(value) != want {
		t.Errorf("Get(%q) = %q, %v, %v; want %q", key, value, found, err, want)
	}
}

// `caddy validate` beside a running server makes a store and must leave no trace.
func TestNew_TouchesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := New(Config{Dir: dir})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("New made %s: %v", dir, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close of a store never opened: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Close made %s: %v", dir, err)
	}
}

func TestOpen_MakesPrivateDirAndFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "wechat")
	s := open(t, dir, nil)
	if err := s.Open(); err != nil {
		t.Errorf("second Open: %v", err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, FileName): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s is %o; want %o", path, got, want)
		}
	}
}

// Requests may arrive before the store was opened: the first one opens it.
func TestStore_OpensWithFirstOperation(t *testing.T) {
	s := New(Config{Dir: t.TempDir()})
	defer s.Close()
	var callers sync.WaitGroup
	for i := range 20 {
		callers.Go(func() { set(t, s, fmt.Sprintf("kept:%d", i), "value", 0) })
	}
	callers.Wait()
	wantValue(t, s, "kept:19", "value")
}

func TestStore_KeepsDurableOnly(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c.Now)
	set(t, s, "kept:a", "value", 0)
	set(t, s, "kept:b", "value", time.Hour)
	set(t, s, store.VolatilePrefix+"a", "value", 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, c.Now)
	wantValue(t, again, "kept:a", "value")
	wantValue(t, again, "kept:b", "value")
	if _, found, err := again.Get(t.Context(), store.VolatilePrefix+"a"); found || err != nil {
		t.Errorf("volatile key after reopening: %v, %v; want it forgotten", found, err)
	}
	c.Advance(time.Hour)
	if _, found, err := again.Get(t.Context(), "kept:b"); found || err != nil {
		t.Errorf("key past its ttl: %v, %v; want it absent", found, err)
	}
}

// The operator repairs what kept the file from being opened; the store recovers
// without a restart. (Tests may run as root, whom no permission stops: something
// in the way does.)
func TestStore_RecoversFromFailedOpen(t *testing.T) {
	tests := []struct {
		name string
		bar  func(t *testing.T, dir string) (unbar func() error)
	}{
		{"a file in place of the directory", func(t *testing.T, dir string) func() error {
			if err := os.WriteFile(dir, []byte("in the way"), 0o600); err != nil {
				t.Fatal(err)
			}
			return func() error { return os.Remove(dir) }
		}},
		{"a directory in place of the file", func(t *testing.T, dir string) func() error {
			path := filepath.Join(dir, FileName)
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			return func() error { return os.Remove(path) }
		}},
		{"a damaged file", func(t *testing.T, dir string) func() error {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, FileName)
			if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 9000)), 0o600); err != nil {
				t.Fatal(err)
			}
			return func() error { return os.Rename(path, path+".bad") }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			unbar := tt.bar(t, dir)
			s := New(Config{Dir: dir})
			defer s.Close()
			wantUnavailable(t, s.Open(), filepath.Join(dir, FileName))
			for name, err := range everyOperation(t.Context(), s) {
				if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s = %v; want ErrUnavailable", name, err)
				}
			}
			if err := unbar(); err != nil {
				t.Fatal(err)
			}
			set(t, s, "kept:a", "value", 0)
			wantValue(t, s, "kept:a", "value")
		})
	}
}

// everyOperation calls every method and returns its error.
func everyOperation(ctx context.Context, s *Store) map[string]error {
	errs := make(map[string]error)
	for _, key := range []string{"kept:a", store.VolatilePrefix + "a"} {
		_, _, errs["Get "+key] = s.Get(ctx, key)
		errs["Set "+key] = s.Set(ctx, key, nil, 0)
		_, errs["Create "+key] = s.Create(ctx, key, nil, 0)
		_, _, errs["Take "+key] = s.Take(ctx, key)
		_, errs["Delete "+key] = s.Delete(ctx, key)
		_, _, errs["List "+key] = s.List(ctx, key, "", 1)
		errs["Update "+key] = s.Update(ctx, key, func([]byte, bool) ([]byte, time.Duration, error) { return []byte{}, 0, nil })
	}
	errs["Publish"] = s.Publish(ctx, "topic", "")
	errs["Ping"] = s.Ping(ctx)
	return errs
}

// After a reload handlers of the old config still run. They get an error, not a
// crash, and no key looks absent to them.
func TestClose_LaterOperationsFail(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	set(t, s, "kept:a", "value", 0)
	old := s.durable.Load() // as an operation under way holds it
	cancel := s.Subscribe("topic", func(store.Notice) {})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	for name, err := range everyOperation(t.Context(), s) {
		wantUnavailable(t, err, "closed")
		if err == nil {
			t.Errorf("%s went on after Close", name)
		}
	}
	wantUnavailable(t, s.Open(), "closed")
	_, _, err := old.get("kept:a")
	wantUnavailable(t, err, "closed")
	wantUnavailable(t, old.ping(t.Context()), "closed")
	cancel()
	s.Subscribe("topic", func(store.Notice) {})()
}

func TestClose_WhileInUse(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	var users sync.WaitGroup
	var began atomic.Int64
	busy := make(chan struct{})
	for i := range 16 {
		users.Go(func() {
			for {
				for name, err := range everyOperation(t.Context(), s) {
					if err != nil && !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("%s = %v; want nil or ErrUnavailable", name, err)
					}
				}
				if began.Add(1) == 16 {
					close(busy)
				}
				if err := s.Set(t.Context(), fmt.Sprintf("kept:%d", i), nil, 0); err != nil {
					return
				}
			}
		})
	}
	<-busy
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	users.Wait()
}

// A subscriber that reads the store while it is being closed does not lock up.
func TestClose_WaitsForSubscriber(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	s.Subscribe("topic", func(store.Notice) {
		close(entered)
		<-leave
		_, _, err := s.Get(t.Context(), "kept:a")
		wantUnavailable(t, err, "closed")
	})
	if err := s.Publish(t.Context(), "topic", "payload"); err != nil {
		t.Fatal(err)
	}
	<-entered
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	for s.durable.Load() != nil { // until Close has begun
		_ = s.Publish(t.Context(), "other topic", "")
	}
	close(leave)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Expired entries, more than one step of the sweeper takes, leave the file and the
// memory; what is alive, or was written anew, stays.
func TestSweeper_RemovesExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), nil)
		d := s.durable.Load()
		const n = 2*sweepBatch + 10
		soon := time.Now().Add(time.Second).UnixNano()
		err := d.write(t.Context(), func(r *records) error {
			for i := range n {
				_ = r.put(fmt.Sprintf("kept:%05d", i), []byte("value"), soon)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			set(t, s, fmt.Sprintf("tmp:%d", i), "value", time.Second)
		}
		set(t, s, "kept:alive", "value", time.Hour)
		set(t, s, "kept:forever", "value", 0)
		set(t, s, "tmp:alive", "value", time.Hour)
		time.Sleep(2 * time.Second) //nolint:forbidigo // in a synctest bubble
		set(t, s, "kept:00001", "anew", 0)
		if got := countRecords(t, d); got != n+2 {
			t.Fatalf("%d records before the sweep; want %d", got, n+2)
		}
		time.Sleep(sweepInterval) //nolint:forbidigo // in a synctest bubble
		synctest.Wait()
		if got := countRecords(t, d); got != 3 {
			t.Errorf("%d records after the sweep; want 3", got)
		}
		if got, want := s.volatile.size.Load(), entrySize("tmp:alive", []byte("value")); got != want {
			t.Errorf("volatile entries take %d bytes after the sweep; want %d", got, want)
		}
		wantValue(t, s, "kept:alive", "value")
		wantValue(t, s, "kept:forever", "value")
		wantValue(t, s, "kept:00001", "anew")
		wantValue(t, s, "tmp:alive", "value")
	})
}

func countRecords(t *testing.T, d *durable) (n int) {
	t.Helper()
	err := d.db.View(func(tx *bolt.Tx) error {
		n = tx.Bucket(entriesBucket).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A key that was written anew between the sweeper's look and its removal stays.
func TestSweeper_SparesWhatWasWrittenAnew(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), c.Now)
	set(t, s, "kept:a", "old", time.Second)
	set(t, s, "kept:b", "old", time.Second)
	c.Advance(time.Second)
	d := s.durable.Load()
	keys, _, err := d.expiredAfter("")
	if err != nil || len(keys) != 2 {
		t.Fatalf("expiredAfter = %v, %v; want both keys", keys, err)
	}
	set(t, s, "kept:a", "new", 0)
	if err := d.removeExpired(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, "kept:a", "new")
	if got := countRecords(t, d); got != 1 {
		t.Errorf("%d records; want 1", got)
	}
}

// A flood of volatile entries meets an error, takes bounded memory, and passes.
func TestVolatile_IsBounded(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), c.Now)
	set(t, s, "tmp:early", "value", 0)
	value := make([]byte, store.MaxValueLen)
	var err error
	written := 0
	for ; err == nil && written <= maxVolatileBytes/store.MaxValueLen; written++ {
		err = s.Set(t.Context(), fmt.Sprintf("tmp:%d", written), value, time.Minute)
	}
	wantUnavailable(t, err, "full")
	if written < maxVolatileBytes/(store.MaxValueLen+1024) {
		t.Errorf("only %d values fitted", written)
	}
	if size := s.volatile.size.Load(); size > maxVolatileBytes {
		t.Errorf("volatile entries take %d bytes; at most %d are allowed", size, maxVolatileBytes)
	}
	wantValue(t, s, "tmp:early", "value")
	set(t, s, "tmp:0", "smaller", 0)
	set(t, s, "kept:a", "durable keys are not concerned", 0)
	if found, err := s.Delete(t.Context(), "tmp:1"); err != nil || !found {
		t.Errorf("Delete = %v, %v", found, err)
	}
	set(t, s, "tmp:fits again", "value", 0)
	c.Advance(time.Minute)
	s.volatile.sweep()
	if err := s.Set(t.Context(), "tmp:after", value, 0); err != nil {
		t.Errorf("Set after the flood expired: %v", err)
	}
}

// The year 2262 is the last that 64 bits of nanoseconds know.
func TestSet_EndlessTTL(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	for _, key := range []string{"kept:a", "tmp:a"} {
		set(t, s, key, "value", 1<<63-1)
		wantValue(t, s, key, "value")
	}
}

func FuzzList_Cursor(f *testing.F) {
	s := open(f, f.TempDir(), nil)
	for _, key := range []string{"a", "b", "tmp:a", "tmp:b"} {
		set(f, s, key, "value", 0)
	}
	for _, cursor := range []string{"", "AA", "AGE", "QHRtcDph", "QQ", "/w", "%", position{1, "tmp:a"}.cursor()} {
		f.Add(cursor, "tm", 2)
	}
	f.Fuzz(func(t *testing.T, cursor, prefix string, limit int) {
		items, next, err := s.List(t.Context(), prefix, cursor, limit)
		if err != nil && (items != nil || next != "") {
			t.Errorf("List returned entries and the error %v", err)
		}
		for _, item := range items {
			if !strings.HasPrefix(item.Key, prefix) {
				t.Errorf("List(%q) returned %q", prefix, item.Key)
			}
		}
		if pos, err := parseCursor(cursor); err == nil && cursor != "" {
			if again, err := parseCursor(pos.cursor()); err != nil || again != pos {
				t.Errorf("cursor %q does not survive: %v, %v", cursor, again, err)
			}
		}
	})
}
