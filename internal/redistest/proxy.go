// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redistest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Proxy is a TCP proxy before one address that can harm the connections. Each of
// its modes replaces the one before. It is not for concurrent use.
//
// While it is slow and clients leave before two or more answers, Toxiproxy leaks
// goroutines in (*toxics.LatencyToxic).Pipe, which goleak then has to ignore.
type Proxy struct {
	env            Env
	addr, upstream string
	proxy          *toxiproxy.Proxy
	harmful        bool
}

// NewProxy starts a proxy that does no harm yet. It ends with the test.
func NewProxy(t Env, upstream string) *Proxy {
	t.Helper()
	for range 20 {
		p := &Proxy{env: t, addr: address(freePort(t)), upstream: upstream}
		err := p.start()
		if err == nil {
			t.Cleanup(p.Cut)
			return p
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("starting a proxy before %s: %v", upstream, err)
		}
	}
	t.Fatalf("starting a proxy before %s: each port that was tried is in use", upstream)
	return nil
}

// start starts without harm. It takes a new Toxiproxy each time, as that one
// deadlocks when it shall end the harm to a connection whose client has left.
func (p *Proxy) start() error {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p.proxy = toxiproxy.NewProxy(server, p.addr, p.addr, p.upstream)
	p.harmful = false
	return p.proxy.Start()
}

// Addr is the proxy's host and port. It never changes.
func (p *Proxy) Addr() string { return p.addr }

// Slow delays all that the upstream answers, to the millisecond.
func (p *Proxy) Slow(d time.Duration) {
	p.env.Helper()
	p.Heal()
	p.add(fmt.Sprintf(`{"type":"latency","stream":"downstream","attributes":{"latency":%d}}`, d.Milliseconds()))
}

// Hang lets connections stay and be made, and no byte pass in either direction.
func (p *Proxy) Hang() {
	p.env.Helper()
	p.Heal()
	for _, stream := range []string{"upstream", "downstream"} {
		p.add(fmt.Sprintf(`{"type":"timeout","stream":%q,"attributes":{"timeout":0}}`, stream))
	}
}

// Cut closes the connections and refuses new ones.
func (p *Proxy) Cut() {
	p.proxy.Stop()
	p.harmful = true
}

// Reset resets the connections (ECONNRESET) and then does no harm.
func (p *Proxy) Reset() {
	p.env.Helper()
	if err := p.resetOnClose(); err != nil {
		p.env.Fatalf("resetting the connections of a proxy: %v", err)
	}
	p.Cut()
	p.Heal()
}

// Heal ends all harm: new connections are accepted and their bytes pass. The
// connections that were slow or hung are closed.
func (p *Proxy) Heal() {
	p.env.Helper()
	if !p.harmful {
		return
	}
	p.proxy.Stop()
	// Another process may look at that moment whether the port is free.
	until(p.env, "the port of the proxy", p.start)
}

func (p *Proxy) add(toxic string) {
	p.env.Helper()
	p.harmful = true
	if _, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		p.env.Fatalf("adding %s to a proxy: %v", toxic, err)
	}
}

// resetOnClose makes the kernel reset the accepted connections when they are
// closed. Toxiproxy's own reset_peer does that to later connections only, and
// does not give the existing ones out, so they are found by their local address.
func (p *Proxy) resetOnClose() error {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, f := range files {
		fd, err := strconv.Atoi(f.Name())
		if err != nil {
			return err
		}
		local, err := syscall.Getsockname(fd)
		if err != nil {
			continue // no socket
		}
		if l, ok := local.(*syscall.SockaddrInet4); !ok || address(l.Port) != p.addr {
			continue
		}
		if err := syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}); err != nil {
			return err
		}
	}
	return nil
}
