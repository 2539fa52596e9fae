// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium is the browser that the tests run. There is no test without it.
const chromium = "/usr/bin/chromium"

// patience bounds each wait for the page, in real time.
const patience = 30 * time.Second

type action = chromedp.Action[chromedp.Void]

// tab is one browser tab and all that went wrong in it.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // script errors and CSP violations
	hosts    []string // that were asked for anything
}

// chrome is the one Chromium of all tests; each test has its own tab in it and, as its
// backend has its own port, its own origin.
var chrome struct {
	sync.Once
	ctx  context.Context
	err  error
	stop []func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, stop := range slices.Backward(chrome.stop) {
		stop()
	}
	os.Exit(code)
}

func startChrome() {
	if _, chrome.err = os.Stat(chromium); chrome.err != nil {
		return
	}
	profile, err := os.MkdirTemp("", "page-test-")
	if err != nil {
		chrome.err = err
		return
	}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium), chromedp.UserDataDir(profile),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
	}
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, stopTab := chromedp.NewContext(alloc)
	chrome.ctx, chrome.err = ctx, chromedp.Do(ctx)
	chrome.stop = []func(){func() { _ = os.RemoveAll(profile) }, stopAlloc, stopTab}
}

// browser opens a tab for a test. Without Chromium the test fails.
func browser(t *testing.T) *tab {
	t.Helper()
	chrome.Do(startChrome)
	if chrome.err != nil {
		t.Fatalf("starting Chromium; this test needs it as %s: %v", chromium, chrome.err)
	}
	ctx, cancel := chromedp.NewContext(chrome.ctx)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	b.run(command(log.Enable, cdp.Empty{}), command(network.Enable, network.EnableParams{}), speaks("en"))
	return b
}

// command makes an action of a protocol command whose result does not matter.
func command[P, R any](c cdp.Command[P, R], params P) action {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// listen collects what must never happen. That Chromium reports the answers 4xx and
// 5xx, which the tests script, is no problem.
func (b *tab) listen(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, fmt.Sprintf("exception: %+v", ev.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		b.problems = append(b.problems, "console."+string(ev.Type))
	case *log.EventEntryAdded:
		if ev.Entry.Source != "network" {
			b.problems = append(b.problems, fmt.Sprintf("%s: %s", ev.Entry.Source, ev.Entry.Text))
		}
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(ev.Request.URL)
		if err == nil && (u.Scheme == "http" || u.Scheme == "https") && !slices.Contains(b.hosts, u.Host) {
			b.hosts = append(b.hosts, u.Host)
		}
	}
}

// clean fails the test for any problem, and for any request to another host.
func (b *tab) clean(host string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Error(p)
	}
	for _, h := range b.hosts {
		if h != host {
			b.t.Errorf("the page asked another host: %s", h)
		}
	}
}

func (b *tab) run(actions ...action) {
	b.t.Helper()
	if _, err := do(b, chromedp.Steps(actions...)); err != nil {
		b.t.Fatalf("driving the browser: %v", err)
	}
}

func do[T any](b *tab, a chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, a)
}

// text is what a person sees, for failure messages.
func (b *tab) text() string {
	text, err := do(b, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// sees waits until the page shows a text.
func (b *tab) sees(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.body && document.body.innerText.includes(%q)`, text))
}

// until waits until an expression holds, across navigations.
func (b *tab) until(expression string) {
	b.t.Helper()
	for {
		_, err := do(b, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(0)))
		switch {
		case err == nil:
			return
		case errors.Is(err, context.DeadlineExceeded), b.ctx.Err() != nil:
			b.t.Fatalf("waiting for %s: %v; the page shows:\n%s", expression, err, b.text())
		default: // a navigation ended the wait; it goes on in the new document
		}
	}
}

// eval returns the value of an expression.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := do(b, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("evaluating %s: %v", expression, err)
	}
	return v
}

func speaks(tag string) action {
	return command(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": tag}})
}

// dark asks for the dark look, without motion.
func dark() action {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: "dark"},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// offline takes the network away, or gives it back.
func offline(lost bool) action {
	return chromedp.Steps(
		command(network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{{Offline: lost, DownloadThroughput: -1, UploadThroughput: -1}},
		}),
		command(network.OverrideNetworkState, network.OverrideNetworkStateParams{
			Offline: lost, DownloadThroughput: -1, UploadThroughput: -1,
		}),
	)
}

// faster makes time pass that many times as fast for the page's own timers and clock.
func faster(factor int) action {
	script := fmt.Sprintf(`(() => {
		const factor = %d, began = Date.now(), now = Date.now, later = setTimeout, every = setInterval;
		Date.now = () => began + (now() - began) * factor;
		window.setTimeout = (f, ms, ...rest) => later(f, ms / factor, ...rest);
		window.setInterval = (f, ms, ...rest) => every(f, ms / factor, ...rest);
	})()`, factor)
	return command(cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: script})
}
