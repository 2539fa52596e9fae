// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

var errCursor = errors.New("checking a cursor: it is not one of this listing")

// position is how far a listing has come.
type position struct {
	address string   // of the node being scanned
	run     string   // names the server process that scan belongs to
	scan    uint64   // Redis's own cursor
	scanned bool     // every node, to the end
	found   []string // by the last scan, not returned yet
}

// within says whether the position can be one of a listing of prefix: a cursor
// must not bring other keys to light.
func (p position) within(prefix string) bool {
	for _, key := range p.found {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
	}
	return true
}

// cursor returns the form that callers hand out; it travels in URLs. It is empty
// at the end.
func (p position) cursor() string {
	if p.scanned && len(p.found) == 0 {
		return ""
	}
	scan := strconv.FormatUint(p.scan, 10)
	if p.scanned {
		scan = "end"
	}
	var b []byte
	for _, part := range append([]string{p.address, p.run, scan}, p.found...) {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(cursor string) (position, error) {
	if cursor == "" {
		return position{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return position{}, errCursor
	}
	var parts []string
	for len(b) > 0 {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) { //nolint:gosec // n is at most len(b)
			return position{}, errCursor
		}
		end := n + int(length) //nolint:gosec // at most len(b)
		parts, b = append(parts, string(b[n:end])), b[end:]
	}
	if len(parts) < 3 {
		return position{}, errCursor
	}
	p := position{address: parts[0], run: parts[1], found: parts[3:]}
	if p.scanned = parts[2] == "end"; p.scanned {
		return p, nil
	}
	if p.scan, err = strconv.ParseUint(parts[2], 10, 64); err != nil {
		return position{}, errCursor
	}
	return p, nil
}
