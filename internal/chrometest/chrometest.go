// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package chrometest drives a real Chromium in tests, and fails a test for
// everything that a page must never do. It is for tests only.
package chrometest

import (
	"context"
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

// Patience bounds each wait for the page, in real time.
const Patience = 30 * time.Second

// Action is one step of a browser.
type Action = chromedp.Action[chromedp.Void]

// Tab is one browser tab and all that went wrong in it.
type Tab struct {
	T testing.TB // who fails
	// Ctx is the tab's chromedp context.
	Ctx context.Context //nolint:containedctx // it is the tab

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

// Run runs the tests of a package and then ends the browser, if one was started.
// It returns the code to exit with.
func Run(m *testing.M) int {
	defer func() {
		for _, stop := range slices.Backward(chrome.stop) {
			stop()
		}
	}()
	return m.Run()
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

// Open opens a tab for a test. Without Chromium the test fails.
func Open(t testing.TB) *Tab {
	t.Helper()
	return open(t)
}

// OpenAlone is Open for a tab that shares no cookies with any other, as if it were
// another person's browser.
func OpenAlone(t testing.TB) *Tab {
	t.Helper()
	return open(t, chromedp.WithNewBrowserContext())
}

func open(t testing.TB, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	chrome.Do(startChrome)
	if chrome.err != nil {
		t.Fatalf("starting Chromium; this test needs it as %s: %v", chromium, chrome.err)
	}
	ctx, cancel := chromedp.NewContext(chrome.ctx, options...)
	t.Cleanup(cancel)
	b := &Tab{T: t, Ctx: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	b.Run(Command(log.Enable, cdp.Empty{}), Command(network.Enable, network.EnableParams{}), Speaks("en"))
	return b
}

// Command makes an action of a protocol command whose result does not matter.
func Command[P, R any](c cdp.Command[P, R], params P) Action {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// listen collects what must never happen. That Chromium reports the answers 4xx and
// 5xx, which the tests script, is no problem.
func (b *Tab) listen(ev any) {
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

// Clean fails the test for any problem, and for any request to another host.
func (b *Tab) Clean(host string) {
	b.T.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.T.Error(p)
	}
	for _, h := range b.hosts {
		if h != host {
			b.T.Errorf("the page asked another host: %s", h)
		}
	}
}

// Run takes steps, or fails the test.
func (b *Tab) Run(actions ...Action) {
	b.T.Helper()
	if _, err := Do(b, chromedp.Steps(actions...)); err != nil {
		b.T.Fatalf("driving the browser: %v", err)
	}
}

// Do takes a step within Patience and returns its result.
func Do[T any](b *Tab, a chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.Ctx, Patience)
	defer cancel()
	return chromedp.Run(ctx, a)
}

// Text is what a person sees, for failure messages.
func (b *Tab) Text() string {
	text, err := Do(b, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// Sees waits until the page shows a text.
func (b *Tab) Sees(text string) {
	b.T.Helper()
	b.Until(fmt.Sprintf(`document.body && document.body.innerText.includes(%q)`, text))
}

// Until waits until an expression holds, across navigations.
func (b *Tab) Until(expression string) {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(b.Ctx, Patience)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(0)))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			b.T.Fatalf("waiting for %s: %v; the page shows:\n%s", expression, err, b.Text())
		}
		// A navigation ended the wait; it goes on in the new document.
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Eval returns the value of an expression.
func Eval[T any](b *Tab, expression string) T {
	b.T.Helper()
	v, err := Do(b, chromedp.Evaluate[T](expression))
	if err != nil {
		b.T.Fatalf("evaluating %s: %v", expression, err)
	}
	return v
}

// Speaks sets the language that the browser asks for.
func Speaks(tag string) Action {
	return Command(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": tag}})
}

// Dark asks for the dark look, without motion.
func Dark() Action {
	return Command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: "dark"},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// Offline takes the network away, or gives it back.
func Offline(lost bool) Action {
	return chromedp.Steps(
		Command(network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{{Offline: lost, DownloadThroughput: -1, UploadThroughput: -1}},
		}),
		Command(network.OverrideNetworkState, network.OverrideNetworkStateParams{
			Offline: lost, DownloadThroughput: -1, UploadThroughput: -1,
		}),
	)
}

// Faster makes time pass that many times as fast for the page's own timers and clock.
func Faster(factor int) Action {
	script := fmt.Sprintf(`(() => {
		const factor = %d, began = Date.now(), now = Date.now, later = setTimeout, every = setInterval;
		Date.now = () => began + (now() - began) * factor;
		window.setTimeout = (f, ms, ...rest) => later(f, ms / factor, ...rest);
		window.setInterval = (f, ms, ...rest) => every(f, ms / factor, ...rest);
	})()`, factor)
	return Command(cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: script})
}
