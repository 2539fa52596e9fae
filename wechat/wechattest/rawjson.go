// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"encoding/json"
	"regexp"
)

// rawAnswer is an answer that is encoded already.
type rawAnswer []byte

var escapePattern = regexp.MustCompile(`\\(?:u00[01][0-9a-f]|.)`)

// encodeRaw leaves control characters as they are, which is no JSON: so WeChat
// sends what people have entered.
func encodeRaw(v any) rawAnswer {
	return escapePattern.ReplaceAllFunc(encodeJSON(v), func(escape []byte) []byte {
		var text string
		if json.Unmarshal([]byte(`"`+string(escape)+`"`), &text) != nil || text >= " " {
			return escape
		}
		return []byte(text)
	})
}
