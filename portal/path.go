// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// canonical says whether a path has one reading only: no dot segments, empty
// segments, escapes, backslashes, parameters or control characters that some
// server behind the gate may read another way.
func canonical(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.ContainsFunc(p, ambiguousRune) {
		return false
	}
	return !strings.Contains(p, "//") && !strings.Contains(p, "/.")
}

func ambiguousRune(c rune) bool {
	return c < 0x20 || c == 0x7f || c == '%' || c == '\\' || c == ';' || c == '#' || c == '?'
}

// otherReading is the path as the most lenient server would read it: escapes
// decoded to the end, backslashes as slashes, path parameters dropped, dot
// segments resolved, cut at a NUL or "#".
func otherReading(p string) string {
	for range 3 { // who escapes more often than that is decoded by no server
		decoded, err := url.PathUnescape(p)
		if err != nil || decoded == p {
			break
		}
		p = decoded
	}
	p = strings.ReplaceAll(p, "\\", "/")
	if i := strings.IndexAny(p, "\x00#?"); i >= 0 {
		p = p[:i]
	}
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return path.Clean("/" + strings.Join(segments, "/"))
}

// selected says whether the gate guards the request. Where servers may disagree
// on what the path means, every reading must be unguarded for the request to
// pass: what is judged here is what the upstream sees, however it reads it.
func (p *Portal) selected(r *http.Request) bool {
	if p.Selects == nil || p.Selects(r) {
		return true
	}
	if r.URL.RawPath == "" && canonical(r.URL.Path) {
		return false
	}
	if !strings.HasPrefix(r.URL.Path, "/") { // CONNECT, OPTIONS *
		return true
	}
	other := r.Clone(r.Context())
	other.URL.Path, other.URL.RawPath = otherReading(r.URL.EscapedPath()), ""
	return p.Selects(other)
}
