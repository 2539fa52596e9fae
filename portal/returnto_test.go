// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestLocalPath(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("a", maxReturnTo)
	for _, tt := range []struct{ name, target, want string }{
		{"path", "/a/b", "/a/b"},
		{"root", "/", "/"},
		{"query and fragment", "/a?b=c&d=//e#f", "/a?b=c&d=//e#f"},
		{"escaped", "/%E4%BD%A0?q=%2f%2fx", "/%E4%BD%A0?q=%2f%2fx"},
		{"URL in the query", "/login?next=https://example.com/", "/login?next=https://example.com/"},
		{"longest", long[:maxReturnTo], long[:maxReturnTo]},
		{"too long", long, "/"},
		{"empty", "", "/"},
		{"relative", "a/b", "/"},
		{"query alone", "?a", "/"},
		{"URL", "https://evil.example/", "/"},
		{"scheme-relative", "//evil.example", "/"},
		{"three slashes", "///evil.example", "/"},
		{"backslash", `/\evil.example`, "/"},
		{"backslash later", `/a\..\\evil.example`, "/"},
		{"escaped slash", "/%2fevil.example", "/"},
		{"escaped backslash", "/%5cevil.example", "/"},
		{"tab", "/\t/evil.example", "/"},
		{"escaped tab", "/%09/evil.example", "/"},
		{"line end", "/a\r\nSet-Cookie: x=y", "/"},
		{"escaped line end", "/a%0d%0aSet-Cookie:x=y", "/"},
		{"NUL", "/a%00", "/"},
		{"space", "/a b", "/"},
		{"not ASCII", "/你", "/"},
		{"look-alike slash", "/／evil.example", "/"},
		{"bad escape", "/%zz", "/"},
		{"script", "javascript:alert(1)", "/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := localPath(tt.target); got != tt.want {
				t.Errorf("localPath(%q) is %q, want %q", tt.target, got, tt.want)
			}
		})
	}
}

// asBrowser is the origin where a browser ends up that is sent from base to
// target: it drops tabs and line ends, trims, and reads "\" as "/".
func asBrowser(base *url.URL, target string) string {
	target = strings.NewReplacer("\t", "", "\r", "", "\n", "", `\`, "/").Replace(strings.Trim(target, " \x00\x1f"))
	u, err := base.Parse(target)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// FuzzLocalPath: whatever comes in, what goes out keeps a browser on the site, as
// a Location header, as a link, and once more where it is read back.
func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/a?b#c", "//evil.example", `/\evil.example`, "/%09/evil.example", "/%5cevil.example", "https:evil.example", "/\t/evil", "/..//evil.example",
		"/.//evil.example", "/%2e%2e//evil.example", "/a%0d%0aX:y", "/@evil.example", "/;/evil.example", "/ⅇvil。example", "\x00//evil", "/%", "/%2f%2fevil", "/%252fevil", "/:80",
	} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "https", Host: "good.example", Path: "/_wechat/login"}
	f.Fuzz(func(t *testing.T, target string) {
		got := localPath(target)
		if got != target && got != "/" {
			t.Fatalf("localPath(%q) is %q: neither itself nor /", target, got)
		}
		if !strings.HasPrefix(got, "/") || len(got) > 1 && strings.ContainsRune(`/\`, rune(got[1])) || strings.ContainsFunc(got, unsafeInURL) {
			t.Fatalf("localPath(%q) is %q", target, got)
		}
		if origin := asBrowser(base, got); origin != "https://good.example" {
			t.Fatalf("localPath(%q) is %q: it leads to %q", target, got, origin)
		}
		w := httptest.NewRecorder()
		http.Redirect(w, httptest.NewRequest(http.MethodGet, base.String(), nil), got, http.StatusSeeOther)
		if origin := asBrowser(base, w.Header().Get("Location")); origin != "https://good.example" {
			t.Fatalf("localPath(%q): a redirect leads to %q", target, w.Header().Get("Location"))
		}
	})
}
