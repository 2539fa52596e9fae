// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package harness is what the programs that measure a real Caddy share: its
// process, browsers that sign in, load, and the comparison of runs.
package harness

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
)

// clockTick is the unit of processor times in /proc, in ticks per second.
const clockTick = 100

// Caddy is a process.
type Caddy struct{ cmd *exec.Cmd }

// StartCaddy starts binary, which a script has built, with a Caddyfile. It keeps
// its files in dir, and dies with this process at the latest.
func StartCaddy(ctx context.Context, binary, dir, caddyfile string) (*Caddy, error) {
	if binary == "" {
		return nil, errors.New("-caddy is missing; the scripts in bench build one and say where it is")
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "run", "--config", file, "--adapter", "caddyfile") //nolint:gosec // what the operator named
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "HOME="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	return &Caddy{cmd}, nil
}

// Kill ends the process, which has nothing to save. A nil Caddy may be killed, too.
func (c *Caddy) Kill() {
	if c != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// CPU is the processor time that the process has used so far.
func (c *Caddy) CPU() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
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

// Resident is the memory, in bytes, that the process occupies.
func (c *Caddy) Resident() (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
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

// StartUpstream starts what Caddy proxies to.
func StartUpstream() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte("hello, world"))
	}))
}

// Close ends a server without waiting for its clients to leave.
func Close(s *httptest.Server) {
	s.CloseClientConnections()
	s.Close()
}

// FreeAddrs writes addresses on loopback that nothing listens on.
func FreeAddrs(ctx context.Context, addrs ...*string) error {
	for _, addr := range addrs {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer ln.Close()
		*addr = ln.Addr().String()
	}
	return nil
}

// Reachable waits until something listens on each address.
func Reachable(ctx context.Context, addrs ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for _, addr := range addrs {
		for !listening(ctx, addr) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("waiting for caddy to listen: %w", ctx.Err())
			case <-again.C:
			}
		}
	}
	return nil
}

func listening(ctx context.Context, addr string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
