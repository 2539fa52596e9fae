// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const phone = "the phone's secret"

// asked is an attempt that alice has scanned, and the state with which her phone
// went to WeChat.
func (f *fixture) asked() (Attempt, string) {
	f.t.Helper()
	a := f.begin()
	f.scan(a, person)
	state, err := f.AskProof(f.t.Context(), a, "p", phone)
	if err != nil || !strings.HasPrefix(state, "p") || len(state) < idLen {
		f.t.Fatalf("state %q, error %v", state, err)
	}
	return a, state
}

// prove lets WeChat name somebody in a browser and returns what is known then.
func (f *fixture) prove(a Attempt, who Person, browser string) (Attempt, bool) {
	f.t.Helper()
	same, err := f.Prove(f.t.Context(), a.ID, who, browser)
	if err != nil {
		f.t.Fatal(err)
	}
	got, err := f.ByToken(f.t.Context(), a.Token)
	if err != nil {
		f.t.Fatal(err)
	}
	return got, same
}

// TestProof: the person who scanned opens the link, WeChat names the same person,
// and from then on this browser, and no other, may answer.
func TestProof(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, state := f.asked()
	if f.Proven(a, phone) || f.Proven(a, "") {
		t.Error("proven before WeChat is asked")
	}
	claimed, first, err := f.ClaimProof(t.Context(), state, phone)
	if err != nil || !first || claimed.ID != a.ID {
		t.Fatalf("claimed %+v, first %v, error %v", claimed, first, err)
	}
	got, same := f.prove(a, Person{OpenID: person, UnionID: "union", Name: "小明", Avatar: "a.png"}, phone)
	if !same || !f.Proven(got, phone) || got.Name != "小明" || got.UnionID != "union" || got.Avatar != "a.png" || got.State != Scanned {
		t.Errorf("same %v, then %+v", same, got)
	}
	for _, other := range []string{"", browser, got.Prover, "phone's secret"} {
		if f.Proven(got, other) {
			t.Errorf("proven in the browser %q", other)
		}
	}
}

// TestQ1ForwardedLink: the person who scanned forwards the link in the chat, or it is
// stolen. Whoever opens it is not who scanned: WeChat says so.
func TestQ1ForwardedLink(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.asked()
	for _, who := range []Person{{OpenID: "oBob", Name: "Bob"}, {}, {UnionID: "union"}} {
		got, same := f.prove(a, who, phone)
		if same || f.Proven(got, phone) || got.Name != "" || got.OpenID != person {
			t.Errorf("%+v: same %v, then %+v", who, same, got)
		}
	}
	unscanned := f.begin()
	if got, same := f.prove(unscanned, Person{}, phone); same || f.Proven(got, phone) {
		t.Errorf("nobody has proven to be nobody: %+v", got)
	}
}

// TestProofAfterTheEnd: who proves too late is the same person, and changes nothing.
func TestProofAfterTheEnd(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.asked()
	f.clock.advance(codeTTL)
	if got, same := f.prove(a, Person{OpenID: person, Name: "late"}, phone); !same || f.Proven(got, phone) || got.Name != "" || got.State != Expired {
		t.Errorf("same %v, then %+v", same, got)
	}
}

// TestQ3ProofOnce: the way back from WeChat is walked once. Further calls are known
// for what they are, so that they do not use up another code.
func TestQ3ProofOnce(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, state := f.asked()
	var won atomic.Int64
	parallel(200, func(int) {
		got, first, err := f.ClaimProof(t.Context(), state, phone)
		if err != nil || got.ID != a.ID {
			t.Errorf("%+v, %v", got, err)
		}
		if first {
			won.Add(1)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d calls were the first", won.Load())
	}
}

// TestQ11ProofOfAnotherBrowser: an attacker has a victim's WeChat open his own way
// back. It belongs to the browser that went, and is not used up by another.
func TestQ11ProofOfAnotherBrowser(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, state := f.asked()
	for _, try := range []struct{ name, state, browser string }{
		{"another browser", state, browser},
		{"no cookie", state, ""},
		{"the hash", state, hash(phone)},
		{"no state", "", phone},
		{"without prefix", state[1:], phone},
		{"the scene", a.Scene, phone},
		{"garbage", "p\x00\xff../*", phone},
		{"a colon", "p:" + state[1:], phone},
		{"a long one", strings.Repeat("p", 1<<16), phone},
	} {
		if got, first, err := f.ClaimProof(t.Context(), try.state, try.browser); !errors.Is(err, ErrNotFound) || first || got.ID != "" {
			t.Errorf("%s: %+v, first %v, error %v", try.name, got, first, err)
		}
	}
	if _, first, err := f.ClaimProof(t.Context(), state, phone); err != nil || !first {
		t.Errorf("then its own browser: first %v, error %v", first, err)
	}
}

// TestProofExpires: who takes too long has to go to WeChat once more.
func TestProofExpires(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	_, state := f.asked()
	f.clock.advance(proofTTL + time.Second)
	if _, first, err := f.ClaimProof(t.Context(), state, phone); !errors.Is(err, ErrNotFound) || first {
		t.Errorf("first %v, error %v", first, err)
	}
}

// TestAnswerProven: the answer of a browser that WeChat has not named the person in
// changes nothing, whatever it says, while there is anything to change.
func TestAnswerProven(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.asked()
	unproven := func(in string, want State) {
		t.Helper()
		for _, choice := range []string{a.Number, "xx", ChoiceYes, ChoiceCancel, ChoiceRevoke, ""} {
			got, changed, err := f.AnswerProven(t.Context(), a.Token, choice, in)
			if !errors.Is(err, ErrUnproven) || changed || got.State != want || got.Token != a.Token {
				t.Errorf("%q from %q: %s, changed %v, error %v", choice, in, got.State, changed, err)
			}
		}
	}
	unproven(phone, Scanned)
	f.prove(a, alice, phone)
	unproven("another phone", Scanned)
	unproven("", Scanned)
	if got, changed, err := f.AnswerProven(t.Context(), a.Token, a.Number, phone); err != nil || !changed || got.State != Confirmed {
		t.Fatalf("the person: %s, changed %v, error %v", got.State, changed, err)
	}
	unproven("another phone", Confirmed)
	if err := f.Consume(t.Context(), a.ID, browser, "session"); err != nil {
		t.Fatal(err)
	}
	if got, changed, err := f.AnswerProven(t.Context(), a.Token, a.Number, "another phone"); err != nil || changed || got.State != Consumed {
		t.Errorf("once it is over: %s, changed %v, error %v", got.State, changed, err)
	}
	if _, _, err := f.AnswerProven(t.Context(), strings.Repeat("A", idLen), a.Number, phone); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown link: %v", err)
	}
}

// TestQ1ProofRace: a forwarded link is answered, by hundreds of requests of a
// browser that is not the person's, while the person scans and proves. Had the proof
// been looked for before the answer and not with it, one would get through.
func TestQ1ProofRace(t *testing.T) {
	for range 20 {
		f := newFixture(t, ConfirmTap)
		a := f.begin()
		parallel(50, func(i int) {
			switch i {
			case 20:
				f.scan(a, person)
			case 30:
				if _, err := f.Prove(t.Context(), a.ID, alice, phone); err != nil {
					t.Error(err)
				}
			default:
				if _, changed, err := f.AnswerProven(t.Context(), a.Token, ChoiceYes, "mallory's"); changed {
					t.Errorf("mallory's answer counts (%v)", err)
				}
			}
		})
		if got := f.state(a); got != Scanned {
			t.Errorf("the attempt is %s", got)
		}
	}
}

// TestProofsAreCounted: who knows a link makes the gateway ask WeChat for it so many
// times and no more, however many ask at once. A way begun before is walked to its end.
func TestProofsAreCounted(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, state := f.asked() // the first
	var given atomic.Int64
	parallel(100, func(int) {
		switch _, err := f.AskProof(t.Context(), a, "p", "mallory's"); {
		case err == nil:
			given.Add(1)
		case !errors.Is(err, ErrTooManyProofs):
			t.Error(err)
		}
	})
	if given.Load() != maxProofs-1 {
		t.Errorf("%d more ways, want %d", given.Load(), maxProofs-1)
	}
	if _, first, err := f.ClaimProof(t.Context(), state, phone); err != nil || !first {
		t.Errorf("the first way: first %v, error %v", first, err)
	}
	if _, err := f.AskProof(t.Context(), f.scanned(), "p", phone); err != nil {
		t.Errorf("another attempt: %v", err)
	}
	if err := f.Cancel(t.Context(), a.ID, browser); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AskProof(t.Context(), a, "p", phone); !errors.Is(err, ErrState) {
		t.Errorf("an attempt that is over: %v, want %v", err, ErrState)
	}
}

// scanned is an attempt that alice has scanned.
func (f *fixture) scanned() Attempt {
	f.t.Helper()
	return f.scan(f.begin(), person)
}
