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

// comparison is the outcome of many pairs of runs.
type comparison struct {
	rate, cpu         spread // second / first
	plainCPU, gateCPU time.Duration
}

// compare runs first and second in turns, in alternating order.
func compare(pairs int, first, second func() (result, error)) (comparison, error) {
	var rates, cpus []float64
	var plain, gate []time.Duration
	for i := range pairs {
		order := []func() (result, error){first, second}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		var results [2]result
		for j, run := range order {
			r, err := run()
			if err != nil {
				return comparison{}, err
			}
			results[j] = r
		}
		if i%2 == 1 {
			slices.Reverse(results[:])
		}
		rates = append(rates, results[1].rate()/results[0].rate())
		cpus = append(cpus, float64(results[1].perRequest())/float64(results[0].perRequest()))
		plain, gate = append(plain, results[0].perRequest()), append(gate, results[1].perRequest())
	}
	return comparison{spreadOf(rates), spreadOf(cpus), quantile(plain, 0.5), quantile(gate, 0.5)}, nil
}
