// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// The collectors live as long as the process: each configuration has a registry
// of its own, and fresh collectors would begin at zero with every reload.
var counters = map[string]*prometheus.CounterVec{
	"attempt": newCounter("attempts_total", "Sign-in attempts, by account and by what became of them."),
	"push":    newCounter("pushes_total", "Message pushes received, by account and by what was done with them."),
	"session": newCounter("sessions_total", "Ends of sessions, by account and by cause."),
}

func newCounter(name, help string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "wechat", Name: name, Help: help,
	}, []string{"account", "result"})
}

// registerMetrics makes the counters visible through a configuration's registry.
func registerMetrics(registry *prometheus.Registry) error {
	if registry == nil {
		return nil
	}
	for _, c := range counters {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

func count(event, account, result string) {
	counters[event].WithLabelValues(account, result).Inc()
}
