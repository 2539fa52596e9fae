// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// orphan tells this test binary to start a server and wait to be killed.
const orphan = "REDISTEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphan) != "" {
		fmt.Fprintln(os.Stderr, Start(Package).Addr())
		select {}
	}
	goleak.VerifyTestMain(Main{M: m},
		// As the comment of Proxy says.
		goleak.IgnoreTopFunction("github.com/Shopify/toxiproxy/v2/toxics.(*LatencyToxic).Pipe"))
}

// sharedCluster is as the packages that use this one share theirs.
var sharedCluster = sync.OnceValue(func() *Cluster { return StartCluster(Package) })

func TestServer_RunsCommands(t *testing.T) {
	s := Start(t, "maxmemory 3mb")
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"status", "OK", []string{"SET", "k", "a\r\nb"}},
		{"bulk", "a\r\nb", []string{"GET", "k"}},
		{"nil", "", []string{"GET", "none"}},
		{"integer", "1", []string{"EXISTS", "k"}},
		{"array", "a\r\nb\n", []string{"MGET", "k", "none"}},
		{"configuration", "maxmemory\n3145728", []string{"CONFIG", "GET", "maxmemory"}},
		{"no snapshots", "save\n", []string{"CONFIG", "GET", "save"}},
		{"no log", "appendonly\nno", []string{"CONFIG", "GET", "appendonly"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, s.Do(t, test.args...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestServer_Password(t *testing.T) {
	s := Start(t, "requirepass of-a-test")
	if got := s.Do(t, "PING"); got != "PONG" {
		t.Errorf("PING answers %q", got)
	}
	if _, err := command(s.Addr(), "", "PING"); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("PING without the password: %v", err)
	}
}

func TestServer_KeepsWhatItIsToldToKeep(t *testing.T) {
	for _, test := range []struct {
		name, want string
		end        func(*Server)
		config     []string
	}{
		{"killed", "", (*Server).Kill, nil},
		{"stopped", "v", (*Server).Stop, nil},
		{"killed with a log", "v", (*Server).Kill, []string{"appendonly yes", "appendfsync always"}},
		{"stopped with a log", "v", (*Server).Stop, []string{"appendonly yes"}},
		{"killed while it hangs", "", func(s *Server) { s.Pause(); s.Kill() }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Start(t, test.config...)
			s.Do(t, "SET", "k", "v")
			addr := s.Addr()
			test.end(s)
			if _, err := command(addr, "", "PING"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("an ended server answers: %v", err)
			}
			s.Start()
			if got := s.Do(t, "GET", "k"); got != test.want {
				t.Errorf("it has %q, want %q", got, test.want)
			}
			if s.Addr() != addr {
				t.Errorf("it moved from %s to %s", addr, s.Addr())
			}
		})
	}
}

func TestServer_PauseHangs(t *testing.T) {
	s := Start(t)
	s.Pause()
	c := dial(t, s.Addr())
	c.send(t)
	c.silent(t)
	s.Resume()
	c.pong(t)
}

// A server whose port was taken between the look and the start says so, and the
// next port is tried.
func TestServer_PortTaken(t *testing.T) {
	first := Start(t)
	second := &Server{env: t, dir: t.TempDir(), port: first.port}
	second.configure(nil)
	if err := second.run(); !errors.Is(err, errPortTaken) {
		t.Errorf("starting a server on a port in use: %v", err)
	}
	first.Do(t, "PING")
}

// complaint is an Env that keeps what failed.
type complaint struct {
	testing.TB
	text string
}

func (c *complaint) Fatalf(format string, args ...any) {
	c.text = fmt.Sprintf(format, args...)
	panic(c)
}

func complaintOf(t *testing.T, f func(Env)) string {
	t.Helper()
	c := &complaint{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(c) {
				panic(r)
			}
		}()
		f(c)
	}()
	return c.text
}

func TestServer_SaysWhyItDoesNotStart(t *testing.T) {
	text := complaintOf(t, func(e Env) { Start(e, "no-such-setting 1") })
	if !strings.Contains(text, "no-such-setting") {
		t.Errorf("it fails with %q", text)
	}
	s := Start(t)
	if text := complaintOf(t, func(e Env) { s.Do(e, "NO-SUCH-COMMAND") }); !strings.Contains(text, "ERR unknown command") {
		t.Errorf("an unknown command fails with %q", text)
	}
	t.Setenv("PATH", "")
	if text := complaintOf(t, func(e Env) { Start(e) }); !strings.Contains(text, "scripts/setup.sh") {
		t.Errorf("without Redis it fails with %q", text)
	}
}

func TestServer_EndsWithTheTest(t *testing.T) {
	var servers []*Server
	t.Run("a test", func(t *testing.T) {
		hung := Start(t)
		hung.Pause()
		servers = append(servers, Start(t), hung)
		servers = append(servers, StartReplicaSet(t).nodes...)
	})
	for _, s := range servers {
		if err := syscall.Kill(s.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is left: %v", s.cmd.Process.Pid, err)
		}
	}
}

// A test's process that is killed, as by a timeout, leaves no server behind.
func TestServer_EndsWithAKilledProcess(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), orphan+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr = strings.TrimSpace(addr)
	if answer, err := command(addr, "", "PING"); answer != "PONG" {
		t.Errorf("the server does not run: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	until(t, "the server to end", func() error {
		if answer, err := command(addr, "", "PING"); err == nil {
			return fmt.Errorf("it answers %s", answer)
		}
		return nil
	})
}

func TestSentinels_Failover(t *testing.T) {
	s := StartReplicaSet(t)
	old := s.Master(t)
	if old != s.Nodes()[0] || len(s.Nodes()) != 3 || len(s.Addrs()) != 3 || s.MasterName() != "mymaster" {
		t.Fatalf("the set is %v, %v, its master %s %s", addrs(s.Nodes()), s.Addrs(), s.MasterName(), old.Addr())
	}
	old.Do(t, "SET", "k", "v")
	old.AwaitReplicas(t, 2)
	for _, addr := range s.Addrs() {
		if err := names(addr, old); err != nil {
			t.Error(err)
		}
	}

	if killed := s.Failover(t); killed != old {
		t.Errorf("it killed %s, not the master %s", killed.Addr(), old.Addr())
	}
	master := s.Master(t)
	if master == old {
		t.Fatalf("the master is still %s", old.Addr())
	}
	if got := master.Do(t, "GET", "k"); got != "v" {
		t.Errorf("the new master has %q", got)
	}
	if got := master.Do(t, "SET", "k", "w"); got != "OK" {
		t.Errorf("writing to the new master: %q", got)
	}

	old.Start()
	until(t, "the old master as a replica with the new data", func() error {
		got, err := old.try("GET", "k")
		if err == nil && got != "w" {
			err = fmt.Errorf("it has %q", got)
		}
		return err
	})
	if role := old.Do(t, "ROLE"); !strings.HasPrefix(role, "slave\n") {
		t.Errorf("the old master is %q", role)
	}
}

// names says whether a sentinel names a master.
func names(sentinel string, master *Server) error {
	got, err := command(sentinel, "", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName)
	if want := strings.ReplaceAll(master.Addr(), ":", "\n"); err == nil && got != want {
		return fmt.Errorf("sentinel %s names %q", sentinel, got)
	}
	return err
}

func TestCluster_MasterOf(t *testing.T) {
	c := sharedCluster()
	if len(c.Addrs()) != 6 || len(c.Nodes()) != 6 {
		t.Fatalf("the cluster has the nodes %v", c.Addrs())
	}
	all := c.Masters(t)
	if len(all) != 3 {
		t.Fatalf("its masters are %v", addrs(all))
	}
	var used []*Server
	for _, key := range []string{"a", "b", "c", "{tag}1", "{tag}2"} {
		master := c.MasterOf(t, key)
		if got := master.Do(t, "SET", key, "v"); got != "OK" {
			t.Errorf("writing %s to its master: %q", key, got)
		}
		used = append(used, master)
		for _, other := range all {
			if other == master {
				continue
			}
			if _, err := other.try("GET", key); err == nil || !strings.HasSuffix(err.Error(), master.Addr()) {
				t.Errorf("another master answers for %s: %v", key, err)
			}
		}
	}
	if used[3] != used[4] {
		t.Error("keys of one tag have two masters")
	}
	if len(slices.Compact(used[:3])) < 2 {
		t.Error("all keys have one master")
	}
}

func TestCluster_PromotesReplica(t *testing.T) {
	c := sharedCluster()
	old := c.MasterOf(t, "k")
	old.Do(t, "SET", "k", "v")
	old.AwaitReplicas(t, 1)
	old.Kill()
	master := c.MasterOf(t, "k")
	if master == old {
		t.Fatalf("the master is still %s", old.Addr())
	}
	if got := master.Do(t, "GET", "k"); got != "v" {
		t.Errorf("the new master has %q", got)
	}
	if got := master.Do(t, "SET", "k", "w"); got != "OK" {
		t.Errorf("writing to the new master: %q", got)
	}
	if all := c.Masters(t); len(all) != 3 || slices.Contains(all, old) {
		t.Errorf("the masters are %v, without %s", addrs(all), old.Addr())
	}

	old.Start()
	until(t, "the old master as a replica", func() error {
		role, err := old.try("ROLE")
		if err == nil && !strings.HasPrefix(role, "slave\n") {
			err = fmt.Errorf("it is %q", role)
		}
		return err
	})
	if got := c.MasterOf(t, "k"); got != master {
		t.Errorf("the master is now %s", got.Addr())
	}
}

func TestProxy_Slow(t *testing.T) {
	p := NewProxy(t, Start(t).Addr())
	c := dial(t, p.Addr())
	c.send(t)
	c.pong(t)
	const delay = 300 * time.Millisecond
	p.Slow(delay)
	for _, c := range []*client{c, dial(t, p.Addr())} {
		began := time.Now()
		c.send(t)
		c.pong(t)
		if took := time.Since(began); took < delay {
			t.Errorf("an answer took %v only", took)
		}
	}
	p.Slow(time.Millisecond) // replaces it
	p.Heal()
	if answer, err := command(p.Addr(), "", "PING"); answer != "PONG" {
		t.Errorf("after healing: %q, %v", answer, err)
	}
}

// A client that gives up leaves answers in the proxy. Toxiproxy itself would then
// neither end the harm nor return.
func TestProxy_HealsAfterClientsGaveUp(t *testing.T) {
	p := NewProxy(t, Start(t).Addr())
	for range 5 {
		p.Slow(300 * time.Millisecond)
		c := dial(t, p.Addr())
		for range 3 {
			c.send(t)
			// On a busy machine the answer may have come all the same.
			if _, err := c.read(t, 20*time.Millisecond); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		p.Heal()
		if answer, err := command(p.Addr(), "", "PING"); answer != "PONG" {
			t.Errorf("after healing: %q, %v", answer, err)
		}
	}
}

func TestProxy_Hang(t *testing.T) {
	p := NewProxy(t, Start(t).Addr())
	old := dial(t, p.Addr())
	old.send(t)
	old.pong(t)
	p.Hang()
	for _, c := range []*client{old, dial(t, p.Addr())} {
		c.send(t)
		c.silent(t)
	}
	p.Heal()
	old.ends(t, io.EOF)
	c := dial(t, p.Addr())
	c.send(t)
	c.pong(t)
}

func TestProxy_CutAndReset(t *testing.T) {
	s := Start(t)
	for _, test := range []struct {
		name string
		cut  func(*Proxy)
		want error
	}{
		{"cut", (*Proxy).Cut, io.EOF},
		{"reset", (*Proxy).Reset, syscall.ECONNRESET},
		{"cut while it hangs", func(p *Proxy) { p.Hang(); p.Cut() }, io.EOF},
		{"reset while it hangs", func(p *Proxy) { p.Hang(); p.Reset() }, syscall.ECONNRESET},
		{"cut while it is slow", func(p *Proxy) { p.Slow(time.Minute); p.Cut() }, io.EOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := NewProxy(t, s.Addr())
			c := dial(t, p.Addr())
			c.send(t)
			c.pong(t)
			test.cut(p)
			c.ends(t, test.want)
			_, err := command(p.Addr(), "", "PING")
			if cut := errors.Is(err, syscall.ECONNREFUSED); cut != errors.Is(test.want, io.EOF) {
				t.Errorf("a new connection: %v", err)
			}
			p.Heal()
			if answer, err := command(p.Addr(), "", "PING"); answer != "PONG" {
				t.Errorf("after healing: %q, %v", answer, err)
			}
		})
	}
}

// client is one raw connection.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) send(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
}

func (c *client) read(t *testing.T, within time.Duration) (string, error) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	return c.r.ReadString('\n')
}

func (c *client) pong(t *testing.T) {
	t.Helper()
	if got, err := c.read(t, patience); err != nil || got != "+PONG\r\n" {
		t.Fatalf("the answer is %q, %v", got, err)
	}
}

// silent looks long enough for an answer that was on its way.
func (c *client) silent(t *testing.T) {
	t.Helper()
	if got, err := c.read(t, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the answer is %q, %v", got, err)
	}
}

func (c *client) ends(t *testing.T, want error) {
	t.Helper()
	if got, err := c.read(t, patience); !errors.Is(err, want) {
		t.Fatalf("the connection gives %q, %v; want %v", got, err, want)
	}
}
