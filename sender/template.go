// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The placeholders of templates.
const (
	to         = "{to}"          // the address
	toNational = "{to_national}" // a number of mainland China without its +86
	code       = "{code}"
	site       = "{site}"
	minutes    = "{minutes}" // for how long the code can be used
	language   = "{language}"
)

var placeholders = []string{to, toNational, code, site, minutes, language}

// placeholder is what looks like one. JSON has no such thing outside strings.
var placeholder = regexp.MustCompile(`\{[a-z_]+\}`)

// checkTemplate says which placeholder of a text is unknown.
func checkTemplate(text string) error {
	for _, name := range placeholder.FindAllString(text, -1) {
		if !slices.Contains(placeholders, name) {
			return fmt.Errorf("placeholder %s is unknown: use %s", name, strings.Join(placeholders, ", "))
		}
	}
	return nil
}

// fill replaces the placeholders of a checked text. What it inserts is escaped,
// and not looked at again.
func fill(text string, m Message, escape func(string) string) string {
	values := map[string]string{
		to: m.To, toNational: strings.TrimPrefix(m.To, mainland), code: m.Code, site: oneLine(m.Site),
		minutes:  strconv.Itoa(max(1, int(m.TTL.Round(time.Minute)/time.Minute))),
		language: m.Language,
	}
	return placeholder.ReplaceAllStringFunc(text, func(name string) string { return escape(values[name]) })
}

// mainland begins the numbers of mainland China.
const mainland = "+86"

// checkNational refuses an address that {to_national} could not tell from another:
// 14155550100 is +14155550100 without its plus, and +8614155550100 without its +86.
func checkNational(text string, m Message) error {
	if strings.Contains(text, toNational) && !strings.HasPrefix(m.To, mainland) {
		return fmt.Errorf("%w: %s stands for numbers of mainland China only; write {to} where the service takes others, too", ErrAddress, toNational)
	}
	return nil
}

// oneLine takes out what could end a header or hide in a line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}
