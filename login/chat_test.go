// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// send lets somebody send a code to the account.
func (f *fixture) send(code, openID string) (Attempt, error) {
	return f.SendCode(f.t.Context(), app, code, Person{OpenID: openID})
}

// free is a code that no attempt shows.
func free(taken ...Attempt) string {
	used := make(map[string]bool)
	for _, a := range taken {
		used[a.Code] = true
	}
	for i := 0; ; i++ {
		if code := fmt.Sprintf("%06d", i); !used[code] {
			return code
		}
	}
}

// TestChatCode: the person sends the code that the page shows, and is asked as if
// it had been scanned.
func TestChatCode(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, shown := f.with(ChatCode)
	if shown.Code != a.Code || shown.QR == nil || shown.QR.Image == "" || shown.QR.URL != "" {
		t.Errorf("shown %+v", shown)
	}
	if code, ok := CodeIn(a.Code); !ok || code != a.Code {
		t.Errorf("the code %q is none", a.Code)
	}
	got, err := f.SendCode(t.Context(), app, a.Code, Person{OpenID: person, UnionID: "union"})
	if err != nil || got.ID != a.ID || got.State != Scanned || got.Person != (Person{OpenID: person, UnionID: "union"}) {
		t.Errorf("after the code it is %+v, error %v", got, err)
	}
	bare := &Chat{Store: f.store, TTL: codeTTL}
	if shown, err := bare.Start(t.Context(), &Attempt{AppID: app}); err != nil || shown.QR != nil {
		t.Errorf("without an image it shows %+v, error %v", shown, err)
	}
}

// TestChatCodesAreUnique: thousands of pages open at the same moment, and no two show
// the same code. Were the codes only random, ten pairs or so would.
func TestChatCodesAreUnique(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	c := &Chat{Store: f.store, TTL: codeTTL}
	var mu sync.Mutex
	shown := make(map[string]bool)
	parallel(5000, func(i int) {
		a := &Attempt{ID: fmt.Sprint(i), AppID: app, CreatedAt: epoch}
		if _, err := c.Start(t.Context(), a); err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if shown[a.Code] || len(a.Code) != codeLen {
			t.Errorf("code %q is shown twice, or is none", a.Code)
		}
		shown[a.Code] = true
	})
}

// TestChatCodeStaysTaken: a message that comes late, when its attempt is over but
// remembered, meets that attempt and no other.
func TestChatCodeStaysTaken(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.with(ChatCode)
	f.clock.advance(codeTTL - time.Second)
	if _, err := f.send(a.Code, person); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(scanMargin + linger - time.Second)
	if got := f.state(a); got != Expired {
		t.Fatalf("the attempt is %s", got)
	}
	if freed, err := f.store.Create(t.Context(), codeKey(app, a.Code), []byte("another"), time.Minute); err != nil || freed {
		t.Errorf("its code is free again (%v), error %v", freed, err)
	}
	if got, err := f.send(a.Code, person); err != nil || got.ID != a.ID || got.State != Expired {
		t.Errorf("the late message meets %+v, error %v", got, err)
	}
	f.clock.advance(time.Minute)
	if freed, err := f.store.Create(t.Context(), codeKey(app, a.Code), []byte("another"), time.Minute); err != nil || !freed {
		t.Errorf("its code is still taken (%v), error %v", !freed, err)
	}
}

// full is a store in which every code is taken.
type full struct {
	store.Store
	asked int
}

func (s *full) Create(context.Context, string, []byte, time.Duration) (bool, error) {
	s.asked++
	return false, nil
}

// TestChatNoCodeFree: where all codes are taken an attempt does not wait for ever.
func TestChatNoCodeFree(t *testing.T) {
	s := new(full)
	if _, err := (&Chat{Store: s, TTL: codeTTL}).Start(t.Context(), new(Attempt)); !errors.Is(err, ErrNoCode) || s.asked != codeDraws {
		t.Errorf("error %v after %d draws", err, s.asked)
	}
}

// TestQ4ChatCodesAreFew: an attacker begins attempts without end, so that whatever
// digits a visitor mistypes are a code of his. Beyond twenty thousand codes he gets no
// more: of a hundred slips at least ninety-eight lead nowhere. Honest visitors get
// codes until the room is nearly used up, and again once old codes are forgotten.
func TestQ4ChatCodesAreFew(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	c := &Chat{Store: f.store, TTL: codeTTL}
	begin := func(i int) error {
		_, err := c.Start(t.Context(), &Attempt{ID: fmt.Sprint(i), AppID: app, CreatedAt: epoch})
		if err != nil && !errors.Is(err, ErrNoCode) {
			t.Fatal(err)
		}
		return err
	}
	begun := 0
	for i := range 4 * maxCodes {
		switch err := begin(i); {
		case err == nil:
			begun++
		case begun < maxCodes/2:
			t.Fatalf("with %d codes taken there is none left", begun)
		}
	}
	if begun > maxCodes || begun < maxCodes*9/10 {
		t.Errorf("%d codes are taken, want nearly %d and no more", begun, maxCodes)
	}
	if _, err := c.Start(t.Context(), &Attempt{ID: "id", AppID: "wxother", CreatedAt: epoch}); err != nil {
		t.Errorf("another account has no code left: %v", err)
	}
	f.clock.advance(codeTTL + scanMargin + linger + time.Second)
	if err := begin(0); err != nil {
		t.Errorf("when all are forgotten: %v", err)
	}
}

// TestChatNeighbours: codes that share a place with a taken one are nobody's, whatever
// their last digits; nor is a part of a code, or more than a code.
func TestChatNeighbours(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.with(ChatCode)
	n, err := strconv.Atoi(a.Code)
	if err != nil {
		t.Fatal(err)
	}
	first := n - n%codesOfPlace
	for i := first; i < first+codesOfPlace; i++ {
		code := fmt.Sprintf("%06d", i)
		if codeKey(app, code) != codeKey(app, a.Code) {
			t.Fatalf("%s has another place than %s", code, a.Code)
		}
		if _, err := f.send(code, "o"+code); code != a.Code && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s, beside %s: %v", code, a.Code, err)
		}
	}
	for _, code := range []string{"", a.Code[:5], a.Code + " ", a.Code + " " + a.ID, a.Code + a.ID[:1], "+" + a.Code} {
		if _, err := f.send(code, "oBob"+code); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", code, err)
		}
	}
}

// TestQ4ChatGuesses: a person who guesses at codes gets five tries, is then told so,
// and even the right code is of no use until the time is over. Nobody else pays for it.
func TestQ4ChatGuesses(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.with(ChatCode)
	for range maxTries {
		if _, err := f.send(free(a), "oMallory"); !errors.Is(err, ErrNotFound) {
			t.Fatalf("a wrong code: %v", err)
		}
	}
	for _, code := range []string{free(a), a.Code} {
		if _, err := f.send(code, "oMallory"); !errors.Is(err, ErrTooManyTries) {
			t.Errorf("code %s after too many: %v, want %v", code, err, ErrTooManyTries)
		}
	}
	if reply := (Replies{}).ToGuesser(); !strings.Contains(reply, "次数过多") || !strings.Contains(reply, "10 分钟") {
		t.Errorf("the person is told %q", reply)
	}
	if got := f.state(a); got != Pending {
		t.Errorf("the attempt is %s", got)
	}
	if got, err := f.send(a.Code, person); err != nil || got.State != Scanned {
		t.Errorf("somebody else: %+v, %v", got, err)
	}
	f.clock.advance(triesTTL + time.Second)
	if _, err := f.send(free(a), "oMallory"); !errors.Is(err, ErrNotFound) {
		t.Errorf("when the time is over: %v, want %v", err, ErrNotFound)
	}
}

// TestQ4ChatGuessesAtOnce: messages that come all at the same moment are no more
// tries than one after the other.
func TestQ4ChatGuessesAtOnce(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.with(ChatCode)
	var tried atomic.Int64
	parallel(200, func(i int) {
		_, err := f.send(fmt.Sprintf("%06d", i), "oMallory")
		switch {
		case errors.Is(err, ErrNotFound):
			tried.Add(1)
		case !errors.Is(err, ErrTooManyTries) && a.Code != fmt.Sprintf("%06d", i):
			t.Error(err)
		}
	})
	if tried.Load() > maxTries {
		t.Errorf("%d guesses were looked up, want at most %d", tried.Load(), maxTries)
	}
}

// TestQ4TakenCodesAreTries: who hits a code that is somebody else's already has
// guessed, too, and is told nothing of that person's attempt.
func TestQ4TakenCodesAreTries(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	a, _ := f.with(ChatCode)
	if _, err := f.send(a.Code, person); err != nil {
		t.Fatal(err)
	}
	for range maxTries {
		got, err := f.send(a.Code, "oMallory")
		if err != nil || got.OpenID != person {
			t.Fatalf("a taken code: %+v, %v", got, err)
		}
		if reply := (Replies{}).ToScan(got, "oMallory"); strings.Contains(reply, a.Token) || !strings.Contains(reply, "其他人") {
			t.Fatalf("the person is told %q", reply)
		}
	}
	if _, err := f.send(a.Code, "oMallory"); !errors.Is(err, ErrTooManyTries) {
		t.Errorf("after too many: %v, want %v", err, ErrTooManyTries)
	}
}

// TestRightCodesAreNoTries: a person may sign in, and repeat a message, as often as
// he likes; that neither counts as a guess nor makes up for one.
func TestRightCodesAreNoTries(t *testing.T) {
	f := newFixture(t, ConfirmNumber)
	wrong := 0
	for range 2 * maxTries {
		a, _ := f.with(ChatCode)
		for range 3 {
			if got, err := f.send(a.Code, person); err != nil || got.ID != a.ID {
				t.Fatalf("his own code: %+v, %v", got, err)
			}
		}
		if wrong++; wrong < maxTries {
			if _, err := f.send(free(a), person); !errors.Is(err, ErrNotFound) {
				t.Fatalf("a wrong code: %v", err)
			}
		}
	}
	if _, err := f.send(free(), person); !errors.Is(err, ErrNotFound) {
		t.Errorf("the fifth wrong code: %v, want %v", err, ErrNotFound)
	}
	if _, err := f.send(free(), person); !errors.Is(err, ErrTooManyTries) {
		t.Errorf("the sixth: %v, want %v", err, ErrTooManyTries)
	}
}

// TestQ6CodeOfAnotherAccount: a code counts only in a message to the account whose
// page shows it.
func TestQ6CodeOfAnotherAccount(t *testing.T) {
	f := newFixture(t, ConfirmOff)
	a, _ := f.with(ChatCode)
	for _, other := range []string{"wxother", "", app + ":" + a.Code[:1]} {
		if _, err := f.SendCode(t.Context(), other, a.Code, alice); !errors.Is(err, ErrNotFound) {
			t.Errorf("account %q: %v", other, err)
		}
	}
	if got := f.state(a); got != Pending {
		t.Errorf("the attempt is %s", got)
	}
}

func TestCodeIn(t *testing.T) {
	for _, tt := range []struct{ name, message, want string }{
		{"digits", "012345", "012345"},
		{"spaces", " 012 345 \r\n", "012345"},
		{"hyphen", "012-345", "012345"},
		{"full width", "０１２３４５", "012345"},
		{"Chinese space", "012\u3000345", "012345"},
		{"no-break space", "012\u00a0345", "012345"},
		{"five", "01234", ""},
		{"seven", "0123456", ""},
		{"none", "", ""},
		{"spaces only", "      ", ""},
		{"words", "验证码 012345", ""},
		{"letters", "01234a", ""},
		{"other digits", "٠١٢٣٤٥", ""},
		{"zero width", "012\u200b345", ""},
		{"sign", "+012345", ""},
		{"no text", "\xff\xfe012345", ""},
		{"long", "012345" + strings.Repeat(" ", 100), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := CodeIn(tt.message); ok != (tt.want != "") || ok && got != tt.want {
				t.Errorf("got %q, %v, want %q", got, ok, tt.want)
			}
		})
	}
}

// FuzzCodeIn: whatever people write, a code is six ASCII digits, which stand in the
// message in that order, and is found in itself.
func FuzzCodeIn(f *testing.F) {
	for _, message := range []string{"012345", "０１２ ３４５", "验证码 012345", "", "\xff", "012-345\n"} {
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		code, ok := CodeIn(message)
		if !ok {
			return
		}
		if len(code) != codeLen || strings.Trim(code, "0123456789") != "" || !utf8.ValidString(message) {
			t.Fatalf("%q holds the code %q", message, code)
		}
		narrow := strings.Map(func(r rune) rune {
			if r >= '０' && r <= '９' {
				return r - '０' + '0'
			}
			return r
		}, message)
		for _, digit := range code {
			i := strings.IndexRune(narrow, digit)
			if i < 0 {
				t.Fatalf("%q does not hold the code %q", message, code)
			}
			narrow = narrow[i+1:]
		}
		if again, ok := CodeIn(code); !ok || again != code {
			t.Fatalf("the code %q is read as %q", code, again)
		}
	})
}
