// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestH9OurCookiesStayHere: the app behind the gate, or whoever reads its logs,
// must not get the cookies with which its visitors sign in. The app's own
// cookies arrive as they were.
func TestH9OurCookiesStayHere(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			o := options{scheme: scheme, gate: "wechat_auth /private/*"}
			if scheme == "https" {
				o.global = "auto_https disable_redirects"
			}
			w := newWorld(t, o)
			b := w.signIn("alice")
			b.begin() // so that there is a browser cookie, too
			ours := strings.Split(b.cookieValue(), "; ")
			if len(ours) != 2 {
				t.Fatalf("the browser has %q", ours)
			}
			a := w.attacker()
			for _, tt := range []struct{ lines, want []string }{
				{[]string{"OURS"}, nil},
				{[]string{"a=b; OURS; c=d"}, []string{"a=b; c=d"}},
				{[]string{"OURS;a=b;c=\"d e\""}, []string{`a=b; c="d e"`}},
				{[]string{"a=b", "OURS", "c=d"}, []string{"a=b; c=d"}},
				{[]string{"OURS; OURS"}, nil},
				{[]string{"a=b;;OURS;"}, []string{"a=b"}},
				{[]string{"  OURS  "}, nil},
				{[]string{"a=wechat_session; my_wechat_browser=x; OURS"}, []string{"a=wechat_session; my_wechat_browser=x"}},
			} {
				for _, path := range []string{"/private/x", "/open"} {
					var headers []string
					for _, line := range tt.lines {
						headers = append(headers, "Cookie: "+strings.ReplaceAll(line, "OURS", strings.Join(ours, "; ")))
					}
					got := a.get(path, headers...)
					if signedIn := len(headers) > 0; got.Status != http.StatusOK || !signedIn {
						t.Fatalf("%q %s: %d", tt.lines, path, got.Status)
					}
					s := w.upstream.last(t)
					if got := strings.Join(s.Header["Cookie"], "; "); strings.ReplaceAll(got, ";;", ";") != strings.Join(tt.want, "; ") {
						t.Errorf("%q %s: the upstream gets %q, want %q", tt.lines, path, got, tt.want)
					}
					for name, values := range s.Header {
						for _, ours := range ours {
							_, value, _ := strings.Cut(ours, "=")
							if strings.Contains(strings.Join(values, " "), value) {
								t.Errorf("%s: the upstream finds a cookie of ours in %s", path, name)
							}
						}
					}
				}
			}
			// Nor under the name that the cookie has without TLS, or with a domain.
			for _, name := range []string{"wechat_session", "__Host-wechat_session", "__Secure-wechat_session", "wechat_browser", "__Host-wechat_browser", "__Secure-wechat_browser"} {
				a.get("/open", "Cookie: x=y; "+name+"=secret")
				if got := w.upstream.last(t).Header.Get("Cookie"); got != "x=y" {
					t.Errorf("%s: the upstream gets %q", name, got)
				}
			}
		})
	}
}

// forgedTokens are tokens that Mallory makes himself, given one of his own.
func forgedTokens(t *testing.T, own string) []string {
	t.Helper()
	parts := strings.Split(own, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", own)
	}
	enc := base64.RawURLEncoding.EncodeToString
	head, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	signed := func(header, claims, key string) string {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(enc([]byte(header)) + "." + enc([]byte(claims))))
		return enc([]byte(header)) + "." + enc([]byte(claims)) + "." + enc(mac.Sum(nil))
	}
	never := strings.ReplaceAll(string(claims), `"exp":`, `"exp":9`)
	all := []string{
		"", ".", "..", "...", "a.b.c", parts[0], parts[0] + "." + parts[1], parts[0] + "." + parts[1] + ".", "." + parts[1] + "." + parts[2],
		own + ".", own + "=", own + "A", own + "." + parts[2], parts[0] + "." + enc([]byte(never)) + "." + parts[2], strings.ToUpper(own), strings.ToLower(own),
		strings.ReplaceAll(own, ".", ","), own[:len(own)/2], strings.Repeat(own, 2), strings.Repeat("A", 100_000), strings.Repeat(".", 400), "\x80\xff", "%00", "null", "[]", "{}",
		enc([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + ".", enc([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2], enc([]byte(`{}`)) + "." + parts[1] + "." + parts[2],
	}
	for _, alg := range []string{"none", "None", "NONE", "", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "hs256"} {
		all = append(all, signed(strings.Replace(string(head), "HS256", alg, 1), string(claims), ""))
	}
	for _, key := range []string{"", "\x00", secret, token, strings.Repeat("\x00", 32), "secret"} {
		all = append(all, signed(string(head), string(claims), key), signed(`{"alg":"HS256","kid":""}`, string(claims), key), signed(`{"alg":"HS256","kid":["x"],"jwk":{"k":""}}`, never, key),
			signed(`{"alg":"HS256","kid":"../../dev/null"}`, never, key), signed(string(head), `{"aud":"wechat_session","exp":1e400,"jti":"x"}`, key), signed(string(head), strings.Repeat("[", 300), key))
	}
	for i := range own { // one character changed, everywhere
		c := byte('A')
		if own[i] == c {
			c = 'B'
		}
		all = append(all, own[:i]+string(c)+own[i+1:])
	}
	return all
}

// TestG2GarbageCookies: whatever stands in the session cookie, it is this very
// one or none.
func TestG2GarbageCookies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	b := w.signIn("mallory")
	own, found := strings.CutPrefix(b.cookieValue(), "wechat_session=")
	if own, _, _ = strings.Cut(own, ";"); !found {
		_, own, _ = strings.Cut(b.cookieValue(), "wechat_session=")
	}
	if got := w.attacker().get("/", "Cookie: wechat_session="+own); got.Status != http.StatusOK {
		t.Fatalf("the cookie itself: %d", got.Status)
	}
	w.upstream.requests()
	a := w.attacker()
	for _, forged := range forgedTokens(t, own) {
		for _, line := range []string{"wechat_session=" + forged, "a=b; wechat_session=" + forged + "; wechat_session=x; wechat_session; wechat_session=\""} {
			got := a.get("/", "Cookie: "+line)
			if all := w.upstream.requests(); len(all) > 0 || got.Status < 400 || got.Status >= 500 {
				t.Errorf("%.300q: %d, upstream %v", line, got.Status, all)
			}
		}
	}
	w.noPanic()
}

// TestG2GarbageEverywhere sends what is none of anything to every place that
// takes something: the answer is never the upstream's, never a failure of the
// gateway, and never a panic.
func TestG2GarbageEverywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{wechat: "limit attempts off\nlimit confirms off"})
	a := w.attacker()
	garbage := []string{
		"", " ", "\x00", "\x01\x02", "\xff\xfe\xfd", "%", "%00", "%ff", "../", "..%2f", "{}", "[]", "null", "true", "-1", "1e999", "\"", "'", "<x>", "{{.}}", "${x}", "{env.HOME}",
		"\u202e", "😀", strings.Repeat("A", 27), strings.Repeat("A", 600), strings.Repeat("A", 5000), strings.Repeat("%41", 2000), strings.Repeat("[", 3000), strings.Repeat(`{"a":`, 700),
		`{"method":"official_qr","return_to":{}}`, `{"method":[]}`, `{"method":"official_qr"`, `{"method":"x"}`, `{"return_to":"//e"}`, `{"METHOD":"official_qr","method":1}`, "\xef\xbb\xbf{}",
		"choice=%zz", "choice=", "a=b&a=b;c", "choice=1&choice=2", "everywhere=true&everywhere=false", "\r\n", "tmp:attempt:x", "a/b", "a?b", "a#b", "a;b", "..", ".",
	}
	origin, host := "Origin: "+w.origin(), "Host: "+w.addr
	check := func(what, g string, got answer) {
		t.Helper()
		if all := w.upstream.requests(); len(all) > 0 {
			t.Errorf("%s %.60q: the upstream is reached: %+v", what, g, all)
		}
		if got.Status >= 500 && got.Status != http.StatusHTTPVersionNotSupported && what != "Transfer-Encoding" {
			t.Errorf("%s %.60q: %d %.200s", what, g, got.Status, got.Body)
		}
	}
	length := func(body string) string { return fmt.Sprint("Content-Length: ", len(body)) }
	for _, g := range garbage {
		for _, name := range []string{"Host", "Cookie", "Accept", "Accept-Language", "User-Agent", "Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Upgrade", "Connection", "Content-Type", "Content-Length", "Transfer-Encoding", "Trailer", "Forwarded", "X-Forwarded-For", "If-None-Match", "Range", "Expect", "Te"} {
			lines := []string{"GET / HTTP/1.1", host, name + ": " + g}
			if name == "Host" {
				lines = []string{"GET / HTTP/1.1", name + ": " + g}
			}
			a.hangUp()
			check(name, g, a.send(append(lines, "Connection: close"), ""))
		}
		for _, cookie := range []string{"wechat_session", "wechat_browser"} {
			check("cookie "+cookie, g, a.get("/_wechat/me", "Cookie: "+cookie+"="+g))
			check("cookie "+cookie, g, a.get("/_wechat/attempts/"+strings.Repeat("A", 26), "Cookie: "+cookie+"="+g))
		}
		for _, path := range []string{"attempts/", "attempts/" + g + "/events?", "confirm/", "push/", "assets/", "oauth/callback?state=", "oauth/failed/", "oauth/failed/refused?return_to=", "login?return_to=", "attempts/x?wait=", ""} {
			check("GET "+path, g, a.get("/_wechat/"+path+g))
		}
		check("DELETE", g, a.send([]string{"DELETE /_wechat/attempts/" + g + " HTTP/1.1", host, origin}, ""))
		check("session", g, a.send([]string{"POST /_wechat/attempts/" + g + "/session HTTP/1.1", host, origin, "Content-Length: 0"}, ""))
		for _, target := range []string{"attempts", "attempts/" + strings.Repeat("A", 26) + "/session", "logout", "confirm/" + strings.Repeat("A", 26), "push/" + appID, "push/" + appID + "?signature=" + g} {
			for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/xml", ""} {
				a.hangUp()
				check("POST "+target, g, a.send([]string{"POST /_wechat/" + target + " HTTP/1.1", host, origin, "Content-Type: " + contentType, length(g), "Connection: close"}, g))
			}
		}
		a.hangUp()
		check("method", g, a.send([]string{g + " / HTTP/1.1", host, "Connection: close"}, ""))
		a.hangUp()
		check("version", g, a.send([]string{"GET / " + g, host, "Connection: close"}, ""))
		a.hangUp()
		check("header", g, a.send([]string{"GET / HTTP/1.1", host, g}, ""))
	}
	w.noPanic()
	if logged := w.output.String(); strings.Contains(logged, `"level":"error"`) {
		for line := range strings.Lines(logged) {
			if strings.Contains(line, `"level":"error"`) && strings.Contains(line, "wechat") {
				t.Errorf("garbage is logged as a failure of the gateway's: %.500s", line)
			}
		}
	}
}

// planted returns a session cookie value of Mallory's own.
func (w *world) planted() string {
	w.t.Helper()
	_, value, _ := strings.Cut(w.signIn("mallory").cookieValue(), "wechat_session=")
	value, _, _ = strings.Cut(value, ";")
	return value
}

// TestG8PlantedCookies: Mallory has a host beside the site's, from where he can
// set cookies for all of example.com, but none with the __Host- prefix. He plants
// his own session, so that Alice works, unknowing, in his account, and a browser
// cookie whose value he knows, so that the attempts that her browser begins are
// his to consume.
func TestG8PlantedCookies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{scheme: "https", global: "auto_https disable_redirects"})
	session := w.planted()
	a := w.attacker()
	if got := a.get("/", "Cookie: __Host-wechat_session="+session); got.Status != http.StatusOK {
		t.Fatalf("the session itself: %d", got.Status)
	}
	w.upstream.requests()
	for _, name := range []string{"wechat_session", "__Secure-wechat_session", "__host-wechat_session", "__HOST-wechat_session", "__Host-__Host-wechat_session", "__Host- wechat_session"} {
		line := "Cookie: " + name + "=" + session
		if got := a.get("/", line); got.Status != http.StatusUnauthorized || len(w.upstream.requests()) > 0 {
			t.Errorf("%s is adopted: %d", name, got.Status)
		}
		if got := a.get("/_wechat/me", line); got.Status != http.StatusUnauthorized {
			t.Errorf("%s is adopted by me: %d", name, got.Status)
		}
	}
	known := strings.Repeat("A", 26)
	for _, name := range []string{"wechat_browser", "__Secure-wechat_browser", "__host-wechat_browser"} {
		begun := a.send([]string{"POST /_wechat/attempts HTTP/1.1", "Host: " + w.addr, "Origin: " + w.origin(), "Cookie: " + name + "=" + known, "Content-Length: 0"}, "")
		if begun.Status != http.StatusCreated {
			t.Fatalf("POST attempts: %d %s", begun.Status, begun.Body)
		}
		id, _ := begun.json(t)["id"].(string)
		if got := a.get("/_wechat/attempts/"+id, "Cookie: __Host-wechat_browser="+known); got.Status != http.StatusNotFound {
			t.Errorf("the attempt is bound to a planted %s: %d", name, got.Status)
		}
		set := (&http.Response{Header: begun.Header}).Cookies()
		if len(set) != 1 || set[0].Name != "__Host-wechat_browser" || set[0].Value == known {
			t.Errorf("%s planted: Set-Cookie %q", name, begun.Header["Set-Cookie"])
		}
	}
	// Nor is a value adopted that the gateway cannot have made.
	for _, value := range []string{"", "x", strings.Repeat("A", 25), strings.Repeat("A", 27), strings.Repeat("a", 26), strings.Repeat("1", 26), `"` + known + `"`, known + " x"} {
		begun := a.send([]string{"POST /_wechat/attempts HTTP/1.1", "Host: " + w.addr, "Origin: " + w.origin(), "Cookie: __Host-wechat_browser=" + value, "Content-Length: 0"}, "")
		if set := (&http.Response{Header: begun.Header}).Cookies(); len(set) != 1 || set[0].Value == value {
			t.Errorf("__Host-wechat_browser=%q is adopted: %d %q", value, begun.Status, begun.Header["Set-Cookie"])
		}
	}
}

// TestG8NewIDsAtLogin: signing in never takes over a session that is there, be it
// one's own or planted: the id is new and the session before is over.
func TestG8NewIDsAtLogin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, scheme, wechat, cookie, domain string
	}{
		{"host", "https", "", "__Host-wechat_session", ""},
		{"domain", "https", "session {\n domain example.com\n }", "__Secure-wechat_session", "example.com"},
		{"own name", "https", "session {\n cookie sid\n }", "__Host-sid", ""},
		{"loopback", "http", "", "wechat_session", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := options{scheme: tt.scheme, wechat: tt.wechat, account: "confirm off"}
			if tt.scheme == "https" {
				o.global = "auto_https disable_redirects"
			}
			w := newWorld(t, o)
			a := w.attacker()
			before := ""
			for range 3 {
				b := w.browser()
				at := b.begin()
				w.scan(w.wechat.Phone("alice"), at)
				browser := b.cookieValue() // the attempt's
				got := a.send([]string{
					"POST /_wechat/attempts/" + at.ID + "/session HTTP/1.1", "Host: " + w.addr, "Origin: " + w.origin(), "Content-Length: 0",
					"Cookie: " + browser + "; " + tt.cookie + "=" + before,
				}, "")
				set := (&http.Response{Header: got.Header}).Cookies()
				if got.Status != http.StatusOK || len(set) != 1 {
					t.Fatalf("POST session: %d %s, Set-Cookie %q", got.Status, got.Body, got.Header["Set-Cookie"])
				}
				c := set[0]
				if c.Name != tt.cookie || c.Value == before || c.Value == "" || c.Secure != (tt.scheme == "https") || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != tt.domain || len(c.Value) > 512 {
					t.Errorf("Set-Cookie: %s", c.Raw)
				}
				if before != "" {
					if got := a.get("/", "Cookie: "+tt.cookie+"="+before); got.Status != http.StatusUnauthorized {
						t.Errorf("the session before still lives: %d", got.Status)
					}
				}
				if got := a.get("/", "Cookie: "+tt.cookie+"="+c.Value); got.Status != http.StatusOK {
					t.Errorf("the new session: %d", got.Status)
				}
				before = c.Value
			}
		})
	}
}
