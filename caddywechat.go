// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package caddywechat puts WeChat (微信) login in front of any site that Caddy
// serves. Importing it registers the Caddy modules:
//
//	xcaddy build --with github.com/caddy-wechat/caddy-wechat
package caddywechat

import (
	// The modules register themselves.
	_ "github.com/caddy-wechat/caddy-wechat/caddymodule"
)
