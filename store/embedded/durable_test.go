// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// holdCommits keeps the token of the committing caller, as a transaction that is
// being synced does, until release is called.
func holdCommits(d *durable) (release func()) {
	d.lead <- struct{}{}
	return func() { <-d.lead }
}

// queued waits until n writes are in the queue.
func queued(d *durable, n int) {
	for {
		d.mu.Lock()
		have := len(d.queue)
		d.mu.Unlock()
		if have == n {
			return
		}
		runtime.Gosched()
	}
}

func lastTransaction(t *testing.T, d *durable) (id int) {
	t.Helper()
	if err := d.db.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

// Those who wait during a sync share the next one.
func TestCommit_WritersShareATransaction(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	d := s.durable.Load()
	before := lastTransaction(t, d)
	release := holdCommits(d)
	var writers sync.WaitGroup
	for i := range 50 {
		writers.Go(func() { set(t, s, fmt.Sprintf("kept:%d", i), "value", 0) })
	}
	queued(d, 50)
	release()
	writers.Wait()
	if got := lastTransaction(t, d) - before; got != 1 {
		t.Errorf("50 waiting writers took %d transactions; want 1", got)
	}
	wantValue(t, s, "kept:49", "value")
}

// What writes nothing syncs nothing: a flood of replays costs no disk.
func TestCommit_NothingWrittenNothingSynced(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	set(t, s, "kept:a", "value", 0)
	d := s.durable.Load()
	before := lastTransaction(t, d)
	if _, err := s.Create(t.Context(), "kept:a", nil, 0); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Take(t.Context(), "kept:absent"); err != nil {
		t.Error(err)
	}
	if err := s.Update(t.Context(), "kept:a", func([]byte, bool) ([]byte, time.Duration, error) { return nil, 0, nil }); err != nil {
		t.Error(err)
	}
	if got := lastTransaction(t, d) - before; got != 0 {
		t.Errorf("%d transactions were committed; want none", got)
	}
}

// A caller that gives up while others commit has written nothing, now or later.
func TestCommit_CancelledInQueue(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	d := s.durable.Load()
	release := holdCommits(d)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- s.Set(ctx, "kept:a", []byte("value"), 0) }()
	queued(d, 1)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("Set = %v; want context.Canceled", err)
	}
	release()
	set(t, s, "kept:b", "value", 0)
	if _, found, err := s.Get(t.Context(), "kept:a"); found || err != nil {
		t.Errorf("the cancelled write is there: %v, %v", found, err)
	}
}

// One write in a transaction fails or even panics; the others go through, the
// panic reaches the caller whose change it was, and the store works on.
func TestCommit_FailuresStayWithTheirCaller(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	d := s.durable.Load()
	errRefused := errors.New("refused")
	release := holdCommits(d)
	var callers sync.WaitGroup
	for i := range 10 {
		callers.Go(func() { set(t, s, fmt.Sprintf("kept:%d", i), "value", 0) })
		callers.Go(func() {
			err := s.Update(t.Context(), fmt.Sprintf("kept:%d", i), func([]byte, bool) ([]byte, time.Duration, error) {
				return nil, 0, errRefused
			})
			if !errors.Is(err, errRefused) {
				t.Errorf("Update = %v; want change's error", err)
			}
		})
		callers.Go(func() {
			defer func() {
				if p := recover(); p != i {
					t.Errorf("caller %d recovered %v", i, p)
				}
			}()
			_ = s.Update(t.Context(), "kept:x", func([]byte, bool) ([]byte, time.Duration, error) { panic(i) })
		})
	}
	queued(d, 30)
	release()
	callers.Wait()
	for i := range 10 {
		wantValue(t, s, fmt.Sprintf("kept:%d", i), "value")
	}
}

// A panic of change leaves no lock of a volatile key behind.
func TestUpdate_PanicUnlocksVolatile(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(t.Context(), "tmp:a", func([]byte, bool) ([]byte, time.Duration, error) { panic("change") })
	}()
	set(t, s, "tmp:a", "value", 0)
	wantValue(t, s, "tmp:a", "value")
}

// A goroutine that ends within change, as t.FailNow ends it, does not hang the others.
func TestCommit_ChangeThatNeverReturns(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Update(t.Context(), "kept:a", func([]byte, bool) ([]byte, time.Duration, error) { runtime.Goexit(); return nil, 0, nil })
	}()
	<-ended
	set(t, s, "kept:a", "value", 0)
	wantValue(t, s, "kept:a", "value")
}

// filledFile returns the path of a closed database with a few hundred entries.
func filledFile(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, nil)
	err := s.durable.Load().write(t.Context(), func(r *records) error {
		for i := range 500 {
			_ = r.put(fmt.Sprintf("kept:%d", i), bytes.Repeat([]byte("value"), 50), 0)
		}
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, FileName)
}

// Whatever happened to the file, the store says so, names it, and does not touch
// it: the operator may be able to save what is in there.
func TestOpen_DamagedFileIsLeftAlone(t *testing.T) {
	tests := []struct {
		name   string
		damage func(content []byte) []byte
	}{
		{"another kind of file", func([]byte) []byte { return bytes.Repeat([]byte("PK\x03\x04"), 20_000) }},
		{"a few bytes", func([]byte) []byte { return []byte("hello") }},
		{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
		{"both headers overwritten", func(b []byte) []byte {
			return append(bytes.Repeat([]byte{0xaa}, 3*os.Getpagesize()), b[3*os.Getpagesize():]...)
		}},
		{"cut short behind the headers", func(b []byte) []byte { return b[:2*os.Getpagesize()] }},
		{"cut short in the middle", func(b []byte) []byte { return b[:3*os.Getpagesize()+100] }},
		{"all pages overwritten", func(b []byte) []byte {
			return append(b[:2*os.Getpagesize():2*os.Getpagesize()], bytes.Repeat([]byte{0xff}, len(b)-2*os.Getpagesize())...)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, path := filledFile(t)
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := tt.damage(bytes.Clone(good))
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			s := New(Config{Dir: dir})
			defer s.Close()
			wantUnavailable(t, s.Open(), path, "restore a backup")
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, bad) {
				t.Errorf("the damaged file was changed: %v", err)
			}
			wantUnavailable(t, s.Open(), path, "restore a backup")
			replaceFile(t, path, good)
			wantValue(t, s, "kept:499", string(bytes.Repeat([]byte("value"), 50)))
		})
	}
}

// replaceFile puts a backup in the place of path.
func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".backup", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".backup", path); err != nil {
		t.Fatal(err)
	}
}

// Pages that are damaged while the store is open make errors, neither absent keys
// nor the end of the process, and a backup put in place is used without a restart.
func TestStore_DamagedWhileOpen(t *testing.T) {
	tests := []struct {
		name   string
		damage func(f *os.File) error
	}{
		{"overwritten", func(f *os.File) error {
			_, err := f.WriteAt(bytes.Repeat([]byte{0xff}, 1<<17), int64(2*os.Getpagesize()))
			return err
		}},
		{"cut short", func(f *os.File) error { return f.Truncate(int64(2 * os.Getpagesize())) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, path := filledFile(t)
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := open(t, dir, nil)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tt.damage(f), f.Close()); err != nil {
				t.Fatal(err)
			}
			_, _, err = s.Get(t.Context(), "kept:1")
			wantUnavailable(t, err, path, "damaged")
			_, _, err = s.List(t.Context(), "kept:", "", 1000)
			wantUnavailable(t, err, path, "damaged")
			err = s.Set(t.Context(), "kept:1", []byte("value"), 0)
			wantUnavailable(t, err, path, "damaged")
			_, err = s.Create(t.Context(), "kept:2", []byte("value"), 0)
			wantUnavailable(t, err, path, "damaged")
			wantUnavailable(t, s.Ping(t.Context()), path, "damaged")
			replaceFile(t, path, good)
			wantValue(t, s, "kept:1", string(bytes.Repeat([]byte("value"), 50)))
			set(t, s, "kept:1", "value", 0)
		})
	}
}
