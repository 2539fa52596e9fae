// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// portsTried is how many ports are tried before giving up.
const portsTried = 100

// listeners are at the demo's addresses. Caddy listens at that of the site itself;
// until then it is kept free for it.
type listeners struct{ site, phone, app net.Listener }

// listenAll listens at all of them, or at none.
func listenAll(o options) (l listeners, err error) {
	host := o.address.String()
	for i, at := range []struct {
		host string
		to   *net.Listener
	}{
		{host, &l.site},
		{host, &l.phone},
		// Whoever reaches the app directly can tell it any name: it is never on the network.
		{"127.0.0.1", &l.app},
	} {
		if *at.to, err = listen(at.host, next(o.port, i)); err != nil {
			for _, ln := range []net.Listener{l.site, l.phone, l.app}[:i] {
				_ = ln.Close()
			}
			return listeners{}, err
		}
	}
	return l, nil
}

// next is the port n after the first one; any port stays any port.
func next(first, n int) int {
	if first == 0 {
		return 0
	}
	return first + n
}

// listen listens on the first free port from the given one on.
func listen(host string, port int) (net.Listener, error) {
	var err error
	for tried := range portsTried {
		var ln net.Listener
		ln, err = new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(next(port, tried))))
		if err == nil {
			return ln, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%d ports of %s from %d on are busy: choose others with -port", portsTried, host, port)
	}
	return nil, fmt.Errorf("%w: is %s an address of this machine?", err, host)
}

// serve serves until Shutdown.
func serve(ln net.Listener, h http.Handler) *http.Server {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(ln) }() // returns at Shutdown
	return server
}
