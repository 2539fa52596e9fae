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
	"time"
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
	cookie, err := w.signIn(ctx)
	if err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	var sites [3]func() (result, error)
	for i, addr := range []string{w.plain, w.gated, w.control} {
		sites[i] = func() (result, error) { return w.load(ctx, addr, cookie, s.clients, s.run) }
		if _, err := sites[i](); err != nil { // and warm up
			return err
		}
	}
	gate, noise, plain, err := compare(s.rounds, sites)
	if err != nil {
		return err
	}
	fmt.Printf("throughput               gate / plain %s   (plain / plain %s; target: at least 0.95)\n", gate.rate, noise.rate)
	fmt.Printf("processor time           gate / plain %s   (plain / plain %s)\n", gate.cpu, noise.cpu)
	fmt.Printf("  of Caddy, per request  plain %.1f µs, gate %+.1f µs   (plain again %+.1f µs)\n", micros(plain), micros(gate.extra), micros(noise.extra))
	return nil
}

// latency times the way from WeChat's push to the event in the browser.
func latency(ctx context.Context, w *world, s settings) error {
	took, err := w.scans(ctx, s.scans)
	if err != nil {
		return fmt.Errorf("timing scans: %w", err)
	}
	fmt.Printf("push to event            p50 %v, p99 %v, max %v of %d (target: p99 50ms)\n",
		quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1), len(took))
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

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
