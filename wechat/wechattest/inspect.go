// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import "fmt"

// Scene returns what everybody knows who sees a QR code: its scene and its
// ticket. The errors are those of [Phone.Scan].
func (s *Server) Scene(qrURL string) (scene, ticket string, err error) {
	code, err := s.findCode(qrURL)
	if err != nil {
		return "", "", fmt.Errorf("reading a QR code: %w", err)
	}
	return code.scene, code.ticket, nil
}

// AccessTokens returns the access tokens that the account has been given, oldest
// first, for a test that looks for them where they must not be.
func (h *AccountHandle) AccessTokens() []string {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	var tokens []string
	for _, t := range h.server.accounts[h.appID].issued {
		tokens = append(tokens, t.value)
	}
	return tokens
}
