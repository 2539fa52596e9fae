// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package sender_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// authority is a certificate for a mail server on this machine, and who trusts it.
type authority struct {
	trusted *x509.CertPool
	server  *tls.Config
}

func newAuthority(t *testing.T, names ...string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: names, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return authority{pool, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
}

// mail is what a mailServer was handed.
type mail struct {
	from, to, user string
	encrypted      bool
	raw            []byte
}

// mailServer is an SMTP server, and what it refuses.
type mailServer struct {
	tls                   *tls.Config // offers STARTTLS
	mechanisms            []string    // of authentication
	refuseMail, refuseTo  error
	refuseData, refuseAll error

	mu    sync.Mutex
	mails []mail
	tries int // of authentication
}

// start serves on a port of this machine, encrypted from the first byte where
// implicit says so.
func (s *mailServer) start(t *testing.T, implicit *tls.Config) (port int) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = ln.Addr().(*net.TCPAddr).Port
	if implicit != nil {
		ln = tls.NewListener(ln, implicit)
	}
	server := smtp.NewServer(s)
	server.Domain, server.TLSConfig, server.AllowInsecureAuth = "localhost", s.tls, true
	server.ErrorLog = silent{}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	t.Cleanup(func() { _, _ = ln.Close(), server.Close(); <-done })
	return port
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

// NewSession implements smtp.Backend.
func (s *mailServer) NewSession(c *smtp.Conn) (smtp.Session, error) {
	if s.refuseAll != nil {
		return nil, s.refuseAll
	}
	return &mailSession{server: s, conn: c}, nil
}

func (s *mailServer) received() []mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mails
}

type mailSession struct {
	server *mailServer
	conn   *smtp.Conn
	mail
}

func (m *mailSession) AuthMechanisms() []string { return m.server.mechanisms }

func (m *mailSession) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, password string) error {
		m.server.mu.Lock()
		m.server.tries++
		m.server.mu.Unlock()
		if m.user = user; user != "robot" || password != secret {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "not with " + password}
		}
		return nil
	}
	if mechanism == sasl.Login {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// loginServer is AUTH LOGIN, which providers in China still use.
type loginServer struct {
	check func(user, password string) error
	user  string
	step  int
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch l.step++; l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(response)
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.check(l.user, string(response))
	}
}

func (m *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	m.from = from
	return m.server.refuseMail
}

func (m *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	m.to = to
	return m.server.refuseTo
}

func (m *mailSession) Data(r io.Reader) error {
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		return err
	}
	if m.server.refuseData != nil {
		return m.server.refuseData
	}
	_, m.encrypted = m.conn.TLSConnectionState()
	m.raw = b.Bytes()
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	m.server.mails = append(m.server.mails, m.mail)
	return nil
}

func (*mailSession) Reset()        {}
func (*mailSession) Logout() error { return nil }

// scripted is a server that says its lines, one after each line it hears but the
// first at once, and then nothing more.
func scripted(t *testing.T, lines ...string) (port int) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			conns.Go(func() { recite(conn, lines) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); conns.Wait() })
	return ln.Addr().(*net.TCPAddr).Port
}

func recite(conn net.Conn, lines []string) {
	defer conn.Close()
	heard := make([]byte, 4096)
	for _, line := range lines {
		if _, err := io.WriteString(conn, line); err != nil {
			return
		}
		if _, err := conn.Read(heard); err != nil {
			return
		}
	}
	_, _ = io.Copy(io.Discard, conn) // until the other side has had enough
}
