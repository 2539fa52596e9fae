// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"cmp"
	"strings"
)

// uaToken names what a part of a User-Agent header stands for.
type uaToken struct{ token, name string }

// The order matters: browsers claim to be those that stand below them.
var (
	uaBrowsers = []uaToken{
		{"MicroMessenger/", "WeChat"},
		{"Edg", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser/", "Samsung Internet"},
		{"QQBrowser/", "QQ Browser"},
		{"UCBrowser/", "UC Browser"},
		{"Firefox/", "Firefox"},
		{"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"},
		{"HeadlessChrome/", "Chrome"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
	}
	uaSystems = []uaToken{
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Android", "Android"},
		{"HarmonyOS", "HarmonyOS"},
		{"OpenHarmony", "HarmonyOS"},
		{"Windows", "Windows"},
		{"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"},
		{"Linux", "Linux"},
	}
)

// describeUserAgent says in a few words which browser this claims to be. Only
// words of ours come out, whatever goes in: they are shown in a chat.
func describeUserAgent(ua string) string {
	return cmp.Or(knownUserAgent(ua), "未知浏览器")
}

// knownUserAgent is describeUserAgent, but empty where nothing is known.
func knownUserAgent(ua string) string {
	browser, system := uaName(uaBrowsers, ua), uaName(uaSystems, ua)
	switch {
	case browser == "" || system == "":
		return browser + system
	default:
		return browser + " · " + system
	}
}

func uaName(tokens []uaToken, ua string) string {
	for _, t := range tokens {
		if strings.Contains(ua, t.token) {
			return t.name
		}
	}
	return ""
}
