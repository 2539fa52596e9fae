// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"bytes"
	"unicode/utf8"
)

// WeChat copies what people write into JSON and XML as it is, control characters
// included, which neither format allows. They become spaces before anything is
// parsed. They are never removed: without what stood between them, a backslash
// and a quote, or ]] and >, would join to the end of the text, and the person
// could go on with fields of their own.

// spaceControls returns data without the bytes that JSON forbids in strings.
// Outside of strings they are white space, or as wrong as a space is there.
func spaceControls(data []byte) []byte {
	data = bytes.Clone(data)
	for i, b := range data {
		if b < ' ' {
			data[i] = ' '
		}
	}
	return data
}

// spaceForbidden returns data without the characters, and the bytes that are
// none, that XML 1.0 forbids.
func spaceForbidden(data []byte) []byte {
	clean := make([]byte, 0, len(data))
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if xmlCharacter(r) && (r != utf8.RuneError || size > 1) {
			clean = append(clean, data[:size]...)
		} else {
			clean = append(clean, ' ')
		}
		data = data[size:]
	}
	return clean
}

// xmlCharacter says that XML 1.0 has a way to write r.
// See https://www.w3.org/TR/xml/#charsets
func xmlCharacter(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= utf8.RuneError || r >= 0x10000
}
