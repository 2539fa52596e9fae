// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
)

// understand returns all that an upstream may take a path for: each reading is
// passed on to every server that reads it another way, in any order. It shares
// nothing with the gate.
func understand(target string) []string {
	p, _, _ := strings.Cut(target, "?")
	all := []string{strings.ToLower(p)}
	for i := 0; i < len(all) && len(all) < 2000; i++ {
		for _, other := range understandOnce(all[i]) {
			if !slices.Contains(all, other) {
				all = append(all, other)
			}
		}
	}
	return all
}

func understandOnce(p string) []string {
	var others []string
	if decoded, err := url.PathUnescape(p); err == nil {
		others = append(others, decoded)
	} else { // a lenient decoder leaves what it does not understand
		for _, pair := range []string{"%2e.", "%2f/", "%5c\\", "%25%", "%3b;", "%23#", "%00\x00", "%61a"} {
			others = append(others, strings.ReplaceAll(p, pair[:3], pair[3:]))
		}
	}
	others = append(others, strings.ReplaceAll(p, `\`, "/"), path.Clean(p), strings.ReplaceAll(p, "//", "/"))
	if strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..") {
		others = append(others, strings.TrimSuffix(path.Clean(p), "/")+"/") // a directory stays one
	}
	for _, end := range []string{"#", "?", "\x00", ";"} {
		before, _, _ := strings.Cut(p, end)
		others = append(others, before)
	}
	segments := strings.Split(p, "/")
	for _, change := range []func(string) string{
		func(s string) string { s, _, _ = strings.Cut(s, ";"); return s },
		func(s string) string { return strings.TrimRight(s, " ") },
		func(s string) string {
			if strings.Trim(s, ".") == "" {
				return s
			}
			return strings.TrimRight(s, ". ")
		},
		func(s string) string { return strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(s) },
	} {
		changed := make([]string, len(segments))
		for i, s := range segments {
			changed[i] = change(s)
		}
		others = append(others, strings.Join(changed, "/"))
	}
	if resolved, err := url.Parse("http://x/"); err == nil { // RFC 3986: an empty segment is one to go up from
		others = append(others, resolved.ResolveReference(&url.URL{Path: p}).Path)
	}
	return others
}

// secretTarget says whether an upstream may take the target for /admin/….
func secretTarget(target string) bool {
	return slices.ContainsFunc(understand(target), func(p string) bool { return strings.HasPrefix(p, "/admin/") })
}

// pathSpellings are paths that somebody takes for /admin/x, or nearly.
func pathSpellings() []string {
	ups := []string{
		"..", "%2e%2e", "%2E%2e", ".%2e", "%2e.", "%252e%252e", "%25252e%25252e", "..;", "..;a=b", "%2e%2e;x", "..%3b", "..%253b",
		"..%00", "..%23", "..%3f", "..%20", "..%09", ".", "%2e", "...", "%zz%2e", "%25zz/%252e%252e/%252e%252e",
	}
	slashes := []string{"/", "//", "///", "%2f", "%2F", "%5c", `\`, "%252f", "%255c", "/./", "/;/", "/%2e/", "%2f%2f", "/.;/", "/%20/", "/%09/"}
	names := []string{
		"admin", "ADMIN", "aDmIn", "%61dmin", "%61%64%6d%69%6e", "%2561dmin", "%252561dmin", "admin;x", "admin;x=y", "admin%3bx", "admin%253bx",
		"admin.", "admin%20", "admin%2e", "adm%09in", "adm%0ain", "admin%00", "admin%23", "%e2%80%8badmin", "admin%", "admin//..//admin",
	}
	dirs := []string{"", "/public", "/public/a", "/x", "/_wechat", "/public%23", "/public;x", "/public%00", "/public%3f", "/%70ublic", "/public/%252e"}
	var all []string
	for _, dir := range dirs {
		for _, up := range ups {
			all = append(all, dir+"/"+up+"/admin/x", dir+"/a/"+up+"/"+up+"/admin/x")
		}
		for _, slash := range slashes {
			all = append(all, dir+slash+"admin/x", dir+slash+".."+slash+"admin"+slash+"x", dir+"/%252e%252e"+slash+"admin"+slash+"x", dir+"/..;"+slash+"admin"+slash+"x")
		}
	}
	for _, name := range names {
		for _, slash := range slashes {
			all = append(all, "/"+name+slash+"x", slash+name+"/x", "/public/.."+slash+name+slash+"x", "/public/%2e%2e;"+slash+name+slash+"x")
		}
	}
	return append(all,
		// Judged by the strictest and by the most lenient reading alone, these pass.
		"/public%23/..;/admin/x", "/public%23/%252e%252e/admin/x", "/%2561dmin/x/..;/../../public", "/%2561dmin/x/..%3b/../../public",
		"/admin//../x", "/public/a//..//../../admin/x", "/public//../admin/x", "/x;/../admin/x", "/public/%25zz/%252e%252e/%252e%252e/admin/x",
		"/public/..%5cadmin%5cx", "/public/%2e%2e%5c/admin/x", "/public%2f..%2fadmin%2fx", "/public/..%c0%afadmin/x", "/public/.%00./admin/x",
		"/public/..%0d%0a/admin/x", "/admin/x%23/../../public/y", "/admin/x%3f/../../public/y", "/admin/x%00/../../public/y", "/admin/x;/../../public/y",
		"/admin/%2e%2e/public/y", "/admin/..%2fpublic/y", "/admin/..;/public/y", `/admin\x`, "/admin%5cx", "/admin%2fx", "/admin/%2e", "/admin/.", "/admin/./",
		"/public/"+strings.Repeat("a/", 2100)+strings.Repeat("%252e%252e/", 2101)+"admin/x", // longer than the gate cares to read
		"/public/"+strings.Repeat("%25", 60)+"2e%2e;/%23/a//..;b/../%5cadmin/x",
	)
}

// TestG1PathConfusion: the gate guards /admin/, and Mallory has no session. He
// spells the path so that the gate takes it for another and the upstream, which
// may be any server, for /admin/ after all. Whatever any server might take for
// /admin/… must not reach the upstream, in whichever way the operator tells the
// gate what to guard, and whatever happens to the path before.
func TestG1PathConfusion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, gate, site, prefix string }{
		{"path matcher", "wechat_auth /admin/*", "", ""},
		{"negative matcher", "@private not path /public/*\n wechat_auth @private", "", ""},
		{"regular expression", `@private path_regexp (?i)^/admin/
		wechat_auth @private`, "", ""},
		{"expression of the path", "@private expression `{path}.lowerAscii().startsWith(\"/admin/\")`\n wechat_auth @private", "", ""},
		{"strip_prefix before", "uri strip_prefix /app\n wechat_auth /admin/*", "", "/app"},
		{"rewrite before", "rewrite /app/* {path}?seen\n uri strip_prefix /app\n wechat_auth /admin/*", "", "/app"},
		{"handle_path around", "", "handle_path /app/* {\n wechat_auth /admin/* {\n prefix /app/_wechat\n }\n reverse_proxy {$UPSTREAM}\n }\n handle {\n respond 404\n }", "/app"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{})
			w.caddyfile = strings.Replace(w.caddyfile, "\twechat_auth\n", "\t"+tt.gate+"\n\t"+strings.ReplaceAll(tt.site, "{$UPSTREAM}", w.upstream.addr())+"\n", 1)
			if err := w.reload(); err != nil {
				t.Fatal(err)
			}
			a := w.attacker()
			for _, open := range []string{"/public/x", "/public/.well-known/x", "/public/a%20b(1)!.png", "/public/a;v=1", "/public/%E4%BD%A0%E5%A5%BD?admin/x", "/public/a%2fb", "/public/100%25"} {
				if got := a.get(tt.prefix + open); got.Status != http.StatusOK || len(w.upstream.requests()) != 1 {
					t.Errorf("%s is not guarded, but answered with %d", open, got.Status)
				}
			}
			reached := 0
			for _, spelling := range pathSpellings() {
				got := a.get(tt.prefix + spelling)
				for _, s := range w.upstream.requests() {
					reached++
					if secretTarget(s.URI) {
						t.Errorf("%s gets through to the upstream as %s", spelling, s.URI)
					}
				}
				if got.Status >= 500 {
					t.Errorf("%s: %d", spelling, got.Status)
				}
			}
			if reached < 10 {
				t.Errorf("only %d of the spellings reach the upstream at all", reached)
			}
			w.noPanic()
		})
	}
}

// TestG1RequestTargets: a request need not have a path at all, or may carry a
// whole URL. What has no path to judge is guarded.
func TestG1RequestTargets(t *testing.T) {
	t.Parallel()
	for _, gate := range []string{"wechat_auth", "wechat_auth /admin/*", "@private not path /public/*\n wechat_auth @private"} {
		t.Run(gate, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{gate: gate})
			a := w.attacker()
			for _, line := range []string{
				"GET http://" + w.addr + "/admin/x HTTP/1.1",
				"GET http://" + w.addr + "/public/../admin/x HTTP/1.1",
				"GET http://evil.example/admin/x HTTP/1.1",
				"GET HTTP://" + w.addr + "/admin/x HTTP/1.1",
				"GET https://user:pass@" + w.addr + "/admin/x HTTP/1.1",
				"GET ftp://" + w.addr + "/admin/x HTTP/1.1",
				"GET http:/admin/x HTTP/1.1",
				"GET http:admin/x HTTP/1.1",
				"GET x:/admin/x HTTP/1.1",
				"GET x:admin/x HTTP/1.1",
				"GET //evil.example/admin/x HTTP/1.1",
				"GET //" + w.addr + "/admin/x HTTP/1.1",
				"GET ///admin/x HTTP/1.1",
				"GET admin/x HTTP/1.1",
				`GET \admin\x HTTP/1.1`,
				"GET * HTTP/1.1",
				"GET ? HTTP/1.1",
				"GET # HTTP/1.1",
				"GET /admin/x#/../../public/y HTTP/1.1",
				"GET /public/y#/../../admin/x HTTP/1.1",
				"GET /admin/x HTTP/1.0",
				"GET /admin/x HTTP/0.9",
				"GET /admin/x",
				"get /admin/x HTTP/1.1",
				"GeT /admin/x HTTP/1.1",
				"OPTIONS * HTTP/1.1",
				"OPTIONS /admin/x HTTP/1.1",
				"HEAD /admin/x HTTP/1.1",
				"TRACE /admin/x HTTP/1.1",
				"PRI * HTTP/2.0",
				"CONNECT " + w.addr + " HTTP/1.1",
				"CONNECT " + w.upstream.addr() + " HTTP/1.1",
				"CONNECT /admin/x HTTP/1.1",
				"CONNECT admin/x:80 HTTP/1.1",
				"CONNECT http://" + w.addr + "/admin/x HTTP/1.1",
				"PROPFIND /admin/x HTTP/1.1",
				"\x00 /admin/x HTTP/1.1",
				"GET /admin/x\x00 HTTP/1.1",
				"GET /admin/x\t HTTP/1.1",
				"GET  /admin/x HTTP/1.1",
				"GET /admin/x /public/y HTTP/1.1",
			} {
				a.hangUp()
				got := a.send([]string{line, "Host: " + w.addr, "Connection: close"}, "")
				for _, s := range w.upstream.requests() {
					if gate != "wechat_auth /admin/*" || secretTarget(s.URI) || !strings.HasPrefix(s.URI, "/") {
						t.Errorf("%q gets through to the upstream: %+v", line, s)
					}
				}
				if line == "CONNECT "+w.addr+" HTTP/1.1" && got.Status < 300 && got.Status != 0 {
					t.Errorf("%q is answered with %d", line, got.Status)
				}
			}
			w.noPanic()
		})
	}
}

// TestG1Hosts: where the matcher is of hosts, so are the spellings.
func TestG1Hosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	_, port, _ := strings.Cut(w.addr, ":")
	w.caddyfile = strings.Replace(w.caddyfile, "http://"+w.addr+" {", "http://:"+port+" {", 1)
	w.caddyfile = strings.Replace(w.caddyfile, "\twechat_auth\n", "\t@admin host admin.example\n\twechat_auth @admin {\n\t\tpublic_url http://"+w.addr+"\n\t}\n", 1)
	if err := w.reload(); err != nil {
		t.Fatal(err)
	}
	a := w.attacker()
	for _, host := range []string{
		"admin.example", "ADMIN.EXAMPLE", "Admin.Example:" + port, "admin.example:80", "admin.example:", "admin.example.", "ADMIN.example.:" + port, "admin.example..",
	} {
		got := a.send([]string{"GET /x HTTP/1.1", "Host: " + host}, "")
		if all := w.upstream.requests(); len(all) > 0 {
			t.Errorf("Host: %s gets through: %d %+v", host, got.Status, all)
		}
		got = a.send([]string{"GET http://" + host + "/x HTTP/1.1", "Host: open.example"}, "")
		if all := w.upstream.requests(); len(all) > 0 {
			t.Errorf("http://%s/x gets through: %d %+v", host, got.Status, all)
		}
	}
	for _, lines := range [][]string{
		{"GET /x HTTP/1.1", "Host: open.example", "Host: admin.example"},
		{"GET /x HTTP/1.1", "Host: open.example, admin.example"},
		{"GET /x HTTP/1.1", "Host: open.example\tadmin.example"},
		{"GET /x HTTP/1.1", "Host: open.example/admin.example"},
		{"GET /x HTTP/1.1"},
	} {
		a.hangUp()
		a.send(lines, "")
		for _, s := range w.upstream.requests() {
			if strings.Contains(s.Host, "admin.example") {
				t.Errorf("%q gets through: %+v", lines, s)
			}
		}
	}
	if got := a.send([]string{"GET /x HTTP/1.1", "Host: open.example"}, ""); got.Status != http.StatusOK {
		t.Errorf("a host that is not guarded: %d", got.Status)
	}
}

// TestG1PortalHasOneSpelling: a portal endpoint that also answers to another
// spelling is one that a rule in front of the gate does not cover, and a path
// that only begins like the portal is none of the upstream's either.
func TestG1PortalHasOneSpelling(t *testing.T) {
	t.Parallel()
	for _, gate := range []string{"wechat_auth", "wechat_auth /admin/*", "rewrite /else* /_wechat/login\n wechat_auth"} {
		t.Run(gate, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{gate: gate})
			a := w.attacker()
			const html = "Accept: text/html"
			if got := a.get("/_wechat/login", html); got.Status != http.StatusOK || !strings.Contains(got.Body, "page-data") {
				t.Fatalf("the plain spelling: %d %s", got.Status, got.Body)
			}
			for _, target := range []string{
				"/_wechat/%6cogin", "/%5fwechat/login", "/_wechat%2flogin", "/_wechat/login/", "/_wechat//login", "//_wechat/login", "/./_wechat/login",
				"/_wechat/./login", "/x/../_wechat/login", "/_wechat/x/../login", "/_wechat/login;x", "/_wechat;x/login", "/_wechat/login%00", "/_wechat/login%20",
				"/_wechat/login%23", "/_wechat/login.", `/_wechat\login`, "/_wechat%5clogin", "/_WECHAT/login", "/_wechat/LOGIN", "/_wechat/login%2f..%2flogin",
				"/_wechat/%2e/login", "/_wechat/%252e/login", "/else", "/else/_wechat/login", "/_wechat/..;/_wechat/login", "/_wechat%252flogin", "/_wechatx/login", "_wechat/login",
			} {
				got := a.get(target, html)
				if got.Status == http.StatusOK && strings.Contains(got.Body, "page-data") {
					t.Errorf("%s is the login page, too", target)
				}
			}
			w.upstream.requests()
			for _, target := range []string{
				"/_wechat/../admin/x", "/_wechat/..%2fadmin/x", "/_wechat/%2e%2e/admin/x", "/_wechat/..;/admin/x", "/_wechat/%252e%252e/admin/x", "/_wechat//../admin/x",
				"/_wechat/login/../../admin/x", `/_wechat/..\admin\x`, "/_wechat/..%5cadmin", "/_wechat/%00/../admin/x", "/_wechat", "/_wechat/", "/_wechat/x",
			} {
				got := a.get(target)
				if all := w.upstream.requests(); len(all) > 0 || got.Status == http.StatusOK {
					t.Errorf("%s: %d, upstream %+v", target, got.Status, all)
				}
			}
			for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "login", "\u00e9"} {
				got := a.send([]string{method + " /_wechat/login HTTP/1.1", "Host: " + w.addr, "Origin: " + w.origin(), "Content-Length: 0"}, "")
				if got.Status != http.StatusMethodNotAllowed && got.Status != http.StatusBadRequest && got.Status != http.StatusNotImplemented {
					t.Errorf("%s login: %d", method, got.Status)
				}
			}
			if all := w.upstream.requests(); len(all) > 0 {
				t.Errorf("the portal's paths reach the upstream: %+v", all)
			}
			w.noPanic()
		})
	}
}
