// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package harness

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

var errNoEvent = errors.New("the stream ends without the event")

// Site is a gated site as its visitors see it: one host, whichever node they reach.
type Site struct {
	Host string
	// Client makes the requests. Its transport should keep a connection for each
	// visitor.
	Client *http.Client
}

// Attempt is one browser's try to sign in.
type Attempt struct {
	ID, Number string
	QR         struct{ URL string }
	cookie     string
}

// post sends a node what the page's script would send, and returns the cookie
// that the answer sets.
func (s Site) post(ctx context.Context, node, path, cookie string) (set string, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+node+path, strings.NewReader("{}"))
	if err != nil {
		return "", nil, err
	}
	req.Host = s.Host
	req.Header.Set("Origin", "http://"+s.Host)
	req.Header.Set("Cookie", cookie)
	resp, err := s.Client.Do(req)
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

// Begin begins an attempt at the address of a node.
func (s Site) Begin(ctx context.Context, node string) (*Attempt, error) {
	cookie, body, err := s.post(ctx, node, "/_wechat/attempts", "")
	if err != nil {
		return nil, err
	}
	a := &Attempt{cookie: cookie}
	if err := json.Unmarshal(body, a); err != nil {
		return nil, err
	}
	return a, nil
}

// SignIn signs a person in, begun at one node and ended at another one, and
// returns the session cookie.
func (s Site) SignIn(ctx context.Context, phone *wechattest.Phone, begin, end string) (cookie string, err error) {
	a, err := s.Begin(ctx, begin)
	if err != nil {
		return "", err
	}
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
	// To its end, so that the connection can serve again.
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if err := resp.Body.Close(); err != nil {
		return "", err
	}
	cookie, _, err = s.post(ctx, end, "/_wechat/attempts/"+a.ID+"/session", a.cookie)
	return cookie, err
}

// Stream is an open event stream.
type Stream struct {
	conn net.Conn
	in   *bufio.Reader
}

// Close closes the connection.
func (s *Stream) Close() { _ = s.conn.Close() }

// Watch opens the events of an attempt at a node and reads the first one.
func (s Site) Watch(ctx context.Context, node string, a *Attempt) (*Stream, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", node)
	if err != nil {
		return nil, err
	}
	// The buffers of browsers are not in Caddy's memory; here they are in ours.
	stream := &Stream{conn, bufio.NewReaderSize(conn, 1024)}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	_, err = fmt.Fprintf(conn, "GET /_wechat/attempts/%s/events HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\nCookie: %s\r\n\r\n", a.ID, s.Host, a.cookie)
	if err == nil {
		err = stream.await("pending")
	}
	if err != nil {
		stream.Close()
		return nil, err
	}
	return stream, nil
}

// await reads until an event says that the attempt is in the state.
func (s *Stream) await(state string) error {
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

// TimeScan begins an attempt at a node and waits there for its events. It
// returns how long it takes from the moment when the person scans to the event.
func (s Site) TimeScan(ctx context.Context, node string, phone *wechattest.Phone) (time.Duration, error) {
	a, err := s.Begin(ctx, node)
	if err != nil {
		return 0, err
	}
	stream, err := s.Watch(ctx, node, a)
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	var seen time.Time
	var lost error
	var browser sync.WaitGroup
	browser.Go(func() {
		lost = stream.await("scanned")
		seen = time.Now()
	})
	begun := time.Now()
	_, err = phone.Scan(ctx, a.QR.URL)
	if err != nil {
		stream.Close() // no event will come
	}
	browser.Wait()
	if err = cmp.Or(err, lost); err != nil {
		return 0, fmt.Errorf("scanning: %w", err)
	}
	return seen.Sub(begun), nil
}
