// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
)

// operate runs `caddy wechat` with arguments against the gateway, and fails the
// test unless it exits with this status.
func (w *world) operate(status int, args ...string) commandResult {
	w.t.Helper()
	got := w.command(append([]string{"wechat"}, append(args, "--address", w.admin)...)...)
	if got.status != status {
		w.t.Errorf("wechat %v: %+v; want status %d", args, got, status)
	}
	return got
}

// admitted says whether the site lets the browser in, whatever else it answers.
func (b *browser) admitted() bool {
	b.t.Helper()
	return b.do(http.MethodGet, "/", nil).Status == http.StatusOK
}

// inForce waits until what an operator did holds, and fails the test where that
// takes longer than a second.
func inForce(t *testing.T, what string, holds func() bool) {
	t.Helper()
	took := poll(t, what, holds)
	t.Logf("%s: in force after %v", what, took)
	if took > heard {
		t.Errorf("%s after %v", what, took)
	}
}

// TestG4Operators: whatever an operator does by a command is in force at the gate
// within a second, and closes what it must close, with the embedded store and with
// Redis (G4, G5).
func TestG4Operators(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"embedded", "redis"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{users: "registration approval"})
			if backend == "redis" {
				w.stop()
				state := "store embedded " + filepath.Join(w.dir, "state")
				w.caddyfile = strings.Replace(w.caddyfile, state, "store redis {\n address "+redistest.Start(t).Addr()+"\n}", 1)
				w.start()
			}
			w.upstream.longLived()
			w.operators(t, w.upstream.watchRoles())
		})
	}
}

// operators is what an operator does with two people, from the first to the last.
func (w *world) operators(t *testing.T, lastRoles func() string) {
	alice, bob := w.signIn("alice"), w.signIn("bob")
	ids := make(map[string]string)
	for _, name := range []string{"alice", "bob"} {
		out := w.operate(0, "users", "show", w.wechat.Phone(name).OpenID(appID), "--json").stdout
		var u struct{ ID, Status string }
		if err := json.Unmarshal([]byte(out), &u); err != nil || u.Status != "pending" {
			t.Fatalf("%v %s", err, out)
		}
		ids[name] = u.ID
	}
	if list := w.operate(0, "users", "list", "--status", "pending").stdout; strings.Count(list, " pending ") != 2 || alice.admitted() {
		t.Errorf("two wait for approval:\n%s", list)
	}
	w.operate(0, "users", "approve", ids["alice"])
	inForce(t, "approve", alice.admitted)
	w.operate(0, "users", "approve", ids["bob"])
	inForce(t, "approve", bob.admitted)
	other := w.connect(bob)

	w.operate(0, "users", "roles", ids["alice"], "editor,admin")
	inForce(t, "roles", func() bool { return alice.admitted() && lastRoles() == "admin,editor" })
	open := w.connect(alice)
	w.operate(0, "users", "roles", ids["alice"], "--remove", "admin")
	inForce(t, "roles close connections", open.over)
	inForce(t, "roles", func() bool { return alice.admitted() && lastRoles() == "editor" })

	open = w.connect(alice)
	w.operate(0, "users", "disable", ids["alice"])
	inForce(t, "disable closes connections", open.over)
	inForce(t, "disable", func() bool { return !alice.admitted() })
	if got := w.confirmed("alice").session(); got.Status != http.StatusForbidden {
		t.Errorf("a disabled person signs in: %d %s", got.Status, got.Body)
	}
	w.operate(0, "users", "enable", ids["alice"])
	if alice.admitted() {
		t.Error("the session from before is alive again")
	}
	first, second := w.signIn("alice"), w.signIn("alice")
	inForce(t, "enable", func() bool { return first.admitted() && second.admitted() })

	sessions := w.sessionsOf(ids["alice"])
	open = w.connect(second)
	w.operate(0, "sessions", "revoke", sessions[0]) // the latest
	inForce(t, "revoke closes connections", open.over)
	inForce(t, "revoke", func() bool { return !second.admitted() })
	if !first.admitted() {
		t.Error("another session ends, too")
	}
	w.operate(0, "sessions", "revoke", "--user", ids["alice"])
	inForce(t, "revoke all", func() bool { return !first.admitted() })

	last := w.signIn("alice")
	open = w.connect(last)
	w.operate(0, "users", "delete", ids["alice"], "--yes")
	inForce(t, "delete closes connections", open.over)
	inForce(t, "delete", func() bool { return !last.admitted() })
	w.operate(3, "users", "show", w.wechat.Phone("alice").OpenID(appID))
	other.expectAlive()
}

// sessionsOf are the ids of a user's sessions, as the command lists them.
func (w *world) sessionsOf(id string) (ids []string) {
	w.t.Helper()
	lines := strings.Split(strings.TrimSpace(w.operate(0, "sessions", "list", id).stdout), "\n")
	for _, line := range lines[1:] {
		ids = append(ids, strings.Fields(line)[0])
	}
	if len(ids) != 2 {
		w.t.Fatalf("%d sessions of %s", len(ids), id)
	}
	return ids
}

// over waits until both connections are closed, and says whether they are.
func (c connections) over() bool {
	_, err := c.socket.ReadByte()
	if err == nil || strings.Contains(err.Error(), "timeout") {
		return false
	}
	for {
		if _, err := c.events.Read(make([]byte, 512)); err != nil {
			return true
		}
	}
}

// watchRoles returns what tells the roles in the latest request for the first page.
func (u *upstream) watchRoles() (last func() string) {
	var roles atomic.Pointer[string]
	u.mu.Lock()
	defer u.mu.Unlock()
	handle := u.handle
	u.handle = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			text := r.Header.Get("X-User-Roles")
			roles.Store(&text)
		}
		handle(w, r)
	}
	return func() string { return *roles.Load() }
}

// TestOperators_ExitStatus: a script can tell how each command went.
func TestOperators_ExitStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	good, bad := filepath.Join(w.dir, "good.csv"), filepath.Join(w.dir, "bad.csv")
	for name, text := range map[string]string{good: "id\nu1\n", bad: "id,email\nu1,\nu2,nonsense\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		status int
		args   string
	}{
		{0, "users import " + good},
		{4, "users import " + bad},
		{4, "users import --dry-run " + bad},
		{1, "users import nowhere.csv"},
		{2, "users import"},
		{2, "users import - --format xml"},
		{0, "users list"},
		{2, "users list more"},
		{2, "users list --status gone"},
		{2, "users list --sort id"},
		{0, "users show u1"},
		{3, "users show u9"},
		{3, "users approve u9"},
		{2, "users approve"},
		{3, "users delete u9 --yes"},
		{2, "users delete u1"},
		{2, "users roles u1 ü"},
		{3, "users roles u9 a"},
		{0, "sessions list u1"},
		{3, "sessions list u9"},
		{3, "sessions revoke x"},
		{2, "sessions revoke"},
		{0, "users export --format csv"},
		{0, "users export"},
		{2, "users export --output users.txt"},
		{0, "status"},
		{2, "status now"},
	} {
		w.operate(c.status, strings.Fields(c.args)...)
	}
	if got := w.command("wechat", "users"); got.status != 0 || !strings.Contains(got.stdout, "approve") {
		t.Errorf("the group: %+v", got)
	}
	w.stop()
	if got := w.operate(1, "status"); !strings.Contains(got.stderr, "does it run there?") {
		t.Errorf("nobody there: %+v", got)
	}
}

// TestOperators_ForeignPages: a page in the operator's browser can reach the admin
// endpoint of his machine. Caddy's own checks, and the content type, keep it from
// doing anything (G11).
func TestOperators_ForeignPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	for _, c := range []struct {
		name, method, path, host string
		header                   map[string]string
		status                   int
	}{
		{"another host", "GET", "users", "evil.example", nil, 403},
		{"another origin", "DELETE", "users/u1", "", map[string]string{"Origin": "https://evil.example"}, 403},
		{"no origin", "POST", "users/import", "", map[string]string{"Origin": "null"}, 400},
		{"no-cors", "POST", "users/import", "", map[string]string{"Sec-Fetch-Mode": "no-cors"}, 400},
		{"a form", "POST", "users/import", "", map[string]string{"Content-Type": "text/plain"}, 415},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+w.admin+"/wechat/"+c.path, strings.NewReader(`{"users":[{"id":"u1"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if req.Host = c.host; c.host == "" {
			req.Host = w.admin
		}
		for name, value := range c.header {
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.name, resp.StatusCode, c.status)
		}
	}
	w.operate(3, "users", "show", "u1")
}

// TestOperators_NothingPersonalInTheLog: what an operator looks for, and what he
// imports, is in no log but that of the audit.
func TestOperators_NothingPersonalInTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	file := filepath.Join(w.dir, "users.csv")
	if err := os.WriteFile(file, []byte("name,email,phone,app_id,openid\nXiaoming,ming@example.com,13912345678,wx1,oSecretOfMing\nx,nonsense@@,,,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.operate(4, "users", "import", file)
	for _, text := range []string{"ming@example.com", "13912345678", "oSecretOfMing"} {
		out := w.operate(0, "users", "show", text, "--json").stdout
		var u struct{ ID string }
		if err := json.Unmarshal([]byte(out), &u); err != nil || u.ID == "" {
			t.Fatalf("%s: %v %s", text, err, out)
		}
		w.operate(0, "users", "roles", u.ID, "--add", "a")
		w.operate(0, "users", "list", "--query", text)
	}
	w.operate(0, "users", "export", "--format", "csv")
	w.stop()
	for line := range strings.SplitSeq(w.output.String(), "\n") {
		if strings.Contains(line, `"logger":"wechat.audit"`) {
			continue
		}
		for _, text := range []string{"ming@example.com", "13912345678", "oSecretOfMing", "Xiaoming", "nonsense"} {
			if strings.Contains(line, text) {
				t.Errorf("the log has %s: %s", text, line)
			}
		}
	}
	if !strings.Contains(w.output.String(), `"action":"import_users"`) {
		t.Error("the import is not in the audit log")
	}
}

// TestOperators_RoundTrip: users move from one gateway to another by a file, as a
// spreadsheet or JSON, and are the same there: who comes in by WeChat, or proves an
// address, is who he was. The first has an embedded store, the second a Redis.
func TestOperators_RoundTrip(t *testing.T) {
	t.Parallel()
	from := newWorld(t, options{})
	alice := from.signIn("alice")
	id := alice.userID()
	from.operate(0, "users", "roles", id, "editor")
	file := filepath.Join(from.dir, "more.json")
	if err := os.WriteFile(file, []byte(`[{"id":"old-7","name":"=张三","email":"z@example.com","phone":"13800138000","roles":["a","b"],"status":"disabled"},
{"id":"old-8","identities":[{"app_id":"wx1","openid":"o1"},{"app_id":"wx2","openid":"-o2","unionid":"n2"}]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	from.operate(0, "users", "import", file)
	to := newWorld(t, options{})
	to.stop()
	state := "store embedded " + filepath.Join(to.dir, "state")
	to.caddyfile = strings.Replace(to.caddyfile, state, "store redis {\n address "+redistest.Start(t).Addr()+"\n}", 1)
	to.start()
	for _, name := range []string{"users.csv", "users.json"} {
		file := filepath.Join(from.dir, name)
		from.operate(0, "users", "export", "--output", file)
		to.operate(0, "users", "import", file, "--dry-run")
		if got := to.operate(0, "users", "import", file).stdout; !strings.HasPrefix(got, "3 created, ") {
			t.Errorf("%s: %s", name, got)
		}
		if got := to.operate(0, "users", "import", file).stdout; !strings.Contains(got, "0 created, 0 updated, 3 unchanged, 0 failed") {
			t.Errorf("%s again: %s", name, got)
		}
		if before, after := from.exported(), to.exported(); !slices.Equal(before, after) || len(before) != 3 {
			t.Errorf("%s: there were\n%s\nand are\n%s", name, strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
		for _, id := range []string{id, "old-7", "old-8"} {
			to.operate(0, "users", "delete", id, "--yes")
		}
	}
	to.operate(0, "users", "import", filepath.Join(from.dir, "users.csv"))
	_ = os.Remove(filepath.Join(from.dir, "users.csv"))
	// The two WeChats know alice by the same openid.
	if got := to.signIn("alice").userID(); got != id {
		t.Errorf("alice was %s and is %s", id, got)
	}
}

// exported are the lines of a CSV export, in a fixed order, without the first.
func (w *world) exported() []string {
	w.t.Helper()
	lines := strings.Split(strings.TrimSpace(w.operate(0, "users", "export", "--format", "csv").stdout), "\n")
	return slices.Sorted(slices.Values(lines[1:]))
}

// TestOperators_Completion: the shell gets what it can complete from Caddy's own command.
func TestOperators_Completion(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: t.TempDir()}
	if got := w.command("completion", "bash"); got.status != 0 || !strings.Contains(got.stdout, "__complete") {
		t.Errorf("%+v", got)
	}
	got := w.command("__complete", "wechat", "users", "list", "--status", "")
	if got.status != 0 || !strings.HasPrefix(got.stdout, "active\npending\ndisabled\n") {
		t.Errorf("%+v", got)
	}
}

// BenchmarkOperators_HundredThousand imports 100,000 users by the command and looks
// at pages of them, on both stores.
func BenchmarkOperators_HundredThousand(b *testing.B) {
	const users = 100_000
	file := filepath.Join(b.TempDir(), "users.csv")
	var text strings.Builder
	text.WriteString("id,name,email,phone,roles\n")
	for i := range users {
		fmt.Fprintf(&text, "user-%06d,张三 %d,person%d@example.com,139%08d,member;level-%d\n", i, i, i, i, i%10)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, backend := range []string{"embedded", "redis"} {
		b.Run(backend, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b, options{})
				if backend == "redis" {
					w.stop()
					state := "store embedded " + filepath.Join(w.dir, "state")
					w.caddyfile = strings.Replace(w.caddyfile, state, "store redis {\n address "+redistest.Start(b).Addr()+"\n}", 1)
					w.start()
				}
				before := w.memory()
				b.StartTimer()
				begun := time.Now()
				w.operate(0, "users", "import", file)
				b.ReportMetric(time.Since(begun).Seconds(), "s/import")
				b.ReportMetric(float64(w.memory()-before)/(1<<20), "MiB/import")
				b.ReportMetric(w.pageTime(""), "ms/first-page")
				b.ReportMetric(float64(w.memory()-before)/(1<<20), "MiB/roster")
				var slowest float64
				for _, query := range []string{"", "?query=person99999@", "?status=pending", "?limit=500", "?query=nobody"} {
					slowest = max(slowest, w.pageTime(query))
				}
				b.ReportMetric(slowest, "ms/slowest-page")
				begun = time.Now()
				w.operate(0, "users", "export", "--output", filepath.Join(w.dir, "out.csv"))
				b.ReportMetric(time.Since(begun).Seconds(), "s/export")
				begun = time.Now()
				w.operate(0, "users", "import", file)
				b.ReportMetric(time.Since(begun).Seconds(), "s/import-again")
				w.stop()
			}
		})
	}
}

// pageTime is how many milliseconds a page of users takes.
func (w *world) pageTime(query string) float64 {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.admin+"/wechat/users"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	begun := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct{ Users []json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%d %v", resp.StatusCode, err)
	}
	return float64(time.Since(begun).Microseconds()) / 1000
}

// memory is how much memory Caddy has resident, in bytes.
func (w *world) memory() int64 {
	w.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", w.cmd.Process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(raw), &size, &resident); err != nil {
		w.t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}
