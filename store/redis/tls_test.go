// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
)

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue makes a certificate for servers and clients.
func (a authority) issue(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writePEM(t testing.TB, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startTLS starts a server that speaks TLS at an address of its own, with a
// certificate for redis.example.
func startTLS(t testing.TB, ca authority) (address string) {
	t.Helper()
	dir := t.TempDir()
	cert := ca.issue(t, "redis.example")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(address, ":")
	redistest.Start(
		t,
		"tls-port "+port,
		"tls-cert-file "+writePEM(t, filepath.Join(dir, "cert"), "CERTIFICATE", cert.Certificate[0]),
		"tls-key-file "+writePEM(t, filepath.Join(dir, "key"), "PRIVATE KEY", key),
		"tls-ca-cert-file "+writePEM(t, filepath.Join(dir, "ca"), "CERTIFICATE", ca.cert.Raw),
	)
	return address
}

// Whoever is not who the operator trusts gets no password and no state: and the
// operator is told what does not fit.
func TestTLS(t *testing.T) {
	ca, other := newAuthority(t, "the CA of a test"), newAuthority(t, "another CA")
	address := startTLS(t, ca)
	good := func() *tls.Config {
		return &tls.Config{
			RootCAs: ca.pool(), ServerName: "redis.example", MinVersion: tls.VersionTLS12,
			Certificates: []tls.Certificate{ca.issue(t, "gateway")},
		}
	}
	plain := sharedServer().Addr()
	for _, test := range []struct {
		name    string
		address string
		change  func(*tls.Config)
		want    string // empty: it works
		wait    bool   // it may yet come right
	}{
		{"trusted", address, func(*tls.Config) {}, "", false},
		{"another CA", address, func(c *tls.Config) { c.RootCAs = other.pool() }, "certificate signed by unknown authority: check ca and server_name", false},
		{"another name", address, func(c *tls.Config) { c.ServerName = "other.example" }, "redis.example, not other.example", false},
		{"no name", address, func(c *tls.Config) { c.ServerName = "" }, "doesn't contain any IP SANs", false},
		{"no certificate of ours", address, func(c *tls.Config) { c.Certificates = nil }, "certificate required", true},
		{"a server without TLS", plain, func(*tls.Config) {}, "no answer in time", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := alone(configOf(test.address))
			c.TLS = good()
			c.Password = "of-the-operator"
			test.change(c.TLS)
			if test.want == "" {
				c.Password = ""
				s := openStore(t, c)
				listenTo(t, s, "topic")
				return
			}
			err := newStore(t, c).Open()
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, store.ErrNotReady) != test.wait {
				t.Errorf("Open = %v; want it to say %q", err, test.want)
			}
			if !errors.Is(err, store.ErrUnavailable) || strings.Contains(fmt.Sprint(err), c.Password) {
				t.Errorf("Open = %v; want ErrUnavailable and not the password", err)
			}
		})
	}
	t.Run("a client without TLS", func(t *testing.T) {
		if err := newStore(t, alone(configOf(address))).Open(); !errors.Is(err, store.ErrNotReady) {
			t.Errorf("Open = %v; want ErrNotReady", err)
		}
	})
}
