// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"os"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

func TestMain(m *testing.M) { os.Exit(chrometest.Run(m)) }
