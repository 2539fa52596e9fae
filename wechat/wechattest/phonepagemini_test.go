// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// miniGateway is the site of a mini program: it records what it is asked and gives
// the answers that it is told.
type miniGateway struct {
	t       *testing.T
	answers map[string]string // by action; one that is no JSON begins with its status
	asked   []map[string]string
	header  http.Header
}

func (g *miniGateway) RoundTrip(r *http.Request) (*http.Response, error) {
	g.t.Helper()
	action, ok := strings.CutPrefix(r.URL.String(), "https://gateway.example/_wechat/mini/"+miniApp+"/")
	body := map[string]string{}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !ok || r.Method != http.MethodPost {
		g.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	body["action"] = action
	g.asked, g.header = append(g.asked, body), r.Header
	w := httptest.NewRecorder()
	answer := g.answers[action]
	if status, rest, found := strings.Cut(answer, " "); found && !strings.HasPrefix(answer, "{") {
		code, err := strconv.Atoi(status)
		if err != nil {
			g.t.Error(err)
		}
		w.WriteHeader(code)
		answer = rest
	}
	_, _ = w.WriteString(answer)
	return w.Result(), nil
}

const miniAsks = `{"ticket":"TICKET","site":"我的网站","host":"gateway.example","client":{"browser":"Edge · Windows","address":"203.0.113.9"},
	"confirm":"number","choices":["17","42","93"],"created_at":"2026-04-25T09:24:19Z","expires_at":"2026-04-25T09:29:19Z"}`

// newMiniPage is a phone's page and a mini program with a fresh code, whose content
// it returns.
func newMiniPage(t *testing.T, answers map[string]string) (*browse, *miniGateway, string) {
	t.Helper()
	g := &miniGateway{t: t, answers: answers}
	s := newTestServer(t, Options{QRBase: "http://192.168.1.5:8080", HTTPClient: &http.Client{Transport: g}})
	h := addMini(t, s, func(m *MiniProgram) { m.Name, m.Portal = "我的小程序", "https://gateway.example/_wechat" })
	makeMini(t, s, tokenFor(t, s, miniApp), `{"scene":"SCENE+1"}`)
	return &browse{t: t, s: s}, g, h.MiniCodes()[0]
}

func miniForm(code, name, value string) url.Values {
	return url.Values{"code": {code}, "ticket": {"TICKET"}, name: {value}}
}

// The code is scanned as an account's is, and the page calls as a mini program does.
func TestMiniOnPhone_Confirm(t *testing.T) {
	b, g, code := newMiniPage(t, map[string]string{"scan": miniAsks, "confirm": `{"state":"confirmed"}`})
	expect(t, b.page("/phone/scan"), code, "我的小程序")
	w := b.do("POST", "/phone/scan", url.Values{"qr": {code}})
	page := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(page, "/phone/mini?") {
		t.Fatalf("scan: %d %v", w.Code, w.Header())
	}
	expect(t, b.page(page), "我的网站", "gateway.example", "Edge · Windows", "203.0.113.9", "2026-04-25 17:24:19",
		`value="17"`, `value="42"`, `value="93"`, "TICKET", b.s.Phone("小明").PhoneNumber().masked())
	if g.header.Get("Referer") != "https://servicewechat.com/"+miniApp+"/1/page-frame.html" || g.header.Get("Origin") != "" ||
		g.header.Get("Content-Type") != "application/json" || g.header.Get("Sec-Fetch-Site") != "" {
		t.Errorf("headers %v", g.header)
	}

	form := miniForm(code, "number", "42")
	form.Set("nickname", "  明  天 ")
	form.Set("phone", "1")
	expect(t, b.do("POST", "/phone/mini", form).Body.String(), "已确认登录", `name="refuse" value="after"`, `name="ticket" value="TICKET"`)
	scan, confirm := g.asked[0], g.asked[1]
	if scan["scene"] != "SCENE+1" || scan["code"] == "" || confirm["phone_code"] == "" {
		t.Errorf("asked %v", g.asked)
	}
	delete(confirm, "phone_code")
	want := map[string]string{"action": "confirm", "ticket": "TICKET", "number": "42", "nickname": "明 天"}
	if diff := cmp.Diff(want, confirm); diff != "" {
		t.Errorf("confirm (-want +got):\n%s", diff)
	}
}

// Who has confirmed may still say that it was somebody else, once.
func TestMiniOnPhone_NotMe(t *testing.T) {
	b, g, code := newMiniPage(t, map[string]string{"confirm": `{"state":"confirmed"}`, "cancel": `{"state":"consumed","disowned":true}`})
	expect(t, b.do("POST", "/phone/mini", miniForm(code, "number", "42")).Body.String(), "不是我")
	page := b.do("POST", "/phone/mini", miniForm(code, "refuse", "after")).Body.String()
	expect(t, page, "已退出登录")
	if strings.Contains(page, `value="after"`) {
		t.Error("it is offered again")
	}
	if diff := cmp.Diff(map[string]string{"action": "cancel", "ticket": "TICKET"}, g.asked[1]); diff != "" {
		t.Errorf("cancel (-want +got):\n%s", diff)
	}
}

func TestMiniOnPhone_Ends(t *testing.T) {
	tests := []struct {
		name, action, answer string
		form                 url.Values // of an answer; nil: the page is opened
		want                 string
	}{
		{"tap", "scan", strings.NewReplacer(`"number"`, `"tap"`, `"choices":["17","42","93"],`, "").Replace(miniAsks), nil, "确认登录"},
		{"refused", "cancel", `{"state":"cancelled"}`, miniForm("", "refuse", "1"), "已拒绝登录"},
		{"refused too late", "cancel", `{"state":"consumed","disowned":true}`, miniForm("", "refuse", "1"), "已退出登录"},
		{"not me, before the browser was signed in", "cancel", `{"state":"cancelled"}`, miniForm("", "refuse", "after"), "已退出登录"},
		{"not me, too late", "cancel", `404 {"error":"attempt_not_found"}`, miniForm("", "refuse", "after"), "登录码已失效"},
		{"wrong number", "confirm", `403 {"error":"denied","reason":"wrong_number"}`, miniForm("", "number", "17"), "数字不正确"},
		{"denied otherwise", "confirm", `403 {"error":"denied","reason":"else"}`, miniForm("", "number", "17"), "登录被拒绝"},
		{"old code", "scan", `404 {"error":"attempt_not_found"}`, nil, "登录码已失效"},
		{"taken", "scan", `409 {"error":"taken"}`, nil, "登录码已被他人扫描"},
		{"expired", "scan", `410 {"error":"expired"}`, nil, "登录码已过期"},
		{"away", "scan", `503 <html>`, nil, "重试"},
		{"nonsense", "scan", `200 nonsense`, nil, "重试"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, _, code := newMiniPage(t, map[string]string{tt.action: tt.answer})
			if tt.form == nil {
				expect(t, b.page("/phone/mini?"+url.Values{"code": {code}}.Encode()), tt.want)
				return
			}
			tt.form.Set("code", code)
			expect(t, b.do("POST", "/phone/mini", tt.form).Body.String(), tt.want)
		})
	}
}

func TestMiniOnPhone_Refusals(t *testing.T) {
	b, g, code := newMiniPage(t, map[string]string{"scan": miniAsks})
	for name, w := range map[string]*httptest.ResponseRecorder{
		"forged code":  b.do("GET", "/phone/mini?"+url.Values{"code": {strings.Replace(code, "SCENE", "OTHER", 1)}}.Encode(), nil),
		"no code":      b.do("GET", "/phone/mini", nil),
		"unknown link": b.do("GET", linkPath+"none", nil),
	} {
		if link := w.Header().Get("Location"); link != "" {
			w = b.do("GET", link, nil)
		}
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, w.Code)
		}
	}
	if w := b.do("POST", "/phone/mini", miniForm(code, "number", "42"), "Origin", "https://evil.example"); w.Code != http.StatusForbidden {
		t.Errorf("foreign page: status %d", w.Code)
	}
	if len(g.asked) != 0 {
		t.Errorf("the site was asked %v", g.asked)
	}
}

// A mini program whose login page nobody has told where the site is cannot open it.
func TestMiniOnPhone_NoPortal(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addMini(t, s, nil)
	makeMini(t, s, tokenFor(t, s, miniApp), `{"scene":"a"}`)
	b := &browse{t: t, s: s}
	w := b.do("GET", "/phone/mini?"+url.Values{"code": {h.MiniCodes()[0]}}.Encode(), nil)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "Portal") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// A phone's camera, or its browser where it has a link, opens the mini program, too.
func TestMiniOnPhone_OpensFromOutside(t *testing.T) {
	b, g, code := newMiniPage(t, map[string]string{"scan": miniAsks})
	body := `{"path":"pages/login/login","query":"scene=LINK","expire_type":1,"expire_interval":1}`
	link := serve(t, b.s, "POST", EndpointURLLink+"?access_token="+tokenFor(t, b.s, miniApp), body)
	var made linkAnswer
	if err := json.Unmarshal(link.Body.Bytes(), &made); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{code, made.URLLink} {
		w := b.do("GET", strings.TrimPrefix(address, "http://192.168.1.5:8080"), nil)
		if w.Code != http.StatusSeeOther {
			t.Fatalf("%s: status %d", address, w.Code)
		}
		expect(t, b.page(w.Header().Get("Location")), "我的网站")
	}
	if g.asked[0]["scene"] != "SCENE+1" || g.asked[1]["scene"] != "LINK" {
		t.Errorf("asked %v", g.asked)
	}
}

// A mini program's code lives for ever, but is not in view for ever.
func TestPhonePage_ForgetsMiniCodes(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addMini(t, s, func(m *MiniProgram) { m.Name = "我的小程序" })
	makeMini(t, s, tokenFor(t, s, miniApp), `{"scene":"a"}`)
	b := &browse{t: t, s: s}
	c.Advance(miniInView - time.Second)
	expect(t, b.page("/phone/scan"), "我的小程序")
	c.Advance(time.Second)
	if strings.Contains(b.page("/phone/scan"), "我的小程序") {
		t.Error("the code is still in view")
	}
}

// Codes of all kinds stand in one list, the newest first, and the accounts' own below.
func TestPhonePage_ShowsAllCodes(t *testing.T) {
	w := newWorld(t, Options{})
	addMini(t, w.Server, func(m *MiniProgram) { m.Name = "我的小程序" })
	newCode(t, w.Server, "scene-of-this-code")
	w.clock.Advance(time.Second)
	makeMini(t, w.Server, tokenFor(t, w.Server, miniApp), `{"scene":"a"}`)
	w.clock.Advance(time.Second)
	w.openQRConnect("")
	b := &browse{t: t, s: w.Server}
	page := b.page("/phone/scan")
	at := -1
	for _, next := range []string{"我的网站", "我的小程序", "scene-of-this-code", "/r/"} {
		i := strings.Index(page, next)
		if i <= at {
			t.Errorf("%q is at %d, after %d is its place", next, i, at)
		}
		at = i
	}
}

// Sites and links of the chat lead to where the site sees WeChat's user agent.
func TestPhonePage_Webviews(t *testing.T) {
	const reply = `<a href="https://gateway.example/confirm/T">点此</a> <a href="https://gateway.example.evil/x">别处</a>`
	s := newTestServer(t, Options{
		Webviews: map[string]string{"https://gateway.example": "http://localhost:8083"}, Sites: []string{"https://gateway.example/"},
		HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return respond(200, textReply(r.URL.Query().Get("openid"), reply))
		})},
	})
	addAccount(t, s, func(a *Account) { a.PushURL = "https://gateway.example/push" })
	b := &browse{t: t, s: s}
	expect(t, b.page("/phone/"), `href="http://localhost:8083/"`, "在微信中打开", "https://gateway.example/")
	b.do("POST", "/phone/follow/"+testApp, nil)
	expect(t, b.page("/phone/chat/"+testApp), `href="http://localhost:8083/confirm/T"`, `href="https://gateway.example.evil/x"`)
}

// The page that asks for the profile answers from its own address, whose parameters
// must not change on the way.
func TestAuthorize_PageKeepsItsAddress(t *testing.T) {
	w := newWorld(t, Options{AnyBrowser: true})
	b := &browse{t: t, s: w.Server}
	page := b.page(authorizeTarget(scopeUserInfo))
	if strings.Contains(page, "action=") || !strings.Contains(page, `<form method="post">`) {
		t.Errorf("the form leads elsewhere: %s", page)
	}
}
