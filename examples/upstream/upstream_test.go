// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package upstream_test runs the example apps with headers as the gateway sends
// them.
package upstream_test

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// app is how one example is run. Those that are required need nothing but what
// the project's tests need anyway; the others are tested where they can run.
type app struct {
	name     string
	required bool
	command  []string
}

func apps(t *testing.T) []app {
	t.Helper()
	return []app{
		{"go", true, []string{build(t)}},
		{"node", true, []string{"node", "node/server.js"}},
		{"python", false, []string{"python3", "python/app.py"}},
	}
}

// build compiles the Go example: `go run` would leave the app running when it is killed.
func build(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "upstream")
	if runtime.GOOS == "windows" {
		exe += ".exe"
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", exe, "./go").CombinedOutput(); err != nil {
		t.Fatalf("building the Go example: %v\n%s", err, out)
	}
	return exe
}

func TestGreetings(t *testing.T) {
	for _, app := range apps(t) {
		if _, err := exec.LookPath(app.command[0]); err != nil && !app.required {
			t.Logf("%s is not tested: %v", app.name, err)
			continue
		}
		t.Run(app.name, func(t *testing.T) {
			address := run(t, app.command)
			for _, test := range []struct{ name, id, sent, want string }{
				{"a Chinese name", "abc", url.PathEscape("张三 + 李四"), "<p>Hello, 张三 + 李四 (id abc).</p>"},
				{"no name", "abc", "", "<p>Hello, abc (id abc).</p>"},
				{"nobody", "", "", "<p>Hello, stranger (id ).</p>"},
				{"malformed", "abc", "100%", "<p>Hello, "},
			} {
				if got := ask(t, address, test.id, test.sent); !strings.Contains(got, test.want) {
					t.Errorf("%s: got %q, want %q", test.name, got, test.want)
				}
			}
			// A person may choose any name: it must stay text on the page.
			hostile := url.PathEscape(`<script>alert("x")</script>`)
			if got := ask(t, address, "abc", hostile); strings.Contains(got, "<script>") || !strings.Contains(got, "alert(") {
				t.Errorf("a name becomes markup: %q", got)
			}
		})
	}
}

// run starts an app on any free port, and returns its address.
func run(t *testing.T, command []string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "PORT=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v says nothing: %v", command, err)
	}
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		t.Fatalf("%v says %q", command, line)
	}
	return address
}

func ask(t *testing.T, address, id, name string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for header, value := range map[string]string{"X-User-Id": id, "X-User-Name": name} {
		if value != "" { // the gateway sends no empty headers
			req.Header.Set(header, value)
		}
	}
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
