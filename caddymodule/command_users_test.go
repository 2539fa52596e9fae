// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// desk is an office whose admin API commands can reach.
type desk struct {
	office
	address string
}

func newDesk(t *testing.T) desk {
	t.Helper()
	o := newOffice(t)
	server := httptest.NewServer(o.api)
	t.Cleanup(server.Close)
	return desk{o, strings.TrimPrefix(server.URL, "http://")}
}

// run runs `caddy wechat` with arguments.
func (d desk) run(args ...string) (stdout, stderr string, err error) {
	d.t.Helper()
	return d.runWith("", args...)
}

func (d desk) runWith(stdin string, args ...string) (stdout, stderr string, err error) {
	d.t.Helper()
	cmd := &cobra.Command{Use: "wechat", SilenceUsage: true}
	group(cmd, usersCommand(), sessionsCommand(), statusCommand())
	var out, errOut bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(append(args, "--address", d.address))
	err = cmd.ExecuteContext(d.t.Context())
	return out.String(), errOut.String(), err
}

// want fails the test unless the command succeeds and prints this.
func (d desk) want(output string, args ...string) {
	d.t.Helper()
	got, _, err := d.run(args...)
	if diff := cmp.Diff(output, got); diff != "" || err != nil {
		d.t.Errorf("%v: %v (-want +got):\n%s", args, err, diff)
	}
}

// refused fails the test unless the command fails and says so.
func (d desk) refused(says string, args ...string) {
	d.t.Helper()
	out, _, err := d.run(args...)
	if err == nil || !strings.Contains(err.Error(), says) {
		d.t.Errorf("%v: error %v, output %q; want an error that says %q", args, err, out, says)
	}
}

// The tables, with what strangers write into them.
func TestTables(t *testing.T) {
	day := time.Date(2026, 11, 21, 9, 5, 59, 0, time.Local)
	users := []userJSON{
		{
			ID: "k3xw", Name: "张三", Status: user.Active, Roles: []string{"admin", "editor"}, Email: "zhang@example.com", Phone: "+8613800138000", CreatedAt: day, LastSeenAt: &day,
			Identities: []people.Identity{{AppID: "wx1", OpenID: "o1", UnionID: "n1"}, {AppID: "wx2", OpenID: "o2"}},
		},
		{ID: "imported-1", Name: "a\x1b[31m\u202eb", Status: user.Pending, Waits: true, CreatedAt: day},
	}
	for _, c := range []struct {
		name  string
		print func(*bytes.Buffer) error
		want  string
	}{
		{"users", func(b *bytes.Buffer) error { return printUsers(b, users) }, "" +
			"ID          STATUS   ROLES         E-MAIL             PHONE           LAST SIGN-IN      NAME\n" +
			"k3xw        active   admin,editor  zhang@example.com  +8613800138000  2026-11-21 09:05  张三\n" +
			"imported-1  pending  -             -                  -               never             a\ufffd[31m\ufffdb\n"},
		{"user", func(b *bytes.Buffer) error { return printUser(b, users[0]) }, "" +
			"ID            k3xw\nName          张三\nStatus        active\nRoles         admin, editor\nE-mail        zhang@example.com\nPhone         +8613800138000\n" +
			"Created       2026-11-21 09:05\nLast sign-in  2026-11-21 09:05\nOpenid        o1 at wx1, unionid n1\nOpenid        o2 at wx2\n"},
		{"sessions", func(b *bytes.Buffer) error {
			return printSessions(b, []session.Info{{ID: "s1", UserID: "k3xw", Method: "official_qr", IP: "2001:db8::1", UserAgent: "Mozilla/5.0 \x1b[2J", CreatedAt: day, LastSeenAt: day.Add(time.Hour), ExpiresAt: day.Add(7 * 24 * time.Hour)}})
		}, "" +
			"ID  METHOD       ADDRESS      SIGNED IN         LAST USED         EXPIRES           BROWSER\n" +
			"s1  official_qr  2001:db8::1  2026-11-21 09:05  2026-11-21 10:05  2026-11-28 09:05  Mozilla/5.0 \ufffd[2J\n"},
		{"status", func(b *bytes.Buffer) error {
			return printStatus(b, statusJSON{
				Version: "v1.0.0", Caddy: "v2.11.9", Store: storeStatus{"redis", "unavailable", "no answer"}, Users: map[user.Status]int{user.Active: 2, user.Pending: 1},
				Accounts: []accountStatus{{"wx1", "official_account", []string{"official_qr", "in_wechat"}}},
			})
		}, "Version  v1.0.0, Caddy v2.11.9\nStore    redis: unavailable\n-        no answer\nUsers    3: 2 active, 1 pending, 0 disabled\nAccount  wx1, official_account: official_qr, in_wechat\n"},
	} {
		var b bytes.Buffer
		if err := c.print(&b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestUsersCommands(t *testing.T) {
	d := newDesk(t)
	d.add(user.Entry{ID: "u1", Name: "Li", Email: "li@example.com", Status: user.Pending}, user.Entry{ID: "u2", Phone: "13800138000", AppID: "wx1", OpenID: "oLi"})
	d.want("u1 is active, with no roles\n", "users", "approve", "u1")
	d.want("u1 is disabled, with no roles\n", "users", "disable", "u1")
	d.refused("use enable", "users", "approve", "u1")
	d.want("u1 is active, with no roles\n", "users", "enable", "u1")
	d.want("u1 is active, with the roles a, b\n", "users", "roles", "u1", "b,a")
	d.want("u1 is active, with the roles a, c\n", "users", "roles", "u1", "--add", "c", "--remove", "b,x")
	d.want("u1 is active, with the role c\n", "users", "roles", "u1", "c")
	d.want("u1 is active, with no roles\n", "users", "roles", "u1", "")
	// A space takes nobody's roles away.
	d.want("u1 is active, with the role c\n", "users", "roles", "u1", "c")
	d.refused(`"bad role" cannot be a role`, "users", "roles", "u1", "bad role")
	d.refused("cannot be a role", "users", "roles", "u1", "ü")
	d.want("u1 is active, with the roles c, d\n", "users", "roles", "u1", "c, d")
	d.refused("give either the roles", "users", "roles", "u1")
	d.refused("give either the roles", "users", "roles", "u1", "a", "--add", "b")
	for text, id := range map[string]string{"u1": "u1", "li@example.com": "u1", "+8613800138000": "u2", "oli@": "", "wx1": "", "li": "u1"} {
		out, _, err := d.run("users", "show", text, "--json")
		if (err == nil) != (id != "") || !strings.Contains(out, fmt.Sprintf("%q", id)) && id != "" {
			t.Errorf("show %s: %v %s", text, err, out)
		}
	}
	if _, _, err := d.run("users", "show", "li@example.co"); err != nil {
		t.Errorf("part of one address: %v", err)
	}
	d.add(user.Entry{ID: "u", Name: "whose id is part of those of others"})
	if out, _, err := d.run("users", "show", "u"); err != nil || !strings.Contains(out, "part of those") {
		t.Errorf("show u: %v %s", err, out)
	}
	// A whole name wins over those that contain it; else the candidates are named.
	d.add(user.Entry{ID: "z1", Name: "Wang Hong"}, user.Entry{ID: "z2", Name: "Wang Hong Li"})
	if out, _, err := d.run("users", "show", "wang hong"); err != nil || !strings.Contains(out, "z1") {
		t.Errorf("show wang hong: %v %s", err, out)
	}
	d.refused("z1  Wang Hong", "users", "show", "Wang")
	d.refused("z2  Wang Hong Li", "users", "show", "Wang")
	d.refused("no such user", "users", "show", "nobody")
	for _, name := range []string{"approve", "disable", "enable", "delete"} {
		d.refused("give the id of a user", "users", name)
		d.refused("is no id: "+name+" takes an id; find it with users show", "users", name, "li@example.com")
		d.refused("takes an id; find it with users show", "users", name, "Li")
	}
	d.refused(`unknown command "aprove"`, "users", "aprove", "u1")
	d.refused("add --yes", "users", "delete", "u1")
	d.want("u1 is deleted\n", "users", "delete", "u1", "--yes")
	d.refused("no such user", "users", "delete", "u1", "--yes")
}

// Lists are whole unless a limit is given, and then say that there is more.
func TestUsersList(t *testing.T) {
	d := newDesk(t)
	for i := range 3 {
		d.add(user.Entry{ID: fmt.Sprintf("u%d", i), Name: "Person"})
	}
	if out, stderr, err := d.run("users", "list"); strings.Count(out, "\n") != 4 || stderr != "" || err != nil {
		t.Errorf("%v %q %q", err, out, stderr)
	}
	if out, stderr, err := d.run("users", "list", "--limit", "2"); strings.Count(out, "\n") != 3 || !strings.Contains(stderr, "more than 2") || err != nil {
		t.Errorf("%v %q %q", err, out, stderr)
	}
	if out, _, err := d.run("users", "list", "--limit", "2", "--json"); strings.Count(out, `"id"`) != 2 || !strings.Contains(out, `"next_cursor": "1`) || err != nil {
		t.Errorf("%v %s", err, out)
	}
	d.want("{\n  \"users\": [],\n  \"next_cursor\": \"\"\n}\n", "users", "list", "--status", "pending", "--json")
	d.refused("--status gone is unknown: use active, pending, disabled", "users", "list", "--status", "gone")
	d.refused("must not be negative", "users", "list", "--limit", "-1")
}

func TestSessionsCommands(t *testing.T) {
	d := newDesk(t)
	d.add(user.Entry{ID: "u1"})
	s := d.signIn("u1")
	if out, _, err := d.run("sessions", "list", "u1"); err != nil || !strings.Contains(out, s.ID+"  official_qr  192.0.2.1  ") || strings.Contains(out, "\x1b") {
		t.Errorf("%v %s", err, out)
	}
	d.want("the session is ended\n", "sessions", "revoke", s.ID)
	d.refused("no such session", "sessions", "revoke", s.ID)
	d.signIn("u1")
	d.want("{\n  \"ended\": 1\n}\n", "sessions", "revoke", "--user", "u1", "--json")
	d.signIn("u1")
	d.want("1 session is ended\n", "sessions", "revoke", "--user", "u1")
	d.want("0 sessions are ended\n", "sessions", "revoke", "--user", "u1")
	d.refused("name either", "sessions", "revoke")
	d.refused("name either", "sessions", "revoke", s.ID, "--user", "u1")
	d.refused("no such user", "sessions", "list", "u2")
}

// The import goes on after a mistake, names its line, and says in the end how it went.
func TestUsersImport(t *testing.T) {
	d := newDesk(t)
	var file strings.Builder
	file.WriteString("id,email\n")
	for i := range importBatch + 10 {
		fmt.Fprintf(&file, "u%d,u%d@example.com\n", i, i)
	}
	name := writeFile(t, "users.csv", file.String()+"u0,nonsense\nu1\nu2,u3@example.com\n")
	out, stderr, err := d.run("users", "import", name, "--dry-run")
	if out != "would be 511 created, 0 updated, 0 unchanged, 2 failed; each line was looked at by itself, not at what the lines before it would change\n" || err == nil || strings.Count(stderr, "\n") != 2 {
		t.Errorf("dry run: %v %q %q", err, out, stderr)
	}
	if first, _, _ := strings.Cut(stderr, "\n"); !strings.HasPrefix(first, "line 512: ") {
		t.Errorf("the mistakes are not in the order of lines: %q", stderr)
	}
	out, stderr, err = d.run("users", "import", name)
	if out != "510 created, 0 updated, 0 unchanged, 3 failed\n" || err == nil || !strings.Contains(err.Error(), "3 of 513 users") {
		t.Errorf("%v %q", err, out)
	}
	for _, line := range []string{"line 512: email \"nonsense\": not an address: ", "line 513: it has 1 cells", "line 514: an address or identity of the entry belongs to another user"} {
		if !strings.Contains(stderr, line) {
			t.Errorf("%q says no %q", stderr, line)
		}
	}
	mistakes := filepath.Join(t.TempDir(), "mistakes")
	out, stderr, _ = d.run("users", "import", name, "--errors", mistakes, "--json")
	if !strings.Contains(out, `"unchanged": 510`) || !strings.Contains(out, `"complete": false`) || !strings.Contains(out, `"line": 513`) || stderr != "" {
		t.Errorf("again: %q %q", out, stderr)
	}
	text, err := os.ReadFile(mistakes)
	info, _ := os.Stat(mistakes)
	if err != nil || strings.Count(string(text), "\nline ") != 2 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v %s", err, info.Mode(), text)
	}
	out, _, err = d.runWith(`[{"id":"s1"},{"id":"s2","roles":["a"]}]`, "users", "import", "-", "--format", "json")
	if out != "2 created, 0 updated, 0 unchanged, 0 failed\n" || err != nil {
		t.Errorf("standard input: %v %q", err, out)
	}
	d.refused("give --format", "users", "import", "-")
	d.refused("nothing was imported: the header line has a column \"mail\"", "users", "import", writeFile(t, "header.csv", "id,mail\nx,y\n"))
	d.refused("no such file", "users", "import", "nowhere.csv")
	d.refused("no such file", "users", "import", "nowhere") // the format is the lesser trouble
	_, stderr, _ = d.run("users", "import", writeFile(t, "taken.csv", "id,email\nnobody,u2@example.com\n"))
	if !strings.Contains(stderr, "belongs to another user, u2: the id of the entry is nobody") {
		t.Errorf("somebody's address with a new id: %q", stderr)
	}
	d.refused("stopped after 1 users, of whom none is lost: run the same command again", "users", "import", writeFile(t, "open.csv", "id\ns1\n\"s2\n"+strings.Repeat("x\n", 40_000)))
}

// What is exported from one gateway is imported by another as the same users.
func TestUsersExport(t *testing.T) {
	d := newDesk(t)
	d.add(user.Entry{ID: "u1", Name: "=1+1", Roles: []string{"b", "a"}, Email: "a@example.com", Phone: "+8613800138000", AppID: "wx1", OpenID: "o1", UnionID: "n1"},
		user.Entry{ID: "u1", AppID: "wx2", OpenID: "o2"}, user.Entry{ID: "u2", CreatedAt: time.Date(2019, 3, 4, 5, 6, 7, 89, time.UTC), Name: "张三, \"三\"", Status: user.Disabled})
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "users.csv"), filepath.Join(dir, "users.json")}
	for _, file := range files {
		d.want("", "users", "export", "--output", file)
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
	}
	before, _, _ := d.run("users", "export", "--format", "json")
	for _, file := range files {
		d.want("u1 is deleted\n", "users", "delete", "u1", "--yes")
		d.want("u2 is deleted\n", "users", "delete", "u2", "--yes")
		d.want("2 created, 0 updated, 0 unchanged, 0 failed\n", "users", "import", file)
		d.want("0 created, 0 updated, 2 unchanged, 0 failed\n", "users", "import", file)
		after, _, err := d.run("users", "export", "--format", "json")
		sorted := func(text string) string {
			return strings.Join(sortedLines(strings.ReplaceAll(text, ",\n", "\n")), "\n")
		}
		if diff := cmp.Diff(sorted(before), sorted(after)); diff != "" || err != nil || !strings.Contains(after, "=1+1") {
			t.Errorf("%s: %v (-before +after):\n%s", file, err, diff)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("a temporary file is left: %v", entries)
	}
	if out, _, err := d.run("users", "export"); err != nil || !strings.HasPrefix(out, "id,name,status,") {
		t.Errorf("without --format: %v %q", err, out)
	}
}

// An operator hears what is wrong, and a script can tell it by the status.
func TestExitStatus(t *testing.T) {
	d := newDesk(t)
	away := desk{d.office, freeAddr(t)}
	away.refused("does it run there? --config or --address say where it does", "users", "list")
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	desk{d.office, strings.TrimPrefix(other.URL, "http://")}.refused("asking Caddy at", "status")
	for want, err := range map[int]error{
		0: nil, exitFailure: errors.New("x"), exitUsage: fmt.Errorf("a: %w", usageError{errors.New("x")}),
		exitPartly: partlyError{errors.New("x")}, exitNotFound: &adminError{404, "not_found", "x"},
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	if got := exitStatus(&adminError{404, "not_configured", "x"}); got != exitFailure {
		t.Errorf("not configured: %d", got)
	}
}

// The default address comes from the configuration.
func TestCommands_AddressOfConfig(t *testing.T) {
	d := newDesk(t)
	config := writeFile(t, "Caddyfile", "{\n\tadmin "+d.address+"\n}\n")
	cmd := statusCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--config", config})
	if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "Store    embedded: ok") {
		t.Errorf("%v %s", err, &out)
	}
}

// The shell completes what is known beforehand.
func TestCommands_Completion(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"users list --status ", "active\npending\ndisabled\n"},
		{"users import --format ", "csv\njson\n"},
		{"users export --status ", "active\n"},
		{"users e", "enable"},
		{"sessions ", "revoke"},
		{"", "status"},
	} {
		cmd := &cobra.Command{Use: "wechat"}
		group(cmd, usersCommand(), sessionsCommand(), statusCommand(), storeCommand())
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(new(bytes.Buffer))
		cmd.SetArgs(append([]string{"__complete"}, strings.Split(c.args, " ")...))
		if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: %v %s", c.args, err, &out)
		}
	}
}

// Where the size is known, progress is a bar that fills up.
func TestProgress_Bar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out)
		part := 0.5
		p.terminal, p.done = true, func() float64 { return part }
		time.Sleep(lineInterval) //nolint:forbidigo // in a synctest bubble
		p.step(5)
		time.Sleep(lineInterval) //nolint:forbidigo // in a synctest bubble
		part = 1
		p.step(10)
		want := "\r[===============               ] 5 entries, 50%\r[==============================] 10 entries, 100%"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func sortedLines(text string) []string { return slices.Sorted(strings.SplitSeq(text, "\n")) }

func TestCommands_SaysYes(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "yes\r\n": true, "Y": true, "YES": true, "": false, "n": false, "yesterday": false} {
		if got := saysYes(answer); got != want {
			t.Errorf("%q: %v", answer, got)
		}
	}
}

// Where the configuration switches the admin endpoint off, no command can do anything.
func TestCommands_AdminOff(t *testing.T) {
	cmd := statusCommand()
	cmd.SetArgs([]string{"--config", writeFile(t, "Caddyfile", "{\n\tadmin off\n}\n")})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), `has "admin off"`) {
		t.Errorf("%v", err)
	}
}

// Whoever is approved may still have something to do.
func TestMissingText(t *testing.T) {
	for admission, want := range map[user.Admission]string{
		user.Admitted: "", user.IsDisabled: "", user.AwaitingApproval: "",
		user.EmailMissing: "; before entering, the person has yet to prove an e-mail address (email_missing)",
		user.NameMissing:  "; before entering, the person has yet to choose a name (name_missing)",
	} {
		if got := missingText(userJSON{Admission: admission}); got != want {
			t.Errorf("%s: %q, want %q", admission, got, want)
		}
	}
}

// A status says what else keeps a person out, for whom an operator can do no more.
func TestStatusText(t *testing.T) {
	for _, c := range []struct {
		u    userJSON
		want string
	}{
		{userJSON{Status: user.Active}, "active"},
		{userJSON{Status: user.Pending, Waits: true, Admission: user.AwaitingApproval}, "pending"},
		{userJSON{Status: user.Pending, Waits: true, Admission: user.NameMissing}, "pending, no name yet"},
		{userJSON{Status: user.Pending, Admission: user.EmailMissing}, "let in, no e-mail yet"},
		{userJSON{Status: user.Active, Admission: user.PhoneMissing}, "active, no phone yet"},
		{userJSON{Status: user.Disabled, Admission: user.IsDisabled}, "disabled"},
	} {
		if got := statusText(c.u, "let in"); got != c.want {
			t.Errorf("%+v: %q, want %q", c.u, got, c.want)
		}
	}
}

func TestDeleteQuestion(t *testing.T) {
	for want, u := range map[string]userJSON{
		"Delete user k1?": {ID: "k1"}, "Delete user k1 (Li)?": {ID: "k1", Name: "Li", Email: "li@example.com"}, "Delete user k1 (li@example.com)?": {ID: "k1", Email: "li@example.com"},
	} {
		if got := deleteQuestion(u); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
