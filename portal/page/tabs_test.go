// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// all is what attempts of every method show.
func all(t *testing.T) map[string]any {
	t.Helper()
	shows := picture(t)
	shows["qr"].(map[string]string)["svg"] = qrSVG()
	shows["code"], shows["redirect"] = "048151", "https://open.weixin.qq.com/x"
	return shows
}

// selected is an expression: whether a method's tab, and no other, is selected.
func selected(method string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('[role=tab][aria-selected=true]')].map((tab) => tab.dataset.method).join() === '%s'`, method)
}

func tab(method string) chrometest.Action { return chromedp.Click(chromedp.ID("tab-" + method)) }

func TestLoginPage_ChangesMethods(t *testing.T) {
	b := newBackend(t)
	b.offers(all(t), "official_qr", "mini_qr", "website_qr", "in_wechat", "chat_code")
	page := visit(t, b, "/", 1)
	page.Sees(heading("pending"))
	if n := chrometest.Eval[int](page, `document.querySelectorAll('[role=tab]').length`); n != 4 {
		t.Errorf("%d tabs, want 4: in_wechat is not for a browser outside WeChat", n)
	}
	steps := []struct{ method, view string }{
		{"mini_qr", "mini"}, {"website_qr", "website"}, {"chat_code", "chatQR"}, {"official_qr", "pending"},
	}
	for i, step := range steps {
		page.Run(tab(step.method))
		page.Sees(heading(step.view))
		page.Until(selected(step.method))
		page.Until(fmt.Sprintf(`document.getElementById('panel').getAttribute('aria-labelledby') === 'tab-%s'`, step.method))
		b.awaits(t, 1, fmt.Sprintf("DELETE /_wechat/attempts/attempt-%d", i+1)) // the one before
	}
	page.Run(tab("official_qr")) // it is there already
	b.set("scanned", "")
	page.Sees("choose the number 42")
	page.Until(`getComputedStyle(document.getElementById('tabs')).visibility === 'hidden'`)
	if b.made != 5 {
		t.Errorf("%d attempts, want 5", b.made)
	}
	page.Run(click()) // a new code, of the same method; the others are offered again
	page.Sees(heading("pending"))
	page.Until(selected("official_qr"))
	page.Until(`getComputedStyle(document.getElementById('tabs')).visibility === 'visible'`)
}

// The stage stays where it is, whatever the tabs do.
func TestLoginPage_TabsKeepTheirPlace(t *testing.T) {
	b := newBackend(t)
	b.offers(all(t), "official_qr", "chat_code")
	page := visit(t, b, "/", 1, chromedp.EmulateViewport(900, 1400))
	page.Sees(heading("pending"))
	const top = `document.getElementById('panel').getBoundingClientRect().top - document.getElementById('card').getBoundingClientRect().top`
	before := chrometest.Eval[float64](page, top)
	b.set("scanned", "")
	page.Sees("choose the number 42")
	if after := chrometest.Eval[float64](page, top); after != before {
		t.Errorf("the stage moved from %v to %v px", before, after)
	}
}

func TestLoginPage_TabsByKeyboard(t *testing.T) {
	b := newBackend(t)
	b.offers(all(t), "official_qr", "mini_qr", "chat_code")
	page := visit(t, b, "/", 1)
	page.Sees(heading("pending"))
	page.Run(press(kb.Tab))
	for _, step := range []struct{ key, focused string }{
		{"", "official_qr"},
		{kb.ArrowRight, "mini_qr"},
		{kb.ArrowRight, "chat_code"},
		{kb.ArrowRight, "official_qr"},
		{kb.ArrowLeft, "chat_code"},
		{kb.Home, "official_qr"},
		{kb.End, "chat_code"},
	} {
		if step.key != "" {
			page.Run(press(step.key))
		}
		page.Until(`document.activeElement.id === 'tab-` + step.focused + `'`)
	}
	if b.made != 1 {
		t.Errorf("%d attempts by moving the focus", b.made)
	}
	page.Run(press(kb.Enter))
	page.Sees(heading("chatQR"))
	page.Until(`document.activeElement.id === 'tab-chat_code'`) // the focus stays
	b.set("scanned", "")
	page.Until(`document.activeElement.id === 'action'`) // the tab is gone, the focus is not lost
}

func TestLoginPage_GoesOnToTheNextMethod(t *testing.T) {
	wechat := answer{503, map[string]any{"error": "wechat_unavailable"}, "20"}
	unknown := answer{400, map[string]any{"error": "unknown_method"}, ""}
	b := newBackend(t)
	b.fails["official_qr"], b.fails["mini_qr"] = wechat, unknown
	b.offers(all(t), "official_qr", "mini_qr", "chat_code")
	page := visit(t, b, "/", 1)
	page.Sees(heading("chatQR"))
	page.Until(selected("chat_code"))
	for method, title := range map[string]string{"official_qr": english.Script.Trouble, "mini_qr": english.Script.Trouble, "chat_code": ""} {
		page.Until(fmt.Sprintf(`document.getElementById('tab-%s').title === %q`, method, title))
	}
	// Whoever wants the method that failed, gets its trouble and nothing else.
	page.Run(tab("official_qr"))
	page.Sees(heading("wechat"))
	page.Sees("Next try in 0:")
	page.Until(selected("official_qr"))
	b.script(func(b *backend) { delete(b.fails, "official_qr") })
	page.Run(click())
	page.Sees(heading("pending"))
	page.Until(`document.getElementById('tab-official_qr').title === ''`)
}

func TestLoginPage_AllMethodsFail(t *testing.T) {
	wechat := answer{503, map[string]any{"error": "wechat_unavailable"}, "20"}
	b := newBackend(t)
	b.fails["official_qr"], b.fails["chat_code"] = wechat, wechat
	b.offers(all(t), "official_qr", "chat_code")
	page := visit(t, b, "/", 1)
	page.Sees(heading("wechat"))
	page.Sees("Next try in 0:")
	page.Until(selected("official_qr"))
	b.script(func(b *backend) { delete(b.fails, "official_qr") })
	page.Run(click())
	page.Sees(heading("pending"))
	if got := len(b.bodies); got != 3 {
		t.Errorf("%d tries, want 3", got)
	}
}

// A store that is down, or a flood, is no fault of the method: the page waits.
func TestLoginPage_StaysWithTheMethod(t *testing.T) {
	for name, failure := range map[string]answer{
		"store":   {503, map[string]any{"error": "store_unavailable"}, "20"},
		"tooMany": {429, nil, "20"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			b.fails["official_qr"] = failure
			b.offers(all(t), "official_qr", "chat_code")
			page := visit(t, b, "/", 1)
			page.Sees(heading(name))
			page.Until(selected("official_qr"))
			if len(b.bodies) != 1 {
				t.Errorf("tries: %v", b.bodies)
			}
		})
	}
}

// Every method, in both languages, light and dark, on the smallest phone and with all
// tabs: readable, touchable, and no wider than the screen.
func TestLoginPage_MethodsLook(t *testing.T) {
	looks := map[string][]chrometest.Action{
		"light, English": {phone()},
		"dark, Chinese":  {phone(), chrometest.Dark(), chrometest.Speaks("zh-CN")},
	}
	for name, look := range looks {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			b.offers(all(t), allMethods...)
			b.login.InWeChat = true
			page := visit(t, b, "/", 1, append(look, chromedp.Navigate(b.URL+"/_wechat/assets/none"),
				chromedp.Evaluate[chromedp.Void](`sessionStorage.setItem('wechat-login-left', Date.now())`))...)
			for _, step := range []struct{ method, view string }{
				{"mini_qr", "mini"}, {"website_qr", "website"}, {"in_wechat", "inWechat"}, {"chat_code", "chatQR"},
			} {
				page.Until(`document.getElementById('card').dataset.view !== 'loading'`)
				page.Run(tab(step.method))
				page.Until(fmt.Sprintf(`document.getElementById('card').dataset.view === %q`, step.view))
				if poor := chrometest.Eval[[]string](page, contrast); len(poor) != 0 {
					t.Errorf("%s: too little contrast: %q", step.method, poor)
				}
				if missed := chrometest.Eval[[]string](page, small); len(missed) != 0 {
					t.Errorf("%s: too small to touch: %q", step.method, missed)
				}
				if cut := chrometest.Eval[[]string](page, overflowing); len(cut) != 0 {
					t.Errorf("%s: cut off: %q", step.method, cut)
				}
				if wide := chrometest.Eval[float64](page, `document.documentElement.scrollWidth`); wide > 320 {
					t.Errorf("%s: %v px wide on a screen of 320", step.method, wide)
				}
			}
		})
	}
}

// overflowing lists the texts that are wider than their boxes.
const overflowing = `[...document.querySelectorAll('main *')]
	.filter((el) => el.offsetParent && !el.classList.contains('sr') && el.scrollWidth > el.clientWidth + 1 && el.clientWidth > 0)
	.map((el) => el.id + ': ' + el.innerText)`

// WeChat's own picture of a code, scaled down, must still be readable off the screen.
func TestLoginPage_PictureReadsOffTheScreen(t *testing.T) {
	b := newBackend(t)
	b.offers(picture(t), "mini_qr")
	page := visit(t, b, "/", 1, chromedp.EmulateViewport(900, 700), chrometest.Dark())
	page.Sees(heading("mini"))
	page.Until(`document.getElementById('qr').complete`)
	shot, err := chrometest.Do(page, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if got := chrometest.ReadQR(t, shot); got != scanURL {
		t.Errorf("the screen reads %q, want %q", got, scanURL)
	}
}

// Inside WeChat, a picture can be opened by pressing it: no word of saving it.
func TestLoginPage_HintInWeChat(t *testing.T) {
	b := newBackend(t)
	b.login.InWeChat = true
	page := visit(t, b, "/", 1, phone())
	page.Sees(english.Script.HintInWeChat)
	if strings.Contains(page.Text(), hint) {
		t.Error("the page says that it cannot be scanned")
	}
}

// WeChat's own page is no picture that a phone could save or press: it takes a computer.
func TestLoginPage_WebsiteHintOnPhones(t *testing.T) {
	for name, inside := range map[string]bool{"browser": false, "in WeChat": true} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			b.offers(map[string]any{"redirect": "https://open.weixin.qq.com/x"}, "website_qr")
			b.login.InWeChat, b.login.OnPhone = inside, !inside
			page := visit(t, b, "/", 1, phone())
			page.Sees(heading("website"))
			page.Sees(english.Script.HintWebsite)
		})
	}
}

// Four methods stand two and two: none is alone in a row, whatever the fonts.
func TestLoginPage_FourTabs(t *testing.T) {
	const rows = `Object.values(Object.groupBy(document.querySelectorAll('[role=tab]'), (tab) => tab.offsetTop)).map((row) => row.length).join()`
	for name, language := range map[string]string{"English": "en", "Chinese": "zh-CN"} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			b.offers(all(t), "official_qr", "mini_qr", "website_qr", "chat_code")
			page := visit(t, b, "/", 1, chrometest.Speaks(language), chromedp.EmulateViewport(360, 800))
			page.Until(rows + ` === '2,2'`)
			page.Run(chromedp.EmulateViewport(1200, 900))
			page.Until(`innerWidth === 1200`)
			page.Until(rows + ` === '2,2'`)
		})
	}
}
