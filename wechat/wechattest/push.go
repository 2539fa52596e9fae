// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// maxLog is how many entries [Server.Log] keeps.
const maxLog = 4096

// RawPush is one push as bytes: WeChat's own, or a forged one.
type RawPush struct {
	Query       url.Values
	Body        []byte
	ContentType string // default: by the body, text/xml or application/json
}

// Attempt is one delivery of a push and its answer.
type Attempt struct {
	At     time.Time
	Push   RawPush
	Status int // 0: no answer
	Body   []byte
	Err    error // why there is no answer
}

// LogEntry is an attempt in the [Server.Log].
type LogEntry struct {
	AppID string
	Attempt
}

// Delivery tells what became of one event.
type Delivery struct {
	Event    Message
	Attempts []Attempt
	// Reply is what the chat shows: the answer, or WeChat's failure text. It is
	// the zero ChatMessage if the answer was "success" or empty.
	Reply ChatMessage
	// Err says why WeChat gave up or could not show the answer; nil if all is well.
	Err error
}

// Log returns the deliveries to all accounts in the order of their ends; the
// oldest are forgotten.
func (s *Server) Log() []LogEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// deliver pushes an event until it is answered, and shows the answer in the
// chat. It pushes nothing to an account without a verified push URL.
func (s *Server) deliver(ctx context.Context, p *Phone, appID string, m Message) (*Delivery, error) {
	app, err := s.begin(appID)
	if err != nil {
		return nil, err
	}
	defer s.pushes.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })() //nolint:contextcheck // the server's own life, besides ctx

	d := &Delivery{Event: m}
	if app.PushURL == "" || app.Unverified {
		return d, nil
	}
	if err := s.repeat(ctx, app, d); err != nil {
		return d, fmt.Errorf("delivering an event to %s: %w", appID, err)
	}
	if d.Err != nil {
		d.Reply = ChatMessage{FromAccount: true, System: true, Text: ServiceFailure, At: s.opts.Now()}
	}
	if d.Reply.Text != "" && m.Event != "unsubscribe" {
		p.show(appID, d.Reply)
	}
	return d, nil
}

// begin registers a delivery that Close has to wait for.
func (s *Server) begin(appID string) (Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Account{}, ErrClosed
	}
	s.pushes.Add(1)
	return s.accounts[appID].Account, nil
}

// repeat makes the attempts. It fails only if ctx ends.
func (s *Server) repeat(ctx context.Context, app Account, d *Delivery) error {
	push := s.push(app, d.Event)
	for n := range s.opts.PushAttempts {
		if n > 0 && !s.opts.IdenticalRetries {
			push = s.push(app, d.Event)
		}
		next := time.NewTimer(s.opts.PushSpacing)
		a := s.attempt(ctx, app, push)
		d.Attempts = append(d.Attempts, a)
		if ctx.Err() != nil {
			next.Stop()
			return context.Cause(ctx)
		}
		final := false
		if d.Err = a.Err; a.Err == nil {
			d.Reply, final, d.Err = app.readReply(a.Status, a.Body, d.Event.FromUserName, s.opts.Now())
		}
		if final || n == s.opts.PushAttempts-1 {
			next.Stop()
			return nil
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return context.Cause(ctx)
		}
	}
	return nil
}

func (s *Server) push(app Account, m Message) RawPush {
	body := m.XML()
	switch {
	case app.JSON:
		body = m.JSON()
	case s.opts.UnsplitCDATA:
		body = m.xml(unsplitCDATA)
	}
	return s.sign(app, body, forgery{mode: app.Mode, token: app.Token, appID: app.AppID, openid: m.FromUserName})
}

func (s *Server) attempt(ctx context.Context, app Account, push RawPush) Attempt {
	a := Attempt{At: s.opts.Now(), Push: push}
	ctx, cancel := context.WithTimeout(ctx, s.opts.PushTimeout)
	defer cancel()
	a.Status, a.Body, a.Err = s.Send(ctx, app.PushURL, push)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, LogEntry{app.AppID, a})
	s.log = s.log[max(0, len(s.log)-maxLog):]
	return a
}

// Send posts one push, forged or not, to target once and returns the answer. It
// follows no redirect.
func (s *Server) Send(ctx context.Context, target string, push RawPush) (status int, body []byte, err error) {
	req, err := newRequest(ctx, http.MethodPost, target, push.Query, push.Body)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", push.contentType())
	req.Header.Set("Pragma", "no-cache")
	return s.roundTrip(req)
}

func (p RawPush) contentType() string {
	switch {
	case p.ContentType != "":
		return p.ContentType
	case bytes.HasPrefix(bytes.TrimSpace(p.Body), []byte("{")):
		return "application/json"
	}
	return "text/xml"
}

// newRequest adds query to the one that target has already.
func newRequest(ctx context.Context, method, target string, query url.Values, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("preparing a request to the push URL: %w", err)
	}
	if len(query) > 0 && req.URL.RawQuery != "" {
		req.URL.RawQuery += "&"
	}
	req.URL.RawQuery += query.Encode()
	req.Header.Set("User-Agent", "Mozilla/4.0")
	req.Header.Set("Accept", "*/*")
	return req, nil
}

func (s *Server) roundTrip(req *http.Request) (status int, body []byte, err error) {
	client := &http.Client{
		Transport:     s.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("pushing to %s: %w", req.URL.Host, withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer of %s: %w", req.URL.Host, err)
	}
	return resp.StatusCode, body, nil
}

// withoutURL drops the query, which holds a signature.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// VerifyURL does what WeChat's console does when the owner submits a push URL:
// it asks for an echo, which must come back exactly, with status 200 and
// without a redirect. If so, pushes begin; if not, nothing changes.
// https://developers.weixin.qq.com/doc/oplatform/developers/dev/push/index.md
func (s *Server) VerifyURL(ctx context.Context, appID string) error {
	app, err := s.account(appID)
	if err != nil {
		return err
	}
	if app.PushURL == "" {
		return fmt.Errorf("verifying the push URL of %s: none is configured", appID)
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.PushTimeout)
	defer cancel()
	echo := randomDigits(19)
	timestamp, nonce := s.timestamp(), randomDigits(10)
	req, err := newRequest(ctx, http.MethodGet, app.PushURL, url.Values{
		"signature": {signature(app.Token, timestamp, nonce)},
		"timestamp": {timestamp}, "nonce": {nonce}, "echostr": {echo},
	}, nil)
	if err != nil {
		return err
	}
	status, body, err := s.roundTrip(req)
	switch {
	case err != nil:
		return fmt.Errorf("verifying the push URL of %s: %w", appID, err)
	case status != http.StatusOK:
		return fmt.Errorf("verifying the push URL of %s: it answered status %d, it must answer 200 itself", appID, status)
	case string(body) != echo:
		return fmt.Errorf("verifying the push URL of %s: it must answer the value of echostr and nothing else", appID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[appID].Unverified = false
	return nil
}

func (s *Server) account(appID string) (Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	app := s.accounts[appID]
	if app == nil {
		return Account{}, fmt.Errorf("finding account %s: it is not registered", appID)
	}
	return app.Account, nil
}

func (s *Server) timestamp() string { return strconv.FormatInt(s.opts.Now().Unix(), 10) }
