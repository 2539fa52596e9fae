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
	for _, method := range []string{OfficialQR, ChatCode} {
		if r.ToFollower(method) != "hi" || r.ToFailure() != "wait" {
			t.Errorf("%s: got %q, %q", method, r.ToFollower(method), r.ToFailure())
		}
	}
	if got := r.ToUnknown(OfficialQR); got != "late" {
		t.Errorf("a code that nobody knows: %q", got)
	}
	a.Method = ChatCode
	r = Replies{Expired: "late", Taken: "taken", CodeExpired: "send again", CodeTaken: "{site} has it"}
	if got := r.ToScan(a, "oBob"); got != "{link} has it" {
		t.Errorf("somebody else's code: %q", got)
	}
	a.State = Expired
	if got := r.ToScan(a, person); got != "send again" || r.ToUnknown(ChatCode) != "send again" {
		t.Errorf("codes that are too old: %q, %q", got, r.ToUnknown(ChatCode))
	}
}

// TestRepliesToSender: whoever has sent a code is told of a code and what to do with
// it, never to scan anything: the account's own QR code leads nowhere new. Whoever has
// scanned is told of a QR code.
func TestRepliesToSender(t *testing.T) {
	late, others := repliedAttempt(Expired), repliedAttempt(Scanned)
	for _, tt := range []struct {
		method, word string
		not          []string
	}{
		{ChatCode, "验证码", []string{"二维码", "扫"}},
		{OfficialQR, "二维码", []string{"验证码", "发送"}},
	} {
		late.Method, others.Method = tt.method, tt.method
		var r Replies
		for name, got := range map[string]string{
			"too late": r.ToScan(late, person), "somebody else's": r.ToScan(others, "oBob"), "unknown": r.ToUnknown(tt.method), "follows": r.ToFollower(tt.method),
		} {
			if !strings.Contains(got, tt.word) || strings.ContainsAny(got, "{}") {
				t.Errorf("%s, %s: %q", tt.method, name, got)
			}
			for _, not := range tt.not {
				if strings.Contains(got, not) {
					t.Errorf("%s, %s: %q speaks of %s", tt.method, name, got, not)
				}
			}
		}
	}
	for _, text := range []string{defaultReplies.Declined, defaultReplies.Busy} { // which both get
		if strings.Contains(text, "扫") || strings.Contains(text, "二维码") {
			t.Errorf("%q is of no use to whoever has sent a code", text)
		}
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

// TestRepliesToSignedIn: the message about a new sign-in names everything by which a
// person knows whether it was him, holds the link that ends it, and fits into what
// WeChat takes.
func TestRepliesToSignedIn(t *testing.T) {
	got := Replies{}.ToSignedIn(repliedAttempt(Consumed))
	for _, part := range []string{"我的网站", "Firefox · Linux", "192.0.2.7", "2026-09-01 20:00:00", `href="https://site.example/_wechat/confirm/TOKEN"`, "不是你本人", "24 小时"} {
		if !strings.Contains(got, part) {
			t.Errorf("%q lacks %q", got, part)
		}
	}
	if strings.ContainsAny(got, "{}") || len(got) > 1024 {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	own := Replies{NewSignIn: "{site} {link} {browser} {address} {time} {env.SECRET}"}.ToSignedIn(repliedAttempt(Consumed))
	if own != "我的网站 https://site.example/_wechat/confirm/TOKEN Firefox · Linux 192.0.2.7 2026-09-01 20:00:00 {env.SECRET}" {
		t.Errorf("the operator's own: %q", own)
	}
}
