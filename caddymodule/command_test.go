// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
)

// runCommand runs `caddy wechat` with arguments and returns what it prints to
// standard output.
func runCommand(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := storeCommand()
	cmd.SilenceUsage = true // as Caddy's own root does
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(new(bytes.Buffer))
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// configFor writes a Caddyfile with the lines in its wechat block.
func configFor(t *testing.T, lines string) (file string) {
	t.Helper()
	return writeFile(t, "Caddyfile", "{\n\twechat {\n\t\t"+lines+"\n\t}\n}\n")
}

func writeFile(t *testing.T, name, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// withEmbedded opens the store in dir for as long as use runs.
func withEmbedded(t *testing.T, dir string, use func(*embedded.Store)) {
	t.Helper()
	s := embedded.New(embedded.Config{Dir: dir})
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	use(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func setAll(t *testing.T, s store.Store, entries map[string]string) {
	t.Helper()
	for key, value := range entries {
		if err := s.Set(t.Context(), key, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
}

func valuesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	withEmbedded(t, dir, func(s *embedded.Store) {
		items, _, err := s.List(t.Context(), "", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			all[item.Key] = string(item.Value)
		}
	})
	return all
}

// moving is two embedded stores, of which the first holds something.
type moving struct{ fromDir, toDir, from, to string }

var household = map[string]string{"user:1": "alice", "session:openid-of-alice": "s", "signing-key": "k"}

func newMoving(t *testing.T) moving {
	t.Helper()
	m := moving{fromDir: stateOf(t), toDir: stateOf(t)}
	m.from, m.to = configFor(t, "store embedded "+m.fromDir), configFor(t, "store embedded "+m.toDir)
	withEmbedded(t, m.fromDir, func(s *embedded.Store) { setAll(t, s, household) })
	return m
}

func (m moving) copy(t *testing.T, more ...string) (stdout string, err error) {
	t.Helper()
	return runCommand(t, append([]string{"copy", "--from", m.from, "--to", m.to}, more...)...)
}

func TestCopyCommand_Copies(t *testing.T) {
	m := newMoving(t)
	got, err := m.copy(t, "--dry-run")
	want := `KIND         TO COPY  ALREADY THERE  TO OVERWRITE  CONFLICTS  EXPIRED
session      1        0              0             0          0
signing-key  1        0              0             0          0
user         1        0              0             0          0
total        3        0              0             0          0
`
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("dry run: %v (-want +got):\n%s", err, diff)
	}
	if _, err := os.Stat(m.toDir); !os.IsNotExist(err) {
		t.Errorf("a dry run makes the target's directory: %v", err)
	}
	got, err = m.copy(t)
	want = `KIND         COPIED  ALREADY THERE  OVERWRITTEN  CONFLICTS  EXPIRED
session      1       0              0            0          0
signing-key  1       0              0            0          0
user         1       0              0            0          0
total        3       0              0            0          0
`
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, dir := range []string{m.fromDir, m.toDir} {
		if diff := cmp.Diff(household, valuesOf(t, dir)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dir, diff)
		}
	}
}

func TestCopyCommand_JSON(t *testing.T) {
	m := newMoving(t)
	withEmbedded(t, m.toDir, func(s *embedded.Store) { setAll(t, s, map[string]string{"user:1": "mallory"}) })
	got, err := m.copy(t, "--json")
	if err == nil {
		t.Error("a conflict is no error")
	}
	var report struct {
		Complete bool            `json:"complete"`
		Total    store.CopyCount `json:"total"`
		Kinds    map[string]struct {
			Conflicts int `json:"conflicts"`
		} `json:"kinds"`
	}
	if err := json.Unmarshal([]byte(got), &report); err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if report.Complete || report.Total != (store.CopyCount{Copied: 2, Conflicts: 1}) || report.Kinds["user"].Conflicts != 1 {
		t.Errorf("%+v", report)
	}
}

// A target in use has made a signing key of its own. The operator hears what that
// means, by kind and without anybody's ids, and decides.
func TestCopyCommand_Conflicts(t *testing.T) {
	m := newMoving(t)
	records := func(s store.Store) {
		r := session.NewRecords(s, nil)
		defer r.Close()
		_, _, err := session.NewManager(r, session.Config{TTL: time.Hour, Idle: time.Hour, Keys: session.StoredKeys(s)}).
			Issue(t.Context(), session.Session{ID: session.NewID(), UserID: "u", ExpiresAt: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
	}
	withEmbedded(t, m.toDir, func(s *embedded.Store) {
		records(s)
		setAll(t, s, map[string]string{"session:openid-of-alice": "other", "user:1": "alice"})
	})
	before := valuesOf(t, m.toDir)
	out, err := m.copy(t)
	for _, part := range []string{"2 entries (1 session, 1 signing-key)", "--overwrite", "signing key of its own"} {
		if !strings.Contains(fmt.Sprint(err), part) {
			t.Errorf("error %v; want it to say %q", err, part)
		}
	}
	if strings.Contains(out+fmt.Sprint(err), "openid-of-alice") {
		t.Errorf("an id is shown: %s %v", out, err)
	}
	if diff := cmp.Diff(before, valuesOf(t, m.toDir)); diff != "" {
		t.Errorf("the target has changed (-before +after):\n%s", diff)
	}
	if out, err := m.copy(t, "--overwrite"); err != nil {
		t.Errorf("with --overwrite: %v\n%s", err, out)
	}
	after := valuesOf(t, m.toDir)
	for key, value := range household {
		if after[key] != value {
			t.Errorf("with --overwrite %s is %q", key, after[key])
		}
	}
}

func TestCopyCommand_Refuses(t *testing.T) {
	m := newMoving(t)
	holds := configFor(t, "store embedded "+m.fromDir)
	for _, c := range []struct {
		name     string
		from, to string
		want     string
	}{
		{"no from", "", m.to, "give both --from <config> and --to <config>"},
		{"no to", m.from, "", "give both --from <config> and --to <config>"},
		{"no file", m.from, filepath.Join(t.TempDir(), "Caddyfile"), "reading --to"},
		{"a mistake", configFor(t, "store nowhere"), m.to, "Caddyfile:3"},
		{"no wechat block", writeFile(t, "caddy.json", `{"apps":{}}`), m.to, "it has no wechat block"},
		{"null", writeFile(t, "caddy.json", `null`), m.to, "it has no wechat block"},
		{"unknown store", m.from, writeFile(t, "caddy.json", `{"apps":{"wechat":{"store":{"backend":"x"}}}}`), "wechat.stores.x"},
		{"the same store", m.from, holds, "the same store"},
		{"an empty source", m.to, m.from, "does not exist: there is no " + m.toDir},
		{"Redis away", m.from, configFor(t, "store redis {\n address "+freeAddr(t)+"\n}"), "opening the store of --to: store not reachable yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := runCommand(t, "copy", "--from", c.from, "--to", c.to)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, output %q; want an error that says %q", err, out, c.want)
			}
		})
	}
	if _, err := os.Stat(m.toDir); !os.IsNotExist(err) {
		t.Errorf("a directory has been made: %v", err)
	}
}

// Whoever forgets to stop Caddy is told so.
func TestCopyCommand_InUse(t *testing.T) {
	m := newMoving(t)
	withEmbedded(t, m.fromDir, func(*embedded.Store) {
		_, err := m.copy(t)
		if err == nil || !strings.Contains(err.Error(), "opening the store of --from: if a Caddy runs with it, stop that first") {
			t.Errorf("source in use: %v", err)
		}
	})
	withEmbedded(t, m.toDir, func(*embedded.Store) {
		_, err := m.copy(t)
		if err == nil || !strings.Contains(err.Error(), "opening the store of --to: if a Caddy runs with it, stop that first") {
			t.Errorf("target in use: %v", err)
		}
	})
	if _, err := m.copy(t); err != nil { // nothing is left open
		t.Errorf("afterwards: %v", err)
	}
}

// Without a store line it is the embedded store in Caddy's own directory.
func TestLoadStore_Default(t *testing.T) {
	for _, file := range []string{
		configFor(t, "users {\n registration open\n}"),
		writeFile(t, "caddy.json", `{"apps":{"wechat":{}}}`),
	} {
		storage, err := loadStore(file, "")
		if err != nil {
			t.Fatal(err)
		}
		if key := storage.PoolKey(); !strings.HasPrefix(key, "embedded:") || !strings.HasSuffix(key, "/wechat") {
			t.Errorf("%s", key)
		}
	}
}

func TestLoadStore_Adapter(t *testing.T) {
	file := writeFile(t, "old.conf", "{\n\twechat {\n\t\tstore embedded /srv/wechat\n\t}\n}\n")
	if _, err := loadStore(file, ""); err == nil {
		t.Error("a file of no known kind is read")
	}
	storage, err := loadStore(file, "caddyfile")
	if err != nil || storage.PoolKey() != "embedded:/srv/wechat" {
		t.Errorf("%v, %v", storage, err)
	}
}

// What is interrupted, or stopped by a failure, can be completed; the operator
// hears so.
func TestSummarize_EndedEarly(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("copying: %w", context.Canceled), "interrupted after 3 entries"},
		{fmt.Errorf("copying: %w", store.ErrUnavailable), "stopped after 3 entries, of which none is lost: run the same command again when this is mended, it does the rest: copying: store unavailable"},
	} {
		var out bytes.Buffer
		status, err := summarize(&out, copyArgs{}, store.CopyReport{"user": {Copied: 3}}, c.err)
		if status != exitFailure || !strings.Contains(fmt.Sprint(err), c.want) || !strings.Contains(fmt.Sprint(err), "run the same command again") {
			t.Errorf("%v: %d, %v", c.err, status, err)
		}
		if !strings.Contains(out.String(), "total  3") {
			t.Errorf("%v: no summary: %q", c.err, out.String())
		}
	}
}

// Into a file, progress is a line every ten seconds; on a terminal one line that
// changes, and is gone in the end.
func TestProgress(t *testing.T) {
	for _, c := range []struct {
		name     string
		terminal bool
		want     string
	}{
		{"file", false, "1 entries\n2 entries\n"},
		{"terminal", true, "\r1 entries\r2 entries\r\x1b[K"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				p := newProgress(&out)
				p.terminal = c.terminal
				for i := range 2 {
					time.Sleep(lineInterval) //nolint:forbidigo // in a synctest bubble
					p.step(i + 1)
					p.step(100) // too soon
				}
				p.end()
				if diff := cmp.Diff(c.want, out.String()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}
