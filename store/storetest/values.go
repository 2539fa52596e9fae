// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var valueChecks = []keyCheck{
	{"Set_ThenGet", checkSet},
	{"Get_AbsentKey", checkAbsent},
	{"Set_AnyBytesAndEmptyValue", checkBytes},
	{"Create_OnlyWhereAbsent", checkCreate},
	{"Take_ReturnsAndDeletes", checkTake},
	{"Delete_SaysWhetherKeyExisted", checkDelete},
	{"Values_BelongToCaller", checkAliasing},
	{"Sizes_MaximaAccepted", checkMaxima},
}

func checkSet(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("a"), "one", 0)
	set(t, h.Store, key("b"), "other", time.Hour)
	wantValue(t, h.Store, key("a"), "one")
	set(t, h.Store, key("a"), "two", 0)
	wantValue(t, h.Store, key("a"), "two")
	wantValue(t, h.Store, key("b"), "other")
}

func checkAbsent(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("ab"), "value", 0)
	for _, name := range []string{"a", "abc", "AB", "ab ", "ab\x00"} {
		wantAbsent(t, h.Store, key(name))
	}
}

// An empty value is a value: the mark of a used nonce is one.
func checkBytes(t testing.TB, h Harness, key func(string) string) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, value := range []string{string(every), "\x00", "\xff\xfe", "中文", ""} {
		set(t, h.Store, key("value"), value, 0)
		wantValue(t, h.Store, key("value"), value)
	}
	for _, name := range []string{string(every), "\x00", "\xff", "a b\r\n", "中文", "*", "[a]", "{a}", "\\"} {
		set(t, h.Store, key(name), "of "+name, 0)
	}
	for _, name := range []string{string(every), "\x00", "\xff", "a b\r\n", "中文", "*", "[a]", "{a}", "\\"} {
		wantValue(t, h.Store, key(name), "of "+name)
	}
	created, err := h.Store.Create(t.Context(), key("value"), []byte("x"), 0)
	if err != nil || created {
		t.Errorf("Create over an empty value = %v, %v; want it refused", created, err)
	}
	value, found, err := h.Store.Take(t.Context(), key("value"))
	if err != nil || !found || len(value) != 0 {
		t.Errorf("Take of an empty value = %q, %v, %v; want it found", value, found, err)
	}
}

func checkCreate(t testing.TB, h Harness, key func(string) string) {
	for _, want := range []bool{true, false} {
		created, err := h.Store.Create(t.Context(), key("a"), []byte{'0', boolByte(want)}, 0)
		if err != nil || created != want {
			t.Fatalf("Create = %v, %v; want %v", created, err, want)
		}
	}
	wantValue(t, h.Store, key("a"), "01")
	if _, err := h.Store.Delete(t.Context(), key("a")); err != nil {
		t.Fatal(err)
	}
	if created, err := h.Store.Create(t.Context(), key("a"), []byte("again"), 0); err != nil || !created {
		t.Fatalf("Create after Delete = %v, %v; want true", created, err)
	}
	wantValue(t, h.Store, key("a"), "again")
}

func boolByte(b bool) byte {
	if b {
		return '1'
	}
	return '0'
}

func checkTake(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("a"), "one", 0)
	value, found, err := h.Store.Take(t.Context(), key("a"))
	if err != nil || !found || string(value) != "one" {
		t.Fatalf("Take = %q, %v, %v; want one", value, found, err)
	}
	wantAbsent(t, h.Store, key("a"))
	value, found, err = h.Store.Take(t.Context(), key("a"))
	if err != nil || found || value != nil {
		t.Fatalf("second Take = %q, %v, %v; want it absent", value, found, err)
	}
}

func checkDelete(t testing.TB, h Harness, key func(string) string) {
	set(t, h.Store, key("a"), "one", 0)
	set(t, h.Store, key("b"), "two", 0)
	for _, want := range []bool{true, false} {
		if existed, err := h.Store.Delete(t.Context(), key("a")); err != nil || existed != want {
			t.Fatalf("Delete = %v, %v; want %v", existed, err, want)
		}
		wantAbsent(t, h.Store, key("a"))
	}
	wantValue(t, h.Store, key("b"), "two")
}

// A caller that reuses its buffer, or writes into what it was given, changes
// nothing in the store.
func checkAliasing(t testing.TB, h Harness, key func(string) string) {
	buffer := []byte("value")
	if err := h.Store.Set(t.Context(), key("set"), buffer, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Store.Create(t.Context(), key("created"), buffer, 0); err != nil {
		t.Fatal(err)
	}
	update(t, h.Store, key("updated"), func([]byte, bool) ([]byte, time.Duration, error) { return buffer, 0, nil })
	scribble(buffer)
	for _, name := range []string{"set", "created", "updated"} {
		value, _, err := h.Store.Get(t.Context(), key(name))
		if err != nil {
			t.Fatal(err)
		}
		scribble(value)
		update(t, h.Store, key(name), func(current []byte, _ bool) ([]byte, time.Duration, error) {
			scribble(current)
			return nil, 0, nil
		})
		items, _, err := h.Store.List(t.Context(), key(name), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			scribble(item.Value)
		}
		wantValue(t, h.Store, key(name), "value")
	}
}

func scribble(b []byte) {
	for i := range b {
		b[i] = '#'
	}
}

func checkMaxima(t testing.TB, h Harness, key func(string) string) {
	longest := key(string(bytes.Repeat([]byte{'k'}, store.MaxKeyLen-len(key("")))))
	largest := string(bytes.Repeat([]byte{0xfe}, store.MaxValueLen))
	set(t, h.Store, longest, largest, 0)
	wantValue(t, h.Store, longest, largest)
	update(t, h.Store, longest, func(current []byte, _ bool) ([]byte, time.Duration, error) {
		return current, time.Hour, nil
	})
	if got := listAll(t.Context(), t, h.Store, longest, 1); got[longest] != largest {
		t.Errorf("List returned %d bytes under the longest key; want %d", len(got[longest]), len(largest))
	}
	value, found, err := h.Store.Take(t.Context(), longest)
	if err != nil || !found || string(value) != largest {
		t.Errorf("Take of the largest value = %d bytes, %v, %v", len(value), found, err)
	}
}
