// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package cluster_test runs the example as its README says, against a simulated
// WeChat, and breaks what the README says may be broken.
package cluster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-wechat/caddy-wechat"
	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// asCaddy makes this test binary behave as the caddy command.
const asCaddy = "CADDY_WECHAT_CLUSTER_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

const (
	appID  = "wx0123456789abcdef"
	secret = "0123456789abcdef0123456789abcdef"
	token  = "pushtoken1234567"
	aesKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"

	// patience is how long the test waits for what must come.
	patience = 60 * time.Second
)

// cluster is the running example.
type cluster struct {
	t      *testing.T
	base   int
	tmp    string
	env    []string
	wechat *wechattest.Server
	cmd    *exec.Cmd
	output output
	exited chan struct{}
}

// output is what run.sh prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String returns all that was printed so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs run.sh in a process group of its own, so that the test can tell
// whether anything of it is left.
func start(t *testing.T, base int, env ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, base: base, tmp: t.TempDir(), exited: make(chan struct{})}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.env = append(os.Environ(), asCaddy+"=1", "CADDY="+exe, "TMPDIR="+c.tmp, "HOME="+c.tmp, "BASE_PORT="+strconv.Itoa(base))
	c.env = append(c.env, env...)
	c.cmd = exec.Command("./run.sh")
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = c.env, &c.output, &c.output
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = c.cmd.Wait() // its state is looked at
		close(c.exited)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			c.showLogs()
		}
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-c.exited:
		case <-time.After(patience):
			t.Errorf("run.sh does not end:\n%s", &c.output)
		}
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	})
	return c
}

// showLogs prints the ends of what the parts have logged.
func (c *cluster) showLogs() {
	logs, _ := filepath.Glob(filepath.Join(c.tmp, "caddy-wechat-cluster-*", "*.log"))
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		c.t.Logf("%s:\n…%s", filepath.Base(log), text[max(0, len(text)-4000):])
	}
}

// ended waits for the end of run.sh, and fails the test if it leaves anything
// running.
func (c *cluster) ended(code int) {
	c.t.Helper()
	select {
	case <-c.exited:
	case <-time.After(patience):
		c.t.Fatalf("run.sh does not end:\n%s", &c.output)
	}
	if got := c.cmd.ProcessState.ExitCode(); got != code {
		c.t.Errorf("run.sh ends with %d, want %d:\n%s", got, code, &c.output)
	}
	if left := c.left(); left != "" {
		c.t.Errorf("run.sh leaves something running:\n%s", left)
	}
}

// left lists the processes of the group that run, one a line.
func (c *cluster) left() string {
	c.t.Helper()
	all, err := exec.CommandContext(c.t.Context(), "ps", "-eo", "pgid=,stat=,pid=,args=").Output()
	if err != nil {
		c.t.Fatalf("listing the processes: %v", err)
	}
	var left strings.Builder
	for line := range strings.Lines(string(all)) {
		f := strings.Fields(line)
		if f[0] == strconv.Itoa(c.cmd.Process.Pid) && !strings.HasPrefix(f[1], "Z") { // one that has ended waits for init
			left.WriteString(line)
		}
	}
	return left.String()
}

// until looks again and again whether something has come about.
func (c *cluster) until(what string, check func() error) {
	c.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waiting for %s: %v\n%s", what, err, &c.output)
		}
	}
}

func (c *cluster) ready() {
	c.t.Helper()
	c.until("the example to be ready", func() error {
		select {
		case <-c.exited:
			c.t.Fatalf("run.sh has ended:\n%s", &c.output)
		default:
		}
		if !strings.Contains(c.output.String(), "Ctrl-C ends all.") {
			return errors.New("not ready")
		}
		return nil
	})
}

// dir is where the example keeps its data.
func (c *cluster) dir() string {
	c.t.Helper()
	all, err := filepath.Glob(filepath.Join(c.tmp, "caddy-wechat-cluster-*"))
	if err != nil || len(all) != 1 {
		c.t.Fatalf("the directory of the data: %v, %v", all, err)
	}
	return all[0]
}

// kill ends one part as a crash does, by the file that the instructions name.
func (c *cluster) kill(part string) {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir(), part+".pid"))
	if err != nil {
		c.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		c.t.Fatalf("killing %s: %v", part, err)
	}
}

// redis runs a command on a server of the set, by its offset from the base port.
func (c *cluster) redis(offset int, args ...string) string {
	c.t.Helper()
	password, err := os.ReadFile(filepath.Join(c.dir(), "password"))
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.CommandContext(c.t.Context(), "redis-cli", append([]string{"-p", strconv.Itoa(c.base + offset)}, args...)...)
	cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+strings.TrimSpace(string(password)))
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("redis-cli %q: %v\n%s", args, err, out)
	}
	return string(out)
}

var (
	written = regexp.MustCompile(`master_repl_offset:(\d+)`)
	copied  = regexp.MustCompile(`offset=(\d+)`)
)

// replicated waits until the replicas have what the first master has now.
func (c *cluster) replicated() {
	c.t.Helper()
	offset := func(digits string) int {
		n, err := strconv.Atoi(digits)
		if err != nil {
			c.t.Fatal(err)
		}
		return n
	}
	want := offset(written.FindStringSubmatch(c.redis(11, "info", "replication"))[1])
	c.until("the replicas", func() error {
		replicas := copied.FindAllStringSubmatch(c.redis(11, "info", "replication"), -1)
		for _, r := range replicas {
			if offset(r[1]) < want {
				return fmt.Errorf("a replica is at %s of %d", r[1], want)
			}
		}
		if len(replicas) != 2 {
			return fmt.Errorf("%d replicas", len(replicas))
		}
		return nil
	})
}

// visitor is a browser.
type visitor struct {
	c      *cluster
	client *http.Client
}

func (c *cluster) origin() string { return fmt.Sprintf("http://127.0.0.1:%d", c.base) }

func (c *cluster) visitor() *visitor {
	c.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return &visitor{c, &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}}
}

// do sends a request to the balancer.
func (v *visitor) do(method, path, body string) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(v.c.t.Context(), method, v.c.origin()+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Origin", v.c.origin())
	req.Header.Set("Content-Type", "application/json")
	resp, err := v.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all), err
}

// signIn walks the whole way, each step of it answered by another node.
func (v *visitor) signIn(person string) error {
	status, text, err := v.do(http.MethodPost, "/_wechat/attempts", `{"method":"official_qr","return_to":"/"}`)
	if err != nil {
		return err
	}
	if status != http.StatusCreated {
		return fmt.Errorf("POST attempts: %d %.100q", status, text)
	}
	var attempt struct {
		ID, Number string
		QR         struct{ URL string }
	}
	if err := json.Unmarshal([]byte(text), &attempt); err != nil {
		return err
	}
	phone := v.c.wechat.Phone(person)
	delivery, err := phone.Scan(v.c.t.Context(), attempt.QR.URL)
	if err == nil {
		err = delivery.Err
	}
	if err != nil {
		return err
	}
	if len(delivery.Reply.Links()) == 0 {
		return fmt.Errorf("the answer to the scan: %s", delivery.Reply.Text)
	}
	resp, err := phone.Browser().PostForm(delivery.Reply.Links()[0], url.Values{"choice": {attempt.Number}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the confirmation: %s", resp.Status)
	}
	status, text, err = v.do(http.MethodPost, "/_wechat/attempts/"+attempt.ID+"/session", "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("POST session: %d %.100q", status, text)
	}
	return err
}

// visit asks for the site and returns which node answers.
func (v *visitor) visit() (node string, err error) {
	status, text, err := v.do(http.MethodGet, "/", "")
	if err != nil {
		return "", err
	}
	_, node, greeted := strings.Cut(text, ", says ")
	if status != http.StatusOK || !greeted {
		return "", fmt.Errorf("GET /: %d %.100q", status, text)
	}
	return strings.TrimSuffix(node, "."), nil
}

// greeted is visit where nothing may go wrong.
func (v *visitor) greeted() (node string) {
	v.c.t.Helper()
	node, err := v.visit()
	if err != nil {
		v.c.t.Fatalf("a signed-in visitor is refused: %v\n%s", err, &v.c.output)
	}
	return node
}

// greetedByAll asks for the site until each of the three nodes has answered.
func (v *visitor) greetedByAll() {
	v.c.t.Helper()
	seen := make(map[string]bool)
	v.c.until("answers of all nodes", func() error {
		node, err := v.visit()
		if err != nil {
			return err
		}
		if seen[node] = true; len(seen) < 3 {
			return fmt.Errorf("only %v answer", seen)
		}
		return nil
	})
}

func newWeChat(t *testing.T, pushURL string) (server *wechattest.Server, apiURL string) {
	t.Helper()
	server = wechattest.NewServer(wechattest.Options{PushSpacing: -1})
	t.Cleanup(server.Close)
	api := httptest.NewServer(server)
	t.Cleanup(api.Close)
	_, err := server.AddAccount(wechattest.Account{
		AppID: appID, Secret: secret, Name: "测试服务号", Token: token, AESKey: aesKey, Mode: wechattest.Secure, PushURL: pushURL,
	})
	if err != nil {
		t.Fatal(err)
	}
	return server, api.URL
}

// ports are below those that the system hands out by itself, and not those of
// other packages' tests.
func ports(test int) (base int) { return 30_000 + os.Getpid()%20*120 + test*40 }

// TestCluster signs in, kills the Redis master and a node, and ends the example.
func TestCluster(t *testing.T) {
	t.Parallel()
	base := ports(0)
	wechat, api := newWeChat(t, fmt.Sprintf("http://127.0.0.1:%d/_wechat/push/%s", base, appID))
	c := start(t, base, "WECHAT_APP_ID="+appID, "WECHAT_OA_SECRET="+secret, "WECHAT_OA_TOKEN="+token, "WECHAT_OA_AES_KEY="+aesKey, "WECHAT_API_URL="+api)
	c.wechat = wechat
	c.ready()

	alice := c.visitor()
	if status, text, err := alice.do(http.MethodGet, "/", ""); err != nil || status != http.StatusUnauthorized || !strings.Contains(text, "<html") {
		t.Fatalf("the login page: %d %v %.100q", status, err, text)
	}
	if err := alice.signIn("alice"); err != nil {
		t.Fatal(err)
	}
	alice.greetedByAll() // and so all nodes know her
	c.replicated()

	c.kill("redis-1")
	bob := c.visitor()
	c.until("sign-ins after the failover", func() error {
		alice.greeted() // never refused
		return bob.signIn("bob")
	})
	bob.greetedByAll()
	if master := c.redis(21, "sentinel", "get-master-addr-by-name", "wechat"); strings.Contains(master, strconv.Itoa(base+11)) {
		t.Errorf("the Sentinels still name the master that was killed: %s", master)
	}

	c.kill("node-1")
	for range 6 {
		if node := alice.greeted(); node == "node-1" {
			t.Error("a killed node answers")
		}
	}
	alice.greetedByAll() // it is started again
	c.until("the old master to come back as a replica", func() error {
		if !strings.Contains(c.output.String(), "redis-1 has ended") {
			return errors.New("its end is not noticed")
		}
		if info := c.redis(11, "info", "replication"); !strings.Contains(info, "role:slave") || !strings.Contains(info, "master_link_status:up") {
			return errors.New(info)
		}
		return nil
	})

	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.ended(0)
	if left, _ := filepath.Glob(filepath.Join(c.tmp, "caddy-wechat-cluster-*")); len(left) > 0 {
		t.Errorf("run.sh leaves %v", left)
	}
}

// TestInterrupted ends the example as Ctrl-C does: the terminal sends the signal
// to all its processes at once, here in the middle of their start.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	base := ports(1)
	_, api := newWeChat(t, "")
	c := start(t, base, "WECHAT_APP_ID="+appID, "WECHAT_OA_SECRET="+secret, "WECHAT_OA_TOKEN="+token, "WECHAT_API_URL="+api)
	c.until("the first Redis", func() error {
		if started, _ := filepath.Glob(filepath.Join(c.tmp, "*", "redis-1.pid")); len(started) == 0 {
			return errors.New("it has not been started")
		}
		return nil
	})
	if err := syscall.Kill(-c.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	c.ended(0)
}

// TestRefused asks for what is missing, and leaves nothing behind.
func TestRefused(t *testing.T) {
	account := []string{"WECHAT_APP_ID=" + appID, "WECHAT_OA_SECRET=" + secret, "WECHAT_OA_TOKEN=" + token}
	for _, tt := range []struct {
		name, want string
		env        []string
	}{
		{"no account", "WECHAT_APP_ID is not set", []string{"WECHAT_APP_ID="}},
		{"no secret", "WECHAT_OA_SECRET is not set", append(account[:1:1], "WECHAT_OA_SECRET=")},
		{"no caddy", "there is no /nowhere/caddy: build it", append(account[:3:3], "CADDY=/nowhere/caddy")},
		{"no port", "BASE_PORT 84oo is not a port", append(account[:3:3], "BASE_PORT=84oo")},
		{"a caddy that ends", "node-1 has ended, and so does everything", append(account[:3:3], "CADDY=false")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, ports(2), tt.env...)
			c.ended(1)
			if got := c.output.String(); !strings.Contains(got, tt.want) {
				t.Errorf("run.sh says %q, want %q", got, tt.want)
			}
		})
	}
}
