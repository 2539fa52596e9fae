// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// result is one run.
type result struct {
	requests int
	took     time.Duration
	cpu      time.Duration // that Caddy has used
}

func (r result) rate() float64 { return float64(r.requests) / r.took.Seconds() }

func (r result) perRequest() time.Duration { return r.cpu / time.Duration(max(1, r.requests)) }

// spread is a median and the quartiles around it.
type spread struct{ low, median, high float64 }

func (s spread) String() string {
	return fmt.Sprintf("%.3f (quartiles %.3f to %.3f)", s.median, s.low, s.high)
}

func spreadOf(values []float64) spread {
	return spread{quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)}
}

// quantile returns the value below which the share q of values lies.
func quantile[T float64 | time.Duration](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(math.Ceil(q*float64(len(sorted))))-min(1, len(sorted)-1))]
}

// comparison is how a site does, relative to plain in the same round.
type comparison struct {
	rate, cpu spread
	extra     time.Duration // processor time for each request
}

// compare runs the sites in turns, each round beginning with another one, and
// compares the second and the third with the first.
func compare(rounds int, sites [3]func() (result, error)) (gate, control comparison, plain time.Duration, err error) {
	var results [3][]result
	for i := range rounds {
		for j := range sites {
			site := (i + j) % len(sites)
			r, err := sites[site]()
			if err != nil {
				return gate, control, 0, err
			}
			results[site] = append(results[site], r)
		}
	}
	var costs []time.Duration
	for _, r := range results[0] {
		costs = append(costs, r.perRequest())
	}
	return relative(results[1], results[0]), relative(results[2], results[0]), quantile(costs, 0.5), nil
}

func relative(site, plain []result) comparison {
	var rates, cpus []float64
	var extra []time.Duration
	for i, r := range site {
		rates = append(rates, r.rate()/plain[i].rate())
		cpus = append(cpus, float64(r.perRequest())/float64(plain[i].perRequest()))
		extra = append(extra, r.perRequest()-plain[i].perRequest())
	}
	return comparison{spreadOf(rates), spreadOf(cpus), quantile(extra, 0.5)}
}
