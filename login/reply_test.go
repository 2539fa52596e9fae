// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"strings"
	"testing"
)

func repliedAttempt(state State) Attempt {
	return Attempt{
		State: state, Person: Person{OpenID: person}, Site: "我的网站", Portal: "https://site.example/_wechat", Token: "TOKEN",
		Client: Client{Browser: "Firefox · Linux", Address: "192.0.2.7"}, CreatedAt: epoch,
	}
}

// TestRepliesToScan: what the person who scanned is told, by what became of the
// attempt. Everything that asks for a decision names site, browser, address and time.
func TestRepliesToScan(t *testing.T) {
	const link = `href="https://site.example/_wechat/confirm/TOKEN"`
	details := []string{"我的网站", "Firefox · Linux", "192.0.2.7", "2026-09-01 20:00:00", link}
	for _, tt := range []struct {
		name  string
		state State
		who   string
		want  []string
		link  bool
	}{
		{"to confirm", Scanned, person, append(details, "拒绝"), true},
		{"signed in at once", Confirmed, person, append(details, "不是你本人"), true},
		{"signed in already", Consumed, person, details, true},
		{"declined", Cancelled, person, []string{"取消"}, false},
		{"denied", Denied, person, []string{"取消"}, false},
		{"expired", Expired, person, []string{"过期"}, false},
		{"somebody else's", Scanned, "oBob", []string{"其他人"}, false},
		{"somebody else has signed in", Consumed, "oBob", []string{"其他人"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Replies{}.ToScan(repliedAttempt(tt.state), tt.who)
			for _, part := range tt.want {
				if !strings.Contains(got, part) {
					t.Errorf("%q lacks %q", got, part)
				}
			}
			if strings.Contains(got, "TOKEN") != tt.link {
				t.Errorf("%q: link %v, want %v", got, !tt.link, tt.link)
			}
			if strings.ContainsAny(got, "{}") {
				t.Errorf("%q holds a placeholder", got)
			}
		})
	}
}

// TestQ1SecondScannerGetsNoLink: with the link the second person could answer in
// the first one's name.
func TestQ1SecondScannerGetsNoLink(t *testing.T) {
	for _, state := range []State{Pending, Scanned, Confirmed, Consumed, Cancelled, Expired, Denied} {
		if got := (Replies{}).ToScan(repliedAttempt(state), "oBob"); strings.Contains(got, "TOKEN") {
			t.Errorf("%s: the second person is told %q", state, got)
		}
	}
}

// TestRepliesOverridden: the operator's own texts are used, and placeholders in
// the values that fill theirs are not filled once more.
func TestRepliesOverridden(t *testing.T) {
	r := Replies{Confirm: "{site}|{link}|{browser}|{address}|{time}|{unknown}", Expired: "late", Welcome: "hi", Busy: "wait"}
	a := repliedAttempt(Scanned)
	a.Site = "{link}"
	want := "{link}|https://site.example/_wechat/confirm/TOKEN|Firefox · Linux|192.0.2.7|2026-09-01 20:00:00|{unknown}"
	if got := r.ToScan(a, person); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if r.ToUnknownCode() != "late" || r.ToFollower() != "hi" || r.ToFailure() != "wait" {
		t.Errorf("got %q, %q, %q", r.ToUnknownCode(), r.ToFollower(), r.ToFailure())
	}
}

// TestRepliesFitAMessage: WeChat shows nothing of a text of more than 2048 bytes.
func TestRepliesFitAMessage(t *testing.T) {
	a := repliedAttempt(Scanned)
	a.Site = strings.Repeat("站", 100)
	for _, state := range []State{Scanned, Confirmed, Cancelled, Expired} {
		a.State = state
		if got := (Replies{}).ToScan(a, person); len(got) > 2048 {
			t.Errorf("%s: %d bytes", state, len(got))
		}
	}
}
