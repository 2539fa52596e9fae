// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// victim is somebody in the middle of everything that another site's page might
// want to change: signed in, with one attempt open and one to be confirmed.
type victim struct {
	w       *world
	browser *browser
	open    *attempt
	scanned *attempt
	link    string
}

func (w *world) victim() *victim {
	w.t.Helper()
	b := w.signIn("alice")
	v := &victim{w: w, browser: b, open: b.begin(), scanned: b.begin()}
	v.link = w.scan(w.wechat.Phone("bob"), v.scanned)
	return v
}

// changes are the requests that change something.
func (v *victim) changes() [][]string {
	host := "Host: " + v.w.addr
	form := "Content-Type: application/x-www-form-urlencoded"
	confirm := strings.TrimPrefix(v.link, v.w.origin())
	return [][]string{
		{"POST /_wechat/attempts HTTP/1.1", host, "Content-Type: text/plain"},
		{"DELETE /_wechat/attempts/" + v.open.ID + " HTTP/1.1", host},
		{"POST /_wechat/attempts/" + v.scanned.ID + "/session HTTP/1.1", host},
		{"POST " + confirm + " HTTP/1.1", host, form, "", "choice=" + v.scanned.Number},
		{"POST " + confirm + " HTTP/1.1", host, form, "", "choice=cancel"},
		{"POST " + confirm + " HTTP/1.1", host, form, "", "choice=revoke"},
		{"POST /_wechat/logout HTTP/1.1", host, form},
		{"POST /_wechat/sessions HTTP/1.1", host, form, "", "end=all"},
		{"POST /_wechat/logout?everywhere=true HTTP/1.1", host, form, "", "everywhere=true"},
		{"POST /_wechat/bind/code HTTP/1.1", host, form, "", "channel=email&address=mallory@example.com"},
		{"POST /_wechat/bind HTTP/1.1", host, form, "", "channel=email&address=mallory@example.com&code=123456"},
		{"POST /_wechat/name HTTP/1.1", host, form, "", "name=Mallory"},
	}
}

// send sends one of the changes with the victim's cookies and these headers.
func (v *victim) send(a *attacker, change []string, headers ...string) answer {
	lines, body := change, ""
	for i, line := range change {
		if line == "" {
			lines, body = change[:i], change[i+1]
		}
	}
	lines = append(append([]string{}, lines...), v.browser.cookie())
	lines = append(lines, headers...)
	return a.send(append(lines, "Content-Length: "+strconv.Itoa(len(body))), body)
}

// unharmed fails the test if anything has changed.
func (v *victim) unharmed(t *testing.T) {
	t.Helper()
	if got := v.browser.get("/"); got.Status != http.StatusOK {
		t.Errorf("the victim is signed out: %d", got.Status)
	}
	if name := v.w.upstream.last(t).Header.Get("X-User-Name"); name != "" {
		t.Errorf("the victim is called %q", name)
	}
	if got := v.open.state(); got != "pending" {
		t.Errorf("the open attempt is %s", got)
	}
	if got := v.scanned.state(); got != "scanned" {
		t.Errorf("the scanned attempt is %s", got)
	}
}

// TestG11CrossSiteRequests: Alice is signed in and looks at Mallory's page, which
// has her browser send requests to the gateway, with her cookies. Only the site's
// own pages may sign her out, confirm, cancel or consume; what does not say where
// it comes from may not either. A page of the same host under another scheme or
// port is another site.
func TestG11CrossSiteRequests(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			o := options{scheme: scheme, wechat: "limit attempts off\nlimit confirms off"}
			other := "https"
			if scheme == "https" {
				o.global, other = "auto_https disable_redirects", "http"
			}
			w := newWorld(t, o)
			v, a := w.victim(), w.attacker()
			host, _, _ := strings.Cut(w.addr, ":")
			own := "Origin: " + w.origin()
			for _, from := range [][]string{
				{},
				{"Origin: https://evil.example"},
				{"Origin: http://evil.example"},
				{"Origin: null"},
				{"Origin: "},
				{"Origin: " + other + "://" + w.addr},
				{"Origin: " + scheme + "://" + host},
				{"Origin: " + scheme + "://" + host + ":1"},
				{"Origin: " + scheme + "://" + w.addr + "0"},
				{"Origin: " + scheme + "://" + w.addr + "."},
				{"Origin: " + scheme + "://" + w.addr + "/"},
				{"Origin: " + scheme + "://" + w.addr + ".evil.example"},
				{"Origin: " + scheme + "://evil.example@" + w.addr},
				{"Origin: " + scheme + "://localhost:1"},
				{"Origin: " + w.addr},
				{"Origin: //" + w.addr},
				{"Origin: file://"},
				{"Origin: chrome-extension://abcdefghijklmnop"},
				{own + " https://evil.example"},
				{own + ", https://evil.example"},
				{own, "Origin: https://evil.example"},
				{"Origin: https://evil.example", own},
				{"Sec-Fetch-Site: cross-site"},
				{"Sec-Fetch-Site: same-site"},
				{"Sec-Fetch-Site: none"},
				{"Sec-Fetch-Site: "},
				{"Sec-Fetch-Site: same-origin, cross-site"},
				{"Sec-Fetch-Site: SAME-ORIGIN"},
				{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"},
				{own, "Sec-Fetch-Site: cross-site"},
				{own, "Sec-Fetch-Site: same-site"},
				{own, "Sec-Fetch-Site: none"},
				{"Origin: https://evil.example", "Sec-Fetch-Site: same-origin"},
				{"Origin: null", "Sec-Fetch-Site: same-origin"},
				{"Origin: " + other + "://" + w.addr, "Sec-Fetch-Site: same-origin"},
				{"Referer: " + w.origin() + "/_wechat/logout"},
				{"Host-Origin: " + w.origin(), "X-Origin: " + w.origin(), "X-Requested-With: XMLHttpRequest"},
			} {
				for _, change := range v.changes() {
					got := v.send(a, change, from...)
					if got.Status != http.StatusForbidden {
						t.Errorf("%s with %q: %d %.200s", change[0], from, got.Status, got.Body)
					}
					if set := got.Header["Set-Cookie"]; len(set) > 0 {
						t.Errorf("%s with %q sets a cookie: %q", change[0], from, set)
					}
					if got.Header.Get("Access-Control-Allow-Origin") != "" {
						t.Errorf("%s with %q: another site may read the answer", change[0], from)
					}
				}
			}
			for _, change := range v.changes() { // by other methods and tunnels
				_, path, _ := strings.Cut(change[0], " ")
				for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "OPTIONS", "post", "DELETE"} {
					v.send(a, append([]string{method + " " + path}, change[1:]...), "X-Http-Method-Override: POST", "Sec-Fetch-Site: cross-site", "Origin: https://evil.example")
				}
			}
			v.unharmed(t)
			w.noPanic()
		})
	}
}

// TestG11OwnPages: the site's own pages may, in old browsers and in new ones.
func TestG11OwnPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{wechat: "limit attempts off\nlimit confirms off"})
	a := w.attacker()
	for _, from := range [][]string{
		{"Origin: " + w.origin()},
		{"Sec-Fetch-Site: same-origin"},
		{"Origin: " + w.origin(), "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"},
	} {
		for i, want := range []int{
			http.StatusCreated, http.StatusNoContent, http.StatusConflict, http.StatusOK, http.StatusOK, http.StatusOK,
			http.StatusSeeOther, http.StatusSeeOther, http.StatusSeeOther,
			http.StatusBadRequest, http.StatusBadRequest, http.StatusSeeOther, // this site asks for no address
		} {
			v := w.victim()
			change := v.changes()[i]
			if got := v.send(a, change, from...); got.Status != want {
				t.Errorf("%s with %q: %d, want %d: %.200s", change[0], from, got.Status, want, got.Body)
			}
		}
	}
}
