// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the gateway as its users meet it: a Caddy process started
// from a Caddyfile, the simulated WeChat on the other side, an upstream app that
// tells what reached it, and browsers. It holds tests only.
package e2e
