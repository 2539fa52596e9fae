// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command proxy measures what the gateway costs in a real Caddy: on loopback
// only, with a simulated WeChat, ending by itself. See bench/README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/caddy-wechat/caddy-wechat/bench/internal/harness"
)

// maxTime ends the program whatever happens.
const maxTime = 10 * time.Minute

type settings struct {
	caddy   string
	rounds  int
	run     time.Duration
	clients int
	waiting int
	scans   int
}

func main() {
	var s settings
	flag.StringVar(&s.caddy, "caddy", "", "the caddy binary to measure, with the plugin in it")
	flag.IntVar(&s.rounds, "rounds", 60, "how many rounds of runs are compared")
	flag.DurationVar(&s.run, "run", 400*time.Millisecond, "how long each run takes")
	flag.IntVar(&s.clients, "clients", 16, "how many connections send requests at the same time")
	flag.IntVar(&s.waiting, "waiting", 2000, "how many browsers wait on the login page")
	flag.IntVar(&s.scans, "scans", 300, "how many scans are timed")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	if err := measure(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, s settings) error {
	w, err := newWorld(ctx, s.caddy)
	if err != nil {
		return err
	}
	defer w.close()
	for _, part := range []func(context.Context, *world, settings) error{loginPage, throughput, latency, memory} {
		if err := part(ctx, w, s); err != nil {
			return err
		}
	}
	return nil
}

// loginPage measures what a visitor loads before anything is cached.
func loginPage(ctx context.Context, w *world, _ settings) error {
	n, err := w.pageSize(ctx)
	if err != nil {
		return fmt.Errorf("loading the login page: %w", err)
	}
	fmt.Printf("login page               %.1f KiB over the wire, headers and all assets included (target: 30 KiB without assets: %.1f KiB)\n",
		kib(n.page+n.assets), kib(n.page))
	return nil
}

// throughput compares plain reverse_proxy with the gate before the same
// reverse_proxy, in the same process, as short runs that follow one another: what
// disturbs the machine disturbs both. A third site, plain again, says how far two
// equal things seem to differ.
func throughput(ctx context.Context, w *world, s settings) error {
	cookie, err := w.site.SignIn(ctx, w.wechat.Phone("alice"), w.gated, w.gated)
	if err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	var sites [3]func() (harness.Result, error)
	for i, addr := range []string{w.plain, w.gated, w.control} {
		targets := slices.Repeat([]harness.Target{{Addr: addr, Host: addr, Cookie: cookie}}, s.clients)
		sites[i] = func() (harness.Result, error) { return harness.Load(ctx, targets, s.run, w.caddy.CPU) }
		if _, err := sites[i](); err != nil { // and warm up
			return err
		}
	}
	runs, err := harness.Alternate(s.rounds, sites)
	if err != nil {
		return err
	}
	plain, gate, noise := harness.Cost(runs[0]), harness.Relative(runs[1], runs[0]), harness.Relative(runs[2], runs[0])
	fmt.Printf("throughput               gate / plain %s   (plain / plain %s; target: at least 0.95)\n", gate.Rate, noise.Rate)
	fmt.Printf("processor time           gate / plain %s   (plain / plain %s)\n", gate.CPU, noise.CPU)
	fmt.Printf("  of Caddy, per request  plain %.1f µs, gate %+.1f µs   (plain again %+.1f µs)\n", harness.Micros(plain), harness.Micros(gate.Extra), harness.Micros(noise.Extra))
	return nil
}

// latency times the way from WeChat's push to the event in the browser.
func latency(ctx context.Context, w *world, s settings) error {
	took, err := w.scans(ctx, s.scans)
	if err != nil {
		return fmt.Errorf("timing scans: %w", err)
	}
	fmt.Printf("push to event            p50 %v, p99 %v, max %v of %d (target: p99 50ms)\n",
		harness.Quantile(took, 0.5), harness.Quantile(took, 0.99), harness.Quantile(took, 1), len(took))
	return nil
}

// memory measures what a browser costs that shows the login page and waits.
func memory(ctx context.Context, w *world, s settings) error {
	before, after, err := w.wait(ctx, s.waiting)
	if err != nil {
		return fmt.Errorf("having %d browsers wait: %w", s.waiting, err)
	}
	each := float64(after-before) / float64(s.waiting)
	fmt.Printf("memory                   %.1f KiB resident for each of %d waiting browsers (target: 56 KiB); 20,000 would take %.0f MiB\n",
		each/1024, s.waiting, each*20_000/(1<<20))
	return nil
}

func kib(n int) float64 { return float64(n) / 1024 }
