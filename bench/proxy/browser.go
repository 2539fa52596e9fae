// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// attempt is one browser's try to sign in.
type attempt struct {
	ID, Number string
	QR         struct{ URL string }
	cookie     string
}

// post sends what the page's script would send, and returns the cookie that the
// answer sets.
func (w *world) post(ctx context.Context, path, cookie string) (set string, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.gated+path, strings.NewReader("{}"))
	if err != nil {
		return "", nil, err
	}
	req.Header.Set("Origin", "http://"+w.gated)
	req.Header.Set("Cookie", cookie)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("POST %s: %s %s", path, resp.Status, body)
	}
	set, _, _ = strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	return set, body, err
}

func (w *world) begin(ctx context.Context) (*attempt, error) {
	cookie, body, err := w.post(ctx, "/_wechat/attempts", "")
	if err != nil {
		return nil, err
	}
	a := &attempt{cookie: cookie}
	if err := json.Unmarshal(body, a); err != nil {
		return nil, err
	}
	return a, nil
}

// signIn signs a person in and returns the session cookie.
func (w *world) signIn(ctx context.Context) (cookie string, err error) {
	a, err := w.begin(ctx)
	if err != nil {
		return "", err
	}
	phone := w.wechat.Phone("alice")
	d, err := phone.Scan(ctx, a.QR.URL)
	if err != nil {
		return "", err
	}
	links := d.Reply.Links()
	if len(links) == 0 {
		return "", fmt.Errorf("there is no link in the chat: %w", d.Err)
	}
	resp, err := phone.Browser().PostForm(links[0], url.Values{"choice": {a.Number}}) //nolint:noctx // the program ends by itself
	if err != nil {
		return "", err
	}
	if err := resp.Body.Close(); err != nil {
		return "", err
	}
	cookie, _, err = w.post(ctx, "/_wechat/attempts/"+a.ID+"/session", a.cookie)
	return cookie, err
}

// stream is an open event stream.
type stream struct {
	conn net.Conn
	in   *bufio.Reader
}

// watch opens the events of an attempt and reads the first one.
func (w *world) watch(ctx context.Context, a *attempt) (*stream, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.gated)
	if err != nil {
		return nil, err
	}
	// The buffers of browsers are not in Caddy's memory; here they are in ours.
	s := &stream{conn, bufio.NewReaderSize(conn, 1024)}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	_, err = fmt.Fprintf(conn, "GET /_wechat/attempts/%s/events HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\nCookie: %s\r\n\r\n", a.ID, w.gated, a.cookie)
	if err == nil {
		err = s.await("pending")
	}
	return s, err
}

// await reads until an event says that the attempt is in the state.
func (s *stream) await(state string) error {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%w: %w", errNoEvent, err)
		}
		if strings.HasPrefix(line, "data:") && strings.Contains(line, `"state":"`+state+`"`) {
			return nil
		}
	}
}

// scans times n scans, one after the other: from the moment when the person scans
// to the event in the browser.
func (w *world) scans(ctx context.Context, n int) (took []time.Duration, err error) {
	phone := w.wechat.Phone("bob")
	for range n {
		a, err := w.begin(ctx)
		if err != nil {
			return nil, err
		}
		s, err := w.watch(ctx, a)
		if err != nil {
			return nil, err
		}
		var seen time.Time
		var failure error
		var browser sync.WaitGroup
		browser.Go(func() {
			failure = s.await("scanned")
			seen = time.Now()
		})
		begun := time.Now()
		_, err = phone.Scan(ctx, a.QR.URL)
		browser.Wait()
		_ = s.conn.Close()
		if err != nil || failure != nil {
			return nil, fmt.Errorf("scanning: %w, %w", err, failure)
		}
		took = append(took, seen.Sub(begun))
	}
	return took, nil
}

// wait has n browsers wait and returns Caddy's resident size before and after.
func (w *world) wait(ctx context.Context, n int) (before, after int, err error) {
	streams := make([]*stream, 0, n)
	defer func() {
		for _, s := range streams {
			_ = s.conn.Close()
		}
	}()
	if before, err = w.resident(); err != nil {
		return 0, 0, err
	}
	for range n {
		a, err := w.begin(ctx)
		if err != nil {
			return 0, 0, err
		}
		s, err := w.watch(ctx, a)
		if err != nil {
			return 0, 0, err
		}
		streams = append(streams, s)
	}
	after, err = w.resident()
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
