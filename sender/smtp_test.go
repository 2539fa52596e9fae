// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package sender_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/caddy-wechat/caddy-wechat/sender"
)

// read returns the header and the text of an e-mail.
func (m mail) read(t *testing.T) (netmail.Header, string) {
	t.Helper()
	parsed, err := netmail.ReadMessage(bytes.NewReader(m.raw))
	if err != nil {
		t.Fatalf("%v in\n%s", err, m.raw)
	}
	if enc := parsed.Header.Get("Content-Transfer-Encoding"); enc != "quoted-printable" {
		t.Fatalf("encoding %q", enc)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Header, strings.ReplaceAll(string(text), "\r\n", "\n")
}

func subject(t *testing.T, h netmail.Header) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mustSMTP returns the sender for a server on this machine.
func mustSMTP(t *testing.T, c sender.SMTPConfig) *sender.SMTP {
	t.Helper()
	if c.Host == "" {
		c.Host = "localhost"
	}
	if c.From == "" {
		c.From = "My site <no-reply@example.com>"
	}
	s, err := sender.NewSMTP(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The ways to reach a mail server, each by a conversation with one.
func TestSMTP_Send(t *testing.T) {
	ca := newAuthority(t, "localhost")
	for _, test := range []struct {
		name       string
		mechanisms []string
		config     sender.SMTPConfig
	}{
		{"STARTTLS", nil, sender.SMTPConfig{}},
		{"STARTTLS and PLAIN", []string{sasl.Plain}, sender.SMTPConfig{Username: "robot", Password: secret}},
		{"STARTTLS and LOGIN", []string{sasl.Login}, sender.SMTPConfig{Username: "robot", Password: secret}},
		{"implicit TLS", nil, sender.SMTPConfig{TLS: sender.Implicit}},
		{"implicit TLS and PLAIN", []string{sasl.Plain}, sender.SMTPConfig{TLS: sender.Implicit, Username: "robot", Password: secret}},
		{"off", nil, sender.SMTPConfig{TLS: sender.NoTLS}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := &mailServer{mechanisms: test.mechanisms}
			if test.config.TLS == sender.Implicit {
				test.config.Port = server.start(t, ca.server)
			} else {
				server.tls = ca.server
				test.config.Port = server.start(t, nil)
			}
			test.config.RootCAs = ca.trusted
			if err := mustSMTP(t, test.config).Send(t.Context(), message(address)); err != nil {
				t.Fatal(err)
			}
			mails := server.received()
			if len(mails) != 1 {
				t.Fatalf("%d e-mails", len(mails))
			}
			got := mails[0]
			if got.from != "no-reply@example.com" || got.to != address || got.user != test.config.Username || got.encrypted != (test.config.TLS != sender.NoTLS) {
				t.Errorf("envelope %q to %q by %q, encrypted %v", got.from, got.to, got.user, got.encrypted)
			}
			header, text := got.read(t)
			if s := subject(t, header); s != "048213 is your code for My “site”" {
				t.Errorf("subject %q", s)
			}
			if !strings.Contains(text, "\n    048213\n") || !strings.Contains(text, "within 10 minutes") {
				t.Errorf("text %q", text)
			}
			if header.Get("From") != `"My site" <no-reply@example.com>` || header.Get("To") != "<"+address+">" || header.Get("Auto-Submitted") != "auto-generated" ||
				!strings.HasSuffix(header.Get("Message-Id"), "@example.com>") || header.Get("User-Agent") != "" || header.Get("Date") == "" {
				t.Errorf("header %v", header)
			}
		})
	}
}

func TestSMTP_Texts(t *testing.T) {
	for _, test := range []struct {
		name, language, subject, body string
		wantSubject, wantText         string
	}{
		{"Chinese", "zh", "", "", "048213 是你的 My “site” 验证码", "10 分钟内有效"},
		{"English", "en", "", "", "048213 is your code for My “site”", "can be used once"},
		{"the operator's", "zh", "{site}: {code}", "{to} {to} {code} {minutes} {language} {no thing}", "My “site”: 048213", address + " " + address + " 048213 10 zh {no thing}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := new(mailServer)
			s := mustSMTP(t, sender.SMTPConfig{TLS: sender.NoTLS, Port: server.start(t, nil), Subject: test.subject, Body: test.body})
			m := message(address)
			m.Language = test.language
			if err := s.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			header, text := server.received()[0].read(t)
			if got := subject(t, header); got != test.wantSubject {
				t.Errorf("subject %q, want %q", got, test.wantSubject)
			}
			if !strings.Contains(text, test.wantText) {
				t.Errorf("text %q, want %q in it", text, test.wantText)
			}
		})
	}
}

// Somebody who gets a line break into a value would write headers, or SMTP commands,
// of his own: a Bcc to read the codes of others, a Reply-To, a second message.
func TestSMTP_NothingIsInjected(t *testing.T) {
	server := new(mailServer)
	s := mustSMTP(t, sender.SMTPConfig{TLS: sender.NoTLS, Port: server.start(t, nil), Subject: "{site} {code} {language}", Body: "{site} {code}"})
	evil := "x\r\nBcc: eve@example.com\r\n\r\n.\r\nMAIL FROM:<eve@example.com>\r\n"
	m := message(address)
	m.Site, m.Language = evil, evil
	if err := s.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	header, _ := server.received()[0].read(t)
	if header.Get("Bcc") != "" || strings.ContainsAny(subject(t, header), "\r\n") {
		t.Errorf("header %v", header)
	}
	for _, to := range []string{
		"bob@example.com\r\nBcc: eve@example.com", "bob@example.com>\r\nDATA", "bob@example.com, eve@example.com",
		"Bob <bob@example.com>", "bob@example.com\n", "", "bob", number,
	} {
		if err := s.Send(t.Context(), message(to)); !errors.Is(err, sender.ErrAddress) {
			t.Errorf("address %q: %v", to, err)
		}
	}
	if n := len(server.received()); n != 1 {
		t.Errorf("%d e-mails, want the first only", n)
	}
}

// Somebody between this machine and the mail server takes STARTTLS out of its
// greeting, to read the password and the codes. Nothing is sent then.
func TestSMTP_RefusesToBeUnencrypted(t *testing.T) {
	server := &mailServer{mechanisms: []string{sasl.Plain}}
	s := mustSMTP(t, sender.SMTPConfig{Port: server.start(t, nil), Username: "robot", Password: secret})
	err := s.Send(t.Context(), message(address))
	wantError(t, err, "offers no STARTTLS, so nothing was sent")
	if server.tries != 0 || len(server.received()) != 0 {
		t.Errorf("%d passwords and %d e-mails were sent", server.tries, len(server.received()))
	}
}

func TestSMTP_RefusesOtherCertificates(t *testing.T) {
	ca, other := newAuthority(t, "localhost"), newAuthority(t, "mail.example.com")
	for _, test := range []struct {
		name     string
		server   authority
		trusted  authority
		implicit bool
	}{
		{"unknown authority", ca, other, false},
		{"unknown authority, implicit", ca, other, true},
		{"another name", other, other, false},
		{"another name, implicit", other, other, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := &mailServer{mechanisms: []string{sasl.Plain}, tls: test.server.server}
			config := sender.SMTPConfig{RootCAs: test.trusted.trusted, Username: "robot", Password: secret}
			if test.implicit {
				config.TLS, config.Port = sender.Implicit, server.start(t, test.server.server)
			} else {
				config.Port = server.start(t, nil)
			}
			err := mustSMTP(t, config).Send(t.Context(), message(address))
			wantError(t, err, "cannot be trusted")
			if errors.Is(err, sender.ErrUnavailable) || server.tries != 0 || len(server.received()) != 0 {
				t.Errorf("error %v, %d passwords and %d e-mails were sent", err, server.tries, len(server.received()))
			}
		})
	}
}

// What a server refuses, and whose matter that is. Servers repeat what they are
// sent, so that their words are in no error.
func TestSMTP_Refusals(t *testing.T) {
	refusal := func(code int, a, b, c int) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{a, b, c}, Message: "<" + address + "> 048213 " + secret}
	}
	ca := newAuthority(t, "localhost")
	for _, test := range []struct {
		name     string
		server   *mailServer
		password string
		kind     error // nil for the operator's
		says     string
	}{
		{"no such mailbox", &mailServer{refuseTo: refusal(550, 5, 1, 1)}, secret, sender.ErrAddress, "(550 5.1.1)"},
		{"mailbox full", &mailServer{refuseTo: refusal(552, 5, 2, 2)}, secret, sender.ErrAddress, "(552 5.2.2)"},
		{"no relaying", &mailServer{refuseTo: refusal(550, 5, 7, 1)}, secret, nil, "does not deliver to others (550 5.7.1)"},
		{"greylisted", &mailServer{refuseTo: refusal(451, 4, 7, 1)}, secret, sender.ErrUnavailable, "(451 4.7.1)"},
		{"sender refused", &mailServer{refuseMail: refusal(553, 5, 7, 1)}, secret, nil, "refuses the sender"},
		{"sender's quota", &mailServer{refuseMail: refusal(452, 4, 2, 2)}, secret, sender.ErrUnavailable, "(452 4.2.2)"},
		{"spam", &mailServer{refuseData: refusal(554, 5, 7, 1)}, secret, nil, "refuses the message (554 5.7.1)"},
		{"wrong password", &mailServer{}, "another-password", nil, "refuses the username and password (535)"},
		{"blocked", &mailServer{refuseAll: refusal(554, 5, 7, 1)}, secret, nil, "refuses to talk (554)"},
		{"busy", &mailServer{refuseAll: refusal(421, 4, 3, 2)}, secret, sender.ErrUnavailable, "try later (421)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.server.tls, test.server.mechanisms = ca.server, []string{sasl.Plain}
			s := mustSMTP(t, sender.SMTPConfig{Port: test.server.start(t, nil), RootCAs: ca.trusted, Username: "robot", Password: test.password})
			err := s.Send(t.Context(), message(address))
			wantError(t, err, test.says)
			if errors.Is(err, sender.ErrAddress) != errors.Is(test.kind, sender.ErrAddress) || errors.Is(err, sender.ErrUnavailable) != errors.Is(test.kind, sender.ErrUnavailable) {
				t.Errorf("error %v, want kind %v", err, test.kind)
			}
			if errors.Is(err, sender.ErrUncertain) {
				t.Errorf("error %v, but what was refused was not sent", err)
			}
			if len(test.server.received()) != 0 {
				t.Error("an e-mail was taken")
			}
		})
	}
}

func TestSMTP_NoPasswordsAccepted(t *testing.T) {
	ca := newAuthority(t, "localhost")
	for _, mechanisms := range [][]string{nil, {"EXTERNAL"}} {
		server := &mailServer{tls: ca.server, mechanisms: mechanisms}
		s := mustSMTP(t, sender.SMTPConfig{Port: server.start(t, nil), RootCAs: ca.trusted, Username: "robot", Password: secret})
		wantError(t, s.Send(t.Context(), message(address)), "offers no way to sign in with a password")
	}
}

// A server that stops talking at any step holds a person up for the timeout and
// no longer. Where a connection ends in the middle of a message, that may have been sent.
func TestSMTP_HangingServer(t *testing.T) {
	lines := []string{"220 hello\r\n", "250-localhost\r\n250 8BITMIME\r\n", "250 sender\r\n", "250 recipient\r\n", "354 go on\r\n"}
	for i := range lines {
		t.Run("after "+strings.Join(append([]string{"connecting"}, lines[:i]...), ","), func(t *testing.T) {
			s := mustSMTP(t, sender.SMTPConfig{TLS: sender.NoTLS, Port: scripted(t, lines[:i]...), Timeout: 50 * time.Millisecond})
			err := s.Send(t.Context(), message(address))
			wantSilent(t, err)
			if !errors.Is(err, sender.ErrUnavailable) || errors.Is(err, sender.ErrUncertain) != (i >= 2) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("implicit TLS", func(t *testing.T) {
		s := mustSMTP(t, sender.SMTPConfig{TLS: sender.Implicit, Port: scripted(t), Timeout: 50 * time.Millisecond})
		if err := s.Send(t.Context(), message(address)); !errors.Is(err, sender.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("the person has gone", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := mustSMTP(t, sender.SMTPConfig{TLS: sender.NoTLS, Port: scripted(t)})
		if err := s.Send(ctx, message(address)); !errors.Is(err, sender.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	})
}

// A server that talks without end is cut off, long before memory ends.
func TestSMTP_EndlessServer(t *testing.T) {
	for name, flood := range map[string]string{"one line": "220 " + strings.Repeat("x", 4<<20), "many lines": strings.Repeat("220-hello\r\n", 1<<18)} {
		t.Run(name, func(t *testing.T) {
			s := mustSMTP(t, sender.SMTPConfig{TLS: sender.NoTLS, Port: scripted(t, flood)})
			if err := s.Send(t.Context(), message(address)); !errors.Is(err, sender.ErrUnavailable) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSMTP_Unreachable(t *testing.T) {
	server := new(mailServer)
	var port int
	t.Run("for a while", func(t *testing.T) { port = server.start(t, nil) }) // and then gone
	err := mustSMTP(t, sender.SMTPConfig{TLS: sender.NoTLS, Port: port}).Send(t.Context(), message(address))
	wantError(t, err, "cannot be reached")
	if !errors.Is(err, sender.ErrUnavailable) || errors.Is(err, sender.ErrUncertain) {
		t.Errorf("error %v", err)
	}
	port = scripted(t, "220 no TLS here\r\n")
	err = mustSMTP(t, sender.SMTPConfig{TLS: sender.Implicit, Port: port}).Send(t.Context(), message(address))
	wantError(t, err, "does not begin with TLS")
}

// A message that the server has taken was sent: were the person told otherwise, he
// would have two codes, and the older one would be of no use.
func TestSMTP_TakenIsSent(t *testing.T) {
	port := scripted(t, "220 hello\r\n", "250-localhost\r\n250 8BITMIME\r\n", "250 sender\r\n", "250 recipient\r\n", "354 go on\r\n", "250 taken\r\n", "500 no reset here\r\n", "221 bye\r\n")
	if err := mustSMTP(t, sender.SMTPConfig{TLS: sender.NoTLS, Port: port, Body: "{code}"}).Send(t.Context(), message(address)); err != nil {
		t.Error(err)
	}
}

func TestNewSMTP_Mistakes(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*sender.SMTPConfig)
		says   string
	}{
		{"no host", func(c *sender.SMTPConfig) { c.Host = "" }, "host"},
		{"host with port", func(c *sender.SMTPConfig) { c.Host = "smtp.example.com:25" }, "its port as port"},
		{"URL", func(c *sender.SMTPConfig) { c.Host = "smtp://example.com" }, "host"},
		{"port", func(c *sender.SMTPConfig) { c.Port = 65536 }, "port 65536"},
		{"tls", func(c *sender.SMTPConfig) { c.TLS = "on" }, "mandatory"},
		{"no username", func(c *sender.SMTPConfig) { c.Username = "" }, "belong together"},
		{"no password", func(c *sender.SMTPConfig) { c.Password = "" }, "belong together"},
		{"password in the clear", func(c *sender.SMTPConfig) { c.TLS = sender.NoTLS }, "everybody on the way"},
		{"no from", func(c *sender.SMTPConfig) { c.From = "" }, "from"},
		{"from without domain", func(c *sender.SMTPConfig) { c.From = "robot" }, "from"},
		{"from with a header", func(c *sender.SMTPConfig) { c.From = "a@example.com\r\nBcc: b@example.com" }, "line"},
		{"long timeout", func(c *sender.SMTPConfig) { c.Timeout = 11 * time.Second }, "out of range"},
		{"negative timeout", func(c *sender.SMTPConfig) { c.Timeout = -1 }, "out of range"},
		{"subject of two lines", func(c *sender.SMTPConfig) { c.Subject = "a\nb" }, "line"},
		{"unknown placeholder in the subject", func(c *sender.SMTPConfig) { c.Subject = "{cod}" }, "subject: placeholder {cod} is unknown"},
		{"unknown placeholder in the body", func(c *sender.SMTPConfig) { c.Body = "{code} {token}" }, "body: placeholder {token} is unknown"},
		{"body without code", func(c *sender.SMTPConfig) { c.Body = "hello" }, "{code}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := sender.SMTPConfig{Host: "smtp.example.com", Username: "robot", Password: secret, From: "a@example.com"}
			test.change(&c)
			_, err := sender.NewSMTP(c)
			wantError(t, err, test.says)
		})
	}
}
