// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sessions", Short: "Looks after the browsers that are signed in"}
	group(cmd, sessionsListCommand(), sessionsRevokeCommand())
	return cmd
}

func sessionsListCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use:   "list <user id>",
		Short: "Lists the sessions of a user, the latest first",
		Long: `
Lists the sessions of a user, the latest first. EXPIRES is when a session ends for
being too old (ttl); one that is not used ends sooner (idle).`,
		Args: oneArg("the id of a user"),
	}, func(o *operation) error {
		var list sessionList
		if err := o.call(http.MethodGet, userPath(o.args[0])+"/sessions", nil, &list); err != nil {
			return err
		}
		if o.json {
			return o.print(list)
		}
		return printSessions(o.cmd.OutOrStdout(), list.Sessions)
	})
}

func sessionsRevokeCommand() *cobra.Command {
	var owner string
	cmd := &cobra.Command{
		Use:   "revoke <session id> | --user <user id>",
		Short: "Ends a session, or all of a user",
		Long: `
Ends a session, or all of a user: on every node at once, with the connections that
are open. The person may sign in again.`,
		Args: cobra.MaximumNArgs(1),
	}
	adminCommand(cmd, func(o *operation) error {
		switch {
		case (len(o.args) == 1) == (owner != ""):
			return usageError{errors.New("name either a session or, with --user, whose sessions to end")}
		case owner != "":
			var ended sessionsEnded
			if err := o.call(http.MethodDelete, userPath(owner)+"/sessions", nil, &ended); err != nil {
				return err
			}
			if ended.Ended == 1 {
				return o.say(ended, "1 session is ended")
			}
			return o.say(ended, "%d sessions are ended", ended.Ended)
		default:
			if err := o.call(http.MethodDelete, "sessions/"+url.PathEscape(o.args[0]), nil, nil); err != nil {
				return err
			}
			return o.say(sessionsEnded{1}, "the session is ended")
		}
	})
	cmd.Flags().StringVar(&owner, "user", "", "End all sessions of this user")
	return cmd
}
