// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

// Whoever ends all other sessions keeps the one, and nobody else loses any.
func TestRecords_RevokeOthers(t *testing.T) {
	r := NewRecords(new(storetest.Memory), nil)
	t.Cleanup(r.Close)
	keys, err := FixedKeys("0123456789abcdef0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	m := NewManager(r, Config{TTL: time.Hour, Idle: time.Hour, Keys: keys})
	var ids []string
	for _, owner := range []string{"alice", "alice", "alice", "bob"} {
		s, _, err := m.Issue(t.Context(), Session{ID: NewID(), UserID: owner})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	for _, want := range []int{2, 0} { // the second time there are none
		if n, err := r.RevokeOthers(t.Context(), "alice", ids[1]); err != nil || n != want {
			t.Errorf("ended %d (%v), want %d", n, err, want)
		}
	}
	for i, alive := range []bool{false, true, false, true} {
		if _, err := r.Find(t.Context(), ids[i]); (err == nil) != alive {
			t.Errorf("session %d: %v", i, err)
		}
	}
}
