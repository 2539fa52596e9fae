// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/url"
	"strings"
	"unicode"
)

// maxReturnTo bounds, in bytes, the address to go back to after signing in.
const maxReturnTo = 2048

// localPath returns target where a browser that is sent there stays on the same
// origin, and else "/". It accepts a path with an optional query, and refuses
// everything that some browser may read as another origin.
func localPath(target string) string {
	if len(target) > maxReturnTo || !strings.HasPrefix(target, "/") || strings.ContainsFunc(target, unsafeInURL) {
		return "/"
	}
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "/"
	}
	// "//host" names an origin, and so does "/\host" to a browser that reads a
	// backslash as a slash, or that first drops the tab of "/\t/host". An
	// upstream may decode once more what is escaped here.
	if strings.HasPrefix(u.Path, "//") || strings.ContainsFunc(u.Path, func(c rune) bool { return c == '\\' || unicode.IsControl(c) }) {
		return "/"
	}
	if strings.HasPrefix(target, "//") || strings.ContainsRune(target, '\\') {
		return "/"
	}
	return target
}

// linkPath is localPath for what is put into a link, a form or a redirect: those come
// back in URLs, which are logged. An admin loses his search there, which is the name or
// address of somebody.
func (p *Portal) linkPath(target string) string {
	target = localPath(target)
	if u, err := url.Parse(target); err == nil && u.Path == p.Prefix+adminPath {
		return u.Path
	}
	return target
}

// unsafeInURL says whether a browser drops or changes the character in an address.
func unsafeInURL(c rune) bool {
	return c < 0x21 || c >= 0x7f
}
