// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package sender_test

import (
	"io"
	"log"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-wechat/caddy-wechat/sender"
)

// quiet is where a server complains to of what its test does on purpose.
var quiet = log.New(io.Discard, "", 0)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret  = "password-never-to-be-shown"
	address = "bob.never.shown@example.com"
	number  = "+8613800138000"
)

// message is a code for an address.
func message(to string) sender.Message {
	return sender.Message{To: to, Code: "048213", Site: "My “site”", TTL: 10 * time.Minute, Language: "en"}
}

// wantSilent fails the test where an error shows what no log may hold.
func wantSilent(t *testing.T, err error) {
	t.Helper()
	for _, hidden := range []string{secret, address, "bob.never.shown", "13800138000", "048213"} {
		if err != nil && strings.Contains(err.Error(), hidden) {
			t.Errorf("the error shows %s: %v", hidden, err)
		}
	}
}

// wantError fails the test unless an error says something and shows no secret.
func wantError(t *testing.T, err error, says string) {
	t.Helper()
	wantSilent(t, err)
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want one that says %q", err, says)
	}
}
