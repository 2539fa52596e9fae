// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package embedded

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// The disk is full: here the process may not make files any larger, which the
// system answers to the same writes. Nothing is lost, and once there is room the
// store goes on by itself.
func TestStore_RecoversFromFullDisk(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	set(t, s, "kept:before", "value", 0)
	lift := limitFileSize(t, 4<<20) // the test's own log needs some, too
	large := strings.Repeat("x", 60_000)
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = s.Set(t.Context(), fmt.Sprintf("kept:%d", n), []byte(large), 0)
	}
	wantUnavailable(t, err, s.path)
	failed := fmt.Sprintf("kept:%d", n-1)
	if _, found, err := s.Get(t.Context(), failed); found || err != nil {
		t.Errorf("the write that failed is there: %v, %v", found, err)
	}
	lift()
	set(t, s, failed, large, 0)
	for i := range n {
		wantValue(t, s, fmt.Sprintf("kept:%d", i), large)
	}
	wantValue(t, s, "kept:before", "value")
	err = s.durable.Load().db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("the file is not consistent: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

func limitFileSize(t *testing.T, bytes uint64) (lift func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(lift)
	return lift
}
