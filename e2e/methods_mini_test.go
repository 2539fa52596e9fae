// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// TestMiniQR walks the whole way: the code on the page opens the mini program,
// wx.login says who has scanned it, and the number on the page signs it in.
func TestMiniQR(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{openPlatform: "ours", options: options{gate: "wechat_auth {\ntitle 我的网站\n}"}})
	phone, b := m.wechat.Phone("alice"), m.browser()
	a := b.beginBy("mini_qr")
	stream := a.stream()
	stream.expect("pending")
	page := m.openMini(phone, a)
	if page.Path != "pages/login/login" || page.Enter != wechattest.EnterByAlbum {
		t.Errorf("the code opens %+v", page)
	}
	got := m.request(page, miniAppID, "scan", map[string]string{"scene": page.Scene(), "code": page.Login()})
	stream.expect("scanned")
	said := got.json(t)
	client, _ := said["client"].(map[string]any)
	choices, _ := said["choices"].([]any)
	if got.Status != http.StatusOK || said["site"] != "我的网站" || said["host"] != m.addr || client["address"] != "127.0.0.1" ||
		said["confirm"] != "number" || len(choices) != 3 || !slices.Contains(choices, any(a.Number)) || said["created_at"] == nil || said["expires_at"] == nil {
		t.Fatalf("scan: %d %s", got.Status, got.Body)
	}
	a.stays("scanned", "scan alone")
	code, err := page.GetPhoneNumber(true)
	if err != nil {
		t.Fatal(err)
	}
	ticket, _ := said["ticket"].(string)
	got = m.request(page, miniAppID, "confirm", map[string]string{"ticket": ticket, "number": a.Number, "nickname": "小明 & Co", "phone_code": code})
	stream.expect("confirmed")
	if got.Status != http.StatusOK || got.json(t)["state"] != "confirmed" {
		t.Fatalf("confirm: %d %s", got.Status, got.Body)
	}
	if got := a.session(); got.Status != http.StatusOK || got.json(t)["redirect"] != "/after?x=1" {
		t.Fatalf("POST session: %d %s", got.Status, got.Body)
	}
	stream.expect("consumed")
	header := m.identity(b)
	for name, want := range map[string]string{
		"X-User-Openid": phone.OpenID(miniAppID), "X-User-Unionid": phone.UnionID(miniAppID),
		"X-User-Phone": "+86" + phone.PhoneNumber().National, "X-User-Name": url.PathEscape("小明 & Co"),
	} {
		if got := header.Values(name); len(got) != 1 || got[0] != want || want == "" {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestMiniRefused: whoever declines, or chooses a number that the browser does not
// show, ends the attempt; the right number then comes too late. What is no number
// is no answer.
func TestMiniRefused(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	phone := m.wechat.Phone("alice")
	for _, tt := range []struct {
		name, what    string
		number        func(right string) string
		status, again int // of the answer, and of the right number after it
		state, reason string
	}{
		{"cancel", "cancel", func(string) string { return "" }, 200, 200, "cancelled", "phone"},
		{"wrong number", "confirm", otherNumber, 403, 403, "denied", "wrong_number"},
	} {
		a := m.browser().beginBy("mini_qr")
		page := m.openMini(phone, a)
		ticket := m.ticket(page)
		for _, no := range []string{"", "x", "123", a.Number + " ", "yes", "cancel", "revoke"} {
			if got := m.request(page, miniAppID, "confirm", map[string]string{"ticket": ticket, "number": no}); got.Status != http.StatusBadRequest {
				t.Errorf("the number %q: %d %s", no, got.Status, got.Body)
			}
		}
		a.stays("scanned", "no answer")
		if got := m.request(page, miniAppID, tt.what, map[string]string{"ticket": ticket, "number": tt.number(a.Number)}); got.Status != tt.status {
			t.Errorf("%s: %d %s", tt.name, got.Status, got.Body)
		}
		got := m.request(page, miniAppID, "confirm", map[string]string{"ticket": ticket, "number": a.Number})
		if got.Status != tt.again || strings.Contains(got.Body, `"confirmed"`) {
			t.Errorf("%s, then the right number: %d %s", tt.name, got.Status, got.Body)
		}
		a.stays(tt.state, tt.name)
		if a.Reason != tt.reason {
			t.Errorf("%s: the reason is %q", tt.name, a.Reason)
		}
		got = m.request(page, miniAppID, "scan", map[string]string{"scene": page.Scene(), "code": page.Login()})
		if got.Status < 400 || strings.Contains(got.Body, ticket) {
			t.Errorf("%s, then the scan again: %d %s", tt.name, got.Status, got.Body)
		}
	}
}

// otherNumber is a number that is not the right one.
func otherNumber(right string) string {
	if right == "42" {
		return "43"
	}
	return "42"
}

// TestMiniAfterwards: an answer that is repeated is told what the attempt is, and
// changes nothing; neither does another answer once the browser is signed in.
func TestMiniAfterwards(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	phone, b := m.wechat.Phone("alice"), m.browser()
	a := b.beginBy("mini_qr")
	page := m.openMini(phone, a)
	ticket := m.ticket(page)
	confirm := func(number, state string) {
		t.Helper()
		got := m.request(page, miniAppID, "confirm", map[string]string{"ticket": ticket, "number": number})
		if got.Status != http.StatusOK || got.json(t)["state"] != state {
			t.Errorf("the number %s, once it is %s: %d %s", number, state, got.Status, got.Body)
		}
	}
	confirm(a.Number, "confirmed")
	confirm(a.Number, "confirmed")
	confirm(otherNumber(a.Number), "confirmed")
	a.consume()
	confirm(a.Number, "consumed")
	confirm("revoke", "consumed")
	if a.state() != "consumed" || !b.signedIn() {
		t.Errorf("the attempt is %s", a.State)
	}
	m.isSignedInAs(b, phone, miniAppID)
}

// TestMiniNotMe: a person was talked into confirming, and says so on the last screen
// of the mini program. The browser that is signed in is so no more, what it has open
// is closed, and one that has yet to ask for its session gets none.
func TestMiniNotMe(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	ended := m.upstream.longLived()
	victim, bystander := m.wechat.Phone("victim"), m.browser()
	m.byMini(bystander, victim)
	other := m.connect(bystander)
	for _, consumed := range []bool{true, false} {
		b := m.browser()
		a := b.beginBy("mini_qr")
		page := m.openMini(victim, a)
		ticket := map[string]string{"ticket": m.ticket(page), "number": a.Number}
		if got := m.request(page, miniAppID, "confirm", ticket); got.Status != http.StatusOK {
			t.Fatalf("confirm: %d %s", got.Status, got.Body)
		}
		notMe := func(state string, disowned any) {
			t.Helper()
			got := m.request(page, miniAppID, "cancel", ticket)
			if said := got.json(t); got.Status != http.StatusOK || said["state"] != state || said["disowned"] != disowned {
				t.Errorf("not me: %d %s", got.Status, got.Body)
			}
		}
		if !consumed {
			notMe("cancelled", nil)
			a.stays("cancelled", "not me")
			notMe("cancelled", nil)
			continue
		}
		a.consume()
		open := m.connect(b)
		notMe("consumed", true)
		open.expectEnd(ended)
		if b.signedIn() {
			t.Error("the browser is still signed in")
		}
		notMe("consumed", true)
		if got := m.request(page, miniAppID, "confirm", ticket); got.Status != http.StatusOK || b.signedIn() {
			t.Errorf("confirm once more: %d %s", got.Status, got.Body)
		}
	}
	other.expectAlive()
	if n := strings.Count(m.output.String(), `"msg":"sign-in disowned on the phone"`); n != 2 {
		t.Errorf("it is logged %d times", n)
	}
}

// TestMiniDriveBy: a page that a visitor happens upon has the visitor's browser call
// the endpoints of the mini program. WeChat on a computer, which is built on a browser,
// is told from it.
func TestMiniDriveBy(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{limits: "limit confirms 1/1h"})
	a := m.browser().beginBy("mini_qr")
	page := m.openMini(m.wechat.Phone("alice"), a)
	path := "/_wechat/mini/" + miniAppID + "/"
	body := map[string]string{"scene": strings.Repeat("A", 26), "code": "x", "ticket": strings.Repeat("A", 26)}
	for _, action := range []string{"scan", "confirm", "cancel"} {
		for _, site := range []string{"cross-site", "same-site"} {
			script := m.browser().do(http.MethodPost, path+action, body, header("Sec-Fetch-Site", site))
			if script.Status != http.StatusForbidden || script.json(t)["error"] != "cross_origin" {
				t.Errorf("%s, %s: %d %s", action, site, script.Status, script.Body)
			}
		}
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", ""} {
			form := m.browser().do(http.MethodPost, path+action, body, header("Content-Type", kind))
			if form.Status != http.StatusUnsupportedMediaType || form.json(t)["error"] != "unsupported_media_type" {
				t.Errorf("%s, %q: %d %s", action, kind, form.Status, form.Body)
			}
		}
	}
	// None of these has used up a turn of the address, or was asked of WeChat.
	if calls := m.mini.Calls(wechattest.EndpointCode2Session); calls != 0 {
		t.Errorf("WeChat is asked %d times", calls)
	}
	b := &browser{t: t, client: page.Client(), origin: m.origin()}
	for _, want := range []int{http.StatusNotFound, http.StatusTooManyRequests} {
		if got := b.do(http.MethodPost, path+"scan", body, header("Sec-Fetch-Site", "cross-site")); got.Status != want {
			t.Errorf("WeChat on a computer: %d %s, want %d", got.Status, got.Body, want)
		}
	}
	m.ticket(page)
}

// TestMiniNoLinks: an individual's mini program has no links. The operator is told so
// and what to do, once, phones get the code, and WeChat is not asked each time.
func TestMiniNoLinks(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{individual: true})
	for range 5 {
		if a := m.browser().beginBy("mini_qr", true); a.Link != "" || a.Picture.Image == "" {
			t.Errorf("link %q, image %.30q", a.Link, a.Picture.Image)
		}
	}
	if calls := m.mini.Calls(wechattest.EndpointURLLink); calls != 1 {
		t.Errorf("WeChat is asked for a link %d times", calls)
	}
	m.loggedOnce(miniAppID, "links off")
}

// TestMiniStrangers: who has not scanned first, has a code of another app, or a
// ticket of another attempt or kind, gets nothing and changes nothing.
func TestMiniStrangers(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	alice, mallory := m.wechat.Phone("alice"), m.wechat.Phone("mallory")
	b := m.browser()
	a := b.beginBy("mini_qr")
	page, hers := m.openMini(alice, a), m.openMini(mallory, a)
	used := page.Login()
	scan := func(p *wechattest.MiniPage, appID, scene, code string) answer {
		return m.request(p, appID, "scan", map[string]string{"scene": scene, "code": code})
	}
	other, err := alice.OpenMiniProgram(otherMiniID)
	if err != nil {
		t.Fatal(err)
	}
	phoneCode, err := page.GetPhoneNumber(true)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		got    answer
		status int
	}{
		"a code of another mini program":  {scan(page, miniAppID, page.Scene(), other.Login()), 403},
		"the scene of another":            {scan(other, otherMiniID, page.Scene(), other.Login()), 404},
		"a code for a phone number":       {scan(page, miniAppID, page.Scene(), phoneCode), 403},
		"an invented code":                {scan(page, miniAppID, page.Scene(), strings.Repeat("0", 32)), 403},
		"no code":                         {scan(page, miniAppID, page.Scene(), ""), 403},
		"an invented scene":               {scan(page, miniAppID, strings.Repeat("A", 26), page.Login()), 404},
		"the attempt's id":                {scan(page, miniAppID, a.ID, page.Login()), 404},
		"an official account's app id":    {scan(page, appID, page.Scene(), page.Login()), 404},
		"an app id of nobody":             {scan(page, "wx0000000000000000", page.Scene(), page.Login()), 404},
		"an openid in place of the proof": {m.request(page, miniAppID, "scan", map[string]string{"scene": page.Scene(), "code": alice.OpenID(miniAppID), "openid": alice.OpenID(miniAppID)}), 403},
	} {
		if tt.got.Status != tt.status || strings.Contains(tt.got.Body, `"ticket"`) {
			t.Errorf("%s: %d %s", name, tt.got.Status, tt.got.Body)
		}
	}
	a.stays("pending", "all of these")

	got := scan(page, miniAppID, page.Scene(), used)
	ticket, _ := got.json(t)["ticket"].(string)
	if got.Status != http.StatusOK || ticket == "" {
		t.Fatalf("scan: %d %s", got.Status, got.Body)
	}
	if got := scan(page, miniAppID, page.Scene(), used); got.Status != http.StatusForbidden || strings.Contains(got.Body, ticket) {
		t.Errorf("the code of wx.login again: %d %s", got.Status, got.Body)
	}
	if got := m.ticket(page); got != ticket {
		t.Errorf("who scans twice gets another ticket")
	}
	if got := scan(hers, miniAppID, page.Scene(), hers.Login()); got.Status != http.StatusConflict || strings.Contains(got.Body, ticket) || strings.Contains(got.Body, "choices") {
		t.Errorf("the second scanner: %d %s", got.Status, got.Body)
	}
	m.ticketIsNothingElse(a, page, other, ticket)
	a.stays("scanned", "what strangers do")
	if got := m.request(page, miniAppID, "confirm", map[string]string{"ticket": ticket, "number": a.Number}); got.Status != http.StatusOK {
		t.Fatalf("confirm: %d %s", got.Status, got.Body)
	}
	if got := scan(hers, miniAppID, page.Scene(), hers.Login()); got.Status != http.StatusConflict {
		t.Errorf("the second scanner, once it is confirmed: %d %s", got.Status, got.Body)
	}
	a.consume()
	m.isSignedInAs(b, alice, miniAppID)
}

// ticketIsNothingElse: the ticket of a mini program opens no page on the web and is
// not another mini program's, and the link of the chat is no ticket.
func (m *methods) ticketIsNothingElse(a *shown, page, other *wechattest.MiniPage, ticket string) {
	m.t.Helper()
	b, phone := m.browser(), m.wechat.Phone("alice")
	link := m.scan(phone, m.browser().begin())
	token := link[strings.LastIndex(link, "/")+1:]
	for name, got := range map[string]answer{
		"confirm page":         b.get("/_wechat/confirm/" + ticket),
		"confirm form":         b.do(http.MethodPost, "/_wechat/confirm/"+ticket, url.Values{"choice": {a.Number}}),
		"revoke form":          b.do(http.MethodPost, "/_wechat/confirm/"+ticket, url.Values{"choice": {"revoke"}}),
		"another mini program": m.request(other, otherMiniID, "confirm", map[string]string{"ticket": ticket, "number": a.Number}),
		"and to cancel":        m.request(other, otherMiniID, "cancel", map[string]string{"ticket": ticket}),
		"a link as the ticket": m.request(page, miniAppID, "confirm", map[string]string{"ticket": token, "number": a.Number}),
		"and to cancel it":     m.request(page, miniAppID, "cancel", map[string]string{"ticket": token}),
		"the attempt's id":     m.request(page, miniAppID, "confirm", map[string]string{"ticket": a.ID, "number": a.Number}),
		"the scene":            m.request(page, miniAppID, "confirm", map[string]string{"ticket": page.Scene(), "number": a.Number}),
		"nothing":              m.request(page, miniAppID, "cancel", nil),
	} {
		if got.Status != http.StatusNotFound {
			m.t.Errorf("the ticket as %s: %d %s", name, got.Status, got.Body)
		}
	}
	if got := m.openLink(phone, link); got.Status != http.StatusOK || len(offered(got.Body)) != 3 {
		m.t.Errorf("the chat's own attempt does not wait any more: %d", got.Status)
	}
}

// TestMiniOnPhone: a phone cannot scan its own screen. A link opens the mini
// program there; where WeChat allows none the page shows the code all the same.
func TestMiniOnPhone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options methodOptions
		linked  bool
	}{
		{"link", methodOptions{}, true},
		{"individual", methodOptions{individual: true}, false},
		{"links off", methodOptions{mini: "links off"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, tt.options)
			phone, b := m.wechat.Phone("alice"), m.browser()
			a := b.beginBy("mini_qr", true)
			if (a.Link != "") != tt.linked || (a.Picture.Image != "") == tt.linked {
				t.Fatalf("link %q, image %.30q", a.Link, a.Picture.Image)
			}
			if calls := m.mini.Calls(wechattest.EndpointURLLink); tt.name == "links off" && calls > 0 {
				t.Errorf("WeChat is asked %d times for a link", calls)
			}
			var page *wechattest.MiniPage
			if tt.linked {
				var err error
				if page, err = phone.OpenURLLink(a.Link); err != nil || page.Path != "pages/login/login" {
					t.Fatalf("the link opens %+v (%v)", page, err)
				}
			} else {
				page = m.openMini(phone, a)
			}
			if got := m.request(page, miniAppID, "confirm", map[string]string{"ticket": m.ticket(page), "number": a.Number}); got.Status != http.StatusOK {
				t.Fatalf("confirm: %d %s", got.Status, got.Body)
			}
			a.consume()
			m.isSignedInAs(b, phone, miniAppID)
		})
	}
}

// TestMiniTap: with confirm tap there is no number, and a tap is enough.
func TestMiniTap(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{mini: "confirm tap"})
	b, phone := m.browser(), m.wechat.Phone("alice")
	a := b.beginBy("mini_qr")
	page := m.openMini(phone, a)
	got := m.request(page, miniAppID, "scan", map[string]string{"scene": page.Scene(), "code": page.Login()})
	ticket, _ := got.json(t)["ticket"].(string)
	if a.Number != "" || got.json(t)["confirm"] != "tap" || got.json(t)["choices"] != nil {
		t.Errorf("number %q; scan: %s", a.Number, got.Body)
	}
	if got := m.request(page, miniAppID, "confirm", map[string]string{"ticket": ticket}); got.Status != http.StatusOK {
		t.Fatalf("confirm: %d %s", got.Status, got.Body)
	}
	a.consume()
	m.isSignedInAs(b, phone, miniAppID)
}

// TestQ3MiniAtOnce: fifty people scan one code at once, and two hundred requests
// consume the attempt at once. One person owns it, and there is one session.
func TestQ3MiniAtOnce(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{})
	b := m.browser()
	a := b.beginBy("mini_qr")
	var owner atomic.Pointer[wechattest.MiniPage]
	var ticket atomic.Value
	content, err := wechattest.ReadCode(a.picture()) // once: it takes long
	if err != nil {
		t.Fatal(err)
	}
	statuses := together(50, func(i int) int {
		page, err := m.wechat.Phone(fmt.Sprint("person", i)).ScanMiniCode(content)
		if err != nil {
			t.Error(err)
			return 0
		}
		got := m.request(page, miniAppID, "scan", map[string]string{"scene": page.Scene(), "code": page.Login()})
		if got.Status == http.StatusOK {
			owner.Store(page)
			ticket.Store(got.json(t)["ticket"])
		}
		return got.Status
	})
	if statuses[http.StatusOK] != 1 || statuses[http.StatusConflict] != 49 {
		t.Fatalf("fifty scans: %v", statuses)
	}
	id, _ := ticket.Load().(string)
	answers := together(50, func(int) int {
		return m.request(owner.Load(), miniAppID, "confirm", map[string]string{"ticket": id, "number": a.Number}).Status
	})
	if answers[http.StatusOK] != 50 {
		t.Errorf("fifty answers: %v", answers)
	}
	if got := together(200, func(int) int { return a.session().Status }); got[http.StatusOK] != 1 || got[http.StatusGone] != 199 {
		t.Errorf("two hundred requests for the session: %v", got)
	}
	if n := strings.Count(m.output.String(), `"msg":"signed in"`); n != 1 || !b.signedIn() {
		t.Errorf("%d sessions", n)
	}
}

// together calls fn n times at once, and counts what it returns.
func together(n int, fn func(i int) int) map[int]int {
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		counts = make(map[int]int)
		begin  = make(chan struct{})
	)
	for i := range n {
		all.Go(func() {
			<-begin
			got := fn(i)
			mu.Lock()
			counts[got]++
			mu.Unlock()
		})
	}
	close(begin)
	all.Wait()
	return counts
}

// TestQ4MiniGuessing: tickets, scenes and codes that a stranger makes up hit
// nothing, WeChat is not asked about them, and who guesses is slowed down. The others
// are served, whether they come from elsewhere or share the stranger's address (Q14).
func TestQ4MiniGuessing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what string
		body map[string]string
	}{
		{"confirm", map[string]string{"ticket": strings.Repeat("A", 26), "number": "42"}},
		{"cancel", map[string]string{"ticket": "x"}},
		{"scan", map[string]string{"scene": strings.Repeat("A", 26), "code": strings.Repeat("0", 32)}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			m := newMethods(t, methodOptions{limits: "limit confirms 5/1m"})
			a := m.browser().beginBy("mini_qr")
			alice, mallory := m.openMini(m.wechat.Phone("alice"), a), m.wechat.Phone("mallory")
			guess := m.openMini(mallory, a)
			statuses := together(20, func(int) int { return m.request(guess, miniAppID, tt.what, tt.body).Status })
			if statuses[http.StatusNotFound] != 5 || statuses[http.StatusTooManyRequests] != 15 {
				t.Errorf("twenty guesses: %v", statuses)
			}
			if calls := m.mini.Calls(wechattest.EndpointCode2Session); calls != 0 {
				t.Errorf("WeChat is asked %d times", calls)
			}
			a.stays("pending", "guessing")
			elsewhere := m.browserAt("127.0.0.2")
			if got := elsewhere.do(http.MethodPost, "/_wechat/mini/"+miniAppID+"/scan", map[string]string{"scene": alice.Scene(), "code": alice.Login()}); got.Status != http.StatusOK {
				t.Errorf("from elsewhere: %d %s", got.Status, got.Body)
			}
			ticket := m.ticket(alice)
			if got := m.request(alice, miniAppID, "confirm", map[string]string{"ticket": ticket, "number": a.Number}); got.Status != http.StatusOK {
				t.Errorf("from the same address: %d %s", got.Status, got.Body)
			}
			a.consume()
			// The links of the chat have turns of their own.
			m.signIn("bob")
		})
	}
}

// TestQ14MiniCodes: a stranger sends codes that are none for an attempt that waits,
// many at once. WeChat is asked a handful of times, and people who share the address
// sign in.
func TestQ14MiniCodes(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{limits: "limit attempts off\nlimit confirms 5/1h"})
	alice, mallory := m.wechat.Phone("alice"), m.wechat.Phone("mallory")
	a := m.browser().beginBy("mini_qr")
	page := m.openMini(mallory, a)
	wrong := map[string]string{"scene": page.Scene(), "code": strings.Repeat("0", 32)}
	statuses := together(50, func(int) int { return m.request(page, miniAppID, "scan", wrong).Status })
	if statuses[http.StatusForbidden] != 5 || statuses[http.StatusTooManyRequests] != 45 {
		t.Errorf("fifty wrong codes: %v", statuses)
	}
	if calls := m.mini.Calls(wechattest.EndpointCode2Session); calls != 5 {
		t.Errorf("WeChat is asked %d times", calls)
	}
	a.stays("pending", "wrong codes")
	for range 3 {
		m.byMini(m.browser(), alice)
	}
}
