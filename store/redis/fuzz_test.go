// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"encoding/base64"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whoever may publish in Redis can send the nodes anything.
func FuzzDecodeMessage(f *testing.F) {
	for _, topic := range []string{"", "topic", string(make([]byte, 200))} {
		f.Add(topic, "payload")
		f.Add(encodeMessage(topic, ""), "")
	}
	f.Add("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "")
	f.Add("\x80\x80\x80", "\x05abc")
	f.Fuzz(func(t *testing.T, a, b string) {
		if topic, payload, ok := decodeMessage(a + b); ok && len(topic)+len(payload) >= len(a+b) {
			t.Errorf("a message of %d bytes has a topic of %d and a payload of %d", len(a+b), len(topic), len(payload))
		}
		if len(a) >= 1<<14 {
			return // no topic is so long
		}
		topic, payload, ok := decodeMessage(encodeMessage(a, b))
		if !ok || topic != a || payload != b {
			t.Errorf("%q, %q became %q, %q, %v", a, b, topic, payload, ok)
		}
	})
}

// A cursor travels in a URL, so anyone may send anything.
func FuzzParseCursor(f *testing.F) {
	for _, p := range []position{
		{address: "127.0.0.1:6379", run: "0123", scan: 1 << 63, found: []string{"", "wechat:a"}},
		{scanned: true, found: []string{"x"}},
		{},
	} {
		f.Add(p.cursor())
	}
	for _, raw := range []string{"", "\x00\x00\x03end", "\x00\x00\x01x", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a", "\x80"} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(raw)))
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		p, err := parseCursor(cursor)
		if err != nil {
			return
		}
		size := len(p.address) + len(p.run)
		for _, key := range p.found {
			size += len(key)
		}
		if size > len(cursor) {
			t.Errorf("a cursor of %d bytes holds %d", len(cursor), size)
		}
		if p.scanned && len(p.found) == 0 {
			return // the end, whose cursor is empty
		}
		again, err := parseCursor(p.cursor())
		if diff := cmp.Diff(p, again, cmp.AllowUnexported(position{})); err != nil || diff != "" && len(p.found)+len(again.found) > 0 {
			t.Errorf("it became another one: %v\n%s", err, diff)
		}
	})
}
