// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package harness

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Result is one run.
type Result struct {
	Requests int
	Took     time.Duration
	CPU      time.Duration // that Caddy has used
}

// Rate is in requests per second.
func (r Result) Rate() float64 { return float64(r.Requests) / r.Took.Seconds() }

// PerRequest is Caddy's processor time for one request.
func (r Result) PerRequest() time.Duration { return r.CPU / time.Duration(max(1, r.Requests)) }

// Spread is a median and the quartiles around it.
type Spread struct{ Low, Median, High float64 }

// String shows a ratio.
func (s Spread) String() string {
	return fmt.Sprintf("%.3f (quartiles %.3f to %.3f)", s.Median, s.Low, s.High)
}

// SpreadOf returns the spread of at least one value.
func SpreadOf(values []float64) Spread {
	return Spread{Quantile(values, 0.25), Quantile(values, 0.5), Quantile(values, 0.75)}
}

// Quantile returns the value below which the share q of at least one value lies.
func Quantile[T float64 | time.Duration](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(math.Ceil(q*float64(len(sorted))))-min(1, len(sorted)-1))]
}

// Rates is the spread of the runs' rates.
func Rates(runs []Result) Spread {
	var rates []float64
	for _, r := range runs {
		rates = append(rates, r.Rate())
	}
	return SpreadOf(rates)
}

// Cost is the median of Caddy's processor time for one request.
func Cost(runs []Result) time.Duration {
	var costs []time.Duration
	for _, r := range runs {
		costs = append(costs, r.PerRequest())
	}
	return Quantile(costs, 0.5)
}

// Comparison is how a site does, relative to another one in the same round.
type Comparison struct {
	Rate, CPU Spread
	Extra     time.Duration // processor time for each request
}

// Alternate runs the sites in turns, each round beginning with another one, and
// returns each one's runs.
func Alternate(rounds int, sites [3]func() (Result, error)) (runs [3][]Result, err error) {
	for i := range rounds {
		for j := range sites {
			site := (i + j) % len(sites)
			r, err := sites[site]()
			if err != nil {
				return runs, err
			}
			runs[site] = append(runs[site], r)
		}
	}
	return runs, nil
}

// Relative compares the runs of a site with those of another one, round by round.
func Relative(site, plain []Result) Comparison {
	var rates, cpus []float64
	var extra []time.Duration
	for i, r := range site {
		rates = append(rates, r.Rate()/plain[i].Rate())
		cpus = append(cpus, float64(r.PerRequest())/float64(plain[i].PerRequest()))
		extra = append(extra, r.PerRequest()-plain[i].PerRequest())
	}
	return Comparison{SpreadOf(rates), SpreadOf(cpus), Quantile(extra, 0.5)}
}

// Micros is a time in microseconds.
func Micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
