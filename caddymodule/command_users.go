// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/user"
)

func usersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "users", Short: "Looks after the people who sign in"}
	group(cmd, usersListCommand(), usersShowCommand(),
		statusCommandOf("approve", "Lets a user in who awaits approval", user.Active),
		statusCommandOf("disable", "Shuts a user out: all sessions end, at once and on every node", user.Disabled),
		statusCommandOf("enable", "Lets a user in again who was disabled", user.Active),
		usersRolesCommand(), usersDeleteCommand(), usersImportCommand(), usersExportCommand())
	return cmd
}

func usersListCommand() *cobra.Command {
	q, limit := userQuery{}, 0
	cmd := &cobra.Command{
		Use:   "list [--status <status>] [--query <text>] [--limit <n>]",
		Short: "Lists users, the newest first",
		Long: `
Lists users, the newest first: all of them, or those of one status, or those whose
name, id, e-mail address, phone number, openid or unionid contains a text.`,
		Args: cobra.NoArgs,
	}
	adminCommand(cmd, func(o *operation) error { return listUsersCommand(o, q, limit) })
	flags := cmd.Flags()
	flags.StringVar((*string)(&q.Status), "status", "", "Only those that are active, pending or disabled")
	flags.StringVar(&q.Query, "query", "", "Only those of whom something contains this text")
	flags.IntVar(&limit, "limit", 0, "At most so many; 0 is all")
	complete(cmd, "status", statusNames())
	return cmd
}

func statusNames() (names []string) {
	for _, status := range userStatuses {
		names = append(names, string(status))
	}
	return names
}

func listUsersCommand(o *operation, q userQuery, limit int) error {
	if limit < 0 {
		return usageError{errors.New("--limit must not be negative")}
	}
	if q.Status != "" && !slices.Contains(userStatuses, q.Status) {
		return usageError{fmt.Errorf("--status %s is unknown: use %s", q.Status, strings.Join(statusNames(), ", "))}
	}
	page := userPage{Users: []userJSON{}}
	next, err := o.eachUser(q, limit, func(u userJSON) error {
		page.Users = append(page.Users, u)
		return nil
	})
	if err != nil {
		return err
	}
	if page.NextCursor = next; o.json {
		return o.print(page)
	}
	if err := printUsers(o.cmd.OutOrStdout(), page.Users); err != nil {
		return err
	}
	if next != "" {
		_, err = fmt.Fprintf(o.cmd.ErrOrStderr(), "There are more than %d: raise --limit to see them.\n", limit)
	}
	return err
}

// eachUser calls fn for up to limit users whom q selects, all where limit is zero,
// and returns the cursor of those that follow.
func (o *operation) eachUser(q userQuery, limit int, fn func(userJSON) error) (next string, err error) {
	for n := 0; ; {
		if q.Limit = user.MaxLimit; limit > 0 {
			q.Limit = min(user.MaxLimit, limit-n)
		}
		var page userPage
		if err := o.call(http.MethodPost, "users/search", q, &page); err != nil {
			return "", err
		}
		for _, u := range page.Users {
			if err := fn(u); err != nil {
				return "", err
			}
		}
		n += q.Limit // also where somebody has gone meanwhile
		if page.NextCursor == "" || limit > 0 && n >= limit {
			return page.NextCursor, nil
		}
		q.Cursor = page.NextCursor
	}
}

func usersShowCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use:   "show <id or text>",
		Short: "Shows a user",
		Long: `
Shows the user of an id, or else the only one whose name, e-mail address, phone
number, openid or unionid is a text, or else the only one of whom it is a part.`,
		Args: oneArg("an id or a text"),
	}, func(o *operation) error {
		u, err := o.findUser(o.args[0])
		if err != nil {
			return err
		}
		if o.json {
			return o.print(u)
		}
		return printUser(o.cmd.OutOrStdout(), u)
	})
}

// findUser returns the user of an id, or the only one whom a text names exactly, or
// else finds. The text may be an address or openid: it stands in no URL, which Caddy
// would log.
func (o *operation) findUser(text string) (u userJSON, err error) {
	var page userPage
	if err := o.call(http.MethodPost, "users/search", userQuery{ID: text}, &page); err != nil {
		return u, err
	}
	if len(page.Users) == 1 {
		return page.Users[0], nil
	}
	var exact, part matches
	_, err = o.eachUser(userQuery{Query: text}, 0, func(u userJSON) error {
		if isNamed(u, text) {
			exact.add(u)
		}
		part.add(u)
		return nil
	})
	switch {
	case err != nil:
		return u, err
	case exact.n > 0:
		return exact.only()
	default:
		return part.only()
	}
}

// isNamed says whether a text is the whole name, address or openid of a user.
func isNamed(u userJSON, text string) bool {
	address := func(ch user.Channel) string {
		canonical, _ := user.Canonical(ch, text)
		return canonical
	}
	return strings.EqualFold(u.Name, text) || u.Email != "" && u.Email == address(user.ByEmail) || u.Phone != "" && u.Phone == address(user.ByPhone) ||
		slices.ContainsFunc(u.Identities, func(id people.Identity) bool { return id.OpenID == text || id.UnionID == text })
}

// maxMatches is how many are named of whom a text finds.
const maxMatches = 10

// matches are users whom a text finds.
type matches struct {
	n     int
	first []userJSON
}

func (m *matches) add(u userJSON) {
	if m.n++; m.n <= maxMatches {
		m.first = append(m.first, u)
	}
}

// only returns the user where there is one, or says whom else there are.
func (m *matches) only() (u userJSON, err error) {
	switch m.n {
	case 0:
		return u, &adminError{http.StatusNotFound, "not_found", "there is no such user"}
	case 1:
		return m.first[0], nil
	}
	var b strings.Builder
	for _, one := range m.first {
		fmt.Fprintf(&b, "\n  %s  %s", one.ID, printable(cmp.Or(one.Name, one.Email, one.Phone)))
	}
	if m.n > maxMatches {
		fmt.Fprintf(&b, "\n  and %d more", m.n-maxMatches)
	}
	return u, fmt.Errorf("this finds several users: take the id of one%s", b.String())
}

func userPath(id string) string { return "users/" + url.PathEscape(id) }

func statusCommandOf(name, short string, status user.Status) *cobra.Command {
	return adminCommand(&cobra.Command{Use: name + " <id>", Short: short, Long: "\n" + short + ".", Args: oneArg("the id of a user")}, func(o *operation) error {
		return o.change(func(u userJSON) (user.Change, error) {
			if name == "approve" && u.Status == user.Disabled {
				return user.Change{}, errors.New("the user is disabled: use enable if he is to be let in")
			}
			return user.Change{Status: &status}, nil
		})
	})
}

// changesAtOnce is how often somebody else may change a user before we give up.
const changesAtOnce = 5

// change makes a change of what the user is, and of nothing else in the meantime.
func (o *operation) change(of func(userJSON) (user.Change, error)) error {
	for try := 1; ; try++ {
		var u userJSON
		if err := o.callUser(&u); err != nil {
			return err
		}
		c, err := of(u)
		if err != nil {
			return err
		}
		change := userChange{Change: c, If: &user.Change{Status: &u.Status, Roles: &u.Roles}}
		err = o.call(http.MethodPatch, userPath(u.ID), change, &u)
		if failure, ok := errors.AsType[*adminError](err); ok && failure.status == http.StatusConflict && try < changesAtOnce {
			continue
		}
		if err != nil {
			return err
		}
		return o.say(u, "%s is %s, with %s%s", u.ID, u.Status, rolesText(u.Roles), missingText(u))
	}
}

// callUser gets the user whom the first argument names by the id.
func (o *operation) callUser(u *userJSON) error {
	id := o.args[0]
	if !user.ValidID(id) {
		return usageError{fmt.Errorf("%q is no id: %s takes an id; find it with users show", id, o.cmd.Name())}
	}
	err := o.call(http.MethodGet, userPath(id), nil, u)
	if failure, ok := errors.AsType[*adminError](err); ok && failure.Code == "not_found" {
		failure.Message += fmt.Sprintf(" with the id %s: %s takes an id; find it with users show", id, o.cmd.Name())
	}
	return err
}

// splitRoles takes roles apart at commas. A space within one is for Validate to refuse.
func splitRoles(text string) []string {
	roles := strings.Split(text, ",")
	for i, role := range roles {
		roles[i] = strings.TrimSpace(role)
	}
	return slices.DeleteFunc(roles, func(role string) bool { return role == "" })
}

// missingText says what the person has yet to do, whatever an operator has decided.
func missingText(u userJSON) string {
	todo := map[user.Admission]string{
		user.EmailMissing: "prove an e-mail address", user.PhoneMissing: "prove a phone number", user.NameMissing: "choose a name",
	}[u.Admission]
	if todo == "" {
		return ""
	}
	return fmt.Sprintf("; before entering, the person has yet to %s (%s)", todo, u.Admission)
}

func rolesText(roles []string) string {
	switch len(roles) {
	case 0:
		return "no roles"
	case 1:
		return "the role " + roles[0]
	default:
		return "the roles " + strings.Join(roles, ", ")
	}
}

func usersRolesCommand() *cobra.Command {
	var add, remove []string
	cmd := &cobra.Command{
		Use:   "roles <id> [<role>,…] [--add <role>,…] [--remove <role>,…]",
		Short: "Gives a user roles, or takes them",
		Long: `
Gives a user exactly the roles named, none for "", or adds and removes some. Only
commas separate roles. Those that the configuration gives (role in the users block) are not affected.`,
		Example: `  $ caddy wechat users roles k3xw editor,admin
  $ caddy wechat users roles k3xw --add admin
  $ caddy wechat users roles k3xw ""`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := len(args); n != 1 && n != 2 {
				return fmt.Errorf("give the id of a user and roles with commas between them; there are %d arguments: %s", n, cmd.UseLine())
			}
			return nil
		},
	}
	adminCommand(cmd, func(o *operation) error {
		if named := len(o.args) == 2; named == (len(add)+len(remove) > 0) {
			return usageError{errors.New("give either the roles that the user is to have, or --add and --remove")}
		}
		return o.change(func(u userJSON) (user.Change, error) {
			roles := slices.DeleteFunc(slices.Concat(u.Roles, add), func(role string) bool { return slices.Contains(remove, role) })
			if len(o.args) == 2 {
				roles = splitRoles(o.args[1])
			}
			roles = append([]string{}, roles...) // none is not the same as no change
			c := user.Change{Roles: &roles}
			if err := c.Validate(); err != nil {
				return c, usageError{err}
			}
			return c, nil
		})
	})
	cmd.Flags().StringSliceVar(&add, "add", nil, "Roles to give")
	cmd.Flags().StringSliceVar(&remove, "remove", nil, "Roles to take")
	return cmd
}

func usersDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete <id> [--yes]",
		Short: "Deletes a user and all that is known of him",
		Long: `
Deletes a user and all that is known of him, and ends his sessions. Whoever is to
stay out is disabled instead: a person who was deleted can sign in as a new user
where registration allows it.`,
		Args: oneArg("the id of a user"),
	}
	adminCommand(cmd, func(o *operation) error {
		var u userJSON
		if err := o.callUser(&u); err != nil {
			return err
		}
		if err := o.confirm(yes, deleteQuestion(u)); err != nil {
			return err
		}
		if err := o.call(http.MethodDelete, userPath(u.ID), nil, nil); err != nil {
			return err
		}
		return o.say(map[string]string{"deleted": u.ID}, "%s is deleted", u.ID)
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "Do not ask")
	return cmd
}

// deleteQuestion names the user as far as he can be named.
func deleteQuestion(u userJSON) string {
	if name := cmp.Or(u.Name, u.Email, u.Phone); name != "" {
		return fmt.Sprintf("Delete user %s (%s)?", u.ID, printable(name))
	}
	return fmt.Sprintf("Delete user %s?", u.ID)
}

// confirm asks whoever sits at the terminal, unless yes has been said already.
func (o *operation) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	in := o.cmd.InOrStdin()
	if file, ok := in.(*os.File); !ok || !term.IsTerminal(int(file.Fd())) {
		return usageError{errors.New("nobody can be asked here: add --yes")}
	}
	_, _ = fmt.Fprintf(o.cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	if !saysYes(answer) {
		return errors.New("nothing was done")
	}
	return nil
}

func saysYes(answer string) bool {
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
