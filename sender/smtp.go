// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// TLS says how the connection to a mail server is encrypted.
type TLS string

// The ways to encrypt the connection.
const (
	// StartTLS begins in the clear and goes on encrypted, or not at all.
	StartTLS TLS = "mandatory"
	// Implicit is encrypted from the first byte.
	Implicit TLS = "implicit"
	// NoTLS is for a mail server on the same machine or network. It sends no password.
	NoTLS TLS = "off"
)

// defaultPorts are where mail servers listen.
var defaultPorts = map[TLS]int{StartTLS: 587, Implicit: 465, NoTLS: 25}

// maxSMTP is how long handing a message over may take, and takes by default.
const maxSMTP = 10 * time.Second

// SMTPConfig says by which mail server messages go out, and how they read.
type SMTPConfig struct {
	Host string
	// Port is where the server listens; 0 means 587, or 465 for Implicit, or 25 for NoTLS.
	Port int
	// TLS is empty for StartTLS, or for Implicit on port 465.
	TLS TLS
	// RootCAs are the authorities to trust; nil means the system's.
	RootCAs *x509.CertPool
	// Username and Password are empty where the server asks for none.
	Username, Password string
	// From is the sender, such as "My site <no-reply@example.com>".
	From string
	// Subject and Body are templates; empty for those in the person's language.
	Subject, Body string
	// Timeout bounds one message; 0 means 10 seconds, which is also the most.
	Timeout time.Duration
}

// SMTP sends e-mail.
type SMTP struct {
	config SMTPConfig
	domain string // of the sender's address
}

// NewSMTP returns an SMTP, or what is wrong with its configuration. It does not
// connect.
func NewSMTP(c SMTPConfig) (*SMTP, error) {
	if c.TLS == "" && c.Port == 465 {
		c.TLS = Implicit
	}
	c.TLS = cmp.Or(c.TLS, StartTLS)
	c.Timeout = cmp.Or(c.Timeout, maxSMTP)
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Port = cmp.Or(c.Port, defaultPorts[c.TLS])
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return nil, fmt.Errorf("from %q cannot be used: write it like no-reply@example.com, or \"My site <no-reply@example.com>\"", c.From)
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	return &SMTP{config: c, domain: domain}, nil
}

func (c SMTPConfig) check() error {
	switch {
	case !isHost(c.Host):
		return fmt.Errorf("host %q cannot be used: write the name of the mail server, like smtp.example.com, and its port as port", c.Host)
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("port %d is none: use 587, 465 or what the mail provider says", c.Port)
	case defaultPorts[c.TLS] == 0:
		return fmt.Errorf("tls %q is unknown: use mandatory (STARTTLS, port 587), implicit (port 465) or off", c.TLS)
	case (c.Username == "") != (c.Password == ""):
		return errors.New("username and password belong together: give both, or neither")
	case c.TLS == NoTLS && c.Password != "":
		return errors.New("tls off would send the password for everybody on the way to read: use mandatory or implicit, or take username and password out")
	case c.Timeout <= 0 || c.Timeout > maxSMTP:
		return fmt.Errorf("timeout %v is out of range: use up to %v, a person is waiting", c.Timeout, maxSMTP)
	default:
		return c.checkTexts()
	}
}

func isHost(host string) bool {
	return host != "" && (!strings.ContainsAny(host, ":/@ \t\r\n") || net.ParseIP(host) != nil)
}

func (c SMTPConfig) checkTexts() error {
	if strings.ContainsAny(c.Subject+c.From, "\r\n") {
		return errors.New("subject or from has more than one line: keep one")
	}
	if c.Body != "" && !strings.Contains(c.Body, code) {
		return fmt.Errorf("body has no %s: put it in", code)
	}
	if err := checkTemplate(c.Subject); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	if err := checkTemplate(c.Body); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

// Send implements Sender.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := s.compose(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	client, err := s.client(ctx)
	if err != nil {
		return fmt.Errorf("preparing the e-mail: %w", err)
	}
	// Once delivered, it is of no interest what becomes of the goodbye.
	if err := client.DialAndSendWithContext(ctx, msg); err != nil && !msg.IsDelivered() {
		return s.failure(err)
	}
	return nil
}

// compose makes the e-mail.
func (s *SMTP) compose(m Message) (*gomail.Msg, error) {
	subject, body := s.texts(m.Language)
	for _, text := range []string{subject, body} {
		if err := checkNational(text, m); err != nil {
			return nil, err
		}
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.From(s.config.From); err != nil {
		return nil, fmt.Errorf("from %q cannot be used: %w", s.config.From, err)
	}
	if parsed, err := mail.ParseAddress(m.To); err != nil || parsed.Address != m.To {
		return nil, fmt.Errorf("%w: it is no e-mail address", ErrAddress)
	}
	if msg.To(m.To) != nil {
		return nil, fmt.Errorf("%w: it is no e-mail address", ErrAddress)
	}
	asIs := func(s string) string { return s }
	msg.Subject(oneLine(fill(subject, m, asIs)))
	msg.SetBodyString(gomail.TypeTextPlain, fill(body, m, asIs))
	msg.SetMessageIDWithValue(rand.Text() + "@" + s.domain)
	msg.SetDate()
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nothing replies to it
	return msg, nil
}

// texts are the templates of an e-mail in a language.
func (s *SMTP) texts(language string) (subject, body string) {
	subject, body = englishSubject, englishBody
	if language == "zh" {
		subject, body = chineseSubject, chineseBody
	}
	return cmp.Or(s.config.Subject, subject), cmp.Or(s.config.Body, body)
}

const (
	englishSubject = "{code} is your code for {site}"
	englishBody    = `Your code for {site} is:

    {code}

It can be used once, within {minutes} minutes. Do not tell it to anybody.

If you did not ask for it, ignore this e-mail: somebody may have mistyped an address.
`
	chineseSubject = "{code} 是你的 {site} 验证码"
	chineseBody    = `你在 {site} 的验证码是：

    {code}

{minutes} 分钟内有效，只能使用一次。请不要告诉任何人。

如果不是你本人操作，请忽略这封邮件：可能有人填错了邮箱。
`
)

// client returns the library's client for one message. Its connection ends with ctx.
func (s *SMTP) client(ctx context.Context) (*gomail.Client, error) {
	secure := &tls.Config{ServerName: s.config.Host, RootCAs: s.config.RootCAs, MinVersion: tls.VersionTLS12}
	policy := map[TLS]gomail.TLSPolicy{
		StartTLS: gomail.TLSMandatory,
		Implicit: gomail.TLSOpportunistic, // there is TLS already, and nobody offers more inside it
		NoTLS:    gomail.NoTLS,
	}[s.config.TLS]
	options := []gomail.Option{
		gomail.WithPort(s.config.Port), gomail.WithTLSPolicy(policy), gomail.WithTLSConfig(secure),
		gomail.WithTimeout(s.config.Timeout), gomail.WithHELO(s.domain), gomail.WithoutNoop(),
		gomail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(dialing, network, address)
			if err != nil {
				return nil, err
			}
			// The library sets deadlines for some steps, and leaves failed ones open.
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			talk := &bounded{conn, io.LimitReader(conn, maxConversation)}
			if s.config.TLS != Implicit {
				return talk, nil
			}
			encrypted := tls.Client(talk, secure)
			return encrypted, encrypted.HandshakeContext(dialing)
		}),
	}
	if s.config.Password != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(s.config.Username), gomail.WithPassword(s.config.Password))
	}
	return gomail.NewClient(s.config.Host, options...)
}

// maxConversation bounds, in bytes, what a mail server may say, certificates included.
const maxConversation = 1 << 20

// bounded is a connection on which the other side does not talk without end.
type bounded struct {
	net.Conn
	limited io.Reader
}

func (b *bounded) Read(p []byte) (int, error) { return b.limited.Read(p) }

// server names the mail server in errors.
func (s *SMTP) server() string {
	return "mail server " + net.JoinHostPort(s.config.Host, strconv.Itoa(s.config.Port))
}
