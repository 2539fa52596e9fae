// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
)

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Looks after where the gateway keeps its state"}
	group(cmd, copyCommand())
	return cmd
}

// copyArgs are the arguments of the command `copy`.
type copyArgs struct {
	from, to, adapter string

	dryRun, overwrite, json bool
}

func copyCommand() *cobra.Command {
	var args copyArgs
	cmd := &cobra.Command{
		Use:                   "copy --from <config> --to <config> [--adapter <name>] [--dry-run] [--overwrite] [--json]",
		DisableFlagsInUseLine: true,
		Short:                 "Copies users, sessions and keys to another store",
		Long: `
Copies what the gateway keeps from one store to another: users, sessions and the
key that signs cookies. Whoever is signed in stays signed in when one Caddy with
the embedded store becomes several with a Redis, and on the way back.

--from and --to are configurations as for 'caddy run'. Of each, only the store
line in the wechat block counts, without which it is the embedded store in its
default directory. Nothing is served, and WeChat is not asked. Environment
variables that a configuration names must be set as they are for Caddy.

	1. Stop every Caddy that uses either store. The embedded store cannot be
	   opened beside a Caddy that runs.
	2. Copy, as the user who runs Caddy: a new file must belong to that user.
	3. Start Caddy with the new configuration.

All entries that outlive a restart are copied, with what is left of their time.
Attempts to sign in that are under way are not. The source is never changed.
After an interruption, run the same command again: it does the rest.

The target should be empty; name a new directory or key_prefix when you move
back. What it holds stays, even a session that was ended at the source since an
earlier copy. Where it holds something else under the same key, its own stays
unless --overwrite is given.

The exit status is 0 if the target now holds all of the source, 1 if not, and 2
where the command line has a mistake.`,
		Example: `  Moving from the embedded store to Redis, and back:
  $ caddy wechat store copy --from Caddyfile --to Caddyfile.redis
  $ caddy wechat store copy --from Caddyfile.redis --to Caddyfile.new`,
		Args: noArgs,
	}
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return runCopy(cmd, args) })
	flags := cmd.Flags()
	flags.StringVar(&args.from, "from", "", "Configuration of the store to copy from (required)")
	flags.StringVar(&args.to, "to", "", "Configuration of the store to copy to (required)")
	flags.StringVar(&args.adapter, "adapter", "", "Name of the config adapter of both; default by the name of the file")
	flags.BoolVar(&args.dryRun, "dry-run", false, "Write nothing, say what would be copied")
	flags.BoolVar(&args.overwrite, "overwrite", false, "Replace what the target holds under the same key")
	flags.BoolVar(&args.json, "json", false, "Print the summary as JSON")
	return cmd
}

// runCopy returns the exit status.
func runCopy(cmd *cobra.Command, args copyArgs) (int, error) {
	if args.from == "" || args.to == "" {
		return exitUsage, errors.New("one store is not named: give both --from <config> and --to <config>")
	}
	source, target, err := openStores(args)
	if err != nil {
		return exitFailure, err
	}
	defer source.Close()
	defer target.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	progress := newProgress(cmd.ErrOrStderr())
	report, err := store.Copy(ctx, target, source, store.CopyOptions{
		DryRun: args.dryRun, Overwrite: args.overwrite, Progress: progress.step,
	})
	progress.end()
	return summarize(cmd.OutOrStdout(), args, report, err)
}

// openStores opens the stores of both configurations.
func openStores(args copyArgs) (source, target Backend, err error) {
	from, err := loadStore(args.from, args.adapter)
	if err != nil {
		return nil, nil, fmt.Errorf("reading --from %s: %w", args.from, err)
	}
	to, err := loadStore(args.to, args.adapter)
	if err != nil {
		return nil, nil, fmt.Errorf("reading --to %s: %w", args.to, err)
	}
	if from.PoolKey() == to.PoolKey() {
		return nil, nil, errors.New("--from and --to name the same store: name another one in the configuration of --to")
	}
	if file := missingFile(from); file != "" {
		return nil, nil, fmt.Errorf("--from names a store that does not exist: there is no %s; check the directory, and that this is the user who runs Caddy", file)
	}
	if source, err = openStore(from); err != nil {
		return nil, nil, fmt.Errorf("opening the store of --from: %w", err)
	}
	if args.dryRun && missingFile(to) != "" {
		return source, nothing{}, nil
	}
	if target, err = openStore(to); err != nil {
		_ = source.Close()
		return nil, nil, fmt.Errorf("opening the store of --to: %w", err)
	}
	return source, target, nil
}

// loadStore returns the store that a configuration names.
func loadStore(file, adapter string) (Storage, error) {
	raw, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return nil, err
	}
	var config struct {
		Apps struct {
			WeChat *struct {
				Store json.RawMessage `json:"store"`
			} `json:"wechat"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("decoding it: %w", err)
	}
	if config.Apps.WeChat == nil {
		return nil, errors.New("it has no wechat block, which would name the store: give the configuration that the gateway runs with")
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	app := &App{StoreRaw: config.Apps.WeChat.Store}
	storage, err := app.loadStorage(ctx)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return storage, nil
}

func openStore(storage Storage) (Backend, error) {
	backend, err := storage.NewStore()
	if err != nil {
		return nil, err
	}
	if err := backend.Open(); err != nil {
		_ = backend.Close()
		if _, ok := storage.(*Embedded); ok {
			return nil, fmt.Errorf("if a Caddy runs with it, stop that first: %w", err)
		}
		return nil, err
	}
	return backend, nil
}

// missingFile is the file of an embedded store that has none yet, or empty.
func missingFile(storage Storage) string {
	e, ok := storage.(*Embedded)
	if !ok {
		return ""
	}
	file := filepath.Join(e.Directory, embedded.FileName)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return file
}

// nothing stands for a store that a dry run does not make.
type nothing struct{ Backend }

// Get implements store.Store.
func (nothing) Get(context.Context, string) ([]byte, bool, error) { return nil, false, nil }

// Close implements io.Closer.
func (nothing) Close() error { return nil }
