// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package harness

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// chrome is a navigation as Chrome sends it.
const chrome = "GET /app/page?tab=2 HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Windows\"\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n" +
	"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: zh-CN,zh;q=0.9,en;q=0.8\r\nCookie: theme=dark; %s\r\n\r\n"

// Target is where one client sends its requests: an address, the host that it
// asks there for, and the cookie that it shows.
type Target struct{ Addr, Host, Cookie string }

// Load sends requests, one client for each target, until the time is up. cpu is
// the processor time that Caddy has used so far.
func Load(ctx context.Context, targets []Target, span time.Duration, cpu func() (time.Duration, error)) (Result, error) {
	var requests atomic.Int64
	var all sync.WaitGroup
	failures := make(chan error, len(targets))
	before, err := cpu()
	if err != nil {
		return Result{}, err
	}
	begun := time.Now()
	for _, t := range targets {
		all.Go(func() {
			n, err := t.send(ctx, begun.Add(span))
			requests.Add(int64(n))
			if err != nil {
				failures <- err
			}
		})
	}
	all.Wait()
	took := time.Since(begun)
	after, err := cpu()
	select {
	case err = <-failures:
	default:
	}
	return Result{int(requests.Load()), took, after - before}, err
}

// send sends the request again and again over one connection.
func (t Target) send(ctx context.Context, until time.Time) (n int, err error) {
	request := fmt.Sprintf(chrome, t.Host, t.Cookie)
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(until.Add(10 * time.Second)); err != nil {
		return 0, err
	}
	in := bufio.NewReader(conn)
	for ; time.Now().Before(until); n++ {
		if _, err := io.WriteString(conn, request); err != nil {
			return n, err
		}
		if err := expectOK(in); err != nil {
			return n, err
		}
	}
	return n, nil
}

func expectOK(in *bufio.Reader) error {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the site answers %s", resp.Status)
	}
	return nil
}
