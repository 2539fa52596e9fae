// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var updateChecks = []keyCheck{
	{"Update_SeesCurrentValue", checkUpdateSees},
	{"Update_ErrorLeavesValue", checkUpdateError},
	{"Update_NilLeavesValueAndTTL", checkUpdateNil},
	{"Update_EmptyNextIsWritten", checkUpdateEmpty},
	{"Update_RefusedSizesAndTTL", checkUpdateRefused},
}

func checkUpdateSees(t testing.TB, h Harness, key func(string) string) {
	update(t, h.Store, key("a"), func(current []byte, found bool) ([]byte, time.Duration, error) {
		if found || current != nil {
			t.Errorf("Update saw %q, %v under an absent key", current, found)
		}
		return []byte("one"), 0, nil
	})
	wantValue(t, h.Store, key("a"), "one")
	update(t, h.Store, key("a"), func(current []byte, found bool) ([]byte, time.Duration, error) {
		if !found || string(current) != "one" {
			t.Errorf("Update saw %q, %v; want one", current, found)
		}
		return append(current, " two"...), 0, nil
	})
	wantValue(t, h.Store, key("a"), "one two")
}

func checkUpdateError(t testing.TB, h Harness, key func(string) string) {
	errRefused := errors.New("refused")
	set(t, h.Store, key("a"), "kept", shortTTL)
	for _, name := range []string{"a", "absent"} {
		err := h.Store.Update(t.Context(), key(name), func([]byte, bool) ([]byte, time.Duration, error) {
			return []byte("written"), 0, errRefused
		})
		if err != errRefused { //nolint:errorlint // it is returned as it is
			t.Errorf("Update = %v; want change's own error as it is", err)
		}
	}
	wantValue(t, h.Store, key("a"), "kept")
	wantAbsent(t, h.Store, key("absent"))
	h.Advance(shortTTL)
	wantAbsent(t, h.Store, key("a"))
}

func checkUpdateNil(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("short"), "kept", shortTTL)
	set(t, h.Store, key("forever"), "kept", 0)
	nothing := func([]byte, bool) ([]byte, time.Duration, error) { return nil, time.Nanosecond, nil }
	update(t, h.Store, key("short"), nothing)
	update(t, h.Store, key("forever"), nothing)
	update(t, h.Store, key("absent"), nothing)
	wantValue(t, h.Store, key("short"), "kept")
	h.Advance(shortTTL)
	wantAbsent(t, h.Store, key("short"))
	wantValue(t, h.Store, key("forever"), "kept")
	wantAbsent(t, h.Store, key("absent"))
}

func checkUpdateEmpty(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("a"), "old", 0)
	empty := func([]byte, bool) ([]byte, time.Duration, error) { return []byte{}, 0, nil }
	update(t, h.Store, key("a"), empty)
	update(t, h.Store, key("b"), empty)
	wantValue(t, h.Store, key("a"), "")
	wantValue(t, h.Store, key("b"), "")
	update(t, h.Store, key("a"), func(_ []byte, found bool) ([]byte, time.Duration, error) {
		if !found {
			t.Error("Update took an empty value for an absent one")
		}
		return []byte("new"), 0, nil
	})
	wantValue(t, h.Store, key("a"), "new")
}

func checkUpdateRefused(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("a"), "kept", 0)
	err := h.Store.Update(t.Context(), key("a"), func([]byte, bool) ([]byte, time.Duration, error) {
		return make([]byte, store.MaxValueLen+1), 0, nil
	})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("Update to a value too large = %v; want ErrTooLarge", err)
	}
	err = h.Store.Update(t.Context(), key("a"), func([]byte, bool) ([]byte, time.Duration, error) {
		return []byte("new"), -time.Second, nil
	})
	if err == nil || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Update with a negative ttl = %v; want an error about the ttl", err)
	}
	wantValue(t, h.Store, key("a"), "kept")
}
