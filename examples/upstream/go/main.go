// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Command go is an app behind caddy-wechat: it greets people from the identity
// headers. Run it with `go run ./examples/upstream/go`.
package main

import (
	"cmp"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

func main() {
	// On the loopback interface only: whoever reaches this port past the gateway
	// can claim to be anybody.
	ln, err := net.Listen("tcp", "127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "3000")) //nolint:noctx // ends with the process
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening on", ln.Addr())
	server := &http.Server{Handler: http.HandlerFunc(greet), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, server.Serve(ln))
}

func greet(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-User-Id") // the key of a person: stable, unique
	name, err := url.PathUnescape(r.Header.Get("X-User-Name"))
	if err != nil || name == "" {
		name = cmp.Or(id, "stranger")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<p>Hello, %s (id %s).</p>\n", html.EscapeString(name), html.EscapeString(id))
}
