// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"net/netip"
	"net/url"
	"slices"
)

// The login methods that the page treats in a way of their own, beyond their texts.
const (
	websiteQR = "website_qr"
	inWeChat  = "in_wechat"
)

// loginScripts are the scripts of the login page, in the order in which they build on
// one another.
var loginScripts = []string{"wire.js", "follow.js", "stage.js", "login.js"}

// script is what the login page tells its scripts, as a JSON data block. html/template
// encodes it so that no text in it can end the block.
type script struct {
	Prefix      string      `json:"prefix"`
	Methods     []string    `json:"methods"`
	ReturnTo    string      `json:"returnTo"`
	OnPhone     bool        `json:"onPhone"`
	InWeChat    bool        `json:"inWeChat"`
	FrameOrigin string      `json:"frameOrigin"`
	Text        scriptTexts `json:"text"`
}

func (p *Pages) script(d Login, t *texts) script {
	s := script{
		Prefix: p.site.Prefix, Methods: offered(d), ReturnTo: d.ReturnTo,
		OnPhone: d.OnPhone, InWeChat: d.InWeChat, Text: t.Script,
	}
	if slices.Contains(s.Methods, websiteQR) {
		s.FrameOrigin = origin(d.FrameOrigin)
	}
	return s
}

// offered returns the methods that the page can show to this visitor.
func offered(d Login) []string {
	known := make([]string, 0, len(d.Methods)) // never nil, which JSON would call null
	for _, m := range d.Methods {
		if english.MethodNames[m] != "" {
			known = append(known, m)
		}
	}
	if !d.InWeChat && len(known) > 1 {
		known = slices.DeleteFunc(known, func(m string) bool { return m == inWeChat })
	}
	return known
}

// origin returns text where it is the origin of a web page that may be shown in a
// frame, and nothing otherwise: it becomes part of a header. It must be https, or http
// on this very computer, where a simulator may stand in for WeChat.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme+"://"+u.Host != text || !isHost(u.Host) {
		return ""
	}
	if u.Scheme == "https" || (u.Scheme == "http" && isLoopback(u.Hostname())) {
		return text
	}
	return ""
}

// isHost refuses the signs that mean something in a Content-Security-Policy.
func isHost(host string) bool {
	for _, c := range host {
		plain := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == ':' || c == '[' || c == ']'
		if !plain {
			return false
		}
	}
	return true
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.IsLoopback())
}
