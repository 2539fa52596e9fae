// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/": true, "/a/b.c/d": true, "/a/": true, "/你": true, "/a b": true, "/a(1)!": true,
		"": false, "a": false, "*": false, "//": false, "/a//b": false, "/./a": false, "/../a": false, "/.well-known": false,
		"/%41": false, `/a\b`: false, "/a;b": false, "/a#b": false, "/a?b": false, "/a\x00": false, "/a\tb": false, "/a\x7f": false,
		"/a./b": false, "/a /b": false, "/a.": false, "/a ": false,
	} {
		if got := canonical(path); got != want {
			t.Errorf("canonical(%q) is %v", path, got)
		}
	}
}

func TestReadings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, reading string }{
		{"/x/..%2fadmin", "/admin"},
		{"/x/%252e%252e/admin", "/admin"},
		{"/x/%25252e%25252e/admin", "/admin"},
		{"/x/..;a=b/admin", "/admin"},
		{`/x\..\admin`, "/admin"},
		{"/x/%2e%2e%5cadmin", "/admin"},
		{"/admin%23/x", "/admin"},
		{"/admin%00.png", "/admin"},
		{"/admin%3fx", "/admin"},
		{"/admin;x/y", "/admin"},
		{"/admin;x/y", "/admin/y"},
		{"/ad%09min", "/admin"},
		{"/admin./x", "/admin/x"},
		{"/admin%20/x", "/admin/x"},
		{"//admin", "/admin"},
		{"/./admin", "/admin"},
		// Cleaning merges "//" before it goes up, RFC 3986 does not.
		{"/admin//../x", "/admin/x"},
		{"/admin//../x", "/x"},
		// One server decodes what the next one resolves and a third one cuts.
		{"/public%23/..;/admin/x", "/admin/x"},
		{"/%2561dmin/x/..;/../../public", "/admin/public"},
		{"/a/%25zz/%252e%252e/%252e%252e/admin/x", "/admin/x"},
		{"/x/.. /admin", "/admin"},
	} {
		all, ok := readings(tt.path)
		if ok && !slices.Contains(all, tt.reading) {
			t.Errorf("readings(%q) lack %q: %q", tt.path, tt.reading, all)
		}
	}
	for _, path := range []string{"/" + strings.Repeat("a", maxAmbiguous), "/%" + strings.Repeat("25", 2*maxReadings) + "41"} {
		if _, ok := readings(path); ok {
			t.Errorf("readings(%.40q…) are not too many", path)
		}
	}
	if all, ok := readings("/public/a%20b(1).png"); !ok || len(all) > 4 {
		t.Errorf("an honest path has %d readings: %q", len(all), all)
	}
}

// TestSelected: what cannot be judged is guarded, and judging leaves no trace.
func TestSelected(t *testing.T) {
	t.Parallel()
	p := &Portal{Config: Config{Selects: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/admin/") }}}
	for target, want := range map[string]bool{
		"/admin/x": true, "/public": false, "/public/%2e": false, "/public/%2e%2e/admin/x": true, "/public;/../admin/x": true, "/a%2fb": false,
	} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		before := *r.URL
		if got := p.selected(r); got != want {
			t.Errorf("selected(%s) is %v", target, got)
		}
		if *r.URL != before {
			t.Errorf("%s: the URL is changed to %+v", target, r.URL)
		}
	}
	for name, r := range map[string]*http.Request{
		"no path":        {Method: http.MethodConnect, URL: &url.URL{Host: "x:80"}},
		"asterisk":       {Method: http.MethodOptions, URL: &url.URL{Path: "*"}},
		"opaque":         {Method: http.MethodGet, URL: &url.URL{Scheme: "x", Opaque: "admin/x"}},
		"root's dot":     {Method: http.MethodGet, URL: &url.URL{Path: "/public"}, Host: "admin.example."},
		"dot and a port": {Method: http.MethodGet, URL: &url.URL{Path: "/public"}, Host: "admin.example.:80"},
		"too many":       {Method: http.MethodGet, URL: &url.URL{Path: "/" + strings.Repeat("%", maxAmbiguous)}},
	} {
		if !p.selected(r) {
			t.Errorf("%s: not guarded", name)
		}
	}
}

// FuzzReadings: among the readings are the path itself, and everything that a
// further server of the same kinds makes of one; or else there are too many.
func FuzzReadings(f *testing.F) {
	for _, seed := range []string{"/", "/a/../b", "/%2e%2e/a;b", "//a\\b#c", "/%25%32%65", "/a./ /..", "*", "", "\xff%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		all, ok := readings(path)
		if !ok {
			return
		}
		if all[0] != path || len(all) > maxReadings {
			t.Fatalf("readings(%q) are %q", path, all)
		}
		for _, reading := range all {
			for _, read := range lenient {
				if again := read(reading); !slices.Contains(all, again) {
					t.Fatalf("readings(%q) have %q but lack %q", path, reading, again)
				}
			}
		}
	})
}
