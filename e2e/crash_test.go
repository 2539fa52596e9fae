// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// TestKilledAndRestarted: the process is killed while people sign in and out.
// Whatever was acknowledged is as it was: sessions live, logouts hold, people are
// the same users. Only attempts under way are lost, and the page begins new ones.
func TestKilledAndRestarted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{wechat: "limit attempts off\nlimit confirms off"})
	stays, leaves, everywhere := w.signIn("alice"), w.signIn("bob"), w.signIn("carol")
	second := w.signIn("carol")
	id := stays.userID()
	planted := header("Cookie", leaves.cookieValue())
	for _, b := range []*browser{everywhere, second} {
		if !b.signedIn() {
			t.Fatal("not signed in")
		}
	}
	old := []string{everywhere.cookieValue(), second.cookieValue()}
	leaves.do(http.MethodPost, "/_wechat/logout", url.Values{})
	second.do(http.MethodPost, "/_wechat/logout", url.Values{"everywhere": {"true"}})
	lost := w.browser().begin()
	acknowledged := w.churn()
	w.start()
	if !stays.signedIn() || stays.userID() != id {
		t.Errorf("the session does not survive, or is another user's")
	}
	fresh := w.browser()
	if got := fresh.do(http.MethodGet, "/", nil, planted); got.Status != http.StatusUnauthorized {
		t.Errorf("after the restart the cookie from before the logout passes: %d", got.Status)
	}
	for _, cookie := range old {
		if got := fresh.do(http.MethodGet, "/", nil, header("Cookie", cookie)); got.Status != http.StatusUnauthorized {
			t.Errorf("after the restart a cookie from before the logout everywhere passes: %d", got.Status)
		}
	}
	for cookie, signedIn := range acknowledged {
		if got := fresh.do(http.MethodGet, "/", nil, header("Cookie", cookie)); (got.Status == http.StatusOK) != signedIn {
			t.Errorf("an acknowledged session: %d, want it to live: %v", got.Status, signedIn)
		}
	}
	if got := lost.browser.do(http.MethodGet, "/_wechat/attempts/"+lost.ID, nil); got.Status != http.StatusNotFound {
		t.Errorf("the attempt that was under way: %d %s", got.Status, got.Body)
	}
	w.signInWith(lost.browser, "dave")
	again := w.signIn("alice")
	if got := again.userID(); got != id {
		t.Errorf("alice is user %q, and was %q", got, id)
	}
}

// churn signs many people in and every other one out until the process is killed
// in their midst, and returns the cookies of those whose last step was answered:
// whether they are signed in.
func (w *world) churn() map[string]bool {
	w.t.Helper()
	var mu sync.Mutex
	acknowledged := make(map[string]bool)
	enough := make(chan struct{})
	var once sync.Once
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			note := func(cookie string, known, signedIn bool) {
				mu.Lock()
				defer mu.Unlock()
				delete(acknowledged, cookie)
				if known {
					acknowledged[cookie] = signedIn
				}
				if len(acknowledged) >= 20 {
					once.Do(func() { close(enough) })
				}
			}
			for n := 0; w.visit(fmt.Sprintf("person %d %d", i, n), n%2 == 1, note); n++ {
			}
		})
	}
	await(w.t, enough, "the twentieth answer")
	w.kill()
	all.Wait()
	return acknowledged
}

// visit signs a person in, and out again. It tells note after each step what the
// gateway has said of the cookie, and before each that this is not known; and
// returns false once the gateway is gone.
func (w *world) visit(person string, andLeave bool, note func(cookie string, known, signedIn bool)) bool {
	b, phone := w.browser(), w.wechat.Phone(person)
	a := attempt{browser: b}
	status, body := b.try("/_wechat/attempts", "")
	if status != http.StatusCreated || json.Unmarshal(body, &a) != nil {
		return false
	}
	d, err := phone.Scan(w.t.Context(), a.QR.URL)
	if err != nil || d.Err != nil || len(d.Reply.Links()) == 0 {
		return false
	}
	resp, err := phone.Browser().PostForm(d.Reply.Links()[0], url.Values{"choice": {a.Number}})
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	if status, _ := b.try("/_wechat/attempts/"+a.ID+"/session", ""); status != http.StatusOK {
		return false
	}
	cookie := b.cookieValue()
	note(cookie, true, true)
	if !andLeave {
		return true
	}
	note(cookie, false, false)
	status, _ = b.try("/_wechat/logout", "everywhere=false")
	note(cookie, status == http.StatusSeeOther, false)
	return status == http.StatusSeeOther
}

// try is a POST to a gateway that may go away meanwhile: the status is 0 then.
func (b *browser) try(path, form string) (status int, body []byte) {
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.origin+path, strings.NewReader(form))
	if err != nil {
		return 0, nil
	}
	req.Header.Set("Origin", b.origin)
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}
