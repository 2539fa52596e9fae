// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"time"

	"github.com/caddy-wechat/caddy-wechat/bench/internal/harness"
)

// scans times n scans, one after the other: from the moment when the person scans
// to the event in the browser.
func (w *world) scans(ctx context.Context, n int) (took []time.Duration, err error) {
	phone := w.wechat.Phone("bob")
	for range n {
		d, err := w.site.TimeScan(ctx, w.gated, phone)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	return took, nil
}

// wait has n browsers wait and returns Caddy's resident size before and after.
func (w *world) wait(ctx context.Context, n int) (before, after int, err error) {
	streams := make([]*harness.Stream, 0, n)
	defer func() {
		for _, s := range streams {
			s.Close()
		}
	}()
	if before, err = w.caddy.Resident(); err != nil {
		return 0, 0, err
	}
	for range n {
		a, err := w.site.Begin(ctx, w.gated)
		if err != nil {
			return 0, 0, err
		}
		s, err := w.site.Watch(ctx, w.gated, a)
		if err != nil {
			return 0, 0, err
		}
		streams = append(streams, s)
	}
	after, err = w.caddy.Resident()
	return before, after, err
}

// size is what a page takes over the wire.
type size struct{ page, assets int }

var assetURL = regexp.MustCompile(`(?:src|href)="(/_wechat/assets/[^"]+)"`)

// pageSize loads the login page as a browser does that has nothing cached.
func (w *world) pageSize(ctx context.Context) (s size, err error) {
	page, raw, err := w.fetch(ctx, "/")
	if err != nil {
		return size{}, err
	}
	s.page = raw
	for _, m := range assetURL.FindAllSubmatch(page, -1) {
		_, n, err := w.fetch(ctx, string(m[1]))
		if err != nil {
			return size{}, err
		}
		s.assets += n
	}
	return s, nil
}

// fetch returns a body and how many bytes came over the wire for it.
func (w *world) fetch(ctx context.Context, path string) (body []byte, raw int, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.gated)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nConnection: close\r\n\r\n", path, w.gated); err != nil {
		return nil, 0, err
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		return nil, 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), nil)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return body, len(all), err
}
