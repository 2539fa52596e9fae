// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

const (
	miniAppID    = "wx00000000000000a1"
	otherMiniID  = "wx00000000000000a2"
	websiteAppID = "wx00000000000000b1"
)

// methods is a world with an account of every kind.
type methods struct {
	*world
	mini, otherMini *wechattest.MiniProgramHandle
	website         *wechattest.AccountHandle
	// picture is the QR code of the official account.
	picture []byte
}

// methodOptions change what newMethods makes.
type methodOptions struct {
	options
	mini       string // more lines of the mini_program block
	individual bool   // the mini program belongs to a person
	// openPlatform names the account of the open platform to which all are bound.
	openPlatform string
	limits       string // default: none
}

// newMethods is newWorld with a mini program, another one, and a website besides
// the official account, which takes codes in the chat.
func newMethods(t testing.TB, o methodOptions) *methods {
	t.Helper()
	m := &methods{picture: somePicture(t)}
	file := filepath.Join(t.TempDir(), "account.png")
	if err := os.WriteFile(file, m.picture, 0o600); err != nil {
		t.Fatal(err)
	}
	if o.limits == "" {
		o.limits = "limit attempts off\nlimit confirms off"
	}
	o.account += "\nchat_code on\nqr_image " + file
	block := "mini_program %s {\nsecret {env.WECHAT_SECRET}\n%s\n}\n"
	o.wechat += "\n" + o.limits + "\n" + fmt.Sprintf(block, miniAppID, o.mini) + fmt.Sprintf(block, otherMiniID, "") +
		"website " + websiteAppID + " {\nsecret {env.WECHAT_SECRET}\n}\n"
	o.prepare = func(w *world) { m.world = w; m.register(o) }
	newWorld(t, o.options)
	return m
}

// register tells WeChat of the accounts.
func (m *methods) register(o methodOptions) {
	m.t.Helper()
	err := m.account.Configure(func(a *wechattest.Account) { a.CallbackDomain, a.OpenPlatform = m.addr, o.openPlatform })
	if err != nil {
		m.t.Fatal(err)
	}
	add := func(id string) *wechattest.MiniProgramHandle {
		h, err := m.wechat.AddMiniProgram(wechattest.MiniProgram{
			Account:    wechattest.Account{AppID: id, Secret: secret, OpenPlatform: o.openPlatform},
			Individual: o.individual, Pages: []string{"pages/index/index", "pages/login/login"},
		})
		if err != nil {
			m.t.Fatal(err)
		}
		return h
	}
	m.mini, m.otherMini = add(miniAppID), add(otherMiniID)
	m.website, err = m.wechat.AddAccount(wechattest.Account{
		AppID: websiteAppID, Secret: secret, Kind: wechattest.Website, CallbackDomain: m.addr, OpenPlatform: o.openPlatform,
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// noSecrets is world.noSecrets for all accounts.
func (m *methods) noSecrets(text string) {
	m.t.Helper()
	m.world.noSecrets(text)
	all := slices.Concat(m.account.PersonSecrets(), m.website.PersonSecrets(), m.mini.AccessTokens(), m.mini.SessionKeys())
	for _, s := range all {
		if strings.Contains(text, s) {
			m.t.Errorf("a code, token or session key is in the output: %s", lineWith(text, s))
		}
	}
}

func somePicture(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// shown is an attempt of any method, with what the page shows of it.
type shown struct {
	*attempt
	Method   string `json:"method"`
	Link     string `json:"link"`
	Redirect string `json:"redirect"`
	Frame    string `json:"frame"`
	Code     string `json:"code"`
	Picture  struct {
		Image string `json:"image"`
	} `json:"qr"`
}

// beginBy begins an attempt of a method; onPhone says that the browser cannot scan.
func (b *browser) beginBy(method string, onPhone ...bool) *shown {
	b.t.Helper()
	body := map[string]any{"method": method, "return_to": "/after?x=1", "phone": len(onPhone) > 0 && onPhone[0]}
	got := b.do(http.MethodPost, "/_wechat/attempts", body)
	if got.Status != http.StatusCreated {
		b.t.Fatalf("POST attempts, %s: %d %s", method, got.Status, got.Body)
	}
	s := &shown{attempt: &attempt{browser: b}}
	for _, v := range []any{s, s.attempt} {
		if err := json.Unmarshal([]byte(got.Body), v); err != nil {
			b.t.Fatal(err)
		}
	}
	if s.State != "pending" || s.Method != method {
		b.t.Fatalf("POST attempts, %s: %s", method, got.Body)
	}
	return s
}

// picture returns the image that the page shows.
func (s *shown) picture() []byte {
	s.browser.t.Helper()
	_, raw, ok := strings.Cut(s.Picture.Image, ";base64,")
	data, err := base64.StdEncoding.DecodeString(raw)
	if !ok || err != nil || !strings.HasPrefix(s.Picture.Image, "data:image/") {
		s.browser.t.Fatalf("the attempt shows the image %.60q (%v)", s.Picture.Image, err)
	}
	return data
}

// oauthState is the state with which the attempt goes to WeChat.
func (s *shown) oauthState() string {
	s.browser.t.Helper()
	u, err := url.Parse(s.Redirect)
	if err != nil {
		s.browser.t.Fatal(err)
	}
	return u.Query().Get("state")
}

// stays fails the test unless the attempt is in that state still, and brings no session.
func (s *shown) stays(state, after string) {
	s.browser.t.Helper()
	if got := s.state(); got != state {
		s.browser.t.Errorf("%s: the attempt is %s, want %s", after, got, state)
	}
	if got := s.session(); got.Status == http.StatusOK || len(got.Header["Set-Cookie"]) > 0 {
		s.browser.t.Errorf("%s: POST session: %d %s", after, got.Status, got.Body)
	}
}

// identity is what the upstream is told of who is signed in.
func (m *methods) identity(b *browser) http.Header {
	m.t.Helper()
	m.upstream.requests()
	if got := b.get("/identity"); got.Status != http.StatusOK {
		m.t.Fatalf("the site: %d", got.Status)
	}
	return m.upstream.last(m.t).Header
}

// isSignedInAs fails the test unless the upstream is told that openid, which the
// person has with that account.
func (m *methods) isSignedInAs(b *browser, phone *wechattest.Phone, account string) {
	m.t.Helper()
	if got, want := m.identity(b).Get("X-User-Openid"), phone.OpenID(account); got != want {
		m.t.Errorf("X-User-Openid is %q, want %q of %s with %s", got, want, phone.Name(), account)
	}
}

// path is the part of an address of the site that browser.do takes.
func (m *methods) path(address string) string {
	m.t.Helper()
	path, ok := strings.CutPrefix(address, m.origin())
	if !ok {
		m.t.Fatalf("%q is no address of the site", address)
	}
	return path
}

// request is wx.request of a page of a mini program.
func (m *methods) request(page *wechattest.MiniPage, appID, what string, body map[string]string) answer {
	m.t.Helper()
	b := &browser{t: m.t, client: page.Client(), origin: m.origin()}
	return b.do(http.MethodPost, "/_wechat/mini/"+appID+"/"+what, body, func(r *http.Request) { r.Header.Del("Origin") })
}

// openMini has a person scan the code on the page.
func (m *methods) openMini(phone *wechattest.Phone, s *shown) *wechattest.MiniPage {
	m.t.Helper()
	page, err := phone.ScanPicture(s.picture())
	if err != nil {
		m.t.Fatal(err)
	}
	return page
}

// ticket is what the mini program gets for the scan that opened it.
func (m *methods) ticket(page *wechattest.MiniPage) string {
	m.t.Helper()
	got := m.request(page, page.AppID, "scan", map[string]string{"scene": page.Scene(), "code": page.Login()})
	ticket, _ := got.json(m.t)["ticket"].(string)
	if got.Status != http.StatusOK || len(ticket) < 26 {
		m.t.Fatalf("scan: %d %s", got.Status, got.Body)
	}
	return ticket
}

// byMini signs a browser in by mini_qr.
func (m *methods) byMini(b *browser, phone *wechattest.Phone) {
	m.t.Helper()
	a := b.beginBy("mini_qr")
	page := m.openMini(phone, a)
	got := m.request(page, miniAppID, "confirm", map[string]string{"ticket": m.ticket(page), "number": a.Number})
	if got.Status != http.StatusOK {
		m.t.Fatalf("confirm: %d %s", got.Status, got.Body)
	}
	a.consume()
}

// agree has a person scan the code on WeChat's page and agree, and returns the
// path that WeChat leads the browser back to.
func (m *methods) agree(phone *wechattest.Phone, s *shown) (path string) {
	m.t.Helper()
	callback, err := m.webLogin(phone, s).Confirm()
	if err != nil {
		m.t.Fatal(err)
	}
	return m.path(callback)
}

// webLogin opens WeChat's page and has a person scan its code.
func (m *methods) webLogin(phone *wechattest.Phone, s *shown) *wechattest.WebLogin {
	m.t.Helper()
	if got := m.outside().get(s.Frame); got.Status != http.StatusOK {
		m.t.Fatalf("WeChat's page: %d", got.Status)
	}
	for _, code := range m.wechat.WebLogins() {
		if code.State != s.oauthState() {
			continue
		}
		login, err := phone.ScanLogin(code.URL)
		if err != nil {
			m.t.Fatal(err)
		}
		return login
	}
	m.t.Fatal("WeChat's page shows no code for this attempt")
	return nil
}

// byWebsite signs a browser in by website_qr.
func (m *methods) byWebsite(b *browser, phone *wechattest.Phone) {
	m.t.Helper()
	if got := b.back(m.agree(phone, b.beginBy("website_qr"))); got.Status != http.StatusSeeOther {
		m.t.Fatalf("callback: %d %s", got.Status, got.Body)
	}
}

// outside is a browser for whole addresses.
func (m *methods) outside() *browser {
	b := m.browser()
	b.origin = ""
	return b
}

// inside is a person's browser in WeChat. It follows no redirect by itself.
func (m *methods) inside(phone *wechattest.Phone) *browser {
	client := *phone.Browser()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{t: m.t, client: &client, origin: m.origin()}
}

// visit is what came of opening an address.
type visit struct {
	answer
	hops []string // the addresses on the way, the first one included
}

// callback is the path by which WeChat led back.
func (v visit) callback(m *methods) string {
	m.t.Helper()
	for _, hop := range v.hops {
		if strings.Contains(hop, "/oauth/callback?") {
			return m.path(hop)
		}
	}
	m.t.Fatalf("WeChat does not lead back: %q", v.hops)
	return ""
}

// follow opens an address and goes where it leads, up to the site's own pages, as
// a browser does that honours Referrer-Policy: it sends no Referer. decision
// answers WeChat's question for consent.
func (m *methods) follow(b *browser, address, decision string) (v visit) {
	m.t.Helper()
	anywhere := &browser{t: b.t, client: b.client}
	for range 10 {
		v.hops = append(v.hops, address)
		v.answer = anywhere.get(address)
		if v.Header.Get("Wechattest-Consent") != "" {
			v.answer = anywhere.do(http.MethodPost, address, url.Values{"decision": {decision}})
		}
		location := v.Header.Get("Location")
		if location == "" {
			m.wantClean(address)
			return v
		}
		if strings.HasPrefix(location, "/") {
			location = m.origin() + location
		}
		address = location
	}
	m.t.Fatalf("redirects without end: %q", v.hops)
	return v
}

// byWeChat signs the browser of a person in WeChat in by in_wechat.
func (m *methods) byWeChat(phone *wechattest.Phone) *browser {
	m.t.Helper()
	b := m.inside(phone)
	if v := m.follow(b, b.beginBy("in_wechat").Redirect, "allow"); v.Status != http.StatusOK {
		m.t.Fatalf("in WeChat: %d %s", v.Status, v.Body)
	}
	return b
}

// byChat signs a browser in by chat_code.
func (m *methods) byChat(b *browser, phone *wechattest.Phone) {
	m.t.Helper()
	a := b.beginBy("chat_code")
	link := m.say(phone, a.Code).Links()[0]
	if got := m.choose(phone, link, a.Number); got.Status != http.StatusOK {
		m.t.Fatalf("confirming: %d", got.Status)
	}
	a.consume()
}

// say sends a message to the account, which the person follows, and returns the reply.
func (m *methods) say(phone *wechattest.Phone, text string) wechattest.ChatMessage {
	m.t.Helper()
	if err := phone.Follow(m.t.Context(), appID); err != nil {
		m.t.Fatal(err)
	}
	d, err := phone.SendText(m.t.Context(), appID, text)
	if err != nil {
		m.t.Fatal(err)
	}
	if d.Err != nil {
		m.t.Fatalf("WeChat is not satisfied with the answer: %v", d.Err)
	}
	return d.Reply
}

// offeredMethods are those that the login page offers a browser, in their order.
func (b *browser) offeredMethods(edit ...func(*http.Request)) (names []string) {
	b.t.Helper()
	got := b.get("/_wechat/login", edit...)
	_, raw, _ := strings.Cut(got.Body, `id="page-data"`)
	_, raw, _ = strings.Cut(raw, ">")
	raw, _, _ = strings.Cut(raw, "</script>")
	var data struct {
		Methods []string `json:"methods"`
	}
	if err := json.Unmarshal([]byte(raw), &data); err != nil || len(data.Methods) == 0 {
		b.t.Fatalf("the login page: %d %s (%v)", got.Status, got.Body, err)
	}
	return data.Methods
}
