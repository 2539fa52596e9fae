// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// framedSite is a site on 127.0.0.1 whose page holds a frame with WeChat's page,
// which is on localhost and so on another site. It reports each callback.
func framedSite(t *testing.T, wechat *Server, sandbox, extra string) (site *httptest.Server, calls chan string) {
	t.Helper()
	open := httptest.NewServer(wechat)
	t.Cleanup(open.Close)
	calls = make(chan string, 8)
	mux := http.NewServeMux()
	site = httptest.NewServer(mux)
	t.Cleanup(site.Close)
	back := site.URL + "/callback"
	frame := strings.Replace(open.URL, "127.0.0.1", "localhost", 1) + EndpointQRConnect + "?appid=" + siteApp +
		"&redirect_uri=" + url.QueryEscape(back) + "&response_type=code&scope=snsapi_login&state=" + siteState + "&login_type=jssdk" + extra
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<title>site</title><link rel="icon" href="data:,"><iframe %s width="300" height="400" src="%s#wechat_redirect"></iframe>`, sandbox, html.EscapeString(frame))
	})
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		calls <- r.URL.RawQuery + " " + r.Header.Get("Sec-Fetch-Dest")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprint(w, `<title>signed in</title><link rel="icon" href="data:,">`)
	})
	return site, calls
}

// A real browser runs the page in a frame: where it leads, and what the sandbox
// of the frame must allow for that.
func TestQRConnect_InBrowser(t *testing.T) {
	const allowsTop = `sandbox="allow-scripts allow-same-origin allow-top-navigation"`
	tests := []struct {
		name, sandbox, extra string
		refusal              Refusal
		refuse               bool
		want, dest           string // the query that comes back and where it is loaded
	}{
		{"top window", allowsTop, "&self_redirect=false", RefusalStays, false, "code=", "document"},
		{"the frame itself", allowsTop, "&self_redirect=true", RefusalStays, false, "code=", "iframe"},
		{"refused, led back", allowsTop, "&self_redirect=false", RefusalStateOnly, true, "state=" + siteState, "document"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, Options{Refusal: tt.refusal})
			addWebsite(t, s, "127.0.0.1")
			site, calls := framedSite(t, s, tt.sandbox, tt.extra)
			tab := chrometest.Open(t)
			tab.Run(chromedp.Navigate(site.URL))
			decide(t, s, tt.refuse)
			select {
			case got := <-calls:
				if !strings.HasPrefix(got, tt.want) || !strings.HasSuffix(got, "state="+siteState+" "+tt.dest) {
					t.Errorf("callback %s", got)
				}
			case <-time.After(chrometest.Patience):
				t.Fatal("the page led nowhere")
			}
		})
	}
}

func addWebsite(t *testing.T, s *Server, domain string) {
	t.Helper()
	addAccount(t, s, func(a *Account) { a.AppID, a.Kind, a.CallbackDomain = siteApp, Website, domain })
}

// decide waits until the page shows a code and then asks about it, so that it
// learns of both steps.
func decide(t *testing.T, s *Server, refuse bool) {
	t.Helper()
	awaitPoll(t, s, 1)
	login, err := s.Phone("alice").ScanLogin(s.WebLogins()[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	awaitPoll(t, s, 2)
	if refuse {
		_, err = login.Refuse()
	} else {
		_, err = login.Confirm()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// awaitPoll waits until the page has asked n times.
func awaitPoll(t *testing.T, s *Server, n int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(chrometest.Patience); s.Calls(EndpointQRConnectPoll) < n; {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("the page asked %d times, want %d", s.Calls(EndpointQRConnectPoll), n)
		}
	}
}
