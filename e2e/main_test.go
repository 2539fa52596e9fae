// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-wechat/caddy-wechat"
	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

// asCaddy makes this test binary behave as the caddy command, so that each test
// has a Caddy process of its own, race detector included.
const asCaddy = "CADDY_WECHAT_E2E_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(chrometest.Run(m))
}
