// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	appID  = "wx0123456789abcdef"
	secret = "bench-app-secret"
	token  = "benchtoken"

	// clockTick is the unit of processor times in /proc, in ticks per second.
	clockTick = 100
)

// world is a Caddy with three sites before one upstream, and a simulated WeChat.
type world struct {
	plain, gated, control string // addresses of the sites
	dir                   string
	caddy                 *exec.Cmd
	wechat                *wechattest.Server
	api, upstream         *httptest.Server
}

func newWorld(ctx context.Context, binary string) (*world, error) {
	if binary == "" {
		return nil, errors.New("-caddy is missing; bench/run.sh builds one and says where it is")
	}
	dir, err := os.MkdirTemp("", "caddy-wechat-bench")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, wechat: wechattest.NewServer(wechattest.Options{PushSpacing: -1})}
	w.api = httptest.NewServer(w.wechat)
	w.upstream = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte("hello, world"))
	}))
	if err := w.start(ctx, binary); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// start starts Caddy and waits until all sites answer.
func (w *world) start(ctx context.Context, binary string) error {
	for _, addr := range []*string{&w.plain, &w.gated, &w.control} {
		free, err := freeAddr(ctx)
		if err != nil {
			return err
		}
		*addr = free
	}
	if _, err := w.wechat.AddAccount(wechattest.Account{
		AppID: appID, Secret: secret, Name: "bench", Token: token, Mode: wechattest.Plain,
		PushURL: "http://" + w.gated + "/_wechat/push/" + appID,
	}); err != nil {
		return err
	}
	file := filepath.Join(w.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(w.caddyfile()), 0o600); err != nil {
		return err
	}
	w.caddy = exec.CommandContext(ctx, binary, "run", "--config", file, "--adapter", "caddyfile") //nolint:gosec // what the operator named
	w.caddy.Env = append(os.Environ(), "XDG_DATA_HOME="+w.dir, "XDG_CONFIG_HOME="+w.dir, "HOME="+w.dir)
	w.caddy.Stderr = os.Stderr
	w.caddy.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.caddy.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", binary, err)
	}
	for _, addr := range []string{w.plain, w.gated, w.control} {
		if err := reachable(ctx, addr); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) caddyfile() string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
	log {
		level ERROR
	}
	wechat {
		official_account %s {
			secret %s
			token %s
		}
		store embedded %s
		users {
			registration open
		}
		limit attempts off
		limit confirms off
		api_url %s
	}
}
(app) {
	reverse_proxy %s
}
http://%s {
	import app
}
http://%s {
	import app
}
http://%s {
	wechat_auth
	import app
}
`, appID, secret, token, filepath.Join(w.dir, "state"), w.api.URL, strings.TrimPrefix(w.upstream.URL, "http://"), w.plain, w.control, w.gated)
}

// close ends Caddy and everything else.
func (w *world) close() {
	if w.caddy != nil && w.caddy.Process != nil {
		_ = w.caddy.Process.Kill() // it has nothing to save
		_ = w.caddy.Wait()
	}
	w.api.CloseClientConnections()
	w.api.Close()
	w.upstream.CloseClientConnections()
	w.upstream.Close()
	w.wechat.Close()
	_ = os.RemoveAll(w.dir)
}

func freeAddr(ctx context.Context) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// reachable waits until something listens on addr.
func reachable(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for caddy to listen: %w", err)
		case <-again.C:
		}
	}
}

// cpu is the processor time that Caddy has used so far.
func (w *world) cpu() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.caddy.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // behind the name, which may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("reading processor times: /proc has another form here")
	}
	var ticks int
	for _, field := range fields[11:13] { // user and system
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("reading processor times: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTick, nil
}

// resident is the memory, in bytes, that Caddy occupies.
func (w *world) resident() (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", w.caddy.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if kb, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(kb, "kB")))
			return n * 1024, err
		}
	}
	return 0, errors.New("reading the resident size: /proc has another form here")
}
