// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// userPrefix begins the names of identity headers, folded as fold does.
const userPrefix = "x-user-"

// maxCredentials bounds how many cookies of one name are looked at.
const maxCredentials = 4

// credentials are the values of this gateway's cookies.
type credentials struct {
	sessions [maxCredentials]string
	browser  string
}

// scrubber takes out of a request what only this gateway may say.
type scrubber struct {
	// names are the configured identity headers, folded.
	names []string
	// cookies name what is read. Cookies of the same names with another prefix
	// or none are removed too, but never read: anybody on a sibling host can
	// plant those.
	cookies cookies
	// session and browser are the cookies' names without a prefix.
	session, browser string
}

func newScrubber(c cookies, headers []Header) scrubber {
	s := scrubber{cookies: c, session: unprefixed(c.session), browser: unprefixed(c.browser)}
	for _, h := range headers {
		if name := fold(h.Name); !strings.HasPrefix(name, userPrefix) { // all of those are managed
			s.names = append(s.names, name)
		}
	}
	return s
}

// scrub removes every header that an upstream could take for one of the
// gateway's, the mention of such in Connection and Trailer, and the gateway's
// cookies, whose values it returns. Headers of the gates that the request has
// come through already are left alone: those gates have set them.
func (s *scrubber) scrub(r *http.Request, earlier *gateContext) credentials {
	for name := range r.Header {
		if s.managed(name) && !earlier.manages(name) {
			delete(r.Header, name)
		}
	}
	s.scrubList(r.Header, "Connection")
	s.scrubList(r.Header, "Trailer")
	s.scrubTrailer(r)
	scrubUpgrade(r.Header)
	return s.takeCookies(r.Header)
}

// managed says whether a header of this name belongs to the gateway, in any
// spelling that CGI, WSGI, Rack, PHP, nginx or lighttpd would fold to it.
func (s *scrubber) managed(name string) bool {
	if len(name) >= len(userPrefix) && equalFolded(name[:len(userPrefix)], userPrefix) {
		return true
	}
	for _, own := range s.names {
		if len(own) == len(name) && equalFolded(name, own) {
			return true
		}
	}
	return false
}

// equalFolded compares name, case folded and with all but letters and digits
// read as "-", with folded, which is as long.
func equalFolded(name, folded string) bool {
	for i := range len(name) {
		if foldByte(name[i]) != folded[i] {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	default: // "_" and "." for most; some CGI servers fold every other character, too
		return '-'
	}
}

func fold(name string) string {
	folded := make([]byte, len(name))
	for i := range folded {
		folded[i] = foldByte(name[i])
	}
	return string(folded)
}

// scrubList takes managed names out of a header that lists header names: as
// hop-by-hop headers the next proxy would drop those that we set.
func (s *scrubber) scrubList(h http.Header, header string) {
	lines := h[header]
	if len(lines) == 0 || !slices.ContainsFunc(lines, s.listsManaged) {
		return
	}
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		tokens := slices.DeleteFunc(strings.Split(line, ","), func(t string) bool { return s.managed(strings.TrimSpace(t)) })
		if len(tokens) > 0 {
			kept = append(kept, strings.Join(tokens, ","))
		}
	}
	h[header] = kept
	if len(kept) == 0 {
		delete(h, header)
	}
}

func (s *scrubber) listsManaged(line string) bool {
	for token := range strings.SplitSeq(line, ",") {
		if s.managed(strings.TrimSpace(token)) {
			return true
		}
	}
	return false
}

// scrubTrailer hides trailers of managed names. The server will fill whatever
// the client sends, announced or not, into the map that it announced them in, so
// the request gets one that the server does not know.
func (s *scrubber) scrubTrailer(r *http.Request) {
	if r.Trailer == nil {
		return
	}
	t := &trailers{ReadCloser: r.Body, managed: s.managed, received: r.Trailer, kept: make(http.Header, len(r.Trailer))}
	t.keep()
	r.Body, r.Trailer = t, t.kept
}

// trailers is a body whose end brings the trailers that may pass.
type trailers struct {
	io.ReadCloser
	managed        func(string) bool
	received, kept http.Header
}

// Read implements io.Reader.
func (t *trailers) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == io.EOF {
		t.keep()
	}
	return n, err
}

// keep takes over what was received, whichever of the two maps that is in.
func (t *trailers) keep() {
	for name, values := range t.received {
		if values != nil || t.kept[name] == nil {
			t.kept[name] = values
		}
	}
	maps.DeleteFunc(t.kept, func(name string, _ []string) bool { return t.managed(name) })
}

// scrubUpgrade keeps a client from changing to another HTTP, or to TLS, on the
// connection to the upstream: inside such a tunnel the upstream would read
// further requests, with headers that no gate has seen.
func scrubUpgrade(h http.Header) {
	for _, line := range h["Upgrade"] {
		for token := range strings.SplitSeq(line, ",") {
			protocol, _, _ := strings.Cut(token, "/")
			switch strings.ToLower(strings.TrimSpace(protocol)) {
			case "h2c", "h2", "http", "tls":
				delete(h, "Upgrade")
				return
			}
		}
	}
}

// takeCookies removes the gateway's cookies and returns their values.
func (s *scrubber) takeCookies(h http.Header) (c credentials) {
	lines := h["Cookie"]
	if !slices.ContainsFunc(lines, s.mentionsCookie) {
		return c
	}
	kept := lines[:0] // the lines are this request's alone
	found := 0
	for _, line := range lines {
		var rest strings.Builder
		rest.Grow(len(line))
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			name, value, _ := strings.Cut(pair, "=")
			name = strings.TrimSpace(name)
			bare := strings.TrimSpace(unprefixed(name))
			switch {
			case name == s.cookies.session && found < maxCredentials:
				c.sessions[found] = strings.Trim(value, `"`)
				found++
			case name == s.cookies.browser:
				c.browser = value
			case pair != "" && bare != s.session && bare != s.browser:
				if rest.Len() > 0 {
					rest.WriteString("; ")
				}
				rest.WriteString(pair)
			}
		}
		if rest.Len() > 0 {
			kept = append(kept, rest.String())
		}
	}
	h["Cookie"] = kept
	if len(kept) == 0 {
		delete(h, "Cookie")
	}
	return c
}

// mentionsCookie is a quick look: most requests on a site carry none of ours.
func (s *scrubber) mentionsCookie(line string) bool {
	return strings.Contains(line, s.session) || strings.Contains(line, s.browser)
}

// unprefixed is a cookie's name without the prefix that browsers enforce.
func unprefixed(name string) string {
	if rest, ok := strings.CutPrefix(name, hostPrefix); ok {
		return rest
	}
	return strings.TrimPrefix(name, securePrefix)
}
