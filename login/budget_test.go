// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/bucket"
)

var budgetNoon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// meteredStarter is a Starter that shows what it is told to, and counts.
type meteredStarter struct {
	n     int
	shown func(a *Attempt) Shown
	err   error
}

func (s *meteredStarter) Start(_ context.Context, a *Attempt) (Shown, error) {
	s.n++
	if s.shown == nil {
		return Shown{}, s.err
	}
	return s.shown(a), s.err
}

func budgetOf(name string, count int) Budget {
	return Budget{Name: name, Count: count, Per: 24 * time.Hour, Taken: new(bucket.Bucket)}
}

// In no day is WeChat asked more often than the budget says, and never twice at once
// what is left for the rest of the day.
func TestMetered_Day(t *testing.T) {
	s := new(meteredStarter)
	m := &Metered{Starter: s, Codes: budgetOf("qr_codes", 1000)}
	now, atOnce := budgetNoon, 0
	for now.Before(budgetNoon.Add(24 * time.Hour)) {
		for range 100 {
			_, _ = m.Start(t.Context(), &Attempt{CreatedAt: now, Quiet: true})
		}
		if now = now.Add(time.Minute); now.Sub(budgetNoon) == 10*time.Minute {
			atOnce = s.n
		}
	}
	if atOnce > 510 || s.n > 1000 || s.n < 990 {
		t.Errorf("WeChat is asked %d times at once and %d times in a day, want half of 1000, and 1000", atOnce, s.n)
	}
}

func TestMetered_KeepsSomeForTheQuiet(t *testing.T) {
	s := new(meteredStarter)
	m := &Metered{Starter: s, Codes: budgetOf("qr_codes", 200)}
	for range 200 {
		_, _ = m.Start(t.Context(), &Attempt{CreatedAt: budgetNoon})
	}
	if s.n != 90 {
		t.Errorf("the loud are given %d, want 90 of 100", s.n)
	}
	_, err := m.Start(t.Context(), &Attempt{CreatedAt: budgetNoon})
	if over, ok := errors.AsType[*OverBudgetError](err); !ok || over.Name != "qr_codes" || over.Wait <= 0 || !strings.Contains(err.Error(), "limit qr_codes") {
		t.Errorf("beyond the budget: %v", err)
	}
	for range 20 {
		_, _ = m.Start(t.Context(), &Attempt{CreatedAt: budgetNoon, Quiet: true})
	}
	if s.n != 100 {
		t.Errorf("all are given %d, want 100", s.n)
	}
}

func TestMetered_GivesBack(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	link := func(a *Attempt) Shown {
		if a.OnPhone {
			return Shown{Link: "https://wxaurl.cn/x"}
		}
		return Shown{QR: new(QR)}
	}
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		starter *meteredStarter
		attempt Attempt
		// how often a budget of one code and one link at once serves ten attempts
		want int
	}{
		{"a code is paid for", t.Context(), &meteredStarter{shown: link}, Attempt{}, 1},
		{"a failure is not", t.Context(), &meteredStarter{err: errors.New("failed")}, Attempt{}, 10},
		// Else who hangs up in time would have WeChat asked for nothing.
		{"a visitor who has gone pays", gone, &meteredStarter{err: context.Canceled}, Attempt{}, 1},
		// One link, and then a code, which is less than the visitor wants and more than nothing.
		{"a link costs no code", t.Context(), &meteredStarter{shown: link}, Attempt{OnPhone: true}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &Metered{Starter: tt.starter, Codes: budgetOf("mini_codes", 2), Links: budgetOf("mini_links", 2)}
			for range 10 {
				a := tt.attempt
				a.CreatedAt, a.Quiet = budgetNoon, true
				_, _ = m.Start(tt.ctx, &a)
			}
			if tt.starter.n != tt.want {
				t.Errorf("ten attempts ask %d times, want %d", tt.starter.n, tt.want)
			}
		})
	}
}

func TestMetered_Off(t *testing.T) {
	s := new(meteredStarter)
	m := &Metered{Starter: s}
	for range 1000 {
		if _, err := m.Start(t.Context(), &Attempt{CreatedAt: budgetNoon, OnPhone: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// An attempt of one site does not exist for another, by its id, its token or its
// scene; WeChat's own word of it may come to any of them.
func TestService_For(t *testing.T) {
	f := newFixture(t, ConfirmTap)
	a := f.begin()
	const portal = "https://site/_wechat"
	here, there := f.For("https://www.site/_wechat", portal), f.For("https://other/_wechat")
	ways := func(v *Service) map[string]error {
		_, get := v.Get(t.Context(), a.ID, browser)
		_, byToken := v.ByToken(t.Context(), a.Token)
		_, byScene := v.ByScene(t.Context(), a.AppID, a.Scene)
		return map[string]error{"Get": get, "ByToken": byToken, "ByScene": byScene}
	}
	for name, err := range ways(here) {
		if err != nil {
			t.Errorf("%s at its own site: %v", name, err)
		}
	}
	for name, err := range ways(there) {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s at another site: %v", name, err)
		}
	}
	if err := there.Cancel(t.Context(), a.ID, browser); !errors.Is(err, ErrNotFound) {
		t.Errorf("Cancel at another site: %v", err)
	}
	if a, err := there.Scan(t.Context(), a.AppID, a.Scene, Person{OpenID: "oAlice"}); err != nil || a.State != Scanned {
		t.Errorf("Scan at another site: %v, %v", a.State, err)
	}
	if _, _, err := there.Answer(t.Context(), a.Token, ChoiceYes, Person{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Answer at another site: %v", err)
	}
	if err := there.Consume(t.Context(), a.ID, browser, "session"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Consume at another site: %v", err)
	}
	if _, _, err := here.Answer(t.Context(), a.Token, ChoiceYes, Person{}); err != nil {
		t.Error(err)
	}
	if err := here.Consume(t.Context(), a.ID, browser, "session"); err != nil {
		t.Error(err)
	}
}
