// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"testing"
)

// fetch asks for an asset by its name in this package.
func fetch(t *testing.T, p *Pages, method, name string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, p.urls[name], nil)
	r.Header = header
	w := httptest.NewRecorder()
	if !p.Asset(w, r, path.Base(p.urls[name])) {
		t.Fatalf("no asset %s", p.urls[name])
	}
	return w
}

func TestAsset_Served(t *testing.T) {
	p := New(plainSite)
	types := map[string]string{
		"login.js":  "text/javascript; charset=utf-8",
		"stage.js":  "text/javascript; charset=utf-8",
		"follow.js": "text/javascript; charset=utf-8",
		"wire.js":   "text/javascript; charset=utf-8",
		"time.js":   "text/javascript; charset=utf-8",

		"admission.js": "text/javascript; charset=utf-8",
		"people.css":   "text/css; charset=utf-8",
		"page.css":     "text/css; charset=utf-8",
		"icon.svg":     "image/svg+xml",
	}
	if len(types) != len(p.assets) {
		t.Errorf("%d assets, the test knows %d", len(p.assets), len(types))
	}
	for name, contentType := range types {
		t.Run(name, func(t *testing.T) {
			plain := fetch(t, p, http.MethodGet, name, http.Header{})
			packed := fetch(t, p, http.MethodGet, name, http.Header{"Accept-Encoding": {"br, gzip;q=0.5"}})
			for _, w := range []*httptest.ResponseRecorder{plain, packed} {
				want := map[string]string{
					"Content-Type":                 contentType,
					"Cache-Control":                "public, max-age=31536000, immutable",
					"X-Content-Type-Options":       "nosniff",
					"Vary":                         "Accept-Encoding",
					"Cross-Origin-Resource-Policy": "same-origin",
					"Content-Length":               strconv.Itoa(w.Body.Len()),
				}
				for header, value := range want {
					if got := w.Header().Get(header); got != value {
						t.Errorf("%s: %q, want %q", header, got, value)
					}
				}
			}
			if got := packed.Header().Get("Content-Encoding"); got != "gzip" {
				t.Fatalf("Content-Encoding %q", got)
			}
			if plain.Header().Get("ETag") == packed.Header().Get("ETag") {
				t.Error("two encodings share an ETag")
			}
			if got := unpack(t, packed.Body); !bytes.Equal(got, plain.Body.Bytes()) {
				t.Error("the two encodings differ in content")
			}
		})
	}
}

func unpack(t *testing.T, r io.Reader) []byte {
	t.Helper()
	zr, err := gzip.NewReader(r)
	if err != nil {
		t.Fatalf("opening gzip: %v", err)
	}
	content, err := io.ReadAll(zr)
	if err != nil {
		t.Fatalf("reading gzip: %v", err)
	}
	return content
}

func TestAsset_HeadAndRevalidation(t *testing.T) {
	p := New(plainSite)
	w := fetch(t, p, http.MethodHead, "login.js", http.Header{})
	if w.Body.Len() != 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: %d bytes, Content-Length %q", w.Body.Len(), w.Header().Get("Content-Length"))
	}
	w = fetch(t, p, http.MethodGet, "login.js", http.Header{"If-None-Match": {w.Header().Get("ETag")}})
	if w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("known ETag: status %d, %d bytes", w.Code, w.Body.Len())
	}
}

func TestAsset_Unknown(t *testing.T) {
	p := New(plainSite)
	hashed := path.Base(p.urls["login.js"])
	names := []string{"", "login.js", "../page.go", "assets/" + hashed, hashed + "/", strings.ToUpper(hashed), "login.0000000000000000.js"}
	for _, name := range names {
		w := httptest.NewRecorder()
		if p.Asset(w, request(t, http.MethodGet, ""), name) {
			t.Errorf("%q was served", name)
		}
		if len(w.Header()) != 0 || w.Body.Len() != 0 {
			t.Errorf("%q: something was written for an unknown asset", name)
		}
	}
}

// An asset that changes needs a new URL, for browsers keep the old one for a year.
func TestAsset_NameFollowsContent(t *testing.T) {
	a, b := newAsset("x.js", []byte("a")), newAsset("x.js", []byte("b"))
	if a.hashed == b.hashed {
		t.Errorf("different contents share the name %s", a.hashed)
	}
	if a.hashed != newAsset("x.js", []byte("a")).hashed {
		t.Error("the same content has two names")
	}
}

func TestAcceptsGzip(t *testing.T) {
	tests := []struct {
		header string
		want   bool
	}{
		{"", false},
		{"gzip", true},
		{"GZIP", true},
		{"deflate, gzip, br", true},
		{"gzip;q=0", false},
		{"gzip; q=0.000", false},
		{"gzip;q=1.0", true},
		{"br;q=1.0, gzip ; q=0.8", true},
		{"gzip;q=high", false},
		{"x-gzip", false},
		{"identity", false},
	}
	for _, tt := range tests {
		t.Run(tt.header, func(t *testing.T) {
			if got := acceptsGzip(tt.header); got != tt.want {
				t.Errorf("acceptsGzip(%q) = %t, want %t", tt.header, got, tt.want)
			}
		})
	}
}
