// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
)

// TestMovingHouse: one Caddy grows into several with a Redis, and shrinks back
// into a new directory. Whoever was signed in stays so, as the same user; who
// signed out in between stays out.
func TestMovingHouse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	server := redistest.Start(t)
	embedded := "store embedded " + filepath.Join(w.dir, "state")
	redis := "store redis {\n\t\t\taddress " + server.Addr() + "\n\t\t}"
	again := "store embedded " + filepath.Join(w.dir, "new")

	alice, bob := w.signIn("alice"), w.signIn("bob")
	id := alice.userID()
	if id == "" || !bob.signedIn() {
		t.Fatal("not signed in")
	}

	// Beside the Caddy that has the file open, nothing is copied.
	if got := w.copyStore(embedded, redis); got.status != 1 || !strings.Contains(got.stderr, "stop that first") || got.stdout != "" {
		t.Errorf("beside a Caddy that runs: %+v", got)
	}
	if got := server.Do(t, "dbsize"); got != "0" {
		t.Errorf("%s keys are in Redis", got)
	}
	w.stop()

	w.move(embedded, redis)
	if !alice.signedIn() || alice.userID() != id || !bob.signedIn() {
		t.Fatal("with Redis, the sessions do not live on")
	}
	planted := header("Cookie", bob.cookieValue())
	if got := bob.do(http.MethodPost, "/_wechat/logout", url.Values{}); got.Status != http.StatusSeeOther {
		t.Fatalf("logout: %d", got.Status)
	}
	carol := w.signIn("carol")
	if got := w.signIn("alice").userID(); got != id {
		t.Errorf("with Redis, alice is user %q, and was %q", got, id)
	}
	w.stop()

	w.move(redis, again)
	if !alice.signedIn() || alice.userID() != id || !carol.signedIn() {
		t.Error("back in a file, the sessions do not live on")
	}
	if got := w.browser().do(http.MethodGet, "/", nil, planted); got.Status != http.StatusUnauthorized {
		t.Errorf("back in a file, the cookie from before the logout: %d", got.Status)
	}
	w.stop()
}

// TestStoreCopy_ExitStatus: a script can tell how it went.
func TestStoreCopy_ExitStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.signIn("alice")
	w.stop()
	embedded := "store embedded " + filepath.Join(w.dir, "state")
	for _, c := range []struct {
		name   string
		args   []string
		status int
	}{
		{"help", []string{"wechat", "store", "copy", "--help"}, 0},
		{"group", []string{"wechat", "store"}, 0},
		{"no such command", []string{"wechat", "store", "move"}, 2},
		{"no such flag", []string{"wechat", "store", "copy", "--force"}, 2},
		{"no arguments", []string{"wechat", "store", "copy"}, 2},
		{"too many arguments", []string{"wechat", "store", "copy", "a", "b"}, 2},
	} {
		if got := w.command(c.args...); got.status != c.status {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	redis := redistest.Start(t)
	to := "store redis {\n\t\t\taddress " + redis.Addr() + "\n\t\t}"
	redis.Do(t, "set", "wechat:signing-key", "another")
	got := w.copyStore(embedded, to)
	if got.status != 1 || !strings.Contains(got.stderr, "1 signing-key") || !strings.Contains(got.stderr, "signing key of its own") {
		t.Errorf("a conflict: %+v", got)
	}
	got = w.copyStore(embedded, to, "--overwrite", "--json")
	var report struct {
		Complete bool `json:"complete"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.status != 0 || !report.Complete {
		t.Errorf("with --overwrite: %v, %+v", err, got)
	}
	for _, openID := range []string{w.wechat.Phone("alice").OpenID(appID), secret} {
		if strings.Contains(got.stdout+got.stderr, openID) {
			t.Errorf("%s is shown: %+v", openID, got)
		}
	}
}

// commandResult is what came of a command.
type commandResult struct {
	status         int
	stdout, stderr string
}

// command runs a command of Caddy's beside the one that serves.
func (w *world) command(args ...string) commandResult {
	w.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(w.t.Context(), exe, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = w.environment()
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	if strings.Contains(stderr.String(), "DATA RACE") {
		w.t.Errorf("a data race:\n%s", &stderr)
	}
	return commandResult{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// environment is what Caddy runs in.
func (w *world) environment() []string {
	return append(os.Environ(), append(w.env, asCaddy+"=1", "XDG_DATA_HOME="+w.dir, "XDG_CONFIG_HOME="+w.dir, "HOME="+w.dir)...)
}

// copyStore runs `caddy wechat store copy` between two store lines.
func (w *world) copyStore(from, to string, more ...string) commandResult {
	w.t.Helper()
	args := []string{"wechat", "store", "copy", "--from", w.withStore("from", from), "--to", w.withStore("to", to)}
	return w.command(append(args, more...)...)
}

// withStore writes a file with the gateway's configuration and another store line.
func (w *world) withStore(name, line string) (file string) {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	file = filepath.Join(dir, "Caddyfile")
	start := strings.Index(w.caddyfile, "\n\t\tstore ") + len("\n\t\t")
	end := strings.Index(w.caddyfile, "\n\t\tusers ")
	if err := os.WriteFile(file, []byte(w.caddyfile[:start]+line+w.caddyfile[end:]), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// move copies everything and starts Caddy with the new store.
func (w *world) move(from, to string) {
	w.t.Helper()
	if got := w.copyStore(from, to); got.status != 0 || !strings.Contains(got.stdout, "signing-key  1 ") {
		w.t.Fatalf("copying: %+v", got)
	}
	file := w.withStore("now", to)
	changed, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	w.caddyfile = string(changed)
	w.start()
}
