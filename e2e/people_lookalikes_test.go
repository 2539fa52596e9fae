// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// newTextMessages is a service that takes text messages for everybody, and the lines
// of the configuration that send them there.
func newTextMessages(t testing.TB, more string) (box *mailbox, users string) {
	t.Helper()
	box = &mailbox{t: t, mails: make(chan letter, 64)}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct{ To, Code string }
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		box.mails <- letter{m.To, m.Code}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(service.Close)
	return box, more + "\nbind phone {\nsender webhook {\nurl " + service.URL + "\n}\n}"
}

// lookalike is an address that somebody types, and where the code goes then: empty
// where it is no address.
type lookalike struct{ typed, goesTo string }

var emailLookalikes = []lookalike{
	{"alice@example.com", "alice@example.com"},
	{"ALICE@Example.COM", "alice@example.com"},
	{"  alice@example.com\t", "alice@example.com"},
	{"alice@example.com.", ""},
	{"alice @example.com", ""},
	{"al ice@example.com", ""},
	{"alice@example.com\u00a0mallory.example", ""},
	{"alice@example.com\x00", ""},
	{"alice@example.com\r\nBcc: mallory@example.com", ""},
	{"ａｌｉｃｅ@example.com", ""},
	{"alice＠example.com", ""},
	{"аlice@example.com", ""},      // a Cyrillic a
	{"al\u0131ce@example.com", ""}, // a Turkish i without a dot
	{"ALICE\u0307@example.com", ""},
	{"alice\u200b@example.com", ""},
	{"alice@\u212aexample.com", "alice@kexample.com"}, // the Kelvin sign
	{"alice@ex\u0430mple.com", "alice@xn--exmple-4nf.com"},
	{"alice@xn--exmple-4nf.com", "alice@xn--exmple-4nf.com"},
	{"alice@example.com@evil.example", ""},
	{"alice@evil.example@example.com", ""},
	{`"alice@example.com"@evil.example`, ""},
	{"<alice@example.com>", ""},
	{"Alice <alice@example.com>", ""},
	{"alice@example.com,mallory@evil.example", ""},
	{"alice@example.com;mallory@evil.example", ""},
	{"alice(comment)@example.com", ""},
	{"alice@example.com.evil.example", "alice@example.com.evil.example"},
	{"alice@evilexample.com", "alice@evilexample.com"},
	{"alice%example.com@evil.example", "alice%example.com@evil.example"},
	{"alice+x@example.com", "alice+x@example.com"},
	{"a.lice@example.com", "a.lice@example.com"},
	{"xalice@example.com", "xalice@example.com"},
	{"*@example.com", "*@example.com"},
}

var phoneLookalikes = []lookalike{
	{"13800138000", "+8613800138000"},
	{"+8613800138000", "+8613800138000"},
	{"8613800138000", "+8613800138000"},
	{"008613800138000", "+8613800138000"},
	{" +86 (138) 0013-8000 ", "+8613800138000"},
	{"+13800138000", "+13800138000"},
	{"+008613800138000", ""},
	{"+86+8613800138000", ""},
	{"0086+8613800138000", ""},
	{"868613800138000", ""},
	{"+868613800138000", "+868613800138000"},
	{"+086013800138000", ""},
	{"013800138000", ""},
	{"138001380001", ""},
	{"1380013800", ""},
	{"１３８００１３８０００", ""},
	{"＋8613800138000", ""},
	{"١٣٨٠٠١٣٨٠٠٠", ""},
	{"1380013800O", ""},
	{"13800138000,13900139000", ""},
	{"13800138000;ext=5", ""},
	{"tel:+8613800138000", ""},
	{"13800138000\n13900139000", ""},
	{"13800138000\u200b", ""},
	{"+8613800138001", "+8613800138001"},
	{"+85213800138000", "+85213800138000"},
	{"+8613800138000.", ""},
}

// TestG7Proven: rules let one address in and give a role to it. People prove addresses
// that look like it. Where registration is closed, only who gets the code that goes to
// the address itself is let in; where it is open, nobody else has the role. How the
// address is typed makes no difference (G7).
func TestG7Proven(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		channel, rules, only, field string
		all                         []lookalike
	}{
		{"email", "allow email Alice@EXAMPLE.com\nrole boss email alice@Example.com", "alice@example.com", "X-User-Email", emailLookalikes},
		{"phone", "allow phone 008613800138000\nrole boss phone 13800138000", "+8613800138000", "X-User-Phone", phoneLookalikes},
	} {
		for _, registration := range []string{"closed", "open"} {
			t.Run(tt.channel+" "+registration, func(t *testing.T) {
				t.Parallel()
				rules := "registration " + registration + "\n" + tt.rules
				box := newMailbox(t)
				users := box.users(rules)
				if tt.channel == "phone" {
					box, users = newTextMessages(t, rules)
				}
				w := newWorld(t, options{users: users, account: "confirm off\nnotify off", wechat: "limit codes off\nlimit attempts off"})
				for i, l := range tt.all {
					b := w.signInOff(fmt.Sprint("person", i))
					w.proves(t, b, box, tt.channel, l)
					if l.goesTo == "" || registration == "closed" && l.goesTo != tt.only {
						if got := b.do(http.MethodGet, "/api", nil); got.Status != http.StatusForbidden {
							t.Errorf("%q is let in: %d %s", l.typed, got.Status, got.Body)
						}
						continue
					}
					roles := ""
					if l.goesTo == tt.only {
						roles = "boss"
					}
					if got := w.identityOf(b); got.Get(tt.field) != l.goesTo || got.Get("X-User-Roles") != roles {
						t.Errorf("%q: the site is told %v", l.typed, got)
					}
				}
				w.noPanic()
			})
		}
	}
}

// signInOff signs a person in where the account asks for no confirmation.
func (w *world) signInOff(person string) *browser {
	w.t.Helper()
	b := w.browser()
	a := b.begin()
	w.scan(w.wechat.Phone(person), a)
	a.consume()
	return b
}

// proves types an address and, if a code goes anywhere, the code.
func (w *world) proves(t *testing.T, b *browser, box *mailbox, channel string, l lookalike) {
	t.Helper()
	form := url.Values{"channel": {channel}, "address": {l.typed}, "return_to": {"/"}}
	got := b.do(http.MethodPost, "/_wechat/bind/code", form)
	if l.goesTo == "" {
		if got.Status != http.StatusBadRequest {
			t.Errorf("%q is an address: %d", l.typed, got.Status)
		}
		return
	}
	if got.Status != http.StatusOK {
		t.Fatalf("POST bind/code for %q: %d %s", l.typed, got.Status, got.Body)
	}
	form.Set("code", box.code(l.goesTo))
	if got := b.do(http.MethodPost, "/_wechat/bind", form); got.Status != http.StatusSeeOther && got.Status != http.StatusForbidden {
		t.Errorf("POST bind for %q: %d %s", l.typed, got.Status, got.Body)
	}
}

// TestG7Rules: the rules name look-alikes of what a person has, each with a role of its
// own, and none of them lets the person in or gives its role. What can be nobody's at
// all is refused when the configuration is loaded (G7).
func TestG7Rules(t *testing.T) {
	t.Parallel()
	const none = "oNobody"
	box := newMailbox(t)
	w := newWorld(t, options{
		users: box.users("registration closed\nallow openid " + none), account: "confirm off\nnotify off",
		wechat: "limit codes off\nlimit attempts off",
	})
	alice := w.wechat.Phone("alice").OpenID(appID)
	fields := map[string]struct{ right, alike []string }{
		"openid": {[]string{alice}, []string{
			swapCase(alice), alice[:len(alice)-1], alice + "x", "x" + alice, alice + "\u00a0x", "о" + alice[1:], "ｏ" + alice[1:], alice + "\u200b", alice + "@" + alice, alice + "," + alice, "*", alice[:6] + "*",
		}},
		"email": {[]string{"alice@example.com", "ALICE@EXAMPLE.COM", "Alice@Example.Com"}, nil},
		"phone": {[]string{"13800138000", "+8613800138000", "8613800138000", "008613800138000"}, nil},
	}
	goesTo := map[string]string{"email": "alice@example.com", "phone": "+8613800138000"}
	for channel, all := range map[string][]lookalike{"email": emailLookalikes, "phone": phoneLookalikes} {
		f := fields[channel]
		for _, l := range all {
			rule := fmt.Sprintf("allow %s %q", channel, l.typed)
			switch {
			case strings.ContainsAny(l.typed, "\x00\r\n\t"), l.goesTo == goesTo[channel]:
			case l.goesTo == "":
				w.refusesRule(t, rule)
			default:
				f.alike = append(f.alike, l.typed)
			}
		}
		fields[channel] = f
	}
	for _, field := range []string{"openid", "email", "phone"} {
		w.refusesRule(t, fmt.Sprintf("allow %s %q", field, fields[field].right[0]+" "))
		w.refusesRule(t, fmt.Sprintf("role boss %s %q", field, " "+fields[field].right[0]))
		w.refusesRule(t, "allow "+field+` ""`)
	}
	// She has proven both addresses before, and the gateway knows her.
	entry := map[string]string{"id": "alice", "app_id": appID, "openid": alice, "email": goesTo["email"], "phone": goesTo["phone"], "status": "pending"}
	if got := w.adminAPI(http.MethodPost, "users/import", map[string]any{"users": []any{entry}}); !strings.Contains(got.Body, `"created"`) {
		t.Fatalf("importing: %d %s", got.Status, got.Body)
	}
	var lines []string
	for field, f := range fields {
		for i, value := range f.alike {
			lines = append(lines, fmt.Sprintf("allow %s %q\nrole %s-%d %s %q", field, value, field, i, field, value))
		}
	}
	w.reloadWith("allow openid "+none, strings.Join(lines, "\n"))
	a := w.browser().begin()
	w.scan(w.wechat.Phone("alice"), a)
	if got := a.session(); got.Status != http.StatusForbidden || got.json(t)["reason"] != "registration_closed" {
		t.Errorf("by look-alikes alone: %d %s", got.Status, got.Body)
	}
	now := strings.Join(lines, "\n")
	for field, f := range fields {
		for i, value := range f.right {
			then := slices.Concat(lines, []string{fmt.Sprintf("allow %s %q\nrole right-%d %s %q", field, value, i, field, value)})
			w.reloadWith(now, strings.Join(then, "\n"))
			now = strings.Join(then, "\n")
			b := w.signInOff("alice")
			if got := w.identityOf(b); got.Get("X-User-Id") != "alice" || got.Get("X-User-Roles") != fmt.Sprintf("right-%d", i) {
				t.Errorf("by %s %q: the site is told %v", field, value, got)
			}
		}
	}
}

// refusesRule fails the test where a configuration with the rule is loaded.
func (w *world) refusesRule(t *testing.T, rule string) {
	t.Helper()
	before := w.caddyfile
	defer func() { w.caddyfile = before }()
	w.caddyfile = strings.Replace(before, "registration closed\n", "registration closed\n"+rule+"\n", 1)
	if err := w.reload(); err == nil {
		t.Errorf("the rule %s is taken", rule)
	}
}

// swapCase is a text with the other case of each letter.
func swapCase(text string) string {
	return strings.Map(func(r rune) rune {
		if up := strings.ToUpper(string(r)); up != string(r) {
			return []rune(up)[0]
		}
		return []rune(strings.ToLower(string(r)))[0]
	}, text)
}
