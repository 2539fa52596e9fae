// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "wechat",
		Short: "Looks after the WeChat gateway",
		Long:  "Looks after the WeChat gateway: what it keeps, and where.",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Use = "wechat"
			group(cmd, storeCommand())
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
	cmd.SetFlagErrorFunc(wrongUsage) // of those below, too
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(below...)
}

func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return wrongUsage(cmd, err)
	}
	return nil
}

// wrongUsage makes Caddy exit with exitUsage.
func wrongUsage(cmd *cobra.Command, err error) error {
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return exitUsage, err })(cmd, nil)
}
