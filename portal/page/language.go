// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"net/http"
	"strings"

	"golang.org/x/text/language"
)

// maxAcceptLanguage bounds, in bytes, what is parsed of the header. Browsers send
// fewer than 100.
const maxAcceptLanguage = 512

// Language returns the language to speak to the sender of a request: "zh" or "en",
// whichever Accept-Language ranks higher. A header with neither gives "en"; without
// the header it is "zh", for WeChat's people mostly read Chinese.
func Language(r *http.Request) string {
	header := strings.Join(r.Header.Values("Accept-Language"), ",")
	if strings.TrimSpace(header) == "" {
		return "zh"
	}
	if len(header) > maxAcceptLanguage {
		return "en"
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil {
		return "en"
	}
	for _, tag := range tags { // best first
		switch base, _ := tag.Base(); base.String() {
		case "zh", "yue":
			return "zh"
		case "en":
			return "en"
		}
	}
	return "en"
}

func textsFor(r *http.Request) *texts {
	if Language(r) == "zh" {
		return &chinese
	}
	return &english
}
