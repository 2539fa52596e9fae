// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redistest

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"net"
	"sync"
)

// Ports are picked below the range from which the kernel gives ports to
// outgoing connections, so that a port stays free while its server is down.
const (
	firstPort = 10000
	lastPort  = 18999
)

// given are the ports that this process has used. None is given twice, as its
// server may be down for a while and come back.
var given struct {
	sync.Mutex
	ports map[int]bool
}

// freePort returns a port on 127.0.0.1 that nothing listens on. Another process
// may still be faster: who listens tries again with another.
func freePort(env Env) int {
	env.Helper()
	given.Lock()
	defer given.Unlock()
	if given.ports == nil {
		given.ports = make(map[int]bool)
	}
	for range 1000 {
		n, err := rand.Int(rand.Reader, big.NewInt(lastPort-firstPort+1))
		if err != nil {
			env.Fatalf("picking a port: %v", err)
		}
		port := firstPort + int(n.Int64())
		if !given.ports[port] && free(port) {
			given.ports[port] = true
			return port
		}
	}
	env.Fatalf("no port from %d to %d is free: end other servers there", firstPort, lastPort)
	return 0
}

func free(port int) bool {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", address(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
