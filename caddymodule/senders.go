// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-wechat/caddy-wechat/sender"
)

func init() {
	caddy.RegisterModule(new(SMTP))
	caddy.RegisterModule(new(Webhook))
}

// sendersNamespace is that of the modules which implement sender.Sender.
const sendersNamespace = "wechat.senders."

// SMTP sends codes by e-mail.
type SMTP struct {
	// The mail server, such as `smtp.example.com`.
	Host string `json:"host,omitempty"`

	// The port of the mail server. Default: `587`; `465` for implicit TLS, `25` for none.
	Port int `json:"port,omitempty"`

	// How the connection is encrypted: `mandatory` (by STARTTLS, or nothing is
	// sent), `implicit` (from the first byte) or `off` (not at all, and without a
	// password). Default: `mandatory`; `implicit` on port 465.
	TLS sender.TLS `json:"tls,omitempty"`

	// A PEM file with the authorities to trust instead of the system's.
	CA string `json:"ca,omitempty"`

	// The user name and, as a placeholder, the password or authorization code.
	// Default: none.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// The sender, such as `My site <no-reply@example.com>`.
	From string `json:"from,omitempty"`

	// The subject and the text, with `{code}`, `{site}`, `{minutes}`, `{to}` and
	// `{language}`. Default: a text in the person's language.
	Subject string `json:"subject,omitempty"`
	Body    string `json:"body,omitempty"`

	// How long sending may take, up to `10s`. Default: `10s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	sender *sender.SMTP
}

// CaddyModule returns the Caddy module information.
func (*SMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: sendersNamespace + "smtp", New: func() caddy.Module { return new(SMTP) }}
}

// Provision resolves the placeholders and checks the configuration.
func (s *SMTP) Provision(caddy.Context) error {
	c := sender.SMTPConfig{Port: s.Port, TLS: s.TLS, Subject: s.Subject, Body: s.Body, Timeout: time.Duration(s.Timeout)}
	err := resolveAll([]setting{
		{"host", s.Host, &c.Host}, {"username", s.Username, &c.Username}, {"password", s.Password, &c.Password}, {"from", s.From, &c.From},
	})
	if err != nil {
		return err
	}
	if c.RootCAs, err = trusted(s.CA); err != nil {
		return err
	}
	s.sender, err = sender.NewSMTP(c)
	return err
}

// Send implements sender.Sender.
func (s *SMTP) Send(ctx context.Context, m sender.Message) error { return s.sender.Send(ctx, m) }

// UnmarshalCaddyfile reads
//
//	sender smtp {
//		host     <name>
//		port     <number>
//		tls      mandatory|implicit|off
//		ca       <file>
//		username <name>
//		password <secret>
//		from     <address>
//		subject  <text>
//		body     <text>
//		timeout  <duration>
//	}
func (s *SMTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	if d.NextArg() {
		return d.Errf("smtp takes a block, not %q: write the mail server inside it, like: host smtp.example.com", d.Val())
	}
	return parseBlock(d, subdirectives{
		"host":     text(&s.Host),
		"port":     number(&s.Port),
		"tls":      oneWord(&s.TLS, sender.StartTLS, sender.Implicit, sender.NoTLS),
		"ca":       text(&s.CA),
		"username": text(&s.Username),
		"password": text(&s.Password),
		"from":     text(&s.From),
		"subject":  text(&s.Subject),
		"body":     text(&s.Body),
		"timeout":  span(&s.Timeout),
	})
}

// Webhook sends codes through any service that takes a POST of JSON, such as the
// HTTP API of an SMS provider.
type Webhook struct {
	// Where the service is: https, or http on this machine. May hold placeholders.
	URL string `json:"url,omitempty"`

	// What the service asks for as `Authorization: Bearer …`, as a placeholder.
	Bearer string `json:"bearer,omitempty"`

	// Further headers. The values may hold placeholders.
	Headers map[string]string `json:"headers,omitempty"`

	// The request's body: JSON in whose strings `{to}`, `{to_national}`, `{code}`,
	// `{site}`, `{minutes}` and `{language}` may stand. Default: an object with
	// one member for each but `{to_national}`.
	Body string `json:"body,omitempty"`

	// What the answer says of success. Default: nothing, its status is enough.
	Success *Success `json:"success,omitempty"`

	// A PEM file with the authorities to trust instead of the system's.
	CA string `json:"ca,omitempty"`

	sender *sender.Webhook
}

// Success is a member of an answer and the value that it has where all went well.
type Success struct {
	// The names that lead to the member, such as `data.code`, or `results.0.status`
	// for the first of a list.
	Path string `json:"path"`
	// The value, as JSON writes it without quotes.
	Value string `json:"value"`
}

// CaddyModule returns the Caddy module information.
func (*Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: sendersNamespace + "webhook", New: func() caddy.Module { return new(Webhook) }}
}

// Provision resolves the placeholders and checks the configuration.
func (h *Webhook) Provision(caddy.Context) error {
	c := sender.WebhookConfig{Body: h.Body, Header: make(http.Header)}
	var bearer string
	err := resolveAll([]setting{{"url", h.URL, &c.URL}, {"bearer", h.Bearer, &bearer}})
	if err != nil {
		return err
	}
	for name, raw := range h.Headers {
		value, err := resolveSecret(raw)
		if err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
		c.Header.Add(name, value)
	}
	if bearer != "" {
		c.Header.Add("Authorization", "Bearer "+bearer)
	}
	if len(c.Header["Authorization"]) > 1 {
		return errors.New("bearer sets the header Authorization, too: keep one of the two")
	}
	if h.Success != nil {
		c.SuccessPath, c.SuccessValue = h.Success.Path, h.Success.Value
	}
	if c.RootCAs, err = trusted(h.CA); err != nil {
		return err
	}
	h.sender, err = sender.NewWebhook(c)
	return err
}

// Send implements sender.Sender.
func (h *Webhook) Send(ctx context.Context, m sender.Message) error { return h.sender.Send(ctx, m) }

// Cleanup ends the connections that are kept.
func (h *Webhook) Cleanup() error {
	if h.sender != nil {
		h.sender.Close()
	}
	return nil
}

// UnmarshalCaddyfile reads
//
//	sender webhook {
//		url     <url>
//		bearer  <secret>
//		header  <name> <value>
//		body    <json>
//		success <path> <value>
//		ca      <file>
//	}
func (h *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	if d.NextArg() {
		return d.Errf("webhook takes a block, not %q: write the address inside it, like: url https://sms.example.com/send", d.Val())
	}
	return parseBlock(d, subdirectives{
		"url":     text(&h.URL),
		"bearer":  text(&h.Bearer),
		"header":  h.parseHeader,
		"body":    text(&h.Body),
		"success": h.parseSuccess,
		"ca":      text(&h.CA),
	}, "header")
}

func (h *Webhook) parseHeader(d *caddyfile.Dispenser) error {
	var name, value string
	if !d.AllArgs(&name, &value) {
		return d.Err("header takes a name and a value, like: header X-Api-Key {env.SMS_KEY}")
	}
	name = http.CanonicalHeaderKey(name)
	if _, twice := h.Headers[name]; twice {
		return d.Errf("header %s stands twice: keep one", name)
	}
	if h.Headers == nil {
		h.Headers = make(map[string]string)
	}
	h.Headers[name] = value
	return nil
}

func (h *Webhook) parseSuccess(d *caddyfile.Dispenser) error {
	h.Success = new(Success)
	if !d.AllArgs(&h.Success.Path, &h.Success.Value) {
		return d.Err("success takes the path of a member of the answer and its value, like: success code OK")
	}
	return nil
}

// setting is a line whose value may hold placeholders.
type setting struct {
	name, raw string
	to        *string
}

// resolveAll resolves the settings that are set.
func resolveAll(settings []setting) error {
	for _, s := range settings {
		if s.raw == "" {
			continue
		}
		value, err := resolveSecret(s.raw)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		*s.to = value
	}
	return nil
}

// trusted are the authorities in a file; no file means the system's.
func trusted(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // the system's
	}
	_, pool, err := authorities(file)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return pool, nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*SMTP)(nil)
	_ caddyfile.Unmarshaler = (*SMTP)(nil)
	_ sender.Sender         = (*SMTP)(nil)
	_ caddy.Provisioner     = (*Webhook)(nil)
	_ caddy.CleanerUpper    = (*Webhook)(nil)
	_ caddyfile.Unmarshaler = (*Webhook)(nil)
	_ sender.Sender         = (*Webhook)(nil)
)
