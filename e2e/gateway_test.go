// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	appID  = "wx0123456789abcdef"
	secret = "app-secret-never-to-be-logged-01"
	token  = "pushtoken1234567"
	aesKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"

	// patience is how long a test waits for an event that must come.
	patience = 30 * time.Second
)

// world is one gateway and everything around it.
type world struct {
	t        testing.TB
	outside  clientConns // those of people and of WeChat to the gateway
	wechat   *wechattest.Server
	account  *wechattest.AccountHandle
	api      *httptest.Server // serves wechat
	upstream *upstream

	dir, addr, admin string
	// caddyfile may be changed before start or reload.
	caddyfile string
	env       []string
	cmd       *exec.Cmd
	exited    chan struct{}
	output    *output
}

// options change what newWorld makes.
type options struct {
	kind    wechattest.Kind
	mode    wechattest.Mode
	account string // more lines of the official_account block
	wechat  string // more lines of the wechat block
	users   string // default: registration open
	gate    string // the wechat_auth directive; default: wechat_auth
	site    string // more lines of the site block
	scheme  string // default: http
	global  string // more lines of the global options
	refusal wechattest.Refusal
	// prepare, if set, is called once WeChat has the account, and before Caddy starts.
	prepare func(*world)
}

// newWorld prepares a gateway in front of an upstream app, and starts it.
func newWorld(t testing.TB, o options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), addr: freeAddr(t), admin: freeAddr(t), output: newOutput()}
	w.wechat = wechattest.NewServer(wechattest.Options{PushSpacing: -1, HTTPClient: w.trusting(), Refusal: o.refusal})
	t.Cleanup(w.wechat.Close)
	w.api = httptest.NewServer(w.wechat)
	t.Cleanup(w.api.Close)
	w.upstream = newUpstream(t)
	scheme := o.scheme
	if scheme == "" {
		scheme = "http"
	}
	account := wechattest.Account{
		AppID: appID, Secret: secret, Name: "测试服务号", Kind: o.kind, Token: token, Mode: o.mode,
		PushURL: scheme + "://" + w.addr + "/_wechat/push/" + appID,
	}
	lines := o.account
	if o.mode != wechattest.Plain {
		account.AESKey = aesKey
		lines += "\naes_key " + aesKey
	}
	var err error
	if w.account, err = w.wechat.AddAccount(account); err != nil {
		t.Fatal(err)
	}
	if o.prepare != nil {
		o.prepare(w)
	}
	gate, users := o.gate, o.users
	if gate == "" {
		gate = "wechat_auth"
	}
	if users == "" {
		users = "registration open"
	}
	w.env = []string{"WECHAT_SECRET=" + secret, "WECHAT_TOKEN=" + token}
	w.caddyfile = fmt.Sprintf(`{
	admin %s
	default_bind 127.0.0.1
	persist_config off
	skip_install_trust
	storage file_system %s
	grace_period 2s
	log {
		output stderr
		format json
		level DEBUG
	}
	%s
	wechat {
		official_account %s {
			secret {env.WECHAT_SECRET}
			token {env.WECHAT_TOKEN}
			%s
		}
		api_url %s
		open_url %s
		store embedded %s
		users {
			%s
		}
		%s
	}
}
%s://%s {
	log
	%s
	%s
	reverse_proxy %s
}
`, w.admin, filepath.Join(w.dir, "caddy"), o.global, appID, lines, w.api.URL, w.api.URL, filepath.Join(w.dir, "state"), users, o.wechat,
		scheme, w.addr, gate, o.site, w.upstream.addr())
	w.start()
	return w
}

// start starts Caddy and waits until it serves.
func (w *world) start() {
	w.t.Helper()
	file := filepath.Join(w.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(w.caddyfile), 0o600); err != nil {
		w.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(exe, "run", "--config", file, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), append(w.env, asCaddy+"=1", "XDG_DATA_HOME="+w.dir, "XDG_CONFIG_HOME="+w.dir, "HOME="+w.dir)...)
	out, err := cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd.Stdout = w.output
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.cmd, w.exited = cmd, make(chan struct{})
	serving := w.output.expect("serving initial configuration")
	go func() {
		w.output.copyLines(out)
		_ = cmd.Wait()
		close(w.exited)
	}()
	w.t.Cleanup(w.stop)
	select {
	case <-serving:
	case <-w.exited:
		w.t.Fatalf("caddy ended at start:\n%s", w.output)
	case <-time.After(patience):
		w.t.Fatalf("caddy does not serve:\n%s", w.output)
	}
	if w.origin() == "https://"+w.addr {
		w.awaitTLS()
	}
}

// awaitTLS waits until Caddy has the certificate that it makes after its start.
func (w *world) awaitTLS() {
	w.t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	limit, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := dialer.DialContext(w.t.Context(), "tcp", w.addr)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			w.t.Fatalf("caddy gets no certificate: %v\n%s", err, w.output)
		}
	}
}

// stop ends Caddy as an operator would, and fails the test if it does not end
// or reports a data race.
func (w *world) stop() {
	w.signal(syscall.SIGTERM)
	if hasRace(w.output.String()) {
		w.t.Errorf("caddy reports a data race:\n%s", w.output)
	}
}

// hasRace says whether the race detector has reported anything but the races that are
// known in Caddy 2.11.9: a connection that was upgraded counts its bytes without a
// lock, and is written to by two when Caddy closes it at its exit; and a certificate
// that is had at once is announced while the TLS app still starts.
func hasRace(output string) bool {
	for _, report := range strings.Split(output, "WARNING: DATA RACE")[1:] {
		report, _, _ = strings.Cut(report, "==================")
		upgraded := strings.Contains(report, "caddyhttp.(*hijackedConn)")
		announced := strings.Contains(report, "caddytls.(*TLS).onEvent") && strings.Contains(report, "caddytls.(*TLS).Start")
		if !upgraded && !announced {
			return true
		}
	}
	return false
}

// kill ends Caddy without giving it a chance to save anything.
func (w *world) kill() { w.signal(syscall.SIGKILL) }

func (w *world) signal(s os.Signal) {
	w.t.Helper()
	_ = w.cmd.Process.Signal(s) // it may have ended already
	select {
	case <-w.exited:
	case <-time.After(patience):
		_ = w.cmd.Process.Kill()
		w.t.Errorf("caddy does not end on %v:\n%s", s, w.output)
	}
}

// reload loads w.caddyfile into the running Caddy.
func (w *world) reload() error {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://"+w.admin+"/load", strings.NewReader(w.caddyfile))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate") // also where nothing has changed
	old := w.idleConn()
	defer old.Close()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(string(body))
	}
	if err != nil {
		return err
	}
	// Caddy answers when the old server is about to close. Until it does, it may
	// take a connection and serve it as before, or drop it.
	_, err = old.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("waiting for the old server to close: %w", err)
	}
	w.outside.closeIdle() // those of the old server: a POST on one that is closing is lost
	return nil
}

// clientConns are HTTP clients whose idle connections can be closed together.
type clientConns struct {
	mu  sync.Mutex
	all []*http.Transport
}

func (c *clientConns) add(transport *http.Transport) *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, transport)
	return transport
}

func (c *clientConns) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, transport := range c.all {
		transport.CloseIdleConnections()
	}
}

// idleConn is a connection to the site that the server which has it now closes
// once it takes no more connections.
func (w *world) idleConn() net.Conn {
	w.t.Helper()
	conn, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	if strings.HasPrefix(w.origin(), "https:") {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintf(conn, "GET /_wechat/healthz HTTP/1.1\r\nHost: %s\r\n\r\n", w.addr)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// trusting returns a client that accepts the certificates of the tests' own CA.
func (w *world) trusting() *http.Client {
	return &http.Client{Transport: w.outside.add(&http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	})}
}

// lastPort is the port that freeAddr gave out last. The range is below that of
// which the system hands out ports by itself, so that nobody else takes one
// between its choice and Caddy's start.
var lastPort atomic.Uint32

// freeAddr returns a loopback address that nothing listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	lastPort.CompareAndSwap(0, uint32(20_000+os.Getpid()%100*100))
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", lastPort.Add(1))
		ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
		if err != nil {
			continue
		}
		_ = ln.Close()
		return addr
	}
}

// output collects what Caddy prints and tells when a text appears.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	waiting map[string]chan struct{}
}

func newOutput() *output { return &output{waiting: make(map[string]chan struct{})} }

func (o *output) copyLines(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		_, _ = o.Write(line)
		if err != nil {
			return
		}
	}
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for text, c := range o.waiting {
		if bytes.Contains(p, []byte(text)) {
			close(c)
			delete(o.waiting, text)
		}
	}
	return o.text.Write(p)
}

// expect returns a channel that is closed when a line with the text is printed
// from now on.
func (o *output) expect(text string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.waiting[text]
	if c == nil {
		c = make(chan struct{})
		o.waiting[text] = c
	}
	return c
}

// String returns all that was printed so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await fails the test unless c is closed or gets a value in time.
func await[T any](t testing.TB, c <-chan T, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s does not happen", what)
	}
}
