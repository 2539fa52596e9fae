// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// canonical says whether a path has one reading only: no dot segments, empty
// segments, escapes, backslashes, parameters or control characters that some
// server behind the gate may read another way.
func canonical(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.ContainsFunc(p, ambiguousRune) {
		return false
	}
	return !strings.Contains(p, "//") && !strings.Contains(p, "/.") && trimSegments(p) == p
}

func ambiguousRune(c rune) bool {
	return c < 0x20 || c == 0x7f || c == '%' || c == '\\' || c == ';' || c == '#' || c == '?'
}

const (
	// maxAmbiguous is the length, in bytes, of paths whose readings are looked
	// at, and maxReadings how many: honest paths have less than ten.
	maxAmbiguous = 4096
	maxReadings  = 64
)

// lenient is what some server or other does with a path before it acts on it.
var lenient = []func(string) string{
	unescape,
	func(p string) string { return strings.ReplaceAll(p, "\\", "/") },
	dropParameters,
	func(p string) string { return cutAt(p, "\x00#?") },
	func(p string) string { return cutAt(p, ";") },
	dropControls,
	trimSegments,
	mergeSlashes,
	resolveDots,
}

// readings returns every path that a chain of servers may take p for, each doing
// some of what is lenient in any order. It is not ok where there are too many.
func readings(p string) (all []string, ok bool) {
	if len(p) > maxAmbiguous {
		return nil, false
	}
	all = []string{p}
	for i := 0; i < len(all); i++ {
		for _, read := range lenient {
			if other := read(all[i]); !slices.Contains(all, other) {
				all = append(all, other)
			}
		}
		if len(all) > maxReadings {
			return nil, false
		}
	}
	return all, true
}

// unescape decodes the escapes that are valid, once.
func unescape(p string) string {
	if !strings.Contains(p, "%") {
		return p
	}
	decoded := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '%' && i+2 < len(p) {
			if n, err := strconv.ParseUint(p[i+1:i+3], 16, 8); err == nil {
				c = byte(n)
				i += 2
			}
		}
		decoded = append(decoded, c)
	}
	return string(decoded)
}

func cutAt(p, delimiters string) string {
	if i := strings.IndexAny(p, delimiters); i >= 0 {
		return p[:i]
	}
	return p
}

// dropParameters removes ";name=value" from segments, as servlet containers do.
func dropParameters(p string) string {
	return eachSegment(p, ";", func(s string) string { return cutAt(s, ";") })
}

// trimSegments removes dots and spaces from the ends of names, as Windows does.
func trimSegments(p string) string {
	return eachSegment(p, ". ", func(s string) string {
		if dots := strings.TrimRight(s, " "); dots == "." || dots == ".." {
			return dots
		}
		return strings.TrimRight(s, ". ")
	})
}

// eachSegment changes the segments of a path that has any of chars in it.
func eachSegment(p, chars string, change func(string) string) string {
	if !strings.ContainsAny(p, chars) {
		return p
	}
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i] = change(s)
	}
	return strings.Join(segments, "/")
}

func dropControls(p string) string {
	if !strings.ContainsFunc(p, unicode.IsControl) {
		return p
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, p)
}

func mergeSlashes(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

// resolveDots removes dot segments as RFC 3986 section 5.2.4 does: an empty
// segment counts as one.
func resolveDots(p string) string {
	if !strings.Contains(p, "/.") {
		return p
	}
	segments := strings.Split(p, "/")
	kept := segments[:0:0]
	for i, s := range segments {
		if s != "." && s != ".." {
			kept = append(kept, s)
			continue
		}
		if s == ".." && len(kept) > 1 {
			kept = kept[:len(kept)-1]
		}
		if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	return strings.Join(kept, "/")
}

// selected says whether the gate guards the request. Where servers may disagree
// on what the path means, every reading must be unguarded for the request to
// pass: what is judged here is what the upstream sees, however it reads it.
func (p *Portal) selected(r *http.Request) bool {
	if p.Selects == nil || p.Selects(r) {
		return true
	}
	if strings.HasSuffix(r.Host, ".") || strings.Contains(r.Host, ".:") {
		return true // the root's dot: the same host to the upstream, but not to a matcher
	}
	if r.URL.RawPath == "" && canonical(r.URL.Path) {
		return false
	}
	if !strings.HasPrefix(r.URL.Path, "/") { // CONNECT, OPTIONS *
		return true
	}
	all, ok := readings(r.URL.EscapedPath())
	if !ok {
		return true
	}
	// The URL is changed in place: a matcher may look at it through what was
	// made from the request before, such as placeholders.
	defer func(path, raw string) { r.URL.Path, r.URL.RawPath = path, raw }(r.URL.Path, r.URL.RawPath)
	return slices.ContainsFunc(all, func(reading string) bool {
		r.URL.Path, r.URL.RawPath = reading, ""
		return p.Selects(r)
	})
}
