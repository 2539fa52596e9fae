// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// healthTimeout bounds one look at the store.
const healthTimeout = time.Second

// health is GET healthz, for load balancers: 200 where signed-in users can be
// served, else 503; one JSON line for each part. WeChat is none of the parts:
// this node is no better or worse than the others while it is away.
func (p *Portal) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	status, state := http.StatusOK, "ok"
	if err := p.Store.Ping(ctx); err != nil {
		status, state = http.StatusServiceUnavailable, "unavailable"
		p.warnings.do("health", func() { p.Log.Error("store unavailable", zap.Error(err)) })
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Part   string `json:"part"`
		Status string `json:"status"`
	}{"store", state})
}
