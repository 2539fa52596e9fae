// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Command caddy is Caddy with its standard modules and caddy-wechat.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-wechat/caddy-wechat"
)

func main() {
	caddycmd.Main()
}
