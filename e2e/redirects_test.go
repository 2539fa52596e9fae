// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

//go:embed testdata/openredirects.txt
var openRedirects string

// redirectCorpus returns the corpus for a site.
func redirectCorpus(t *testing.T, host string) (corpus []string) {
	t.Helper()
	for line := range strings.Lines(openRedirects) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		target, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		corpus = append(corpus, strings.ReplaceAll(target, "GOOD", host))
	}
	return corpus
}

var pageData = regexp.MustCompile(`(?s)<script type="application/json" id="page-data"[^>]*>(.*?)</script>`)

// returnTo is where the login page goes once the visitor is signed in.
func returnTo(t *testing.T, page answer) string {
	t.Helper()
	var data struct{ ReturnTo string }
	found := pageData.FindStringSubmatch(page.Body)
	if found == nil || json.Unmarshal([]byte(found[1]), &data) != nil {
		t.Fatalf("no login page: %d %s", page.Status, page.Body)
	}
	return data.ReturnTo
}

// origins has a real browser say where each target leads to from a page.
func origins(t *testing.T, tab *chrometest.Tab, base string, targets []string) []string {
	t.Helper()
	list, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	return chrometest.Eval[[]string](tab, fmt.Sprintf(
		`%s.map(x => { try { const u = new URL(x, %q); return u.protocol + '//' + u.host } catch { return 'nowhere' } })`, list, base))
}

// TestG12OpenRedirects: Mallory sends Alice a link to the real login page of the
// real site, with an address of his own to go to afterwards, spelled so that the
// gateway takes it for a path and her browser for another site. The browser
// itself is the judge.
func TestG12OpenRedirects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm off", wechat: "limit attempts off"})
	corpus := redirectCorpus(t, w.addr)
	tab := chrometest.Open(t)
	elsewhere := 0
	for _, origin := range origins(t, tab, w.origin()+"/_wechat/login", corpus) {
		if origin != w.origin() {
			elsewhere++
		}
	}
	if len(corpus) < 150 || elsewhere < 100 {
		t.Errorf("of %d addresses only %d lead elsewhere: the corpus is too tame", len(corpus), elsewhere)
	}
	signedIn, stranger, raw := w.browser(), w.browser(), w.attacker()
	redirectAfter(t, w, signedIn, "/")
	var targets, from []string
	add := func(how, address, target string) {
		targets, from = append(targets, target), append(from, fmt.Sprintf("%s %.80q", how, address))
	}
	for i, address := range corpus {
		query := "/_wechat/login?return_to=" + url.QueryEscape(address)
		got := signedIn.get(query)
		if got.Status != http.StatusSeeOther || len(got.Header["Location"]) != 1 {
			t.Errorf("GET login for %q: %d %q", address, got.Status, got.Header["Location"])
		}
		add("GET login, signed in,", address, got.Header.Get("Location"))
		add("GET login", address, returnTo(t, stranger.get(query)))
		add("GET login twice", address, returnTo(t, stranger.get(query+"&return_to=/x")))
		for _, line := range []string{address, "/_wechat/../" + address, "/" + address, w.origin() + address} {
			raw.hangUp()
			if page := raw.get(line, "Accept: text/html"); strings.Contains(page.Body, "page-data") {
				add("in place of "+line, address, returnTo(t, page))
			}
		}
		if i%2 == 0 || strings.HasPrefix(address, "/") { // each of these is a whole sign-in
			add("POST attempts", address, redirectAfter(t, w, w.browser(), address))
		}
	}
	for i, origin := range origins(t, tab, w.origin()+"/_wechat/login", targets) {
		if origin != w.origin() || !strings.HasPrefix(targets[i], "/") {
			t.Errorf("%s leads to %q at %s", from[i], targets[i], origin)
		}
	}
	// And once more, as the browser resolves it on another page of the site.
	for i, origin := range origins(t, tab, w.origin()+"/a/b;c?d#e", targets) {
		if origin != w.origin() {
			t.Errorf("%s leads to %q at %s", from[i], targets[i], origin)
		}
	}
	w.noPanic()
}

// redirectAfter signs somebody in, with an address to return to, where a scan is
// all that it takes.
func redirectAfter(t *testing.T, w *world, b *browser, address string) string {
	t.Helper()
	begun := b.do(http.MethodPost, "/_wechat/attempts", map[string]string{"return_to": address})
	a := &attempt{browser: b}
	if err := json.Unmarshal([]byte(begun.Body), a); err != nil || begun.Status != http.StatusCreated {
		t.Fatalf("POST attempts: %d %s", begun.Status, begun.Body)
	}
	if d, err := w.wechat.Phone("bob").Scan(t.Context(), a.QR.URL); err != nil || d.Err != nil {
		t.Fatal(err, d.Err)
	}
	got := a.session()
	if got.Status != http.StatusOK {
		t.Fatalf("POST session: %d %s", got.Status, got.Body)
	}
	target, _ := got.json(t)["redirect"].(string)
	return target
}

// TestG12HonestAddresses: who is to come back to a page of the site does.
func TestG12HonestAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{account: "confirm off"})
	signedIn, stranger := w.browser(), w.browser()
	redirectAfter(t, w, signedIn, "/")
	for _, address := range []string{
		"/", "/a/b", "/a?b=c&d=%2f%2fe", "/%E4%BD%A0%E5%A5%BD/?q=%E4%BD%A0", "/docs/my%20file.pdf", "/a/@b:c;d=e,f!(g)*'h~i", "/search?next=https://example.com//x", "/a#b",
	} {
		query := "/_wechat/login?return_to=" + url.QueryEscape(address)
		if got := signedIn.get(query).Header.Get("Location"); got != address {
			t.Errorf("%s: signed in, one comes to %q", address, got)
		}
		if got := returnTo(t, stranger.get(query)); got != address {
			t.Errorf("%s: from the login page one comes to %q", address, got)
		}
		if got := redirectAfter(t, w, w.browser(), address); got != address {
			t.Errorf("%s: from an attempt one comes to %q", address, got)
		}
		if path, _, fragment := strings.Cut(address, "#"); !fragment {
			if got := returnTo(t, stranger.get(path)); got != path {
				t.Errorf("%s: from the page in its place one comes to %q", address, got)
			}
		}
	}
}
