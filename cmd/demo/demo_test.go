// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"github.com/caddy-wechat/caddy-wechat/login"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// TestSignIn does what the instructions say, by the pages that a person uses.
func TestSignIn(t *testing.T) {
	for _, confirm := range []login.Confirm{login.ConfirmNumber, login.ConfirmTap, login.ConfirmOff} {
		t.Run(string(confirm), func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			d, err := start(options{address: loopback, confirm: confirm})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := d.stop(); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(d.dir); !os.IsNotExist(err) {
					t.Errorf("the state in %s is still there: %v", d.dir, err)
				}
			}()
			signIn(t, d, confirm)
		})
	}
}

// TestTeam: the admin of the demo is let in, sees the admin page, and lets others in.
func TestTeam(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d, err := start(options{address: loopback, confirm: login.ConfirmTap, team: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	site := signIn(t, d, login.ConfirmTap)
	if p := site.get(d.siteURL + "_wechat/admin"); p.status != http.StatusOK || !strings.Contains(p.text, adminName) {
		t.Errorf("the admin page: %d %s", p.status, p.text)
	}
	if text := d.instructions(options{address: loopback, team: true}); !strings.Contains(text, d.siteURL+"_wechat/admin") {
		t.Errorf("the instructions name no admin page:\n%s", text)
	}
}

// signIn signs a new browser in and returns it.
func signIn(t *testing.T, d *demo, confirm login.Confirm) *browser {
	t.Helper()
	site, phone := newBrowser(t), newBrowser(t)
	if p := site.get(d.siteURL); p.status != http.StatusUnauthorized || !strings.Contains(p.text, "演示站点 Demo") {
		t.Fatalf("the site is not behind a login page: %d %s", p.status, p.text)
	}
	var attempt struct{ ID, Number string }
	p := site.post(d.siteURL, "_wechat/attempts", "application/json", `{"method":"official_qr","return_to":"/"}`)
	if err := json.Unmarshal([]byte(p.text), &attempt); err != nil || p.status != http.StatusCreated {
		t.Fatalf("POST attempts: %d %s", p.status, p.text)
	}
	codes := phone.get(d.phoneURL + "scan").values("qr")
	if len(codes) != 2 {
		t.Fatalf("the phone sees %d codes, want the one on the login page, and the account's own", len(codes))
	}
	chat := phone.post(d.phoneURL, "scan", "application/x-www-form-urlencoded", url.Values{"qr": {codes[0]}}.Encode())
	answer(t, d, phone, chat.linkTo(d.inWeChatURL+"_wechat/confirm/"), confirm, attempt.Number)
	if p := site.post(d.siteURL, "_wechat/attempts/"+attempt.ID+"/session", "application/json", ""); p.status != http.StatusOK {
		t.Fatalf("POST session: %d %s", p.status, p.text)
	}
	home := site.get(d.siteURL)
	for _, want := range []string{"你好 Hello", "X-User-Id", "X-User-Openid", d.wechat.Phone(adminName).OpenID(appID), "/_wechat/logout"} {
		if !strings.Contains(home.text, want) {
			t.Errorf("the app does not show %q: %d %s", want, home.status, home.text)
		}
	}
	return site
}

// answer does on the page behind the link what the setting asks for.
func answer(t *testing.T, d *demo, phone *browser, link string, confirm login.Confirm, number string) {
	t.Helper()
	choice := map[login.Confirm]string{login.ConfirmNumber: number, login.ConfirmTap: login.ChoiceYes}[confirm]
	if choice == "" {
		return
	}
	if consent := phone.get(link); slices.Contains(consent.values("decision"), "allow") {
		phone.do(http.MethodPost, consent.url, "application/x-www-form-urlencoded", "decision=allow", d.phoneURL)
	}
	if offered := phone.get(link).values("choice"); !slices.Contains(offered, choice) {
		t.Fatalf("the phone offers %q, not %q", offered, choice)
	}
	origin, path, _ := strings.Cut(link, "/_wechat")
	p := phone.post(origin+"/", "_wechat"+path, "application/x-www-form-urlencoded", url.Values{"choice": {choice}}.Encode())
	if p.status != http.StatusOK {
		t.Fatalf("confirming: %d %s", p.status, p.text)
	}
}

// TestGreetEscapes shows a name that is not only text.
func TestGreetEscapes(t *testing.T) {
	t.Parallel()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-User-Name", url.PathEscape("<script>小明"))
	r.Header.Set("Authorization", "secret of another header")
	w := &recorder{header: make(http.Header)}
	greet(w, r)
	if text := w.body.String(); !strings.Contains(text, "&lt;script&gt;小明") || strings.Contains(text, "<script>") || strings.Contains(text, "secret") {
		t.Errorf("the app's page is %s", text)
	}
}

type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) WriteHeader(int)             {}

// TestRun prints the addresses and ends with its context.
func TestRun(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out := &lines{seen: make(chan struct{}), want: "Ctrl-C ends the demo"}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, options{address: loopback, confirm: login.ConfirmNumber}, out) }()
	select {
	case <-out.seen:
	case err := <-ended:
		t.Fatalf("the demo ends at once: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("the demo prints no address within 10 s")
	}
	interrupt()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// lines tells when a text was printed.
type lines struct {
	want string
	seen chan struct{}
	once sync.Once
}

func (l *lines) Write(p []byte) (int, error) {
	if strings.Contains(string(p), l.want) {
		l.once.Do(func() { close(l.seen) })
	}
	return len(p), nil
}

// TestInstructions say something else where a real phone takes part.
func TestInstructions(t *testing.T) {
	t.Parallel()
	d := &demo{siteURL: "http://203.0.113.7:8080/", phoneURL: "http://203.0.113.7:8081/phone/"}
	here := d.instructions(options{address: loopback, confirm: login.ConfirmTap})
	lan := d.instructions(options{address: netip.MustParseAddr("203.0.113.7"), confirm: login.ConfirmOff})
	team := d.instructions(options{address: loopback, team: true})
	for _, test := range []struct{ name, text, want string }{
		{"here", here, "second window"},
		{"here", here, "→ confirm"},
		{"here", here, "WeChat page"},
		{"here", here, "Open in WeChat"},
		{"team", team, "asks for a name"},
		{"lan", lan, "camera"},
		{"lan", lan, "sign in as anybody"},
		{"lan", lan, "alone signs in"},
		{"lan", lan, "WeChat's own pages are left out"},
		{"lan", lan, "code in the chat is left out"},
	} {
		if !strings.Contains(test.text, test.want) {
			t.Errorf("%s: %q is missing in\n%s", test.name, test.want, test.text)
		}
	}
	if strings.Contains(here, "left out") || strings.Contains(lan, "six digits") || strings.Contains(lan, "WeChat page") {
		t.Errorf("here:\n%s\non the network:\n%s", here, lan)
	}
}

// TestOptions keep cookies apart on one machine, and let cameras in on a network.
func TestOptions(t *testing.T) {
	t.Parallel()
	ln, err := listen("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d := &demo{siteURL: "http://127.0.0.1:8080/", phoneURL: "http://127.0.0.1:8081/phone/"}
	d.inWeChatURL = webviewURL(options{address: loopback}, ln)
	if hostname(d.inWeChatURL) == hostname(d.siteURL) {
		t.Errorf("%s has the cookies of %s", d.inWeChatURL, d.siteURL)
	}
	here, lan := d.options(options{address: loopback}), d.options(options{address: netip.MustParseAddr("203.0.113.7")})
	if here.QRBase != "" || len(here.Sites) != 1 || here.Webviews["http://127.0.0.1:8080"]+"/" != d.inWeChatURL {
		t.Errorf("here: %+v", here)
	}
	if lan.QRBase != "http://127.0.0.1:8081" || len(lan.Sites) != 0 {
		t.Errorf("on the network: %+v", lan)
	}
}

// TestListenFallsForward takes the next port where one is busy.
func TestListenFallsForward(t *testing.T) {
	t.Parallel()
	busy, err := listen("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	ln, err := listen("127.0.0.1", port)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if got := ln.Addr().(*net.TCPAddr).Port; got <= port {
		t.Errorf("listening on port %d, want one after %d", got, port)
	}
}

func TestListenElsewhere(t *testing.T) {
	t.Parallel()
	ln, err := listen("203.0.113.7", 8080) // no machine has that address
	if err == nil {
		_ = ln.Close()
		t.Fatal("listening on another machine's address")
	}
	if !strings.Contains(err.Error(), "203.0.113.7") {
		t.Errorf("the error does not name the address: %v", err)
	}
}

func TestParseFlags(t *testing.T) {
	t.Parallel()
	got, err := parseFlags([]string{"-lan", "203.0.113.7", "-confirm", "tap", "-port", "9000", "-team", "-v"}, io.Discard)
	want := options{address: netip.MustParseAddr("203.0.113.7"), confirm: login.ConfirmTap, port: 9000, team: true, verbose: true}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, port := range []string{"99999", "-1"} {
		if _, err := parseFlags([]string{"-port", port}, io.Discard); err == nil || !strings.Contains(err.Error(), "is no port") {
			t.Errorf("-port %s: %v", port, err)
		}
	}
	if _, err := parseFlags([]string{"number"}, io.Discard); err == nil {
		t.Error("an argument that is no flag is accepted")
	}
}

// browser is a person's browser, without scripts.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

type seenPage struct {
	t      *testing.T
	url    string
	status int
	text   string
}

func (b *browser) get(address string) seenPage {
	b.t.Helper()
	return b.do(http.MethodGet, address, "", "", "")
}

// post sends what a page of the origin sends.
func (b *browser) post(base, path, contentType, body string) seenPage {
	b.t.Helper()
	return b.do(http.MethodPost, base+path, contentType, body, base)
}

func (b *browser) do(method, address, contentType, body, base string) seenPage {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if base != "" {
		u, err := url.Parse(base)
		if err != nil {
			b.t.Fatal(err)
		}
		req.Header.Set("Origin", fmt.Sprintf("%s://%s", u.Scheme, u.Host))
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return seenPage{b.t, resp.Request.URL.String(), resp.StatusCode, string(text)}
}

// values returns the values of the page's buttons of a name.
func (p seenPage) values(name string) (values []string) {
	p.each("button", func(attr map[string]string) {
		if attr["name"] == name {
			values = append(values, attr["value"])
		}
	})
	return values
}

// linkTo returns the page's link that begins with prefix.
func (p seenPage) linkTo(prefix string) (link string) {
	p.t.Helper()
	p.each("a", func(attr map[string]string) {
		if strings.HasPrefix(attr["href"], prefix) {
			link = attr["href"]
		}
	})
	if link == "" {
		p.t.Fatalf("no link to %s in %s", prefix, p.text)
	}
	return link
}

func (p seenPage) each(element string, fn func(attr map[string]string)) {
	p.t.Helper()
	root, err := html.Parse(strings.NewReader(p.text))
	if err != nil {
		p.t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode || n.Data != element {
			continue
		}
		attr := make(map[string]string)
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
		}
		fn(attr)
	}
}
