// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/userfile"
)

// importBatch is how many users are sent at a time.
const importBatch = 500

// stdio stands for standard input, or output, in place of a file.
const stdio = "-"

// importArgs are the arguments of the command `import`.
type importArgs struct {
	format, errors string
	dryRun         bool
}

func usersImportCommand() *cobra.Command {
	var args importArgs
	cmd := &cobra.Command{
		Use:   "import <file> [--format csv|json] [--dry-run] [--errors <file>]",
		Short: "Imports users from a file",
		Long: `
Imports users from a CSV or JSON file, or from standard input for "-", which needs
--format. A user who is known, by id, e-mail address, phone number, openid or
unionid, is brought up to date: what the file leaves empty stays. The same file can
be imported again.

A line with a mistake is reported and left out, and the rest imported. With
--dry-run nothing is changed.

The first line of a CSV file names its columns, of these: id, name, status, roles,
email, phone, app_id, openid, unionid, created_at. Roles are separated by ; or |. A JSON file is
an array of objects with these names, or has an object on each line. Both are UTF-8.

The exit status is 4 where some users could not be imported.`,
		Example: `  $ caddy wechat users import users.csv --dry-run
  $ caddy wechat users import users.csv --errors mistakes.txt`,
		Args: oneArg("the file to import, or - for standard input"),
	}
	adminCommand(cmd, func(o *operation) error { return importCommand(o, args) })
	flags := cmd.Flags()
	flags.StringVar(&args.format, "format", "", "Format of the file; default by its name, required for standard input")
	flags.BoolVar(&args.dryRun, "dry-run", false, "Change nothing, say what would be done")
	flags.StringVar(&args.errors, "errors", "", "Write mistakes to this file instead of standard error")
	complete(cmd, "format", userfile.Formats)
	return cmd
}

func importCommand(o *operation, args importArgs) error {
	in, size, err := openImport(o, o.args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	format, err := userfile.FormatOf(args.format, o.args[0])
	if err != nil {
		return usageError{err}
	}
	counted := &countingReader{r: in}
	users, err := userfile.NewReader(counted, format)
	if err != nil {
		return fmt.Errorf("nothing was imported: %w", err)
	}
	mistakes, err := openMistakes(o, args.errors)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(o.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	progress := newProgress(o.cmd.ErrOrStderr())
	if size > 0 {
		progress.done = func() float64 { return float64(counted.n) / float64(size) }
	}
	i := &importer{o: o, dryRun: args.dryRun, mistakes: mistakes, progress: progress, report: importReport{Mistakes: []importResult{}}}
	err = i.run(ctx, users)
	progress.end()
	if closeErr := mistakes.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("writing --errors: %w", closeErr)
	}
	return i.summarize(err)
}

// openImport opens the file; its size is zero where nobody knows.
func openImport(o *operation, name string) (in io.ReadCloser, size int64, err error) {
	if name == stdio {
		return io.NopCloser(o.cmd.InOrStdin()), 0, nil
	}
	file, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return nil, 0, err
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return file, size, nil
}

// openMistakes opens where mistakes in the file are reported. They quote personal data.
func openMistakes(o *operation, name string) (io.WriteCloser, error) {
	if name == "" {
		return keptOpen{o.cmd.ErrOrStderr()}, nil
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("opening --errors: %w", err)
	}
	return file, nil
}

// keptOpen is a writer that its user does not close.
type keptOpen struct{ io.Writer }

// Close implements io.Closer.
func (keptOpen) Close() error { return nil }

type countingReader struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// importer imports a file.
type importer struct {
	o        *operation
	dryRun   bool
	mistakes io.Writer
	progress *progress
	report   importReport

	// What was read, and not sent or reported yet.
	entries []people.Entry
	lines   []int // of entries
	wrong   []importResult
}

// importReport is what an import has done.
type importReport struct {
	DryRun bool `json:"dry_run"`
	// Complete says that the file was read to its end, and has no mistake.
	Complete  bool `json:"complete"`
	Created   int  `json:"created"`
	Updated   int  `json:"updated"`
	Unchanged int  `json:"unchanged"`
	Failed    int  `json:"failed"`
	// Mistakes are those that were not imported, by the lines of the file.
	Mistakes []importResult `json:"mistakes"`
}

func (r importReport) sum() int { return r.Created + r.Updated + r.Unchanged + r.Failed }

// run reads the file and sends it, part by part.
func (i *importer) run(ctx context.Context, users userfile.Reader) error {
	for {
		e, line, err := users.Next()
		wrong, bad := errors.AsType[*userfile.LineError](err)
		switch {
		case errors.Is(err, io.EOF):
			return i.send()
		case bad:
			i.wrong = append(i.wrong, importResult{Line: line, Error: wrong.Err.Error()})
		case err != nil: // what was read before it is right
			return errors.Join(i.send(), err)
		default:
			i.entries, i.lines = append(i.entries, e), append(i.lines, line)
		}
		if len(i.entries)+len(i.wrong) < importBatch {
			continue
		}
		if err := i.send(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// send sends what was read, and reports what is wrong with it.
func (i *importer) send() error {
	if len(i.entries) > 0 {
		var answer importResults
		if err := i.o.call(http.MethodPost, "users/import", importRequest{Users: i.entries, DryRun: i.dryRun}, &answer); err != nil {
			return err
		}
		for _, result := range answer.Results {
			if result.Line < 1 || result.Line > len(i.lines) {
				return errors.New("the answer is of lines that were not sent: Caddy is of another version than this command")
			}
			result.Line = i.lines[result.Line-1]
			i.count(result)
		}
	}
	err := i.reportMistakes()
	i.entries, i.lines, i.wrong = i.entries[:0], i.lines[:0], i.wrong[:0]
	i.progress.step(i.report.sum())
	return err
}

func (i *importer) count(result importResult) {
	switch result.Outcome {
	case user.Created:
		i.report.Created++
	case user.Updated:
		i.report.Updated++
	case user.Unchanged:
		i.report.Unchanged++
	default:
		i.wrong = append(i.wrong, result)
	}
}

// reportMistakes says what is wrong with which line.
func (i *importer) reportMistakes() error {
	if len(i.wrong) == 0 {
		return nil
	}
	i.progress.end()
	slices.SortFunc(i.wrong, func(a, b importResult) int { return a.Line - b.Line })
	for _, result := range i.wrong {
		i.report.Failed++
		if i.o.json {
			i.report.Mistakes = append(i.report.Mistakes, result)
		}
		if _, err := fmt.Fprintf(i.mistakes, "line %d: %s\n", result.Line, printable(result.Error)); err != nil {
			return fmt.Errorf("reporting a mistake: %w", err)
		}
	}
	return nil
}

// summarize prints what was done, and returns what else is to be said.
func (i *importer) summarize(err error) error {
	r := i.report
	r.DryRun, r.Complete = i.dryRun, err == nil && r.Failed == 0
	would, caveat := "", ""
	if r.DryRun {
		would, caveat = "would be ", "; each line was looked at by itself, not at what the lines before it would change"
	}
	if sayErr := i.o.say(r, "%s%d created, %d updated, %d unchanged, %d failed%s", would, r.Created, r.Updated, r.Unchanged, r.Failed, caveat); sayErr != nil {
		return fmt.Errorf("printing the summary: %w", sayErr)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted after %d users, of whom none is lost: run the same command again, it does the rest", r.sum())
	case err != nil:
		return fmt.Errorf("stopped after %d users, of whom none is lost: run the same command again when this is mended, it does the rest: %w", r.sum(), err)
	case r.Failed > 0:
		return partlyError{fmt.Errorf("%d of %d users could not be imported: mend their lines and import the file again", r.Failed, r.sum())}
	}
	return nil
}
