// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestError_Table(t *testing.T) {
	tests := []struct {
		endpoint  string
		code      int
		permanent bool
		cure      string // a part of it
	}{
		{tokenEndpoint, -1, false, "wait"},
		{qrcodeEndpoint, 40001, false, "stable_token"},
		{tokenEndpoint, 40001, true, "AppSecret"},
		{tokenEndpoint, 40013, true, "AppID"},
		{tokenEndpoint, 40125, true, "AppSecret"},
		{tokenEndpoint, 40164, true, "IP白名单"},
		{tokenEndpoint, 40243, true, "解冻"},
		{tokenEndpoint, 50007, true, "unfreeze"},
		{tokenEndpoint, 89503, true, "administrator"},
		{tokenEndpoint, 89507, true, "hour"},
		{qrcodeEndpoint, 45009, false, "tomorrow"},
		{qrcodeEndpoint, 48001, true, "已认证的服务号"},
		{qrcodeEndpoint, 99999, false, "rid"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.endpoint, " ", tt.code), func(t *testing.T) {
			e := &Error{Endpoint: tt.endpoint, Code: tt.code, Message: "message rid: 1"}
			if e.Permanent() != tt.permanent {
				t.Errorf("Permanent = %v, want %v", e.Permanent(), tt.permanent)
			}
			if !strings.Contains(e.Cure(), tt.cure) {
				t.Errorf("Cure = %q, want it to name %q", e.Cure(), tt.cure)
			}
			for _, part := range []string{tt.endpoint, strconv.Itoa(tt.code), "message rid: 1", e.Meaning(), e.Cure()} {
				if !strings.Contains(e.Error(), part) {
					t.Errorf("Error = %q lacks %q", e.Error(), part)
				}
			}
		})
	}
}

func TestError_TableIsComplete(t *testing.T) {
	for code, entry := range codes {
		if entry.meaning == "" || entry.cure == "" {
			t.Errorf("errcode %d lacks its meaning or its cure", code)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want time.Duration
	}{
		{"nil", nil, 0},
		{"bad argument", errors.New("bad argument"), 0},
		{"caller left", context.Canceled, 0},
		{"unavailable", fmt.Errorf("x: %w", ErrUnavailable), 5 * time.Second},
		{"busy", &Error{Code: -1}, 5 * time.Second},
		{"per minute", &Error{Code: 45011}, time.Minute},
		{"per day", fmt.Errorf("x: %w", &Error{Code: 45009}), 5 * time.Minute},
		{"configuration", &Error{Code: 48001}, 30 * time.Second},
	}
	for _, tt := range tests {
		if got := RetryAfter(tt.err); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if !errors.Is(&Error{Code: -1}, ErrUnavailable) || errors.Is(&Error{Code: 40013}, ErrUnavailable) {
		t.Error("of the errcodes exactly -1 is ErrUnavailable")
	}
}

func TestRedact(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"secret", "a s3cret/ b", "a [redacted] b"},
		{"escaped secret", "a s3cret%2F b", "a [redacted] b"},
		{"control characters", "a\r\n\x00\u2028b", "a    b"},
		{"Chinese", "不合法", "不合法"},
	}
	for _, tt := range tests {
		if got := redact(tt.in, "", "s3cret/"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := redact(strings.Repeat("中", 1000)); len(got) > maxMessage+len("…") {
		t.Errorf("%d bytes, want at most %d", len(got), maxMessage)
	}
}
