// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"encoding/binary"
	"strings"
)

// encodeMessage puts a topic and a payload into one message: all topics share a
// channel.
func encodeMessage(topic, payload string) string {
	b := binary.AppendUvarint(nil, uint64(len(topic)))
	return string(b) + topic + payload
}

// decodeMessage is the reverse. ok is false for what this gateway has not sent.
func decodeMessage(message string) (topic, payload string, ok bool) {
	// No topic has a length that takes more bytes.
	head := []byte(message[:min(len(message), binary.MaxVarintLen16)])
	length, n := binary.Uvarint(head)
	if n <= 0 || length > uint64(len(message)-n) { //nolint:gosec // n is at most len(message)
		return "", "", false
	}
	rest := message[n:]
	return strings.Clone(rest[:length]), strings.Clone(rest[length:]), true
}
