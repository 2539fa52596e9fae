// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"net/http"

	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use:   "status",
		Short: "Says how the gateway is",
		Long: `
Says how the gateway is: its version, whether its store can be used, how many users
there are, and by which methods each account lets visitors sign in.`,
		Args: cobra.NoArgs,
	}, func(o *operation) error {
		var status statusJSON
		err := o.call(http.MethodGet, "status", nil, &status)
		if err != nil {
			return err
		}
		show := func() error { return printStatus(o.cmd.OutOrStdout(), status) }
		if o.json {
			show = func() error { return o.print(status) }
		}
		if err := show(); err != nil {
			return err
		}
		if status.Store.Status != "ok" {
			return errors.New("the store is not available")
		}
		return nil
	})
}
