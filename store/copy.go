// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// copyWorkers is how many entries are written at a time. A store that waits
	// for its disk or its network waits once for many of them.
	copyWorkers = 64
	// copyPage is how many entries are read at a time.
	copyPage = 200
)

// CopyOptions say how Copy goes about it.
type CopyOptions struct {
	// DryRun writes nothing. The report says what would become of the entries.
	DryRun bool

	// Overwrite replaces what the target holds under the same key with another
	// value. Without it, the target's value stays.
	Overwrite bool

	// Progress is called, once at a time, with how many entries are done. It
	// must return quickly. Default: nobody is told.
	Progress func(entries int)
}

// CopyReport says what became of the entries, by their kind: what their keys
// begin with, up to the first colon. It names no entry and so nobody.
type CopyReport map[string]CopyCount

// CopyCount counts entries by what became of them.
type CopyCount struct {
	Copied       int `json:"copied"`
	AlreadyThere int `json:"already_there"` // with the same value
	Overwritten  int `json:"overwritten"`   // had another value
	Conflicts    int `json:"conflicts"`     // has another value, which stays
	Expired      int `json:"expired"`       // before its turn came
}

// Total counts the entries of all kinds.
func (r CopyReport) Total() (total CopyCount) {
	for _, count := range r {
		total = total.plus(count)
	}
	return total
}

// Sum is the number of all entries counted.
func (c CopyCount) Sum() int {
	return c.Copied + c.AlreadyThere + c.Overwritten + c.Conflicts + c.Expired
}

func (c CopyCount) plus(other CopyCount) CopyCount {
	return CopyCount{
		Copied:       c.Copied + other.Copied,
		AlreadyThere: c.AlreadyThere + other.AlreadyThere,
		Overwritten:  c.Overwritten + other.Overwritten,
		Conflicts:    c.Conflicts + other.Conflicts,
		Expired:      c.Expired + other.Expired,
	}
}

// Copy writes every entry of from that outlives a process to to, with what is
// left of its ttl. It changes nothing in from, and deletes nothing in to. Where
// it ends early, with an error of a store or of ctx, the report counts what was
// done until then, and another Copy does the rest. An entry that from lists twice
// is counted twice.
//
// Both stores should have no other user meanwhile: what changes in from may be
// missed, and who uses to may have read that an entry is not there.
func Copy(ctx context.Context, to, from Store, options CopyOptions) (CopyReport, error) {
	c := &copying{to: to, options: options, report: make(CopyReport)}
	workers, workerCtx := errgroup.WithContext(ctx)
	workers.SetLimit(copyWorkers)
	err := each(workerCtx, from, func(item Item, listed time.Time) {
		workers.Go(func() error { return c.copy(workerCtx, item, listed) })
	})
	if failed := workers.Wait(); failed != nil { // then err is only a consequence
		err = failed
	}
	return c.report, err
}

// each calls fn for every entry that outlives a process.
func each(ctx context.Context, from Store, fn func(item Item, listed time.Time)) error {
	for cursor, more := "", true; more; more = cursor != "" {
		items, next, err := from.List(ctx, "", cursor, copyPage)
		if err != nil {
			return fmt.Errorf("listing what to copy: %w", err)
		}
		listed := time.Now()
		for _, item := range items {
			if !strings.HasPrefix(item.Key, VolatilePrefix) {
				fn(item, listed)
			}
		}
		cursor = next
	}
	return nil
}

// copying is one Copy under way.
type copying struct {
	to      Store
	options CopyOptions

	mu      sync.Mutex
	report  CopyReport
	entries int
}

// copy copies one entry and takes note of what became of it.
func (c *copying) copy(ctx context.Context, item Item, listed time.Time) error {
	kind, _, _ := strings.Cut(item.Key, ":")
	var became CopyCount
	left := item.TTL - time.Since(listed)
	if item.TTL == 0 {
		left = 0
	}
	if item.TTL != 0 && left <= 0 {
		became = CopyCount{Expired: 1}
	} else {
		var err error
		if became, err = c.write(ctx, item, left); err != nil {
			return fmt.Errorf("copying an entry of the kind %s: %w", kind, err)
		}
	}
	c.count(kind, became)
	return nil
}

func (c *copying) count(kind string, became CopyCount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report[kind] = c.report[kind].plus(became)
	c.entries++
	if c.options.Progress != nil {
		c.options.Progress(c.entries)
	}
}

// write writes one entry and returns what became of it.
func (c *copying) write(ctx context.Context, item Item, ttl time.Duration) (CopyCount, error) {
	if !c.options.DryRun {
		created, err := c.to.Create(ctx, item.Key, item.Value, ttl)
		if created || err != nil {
			return CopyCount{Copied: 1}, err
		}
	}
	current, found, err := c.to.Get(ctx, item.Key)
	switch {
	case err != nil:
		return CopyCount{}, err
	case !found && c.options.DryRun:
		return CopyCount{Copied: 1}, nil
	case !found: // it has expired since Create found it
		return CopyCount{Copied: 1}, c.to.Set(ctx, item.Key, item.Value, ttl)
	case bytes.Equal(current, item.Value):
		return CopyCount{AlreadyThere: 1}, nil
	case !c.options.Overwrite:
		return CopyCount{Conflicts: 1}, nil
	case !c.options.DryRun:
		err = c.to.Set(ctx, item.Key, item.Value, ttl)
	}
	return CopyCount{Overwritten: 1}, err
}
