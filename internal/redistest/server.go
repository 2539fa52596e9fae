// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// program is Debian's Redis, which is the server and the sentinel.
const program = "redis-server"

// errPortTaken says that a server found its port in use.
var errPortTaken = errors.New("the port is in use")

// Server is one Redis process on 127.0.0.1. Its methods that start, stop or
// pause it are not for concurrent use; a failure in one fails the Env that
// started it.
type Server struct {
	env      Env
	dir      string // of its data, configuration and log
	port     int
	mode     []string // arguments after the configuration
	password string   // of the default user, if it has one

	cmd    *exec.Cmd
	ended  <-chan struct{} // closed when the process has ended
	paused bool
}

// Start starts a server that accepts commands. It keeps nothing on disk, besides
// at Stop. The lines of config, such as "appendonly yes", are added to its
// redis.conf; they must leave the default user the right to run commands. The
// server ends with the test, also when the test's process is killed.
func Start(t Env, config ...string) *Server {
	t.Helper()
	return start(t, nil, func() []string {
		return append([]string{
			`save ""`, "appendonly no",
			// Without it a server that has no save points does not save at Stop.
			"shutdown-on-sigterm save",
			// A master would wait 5 s for more replicas before it feeds the first.
			"repl-diskless-sync-delay 0",
		}, config...)
	})
}

// start starts a server on a free port. It asks for the configuration at each
// try, as that may name other ports.
func start(env Env, mode []string, config func() []string) *Server {
	env.Helper()
	for range 20 {
		s := &Server{env: env, dir: env.TempDir(), port: freePort(env), mode: mode}
		s.configure(config())
		env.Cleanup(s.Kill)
		err := s.run()
		if err == nil {
			return s
		}
		if !errors.Is(err, errPortTaken) {
			env.Fatalf("starting Redis: %v", err)
		}
	}
	env.Fatalf("starting Redis: each port that was tried is in use")
	return nil
}

// configure writes redis.conf, once: the server itself rewrites it later.
func (s *Server) configure(config []string) {
	s.env.Helper()
	lines := append([]string{
		"bind 127.0.0.1", fmt.Sprintf("port %d", s.port), "dir " + s.dir,
		"protected-mode no", "daemonize no", "loglevel warning",
	}, config...)
	for _, line := range lines {
		if password, ok := strings.CutPrefix(line, "requirepass "); ok {
			s.password = strings.Trim(password, `" `)
		}
	}
	if err := os.WriteFile(s.file("redis.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		s.env.Fatalf("writing redis.conf: %v", err)
	}
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// run starts the process and waits until it accepts commands.
func (s *Server) run() error {
	s.env.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("install Debian's redis-server: scripts/setup.sh: %w", err)
	}
	log, err := os.Create(s.file("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.Background(), path, append([]string{s.file("redis.conf")}, s.mode...)...) //nolint:gosec // the arguments are our own
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	if s.ended, err = launch(cmd); err != nil {
		return err
	}
	s.cmd, s.paused = cmd, false

	var failure error
	until(s.env, "Redis to accept commands", func() error {
		if !s.running() {
			failure = s.failure()
			return nil
		}
		return s.accepts()
	})
	return failure
}

// launch starts a process that dies with this one. Linux sends the signal when
// the thread that forked ends, so that thread is kept until the process has ended.
func launch(cmd *exec.Cmd) (<-chan struct{}, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // most are killed
		}
	}()
	return ended, <-started
}

// accepts says why the server does not accept commands yet. A process that
// answers on the port may be another's.
func (s *Server) accepts() error {
	if _, err := s.try("PING"); err != nil {
		return err
	}
	info, err := s.try("INFO", "server")
	if err != nil {
		return err
	}
	if !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.cmd.Process.Pid)) {
		return errors.New("another process answers on its port")
	}
	return nil
}

// failure says why the process ended by itself.
func (s *Server) failure() error {
	log, err := os.ReadFile(s.file("log"))
	if err != nil {
		return err
	}
	if strings.Contains(string(log), "Address already in use") {
		return fmt.Errorf("%s: %w", s.Addr(), errPortTaken)
	}
	return fmt.Errorf("redis-server ended: %v\n%s", s.cmd.ProcessState, log)
}

func (s *Server) running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return s.ended != nil
	}
}

// answers says whether it makes sense to ask the server anything.
func (s *Server) answers() bool { return s.running() && !s.paused }

// try sends a command.
func (s *Server) try(args ...string) (string, error) { return command(s.Addr(), s.password, args...) }

// Addr is the server's host and port. It never changes.
func (s *Server) Addr() string { return address(s.port) }

// Do runs a command as the default user over a connection of its own. It returns
// the answer, an array as lines and nil as "", and fails the test for an error.
func (s *Server) Do(t Env, args ...string) string {
	t.Helper()
	answer, err := s.try(args...)
	if err != nil {
		t.Fatalf("running %q on %s: %v", args, s.Addr(), err)
	}
	return answer
}

// Start starts the server again after Kill or Stop: on the same port, with what
// is on its disk. It returns when the server accepts commands.
func (s *Server) Start() {
	s.env.Helper()
	if s.running() {
		s.env.Fatalf("starting Redis on %s: it runs", s.Addr())
	}
	// Another process may look at that moment whether the port is free.
	until(s.env, "the port of Redis", func() error {
		err := s.run()
		if err != nil && !errors.Is(err, errPortTaken) {
			s.env.Fatalf("starting Redis again: %v", err)
		}
		return err
	})
}

// Kill ends the server at once, as a crash does, also when it is paused.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop ends the server in order: it saves its data first.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(sig syscall.Signal) {
	s.env.Helper()
	if !s.running() {
		return
	}
	s.signal(sig)
	until(s.env, "Redis to end", func() error {
		if s.running() {
			return fmt.Errorf("%s still runs after %v", s.Addr(), sig)
		}
		return nil
	})
}

// Pause stops the process, as a hung machine does: the kernel still accepts
// connections, and nothing answers.
func (s *Server) Pause() {
	s.env.Helper()
	s.signal(syscall.SIGSTOP)
	s.paused = true
}

// Resume ends Pause. The server then answers what it was sent meanwhile.
func (s *Server) Resume() {
	s.env.Helper()
	s.signal(syscall.SIGCONT)
	s.paused = false
}

func (s *Server) signal(sig syscall.Signal) {
	s.env.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && s.running() {
		s.env.Fatalf("sending %v to Redis on %s: %v", sig, s.Addr(), err)
	}
}
