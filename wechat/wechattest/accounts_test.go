// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"strings"
	"testing"
)

func TestAddAccount_Refusals(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Account)
		ok     bool
	}{
		{"good", func(*Account) {}, true},
		{"good secure", func(a *Account) { a.Mode, a.AESKey = Secure, testAESKey }, true},
		{"good mini program", func(a *Account) { a.Kind, a.JSON = VerifiedMiniProgram, true }, true},
		{"no app id", func(a *Account) { a.AppID = "" }, false},
		{"no secret", func(a *Account) { a.Secret = "" }, false},
		{"app id as original id", func(a *Account) { a.OriginalID = testApp }, false},
		{"JSON for an official account", func(a *Account) { a.JSON = true }, false},
		{"encrypted test account", func(a *Account) { a.Kind, a.Mode, a.AESKey = TestAccount, Secure, testAESKey }, false},
		{"secure without key", func(a *Account) { a.Mode = Secure }, false},
		{"key of 44 characters", func(a *Account) { a.Mode, a.AESKey = Secure, testAESKey+"A" }, false},
		{"key with a dash", func(a *Account) { a.Mode, a.AESKey = Secure, "-"+testAESKey[1:] }, false},
		{"token of 2 characters", func(a *Account) { a.PushURL, a.Token = "http://h/", "ab" }, false},
		{"token with a dash", func(a *Account) { a.PushURL, a.Token = "http://h/", "ab-c" }, false},
		{"push URL without scheme", func(a *Account) { a.PushURL = "gateway.example/push" }, false},
		{"push URL of ftp", func(a *Account) { a.PushURL = "ftp://gateway.example/push" }, false},
		{"whitelist of a name", func(a *Account) { a.IPWhitelist = []string{"localhost"} }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, Options{})
			a := Account{AppID: testApp, Secret: testSecret, OriginalID: testGH, Token: testToken}
			tt.change(&a)
			_, err := s.AddAccount(a)
			if (err == nil) != tt.ok {
				t.Errorf("AddAccount: %v", err)
			}
			if err != nil && (strings.Contains(err.Error(), testSecret) || strings.Contains(err.Error(), testAESKey)) {
				t.Errorf("the error contains a secret: %v", err)
			}
		})
	}
}

func TestAddAccount_DefaultsAndTwice(t *testing.T) {
	s := newTestServer(t, Options{})
	if _, err := s.AddAccount(Account{AppID: "wx1", Secret: "x"}); err != nil {
		t.Fatal(err)
	}
	if a := s.accounts["wx1"]; a.Name != "wx1" || len(a.OriginalID) != len(testGH) {
		t.Errorf("defaults %+v", a.Account)
	}
	if _, err := s.AddAccount(Account{AppID: "wx1", Secret: "x"}); err == nil {
		t.Error("the same app id was added twice")
	}
}

func TestConfigure(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addAccount(t, s, nil)
	if err := h.Configure(func(a *Account) { a.Mode = Secure }); err == nil || s.accounts[testApp].Mode != Plain {
		t.Errorf("a bad change was taken: %v", err)
	}
	if err := h.Configure(func(a *Account) { a.AppID, a.Secret = "wx1", "new" }); err != nil {
		t.Fatal(err)
	}
	if a := s.accounts[testApp]; a.AppID != testApp || a.Secret != "new" {
		t.Errorf("account %+v", a.Account)
	}
	if got := getToken(t, s); got.ErrCode != 40125 {
		t.Errorf("the secret before the change: %s", got.raw)
	}
}
