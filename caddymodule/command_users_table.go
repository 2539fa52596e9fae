// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// none stands in an empty cell.
const none = "-"

// table returns a writer of cells that are separated by tabs.
func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// row writes the cells of one line.
func row(w io.Writer, cells ...string) {
	for i, cell := range cells {
		cells[i] = cmp.Or(printable(cell), none)
	}
	_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) // Flush tells
}

// printable is a text without what moves the cursor of a terminal or turns the
// direction of writing: browsers and nicknames are what strangers say.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '\ufffd'
		}
		return c
	}, text)
}

// short is a time as operators read it.
func short(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// lastSeen is when a user signed in last.
func lastSeen(u userJSON) string {
	if u.LastSeenAt == nil {
		return "never"
	}
	return short(*u.LastSeenAt)
}

// statusText is the status of a user as operators read it, with what else keeps him out.
func statusText(u userJSON, letIn string) string {
	text := string(u.Status)
	if u.Status == user.Pending && !u.Waits {
		text = letIn
	}
	missing := map[user.Admission]string{
		user.EmailMissing: ", no e-mail yet", user.PhoneMissing: ", no phone yet", user.NameMissing: ", no name yet",
	}
	return text + missing[u.Admission]
}

// printUsers prints a user on each line. The name comes last: Chinese is wider than
// a table knows.
func printUsers(w io.Writer, users []userJSON) error {
	t := table(w)
	row(t, "ID", "STATUS", "ROLES", "E-MAIL", "PHONE", "LAST SIGN-IN", "NAME")
	for _, u := range users {
		row(t, u.ID, statusText(u, "let in"), strings.Join(u.Roles, ","), u.Email, u.Phone, lastSeen(u), u.Name)
	}
	return t.Flush()
}

func printUser(w io.Writer, u userJSON) error {
	t := table(w)
	row(t, "ID", u.ID)
	row(t, "Name", u.Name)
	row(t, "Status", statusText(u, "pending, let in by the configuration"))
	row(t, "Roles", strings.Join(u.Roles, ", "))
	row(t, "E-mail", u.Email)
	row(t, "Phone", u.Phone)
	row(t, "Created", short(u.CreatedAt))
	row(t, "Last sign-in", lastSeen(u))
	for _, id := range u.Identities {
		text := id.OpenID + " at " + id.AppID
		if id.UnionID != "" {
			text += ", unionid " + id.UnionID
		}
		row(t, "Openid", text)
	}
	return t.Flush()
}

// printSessions prints a session on each line.
func printSessions(w io.Writer, sessions []session.Info) error {
	t := table(w)
	row(t, "ID", "METHOD", "ADDRESS", "SIGNED IN", "LAST USED", "EXPIRES", "BROWSER")
	for _, s := range sessions {
		row(t, s.ID, s.Method, s.IP, short(s.CreatedAt), short(s.LastSeenAt), short(s.ExpiresAt), s.UserAgent)
	}
	return t.Flush()
}

func printStatus(w io.Writer, s statusJSON) error {
	t := table(w)
	row(t, "Version", s.Version+", Caddy "+s.Caddy)
	row(t, "Store", s.Store.Backend+": "+s.Store.Status)
	if s.Store.Error != "" {
		row(t, "", s.Store.Error)
	}
	if s.Users != nil {
		total := 0
		var parts []string
		for _, status := range userStatuses {
			total += s.Users[status]
			parts = append(parts, fmt.Sprintf("%d %s", s.Users[status], status))
			if status == user.Pending && s.Waiting != nil && *s.Waiting < s.Users[status] {
				parts[len(parts)-1] += fmt.Sprintf(" (%d let in by the configuration)", s.Users[status]-*s.Waiting)
			}
		}
		row(t, "Users", fmt.Sprintf("%d: %s", total, strings.Join(parts, ", ")))
	}
	for _, a := range s.Accounts {
		row(t, "Account", fmt.Sprintf("%s, %s: %s", a.AppID, a.Kind, strings.Join(a.Methods, ", ")))
	}
	return t.Flush()
}
