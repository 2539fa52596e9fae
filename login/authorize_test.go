// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAuthorizerShows: WeChat's page is given the callback of this site, and as the
// state what finds the attempt again; a frame is shown where there is one.
func TestAuthorizerShows(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	for method, framed := range map[string]bool{WebsiteQR: true, InWeChat: false} {
		a, got := f.with(method)
		want := Shown{Redirect: "https://open.example/page?to=https://site/_wechat/oauth/callback&state=" + a.Scene}
		if framed {
			want.Frame = strings.Replace(want.Redirect, "/page", "/frame", 1)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", method, diff)
		}
		if a.ExpiresAt.Sub(a.CreatedAt) != authorizeTTL || a.Confirm != "" || a.Number != "" {
			t.Errorf("%s: the attempt is %+v", method, a)
		}
		if found, err := f.ByState(t.Context(), a.Scene, browser); err != nil || found.ID != a.ID {
			t.Errorf("%s: found %+v, error %v", method, found, err)
		}
	}
}

// TestQ11StateOfAnotherBrowser: an attacker begins a sign-in, authorizes it with his
// own WeChat and has a victim's browser open the callback. That browser did not
// begin it: for it there is no such attempt, just as for a state that nobody has.
func TestQ11StateOfAnotherBrowser(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.with(InWeChat)
	scanned, _ := f.with(MiniQR)
	for _, try := range []struct{ name, state, browser string }{
		{"another browser", a.Scene, "the victim's secret"},
		{"no cookie", a.Scene, ""},
		{"the hash", a.Scene, a.Browser},
		{"an unknown state", strings.Repeat("A", idLen), browser},
		{"the attempt's id", a.ID, browser},
		{"its token", a.Token, browser},
		{"the scene of a code", scanned.Scene, browser},
		{"no state", "", browser},
		{"half a state", a.Scene[:20], browser},
		{"a long state", strings.Repeat(a.Scene, 1000), browser},
	} {
		if got, err := f.ByState(t.Context(), try.state, try.browser); !errors.Is(err, ErrNotFound) || err.Error() != ErrNotFound.Error() {
			t.Errorf("%s: %+v, %v", try.name, got, err)
		}
	}
	if got := f.state(a); got != Pending {
		t.Errorf("the attempt is %s", got)
	}
}

// TestQ3OneOfManyClaims: WeChat's browser calls back twice, the person reloads, an
// extension prefetches: of two hundred calls one uses the code.
func TestQ3OneOfManyClaims(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.with(WebsiteQR)
	var won, named atomic.Int64
	parallel(200, func(int) {
		claimed, err := f.Claim(t.Context(), a.ID)
		if err != nil {
			t.Error(err)
		}
		if claimed {
			won.Add(1)
			if _, err := f.Authorize(t.Context(), a.ID, alice); err != nil {
				t.Error(err)
			}
			named.Add(1)
		}
	})
	if won.Load() != 1 || named.Load() != 1 || f.state(a) != Confirmed {
		t.Errorf("%d claims, %d authorized, then %s", won.Load(), named.Load(), f.state(a))
	}
	if _, err := f.Authorize(t.Context(), a.ID, Person{OpenID: "oBob"}); !errors.Is(err, ErrState) {
		t.Errorf("authorizing once more: %v, want %v", err, ErrState)
	}
	if got, err := f.Get(t.Context(), a.ID, browser); err != nil || got.OpenID != person {
		t.Errorf("the attempt is %+v, error %v", got, err)
	}
}

// TestAuthorizeNeedsAClaim: nobody is authorized before the code is used, after the
// end, or as nobody.
func TestAuthorizeNeedsAClaim(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.with(InWeChat)
	if _, err := f.Authorize(t.Context(), a.ID, alice); !errors.Is(err, ErrState) {
		t.Errorf("unclaimed: %v, want %v", err, ErrState)
	}
	if ok, err := f.Claim(t.Context(), a.ID); !ok || err != nil {
		t.Fatalf("claimed %v, error %v", ok, err)
	}
	if _, err := f.Authorize(t.Context(), a.ID, Person{UnionID: "union", Name: "nobody"}); err == nil || errors.Is(err, ErrState) {
		t.Errorf("nobody: %v", err)
	}
	f.clock.advance(authorizeTTL)
	if _, err := f.Authorize(t.Context(), a.ID, alice); !errors.Is(err, ErrState) {
		t.Errorf("late: %v, want %v", err, ErrState)
	}
	late, _ := f.with(InWeChat)
	f.clock.advance(authorizeTTL)
	if ok, err := f.Claim(t.Context(), late.ID); ok || err != nil {
		t.Errorf("an expired attempt is claimed (%v), error %v", ok, err)
	}
	if _, err := f.Claim(t.Context(), strings.Repeat("A", idLen)); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown attempt: %v, want %v", err, ErrNotFound)
	}
}

// TestRefuse: a refusal ends what is not decided, tells the page why, and takes
// nothing from who is signed in.
func TestRefuse(t *testing.T) {
	claim := func(f *fixture, a Attempt) {
		if ok, err := f.Claim(f.t.Context(), a.ID); !ok || err != nil {
			f.t.Fatalf("claimed %v, error %v", ok, err)
		}
	}
	for _, tt := range []struct {
		name   string
		until  func(*fixture, Attempt)
		reason string
		want   State
		kept   bool
	}{
		{"at WeChat", func(*fixture, Attempt) {}, ReasonPhone, Cancelled, false},
		{"a virtual user", claim, ReasonVirtual, Denied, false},
		{"a code that fails", claim, ReasonExchange, Denied, false},
		{"authorized", func(f *fixture, a Attempt) {
			claim(f, a)
			if _, err := f.Authorize(f.t.Context(), a.ID, alice); err != nil {
				f.t.Fatal(err)
			}
		}, ReasonPhone, Confirmed, true},
		{"given up", func(f *fixture, a Attempt) {
			if err := f.Cancel(f.t.Context(), a.ID, browser); err != nil {
				f.t.Fatal(err)
			}
		}, ReasonVirtual, Cancelled, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, ConfirmNumber)
			a, _ := f.with(WebsiteQR)
			tt.until(f, a)
			if err := f.Refuse(t.Context(), a.ID, tt.reason); err != nil {
				t.Fatal(err)
			}
			got, err := f.Get(t.Context(), a.ID, browser)
			if err != nil || got.State != tt.want || (got.Reason == tt.reason) == tt.kept {
				t.Errorf("%s for %q, error %v", got.State, got.Reason, err)
			}
		})
	}
}

// TestMethodsDoNotMix: what is for one method does nothing to an attempt of another,
// even with its secrets.
func TestMethodsDoNotMix(t *testing.T) {
	f := newFixture(t, ConfirmTap)
	for _, method := range []string{WebsiteQR, InWeChat} {
		a, _ := f.with(method)
		if _, err := f.Scan(t.Context(), app, a.Scene, alice); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s is scanned: %v", method, err)
		}
		for _, choice := range []string{ChoiceYes, ChoiceCancel, ChoiceRevoke} {
			if _, changed, err := f.Answer(t.Context(), a.Token, choice, alice); changed || err != nil {
				t.Errorf("%s is answered %s: changed %v, error %v", method, choice, changed, err)
			}
		}
		if got := f.state(a); got != Pending {
			t.Errorf("%s is %s", method, got)
		}
	}
	for _, method := range []string{OfficialQR, MiniQR, ChatCode} {
		a, _ := f.with(method)
		f.scan(a, person)
		if ok, err := f.Claim(t.Context(), a.ID); ok || err != nil {
			t.Errorf("%s is claimed (%v), error %v", method, ok, err)
		}
		if _, err := f.Authorize(t.Context(), a.ID, Person{OpenID: "oBob"}); !errors.Is(err, ErrState) {
			t.Errorf("%s is authorized: %v", method, err)
		}
		if err := f.Refuse(t.Context(), a.ID, ReasonVirtual); err != nil {
			t.Error(err)
		}
		if got := f.state(a); got != Scanned {
			t.Errorf("%s is %s", method, got)
		}
	}
}
