// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

// maxEmail is the length, in bytes, of the longest address that SMTP carries.
const maxEmail = 254

// ErrAddress says that something is no e-mail address or phone number.
var ErrAddress = errors.New("not an address")

var (
	// international is E.164: a plus sign, a country and a number.
	international = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	// chinese is how people in China write their mobile numbers.
	chinese = regexp.MustCompile(`^(?:0086|86)?(1[3-9][0-9]{9})$`)
	// punctuation is what people put between the digits.
	punctuation = strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", "\u00a0", "")
	// plainLocal is the part before the @ as providers give it out: ASCII, unquoted.
	plainLocal = regexp.MustCompile("^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+$")
)

// Canonical returns the one form in which an address is kept and compared: a phone
// number as E.164, with +86 where no country is given; an e-mail address in lower
// case, its domain in ASCII. The error wraps ErrAddress.
func Canonical(ch Channel, address string) (string, error) {
	switch ch {
	case ByEmail:
		return canonicalEmail(address)
	case ByPhone:
		return canonicalPhone(address)
	default:
		return "", fmt.Errorf("%w: there is no channel %q", ErrAddress, ch)
	}
}

func canonicalPhone(raw string) (string, error) {
	digits := punctuation.Replace(strings.TrimSpace(raw))
	if m := chinese.FindStringSubmatch(digits); m != nil {
		return "+86" + m[1], nil
	}
	if !international.MatchString(digits) {
		return "", fmt.Errorf("%w: a phone number is written like 13800138000 or +8613800138000", ErrAddress)
	}
	return digits, nil
}

func canonicalEmail(raw string) (string, error) {
	wrong := fmt.Errorf("%w: an e-mail address is written like name@example.com", ErrAddress)
	raw = strings.TrimSpace(raw)
	local, domain, ok := strings.Cut(raw, "@")
	if !ok || len(raw) > maxEmail || strings.Contains(domain, "@") {
		return "", wrong
	}
	// ASCII only, before any change of case: a look-alike of a letter is another
	// mailbox, or none, and the lower case of the Kelvin sign is a plain k.
	if !plainLocal.MatchString(local) {
		return "", wrong
	}
	domain, err := canonicalDomain(domain)
	if err != nil {
		return "", wrong
	}
	address := strings.ToLower(local) + "@" + domain
	if parsed, err := mail.ParseAddress(address); err != nil || parsed.Address != address || len(address) > maxEmail {
		return "", wrong
	}
	return address, nil
}

// canonicalDomain is a domain in lower-case ASCII. What comes out goes through again:
// not every text that is taken is taken back.
func canonicalDomain(raw string) (string, error) {
	domain, err := idna.Lookup.ToASCII(raw)
	if err != nil {
		return "", err
	}
	if again, err := idna.Lookup.ToASCII(domain); err != nil || again != domain {
		return "", ErrAddress
	}
	return domain, nil
}

// Mask leaves enough of an address for the person to know it again, and too
// little for anybody else to use it.
func Mask(ch Channel, address string) string {
	if ch == ByEmail {
		local, domain, _ := strings.Cut(address, "@")
		return first(local, 1) + "…@" + domain
	}
	if len(address) < 8 {
		return "…"
	}
	return address[:len(address)-8] + "…" + address[len(address)-2:]
}

func first(s string, n int) string { return s[:min(n, len(s))] }
