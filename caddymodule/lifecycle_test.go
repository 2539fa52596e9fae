// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/store/embedded"
)

// gateway is a Caddyfile with a gateway on a loopback address. Its store is the
// embedded one in dir where none is given.
type gateway struct{ addr, dir, api, more, store string }

func (g gateway) caddyfile() string {
	return fmt.Sprintf(`{
	auto_https off
	grace_period 1s
	wechat {
		official_account wx0123456789abcdef {
			secret {env.WECHAT_SECRET}
			token {env.WECHAT_TOKEN}
		}
		store %s
		users {
			registration open
		}
		api_url %s
		%s
	}
}
http://%s {
	wechat_auth
	respond "hello"
}
`, cmp.Or(g.store, "embedded "+g.dir), g.api, g.more, g.addr)
}

// unusedAPI is a WeChat that nobody may call.
func unusedAPI(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("WeChat is called: %s", r.URL.Path)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// get asks the gateway, on a connection of its own. Right after a reload the old
// server may have taken the connection that it now closes: then it asks again.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var failures []error
	for range 10 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	t.Fatal(errors.Join(failures...))
	return 0, ""
}

func stop(t *testing.T) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Errorf("stopping Caddy: %v", err)
	}
}

// An operator runs `caddy validate` on the machine where the server runs: the
// store is locked, and WeChat's quota is not to be spent. It provisions
// everything and touches neither.
func TestValidate_BesideARunningServer(t *testing.T) {
	g := gateway{addr: freeAddr(t), dir: stateOf(t), api: unusedAPI(t)}
	running := embedded.New(embedded.Config{Dir: g.dir})
	if err := running.Open(); err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if err := caddy.Validate(mustAdapt(t, g.caddyfile())); err != nil {
		t.Errorf("validate: %v", err)
	}
	wantPools(t, "after validate", 0, 0, 0)
	// It was the locked store that it left alone: to start on it is an error.
	err := load(t, mustAdapt(t, g.caddyfile()))
	if err == nil || !strings.Contains(err.Error(), "Caddyfile:4: store:") || !strings.Contains(err.Error(), "another process") {
		t.Errorf("starting on a locked store: %v", err)
	}
	wantPools(t, "after the failed start", 0, 0, 0)
	stop(t)
}

func TestValidate_LeavesNoTrace(t *testing.T) {
	g := gateway{addr: freeAddr(t), dir: stateOf(t), api: unusedAPI(t)}
	if err := caddy.Validate(mustAdapt(t, g.caddyfile())); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(g.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("validate made %s: %v", g.dir, err)
	}
}

// Provisioning fails at each stage in turn; what the earlier ones took is given
// back, once.
func TestProvision_FailureReleasesEverything(t *testing.T) {
	second := `official_account wx00000000000000ff {
			secret {env.NO_SUCH_VARIABLE}
			token {env.WECHAT_TOKEN}
		}`
	for name, change := range map[string]func(*gateway) string{
		"bad URL":        func(g *gateway) string { g.api = "nowhere"; return g.caddyfile() },
		"second account": func(g *gateway) string { g.more = second; return g.caddyfile() },
		"session":        func(g *gateway) string { g.more = "session {\nsigning_key short\n}"; return g.caddyfile() },
		"registration":   func(g *gateway) string { return strings.Replace(g.caddyfile(), "registration open", "", 1) },
		"gate": func(g *gateway) string {
			return strings.Replace(g.caddyfile(), "wechat_auth\n", "wechat_auth {\nprefix /\n}\n", 1)
		},
		"somebody else's module": func(g *gateway) string {
			return g.caddyfile() + "http://other.example {\n@bad path_regexp (\nrespond @bad x\n}\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := gateway{addr: freeAddr(t), dir: stateOf(t), api: unusedAPI(t)}
			if err := caddy.Validate(mustAdapt(t, change(&g))); err == nil {
				t.Error("no error")
			}
			wantPools(t, "after the failure", 0, 0, 0)
		})
	}
}

// Caddy cleans up modules whose Provision failed half-way or never ran, and may
// do so again.
func TestCleanup_HalfBuilt(t *testing.T) {
	app, handler := new(App), new(Handler)
	for range 2 {
		if err := errors.Join(app.Cleanup(), handler.Cleanup()); err != nil {
			t.Error(err)
		}
	}
}

// Two configs hold what they share twice during a reload, and once after it.
func TestReload_KeepsWhatIsPooled(t *testing.T) {
	g := gateway{addr: freeAddr(t), dir: stateOf(t), api: unusedAPI(t)}
	defer stop(t)
	if err := load(t, mustAdapt(t, g.caddyfile())); err != nil {
		t.Fatal(err)
	}
	wantPools(t, "after the start", 1, 1, 1)
	held := func() (b *backend) {
		backends.Range(func(_, value any) bool { b, _ = value.(*backend); return true })
		return b
	}
	before := held()
	for range 3 {
		if err := load(t, mustAdapt(t, g.caddyfile())); err != nil {
			t.Fatal(err)
		}
		wantPools(t, "after a reload", 1, 1, 1)
	}
	if held() != before {
		t.Error("a reload opens the store anew")
	}
	if status, body := get(t, "http://"+g.addr+"/_wechat/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d %s", status, body)
	}
	g.dir = stateOf(t)
	if err := load(t, mustAdapt(t, g.caddyfile())); err != nil {
		t.Fatal(err)
	}
	wantPools(t, "after a reload with another store", 1, 1, 1)
	if held() == before {
		t.Error("the old store is still in use")
	}
}

// The new config passes every check and cannot start: its store cannot be made.
// The old one goes on serving, store and all.
func TestReload_FailedStartKeepsTheOldConfig(t *testing.T) {
	g := gateway{addr: freeAddr(t), dir: stateOf(t), api: unusedAPI(t)}
	defer stop(t)
	if err := load(t, mustAdapt(t, g.caddyfile())); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := g
	broken.dir = filepath.Join(file, "state")
	err := load(t, mustAdapt(t, broken.caddyfile()))
	if err == nil || !strings.Contains(err.Error(), "Caddyfile:4: store:") || !strings.Contains(err.Error(), broken.dir) {
		t.Errorf("reload: %v; want an error that names the line and the directory", err)
	}
	wantPools(t, "after the failed reload", 1, 1, 1)
	if status, body := get(t, "http://"+g.addr+"/_wechat/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d %s", status, body)
	}
	if status, body := get(t, "http://"+g.addr+"/"); status != http.StatusUnauthorized || !strings.Contains(body, "login_url") {
		t.Errorf("the gate: %d %s", status, body)
	}
}

// Nothing runs on after load, reload and stop.
func TestLifecycle_NoGoroutineStays(t *testing.T) {
	g := gateway{addr: freeAddr(t), dir: stateOf(t), api: unusedAPI(t)}
	run := func() {
		for range 2 {
			if err := load(t, mustAdapt(t, g.caddyfile())); err != nil {
				t.Fatal(err)
			}
		}
		get(t, "http://"+g.addr+"/_wechat/healthz")
		stop(t)
	}
	run() // what Caddy starts once for the process is not ours to judge
	wantPools(t, "after the stop", 0, 0, 0)
	ignore := goleak.IgnoreCurrent()
	run()
	goleak.VerifyNone(t, ignore)
}

// Every config has a registry of its own. What was counted before a reload is
// still there after it.
func TestMetrics_KeepTheirValuesAcrossReloads(t *testing.T) {
	value := func(r *prometheus.Registry) (n float64) {
		t.Helper()
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "caddy_wechat_sessions_total" {
				for _, m := range f.GetMetric() {
					n += m.GetCounter().GetValue()
				}
			}
		}
		return n
	}
	count("session", "wx0123456789abcdef", "signed_out")
	before, after := prometheus.NewPedanticRegistry(), prometheus.NewPedanticRegistry()
	for _, r := range []*prometheus.Registry{before, before, after, nil} { // twice: two apps, one registry
		if err := registerMetrics(r); err != nil {
			t.Fatal(err)
		}
	}
	was := value(before)
	count("session", "wx0123456789abcdef", "signed_out")
	if got := value(after); was < 1 || got != was+1 {
		t.Errorf("the counter was %v, then one was counted, now it is %v", was, got)
	}
}

// A callback given to ctx.OnCancel by a module is silently lost, and a captured
// context or an app of another config outlives its config.
func TestSource_AvoidsCaddysTraps(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for trap, why := range map[string]string{
			".OnCancel(":       "the callback is lost; use Cleanup",
			"http.Flusher":     "Caddy's writers are none; use http.ResponseController",
			`ctx.App("wechat"`: "it makes an empty app; use AppIfConfigured",
			".ReplaceAll(":     "an unset variable becomes an empty secret; use ReplaceOrErr",
			".ReplaceKnown(":   "an unset variable becomes an empty secret; use ReplaceOrErr",
		} {
			if strings.Contains(string(raw), trap) {
				t.Errorf("%s uses %s: %s", file, trap, why)
			}
		}
	}
}

// A JSON config may hold what no Caddyfile can.
func TestProvision_NullAccount(t *testing.T) {
	raw := []byte(`{"apps": {"wechat": {"official_accounts": [null], "users": {"registration": "open"}}}}`)
	if err := caddy.Validate(parseConfig(t, raw)); err == nil || !strings.Contains(err.Error(), "null") {
		t.Errorf("Validate = %v, want an error that names the entry", err)
	}
}
