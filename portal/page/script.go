// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

// script is what the login page tells its script, as a JSON data block. html/template
// encodes it so that no text in it can end the block.
type script struct {
	Prefix   string      `json:"prefix"`
	Method   string      `json:"method"`
	ReturnTo string      `json:"returnTo"`
	Text     scriptTexts `json:"text"`
}

func (p *Pages) script(d Login, t *texts) script {
	s := script{Prefix: p.site.Prefix, ReturnTo: d.ReturnTo, Text: t.Script}
	if len(d.Methods) > 0 {
		s.Method = d.Methods[0]
	}
	return s
}
