// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// The cost of the operations on a Redis of this machine, so mostly of the round trips.
func BenchmarkStore(b *testing.B) {
	s := openStore(b, alone(configOf(sharedServer().Addr())))
	value := make([]byte, 500) // about a session
	write := func([]byte, bool) ([]byte, time.Duration, error) { return value, time.Hour, nil }
	ended := store.Announcement{Topic: "sessions", Payload: "kept:session"}
	if err := s.Set(b.Context(), "kept:session", value, time.Hour); err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct {
		name string
		call func(ctx context.Context, key string) error
	}{
		{"Get", func(ctx context.Context, _ string) error { _, _, err := s.Get(ctx, "kept:session"); return err }},
		{"Set", func(ctx context.Context, key string) error { return s.Set(ctx, key, value, time.Hour) }},
		{"Update", func(ctx context.Context, key string) error { return s.Update(ctx, key, write) }},
		{"UpdateAndAnnounce", func(ctx context.Context, key string) error { return s.Update(ctx, key, write, ended) }},
		{"DeleteAndAnnounce", func(ctx context.Context, key string) error { _, err := s.Delete(ctx, key, ended); return err }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := bench.call(b.Context(), "kept:"+strconv.Itoa(i%1000)); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
