// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// healthTimeout bounds one look at the store.
	healthTimeout = time.Second
	// healthFresh is how long its result is good for, however many ask.
	healthFresh = time.Second
)

// checkup is the last look at the store.
type checkup struct {
	mu   sync.Mutex
	at   time.Time
	err  error
	done bool
}

// look returns what Ping says, or said a moment ago.
func (c *checkup) look(ctx context.Context, p *Portal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.done || p.Now().Sub(c.at) >= healthFresh {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
		defer cancel()
		c.err = p.Store.Ping(ctx)
		c.at, c.done = p.Now(), true
	}
	return c.err
}

// health is GET healthz, for load balancers: 200 where signed-in users can be
// served, else 503; one JSON line for each part. WeChat is none of the parts:
// this node is no better or worse than the others while it is away.
func (p *Portal) health(w http.ResponseWriter, r *http.Request) {
	status, state := http.StatusOK, "ok"
	if err := p.checkup.look(r.Context(), p); err != nil {
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
