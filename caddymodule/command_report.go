// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// signingKeyKind is the kind of entry that package session keeps its key in.
const signingKeyKind = "signing-key"

// summarize prints what a copy has done, and returns the exit status and what is
// to be said about a copy that is not complete.
func summarize(w io.Writer, args copyArgs, report store.CopyReport, err error) (int, error) {
	show := printTable
	if args.json {
		show = printJSON
	}
	if printErr := show(w, args, report, err == nil); printErr != nil {
		return exitFailure, fmt.Errorf("printing the summary: %w", printErr)
	}
	total := report.Total()
	switch {
	case errors.Is(err, context.Canceled):
		return exitFailure, fmt.Errorf("interrupted after %d entries, of which none is lost: run the same command again, it does the rest", total.Sum())
	case err != nil:
		return exitFailure, fmt.Errorf("stopped after %d entries, of which none is lost: run the same command again when this is mended, it does the rest: %w", total.Sum(), err)
	case total.Conflicts > 0:
		return exitFailure, conflictError(report)
	}
	return 0, nil
}

// maxKindsNamed is how many kinds of entries in conflict are named.
const maxKindsNamed = 5

func conflictError(report store.CopyReport) error {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(report)) {
		if n := report[kind].Conflicts; n > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
		}
	}
	if len(kinds) > maxKindsNamed {
		kinds = append(kinds[:maxKindsNamed], "…")
	}
	text := fmt.Sprintf("the target holds something else under the keys of %d entries (%s), and keeps it: copy to an empty store, or give --overwrite to have the source's instead",
		report.Total().Conflicts, strings.Join(kinds, ", "))
	if report[signingKeyKind].Conflicts > 0 {
		text += ". The target has a signing key of its own: as it is, sessions from the source end, and with --overwrite those that began at the target do"
	}
	return errors.New(text)
}

func printJSON(w io.Writer, args copyArgs, report store.CopyReport, complete bool) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		DryRun   bool             `json:"dry_run"`
		Complete bool             `json:"complete"`
		Total    store.CopyCount  `json:"total"`
		Kinds    store.CopyReport `json:"kinds"`
	}{args.dryRun, complete && report.Total().Conflicts == 0, report.Total(), report})
}

func printTable(w io.Writer, args copyArgs, report store.CopyReport, _ bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	copied, overwritten := "COPIED", "OVERWRITTEN"
	if args.dryRun {
		copied, overwritten = "TO COPY", "TO OVERWRITE"
	}
	_, _ = fmt.Fprintf(table, "KIND\t%s\tALREADY THERE\t%s\tCONFLICTS\tEXPIRED\n", copied, overwritten) // Flush tells
	row := func(kind string, c store.CopyCount) {
		_, _ = fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\n", kind, c.Copied, c.AlreadyThere, c.Overwritten, c.Conflicts, c.Expired)
	}
	for _, kind := range slices.Sorted(maps.Keys(report)) {
		row(kind, report[kind])
	}
	row("total", report.Total())
	return table.Flush()
}

const (
	// lineInterval is how often a line of progress is written to a file.
	lineInterval = 10 * time.Second
	// terminalInterval is how often the line on a terminal is written anew.
	terminalInterval = 100 * time.Millisecond
)

// progress tells whoever waits that something happens.
type progress struct {
	w        io.Writer
	terminal bool
	interval time.Duration
	last     time.Time // when something was written
	// done, if set, says what part of the whole is done, from 0 to 1.
	done func() float64
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, interval: lineInterval, last: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal, p.interval = true, terminalInterval
	}
	return p
}

// step takes note of how many entries are done.
func (p *progress) step(entries int) {
	now := time.Now()
	if now.Sub(p.last) < p.interval {
		return
	}
	p.last = now
	text := fmt.Sprintf("%d entries", entries)
	if p.done != nil {
		text += fmt.Sprintf(", %d%%", int(100*p.done()))
	}
	if p.terminal {
		_, _ = fmt.Fprint(p.w, "\r"+p.bar()+text)
	} else {
		_, _ = fmt.Fprintln(p.w, text)
	}
}

// barWidth is how wide the bar is that fills up.
const barWidth = 30

// bar shows what part is done, where that is known.
func (p *progress) bar() string {
	if p.done == nil {
		return ""
	}
	full := min(int(barWidth*p.done()), barWidth)
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full) + "] "
}

// end removes the line from a terminal.
func (p *progress) end() {
	if p.terminal {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}
