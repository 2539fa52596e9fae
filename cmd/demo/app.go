// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	_ "embed" // the page
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

//go:embed app.html
var appHTML string

var appPage = template.Must(template.New("").Parse(appHTML))

// identity is one X-User-* header as it came, and what it says.
type identity struct{ Name, Raw, Text string }

// greet is the app behind the site. It knows nothing of WeChat: it reads headers.
func greet(w http.ResponseWriter, r *http.Request) {
	var all []identity
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-User-") {
			all = append(all, identity{name, values[0], decode(values[0])})
		}
	}
	slices.SortFunc(all, func(a, b identity) int { return strings.Compare(a.Name, b.Name) })
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	_ = appPage.Execute(w, struct {
		Name     string
		Identity []identity
	}{cmp.Or(decode(r.Header.Get("X-User-Name")), r.Header.Get("X-User-Id")), all}) // the visitor has gone if this fails
}

// decode undoes the percent-encoding of a header value.
func decode(raw string) string {
	if text, err := url.PathUnescape(raw); err == nil {
		return text
	}
	return raw
}
