// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// picture is a code as WeChat sends it: a PNG with its own white margin.
func picture(t *testing.T) map[string]any {
	t.Helper()
	code, err := qr.Encode(scanURL, qr.M, qr.Auto)
	if err == nil {
		code, err = barcode.Scale(code, 430, 430)
	}
	var content bytes.Buffer
	if err == nil {
		err = png.Encode(&content, code)
	}
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"qr": map[string]string{"image": "data:image/png;base64," + base64.StdEncoding.EncodeToString(content.Bytes())}}
}

// offers sets which methods the page has and what their attempts show.
func (b *backend) offers(shows map[string]any, methods ...string) {
	b.login.Methods, b.shows = methods, shows
}

// isShown is an expression: whether a person sees the element.
func isShown(id string) string {
	return fmt.Sprintf(`document.getElementById('%s').offsetParent !== null`, id)
}

func TestLoginPage_MiniProgram(t *testing.T) {
	b := newBackend(t)
	b.offers(picture(t), "mini_qr")
	page := visit(t, b, "/", 1)
	page.Sees(heading("mini"))
	page.Until(`document.getElementById('qr').naturalWidth === 430`)
	b.set("scanned", "")
	page.Sees("Choose the number 42 in the mini program")
	page.Until(`document.getElementById('number').innerText === '42'`)
	b.set("confirmed", "")
	page.Sees("Inside")
	want := []createJSON{{Method: "mini_qr", ReturnTo: "/"}}
	if diff := cmp.Diff(want, b.bodies); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
}

// A phone opens the mini program itself. Its visitor leaves the page for that, so the
// number is there before; back again, the visitor finds the page signed in.
func TestLoginPage_MiniProgramOnPhone(t *testing.T) {
	b := newBackend(t)
	b.offers(map[string]any{"link": b.URL + "/opened"}, "mini_qr")
	b.login.OnPhone = true
	page := visit(t, b, "/", 1, phone())
	page.Sees(heading("miniLinkNumber"))
	page.Until(`document.getElementById('number').innerText === '42'`)
	if href := chrometest.Eval[string](page, `document.getElementById('go').href`); href != b.URL+"/opened" {
		t.Errorf("the button leads to %s", href)
	}
	b.set("scanned", "")
	page.Sees("Choose the number 42 in the mini program")
	b.set("confirmed", "")
	page.Run(chromedp.Evaluate[chromedp.Void](`document.dispatchEvent(new Event('visibilitychange'))`))
	page.Sees("Inside")
	if !b.bodies[0].Phone {
		t.Error("the server is not told that this is a phone")
	}
}

func TestLoginPage_ChatCode(t *testing.T) {
	for name, shows := range map[string]map[string]any{"chat": {}, "chatQR": picture(t)} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			shows["code"] = "048151"
			b.offers(shows, "chat_code")
			page := visit(t, b, "/", 1)
			page.Sees(heading(name))
			page.Sees("5 min")
			if read := chrometest.Eval[string](page, `document.getElementById('given').ariaLabel`); read != "0 4 8 1 5 1" {
				t.Errorf("the code is read out as %q", read)
			}
			b.set("scanned", "")
			page.Sees(heading("chatNumber"))
			page.Until(`!(` + isShown("given") + `)`)
			b.set("expired", "")
			page.Sees(heading("chatExpired"))
			page.Run(click())
			page.Sees(heading(name))
			b.set("cancelled", "")
			page.Sees(heading("chatCancelled"))
		})
	}
}

// The code is copied in one piece, on plain http as well, where there is no clipboard.
func TestLoginPage_Copies(t *testing.T) {
	tests := map[string]string{
		"clipboard": `navigator.clipboard.writeText = async (text) => { window.copied = text; }`,
		"plain http": `Object.defineProperty(navigator, 'clipboard', {value: undefined});
			document.addEventListener('copy', () => { window.copied = getSelection().toString(); })`,
	}
	for name, setup := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			b.offers(map[string]any{"code": "048151"}, "chat_code")
			page := visit(t, b, "/", 1)
			page.Sees(heading("chat"))
			page.Run(chromedp.Evaluate[chromedp.Void](setup), chromedp.Click(chromedp.ID("copy")))
			page.Until(`window.copied === '048151'`)
			page.Sees(english.Script.Copied)
			page.Until(`document.querySelector('#copied[role=status]').textContent !== ''`)
		})
	}
}

func TestLoginPage_WebsiteWithoutFrame(t *testing.T) {
	b := newBackend(t)
	b.offers(map[string]any{"redirect": b.URL + "/wechat"}, "website_qr")
	page := visit(t, b, "/app", 1)
	page.Sees(heading("website"))
	if at := chrometest.Eval[string](page, `location.pathname`); at != "/app" {
		t.Errorf("the page went to %s without a click", at)
	}
	page.Run(chromedp.Click(chromedp.ID("go")))
	page.Until(`location.pathname === '/wechat'`)
}

// What WeChat's page says of the person ends the attempt, or leads on, as for any code.
func TestLoginPage_WebsiteStates(t *testing.T) {
	tests := []struct{ state, reason, head string }{
		{"scanned", "", heading("claimed")},
		{"cancelled", "phone", heading("refused")},
		{"expired", "", heading("lapsed")},
		{"denied", "virtual_user", english.Script.Reasons["virtual_user"].Head},
		{"denied", "exchange", english.Script.Reasons["exchange"].Head},
	}
	b := newBackend(t)
	b.offers(map[string]any{"redirect": "https://open.weixin.qq.com/x"}, "website_qr")
	page := visit(t, b, "/", 1)
	for _, tt := range tests {
		t.Run(tt.state+" "+tt.reason, func(t *testing.T) {
			page.T = t
			page.Sees(heading("website"))
			b.set(tt.state, tt.reason)
			page.Sees(tt.head)
			if tt.state != "scanned" {
				page.Run(click())
			} else {
				page.Run(chromedp.Reload())
			}
		})
	}
}

// guest tolerates that the page asks one other host: that of the frame.
type guest struct {
	testing.TB
	host string
}

func (g guest) Errorf(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); text != "the page asked another host: "+g.host {
		g.TB.Error(text)
	}
}

// wechatFrame stands in for WeChat's page in a frame, on an origin of its own. It notes
// the headers of the requests.
func wechatFrame(t *testing.T, body string) (base string, headers <-chan http.Header) {
	t.Helper()
	seen := make(chan http.Header, 8)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><link rel="icon" href="data:,">`+body)
	}))
	t.Cleanup(server.Close)
	return server.URL, seen
}

// WeChat leads the top window back by itself once the phone has confirmed: without a
// click in the frame, for which browsers otherwise stop it.
func TestLoginPage_FrameLeadsBack(t *testing.T) {
	b := newBackend(t)
	base, headers := wechatFrame(t, `WeChat's code<script>onmessage = () => { top.location = '`+b.URL+`/back'; };</script>`)
	b.offers(map[string]any{"redirect": base + "/page", "frame": base + "/frame"}, "website_qr")
	b.login.FrameOrigin = base
	page := visit(t, b, "/", 1)
	page.T = guest{t, strings.TrimPrefix(base, "http://")}
	page.Sees(heading("frame"))
	page.Until(`document.querySelector('iframe.loaded') !== null`)
	if referrer := (<-headers).Get("Referer"); referrer != "" {
		t.Errorf("WeChat is told where the visitor is: %q", referrer)
	}
	frame := chrometest.Eval[[]string](page, `(f => [f.sandbox.value, f.allow, f.title])(document.querySelector('iframe'))`)
	want := []string{"allow-scripts allow-same-origin allow-top-navigation", "local-network-access", english.Script.FrameTitle}
	if diff := cmp.Diff(want, frame); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
	if href := chrometest.Eval[string](page, `document.getElementById('go').href`); href != base+"/page" {
		t.Errorf("the button leads to %s", href)
	}
	page.Run(chromedp.Evaluate[chromedp.Void](`frames[0].postMessage('confirmed', '*')`))
	page.Until(`location.pathname === '/back'`)
}

// A frame that a firewall or an extension keeps away must not leave the visitor alone.
func TestLoginPage_FrameDoesNotLoad(t *testing.T) {
	b := newBackend(t)
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Header().Set("Content-Type", "text/html")
	}))
	t.Cleanup(server.Close)
	b.offers(map[string]any{"redirect": server.URL, "frame": server.URL}, "website_qr")
	b.login.FrameOrigin = server.URL
	page := visit(t, b, "/", 5)
	page.T = guest{t, strings.TrimPrefix(server.URL, "http://")}
	page.Sees(heading("frameLate"))
	close(release) // it was only slow
	page.Sees(heading("frame"))
	page.Until(`document.querySelector('iframe.loaded') !== null`)
	b.set("cancelled", "phone")
	page.Sees(heading("refused"))
	page.Until(`document.querySelector('iframe') === null`)
}

// Not even a server gone wrong has the page lead, or show a frame, where it must not.
func TestLoginPage_ForeignAddresses(t *testing.T) {
	const good = "https://open.weixin.qq.com/x"
	tests := []struct {
		name, method, view string
		shows              map[string]any
	}{
		{"a link of script", "mini_qr", "failed", map[string]any{"link": "javascript:alert(1)"}},
		{"a redirect of script", "website_qr", "failed", map[string]any{"redirect": "javascript:alert(1)", "frame": good}},
		{"a redirect within WeChat", "in_wechat", "failed", map[string]any{"redirect": "javascript:alert(1)"}},
		{"no code", "chat_code", "failed", map[string]any{"code": "<b>481516</b>"}},
		{"a picture elsewhere", "mini_qr", "failed", map[string]any{"qr": map[string]string{"image": "https://evil.example/x.png"}}},
		{"a frame elsewhere", "website_qr", "website", map[string]any{"redirect": good, "frame": "https://evil.example/x"}},
		{"a frame of a like name", "website_qr", "website", map[string]any{"redirect": good, "frame": good[:26] + ".evil.example/x"}},
		{"a frame of script", "website_qr", "website", map[string]any{"redirect": good, "frame": "javascript:alert(1)"}},
		{"a frame in the clear", "website_qr", "website", map[string]any{"redirect": good, "frame": "http://open.weixin.qq.com/x"}},
	}
	b := newBackend(t)
	b.login.FrameOrigin, b.login.InWeChat = "https://open.weixin.qq.com", true
	page := visit(t, b, "/_wechat/assets/none", 1)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page.T = t
			b.script(func(b *backend) { b.offers(tt.shows, tt.method) })
			page.Run(chromedp.Navigate(b.URL + "/"))
			page.Sees(heading(tt.view))
			if n := chrometest.Eval[int](page, `document.querySelectorAll('iframe, [src*=evil], [href^=javascript]').length`); n != 0 {
				t.Error("what came with the answer is in the page")
			}
		})
	}
}

func TestLoginPage_Addresses(t *testing.T) {
	page := visit(t, newBackend(t), "/", 1)
	for address, want := range map[string]bool{
		"https://open.weixin.qq.com/connect/qrconnect?a=b#wechat_redirect": true,
		"https://wxaurl.cn/x":            true,
		"http://127.0.0.1:8080/x":        true,
		"http://localhost:8080/x":        true,
		"http://[::1]:8080/x":            true,
		"http://open.weixin.qq.com":      false,
		"http://127.0.0.1.evil.example/": false,
		"http://localhost.evil.example/": false,
		"javascript:alert(1)":            false,
		" jAvAsCrIpT:alert(1)":           false,
		"data:text/html,x":               false,
		"blob:https://x/y":               false,
		"weixin://dl/business":           false,
		"//evil.example/":                false,
		"/x":                             false,
		"":                               false,
	} {
		if got := chrometest.Eval[bool](page, fmt.Sprintf(`wire.wechatURL(%q) !== null`, address)); got != want {
			t.Errorf("%q is taken: %t, want %t", address, got, want)
		}
	}
}

// Inside WeChat the page goes on to the authorisation by itself, but once: who refuses
// there and comes back would otherwise never get out of it.
func TestLoginPage_InWeChatOnce(t *testing.T) {
	b := newBackend(t)
	b.offers(map[string]any{"redirect": b.URL + "/wechat?scope=snsapi_base"}, "in_wechat")
	b.login.InWeChat = true
	page := visit(t, b, "/app", 1)
	page.Until(`location.pathname === '/wechat'`)
	// What stands in for WeChat's page is the login page again: the same as a visitor
	// who has refused, or whose browser keeps no session, and is back.
	page.Sees(heading("inWechat"))
	page.Run(chromedp.Navigate(b.URL + "/app"))
	page.Sees(heading("inWechat"))
	b.set("cancelled", "phone")
	page.Sees(heading("refused"))
	page.Run(click())
	page.Sees(heading("inWechat"))
	page.Run(chromedp.Click(chromedp.ID("go")))
	page.Until(`location.pathname === '/wechat'`)
}

// Asked for the profile as soon as the page opens, WeChat shows the page as a snapshot
// to a visitor who does not exist (its notice of 2022), so that no newcomer gets in: the
// page asks for it at a tap.
func TestLoginPage_InWeChatProfileAtATap(t *testing.T) {
	b := newBackend(t)
	b.offers(map[string]any{"redirect": b.URL + "/wechat?scope=snsapi_userinfo"}, "in_wechat")
	b.login.InWeChat = true
	page := visit(t, b, "/app", 1)
	page.Sees(heading("inWechat"))
	if at := chrometest.Eval[string](page, `location.pathname`); at != "/app" {
		t.Errorf("the page went to %s without a tap", at)
	}
	if left := chrometest.Eval[bool](page, `sessionStorage.getItem('wechat-login-left') !== null`); left {
		t.Error("the page counts as having left")
	}
	page.Run(chromedp.Click(chromedp.ID("go")))
	page.Until(`location.pathname === '/wechat'`)
}

// WeChat's page may never open.
func TestLoginPage_InWeChatStays(t *testing.T) {
	b := newBackend(t)
	nowhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(nowhere.Close)
	b.offers(map[string]any{"redirect": nowhere.URL + "/?scope=snsapi_base"}, "in_wechat")
	b.login.InWeChat = true
	page := visit(t, b, "/", 5)
	page.T = guest{t, strings.TrimPrefix(nowhere.URL, "http://")}
	page.Sees(heading("inWechat"))
	b.set("confirmed", "") // elsewhere; the page follows all the same
	page.Sees("Inside")
}

func TestLoginPage_InWeChatOutside(t *testing.T) {
	b := newBackend(t)
	b.offers(nil, "in_wechat")
	page := visit(t, b, "/app?q=1", 1)
	page.Sees(heading("openWechat"))
	page.Sees(b.URL + "/app?q=1")
	if n := b.count(http.MethodPost); n != 0 {
		t.Errorf("%d attempts that nobody can finish", n)
	}
}
