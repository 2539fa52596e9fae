// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// webhookTimeout bounds one request.
	webhookTimeout = 5 * time.Second
	// maxAnswer bounds, in bytes, what is read of an answer.
	maxAnswer = 64 << 10
	// defaultBody is for a service of one's own.
	defaultBody = `{"to":"{to}","code":"{code}","site":"{site}","minutes":"{minutes}","language":"{language}"}`
)

// WebhookConfig says which HTTP request sends a message.
type WebhookConfig struct {
	// URL gets the POST: https, or http on this machine.
	URL string
	// Header is added to the request, such as what authorizes it.
	Header http.Header
	// Body is JSON whose strings may hold placeholders; empty for one with all of them.
	Body string
	// SuccessPath names a member of the answer, such as "data.code" or "results.0.status",
	// which must be SuccessValue; empty where the status says all.
	SuccessPath, SuccessValue string
	// RootCAs are the authorities to trust; nil means the system's.
	RootCAs *x509.CertPool
}

// Webhook asks a service to send a message.
type Webhook struct {
	config WebhookConfig
	host   string
	client *http.Client
}

// NewWebhook returns a Webhook, or what is wrong with its configuration. It does not
// connect.
func NewWebhook(c WebhookConfig) (*Webhook, error) {
	c.Body = cmp.Or(c.Body, defaultBody)
	host, err := checkURL(c.URL)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(c.Header); err != nil {
		return nil, err
	}
	if err := checkBody(c.Body); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if (c.SuccessPath == "") != (c.SuccessValue == "") {
		return nil, errors.New("success has a path without a value, or the other way round: write both, like: success code OK")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	transport.TLSClientConfig = &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
	return &Webhook{config: c, host: host, client: &http.Client{
		Timeout: webhookTimeout, Transport: transport,
		// A redirect would take code and secrets elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// checkURL returns the host of the address, which is all of it that errors show.
func checkURL(raw string) (host string, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", errors.New("url cannot be used: write it like https://sms.example.com/send, without a user name, a password or a #")
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return u.Host, nil
	}
	return "", fmt.Errorf("url to %s is not encrypted: write https; http is for this machine only", u.Host)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// reserved are the headers that the request itself needs.
var reserved = []string{"Connection", "Content-Length", "Content-Type", "Host", "Transfer-Encoding"}

func checkHeader(h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) || slices.Contains(reserved, http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("header %q cannot be set: write a name like X-Api-Key, and not %s", name, strings.Join(reserved, ", "))
		}
		if slices.ContainsFunc(values, invalidValue) {
			return fmt.Errorf("header %s has a value with a line break or other control character: take it out", name)
		}
	}
	return nil
}

func invalidValue(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }

// checkBody says what is wrong with a template. In JSON that is valid with its
// placeholders each of them stands inside a string, where whatever is escaped can
// stand in its place.
func checkBody(body string) error {
	if !json.Valid([]byte(body)) {
		return fmt.Errorf("it is not JSON: write placeholders inside quotes, and the whole between backquotes, like `%s`", `{"phone":"{to}","code":"{code}"}`)
	}
	if !strings.Contains(body, code) || !strings.Contains(body, to) && !strings.Contains(body, toNational) {
		return fmt.Errorf("it lacks %s, or %s and %s: put both in", code, to, toNational)
	}
	return checkTemplate(body)
}

// inJSON escapes a value for the inside of a JSON string.
func inJSON(s string) string {
	quoted, _ := json.Marshal(s) // a string can always be encoded
	return string(quoted[1 : len(quoted)-1])
}

// Send implements Sender.
func (h *Webhook) Send(ctx context.Context, m Message) error {
	if err := checkNational(h.config.Body, m); err != nil {
		return err
	}
	body := fill(h.config.Body, m, inJSON)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.config.URL, strings.NewReader(body))
	if err != nil { // its text holds the URL
		return fmt.Errorf("the request to %s cannot be made: check url", h.host)
	}
	for name, values := range h.config.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Content-Type", "application/json")
	var asked atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { asked.Store(true) }}))
	resp, err := h.client.Do(req)
	if err != nil && asked.Load() {
		return fmt.Errorf("%w: %w", h.unreachable(err), ErrUncertain)
	}
	if err != nil {
		return h.unreachable(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err := h.status(resp.StatusCode); err != nil {
		return err
	}
	if h.config.SuccessPath == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: the answer of %s ended early: %w", ErrUnavailable, h.host, ErrUncertain)
	}
	return h.succeeded(answer, m)
}

// Close ends the connections that are kept for the next message.
func (h *Webhook) Close() { h.client.CloseIdleConnections() }

// unreachable says why there is no answer, without the URL, which may hold a secret.
func (h *Webhook) unreachable(err error) error {
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("the certificate of %s cannot be trusted: %w: write the host as the certificate names it, or name its authority's file as ca", h.host, untrusted)
	}
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%w: %s cannot be reached: %w", ErrUnavailable, h.host, failed)
	}
	return fmt.Errorf("%w: %s does not answer", ErrUnavailable, h.host)
}

// status says what the status of an answer means.
func (h *Webhook) status(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return fmt.Errorf("%w: %s answers with status %d", ErrUnavailable, h.host, status)
	case status >= 500:
		return fmt.Errorf("%w: %s answers with status %d: %w", ErrUnavailable, h.host, status, ErrUncertain)
	case status >= 300 && status < 400:
		return fmt.Errorf("%s answers with a redirect (status %d), which is not followed: write as url where it leads", h.host, status)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("%s refuses the secret (status %d): check header or bearer", h.host, status)
	default:
		return fmt.Errorf("%s refuses the request (status %d): compare url and body with its documentation", h.host, status)
	}
}

// succeeded looks for the sign of success in an answer.
func (h *Webhook) succeeded(answer []byte, m Message) error {
	if len(answer) > maxAnswer {
		return fmt.Errorf("the answer of %s is longer than %d KiB: check url: %w", h.host, maxAnswer>>10, ErrUncertain)
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber() // as it is written
	var v any
	if err := decoder.Decode(&v); err != nil {
		return fmt.Errorf("the answer of %s is not JSON, so %s cannot be found in it: check url: %w", h.host, h.config.SuccessPath, ErrUncertain)
	}
	found, ok := member(v, h.config.SuccessPath)
	if !ok {
		return fmt.Errorf("the answer of %s has no %s: compare success with its documentation: %w", h.host, h.config.SuccessPath, ErrUncertain)
	}
	if found == h.config.SuccessValue {
		return nil
	}
	return fmt.Errorf("%s did not send the message: %s is %s, not %s: look it up in its documentation",
		h.host, h.config.SuccessPath, h.shown(found, m), h.config.SuccessValue)
}

// member returns the text of what a path leads to, if that is no object, list or null.
func member(v any, path string) (text string, ok bool) {
	for name := range strings.SplitSeq(path, ".") {
		switch inner := v.(type) {
		case map[string]any:
			v = inner[name] // nil where there is none
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(inner) {
				return "", false
			}
			v = inner[i]
		default:
			return "", false
		}
	}
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	default:
		return "", false
	}
}

// errorCode is how services name their errors.
var errorCode = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

// shown is what may be shown of an answer: no part of what was sent, which a
// service may repeat.
func (h *Webhook) shown(found string, m Message) string {
	sent := []string{m.Code, strings.TrimPrefix(m.To, mainland)}
	for _, values := range h.config.Header {
		sent = append(sent, strings.Fields(strings.Join(values, " "))...)
	}
	sent = append(sent, strings.FieldsFunc(h.config.URL, func(r rune) bool { return strings.ContainsRune("/?&=", r) })...)
	if slices.ContainsFunc(sent, func(s string) bool { return repeats(found, s) }) || !errorCode.MatchString(found) {
		return "something else"
	}
	return found
}

// tellingLength is how much of a secret says something about it.
const tellingLength = 6

func repeats(found, sent string) bool {
	return len(sent) >= tellingLength && strings.Contains(found, sent) ||
		len(found) >= tellingLength && strings.Contains(sent, found)
}
