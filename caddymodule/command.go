// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "wechat",
		Short: "Looks after the WeChat gateway",
		Long:  "Looks after the WeChat gateway: the people who sign in, what it keeps, and where.",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Use = "wechat"
			group(cmd, usersCommand(), sessionsCommand(), statusCommand(), storeCommand())
		},
	})
}

// What the commands exit with besides 0.
const (
	exitFailure = 1
	exitUsage   = 2
)

// group makes cmd one that only has commands below it.
func group(cmd *cobra.Command, below ...*cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	cmd.Args = noArgs
	cmd.SetFlagErrorFunc(wrongFlag) // of those below, too
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(below...)
}

func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return wrongUsage(cmd, err)
	}
	return nil
}

// wrongFlag is about a flag that is unknown, unless that is because its command is.
func wrongFlag(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return noArgs(cmd, args)
	}
	return wrongUsage(cmd, err)
}

// oneArg asks for one argument, what being what it is.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return fmt.Errorf("give %s, and nothing besides; there are %d arguments: %s", what, len(args), cmd.UseLine())
	}
}

// wrongUsage makes Caddy exit with exitUsage.
func wrongUsage(cmd *cobra.Command, err error) error {
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return exitUsage, err })(cmd, nil)
}
