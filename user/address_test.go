// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"errors"
	"net/mail"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCanonical(t *testing.T) {
	long := strings.Repeat("a", 60)
	for _, tt := range []struct {
		name string
		ch   Channel
		raw  string
		want string // empty: no address
	}{
		{"plain", ByEmail, "alice@example.com", "alice@example.com"},
		{"upper case", ByEmail, "Alice@EXAMPLE.com", "alice@example.com"},
		{"spaces around", ByEmail, " alice@example.com\t", "alice@example.com"},
		{"plus and dots stay", ByEmail, "a.l.ice+x@example.com", "a.l.ice+x@example.com"},
		{"intranet", ByEmail, "alice@mailhost", "alice@mailhost"},
		{"international domain", ByEmail, "alice@例子.中国", "alice@xn--fsqu00a.xn--fiqs8s"},
		{"international domain in ASCII", ByEmail, "alice@XN--FSQU00A.xn--fiqs8s", "alice@xn--fsqu00a.xn--fiqs8s"},
		{"full-width domain is the same one", ByEmail, "alice@ｅxample。com", "alice@example.com"},
		{"no @", ByEmail, "alice.example.com", ""},
		{"two @", ByEmail, "alice@good.example@evil.example", ""},
		{"full-width @", ByEmail, "alice＠example.com", ""},
		{"no local part", ByEmail, "@mail.example.com", ""},
		{"no domain", ByEmail, "alice@", ""},
		{"empty", ByEmail, "", ""},
		{"with a name", ByEmail, "Alice <alice@example.com>", ""},
		{"in brackets", ByEmail, "<alice@example.com>", ""},
		{"two addresses", ByEmail, "alice@example.com,bob@example.com", ""},
		{"header", ByEmail, "alice@example.com\r\nBcc: bob@example.com", ""},
		{"header in the local part", ByEmail, "a\r\nBcc: bob@example.com", ""},
		{"quoted", ByEmail, `"alice x"@example.com`, ""},
		{"quoted @", ByEmail, `"a@b"@example.com`, ""},
		{"comment", ByEmail, "alice(comment)@example.com", ""},
		{"address literal", ByEmail, "alice@[192.0.2.1]", ""},
		{"space within", ByEmail, "al ice@example.com", ""},
		{"NUL", ByEmail, "alice\x00@example.com", ""},
		{"trailing dot", ByEmail, "alice@example.com.", ""},
		{"two dots", ByEmail, "alice..x@example.com", ""},
		{"dot at the end", ByEmail, "alice.@example.com", ""},
		{"empty label", ByEmail, "alice@example..com", ""},
		{"hyphen first", ByEmail, "alice@-example.com", ""},
		{"underscore domain", ByEmail, "alice@exam_ple.com", ""},
		{"Cyrillic local part", ByEmail, "аlice@example.com", ""},
		{"full-width local part", ByEmail, "ａlice@example.com", ""},
		{"Kelvin sign", ByEmail, "\u212Aate@example.com", ""}, // its lower case is k
		{"dotless i", ByEmail, "al\u0131ce@example.com", ""},
		{"zero width", ByEmail, "al\u200bice@example.com", ""},
		{"combining", ByEmail, "alice\u0301@example.com", ""},
		{"no UTF-8", ByEmail, "al\xffice@example.com", ""},
		{"254 bytes", ByEmail, long + "@" + long + "." + long + "." + long + ".aaaaaaaa.c", long + "@" + long + "." + long + "." + long + ".aaaaaaaa.c"},
		{"255 bytes", ByEmail, long + "@" + long + "." + long + "." + long + ".aaaaaaaaa.c", ""},
		{"wildcard", ByEmail, "*@example.com", "*@example.com"}, // is an ordinary letter, and compared as one

		{"mobile", ByPhone, "13800138000", "+8613800138000"},
		{"mobile with spaces", ByPhone, " 138 0013 8000 ", "+8613800138000"},
		{"mobile with hyphens", ByPhone, "138-0013-8000", "+8613800138000"},
		{"mobile with 86", ByPhone, "8613800138000", "+8613800138000"},
		{"mobile with 0086", ByPhone, "0086 138 0013 8000", "+8613800138000"},
		{"E.164", ByPhone, "+8613800138000", "+8613800138000"},
		{"E.164 with punctuation", ByPhone, "+1 (650) 253-0000", "+16502530000"},
		{"no-break space", ByPhone, "138\u00a00013\u00a08000", "+8613800138000"},
		{"no country", ByPhone, "6502530000", ""},
		{"landline", ByPhone, "01012345678", ""},
		{"too short", ByPhone, "+123456", ""},
		{"shortest", ByPhone, "+1234567", "+1234567"},
		{"longest", ByPhone, "+123456789012345", "+123456789012345"},
		{"too long", ByPhone, "+1234567890123456", ""},
		{"country 0", ByPhone, "+0613800138000", ""},
		{"two plus signs", ByPhone, "++8613800138000", ""},
		{"full-width digits", ByPhone, "１３８００１３８０００", ""},
		{"Arabic digits", ByPhone, "١٣٨٠٠١٣٨٠٠٠", ""},
		{"full-width plus", ByPhone, "＋8613800138000", ""},
		{"letters", ByPhone, "1380013800O", ""},
		{"two numbers", ByPhone, "13800138000\n13900139000", ""},
		{"extension", ByPhone, "13800138000,1", ""},
		{"e-mail", ByPhone, "alice@example.com", ""},
		{"empty", ByPhone, "", ""},
		{"other channel", "fax", "+8613800138000", ""},
	} {
		t.Run(string(tt.ch)+"/"+tt.name, func(t *testing.T) {
			got, err := Canonical(tt.ch, tt.raw)
			if got != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, ErrAddress) {
				t.Errorf("Canonical(%q) = %q, %v; want %q", tt.raw, got, err, tt.want)
			}
			if err != nil && tt.raw != "" && strings.Contains(err.Error(), tt.raw) {
				t.Errorf("the error tells the address: %v", err)
			}
		})
	}
}

// An attacker proves an address of his own that looks like one on the allow list, to
// a person, to a compare that folds case by Unicode, to a parser of addresses (G7,
// CVE-2026-40574). He has either an address that is another in canonical form, or none.
func TestCanonical_LookalikesAreNotAllowed(t *testing.T) {
	c := Policy{Registration: Closed, Allow: []Rule{{Email, "kate.li@good.example"}, {Phone, "+8613800138000"}}}.compile()
	for _, tt := range []struct {
		ch  Channel
		raw string
	}{
		{ByEmail, "\u212Aate.li@good.example"},
		{ByEmail, "kate.l\u0131@good.example"},
		{ByEmail, "kate.lі@good.example"}, // Cyrillic і
		{ByEmail, "kate.li@gооd.example"}, // Cyrillic о twice
		{ByEmail, "kate.li@good.example.evil.example"},
		{ByEmail, "kate.li@evil.example@good.example"},
		{ByEmail, `"kate.li@good.example"@evil.example`},
		{ByEmail, "kate.li@good.example(@evil.example)"},
		{ByEmail, "kate.li@good.example,x@evil.example"},
		{ByEmail, "x@evil.example <kate.li@good.example>"},
		{ByEmail, "kate.li+x@good.example"},
		{ByEmail, "kateli@good.example"},
		{ByEmail, "kate.li@good.example\x00.evil.example"},
		{ByEmail, "kate.li@g\u200dood.example"},
		{ByPhone, "+18613800138000"},
		{ByPhone, "+861380013800"},
		{ByPhone, "+86138001380000"},
		{ByPhone, "+13800138000"}, // a number of another country
		{ByPhone, "+8613800138000;ext=1"},
	} {
		address, err := Canonical(tt.ch, tt.raw)
		if err != nil {
			continue
		}
		u := new(User)
		if *u.address(tt.ch) = address; c.allows(u) {
			t.Errorf("%q is let in as %q", tt.raw, address)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, raw := range []string{"Alice@例子.中国", "13800138000", "0086 138-0013-8000", "+1 (650) 253-0000", "a@b@c", "a@ｅxample。com", "K@xn--a.com", "a@\u200d.c", "", "ß@ß.de", "a@xn--zca.de", "0@\x9b"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, ch := range []Channel{ByEmail, ByPhone, "fax"} {
			address, err := Canonical(ch, raw)
			if err != nil {
				if address != "" || !errors.Is(err, ErrAddress) {
					t.Errorf("Canonical(%s, %q) = %q, %v", ch, raw, address, err)
				}
				continue
			}
			if again, err := Canonical(ch, address); again != address || err != nil {
				t.Errorf("Canonical(%s, %q) = %q, of which it makes %q, %v", ch, raw, address, again, err)
			}
			for i := range len(address) {
				if address[i] <= ' ' || address[i] >= 0x7f || address[i] >= 'A' && address[i] <= 'Z' {
					t.Errorf("Canonical(%s, %q) = %q is not plain ASCII", ch, raw, address)
				}
			}
			if parsed, err := mail.ParseAddress(address); ch == ByEmail && (err != nil || parsed.Address != address || strings.Count(address, "@") != 1) {
				t.Errorf("a mail server would read %q as %v, %v", address, parsed, err)
			}
			if masked := Mask(ch, address); !utf8.ValidString(masked) || strings.Contains(masked, address) {
				t.Errorf("Mask(%q) = %q", address, masked)
			}
		}
	})
}

func TestMask(t *testing.T) {
	for _, tt := range []struct {
		ch            Channel
		address, want string
	}{
		{ByEmail, "alice@example.com", "a…@example.com"},
		{ByEmail, "a@example.com", "a…@example.com"},
		{ByPhone, "+8613800138067", "+86138…67"},
		{ByPhone, "+16502530000", "+165…00"},
		{ByPhone, "+1234567", "…67"},
		{ByPhone, "+12345", "…"},
		{ByPhone, "", "…"},
	} {
		if got := Mask(tt.ch, tt.address); got != tt.want {
			t.Errorf("Mask(%q) = %q, want %q", tt.address, got, tt.want)
		}
	}
}
