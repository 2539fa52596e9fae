// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// browser is a visitor's browser, without the page's script.
type browser struct {
	t      testing.TB
	client *http.Client
	origin string
}

func (w *world) origin() string {
	if strings.Contains(w.caddyfile, "https://"+w.addr) {
		return "https://" + w.addr
	}
	return "http://" + w.addr
}

// browser returns a new browser with cookies of its own.
func (w *world) browser() *browser {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	transport := w.outside.add(&http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	})
	w.t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: w.t, origin: w.origin(), client: &http.Client{
		Jar: jar, Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response, read to its end.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// json decodes the body into a map.
func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Fatalf("status %d, body %q: %v", a.Status, a.Body, err)
	}
	return v
}

// do sends a request; edit may change it. A request that changes something
// carries the site's Origin, as a browser sends it.
func (b *browser) do(method, path string, body any, edit ...func(*http.Request)) answer {
	b.t.Helper()
	var raw io.Reader
	contentType := ""
	switch body := body.(type) {
	case nil:
	case url.Values:
		raw, contentType = strings.NewReader(body.Encode()), "application/x-www-form-urlencoded"
	default:
		j, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		raw, contentType = bytes.NewReader(j), "application/json"
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.origin+path, raw)
	if err != nil {
		b.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if method != http.MethodGet && method != http.MethodHead {
		req.Header.Set("Origin", b.origin)
	}
	for _, e := range edit {
		e(req)
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
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// get asks for a page as a person does.
func (b *browser) get(path string, edit ...func(*http.Request)) answer {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, append([]func(*http.Request){header("Accept", "text/html")}, edit...)...)
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// attempt is one try to sign in, as the page's script knows it.
type attempt struct {
	browser *browser
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Reason  string    `json:"reason"`
	Expires time.Time `json:"expires_at"`
	Number  string    `json:"number"`
	QR      struct {
		SVG string `json:"svg"`
		URL string `json:"url"`
	} `json:"qr"`
}

// begin begins an attempt.
func (b *browser) begin() *attempt {
	b.t.Helper()
	got := b.do(http.MethodPost, "/_wechat/attempts", map[string]string{"method": "official_qr", "return_to": "/after?x=1"})
	if got.Status != http.StatusCreated {
		b.t.Fatalf("POST attempts: %d %s", got.Status, got.Body)
	}
	a := &attempt{browser: b}
	if err := json.Unmarshal([]byte(got.Body), a); err != nil {
		b.t.Fatal(err)
	}
	return a
}

// state asks for the attempt's state.
func (a *attempt) state() string {
	a.browser.t.Helper()
	got := a.browser.do(http.MethodGet, "/_wechat/attempts/"+a.ID, nil)
	if got.Status != http.StatusOK {
		a.browser.t.Fatalf("GET attempt: %d %s", got.Status, got.Body)
	}
	if err := json.Unmarshal([]byte(got.Body), a); err != nil {
		a.browser.t.Fatal(err)
	}
	return a.State
}

// session asks for the session of a confirmed attempt.
func (a *attempt) session() answer {
	a.browser.t.Helper()
	return a.browser.do(http.MethodPost, "/_wechat/attempts/"+a.ID+"/session", nil)
}

// scan has a person scan the attempt's code, and returns the link that the
// person gets in the chat, empty if there is none.
func (w *world) scan(phone *wechattest.Phone, a *attempt) (link string) {
	w.t.Helper()
	d, err := phone.Scan(w.t.Context(), a.QR.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	if d.Err != nil {
		w.t.Fatalf("WeChat is not satisfied with the answer: %v", d.Err)
	}
	if links := d.Reply.Links(); len(links) > 0 {
		return links[0]
	}
	return ""
}

// choose answers the page behind a link of the chat.
func (w *world) choose(phone *wechattest.Phone, link, choice string) answer {
	w.t.Helper()
	resp, err := phone.Browser().PostForm(link, url.Values{"choice": {choice}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// signIn signs a person in, in a new browser.
func (w *world) signIn(person string) *browser {
	w.t.Helper()
	b := w.browser()
	w.signInWith(b, person)
	return b
}

// signInWith signs a person in, in a browser of the test's.
func (w *world) signInWith(b *browser, person string) {
	w.t.Helper()
	a, phone := b.begin(), w.wechat.Phone(person)
	link := w.scan(phone, a)
	if got := w.choose(phone, link, a.Number); got.Status != http.StatusOK {
		w.t.Fatalf("confirming: %d %s", got.Status, got.Body)
	}
	if got := a.session(); got.Status != http.StatusOK {
		w.t.Fatalf("POST session: %d %s", got.Status, got.Body)
	}
}
