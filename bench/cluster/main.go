// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command cluster measures one Caddy and then three that share a Redis: on
// loopback only, with a simulated WeChat, ending by itself. See bench/README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"
)

// maxTime ends the program whatever happens.
const maxTime = 20 * time.Minute

type settings struct {
	caddy   string
	rounds  int
	run     time.Duration
	clients int
	people  int
	several int
	span    time.Duration
	scans   int
}

// short is enough to see that everything works, and too little for figures.
func (s settings) short() settings {
	s.rounds, s.run, s.people, s.span, s.scans = 5, 150*time.Millisecond, 80, 1500*time.Millisecond, 30
	return s
}

func main() {
	var s settings
	flag.StringVar(&s.caddy, "caddy", "", "the caddy binary to measure, with the plugin in it")
	flag.IntVar(&s.rounds, "rounds", 60, "how many rounds of runs are compared")
	flag.DurationVar(&s.run, "run", 400*time.Millisecond, "how long each run takes")
	flag.IntVar(&s.clients, "clients", 16, "how many signed-in clients send requests at the same time")
	flag.IntVar(&s.people, "people", 1000, "how many people sign in, each of them twice")
	flag.IntVar(&s.several, "several", 8, "how many people sign in at the same time")
	flag.DurationVar(&s.span, "span", 10*time.Second, "how long Redis's commands are counted, without and with requests")
	flag.IntVar(&s.scans, "scans", 300, "how many scans are timed on each way")
	short := flag.Bool("short", false, "finish in about 20 seconds, which replaces rounds, run, people, span and scans")
	flag.Parse()
	if *short {
		s = s.short()
	}
	s.people = max(s.people, s.clients) // each client shows a session of its own
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	fmt.Printf("%d processors, shared by Caddy, Redis, the upstream, the simulated WeChat and who sends the requests\n", runtime.NumCPU())
	err := measure(ctx, s, 1)
	if err == nil {
		err = measure(ctx, s, 3)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure measures so many nodes on a Redis of their own.
func measure(ctx context.Context, s settings, nodes int) (err error) {
	defer catch(&err)
	w := newWorld(nodes)
	defer w.close()
	if err := w.start(ctx, s.caddy); err != nil {
		return err
	}
	fmt.Printf("== nodes: %d\n", nodes)
	idle, err := w.idle(ctx, s.span)
	if err != nil {
		return err
	}
	cookies, err := logins(ctx, w, s, idle)
	if err != nil {
		return fmt.Errorf("signing people in: %w", err)
	}
	for _, part := range []func() error{
		func() error { return throughput(ctx, w, s, cookies) },
		func() error { return commands(ctx, w, s, cookies, idle) },
		func() error { return latency(ctx, w, s) },
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}
