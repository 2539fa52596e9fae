// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import "testing"

// A unionid is known of an identity, not of a person: another identity of the same
// person may still lack it, and one of another account says nothing.
func TestHasUnionID(t *testing.T) {
	w := newTestWorld(t)
	d := w.directory(Open)
	w.signIn(d, Identity{AppID: appA, OpenID: "oAlice", UnionID: "uAlice"})
	w.signIn(d, Identity{AppID: appA, OpenID: "oBob"})
	for _, tt := range []struct {
		appID, openID string
		want          bool
	}{
		{appA, "oAlice", true},
		{appA, "oBob", false},
		{appA, "oNobody", false},
		{appB, "oAlice", false},
	} {
		if got, err := d.HasUnionID(t.Context(), tt.appID, tt.openID); err != nil || got != tt.want {
			t.Errorf("%s of %s: %v, %v; want %v", tt.openID, tt.appID, got, err, tt.want)
		}
	}
	w.signIn(d, Identity{AppID: appA, OpenID: "oBob", UnionID: "uBob"})
	if got, err := d.HasUnionID(t.Context(), appA, "oBob"); err != nil || !got {
		t.Errorf("learnt later: %v, %v", got, err)
	}
}
