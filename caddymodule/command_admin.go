// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// What the commands that ask a running Caddy exit with, besides exitFailure and
// exitUsage.
const (
	exitNotFound = 3
	exitPartly   = 4 // some users of a file could not be imported
)

// adminHelp ends the help of each command that asks a running Caddy.
const adminHelp = `

The command asks the Caddy that runs, at its admin endpoint: the one of --config,
or --address, or else the default one. The exit status is 0 if all went well, 1 if
not, 2 where the command line has a mistake, and 3 where there is no such user or
session.`

// operation is a command that asks a running Caddy.
type operation struct {
	cmd  *cobra.Command
	args []string
	json bool

	address, config, adapter string
}

// adminCommand makes cmd one that asks a running Caddy. flags, if any, adds those
// that it has besides.
func adminCommand(cmd *cobra.Command, run func(o *operation) error) *cobra.Command {
	o := &operation{cmd: cmd}
	cmd.Long += adminHelp
	cmd.DisableFlagsInUseLine = true
	cmd.Use += " [--json] [--address <interface>] [--config <path> [--adapter <name>]]"
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return wrongUsage(cmd, err)
			}
			return nil
		}
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		o.args = args
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
			err := run(o)
			return exitStatus(err), err
		})(cmd, nil)
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.json, "json", false, "Print JSON, as the admin API has it")
	flags.StringVar(&o.address, "address", "", "Address of the admin endpoint, if not the default or that of --config")
	flags.StringVar(&o.config, "config", "", "Configuration that names the admin endpoint")
	flags.StringVar(&o.adapter, "adapter", "", "Name of the config adapter of --config; default by the name of the file")
	return cmd
}

// usageError is a mistake in the command line.
type usageError struct{ error }

// partlyError says that some of what was asked for could not be done.
type partlyError struct{ error }

// exitStatus is what a command that ended so exits with.
func exitStatus(err error) int {
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[partlyError](err); ok {
		return exitPartly
	}
	if failure, ok := errors.AsType[*adminError](err); ok && failure.Code == "not_found" {
		return exitNotFound
	}
	return exitFailure
}

// call asks the admin API. What it answers is decoded into answer, unless that is nil.
func (o *operation) call(method, path string, body, answer any) error {
	if o.address == "" || o.config != "" {
		if err := o.adminIsOn(); err != nil {
			return err
		}
		var err error
		if o.address, err = caddycmd.DetermineAdminAPIAddress(o.address, nil, o.config, o.adapter); err != nil {
			return fmt.Errorf("reading --config %s: %w", o.config, err)
		}
		o.config = ""
	}
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(raw)
	}
	// Each request makes a connection of its own, which must not stay.
	resp, err := caddycmd.AdminAPIRequest(o.address, method, adminRoot+path, http.Header{"Connection": {"close"}}, in)
	if err != nil {
		return callError(o.address, err)
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the answer of Caddy at %s: %w", o.address, err)
	}
	return nil
}

// adminIsOn says so where --config switches the admin endpoint off.
func (o *operation) adminIsOn() error {
	if o.config == "" || o.address != "" {
		return nil
	}
	raw, _, _, err := caddycmd.LoadConfig(o.config, o.adapter)
	if err != nil {
		return fmt.Errorf("reading --config %s: %w", o.config, err)
	}
	var config struct {
		Admin caddy.AdminConfig `json:"admin"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return fmt.Errorf("decoding --config %s: %w", o.config, err)
	}
	if config.Admin.Disabled {
		return fmt.Errorf("the configuration %s has \"admin off\": no command can reach a Caddy that runs with it; take the line out, or name a loopback address or a socket in it, and restart Caddy", o.config)
	}
	return nil
}

// answered is how Caddy's client reports an answer that is an error: as text.
var answered = regexp.MustCompile(`(?s)HTTP (\d{3}): (\{.*\})`)

// callError makes an *adminError of what Caddy's client says where the API has
// answered, and says what to do where it has not.
func callError(address string, err error) error {
	if m := answered.FindStringSubmatch(err.Error()); m != nil {
		failure := new(adminError)
		if json.Unmarshal([]byte(m[2]), failure) == nil && failure.Message != "" {
			failure.status, _ = strconv.Atoi(m[1])
			return failure
		}
		return fmt.Errorf("asking Caddy at %s, which may be one without this gateway, or of another version: %w", address, err)
	}
	return fmt.Errorf("asking Caddy at %s; does it run there? --config or --address say where it does: %w", address, err)
}

// print prints an answer as JSON.
func (o *operation) print(answer any) error {
	encoder := json.NewEncoder(o.cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	return encoder.Encode(answer)
}

// say prints an answer as JSON where that is asked for, else as text.
func (o *operation) say(answer any, format string, args ...any) error {
	if o.json {
		return o.print(answer)
	}
	_, err := fmt.Fprintf(o.cmd.OutOrStdout(), format+"\n", args...)
	return err
}

// complete offers values for a flag to the shell.
func complete(cmd *cobra.Command, flag string, values []string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // no such flag
	}
}
