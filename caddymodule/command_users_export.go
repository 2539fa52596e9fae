// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/userfile"
)

func usersExportCommand() *cobra.Command {
	var q userQuery
	var format, output string
	cmd := &cobra.Command{
		Use:   "export [--output <file>] [--format csv|json] [--status <status>] [--query <text>]",
		Short: "Exports users to a file",
		Long: `
Exports users as CSV or JSON, to standard output or a file that only you can read.
'caddy wechat users import' makes the same users of it in another store, with the
same ids. When they were seen, pictures and sessions are not in it, and a nickname
counts as chosen by the person then: to move everything, use 'caddy wechat store copy'.

In a CSV file, an apostrophe stands before what a spreadsheet would take for a
formula, also after ; and in phone numbers: '+8613800138000. import takes it off.`,
		Example: `  $ caddy wechat users export --output users.csv
  $ caddy wechat users export --format json --status active > users.json`,
		Args: cobra.NoArgs,
	}
	adminCommand(cmd, func(o *operation) error {
		switch {
		case format != "":
		case o.json:
			format = string(userfile.JSON)
		case output == stdio:
			format = string(userfile.CSV)
		}
		kind, err := userfile.FormatOf(format, output)
		if err != nil {
			return usageError{err}
		}
		return exportCommand(o, q, kind, output)
	})
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "", "Format of the file; default by its name, CSV without one")
	flags.StringVar(&output, "output", stdio, "File to write")
	flags.StringVar((*string)(&q.Status), "status", "", "Only those that are active, pending or disabled")
	flags.StringVar(&q.Query, "query", "", "Only those of whom something contains this text")
	complete(cmd, "status", statusNames())
	complete(cmd, "format", userfile.Formats)
	return cmd
}

func exportCommand(o *operation, q userQuery, format userfile.Format, output string) error {
	if output == stdio {
		out := bufio.NewWriter(o.cmd.OutOrStdout())
		if err := export(o, q, userfile.NewWriter(out, format)); err != nil {
			return err
		}
		return out.Flush()
	}
	// The file appears when it is whole, and readable by nobody else.
	file, err := os.CreateTemp(filepath.Dir(output), "."+filepath.Base(output)+"-*")
	if err != nil {
		return fmt.Errorf("making --output: %w", err)
	}
	defer os.Remove(file.Name())
	err = export(o, q, userfile.NewWriter(file, format))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), output)
}

// export writes the users whom q selects.
func export(o *operation, q userQuery, w userfile.Writer) error {
	n, progress := 0, newProgress(o.cmd.ErrOrStderr())
	defer progress.end()
	_, err := o.eachUser(q, 0, func(u userJSON) error {
		n++
		progress.step(n)
		return w.Write(entryOf(u))
	})
	if err != nil {
		return err
	}
	return w.Close()
}

// entryOf is the entry from which another store would get the user.
func entryOf(u userJSON) people.Entry {
	e := people.Entry{Entry: user.Entry{ID: u.ID, Name: u.Name, Status: u.Status, Roles: u.Roles, Email: u.Email, Phone: u.Phone, CreatedAt: u.CreatedAt}}
	if len(u.Identities) == 1 {
		e.AppID, e.OpenID, e.UnionID = u.Identities[0].AppID, u.Identities[0].OpenID, u.Identities[0].UnionID
	} else {
		e.Identities = u.Identities
	}
	return e
}
