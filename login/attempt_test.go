// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	rightNumber, wrongNumber = "42", "17"

	codeTTL = 5 * time.Minute
	// step leaves a code that is scanned after one step less than scanMargin.
	step = 4 * time.Minute
)

var epoch = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// event is something that somebody does to an attempt, or time.
type event struct {
	name string
	do   func(a *Attempt, now time.Time) (changed bool)
	// next is what has to become of an attempt, by its state; states that are
	// not listed must stay.
	next func(m Confirm) map[State]State
}

func always(next map[State]State) func(Confirm) map[State]State {
	return func(Confirm) map[State]State { return next }
}

func only(mode Confirm, next map[State]State) func(Confirm) map[State]State {
	return func(m Confirm) map[State]State {
		if m == mode {
			return next
		}
		return nil
	}
}

func answers(choice string) func(*Attempt, time.Time) bool {
	return func(a *Attempt, _ time.Time) bool { return a.answer(choice) }
}

func scans(openID string) func(*Attempt, time.Time) bool {
	return func(a *Attempt, now time.Time) bool { return a.scan(openID, now) }
}

func afterScan(m Confirm) map[State]State {
	if m == ConfirmOff {
		return map[State]State{Pending: Confirmed}
	}
	return map[State]State{Pending: Scanned}
}

var (
	declined = map[State]State{Scanned: Cancelled, Confirmed: Cancelled}

	events = []event{
		{"alice scans", scans("alice"), afterScan},
		{"bob scans", scans("bob"), afterScan},
		{"the right number", answers(rightNumber), only(ConfirmNumber, map[State]State{Scanned: Confirmed})},
		{"a wrong number", answers(wrongNumber), only(ConfirmNumber, map[State]State{Scanned: Denied})},
		{"yes", answers(ChoiceYes), only(ConfirmTap, map[State]State{Scanned: Confirmed})},
		{"garbage", answers(" 42"), always(nil)},
		{"no answer", answers(""), always(nil)},
		{"cancel on the phone", answers(ChoiceCancel), always(declined)},
		{"not me", answers(ChoiceRevoke), always(declined)},
		{
			"cancel in the browser", func(a *Attempt, _ time.Time) bool { return a.cancel() },
			always(map[State]State{Pending: Cancelled, Scanned: Cancelled, Confirmed: Cancelled}),
		},
		{"consume", func(a *Attempt, _ time.Time) bool { return a.consume("session") }, always(map[State]State{Confirmed: Consumed})},
		{"deny", func(a *Attempt, _ time.Time) bool { return a.deny("disabled") }, always(map[State]State{Confirmed: Denied})},
	}
)

func newAttempt(mode Confirm) Attempt {
	a := Attempt{ID: "id", State: Pending, Confirm: mode, CreatedAt: epoch, ExpiresAt: epoch.Add(codeTTL)}
	if mode == ConfirmNumber {
		a.Number, a.Choices = rightNumber, []string{rightNumber, wrongNumber, "99"}
	}
	return a
}

// TestQ10EveryInterleaving lets two people who scan, the phone, the browser (or
// several of its tabs), an operator's ban and time race each other in every order
// of up to seven events: whatever comes when, the attempt only ever moves as the
// table above allows.
func TestQ10EveryInterleaving(t *testing.T) {
	t.Parallel()
	const length = 7
	for _, mode := range []Confirm{ConfirmNumber, ConfirmTap, ConfirmOff} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := walk{t: t, mode: mode, reached: make(map[State]int)}
			w.from(newAttempt(mode), epoch, length)
			for _, end := range []State{Consumed, Cancelled, Expired, Denied} {
				if w.reached[end] == 0 {
					t.Errorf("no sequence of events ends in %s: the walk shows nothing", end)
				}
			}
		})
	}
}

// walk tries every sequence of events.
type walk struct {
	t       *testing.T
	mode    Confirm
	path    []string
	reached map[State]int
}

// from continues with every event, and with the passing of time, from an attempt
// as it is stored.
func (w *walk) from(stored Attempt, now time.Time, left int) {
	w.reached[stored.at(now).State]++
	if left == 0 {
		return
	}
	for _, e := range events {
		w.path = append(w.path, e.name)
		// What changes nothing leads where this walk is already.
		if next, changed := w.apply(e, stored, now); changed {
			w.from(next, now, left-1)
		}
		w.path = w.path[:len(w.path)-1]
	}
	w.path = append(w.path, "time passes")
	later := now.Add(step)
	w.checkTime(stored, now, later)
	w.from(stored, later, left-1)
	w.path = w.path[:len(w.path)-1]
}

// apply does to the attempt what Service.change does, and judges the outcome.
func (w *walk) apply(e event, stored Attempt, now time.Time) (next Attempt, changed bool) {
	before := stored.at(now)
	after := before
	changed = e.do(&after, now)
	want, moves := e.next(w.mode)[before.State]
	if !moves {
		want = before.State
	}
	disowned := e.name == "not me" && before.State == Consumed && !before.Disowned
	switch {
	case after.State != want:
		w.fail("%s becomes %s, want %s", before.State, after.State, want)
	case changed != (moves || disowned):
		w.fail("%s says changed=%v", before.State, changed)
	case !changed && !reflect.DeepEqual(before, after):
		w.fail("says that nothing changed, but %+v becomes %+v", before, after)
	case before.OpenID != "" && after.OpenID != before.OpenID:
		w.fail("the attempt of %s becomes %s's", before.OpenID, after.OpenID)
	case (after.OpenID != "") != (before.OpenID != "" || strings.HasSuffix(e.name, "scans") && moves):
		w.fail("the attempt is %q's after this", after.OpenID)
	case (after.SessionID != "") != (after.State == Consumed):
		w.fail("session %q in state %s", after.SessionID, after.State)
	case after.Disowned != (before.Disowned || disowned):
		w.fail("disowned: %v", after.Disowned)
	case after.ExpiresAt.Before(before.ExpiresAt), after.State == Scanned && after.ExpiresAt.Sub(now) <= 0:
		w.fail("the time left shrinks to %v", after.ExpiresAt.Sub(now))
	case after.ExpiresAt.After(before.ExpiresAt) && !strings.HasSuffix(e.name, "scans"):
		w.fail("the attempt lives longer after this")
	}
	return after, changed
}

// checkTime says that time alone ends an attempt that is not over, and does
// nothing else.
func (w *walk) checkTime(stored Attempt, now, later time.Time) {
	before, after := stored.at(now), stored.at(later)
	want := before.State
	if !want.Final() && !later.Before(stored.ExpiresAt) {
		want = Expired
	}
	if after.State != want {
		w.fail("%s becomes %s, want %s", before.State, after.State, want)
	}
}

func (w *walk) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("after [%s] in mode %s: "+format, append([]any{strings.Join(w.path, ", "), w.mode}, args...)...)
}

// TestScanLeavesTimeToConfirm: who scans in the last second still has as long as
// one needs to read a page and choose.
func TestScanLeavesTimeToConfirm(t *testing.T) {
	a, last := newAttempt(ConfirmNumber), epoch.Add(codeTTL-time.Second)
	if !a.scan("alice", last) || a.ExpiresAt.Sub(last) != scanMargin {
		t.Errorf("expires %v after the scan, want %v", a.ExpiresAt.Sub(last), scanMargin)
	}
}

// TestAnswerTakesNoLookAlike: only the digits as shown are the number, and only
// something of that form is a wrong number; the rest is no answer and costs nothing.
func TestAnswerTakesNoLookAlike(t *testing.T) {
	for _, choice := range []string{"", "4", "042", "4 2", "42 ", "\u200b42", "４２", "٤٢", "+42", "4२", "yes", "YES", "cancel ", "true", "42\x00", strings.Repeat("4", 1<<16)} {
		a := newAttempt(ConfirmNumber)
		a.scan("alice", epoch)
		if a.answer(choice) || a.State != Scanned {
			t.Errorf("%.20q moves the attempt to %s", choice, a.State)
		}
	}
}

// TestBoundTo: an attempt made for a browser is not open to one without a cookie.
func TestBoundTo(t *testing.T) {
	a := Attempt{Browser: hash("secret")}
	for secret, want := range map[string]bool{"secret": true, "": false, "secre": false, "Secret": false, hash("secret"): false} {
		if got := a.boundTo(secret); got != want {
			t.Errorf("boundTo(%q) = %v", secret, got)
		}
	}
}
