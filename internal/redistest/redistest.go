// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package redistest starts real Redis servers for tests: one server, a master
// with replicas and sentinels, a cluster, and a proxy that harms the network
// before one of them. It needs Linux and Debian's redis-server 7.0, and fails a
// test without them. It is for tests only.
package redistest

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	// patience bounds each wait for a server, in real time.
	patience = 30 * time.Second
	// pause is the time between two looks at what is awaited.
	pause = 10 * time.Millisecond
)

// Env is what starts servers and outlives them: a test, or Package.
// Every testing.TB is one.
type Env interface {
	Helper()
	TempDir() string
	Cleanup(f func())
	Fatalf(format string, args ...any)
}

// Package is the Env of servers that all tests of a package share. What it
// started ends with Main; a failure panics. A package starts such a server once:
//
//	var cluster = sync.OnceValue(func() *redistest.Cluster {
//		return redistest.StartCluster(redistest.Package)
//	})
var Package Env = new(packageEnv)

type packageEnv struct {
	mu       sync.Mutex
	cleanups []func()
}

func (*packageEnv) Helper() {}

func (*packageEnv) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (e *packageEnv) TempDir() string {
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		e.Fatalf("making a directory for a server: %v", err)
	}
	e.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (e *packageEnv) Cleanup(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanups = append(e.cleanups, f)
}

func (e *packageEnv) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range slices.Backward(e.cleanups) {
		f()
	}
	e.cleanups = nil
}

// Main runs the tests of a package that uses Package. Its TestMain calls
// os.Exit(redistest.Main{M: m}.Run()), or goleak.VerifyTestMain(redistest.Main{M: m}).
type Main struct{ M *testing.M }

// Run runs the tests and then ends what Package started. It returns the code to
// exit with.
func (m Main) Run() int {
	defer Package.(*packageEnv).end()
	return m.M.Run()
}

// until looks again and again whether something has come about, and fails when
// it does not. What check returns says what is missing.
func until(env Env, what string, check func() error) {
	env.Helper()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			env.Fatalf("waiting for %s: %v", what, err)
		}
		<-tick.C
	}
}
