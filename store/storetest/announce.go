// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var announceChecks = []keyCheck{
	{"Announce_FollowsWhatIsWritten", checkAnnounceUpdate},
	{"Announce_EveryDelete", checkAnnounceDelete},
}

// A session that is revoked must be known so to whoever holds it in memory; a
// change that did not happen must wake nobody.
func checkAnnounceUpdate(t testing.TB, h Harness, key func(string) string) {
	a, b := listen(t, h.Store, "a"), listen(t, h.Store, "b")
	write := func(value []byte, err error, payload string) error {
		return h.Store.Update(t.Context(), key("k"), func([]byte, bool) ([]byte, time.Duration, error) {
			return value, 0, err
		}, store.Announcement{Topic: "a", Payload: payload}, store.Announcement{Topic: "b", Payload: payload + "\x00\xff"})
	}
	if err := write([]byte("1"), nil, "written"); err != nil {
		t.Fatal(err)
	}
	if err := write(nil, nil, "left as it was"); err != nil {
		t.Fatal(err)
	}
	if err := write([]byte("2"), errRefusedChange, "refused"); !errors.Is(err, errRefusedChange) {
		t.Fatal(err)
	}
	if err := write(make([]byte, store.MaxValueLen+1), nil, "too large"); err == nil {
		t.Fatal("a value too large was written")
	}
	if err := write([]byte("3"), nil, "end"); err != nil {
		t.Fatal(err)
	}
	wantMessages(t, a, "written", "end")
	wantMessages(t, b, "written\x00\xff", "end\x00\xff")
}

var errRefusedChange = errors.New("change refuses")

// An earlier try to delete may have failed after the entry was gone and before
// all had heard of it.
func checkAnnounceDelete(t testing.TB, h Harness, key func(string) string) {
	l := listen(t, h.Store, "a")
	set(t, h.Store, key("k"), "v", 0)
	for _, payload := range []string{"was there", "was gone already"} {
		if _, err := h.Store.Delete(t.Context(), key("k"), store.Announcement{Topic: "a", Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, h.Store, "a", "end")
	wantMessages(t, l, "was there", "was gone already", "end")
}

// wantMessages compares what came with want, whose last message ends it. An
// announcement may come twice.
func wantMessages(t testing.TB, l *listener, want ...string) {
	t.Helper()
	got := slices.Compact(l.until(t, want[len(want)-1]))
	if !slices.Equal(got, want) {
		t.Errorf("messages %q; want %q", got, want)
	}
}
