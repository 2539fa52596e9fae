// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// env is what the Redis of redistest lives in: not a test here.
type env struct{ cleanups []func() }

// failure is what Fatalf panics with.
type failure struct{ error }

// catch makes a failure of redistest an error.
func catch(err *error) {
	switch f := recover().(type) {
	case nil:
	case failure:
		*err = f.error
	default:
		panic(f)
	}
}

// Helper implements redistest.Env.
func (e *env) Helper() {}

// TempDir implements redistest.Env.
func (e *env) TempDir() string {
	dir, err := os.MkdirTemp("", "caddy-wechat-bench")
	if err != nil {
		e.Fatalf("making a directory: %v", err)
	}
	e.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Cleanup implements redistest.Env.
func (e *env) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

// Fatalf implements redistest.Env.
func (e *env) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (e *env) end() {
	for _, f := range slices.Backward(e.cleanups) {
		f()
	}
}

// ask runs a command in Redis.
func (w *world) ask(ctx context.Context, args ...string) string {
	if err := ctx.Err(); err != nil {
		w.env.Fatalf("asking Redis: %w", err)
	}
	return w.redis.Do(w.env, args...) //nolint:contextcheck // redistest itself bounds each command
}

// usage is what Redis has done so far, or between two moments.
type usage struct {
	at     time.Time
	span   time.Duration
	calls  map[string]float64 // by command; those within scripts, too
	trips  float64            // how often a client's request was read
	cpu    time.Duration
	memory float64 // in bytes, without the clients' buffers
}

// usage asks Redis. The question itself is not among the commands.
func (w *world) usage(ctx context.Context) usage {
	u := usage{at: time.Now(), calls: make(map[string]float64)}
	for line := range strings.Lines(w.ask(ctx, "INFO", "all")) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ":")
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
			calls, _, _ := strings.Cut(strings.TrimPrefix(text, "calls="), ",")
			u.calls[command] = w.number(calls)
			continue
		}
		switch name {
		case "total_reads_processed":
			u.trips = w.number(text)
		case "used_cpu_sys", "used_cpu_user":
			u.cpu += time.Duration(w.number(text) * float64(time.Second))
		case "used_memory":
			u.memory += w.number(text)
		case "mem_clients_normal":
			u.memory -= w.number(text)
		}
	}
	delete(u.calls, "info") // is this very question
	return u
}

func (w *world) number(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		w.env.Fatalf("reading what Redis says of itself: %v", err)
	}
	return n
}

// since is what has been done after before.
func (u usage) since(before usage) usage {
	u.span = u.at.Sub(before.at)
	u.calls = maps.Clone(u.calls)
	for command, n := range before.calls {
		u.calls[command] -= n
	}
	maps.DeleteFunc(u.calls, func(_ string, n float64) bool { return n == 0 })
	u.trips -= before.trips
	u.cpu -= before.cpu
	u.memory -= before.memory
	return u
}

// each is what was done for each of n, without what idle nodes do all the time.
func (u usage) each(n int, idle usage) usage {
	times := float64(u.span) / float64(idle.span)
	share := func(all, beat float64) float64 { return (all - beat*times) / float64(n) }
	calls := make(map[string]float64)
	for command, all := range u.calls {
		calls[command] = share(all, idle.calls[command])
	}
	u.calls = calls
	u.trips = share(u.trips, idle.trips)
	u.cpu = time.Duration(share(float64(u.cpu), float64(idle.cpu)))
	u.memory /= float64(n)
	return u
}

// list names the commands with so many digits behind the point, the most
// frequent first, and leaves out what would be 0.
func (u usage) list(digits int) string {
	commands := slices.SortedFunc(maps.Keys(u.calls), func(a, b string) int {
		return cmp.Or(cmp.Compare(u.calls[b], u.calls[a]), cmp.Compare(a, b))
	})
	zero := strconv.FormatFloat(0, 'f', digits, 64)
	var parts []string
	for _, command := range commands {
		n := strconv.FormatFloat(u.calls[command], 'f', digits, 64)
		if strings.TrimPrefix(n, "-") != zero {
			parts = append(parts, command+" "+n)
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// idle is what Redis does while nobody asks the nodes for anything.
func (w *world) idle(ctx context.Context, span time.Duration) (usage, error) {
	before := w.usage(ctx)
	select {
	case <-ctx.Done():
		return usage{}, ctx.Err()
	case <-time.After(span):
	}
	return w.usage(ctx).since(before), nil
}

// sizes sums up, in Redis itself, what MEMORY USAGE says of the keys: for each
// kind, which is what stands before the id, how many there are and their bytes.
const sizes = `
local found, order = {}, {}
for _, key in ipairs(redis.call('KEYS', 'wechat:*')) do
  local kind = string.match(key, '^wechat:(tmp:%l+)') or string.match(key, '^wechat:([%l-]+)') or key
  if not found[kind] then
    found[kind] = {0, 0}
    table.insert(order, kind)
  end
  found[kind][1] = found[kind][1] + 1
  found[kind][2] = found[kind][2] + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', '0')
end
table.sort(order)
local answer = {}
for _, kind in ipairs(order) do
  table.insert(answer, kind .. ' ' .. found[kind][1] .. ' ' .. found[kind][2])
end
return answer`

// kind is the keys of one kind.
type kind struct {
	name        string
	keys, bytes int
}

func (w *world) kinds(ctx context.Context) (all []kind) {
	for line := range strings.Lines(w.ask(ctx, "EVAL", sizes, "0")) {
		var k kind
		if _, err := fmt.Sscan(line, &k.name, &k.keys, &k.bytes); err != nil {
			w.env.Fatalf("reading the sizes of keys: %v", err)
		}
		all = append(all, k)
	}
	return all
}
