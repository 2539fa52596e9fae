// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// phone emulates a small one.
func phone() chrometest.Action {
	return chromedp.EmulateViewport(320, 640, chromedp.EmulateMobile, chromedp.EmulateTouch)
}

// gallery serves every page of renderings at /0, /1 and so on, and hands on the forms
// posted to them.
func gallery(t *testing.T, list []rendering) (base string, forms <-chan *http.Request) {
	t.Helper()
	posted := make(chan *http.Request, 8)
	p := New(Site{Title: "示例 Example", Prefix: "/_wechat"})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_wechat/assets/{name}", func(w http.ResponseWriter, r *http.Request) {
		if !p.Asset(w, r, r.PathValue("name")) {
			http.NotFound(w, r)
		}
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		posted <- r
		p.Notice(w, r, http.StatusOK, AlreadyDone)
	})
	for i, page := range list {
		mux.HandleFunc(fmt.Sprintf("GET /%d", i), func(w http.ResponseWriter, r *http.Request) { page.show(p, w, r) })
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, posted
}

// posted waits for the next form.
func posted(t *testing.T, forms <-chan *http.Request) *http.Request {
	t.Helper()
	select {
	case form := <-forms:
		return form
	case <-time.After(chrometest.Patience):
		t.Fatal("no form is posted")
		return nil
	}
}

// contrast lists the visible texts whose contrast with what is behind them is below
// 4.5 : 1, or 3 : 1 for large ones. https://www.w3.org/TR/WCAG22/#contrast-minimum
const contrast = `(() => {
	const channels = (color) => color.match(/[\d.]+/g).map(Number);
	const luminance = (color) => {
		const [r, g, b] = channels(color).map((c) => c / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const behind = (el) => {
		for (; el; el = el.parentElement) {
			const color = getComputedStyle(el).backgroundColor;
			if (channels(color)[3] !== 0) return color;
		}
		return 'rgb(255, 255, 255)';
	};
	const poor = [];
	for (const el of document.querySelectorAll('main, main *')) {
		const own = [...el.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
		if (!own || !el.offsetParent) continue;
		const style = getComputedStyle(el);
		const [a, b] = [luminance(style.color), luminance(behind(el))].sort((x, y) => y - x);
		const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
		const ratio = (a + .05) / (b + .05);
		if (ratio < (large ? 3 : 4.5)) poor.push(el.innerText + ': ' + ratio.toFixed(2));
	}
	return poor;
})()`

// small lists the buttons that a thumb would miss. 44 px is what phones' makers ask for.
const small = `[...document.querySelectorAll('button, a')]
	.filter((el) => el.offsetParent && el.getBoundingClientRect().height < 44).map((el) => el.innerText)`

// Every page, in both languages, light and dark, on the smallest phone.
func TestPages_Look(t *testing.T) {
	list := renderings("Chrome on Windows")
	base, _ := gallery(t, list)
	u, _ := url.Parse(base)
	looks := map[string][]chrometest.Action{
		"light, English": {phone()},
		"dark, Chinese":  {phone(), chrometest.Dark(), chrometest.Speaks("zh-CN")},
	}
	for name, look := range looks {
		t.Run(name, func(t *testing.T) {
			tab := chrometest.Open(t)
			tab.Run(look...)
			for i, page := range list {
				tab.Run(chromedp.Navigate(fmt.Sprintf("%s/%d", base, i)))
				if poor := chrometest.Eval[[]string](tab, contrast); len(poor) != 0 {
					t.Errorf("%s: too little contrast: %q", page.name, poor)
				}
				if missed := chrometest.Eval[[]string](tab, small); len(missed) != 0 {
					t.Errorf("%s: too small to touch: %q", page.name, missed)
				}
				if wide := chrometest.Eval[float64](tab, `document.documentElement.scrollWidth`); wide > 320 {
					t.Errorf("%s: %v px wide on a screen of 320", page.name, wide)
				}
			}
			tab.Clean(u.Host)
		})
	}
}

func TestLoginPage_ViewsLook(t *testing.T) {
	for name, look := range map[string]chrometest.Action{"light": phone(), "dark": chromedp.Steps(phone(), chrometest.Dark())} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			page := visit(t, b, "/", 1, look)
			for _, step := range []struct{ state, sees string }{
				{"pending", heading("pending")},
				{"scanned", heading("number")},
				{"cancelled", heading("cancelled")},
			} {
				b.set(step.state, "")
				page.Sees(step.sees)
				if poor := chrometest.Eval[[]string](page, contrast); len(poor) != 0 {
					t.Errorf("%s: too little contrast: %q", step.state, poor)
				}
				if missed := chrometest.Eval[[]string](page, small); len(missed) != 0 {
					t.Errorf("%s: too small to touch: %q", step.state, missed)
				}
			}
		})
	}
}

// What the person scans is the screen: the code must be readable off it, above all in
// the dark, where many pages lose the white margin that scanners need.
func TestLoginPage_CodeReadsOffTheScreen(t *testing.T) {
	tests := map[string]chrometest.Action{
		"light":       chromedp.EmulateViewport(900, 700),
		"dark":        chromedp.Steps(chromedp.EmulateViewport(900, 700), chrometest.Dark()),
		"dark, phone": chromedp.Steps(phone(), chrometest.Dark()),
	}
	for name, look := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			page := visit(t, b, "/", 1, look)
			page.Sees(heading("pending"))
			page.Until(`document.getElementById('qr').complete`)
			if width := chrometest.Eval[float64](page, `document.getElementById('qr').getBoundingClientRect().width`); width < 200 {
				t.Errorf("the code is %v px wide, want at least 200", width)
			}
			shot, err := chrometest.Do(page, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			if got := chrometest.ReadQR(t, shot); got != scanURL {
				t.Errorf("the screen reads %q, want %q", got, scanURL)
			}
		})
	}
}

// The pages on the phone work without a script, and their forms carry the page's own
// Origin: under no-referrer it would be `null`, which the portal refuses.
func TestConfirmPage_PostsWithoutScript(t *testing.T) {
	list := renderings("x")
	tests := []struct {
		name, button string
		page         int
		want         url.Values
	}{
		{"number", "42", 2, url.Values{"choice": {"42"}}},
		{"refuse the number", english.Refuse, 2, url.Values{"choice": {"cancel"}}},
		{"tap", english.ConfirmTap, 3, url.Values{"choice": {"yes"}}},
		{"refuse the tap", english.Refuse, 3, url.Values{"choice": {"cancel"}}},
		{"sign out", english.SignOut, 4, url.Values{}},
		{"sign out everywhere", english.Everywhere, 4, url.Values{"everywhere": {"true"}}},
	}
	base, forms := gallery(t, list)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := chrometest.Open(t)
			path := fmt.Sprintf("/%d", tt.page)
			tab.Run(
				chrometest.Command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}),
				chromedp.Navigate(base+path),
				chromedp.Click(chromedp.Search(fmt.Sprintf(`//button[text()=%q]`, tt.button))),
			)
			form := posted(t, forms)
			if diff := cmp.Diff(tt.want, form.PostForm); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
			if got := form.Header.Get("Origin"); got != base {
				t.Errorf("Origin %q, want %q", got, base)
			}
			if tt.page != 4 && form.URL.Path != path {
				t.Errorf("posted to %s, want %s", form.URL.Path, path)
			}
		})
	}
}

// Where scripts run, the phone's own zone holds, and that of the server is not named.
func TestConfirmPage_ShowsThePhonesTime(t *testing.T) {
	base, _ := gallery(t, renderings("x"))
	tab := chrometest.Open(t)
	tab.Run(
		chrometest.Command(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"}),
		chromedp.Navigate(base+"/2"),
	)
	tab.Sees("2026-11-21 17:09:10")
	if text := tab.Text(); strings.Contains(text, "16:09:10") || strings.Contains(text, "UTC") {
		t.Error("the server's time is shown as well")
	}
}
