// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkGet_Durable(b *testing.B) { benchmarkGet(b, "kept:") }

func BenchmarkGet_Volatile(b *testing.B) { benchmarkGet(b, "tmp:") }

func benchmarkGet(b *testing.B, prefix string) {
	s := open(b, b.TempDir(), nil)
	set(b, s, prefix+"a", "a value about as long as the record of a session: 0123456789", time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if _, found, err := s.Get(b.Context(), prefix+"a"); err != nil || !found {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkSet_DurableSerial(b *testing.B) {
	s := open(b, b.TempDir(), nil)
	for b.Loop() {
		set(b, s, "kept:a", "value", time.Hour)
	}
}

// The number of callers is what shares a sync, not the number of processors.
func BenchmarkSet_DurableParallel(b *testing.B) {
	s := open(b, b.TempDir(), nil)
	var n atomic.Int64
	b.SetParallelism(100)
	b.RunParallel(func(pb *testing.PB) {
		key := "kept:" + strconv.FormatInt(n.Add(1), 10)
		for pb.Next() {
			set(b, s, key, "value", time.Hour)
		}
	})
}

func BenchmarkUpdate_VolatileParallel(b *testing.B) {
	s := open(b, b.TempDir(), nil)
	var n atomic.Int64
	next := []byte("value")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		key := "tmp:" + strconv.FormatInt(n.Add(1), 10)
		for pb.Next() {
			err := s.Update(b.Context(), key, func([]byte, bool) ([]byte, time.Duration, error) {
				return next, time.Hour, nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
