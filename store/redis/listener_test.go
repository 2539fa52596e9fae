// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redis

import (
	"errors"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// A Sentinel that does not know the master answers nil. That must not read as "there
// is no such session", or the gate would sign everybody out.
func TestSentinel_UnknownMaster(t *testing.T) {
	c := sentinelConfig(sharedSentinels())
	c.Master = "nobody"
	s := newStore(t, c)
	for _, op := range operations {
		if err := op.call(t.Context(), s); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s = %v; want ErrUnavailable", op.name, err)
		}
	}
}

// The connection lives and messages come, but late: a revocation would be as late.
func TestListener_LateMessagesCountAsLost(t *testing.T) {
	s := newStore(t, configOf("127.0.0.1:1"))
	now := time.Since(s.listener.epoch)
	for _, test := range []struct {
		name, payload string
		want          error
	}{
		{"fresh", strconv.FormatInt(int64(now), 10), errOver},
		{"late", strconv.FormatInt(int64(now-beatLimit), 10), errSilence},
		{"garbage", "x", errSilence},
		{"none", "", errSilence},
	} {
		messages := make(chan *goredis.Message, 1)
		messages <- &goredis.Message{Channel: s.listener.own, Payload: test.payload}
		close(messages)
		if err := s.listener.hear(t.Context(), messages); !errors.Is(err, test.want) {
			t.Errorf("%s: hear = %v; want %v", test.name, err, test.want)
		}
	}
}
