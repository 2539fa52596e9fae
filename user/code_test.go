// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package user

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-wechat/caddy-wechat/internal/redistest"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/store/embedded"
	"github.com/caddy-wechat/caddy-wechat/store/redis"
	"github.com/caddy-wechat/caddy-wechat/store/storetest"
)

const (
	somewhere = "alice@example.com"
	elsewhere = "mallory@example.com"
)

// post is a Codes with a clock of its own, and the last code that it has sent.
type post struct {
	*Codes
	t     tester
	clock time.Time
	code  string
	sent  int
}

func newPost(t tester, s store.Store) *post {
	p := &post{t: t, clock: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}
	p.Codes = NewCodes(s, func() time.Time { return p.clock })
	return p
}

func (p *post) send(userID, address string) error {
	return p.Send(p.t.Context(), asker(userID), ByEmail, address, func(code string) error {
		p.code = code
		p.sent++
		return nil
	})
}

// asker is a user with a WeChat account of his own.
func asker(userID string) Asker { return Asker{UserID: userID, AppID: "wx1", OpenID: "o-" + userID} }

func (p *post) mustSend(userID, address string) (code string) {
	p.t.Helper()
	if err := p.send(userID, address); err != nil {
		p.t.Fatalf("sending: %v", err)
	}
	return p.code
}

func (p *post) check(userID, address, code string) error {
	return p.Check(p.t.Context(), userID, ByEmail, address, code)
}

// other is a code that is not this one.
func other(code string, i int) string {
	n := 0
	_, _ = fmt.Sscanf(code, "%d", &n)
	return fmt.Sprintf("%06d", (n+1+i)%1_000_000)
}

// A code proves one address to be one user's, once, and for ten minutes.
func TestCode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(p *post) error
		want error
	}{
		{"right", func(p *post) error { return p.check("u1", somewhere, p.mustSend("u1", somewhere)) }, nil},
		{"at the last moment", func(p *post) error {
			code := p.mustSend("u1", somewhere)
			p.clock = p.clock.Add(CodeTTL - 1)
			return p.check("u1", somewhere, code)
		}, nil},
		{"too late", func(p *post) error {
			code := p.mustSend("u1", somewhere)
			p.clock = p.clock.Add(CodeTTL)
			return p.check("u1", somewhere, code)
		}, ErrCodeUsedUp},
		{"twice", func(p *post) error {
			code := p.mustSend("u1", somewhere)
			_ = p.check("u1", somewhere, code)
			return p.check("u1", somewhere, code)
		}, ErrCodeUsedUp},
		{"wrong", func(p *post) error { return p.check("u1", somewhere, other(p.mustSend("u1", somewhere), 0)) }, ErrWrongCode},
		{"right after four wrong ones", func(p *post) error {
			code := p.mustSend("u1", somewhere)
			for i := range codeTries - 1 {
				_ = p.check("u1", somewhere, other(code, i))
			}
			return p.check("u1", somewhere, code)
		}, nil},
		{"right after five wrong ones", func(p *post) error {
			code := p.mustSend("u1", somewhere)
			for i := range codeTries {
				_ = p.check("u1", somewhere, other(code, i))
			}
			return p.check("u1", somewhere, code)
		}, ErrCodeUsedUp},
		{"no code at all", func(p *post) error { return p.check("u1", somewhere, "000000") }, ErrCodeUsedUp},
		{"the one before", func(p *post) error {
			code := p.mustSend("u1", somewhere)
			for p.mustSend("u1", somewhere) == code { // one in a million
				p.clock = p.clock.Add(time.Hour)
			}
			return p.check("u1", somewhere, code)
		}, ErrWrongCode},
		// Mallory has a code for his own address and claims Alice's with it.
		{"another address", func(p *post) error { return p.check("u1", somewhere, p.mustSend("u1", elsewhere)) }, ErrWrongCode},
		{"another user", func(p *post) error { return p.check("u2", somewhere, p.mustSend("u1", somewhere)) }, ErrCodeUsedUp},
		{"another channel", func(p *post) error {
			return p.Check(p.t.Context(), "u1", ByPhone, somewhere, p.mustSend("u1", somewhere))
		}, ErrCodeUsedUp},
		{"empty", func(p *post) error { p.mustSend("u1", somewhere); return p.check("u1", somewhere, "") }, ErrWrongCode},
		{"signed", func(p *post) error { return p.check("u1", somewhere, "+"+p.mustSend("u1", somewhere)[1:]) }, ErrWrongCode},
		{"longer", func(p *post) error { return p.check("u1", somewhere, p.mustSend("u1", somewhere)+"0") }, ErrWrongCode},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := tt.do(newPost(t, &storetest.Memory{})); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// Whoever reads the store must find neither the code nor whom it went to.
func TestCode_KeptAsDigest(t *testing.T) {
	t.Parallel()
	s := &storetest.Memory{}
	p := newPost(t, s)
	code := p.mustSend("u1", somewhere)
	items, _, err := s.List(t.Context(), "", "", 100)
	if err != nil || len(items) != 6 {
		t.Fatalf("%d entries (%v), want the code and five quotas", len(items), err)
	}
	for _, item := range items {
		if !strings.HasPrefix(item.Key, store.VolatilePrefix) || item.TTL == 0 {
			t.Errorf("%s is kept for %v", item.Key, item.TTL)
		}
		for _, secret := range []string{`"` + code, somewhere, "alice", asker("u1").OpenID} {
			if strings.Contains(item.Key+string(item.Value), secret) {
				t.Errorf("%s = %s holds %q", item.Key, item.Value, secret)
			}
		}
	}
}

// Codes are six digits, the first of which may be zero.
func TestNewCode(t *testing.T) {
	t.Parallel()
	first := make(map[byte]bool)
	for range 1000 {
		code := newCode()
		if len(code) != CodeDigits || strings.Trim(code, "0123456789") != "" {
			t.Fatalf("code %q", code)
		}
		first[code[0]] = true
	}
	if len(first) != 10 {
		t.Errorf("codes begin with %d digits only", len(first))
	}
}

// Mallory tries a thousand codes at once, on several nodes, the right one among them
// or not. Five wrong ones end the code whatever the order. A Redis that is too busy
// to compare refuses, which is nothing to Mallory.
func TestCode_ParallelGuesses(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t, s[0])
			code := p.mustSend("u1", somewhere)
			wrong, used, away := 0, 0, 0
			for _, err := range together(1000, func(i int) error {
				return NewCodes(s[i%len(s)], p.now).Check(t.Context(), "u1", ByEmail, somewhere, other(code, i))
			}) {
				switch {
				case errors.Is(err, ErrWrongCode):
					wrong++
				case errors.Is(err, ErrCodeUsedUp):
					used++
				case errors.Is(err, store.ErrUnavailable):
					away++
				default:
					t.Errorf("a guess: %v", err)
				}
			}
			if wrong > codeTries-1 || away == 0 && wrong < codeTries-1 || used == 0 || wrong+used+away != 1000 {
				t.Errorf("%d guesses were compared before the last, %d came too late, %d to nobody", wrong, used, away)
			}
			if err := p.check("u1", somewhere, code); !errors.Is(err, ErrCodeUsedUp) {
				t.Errorf("the right code after that: %v", err)
			}
		})
	}
}

// The right code is used by many at once: one succeeds.
func TestCode_SingleUse(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t, s[0])
			code, in, away := p.mustSend("u1", somewhere), 0, 0
			for _, err := range together(200, func(i int) error {
				return NewCodes(s[i%len(s)], p.now).Check(t.Context(), "u1", ByEmail, somewhere, code)
			}) {
				switch {
				case err == nil:
					in++
				case errors.Is(err, store.ErrUnavailable):
					away++
				case !errors.Is(err, ErrCodeUsedUp):
					t.Error(err)
				}
			}
			if in > 1 || in+away == 0 {
				t.Errorf("%d got in", in)
			}
		})
	}
}

// A hundred requests at once, by one person to one address: three codes go out; to as
// many addresses: five. And a hundred people at once to Alice's: her mailbox gets
// thirty.
func TestCode_ParallelSends(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		for who, of := range map[string]struct {
			user, address func(int) string
			want          int
		}{
			"one to one":  {func(int) string { return "u1" }, func(int) string { return "one@example.com" }, 3},
			"one to many": {func(int) string { return "u2" }, func(i int) string { return fmt.Sprintf("a%d@example.com", i) }, 5},
			"many to one": {func(i int) string { return fmt.Sprint("many", i) }, func(int) string { return somewhere }, 30},
		} {
			t.Run(name+", "+who, func(t *testing.T) {
				t.Parallel()
				p := newPost(t, s[0])
				sent, away := 0, 0
				for _, err := range together(100, func(i int) error {
					return NewCodes(s[i%len(s)], p.now).Send(t.Context(), asker(of.user(i)), ByEmail, of.address(i), func(string) error { return nil })
				}) {
					tooMany, ok := errors.AsType[*TooManyError](err)
					switch {
					case err == nil:
						sent++
					case errors.Is(err, store.ErrUnavailable):
						away++
					case !ok || tooMany.Wait <= 0:
						t.Errorf("refused with %v", err)
					}
				}
				if sent > of.want || sent+away < of.want {
					t.Errorf("%d codes went out, want %d", sent, of.want)
				}
			})
		}
	}
}

// stores are of each kind, as one or several nodes have them.
func stores(t *testing.T) map[string][]store.Store {
	t.Helper()
	file := embedded.New(embedded.Config{Dir: t.TempDir()})
	t.Cleanup(func() { _ = file.Close() })
	server := redistest.Start(t)
	var nodes []store.Store
	for range 3 {
		node, err := redis.New(redis.Config{Addresses: []string{server.Addr()}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = node.Close() })
		nodes = append(nodes, node)
	}
	return map[string][]store.Store{"memory": {&storetest.Memory{}}, "embedded": {file}, "three nodes": nodes}
}

// together calls fn n times at once.
func together(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// The waits that people are told are true: one nanosecond before, nothing is sent.
func TestCode_Quotas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		user    func(i int) string
		address func(i int) string
		// waits are those after each code that went out.
		waits map[int]time.Duration
	}{
		{
			"of a person", func(int) string { return "u1" }, func(i int) string { return fmt.Sprintf("a%d@example.com", i) },
			map[int]time.Duration{5: 10 * time.Minute, 10: day - 10*time.Minute},
		},
		{
			"of a person and an address", func(int) string { return "u1" }, func(int) string { return somewhere },
			map[int]time.Duration{3: time.Hour, 4: day - time.Hour},
		},
		{
			"of an address", func(i int) string { return fmt.Sprint("u", i) }, func(int) string { return somewhere },
			map[int]time.Duration{30: day},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t, &storetest.Memory{})
			for i := 1; i <= slices.Max(slices.Collect(maps.Keys(tt.waits))); i++ {
				p.mustSend(tt.user(i), tt.address(i))
				wait, spent := tt.waits[i]
				if !spent {
					continue
				}
				err := p.send(tt.user(0), tt.address(0))
				if tooMany, ok := errors.AsType[*TooManyError](err); !ok || tooMany.Wait != wait {
					t.Fatalf("after code %d: %v, want to wait %v", i, err, wait)
				}
				p.clock = p.clock.Add(wait - 1)
				if err := p.send(tt.user(0), tt.address(0)); err == nil {
					t.Fatalf("after code %d: one more a moment too early", i)
				}
				p.clock = p.clock.Add(1)
			}
			p.mustSend(tt.user(0), tt.address(0))
		})
	}
}

// Mallory becomes one user after the other, as who is deleted on unfollowing does, or
// one of her users is known by several accounts. To WeChat, or as that user, she is the
// same, and has one person's codes.
func TestCode_QuotasOfOnePerson(t *testing.T) {
	t.Parallel()
	one := func(int) string { return somewhere }
	many := func(i int) string { return fmt.Sprintf("a%d@example.com", i) }
	for _, tt := range []struct {
		name    string
		who     func(i int) Asker
		address func(i int) string
		want    int
	}{
		{"many users, one address", func(i int) Asker { return Asker{fmt.Sprint("u", i), "wx1", "oMallory"} }, one, 4},
		{"many users, many addresses", func(i int) Asker { return Asker{fmt.Sprint("u", i), "wx1", "oMallory"} }, many, 10},
		{"many accounts, one address", func(i int) Asker { return Asker{"u1", fmt.Sprint("wx", i), fmt.Sprint("o", i)} }, one, 4},
		{"many accounts, many addresses", func(i int) Asker { return Asker{"u1", fmt.Sprint("wx", i), fmt.Sprint("o", i)} }, many, 10},
		{"the same openid of other apps", func(i int) Asker { return Asker{fmt.Sprint("u", i), fmt.Sprint("wx", i), "oSame"} }, one, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t, &storetest.Memory{})
			for i := range 130 { // within a day
				_ = p.Send(t.Context(), tt.who(i), ByEmail, tt.address(i), func(string) error { p.sent++; return nil })
				p.clock = p.clock.Add(11 * time.Minute)
			}
			if p.sent != tt.want {
				t.Errorf("%d codes went out, want %d", p.sent, tt.want)
			}
		})
	}
}

// errDown is of a sender that has certainly not sent anything.
var errDown = errors.New("the mail server is down")

func (p *post) fail(userID, address string, err error) error {
	return p.Send(p.t.Context(), asker(userID), ByEmail, address, func(code string) error {
		p.code = code
		return err
	})
}

// A sender that fails costs the person nothing, twenty times an hour; nor does an
// address that is spent.
func TestCode_NotSent(t *testing.T) {
	t.Parallel()
	p := newPost(t, &storetest.Memory{})
	for range 20 {
		if err := p.fail("u1", somewhere, errDown); !errors.Is(err, ErrNotSent) || !errors.Is(err, errDown) {
			t.Fatalf("sending: %v", err)
		}
		// Nobody has the code, so whoever gives it has guessed it.
		if err := p.check("u1", somewhere, p.code); !errors.Is(err, ErrCodeUsedUp) {
			t.Fatalf("a code that was not sent: %v", err)
		}
	}
	for i := range 30 {
		p.mustSend(fmt.Sprint("other", i), somewhere)
	}
	for range 50 { // spent by others: none of u1's turns
		if err := p.send("u1", somewhere); err == nil {
			t.Fatal("the address got more than its share")
		}
	}
	for i := range 5 {
		p.mustSend("u1", fmt.Sprintf("a%d@example.com", i))
	}
	if err := p.send("u1", elsewhere); err == nil {
		t.Error("the person got more than his share")
	}
}

// Mallory has found an address for which the sender always fails, such as one beyond
// its provider's daily quota. She has codes sent there again and again and guesses at
// each: no guess is looked at, neither before the sender has failed nor after, and the
// sender is not tried without end, whether she stays with the address or her WeChat
// accounts take turns.
func TestCode_GuessesWhileSenderFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		user, address func(i int) string
		hour, day     int
	}{
		{
			"one address", func(int) string { return "mallory" }, func(int) string { return somewhere },
			20 + 3, 24*20 + 4,
		},
		{
			"many addresses", func(int) string { return "mallory" }, func(i int) string { return fmt.Sprintf("a%d@example.com", i) },
			20 + 10, 24*20 + 10,
		},
		{
			"many accounts", func(i int) string { return fmt.Sprint("mallory", i) }, func(int) string { return somewhere },
			20 + 30, 24*20 + 30,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t, &storetest.Memory{})
			tried := 0
			for minute := range 24 * 60 {
				if minute == 60 && tried > tt.hour {
					t.Errorf("the sender was tried %d times in an hour, want at most %d", tried, tt.hour)
				}
				u, a, code := tt.user(minute), tt.address(minute), ""
				_ = p.Send(t.Context(), asker(u), ByEmail, a, func(c string) error {
					tried++
					code = c
					if err := p.check(u, a, c); !errors.Is(err, ErrCodeUsedUp) {
						t.Errorf("before the sender has failed: %v", err)
					}
					return errDown
				})
				for _, guess := range []string{other(code, 0), code} {
					if err := p.check(u, a, guess); err == nil || code != "" && !errors.Is(err, ErrCodeUsedUp) {
						t.Fatalf("a guess is looked at: %v", err)
					}
				}
				p.clock = p.clock.Add(time.Minute)
			}
			if tried > tt.day || tried < 20 {
				t.Errorf("the sender was tried %d times in a day, want at least 20 and at most %d", tried, tt.day)
			}
		})
	}
}

// What may have been sent counts, although its code is dead: else Mallory, for whom
// the sender is slow to answer, could send Alice any number.
func TestCode_MaybeSent(t *testing.T) {
	t.Parallel()
	p := newPost(t, &storetest.Memory{})
	for range 3 {
		if err := p.fail("u1", somewhere, fmt.Errorf("%w: timeout", ErrCounts)); !errors.Is(err, ErrNotSent) {
			t.Fatalf("sending: %v", err)
		}
		if err := p.check("u1", somewhere, p.code); !errors.Is(err, ErrCodeUsedUp) {
			t.Fatalf("its code: %v", err)
		}
	}
	if tooMany, ok := errors.AsType[*TooManyError](p.send("u1", somewhere)); !ok || tooMany.Wait != time.Hour {
		t.Errorf("the next: %v", tooMany)
	}
}

// Two codes are on their way to one person. That of the sender that fails last does
// not bring the first one back, nor does the first one come in the second one's place.
func TestCode_Overtaken(t *testing.T) {
	t.Parallel()
	for _, second := range []error{nil, errDown} {
		p := newPost(t, &storetest.Memory{})
		var codes [2]string
		err := p.Send(t.Context(), asker("u1"), ByEmail, somewhere, func(code string) error {
			codes[0] = code
			if err := p.fail("u1", somewhere, second); !errors.Is(err, second) {
				t.Fatal(err)
			}
			codes[1] = p.code
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if codes[0] == codes[1] { // one in a million
			continue
		}
		if err := p.check("u1", somewhere, codes[0]); err == nil {
			t.Error("the first code can be used")
		}
		if err := p.check("u1", somewhere, codes[1]); (err == nil) != (second == nil) {
			t.Errorf("the second, which the sender answered %v: %v", second, err)
		}
	}
}

// Mallory has codes sent to Alice's address, as many as one WeChat account can, so
// that she gets none. She does.
func TestCode_NobodyLocksOut(t *testing.T) {
	t.Parallel()
	p := newPost(t, &storetest.Memory{})
	reached := 0
	for range 24 * 6 {
		if p.send("mallory", somewhere) == nil {
			reached++
		}
		if err := p.check("alice", somewhere, p.code); !errors.Is(err, ErrCodeUsedUp) {
			t.Fatalf("a code that was sent to mallory: %v", err)
		}
		p.clock = p.clock.Add(10*time.Minute - 1)
	}
	if reached != 4 {
		t.Errorf("Alice got %d mails, want 4", reached)
	}
	if err := p.check("alice", somewhere, p.mustSend("alice", somewhere)); err != nil {
		t.Errorf("alice's own code: %v", err)
	}
}

// A visitor who leaves while the sender fails has his turn back all the same, and one
// who leaves while it does not has his code.
func TestCode_Leaves(t *testing.T) {
	t.Parallel()
	p := newPost(t, &storetest.Memory{Before: func(ctx context.Context, _, _ string) error { return ctx.Err() }})
	send := func(result error) error {
		ctx, cancel := context.WithCancel(t.Context())
		return p.Send(ctx, asker("u1"), ByEmail, somewhere, func(code string) error { cancel(); p.code = code; return result })
	}
	for range 20 {
		if err := send(errDown); !errors.Is(err, ErrNotSent) {
			t.Fatal(err)
		}
	}
	if err := send(nil); err != nil {
		t.Fatal(err)
	}
	if err := p.check("u1", somewhere, p.code); err != nil {
		t.Errorf("the code of who has left: %v", err)
	}
}

// While the store is away nobody is sent anything, and no code is right.
func TestCode_StoreAway(t *testing.T) {
	t.Parallel()
	var away string
	s := &storetest.Memory{Before: func(_ context.Context, method, key string) error {
		if away != "" && strings.HasPrefix(key, store.VolatilePrefix+away) {
			return fmt.Errorf("%s: %w", method, store.ErrUnavailable)
		}
		return nil
	}}
	p := newPost(t, s)
	code := p.mustSend("u1", somewhere)
	for _, away = range []string{"codes-of:", "codes-of-openid:", "codes-of-to:", "codes-to:", "sent-code:"} {
		for range 10 {
			if err := p.send("u1", somewhere); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrNotSent) {
				t.Errorf("sending without %s: %v", away, err)
			}
		}
	}
	if err := p.check("u1", somewhere, code); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("checking: %v", err)
	}
	if p.sent != 1 {
		t.Errorf("%d codes went out", p.sent)
	}
	away = ""
	if err := p.check("u1", somewhere, code); err != nil {
		t.Errorf("once it is back: %v", err)
	}
	for range 2 { // what could not be counted was not
		p.mustSend("u1", somewhere)
	}
}

// Whatever people do and whenever, no quota is ever exceeded in any stretch of time.
func TestCode_QuotasHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPost(t, &storetest.Memory{})
		byPerson, byAddress, byBoth := make(map[string][]time.Time), make(map[string][]time.Time), make(map[string][]time.Time)
		failed := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			p.clock = p.clock.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 2 * time.Minute, time.Hour, 5 * time.Hour}).Draw(t, "later"))
			who := Asker{
				UserID: rapid.SampledFrom([]string{"u1", "u2", "u3"}).Draw(t, "user"),
				AppID:  "wx1", OpenID: rapid.SampledFrom([]string{"o1", "o2", "o3"}).Draw(t, "openid"),
			}
			as := []string{who.UserID, who.OpenID}
			a := rapid.SampledFrom([]string{somewhere, elsewhere}).Draw(t, "address")
			fails := rapid.Bool().Draw(t, "fails")
			err := p.Send(t.Context(), who, ByEmail, a, func(string) error {
				if fails {
					failed++
					return errDown
				}
				byAddress[a] = append(byAddress[a], p.clock)
				for _, one := range as {
					byPerson[one], byBoth[one+a] = append(byPerson[one], p.clock), append(byBoth[one+a], p.clock)
				}
				return nil
			})
			reason := due(byAddress[a], addressQuotas, p.clock) || slices.ContainsFunc(as, func(one string) bool {
				return due(byPerson[one], personQuotas, p.clock) || due(byBoth[one+a], pairQuotas, p.clock)
			})
			if _, limited := errors.AsType[*TooManyError](err); limited && !reason && failed <= failedQuota.count {
				t.Fatalf("refused without a reason: %v", err)
			}
		}
		for one, times := range byPerson {
			holds(t, one, times, personQuotas)
		}
		for a, times := range byAddress {
			holds(t, a, times, addressQuotas)
		}
		for both, times := range byBoth {
			holds(t, both, times, pairQuotas)
		}
	})
}

// due says whether a quota is used up.
func due(times []time.Time, quotas []quota, now time.Time) bool {
	for _, q := range quotas {
		n := 0
		for _, at := range times {
			if now.Sub(at) < q.per {
				n++
			}
		}
		if n >= q.count {
			return true
		}
	}
	return false
}

func holds(t *rapid.T, of string, times []time.Time, quotas []quota) {
	t.Helper()
	for _, q := range quotas {
		for i := q.count; i < len(times); i++ {
			if times[i].Sub(times[i-q.count]) < q.per {
				t.Fatalf("%s: %d codes within %v", of, q.count+1, times[i].Sub(times[i-q.count]))
			}
		}
	}
}
