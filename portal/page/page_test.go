// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

// rendering is one page of this package, as a caller asks for it.
type rendering struct {
	name     string
	status   int
	referrer string
	frame    string // the CSP directive that allows one, if any
	show     func(*Pages, http.ResponseWriter, *http.Request)
}

// renderings lists every page, filled with the given text wherever text goes.
func renderings(text string) []rendering {
	confirm := Confirm{
		Mode: ModeNumber, Choices: []string{"17", "42", "88"},
		Browser: text, Address: text, Host: text, At: time.Date(2026, 11, 21, 8, 9, 10, 0, time.UTC),
	}
	tap := confirm
	tap.Mode, tap.Choices = ModeTap, nil
	list := make([]rendering, 0, 6+noticeCount)
	list = append(list,
		rendering{"login", http.StatusOK, noReferrer, "", func(p *Pages, w http.ResponseWriter, r *http.Request) {
			p.Login(w, r, http.StatusOK, Login{ReturnTo: "/" + text, Methods: []string{"official_qr"}})
		}},
		rendering{"login in place", http.StatusUnauthorized, noReferrer, "", func(p *Pages, w http.ResponseWriter, r *http.Request) {
			p.Login(w, r, http.StatusUnauthorized, Login{ReturnTo: "/" + text})
		}},
		rendering{"confirm by number", http.StatusOK, originOnly, "", func(p *Pages, w http.ResponseWriter, r *http.Request) {
			p.Confirm(w, r, http.StatusOK, confirm)
		}},
		rendering{"confirm by tap", http.StatusOK, originOnly, "", func(p *Pages, w http.ResponseWriter, r *http.Request) {
			p.Confirm(w, r, http.StatusOK, tap)
		}},
		rendering{"logout", http.StatusOK, originOnly, "", func(p *Pages, w http.ResponseWriter, r *http.Request) {
			p.Logout(w, r, Logout{Name: text})
		}},
	)
	for kind := range noticeCount {
		notice := func(p *Pages, w http.ResponseWriter, r *http.Request) { p.Notice(w, r, http.StatusForbidden, kind) }
		list = append(list, rendering{fmt.Sprintf("notice %d", kind), http.StatusForbidden, noReferrer, "", notice})
	}
	list = append(list, peopleRenderings(text)...)
	list = append(list, bindRenderings(text)...)
	return append(list,
		rendering{"login by five methods", http.StatusOK, noReferrer, "; frame-src https://open.weixin.qq.com", func(p *Pages, w http.ResponseWriter, r *http.Request) {
			p.Login(w, r, http.StatusOK, Login{
				ReturnTo: "/" + text, Methods: slices.Clone(allMethods), InWeChat: true, FrameOrigin: "https://open.weixin.qq.com",
			})
		}},
	)
}

var allMethods = []string{"official_qr", "mini_qr", "website_qr", "in_wechat", "chat_code"}

func request(t *testing.T, method, language string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "https://example.com/deep/path?q=1", nil)
	if language != "" {
		r.Header.Set("Accept-Language", language)
	}
	return r
}

// parse renders a page and returns the answer with its parsed document.
func parse(t *testing.T, site Site, page rendering, language string) (*httptest.ResponseRecorder, *html.Node) {
	t.Helper()
	w := httptest.NewRecorder()
	page.show(New(site), w, request(t, http.MethodGet, language))
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatalf("parsing the page: %v", err)
	}
	return w, doc
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// elements returns the elements with one of the given names, in document order.
func elements(doc *html.Node, names ...string) []*html.Node {
	var found []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && slices.Contains(names, n.Data) {
			found = append(found, n)
		}
	}
	return found
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

var plainSite = Site{Title: "My site", Prefix: "/_wechat"}

func TestPages_Headers(t *testing.T) {
	for _, page := range renderings("x") {
		t.Run(page.name, func(t *testing.T) {
			w, _ := parse(t, plainSite, page, "en")
			if w.Code != page.status {
				t.Errorf("status %d, want %d", w.Code, page.status)
			}
			want := map[string]string{
				"Content-Type":               "text/html; charset=utf-8",
				"Cache-Control":              "no-store",
				"X-Content-Type-Options":     "nosniff",
				"X-Frame-Options":            "DENY",
				"Cross-Origin-Opener-Policy": "same-origin",
				"Referrer-Policy":            page.referrer,
				"X-Robots-Tag":               "noindex",
				"Content-Length":             fmt.Sprint(w.Body.Len()),
			}
			for name, value := range want {
				if got := w.Header().Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
		})
	}
}

func TestPages_Vary(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Vary", "Accept-Encoding") // set by a handler before
	New(plainSite).Login(w, request(t, http.MethodGet, ""), http.StatusUnauthorized, Login{})
	got := strings.Join(w.Header().Values("Vary"), ", ")
	for _, name := range []string{"Accept-Encoding", "Accept-Language", "Accept", "Cookie", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
		if !slices.Contains(strings.Split(got, ", "), name) {
			t.Errorf("Vary lacks %s: %s", name, got)
		}
	}
}

func TestPages_HeadHasNoBody(t *testing.T) {
	for _, page := range renderings("x") {
		t.Run(page.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			page.show(New(plainSite), w, request(t, http.MethodHead, "en"))
			if w.Body.Len() != 0 {
				t.Errorf("HEAD was answered with %d bytes", w.Body.Len())
			}
			if w.Code != page.status || w.Header().Get("Content-Length") == "" {
				t.Errorf("HEAD: status %d, Content-Length %q", w.Code, w.Header().Get("Content-Length"))
			}
		})
	}
}

// Whoever gets markup into a page must not get it run (CVE-2024-41658): the policy
// allows only what carries a nonce that is new in each answer.
func TestPages_ContentSecurityPolicy(t *testing.T) {
	seen := make(map[string]bool)
	for _, page := range renderings("x") {
		t.Run(page.name, func(t *testing.T) {
			w, doc := parse(t, plainSite, page, "zh")
			policy := w.Header().Get("Content-Security-Policy")
			_, rest, _ := strings.Cut(policy, "'nonce-")
			nonce, _, _ := strings.Cut(rest, "'")
			if len(nonce) < 22 || seen[nonce] {
				t.Fatalf("nonce %q is short or was used before", nonce)
			}
			seen[nonce] = true
			want := "default-src 'none'; script-src 'nonce-N'; style-src 'nonce-N'; img-src 'self' data:; " +
				"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'" + page.frame
			if diff := cmp.Diff(want, strings.ReplaceAll(policy, nonce, "N")); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			checkMarkup(t, doc, nonce)
		})
	}
}

// checkMarkup fails for a script or style without the nonce, and for anything the
// policy would block.
func checkMarkup(t *testing.T, doc *html.Node, nonce string) {
	t.Helper()
	for n := range doc.Descendants() {
		styles := n.Data == "style" || n.Data == "script" || (n.Data == "link" && attribute(n, "rel") == "stylesheet")
		if n.Type == html.ElementNode && styles && attribute(n, "nonce") != nonce {
			t.Errorf("<%s> without the nonce", n.Data)
		}
		for _, a := range n.Attr {
			checkAttribute(t, n.Data, a)
		}
	}
	if found := elements(doc, "base", "iframe", "object", "embed"); len(found) != 0 {
		t.Errorf("<%s> in a page", found[0].Data)
	}
}

func checkAttribute(t *testing.T, element string, a html.Attribute) {
	t.Helper()
	if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
		t.Errorf("<%s %s=…> is inline", element, a.Key)
	}
	if (a.Key == "src" || a.Key == "href" || a.Key == "action") && !ownURL(a.Val) {
		t.Errorf("<%s %s=%q> leads elsewhere", element, a.Key, a.Val)
	}
}

// ownURL reports whether a URL works at any path of the site and stays on it.
func ownURL(u string) bool {
	return u == "" || u == "/" || strings.HasPrefix(u, "#") || strings.HasPrefix(u, "/_wechat/")
}

// A site's title, a path, a nickname and a user agent are any text, and the last three
// are the attacker's (H8, Q13): each must come out as itself, and as text only.
func TestPages_HostileTextIsLiteral(t *testing.T) {
	hostile := []string{
		`</title></script><script>alert(1)</script>`,
		`"><img src=x onerror=alert(1)>' onfocus='alert(1)`,
		`{{.Nonce}} {env.SECRET} {file./etc/passwd} ${alert(1)} <!-- ]]>`,
		"\u202Eevil\u202C \u2028\u2029 🎉 張三",
		`\u003c/script> \ " ' & &amp; <!--<script>`,
	}
	for _, evil := range hostile {
		for _, page := range renderings(evil) {
			t.Run(page.name, func(t *testing.T) {
				w, doc := parse(t, Site{Title: evil, Prefix: "/_wechat"}, page, "en")
				nonce := attribute(elements(doc, "link")[1], "nonce")
				checkMarkup(t, doc, nonce)
				if got := len(elements(doc, "script")); got > 1+len(loginScripts) {
					t.Errorf("%d scripts:\n%s", got, w.Body)
				}
				if title := text(elements(doc, "title")[0]); !strings.Contains(title, evil) {
					t.Errorf("title %q does not show %q", title, evil)
				}
				isolated := elements(doc, "bdi")
				for _, n := range isolated {
					if text(n) != evil {
						t.Errorf("shown as %q, want %q", text(n), evil)
					}
				}
				if len(isolated) == 0 {
					t.Error("the page does not name the site")
				}
			})
		}
	}
}

func TestLogin_ScriptDataIsLiteral(t *testing.T) {
	evil := "/</script><script>alert(1)</script>?\"'\\\u2028\u202E&<!--"
	w := httptest.NewRecorder()
	New(plainSite).Login(w, request(t, http.MethodGet, "en"), http.StatusOK, Login{ReturnTo: evil, Methods: []string{"official_qr"}})
	doc, err := html.Parse(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got script
	if err := json.Unmarshal([]byte(text(elements(doc, "script")[0])), &got); err != nil {
		t.Fatalf("the data block is not JSON: %v", err)
	}
	want := script{Prefix: "/_wechat", Methods: []string{"official_qr"}, ReturnTo: evil, Text: english.Script}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func TestConfirm_Form(t *testing.T) {
	tests := []struct {
		name    string
		page    rendering
		choices []string
	}{
		{"number", renderings("x")[2], []string{"17", "42", "88", "cancel"}},
		{"tap", renderings("x")[3], []string{"cancel", "yes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, doc := parse(t, plainSite, tt.page, "en")
			form := elements(doc, "form")[0]
			if attribute(form, "method") != "post" || attribute(form, "action") != "" {
				t.Errorf("the form does not post to the page's own URL: %v", form.Attr)
			}
			var choices []string
			for _, b := range elements(form, "button") {
				if attribute(b, "name") != "choice" {
					t.Errorf("button named %q", attribute(b, "name"))
				}
				choices = append(choices, attribute(b, "value"))
			}
			if diff := cmp.Diff(tt.choices, choices); diff != "" {
				t.Errorf("choices (-want +got):\n%s", diff)
			}
			for _, shown := range []string{"My site", "2026-11-21 16:09:10", "2026-11-21T16:09:10&#43;08:00", english.ConfirmWarn} {
				if !strings.Contains(w.Body.String(), shown) {
					t.Errorf("the page does not show %q", shown)
				}
			}
		})
	}
}

func TestLogout_Form(t *testing.T) {
	_, doc := parse(t, plainSite, renderings("Zhang San")[4], "en")
	form := elements(doc, "form")[0]
	if attribute(form, "method") != "post" || attribute(form, "action") != "/_wechat/logout" {
		t.Errorf("form %v", form.Attr)
	}
	buttons := elements(form, "button")
	if len(buttons) != 2 || attribute(buttons[0], "name") != "" ||
		attribute(buttons[1], "name") != "everywhere" || attribute(buttons[1], "value") != "true" {
		t.Errorf("the form lacks one of its two buttons")
	}
}

func TestPages_UntitledSite(t *testing.T) {
	w, _ := parse(t, Site{Title: " ", Prefix: "/_wechat"}, renderings("x")[0], "en")
	if !strings.Contains(w.Body.String(), "Sign in to <bdi>this site</bdi>") {
		t.Error("the page names no site")
	}
}

func TestPages_Language(t *testing.T) {
	for _, page := range renderings("x") {
		for accept, want := range map[string]string{"": "zh-CN", "zh-TW,zh;q=0.9": "zh-CN", "en-GB": "en", "de": "en"} {
			_, doc := parse(t, plainSite, page, accept)
			if got := attribute(elements(doc, "html")[0], "lang"); got != want {
				t.Errorf("%s, Accept-Language %q: lang %q, want %q", page.name, accept, got, want)
			}
		}
	}
}

// The budget of design.md §8 is 30 KiB; these leave room for a growing page.
func TestLogin_Size(t *testing.T) {
	for _, language := range []string{"zh", "en"} {
		list := renderings("x")
		w, _ := parse(t, plainSite, list[len(list)-1], language)
		t.Logf("login page in %s: %d bytes, gzipped %d", language, w.Body.Len(), len(compress(w.Body.Bytes())))
		if w.Body.Len() > 12<<10 {
			t.Errorf("login page in %s: %d bytes, want at most 12 KiB uncompressed", language, w.Body.Len())
		}
	}
	for _, a := range loadAssets() {
		t.Logf("%s: %d bytes, gzipped %d", a.name, len(a.plain), len(a.gzipped))
		if len(a.gzipped) > 8<<10 {
			t.Errorf("%s: %d bytes gzipped, want at most 8 KiB", a.name, len(a.gzipped))
		}
	}
}

func BenchmarkLogin(b *testing.B) {
	p := New(plainSite)
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		p.Login(httptest.NewRecorder(), r, http.StatusUnauthorized, Login{ReturnTo: "/"})
	}
}

// A page that goes away by itself does so without scripts too, and no other loads anew.
func TestNotice_LoadsAnewWithoutScript(t *testing.T) {
	for kind := range noticeCount {
		w := httptest.NewRecorder()
		New(plainSite).Notice(w, request(t, http.MethodGet, "en"), http.StatusForbidden, kind)
		want := kind == Pending || kind == NotAdmitted || kind == RoleMissing
		if got := strings.Contains(w.Body.String(), `<noscript><meta http-equiv="refresh"`); got != want {
			t.Errorf("notice %d loads itself anew: %v, want %v", kind, got, want)
		}
	}
}
