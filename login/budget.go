// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-wechat/caddy-wechat/internal/bucket"
)

// Budget is how often WeChat may be asked for one thing of one account, over all
// visitors, so that they cannot use up its quota. The zero value sets no limit.
type Budget struct {
	// Name is how the configuration calls it.
	Name string
	// Count is how many there are in any span Per: half of them at once, the
	// others evenly.
	Count int
	Per   time.Duration
	// Taken counts what was used up, across reloads.
	Taken *bucket.Bucket
}

// keptPart of a budget is for visitors from networks that have hardly asked yet.
const keptPart = 10

// OverBudgetError says that WeChat is not asked, because a budget is used up.
type OverBudgetError struct {
	Name string
	// Wait is how long it takes until WeChat may be asked again.
	Wait time.Duration
}

func (e *OverBudgetError) Error() string {
	return fmt.Sprintf("not asking WeChat, so that its quota lasts: limit %s is used up for %v", e.Name, e.Wait.Round(time.Second))
}

func (b Budget) take(a *Attempt) error {
	if b.Count <= 0 {
		return nil
	}
	rate := bucket.Rate{Count: max(1, b.Count/2), Per: b.Per}
	keep := 0
	if !a.Quiet {
		keep = rate.Count / keptPart
	}
	if wait := b.Taken.Take(rate, keep, a.CreatedAt); wait > 0 {
		return &OverBudgetError{Name: b.Name, Wait: wait}
	}
	return nil
}

func (b Budget) giveBack() {
	if b.Count > 0 {
		b.Taken.GiveBack()
	}
}

// Metered begins attempts as another Starter does, within what WeChat's quota allows.
type Metered struct {
	Starter
	// Codes bounds the codes, and Links the links that are offered on phones in
	// place of codes.
	Codes, Links Budget
}

// Start implements Starter. The error is an *OverBudgetError where a budget is used up.
func (m *Metered) Start(ctx context.Context, a *Attempt) (Shown, error) {
	if err := m.Codes.take(a); err != nil {
		return Shown{}, err
	}
	link := a.OnPhone && m.Links.take(a) == nil
	a.OnPhone = link // without, the phone is shown a code: better than nothing
	shown, err := m.Starter.Start(ctx, a)
	if ctx.Err() != nil {
		return shown, err // who hangs up may have had WeChat asked
	}
	if err != nil || shown.Link != "" {
		m.Codes.giveBack()
	}
	if err != nil && link {
		m.Links.giveBack()
	}
	return shown, err
}
