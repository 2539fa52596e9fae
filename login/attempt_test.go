// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"reflect"
	"slices"
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
	next func(before Attempt) map[State]State
	// names says that the event gives the attempt to a person, prolongs that it
	// may let it live longer, and proves that it tells WeChat's word on a browser.
	names, prolongs, proves bool
}

func always(next map[State]State) func(Attempt) map[State]State {
	return func(Attempt) map[State]State { return next }
}

// asked is for what is done with a code on the page, which WeChat itself does not
// ask about.
func asked(next map[State]State) func(Attempt) map[State]State {
	return func(a Attempt) map[State]State {
		if isOAuth(a) {
			return nil
		}
		return next
	}
}

// authorized is for what is done where WeChat itself asks.
func authorized(next map[State]State) func(Attempt) map[State]State {
	return func(a Attempt) map[State]State {
		if isOAuth(a) {
			return next
		}
		return nil
	}
}

func isOAuth(a Attempt) bool { return slices.Contains([]string{WebsiteQR, InWeChat}, a.Method) }

func only(mode Confirm, next map[State]State) func(Attempt) map[State]State {
	return func(a Attempt) map[State]State {
		if a.Confirm == mode {
			return asked(next)(a)
		}
		return nil
	}
}

func answers(choice string) func(*Attempt, time.Time) bool {
	return func(a *Attempt, _ time.Time) bool { return a.answer(choice) }
}

func scans(openID string) event {
	return event{
		name: openID + " scans", names: true, prolongs: true,
		do: func(a *Attempt, now time.Time) bool { return a.scan(Person{OpenID: openID}, now) }, next: afterScan,
	}
}

func afterScan(a Attempt) map[State]State {
	if a.Confirm == ConfirmOff {
		return asked(map[State]State{Pending: Confirmed})(a)
	}
	return asked(map[State]State{Pending: Scanned})(a)
}

func authorizes(openID string) event {
	return event{
		name: openID + " authorizes", names: true,
		do:   func(a *Attempt, _ time.Time) bool { return a.authorize(Person{OpenID: openID}) },
		next: authorized(map[State]State{Scanned: Confirmed}),
	}
}

func refuses(reason string, ends map[State]State) event {
	return event{
		name: "refused for " + reason, do: func(a *Attempt, _ time.Time) bool { return a.refuse(reason) },
		next: authorized(ends),
	}
}

func proves(openID string) event {
	return event{
		name: "WeChat names " + openID, proves: true, next: always(nil),
		do: func(a *Attempt, _ time.Time) bool { return a.prove(Person{OpenID: openID}, openID+"'s browser") },
	}
}

var (
	declined = map[State]State{Scanned: Cancelled, Confirmed: Cancelled}
	failed   = map[State]State{Pending: Denied, Scanned: Denied}

	events = []event{
		scans("alice"), scans("bob"),
		{name: "the right number", do: answers(rightNumber), next: only(ConfirmNumber, map[State]State{Scanned: Confirmed})},
		{name: "a wrong number", do: answers(wrongNumber), next: only(ConfirmNumber, map[State]State{Scanned: Denied})},
		{name: "yes", do: answers(ChoiceYes), next: only(ConfirmTap, map[State]State{Scanned: Confirmed})},
		{name: "garbage", do: answers(" 42"), next: always(nil)},
		{name: "no answer", do: answers(""), next: always(nil)},
		{name: "cancel on the phone", do: answers(ChoiceCancel), next: asked(declined)},
		{name: "not me", do: answers(ChoiceRevoke), next: asked(declined)},
		{
			name: "a callback", do: func(a *Attempt, now time.Time) bool { return a.claim(now) },
			next: authorized(map[State]State{Pending: Scanned}), prolongs: true,
		},
		authorizes("alice"), authorizes("bob"),
		refuses(ReasonPhone, map[State]State{Pending: Cancelled}), // once claimed, there is a code
		refuses(ReasonVirtual, failed), refuses(ReasonExchange, failed),
		proves("alice"), proves("bob"),
		{
			name: "cancel in the browser", do: func(a *Attempt, _ time.Time) bool { return a.cancel() },
			next: always(map[State]State{Pending: Cancelled, Scanned: Cancelled, Confirmed: Cancelled}),
		},
		{name: "consume", do: func(a *Attempt, _ time.Time) bool { return a.consume("session") }, next: always(map[State]State{Confirmed: Consumed})},
		{name: "deny", do: func(a *Attempt, _ time.Time) bool { return a.deny("disabled") }, next: always(map[State]State{Confirmed: Denied})},
	}
)

func newAttempt(method string, mode Confirm) Attempt {
	a := Attempt{ID: "id", Method: method, State: Pending, Confirm: mode, CreatedAt: epoch, ExpiresAt: epoch.Add(codeTTL)}
	if mode == ConfirmNumber {
		a.Number, a.Choices = rightNumber, []string{rightNumber, wrongNumber, "99"}
	}
	return a
}

// TestQ10EveryInterleaving lets two people who scan or authorize, the phone, the
// browser (or several of its tabs, or WeChat, which may call back twice), an
// operator's ban and time race each other in every order of up to seven events, in
// each method and mode: whatever comes when, the attempt only ever moves as the
// table above allows. What WeChat asks about is never scanned nor answered, and what
// is scanned is never authorized.
func TestQ10EveryInterleaving(t *testing.T) {
	t.Parallel()
	const length = 7
	for _, method := range Methods {
		modes := []Confirm{ConfirmNumber, ConfirmTap, ConfirmOff}
		if isOAuth(Attempt{Method: method}) {
			modes = []Confirm{""}
		}
		for _, mode := range modes {
			t.Run(method+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				w := walk{t: t, mode: mode, reached: make(map[State]int), proven: make(map[string]bool)}
				w.from(newAttempt(method, mode), epoch, length)
				for _, end := range []State{Consumed, Cancelled, Expired, Denied} {
					if w.reached[end] == 0 {
						t.Errorf("no sequence of events ends in %s: the walk shows nothing", end)
					}
				}
				if len(w.proven) != 2 {
					t.Errorf("proven for %v, want alice and bob", w.proven)
				}
			})
		}
	}
}

// walk tries every sequence of events.
type walk struct {
	t       *testing.T
	mode    Confirm
	path    []string
	reached map[State]int
	proven  map[string]bool
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
		if next, changed := w.apply(e, stored, now); changed && !reflect.DeepEqual(next, stored) {
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
	want, moves := e.next(before)[before.State]
	if !moves {
		want = before.State
	}
	disowned := e.name == "not me" && before.State == Consumed && !before.Disowned && !isOAuth(before)
	proven := e.proves && !before.State.Final() && before.OpenID != "" && strings.HasSuffix(e.name, before.OpenID)
	switch {
	case after.State != want:
		w.fail("%s becomes %s, want %s", before.State, after.State, want)
	case changed != (moves || disowned || proven):
		w.fail("%s says changed=%v", before.State, changed)
	case !changed && !reflect.DeepEqual(before, after):
		w.fail("says that nothing changed, but %+v becomes %+v", before, after)
	}
	w.checkPerson(e, before, after, moves, proven)
	switch {
	case (after.SessionID != "") != (after.State == Consumed):
		w.fail("session %q in state %s", after.SessionID, after.State)
	case after.Disowned != (before.Disowned || disowned):
		w.fail("disowned: %v", after.Disowned)
	case after.ExpiresAt.Before(before.ExpiresAt), after.State == Scanned && after.ExpiresAt.Sub(now) <= 0:
		w.fail("the time left shrinks to %v", after.ExpiresAt.Sub(now))
	case after.ExpiresAt.After(before.ExpiresAt) && !e.prolongs:
		w.fail("the attempt lives longer after this")
	}
	return after, changed
}

// checkPerson says whose the attempt is, and in whose browser WeChat has named that
// person.
func (w *walk) checkPerson(e event, before, after Attempt, moves, proven bool) {
	switch {
	case before.OpenID != "" && after.OpenID != before.OpenID:
		w.fail("the attempt of %s becomes %s's", before.OpenID, after.OpenID)
	case (after.OpenID != "") != (before.OpenID != "" || e.names && moves):
		w.fail("the attempt is %q's after this", after.OpenID)
	case (after.State == Confirmed || after.State == Consumed) && after.OpenID == "":
		w.fail("nobody signs in")
	case !proven && after.Prover != before.Prover, proven && after.Prover != hash(after.OpenID+"'s browser"):
		w.fail("proven in %q", after.Prover)
	}
	if proven {
		w.proven[after.OpenID] = true
	}
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
	a, last := newAttempt(OfficialQR, ConfirmNumber), epoch.Add(codeTTL-time.Second)
	if !a.scan(Person{OpenID: "alice"}, last) || a.ExpiresAt.Sub(last) != scanMargin {
		t.Errorf("expires %v after the scan, want %v", a.ExpiresAt.Sub(last), scanMargin)
	}
}

// TestAnswerTakesNoLookAlike: only the digits as shown are the number, and only
// something of that form is a wrong number; the rest is no answer and costs nothing.
func TestAnswerTakesNoLookAlike(t *testing.T) {
	for _, choice := range []string{"", "4", "042", "4 2", "42 ", "\u200b42", "４２", "٤٢", "+42", "4२", "yes", "YES", "cancel ", "true", "42\x00", strings.Repeat("4", 1<<16)} {
		a := newAttempt(OfficialQR, ConfirmNumber)
		a.scan(Person{OpenID: "alice"}, epoch)
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

// TestClaimLeavesTimeToAsk: who comes back from WeChat in the last second still
// signs in, though WeChat takes its time to name him.
func TestClaimLeavesTimeToAsk(t *testing.T) {
	a, last := newAttempt(InWeChat, ""), epoch.Add(codeTTL-time.Second)
	if !a.claim(last) || a.ExpiresAt.Sub(last) != claimMargin {
		t.Errorf("expires %v after the callback, want %v", a.ExpiresAt.Sub(last), claimMargin)
	}
}

// TestNobodyScans: an event that names nobody gives the attempt to nobody.
func TestNobodyScans(t *testing.T) {
	for _, mode := range []Confirm{ConfirmNumber, ConfirmTap, ConfirmOff} {
		a := newAttempt(MiniQR, mode)
		if a.scan(Person{UnionID: "union"}, epoch) || a.State != Pending {
			t.Errorf("%s: nobody's scan makes it %s", mode, a.State)
		}
	}
}

// TestLearn: what comes later adds to what is known, and replaces what the person
// can change; it never makes one person of another.
func TestLearn(t *testing.T) {
	known := Person{OpenID: "open", UnionID: "union", Name: "old", Avatar: "old.png", Phone: "+8613800000000"}
	for _, tt := range []struct {
		name             string
		old, more, wants Person
	}{
		{"nothing new", known, Person{}, known},
		{"all of it", Person{OpenID: "open"}, known, known},
		{
			"what can change", known,
			Person{Name: "new", Avatar: "new.png", Phone: "+8613900000000"},
			Person{OpenID: "open", UnionID: "union", Name: "new", Avatar: "new.png", Phone: "+8613900000000"},
		},
		{"another unionid", known, Person{UnionID: "other"}, known},
		{"another openid", known, Person{OpenID: "other"}, known},
		{"nobody's openid", Person{}, Person{OpenID: "other"}, Person{}},
		{"a name alone", known, Person{Name: "new"}, Person{OpenID: "open", UnionID: "union", Name: "new", Avatar: "old.png", Phone: known.Phone}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.old
			if got.learn(tt.more); got != tt.wants {
				t.Errorf("got %+v, want %+v", got, tt.wants)
			}
		})
	}
}
