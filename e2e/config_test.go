// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// caddy runs a command of Caddy's on a Caddyfile to its end, and returns what it
// prints.
func caddy(t *testing.T, env []string, command, caddyfile string) (output string, err error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, command, "--config", file, "--adapter", "caddyfile")
	cmd.Env = append(append(os.Environ(), env...), asCaddy+"=1", "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "HOME="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// secretsConfig is a Caddyfile whose secrets are to be filled in. Each stands in
// a line of its own.
const secretsConfig = `{
	storage file_system DIR
	wechat {
		official_account wx0123456789abcdef {
			secret SECRET
			token TOKEN
			aes_key AES_KEY
		}
		session {
			signing_key SIGNING_KEY
		}
		users {
			registration open
		}
		store embedded DIR/state
	}
}
http://127.0.0.1:0 {
	wechat_auth {
		public_url http://127.0.0.1
	}
}
`

// secretValues are good ones; none may ever be printed.
var secretValues = map[string]string{
	"SECRET": secret, "TOKEN": token, "AES_KEY": aesKey, "SIGNING_KEY": "signing-key-never-to-be-shown-32-bytes",
}

// fillIn puts one value in the place of one secret, and good ones elsewhere.
func fillIn(t *testing.T, which, value string) string {
	t.Helper()
	text := strings.ReplaceAll(secretsConfig, "DIR", t.TempDir())
	for name := range secretValues {
		v := "{env.GOOD_" + name + "}"
		if name == which {
			v = value
		}
		text = regexp.MustCompile(`(?m) `+name+`$`).ReplaceAllLiteralString(text, " "+v)
	}
	return text
}

func goodSecrets() (env []string) {
	for name, value := range secretValues {
		env = append(env, "GOOD_"+name+"="+value)
	}
	return env
}

// TestG10EmptySecrets: the variable is not set, the file is not there, the secret
// has been emptied: a gateway that starts all the same takes what Mallory signs
// with the empty key for WeChat's, or for its own. It must not start, and say
// where the mistake is without showing the secret.
func TestG10EmptySecrets(t *testing.T) {
	t.Parallel()
	files := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(files, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "{file." + file + "}"
	}
	env := append(goodSecrets(), "EMPTY=", "BLANK= \t ", "SHORT=short-secret-value")
	if out, err := caddy(t, env, "validate", fillIn(t, "", "")); err != nil {
		t.Fatalf("with good secrets: %v\n%s", err, out)
	}
	bad := map[string]string{
		"variable not set":   "{env.NOT_SET}",
		"variable empty":     "{env.EMPTY}",
		"variable blank":     "{env.BLANK}",
		"file missing":       "{file." + filepath.Join(files, "missing") + "}",
		"file unreadable":    "{file." + files + "}", // a directory is one, to root as well
		"file empty":         write("empty", ""),
		"file blank":         write("blank", "\n\n"),
		"literally empty":    `""`,
		"adapted away":       "{$NOT_SET}",
		"adapted to nothing": `"{$NOT_SET}"`,
		"no value":           "",
		"unknown variable":   "{nothing.of.the.kind}",
	}
	for which, good := range secretValues {
		for name, value := range bad {
			t.Run(which+" "+name, func(t *testing.T) {
				t.Parallel()
				refused(t, env, which, fillIn(t, which, value))
			})
		}
		t.Run(which+" too short", func(t *testing.T) {
			t.Parallel()
			if which == "SECRET" || which == "TOKEN" {
				return // WeChat makes the one, and lets the operator choose 3 letters for the other
			}
			refused(t, env, which, fillIn(t, which, "{env.SHORT}"))
		})
		t.Run(which+" in two parts", func(t *testing.T) {
			t.Parallel()
			refused(t, env, which, fillIn(t, which, `"{env.NOT_SET}`+good+`{env.NOT_SET}"`))
		})
		t.Run(which+" missing", func(t *testing.T) {
			t.Parallel()
			if which == "AES_KEY" || which == "SIGNING_KEY" {
				return // these may be left out
			}
			line := regexp.MustCompile(`(?m)^\s*\S+ \{env\.GOOD_` + which + `\}\n`)
			refused(t, env, which, line.ReplaceAllString(fillIn(t, "", ""), ""))
		})
	}
}

// refused fails the test unless validate refuses the file, says where and shows
// no secret.
func refused(t *testing.T, env []string, which, caddyfile string) {
	t.Helper()
	out, err := caddy(t, env, "validate", caddyfile)
	if err == nil {
		t.Fatalf("accepted:\n%s\n%s", caddyfile, out)
	}
	var message string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "Error:") || strings.Contains(line, `"level":"error"`) {
			message = line
		}
	}
	if !regexp.MustCompile(`Caddyfile:\d+`).MatchString(message) {
		t.Errorf("the error does not say where: %s", out)
	}
	if letters := strings.NewReplacer("_", "", " ", ""); !strings.Contains(letters.Replace(strings.ToLower(message)), letters.Replace(strings.ToLower(which))) {
		t.Errorf("the error does not say which secret: %s", message)
	}
	for _, value := range append([]string{"short-secret-value"}, mapValues(secretValues)...) {
		if strings.Contains(out, value) {
			t.Errorf("a secret is shown: %s", out)
		}
	}
	if strings.Contains(out, "panic") {
		t.Errorf("a panic: %s", out)
	}
}

func mapValues(m map[string]string) (values []string) {
	for _, v := range m {
		values = append(values, v)
	}
	return values
}

// TestG10RefusedBesideARunningServer: while the gateway serves, its operator
// checks a new Caddyfile, which has the same store, and then loads a bad one. The
// check waits for nobody, calls nobody and leaves no trace, and the gateway goes
// on as before.
func TestG10RefusedBesideARunningServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	b := w.signIn("alice")
	state := filepath.Join(w.dir, "state")
	before, calls := filesIn(t, state), w.account.Calls("/cgi-bin/stable_token")+w.account.Calls("/cgi-bin/qrcode/create")
	for _, command := range []string{"adapt", "validate"} {
		began := time.Now()
		out, err := caddy(t, w.env, command, w.caddyfile)
		if err != nil {
			t.Errorf("%s beside the server: %v\n%s", command, err, out)
		}
		if strings.Contains(out, secret) || strings.Contains(out, token) {
			t.Errorf("%s shows a secret:\n%s", command, out)
		}
		t.Logf("%s took %v", command, time.Since(began))
	}
	if out, err := caddy(t, []string{"WECHAT_TOKEN=" + token}, "validate", w.caddyfile); err == nil {
		t.Errorf("validate accepts a missing secret:\n%s", out)
	}
	// A store that does not exist is not made by a look at the config.
	elsewhere := filepath.Join(w.dir, "elsewhere")
	if out, err := caddy(t, w.env, "validate", strings.ReplaceAll(w.caddyfile, state, elsewhere)); err != nil {
		t.Errorf("validate: %v\n%s", err, out)
	}
	if _, err := os.Stat(elsewhere); !os.IsNotExist(err) {
		t.Errorf("validate has made the store: %v", err)
	}
	if after := filesIn(t, state); after != before {
		t.Errorf("the store has changed from\n%s to\n%s", before, after)
	}
	if after := w.account.Calls("/cgi-bin/stable_token") + w.account.Calls("/cgi-bin/qrcode/create"); after != calls {
		t.Errorf("WeChat is called %d times", after-calls)
	}
	good := w.caddyfile
	for _, bad := range []string{"{env.NOT_SET}", "{file./does/not/exist}", `""`} {
		w.caddyfile = strings.Replace(good, "{env.WECHAT_SECRET}", bad, 1)
		if err := w.reload(); err == nil || strings.Contains(err.Error(), secret) || !regexp.MustCompile(`Caddyfile:\d+`).MatchString(err.Error()) {
			t.Errorf("loading secret %s: %v", bad, err)
		}
		if got := b.get("/"); got.Status != http.StatusOK {
			t.Errorf("after loading secret %s the gateway answers %d", bad, got.Status)
		}
	}
	w.caddyfile = good
	if err := w.reload(); err != nil {
		t.Error(err)
	}
	if got := b.get("/"); got.Status != http.StatusOK {
		t.Errorf("after the good config the gateway answers %d", got.Status)
	}
	w.noPanic()
}

// filesIn lists the files of a directory, with sizes.
func filesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&list, e.Name(), info.Size())
	}
	return list.String()
}
