// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-wechat/caddy-wechat/bench/internal/harness"
)

// logins measures whole sign-ins, each begun at one node and ended at the next:
// first of people that no node has seen, then of the same people again. It
// returns their last session cookies.
func logins(ctx context.Context, w *world, s settings, idle usage) (cookies []string, err error) {
	for _, when := range []string{"first", "again"} {
		cpu, err := w.cpu()
		if err != nil {
			return nil, err
		}
		before := w.usage(ctx)
		var rate harness.Spread
		if cookies, rate, err = w.signIn(ctx, s.people, s.several); err != nil {
			return nil, err
		}
		each := w.usage(ctx).since(before).each(s.people, idle)
		after, err := w.cpu()
		if err != nil {
			return nil, err
		}
		fmt.Printf("logins, %s            %.0f a second (quartiles %.0f to %.0f), %d at once; processor time of Caddy %.2f ms, of Redis %.2f ms each\n",
			when, rate.Median, rate.Low, rate.High, s.several, millis(after-cpu)/float64(s.people), millis(each.cpu))
		fmt.Printf("  Redis, for each        %.1f round trips; commands, also within scripts: %s; memory %+.1f KiB\n",
			each.trips, each.list(1), each.memory/1024)
	}
	printSizes(ctx, w)
	return cookies, nil
}

// signIn has n people sign in, several at once. The spread of the rate is that of
// ten equal parts.
func (w *world) signIn(ctx context.Context, n, several int) (cookies []string, rate harness.Spread, err error) {
	cookies, ended := make([]string, n), make([]time.Time, n+1)
	ended[n] = time.Now()
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(several)
	for i := range n {
		all.Go(func() (err error) {
			begin, end := w.nodes[i%len(w.nodes)], w.nodes[(i+1)%len(w.nodes)]
			cookies[i], err = w.site.SignIn(ctx, w.wechat.Phone(fmt.Sprint("person ", i)), begin.gated, end.gated)
			ended[i] = time.Now()
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return nil, rate, err
	}
	slices.SortFunc(ended, time.Time.Compare)
	part := max(1, n/10)
	var rates []float64
	for i := part; i <= n; i += part {
		rates = append(rates, float64(part)/ended[i].Sub(ended[i-part]).Seconds())
	}
	return cookies, harness.SpreadOf(rates), nil
}

// printSizes tells what MEMORY USAGE says of the keys of a user, a session and an
// attempt. Redis's tables add some 50 bytes to each key.
func printSizes(ctx context.Context, w *world) {
	kinds := w.kinds(ctx)
	for _, group := range []struct {
		of   string // what there is one key of
		with []string
	}{
		{"user", []string{"identity", "unionid", "sessions-of"}},
		{"session", nil},
		{"tmp:attempt", []string{"tmp:scene", "tmp:confirm", "tmp:reply", "tmp:wechat"}},
	} {
		keys, bytes := 0, 0
		var parts []string
		for _, k := range kinds {
			if k.name == group.of {
				keys = k.keys
			}
			if k.name == group.of || slices.Contains(group.with, k.name) {
				bytes += k.bytes
				parts = append(parts, fmt.Sprintf("%s %d", k.name, k.bytes/k.keys))
			}
		}
		fmt.Printf("Redis memory             %d bytes for each %s: %s\n", bytes/max(1, keys), group.of, strings.Join(parts, ", "))
	}
}

// targets are the signed-in clients, spread over what addr names of each node.
func (w *world) targets(clients int, cookies []string, addr func(*node) string) (all []harness.Target) {
	for i := range clients {
		all = append(all, harness.Target{Addr: addr(w.nodes[i%len(w.nodes)]), Host: siteHost, Cookie: cookies[i]})
	}
	return all
}

func gated(n *node) string { return n.gated }

// throughput compares plain reverse_proxy with the gate before the same
// reverse_proxy, in the same processes, as short runs that follow one another. A
// third site, plain again, says how far two equal things seem to differ.
func throughput(ctx context.Context, w *world, s settings, cookies []string) error {
	var sites [3]func() (harness.Result, error)
	for i, addr := range []func(*node) string{
		func(n *node) string { return n.plain }, gated, func(n *node) string { return n.control },
	} {
		targets := w.targets(s.clients, cookies, addr)
		sites[i] = func() (harness.Result, error) { return harness.Load(ctx, targets, s.run, w.cpu) }
		if _, err := sites[i](); err != nil { // and warm up
			return err
		}
	}
	runs, err := harness.Alternate(s.rounds, sites)
	if err != nil {
		return err
	}
	gate, noise := harness.Relative(runs[1], runs[0]), harness.Relative(runs[2], runs[0])
	fmt.Printf("signed-in requests       gate %.0f a second, plain %.0f\n", harness.Rates(runs[1]).Median, harness.Rates(runs[0]).Median)
	fmt.Printf("  throughput             gate / plain %s   (plain / plain %s)\n", gate.Rate, noise.Rate)
	fmt.Printf("  processor time         gate / plain %s   (plain / plain %s)\n", gate.CPU, noise.CPU)
	fmt.Printf("  of Caddy, per request  plain %.1f µs, gate %+.1f µs   (plain again %+.1f µs)\n",
		harness.Micros(harness.Cost(runs[0])), harness.Micros(gate.Extra), harness.Micros(noise.Extra))
	return nil
}

// beat is the commands of the message that each node sends itself.
var beat = []string{"evalsha", "del", "publish"}

// commands counts what Redis is asked while signed-in clients that the nodes know
// send requests.
func commands(ctx context.Context, w *world, s settings, cookies []string, idle usage) error {
	targets := w.targets(s.clients, cookies, gated)
	before := w.usage(ctx)
	load, err := harness.Load(ctx, targets, s.span, w.cpu)
	if err != nil {
		return err
	}
	during := w.usage(ctx).since(before)
	other := during
	other.calls = maps.Clone(during.calls)
	sum := 0.0
	maps.DeleteFunc(other.calls, func(command string, _ float64) bool { return slices.Contains(beat, command) })
	for _, n := range other.calls {
		sum += n
	}
	fmt.Printf("  Redis, besides beats   %.0f commands for %d requests: %g each (target: 0): %s\n",
		sum, load.Requests, sum/float64(load.Requests), other.list(0))
	fmt.Printf("  Redis, in all          %s in %.1f s; idle: %s in %.1f s\n",
		during.list(0), during.span.Seconds(), idle.list(0), idle.span.Seconds())
	return nil
}

// way is where the browser waits and where WeChat's push arrives.
type way struct {
	name         string
	stream, push *node
	took         []time.Duration
}

// latency times the ways from WeChat's push to the event in the browser, in turns.
func latency(ctx context.Context, w *world, s settings) error {
	a := w.nodes[0]
	ways := []*way{{name: "same node", stream: a, push: a}}
	if len(w.nodes) > 1 {
		b := w.nodes[1]
		ways = append(ways, &way{name: "push at B, event at A", stream: a, push: b}, &way{name: "push at A, event at B", stream: b, push: a})
	}
	phone := w.wechat.Phone("bob")
	for range s.scans {
		for _, way := range ways {
			if err := w.pushTo(way.push.gated); err != nil {
				return err
			}
			took, err := w.site.TimeScan(ctx, way.stream.gated, phone)
			if err != nil {
				return fmt.Errorf("timing scans: %w", err)
			}
			way.took = append(way.took, took)
		}
	}
	for _, way := range ways {
		fmt.Printf("push to event            p50 %.2f ms, p99 %.2f ms, max %.2f ms of %d: %s\n", millis(harness.Quantile(way.took, 0.5)),
			millis(harness.Quantile(way.took, 0.99)), millis(harness.Quantile(way.took, 1)), len(way.took), way.name)
	}
	return nil
}

func millis(d time.Duration) float64 { return harness.Micros(d) / 1000 }
