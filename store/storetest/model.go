// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var errChange = errors.New("change refuses")

// model is what the store should hold: a map, and a clock that only the test moves.
type model struct {
	t       *rapid.T
	tb      testing.TB
	h       Harness
	run     string // part of every key, as all runs share one store
	now     time.Duration
	entries map[string]modelEntry
}

type modelEntry struct {
	value   []byte
	expires time.Duration // 0 is never
}

// checkModel compares random sequences of operations with a map.
func checkModel(t testing.TB, h Harness) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &model{t: rt, tb: t, h: h, run: fmt.Sprintf("model%d:", run), entries: make(map[string]modelEntry)}
		actions := map[string]func(*rapid.T){
			"":       m.checkList,
			"get":    m.get,
			"set":    m.set,
			"create": m.create,
			"take":   m.take,
			"update": m.update,
			"delete": m.remove,
		}
		if h.FakeClock { // else each step would cost real seconds
			actions["advance"] = m.advance
		}
		defer m.clear() // else each run lists what all before it have left
		rt.Repeat(actions)
	})
}

func (m *model) clear() {
	for key := range m.entries {
		_, _ = m.h.Store.Delete(m.tb.Context(), key)
	}
}

func (m *model) key(t *rapid.T) string {
	kind := rapid.SampledFrom([]string{"kept:", store.VolatilePrefix}).Draw(t, "kind")
	return kind + m.run + rapid.SampledFrom([]string{"a", "a:", "a:b", "b"}).Draw(t, "name")
}

func (m *model) value(t *rapid.T) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "value")
}

// ttl returns 0 or a ttl far longer than the sequence takes on a real clock.
func (m *model) ttl(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(0, 3).Draw(t, "ttl")) * time.Hour
}

func (m *model) current(key string) (value []byte, found bool) {
	e, found := m.entries[key]
	if !found || e.expires != 0 && e.expires <= m.now {
		return nil, false
	}
	return e.value, true
}

func (m *model) put(key string, value []byte, ttl time.Duration) {
	e := modelEntry{value: value}
	if ttl > 0 {
		e.expires = m.now + ttl
	}
	m.entries[key] = e
}

func (m *model) same(t *rapid.T, value []byte, found bool, err error, want []byte, wantFound bool) {
	t.Helper()
	if err != nil || found != wantFound || !bytes.Equal(value, want) {
		t.Fatalf("got %q, %v, %v; want %q, %v", value, found, err, want, wantFound)
	}
}

func (m *model) get(t *rapid.T) {
	key := m.key(t)
	want, wantFound := m.current(key)
	value, found, err := m.h.Store.Get(m.tb.Context(), key)
	m.same(t, value, found, err, want, wantFound)
}

func (m *model) set(t *rapid.T) {
	key, value, ttl := m.key(t), m.value(t), m.ttl(t)
	err := m.h.Store.Set(m.tb.Context(), key, value, ttl)
	m.same(t, nil, false, err, nil, false)
	m.put(key, value, ttl)
}

func (m *model) create(t *rapid.T) {
	key, value, ttl := m.key(t), m.value(t), m.ttl(t)
	_, exists := m.current(key)
	created, err := m.h.Store.Create(m.tb.Context(), key, value, ttl)
	m.same(t, nil, created, err, nil, !exists)
	if created {
		m.put(key, value, ttl)
	}
}

func (m *model) take(t *rapid.T) {
	key := m.key(t)
	want, wantFound := m.current(key)
	value, found, err := m.h.Store.Take(m.tb.Context(), key)
	m.same(t, value, found, err, want, wantFound)
	delete(m.entries, key)
}

func (m *model) remove(t *rapid.T) {
	key := m.key(t)
	_, want := m.current(key)
	existed, err := m.h.Store.Delete(m.tb.Context(), key)
	m.same(t, nil, existed, err, nil, want)
	delete(m.entries, key)
}

func (m *model) update(t *rapid.T) {
	key, next, ttl := m.key(t), m.value(t), m.ttl(t)
	outcome := rapid.SampledFrom([]string{"write", "leave", "refuse"}).Draw(t, "outcome")
	want, wantFound := m.current(key)
	err := m.h.Store.Update(m.tb.Context(), key, func(current []byte, found bool) ([]byte, time.Duration, error) {
		m.same(t, current, found, nil, want, wantFound)
		switch outcome {
		case "leave":
			return nil, ttl, nil
		case "refuse":
			return next, ttl, errChange
		}
		return append([]byte{}, next...), ttl, nil
	})
	if errors.Is(err, errChange) != (outcome == "refuse") || err != nil && outcome != "refuse" {
		t.Fatalf("Update that shall %s = %v", outcome, err)
	}
	if outcome == "write" {
		m.put(key, next, ttl)
	}
}

func (m *model) advance(t *rapid.T) {
	d := time.Duration(rapid.IntRange(1, 5).Draw(t, "half hours")) * 30 * time.Minute
	m.now += d
	m.h.Advance(d)
}

// checkList runs after every step: both listings hold what the map holds.
func (m *model) checkList(t *rapid.T) {
	limit := rapid.IntRange(1, 5).Draw(t, "limit")
	prefixes := []string{"kept:" + m.run, store.VolatilePrefix + m.run}
	for _, prefix := range append(prefixes, prefixes[0]+"a:", prefixes[1]+"a:") {
		want := []string{}
		for key := range m.entries {
			if value, found := m.current(key); found && strings.HasPrefix(key, prefix) {
				want = append(want, key+"="+string(value))
			}
		}
		got := []string{}
		for key, value := range listAll(m.tb.Context(), m.tb, m.h.Store, prefix, limit) {
			got = append(got, key+"="+value)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("List(%q) (-want +got):\n%s", prefix, diff)
		}
	}
}
