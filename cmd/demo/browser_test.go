// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
	"github.com/caddy-wechat/caddy-wechat/login"
)

func TestMain(m *testing.M) { chrometest.Run(m) }

// windows are the two that the instructions speak of.
type windows struct {
	*demo
	site, phone *chrometest.Tab
}

// TestEveryMethod does what the instructions say, by clicks in two windows of a real
// browser, and is the same user each time.
func TestEveryMethod(t *testing.T) {
	d, err := start(options{address: loopback, confirm: login.ConfirmNumber})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	users := make(map[string]string)
	for _, tt := range []struct {
		method string
		signIn func(*windows)
	}{
		{login.ChatCode, chatCode},
		{login.OfficialQR, officialQR},
		{login.MiniQR, miniQR},
		{login.WebsiteQR, websiteQR},
		{login.InWeChat, inWeChat},
	} {
		t.Run(tt.method, func(t *testing.T) {
			w := &windows{d, chrometest.Open(t), chrometest.Open(t)}
			w.site.Run(chromedp.Navigate(d.siteURL))
			w.phone.Run(chromedp.Navigate(d.phoneURL))
			tt.signIn(w)
			at := w.site
			if tt.method == login.InWeChat {
				at = w.phone
			}
			at.Sees("你好 Hello, 小明")
			if tt.method != login.WebsiteQR { // whose page is WeChat's
				w.site.Clean(strings.TrimSuffix(strings.TrimPrefix(d.siteURL, "http://"), "/"))
			}
			users[header(at, "X-User-Id")] = tt.method
			at.Run(chromedp.Click(chromedp.CSS(`a[href="/_wechat/logout"]`)), chromedp.Click(chromedp.CSS(`form button`)))
			at.Until(`document.getElementById('panel') !== null`)
		})
	}
	if len(users) != 1 {
		t.Errorf("one person is several users: %v", users)
	}
}

func officialQR(w *windows) {
	w.tab(login.OfficialQR)
	w.scanFirst()
	w.openLink()
	w.press("choice", w.number())
}

func miniQR(w *windows) {
	w.tab(login.MiniQR)
	w.scanFirst()
	w.phone.Sees("有浏览器正在请求登录")
	w.phone.Run(chromedp.SendKeys(chromedp.CSS(`[name=nickname]`), "小明"))
	w.tap(`[name=phone]`)
	w.press("number", w.number())
	w.phone.Sees("已确认登录")
}

func websiteQR(w *windows) {
	w.tab(login.WebsiteQR)
	w.site.Until(`document.querySelector('#frame .loaded') !== null`) // with its code
	w.scanFirst()
	w.press("decision", "allow")
}

func chatCode(w *windows) {
	w.tab(login.ChatCode)
	w.site.Until(`/^\d{6}$/.test(document.getElementById('given').textContent)`)
	code := chrometest.Eval[string](w.site, `document.getElementById('given').textContent`)
	w.tap(`a[href^="/phone/chat/"]`)
	w.either(`.compose .wide`, `[name=text]`) // follow, once
	w.phone.Run(chromedp.SendKeys(chromedp.CSS(`[name=text]`), code))
	w.tap(`.compose button`)
	w.openLink()
	w.press("choice", w.number())
}

func inWeChat(w *windows) {
	w.tap(`a[href="` + w.inWeChatURL + `"]`)
	w.tap(`#go`) // WeChat wants a tap before it is asked for the profile
	w.either(`[name=decision][value=allow]`, `a[href="/_wechat/logout"]`)
}

// tab chooses a method on the site.
func (w *windows) tab(method string) {
	w.site.T.Helper()
	w.site.Run(chromedp.Click(chromedp.CSS("#tab-" + method)))
	w.site.Until(fmt.Sprintf(`document.getElementById('tab-%s').getAttribute('aria-selected') === 'true'`, method))
	w.site.Until(`document.getElementById('card').dataset.view !== 'loading'`)
}

// scanFirst scans the newest code: the one that the site shows.
func (w *windows) scanFirst() {
	w.phone.T.Helper()
	w.tap(`nav a[href="/phone/scan"]`)
	w.tap(`.code button`)
}

// openLink opens the link of the chat's last message, up to the question.
func (w *windows) openLink() {
	w.phone.T.Helper()
	w.tap(`.line:last-of-type .bubble a`)
	w.either(`[name=decision][value=allow]`, `[name=choice]`)
}

// either clicks on what is asked of a person but once, on the way to what follows.
func (w *windows) either(once, next string) {
	w.phone.T.Helper()
	w.phone.Until(fmt.Sprintf(`document.querySelector(%q) !== null`, once+", "+next))
	if chrometest.Eval[bool](w.phone, fmt.Sprintf(`document.querySelector(%q) === null`, next)) {
		w.tap(once)
	}
	w.phone.Until(fmt.Sprintf(`document.querySelector(%q) !== null`, next))
}

// press presses a button of the phone's page.
func (w *windows) press(name, value string) {
	w.phone.T.Helper()
	w.tap(fmt.Sprintf(`button[name=%s][value=%q]`, name, value))
}

// tap clicks on what the phone shows. It does so by script: the click of a mouse is
// not always reported back where it leads to another host.
func (w *windows) tap(selector string) {
	w.phone.T.Helper()
	found := fmt.Sprintf(`document.querySelector(%q)`, selector)
	w.phone.Until(`document.readyState === 'complete' && ` + found + ` !== null && ` + found + `.checkVisibility()`)
	chrometest.Eval[bool](w.phone, `(`+found+`.click(), true)`)
}

// number is the one that the site shows.
func (w *windows) number() string {
	w.site.T.Helper()
	w.site.Until(`/^\d\d$/.test(document.getElementById('number').textContent)`)
	return chrometest.Eval[string](w.site, `document.getElementById('number').textContent`)
}

// header is what the app shows of one.
func header(tab *chrometest.Tab, name string) string {
	tab.T.Helper()
	return chrometest.Eval[string](tab, fmt.Sprintf(`[...document.querySelectorAll('tr')].find((row) => row.cells[0].textContent === %q).cells[1].textContent`, name))
}
