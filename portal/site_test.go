// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// TestG9SessionsOfASite: a session is good at the hosts of the site where it began,
// whatever becomes of schemes and ports at a reload; those that are older than this
// rule go on, and with a domain there is one login for all.
func TestG9SessionsOfASite(t *testing.T) {
	u := newUnit(t) // at https://example.com and https://www.example.com:8443
	person, _, err := u.Users.SignIn(t.Context(), user.Identity{AppID: unitApp, OpenID: "oAlice"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, site, domain string
		status             int
	}{
		{"this host", "example.com", "", http.StatusOK},
		{"another host of this site", "www.example.com", "", http.StatusOK},
		{"another site", "other.example", "", http.StatusUnauthorized},
		{"a subdomain", "app.example.com", "", http.StatusUnauthorized},
		{"a subdomain with one login", "app.example.com", "example.com", http.StatusOK},
		{"before sessions had a site", "", "", http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, cookie, err := u.Sessions.Issue(t.Context(), session.Session{ID: session.NewID(), UserID: person.ID, Site: tt.site})
			if err != nil {
				t.Fatal(err)
			}
			u.CookieDomain = tt.domain
			defer func() { u.CookieDomain = "" }()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, unitOrigin+"/", nil)
			r.Header.Set("Cookie", "__Host-wechat_session="+cookie)
			w := httptest.NewRecorder()
			u.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("%d, want %d", w.Code, tt.status)
			}
		})
	}
}

// The session that comes of an attempt names the host at which it was begun.
func TestSessionNamesItsSite(t *testing.T) {
	o := newOutage(t, login.ConfirmOff)
	id, scene := o.begin()
	o.push(scene)
	w := o.serve(http.MethodPost, "/_wechat/attempts/"+id+"/session", "")
	cookies := w.Result().Cookies()
	if w.Code != http.StatusOK || len(cookies) != 1 {
		t.Fatalf("POST session: %d %s", w.Code, w.Body)
	}
	s, err := o.Sessions.Check(t.Context(), cookies[0].Value)
	if err != nil || s.Site != hostnameOf(outageOrigin) || s.Site == "" {
		t.Errorf("the session is of %q: %v", s.Site, err)
	}
}

func TestHostnameOf(t *testing.T) {
	for address, want := range map[string]string{
		"https://example.com/_wechat": "example.com", "http://127.0.0.1:8080/x": "127.0.0.1", "http://[::1]:8080/x": "::1", "https://[2001:db8::1]": "2001:db8::1", ":": "",
	} {
		if got := hostnameOf(address); got != want {
			t.Errorf("hostnameOf(%q) = %q, want %q", address, got, want)
		}
	}
}
