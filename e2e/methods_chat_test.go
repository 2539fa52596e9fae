// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// personal is the account of a person, which WeChat lets do nothing but talk.
var personal = options{kind: wechattest.PersonalSubscription, gate: "wechat_auth {\nmethods chat_code mini_qr\n}"}

// TestChatCode walks the whole way with the account of a person: the page shows its
// QR code and six digits, the person sends them, and confirms by the link.
func TestChatCode(t *testing.T) {
	t.Parallel()
	for _, mode := range []wechattest.Mode{wechattest.Plain, wechattest.Secure} {
		t.Run(fmt.Sprint("mode ", mode), func(t *testing.T) {
			t.Parallel()
			o := personal
			o.mode = mode
			m := newMethods(t, methodOptions{options: o})
			phone := m.wechat.Phone("alice")
			for _, write := range []func(string) string{
				func(c string) string { return c },
				func(c string) string { return " " + c[:3] + " " + c[3:] + "\n" },
				func(c string) string { return c[:2] + "-" + c[2:4] + "\u3000" + c[4:] },
				fullWidth,
			} {
				b := m.browser()
				a := b.beginBy("chat_code")
				if !regexp.MustCompile(`^[0-9]{6}$`).MatchString(a.Code) || !bytes.Equal(a.picture(), m.picture) || len(a.Number) != 2 {
					t.Fatalf("the page shows the code %q, the number %q and an image of %d bytes", a.Code, a.Number, len(a.picture()))
				}
				reply := m.say(phone, write(a.Code))
				if len(reply.Links()) != 1 {
					t.Fatalf("%q is answered %q", write(a.Code), reply.Text)
				}
				a.stays("scanned", "message alone")
				if page := m.openLink(phone, reply.Links()[0]); page.Status != http.StatusOK || len(offered(page.Body)) != 3 {
					t.Errorf("the link: %d %s", page.Status, page.Body)
				}
				if got := m.choose(phone, reply.Links()[0], a.Number); got.Status != http.StatusOK {
					t.Fatalf("confirming: %d", got.Status)
				}
				if got := a.session(); got.Status != http.StatusOK || got.json(t)["redirect"] != "/after?x=1" {
					t.Fatalf("POST session: %d %s", got.Status, got.Body)
				}
				m.isSignedInAs(b, phone, appID)
			}
		})
	}
}

// aboutCode says whether a reply speaks of a code to send, and of nothing to scan.
func aboutCode(reply string) bool {
	return strings.Contains(reply, "验证码") && !strings.Contains(reply, "二维码") && !strings.Contains(reply, "扫")
}

// fullWidth writes digits as a Chinese keyboard may.
func fullWidth(code string) string {
	return strings.Map(func(r rune) rune { return r - '0' + '０' }, code)
}

// TestChatConfirmTap: with confirm tap no number is shown or asked for. The message alone
// still signs nobody in; a tap does, and the link then ends the session.
func TestChatConfirmTap(t *testing.T) {
	t.Parallel()
	o := personal
	o.account = "confirm tap"
	m := newMethods(t, methodOptions{options: o})
	b, phone := m.browser(), m.wechat.Phone("alice")
	a := b.beginBy("chat_code")
	reply := m.say(phone, a.Code)
	if a.Number != "" || strings.Contains(reply.Text, "已登录") || len(reply.Links()) != 1 {
		t.Fatalf("number %q; the reply is %q", a.Number, reply.Text)
	}
	a.stays("scanned", "message alone")
	m.choose(phone, reply.Links()[0], "yes")
	a.consume()
	m.isSignedInAs(b, phone, appID)
	m.choose(phone, reply.Links()[0], "revoke")
	if b.signedIn() {
		t.Error("the link in the reply does not end the session")
	}
}

// TestChatConfirmOff: with confirm off the message alone would sign in, and so would a
// slip of the finger, in a stranger's browser. No Caddy takes that: the one that runs
// says what to do, and goes on as before.
func TestChatConfirmOff(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: personal})
	b, phone := m.browser(), m.wechat.Phone("alice")
	a := b.beginBy("chat_code")
	m.caddyfile = strings.Replace(m.caddyfile, "chat_code on", "confirm off\nchat_code on", 1)
	err := m.reload()
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, want := range []string{appID, "chat_code on", "confirm off", "confirm number", "Caddyfile:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if reply := m.say(phone, a.Code); len(reply.Links()) != 1 {
		t.Errorf("the reply is %q", reply.Text)
	}
	a.stays("scanned", "message alone")
}

// TestQ14ChatCodesUsedUp: an attacker begins attempts without end, to be met by
// whatever digits people mistype. At twenty thousand codes an account has no more. Then
// visitors are led to another method, the operator hears once what it is, and whoever
// has a code already gets in by it.
func TestQ14ChatCodesUsedUp(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: personal})
	b, alice := m.browser(), m.wechat.Phone("alice")
	a := b.beginBy("chat_code")
	var begun atomic.Int64
	flood := func(int) int {
		mallory := m.browser()
		for begun.Load() < 25_000 {
			got := mallory.do(http.MethodPost, "/_wechat/attempts", map[string]string{"method": "chat_code"})
			if got.Status == http.StatusCreated {
				begun.Add(1)
				continue
			}
			if got.json(t)["error"] != "wechat_unavailable" || got.Header.Get("Retry-After") != "60" {
				t.Errorf("after %d codes: %d %s, Retry-After %q", begun.Load(), got.Status, got.Body, got.Header.Get("Retry-After"))
			}
			return got.Status
		}
		return http.StatusCreated
	}
	if ends := together(4, flood); ends[http.StatusServiceUnavailable] != 4 {
		t.Errorf("four attackers end with %v", ends)
	}
	if n := begun.Load(); n < 5_000 || n > 20_000 {
		t.Errorf("%d codes", n)
	}
	if got := m.browser().offeredMethods(); strings.Join(got, " ") != "mini_qr chat_code" {
		t.Errorf("offered are %q", got)
	}
	m.loggedOnce(appID, "limit attempts")
	m.byMini(m.browser(), m.wechat.Phone("bob"))
	m.choose(alice, m.say(alice, a.Code).Links()[0], a.Number)
	a.consume()
	m.isSignedInAs(b, alice, appID)
}

// TestChatSmallTalk: what is not six digits is no code, and the account does not
// answer it. It counts as no try either.
func TestChatSmallTalk(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: personal})
	b, phone := m.browser(), m.wechat.Phone("alice")
	a := b.beginBy("chat_code")
	for _, text := range []string{
		"12345", "1234567", "hello", "验证码" + a.Code, a.Code + ".", "a" + a.Code, "１２３４５", "①②③④⑤⑥", "٠١٢٣٤٥", "-", " ", strings.Repeat(" ", 200) + a.Code,
		"<xml>" + a.Code + "</xml>", "]]>" + a.Code, a.Code + a.Code,
	} {
		if got := m.say(phone, text); got.Text != "" {
			t.Errorf("%q is answered %q", text, got.Text)
		}
	}
	a.stays("pending", "small talk")
	if got := m.say(phone, a.Code); len(got.Links()) != 1 {
		t.Errorf("the code after it all: %q", got.Text)
	}
}

// TestQ4ChatGuessing: a person who guesses codes has five tries, however fast. Then
// even a right one does not count, and nobody else is concerned.
func TestQ4ChatGuessing(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: personal})
	b, guesser, alice := m.browser(), m.wechat.Phone("guesser"), m.wechat.Phone("alice")
	a, decoy := b.beginBy("chat_code"), m.browser().beginBy("chat_code")
	m.say(guesser, "hello")
	if welcome := guesser.Chat(appID)[0]; !aboutCode(welcome.Text) {
		t.Errorf("a new follower is greeted %q", welcome.Text)
	}
	m.say(alice, "hello")
	m.say(guesser, decoy.Code) // a right one costs no try
	wrong := func(i int) string {
		for n := 100_000 + i*1000; ; n++ {
			if code := fmt.Sprint(n); code != a.Code && code != decoy.Code {
				return code
			}
		}
	}
	replies := make(chan string, 20)
	together(20, func(i int) int {
		replies <- m.say(guesser, wrong(i)).Text
		return 0
	})
	close(replies)
	counts := make(map[string]int)
	for text := range replies {
		switch {
		case strings.Contains(text, "过期") && aboutCode(text):
			counts["expired"]++
		case strings.Contains(text, "次数过多"):
			counts["too many"]++
		default:
			counts[text]++
		}
	}
	if counts["expired"] != 5 || counts["too many"] != 15 {
		t.Errorf("twenty guesses: %v", counts)
	}
	if got := m.say(guesser, a.Code); !strings.Contains(got.Text, "次数过多") || len(got.Links()) > 0 {
		t.Errorf("the right code after that: %q", got.Text)
	}
	a.stays("pending", "guessing")
	if got := m.say(alice, a.Code); len(got.Links()) != 1 {
		t.Errorf("another person's right code: %q", got.Text)
	}
}

// TestChatTaken: two people send one code. The second is told so, gets no link, and
// neither takes the attempt over nor spoils it.
func TestChatTaken(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: personal})
	b, first, second := m.browser(), m.wechat.Phone("first"), m.wechat.Phone("second")
	a := b.beginBy("chat_code")
	link := m.say(first, a.Code).Links()[0]
	if got := m.say(second, a.Code); len(got.Links()) > 0 || !strings.Contains(got.Text, "其他人") || !aboutCode(got.Text) {
		t.Errorf("the second is answered %q", got.Text)
	}
	if got := m.say(first, a.Code).Links(); len(got) != 1 || got[0] != link {
		t.Errorf("who sends it twice gets %q, then %q", link, got)
	}
	m.choose(first, link, a.Number)
	a.consume()
	m.say(second, a.Code)
	m.isSignedInAs(b, first, appID)
}

// TestQ9ChatRepeated: WeChat delivers a message three times. Each time it gets the
// same reply, also when the attempt has moved on, and a wrong code is one try.
func TestQ9ChatRepeated(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{options: personal})
	b, phone := m.browser(), m.wechat.Phone("alice")
	a := b.beginBy("chat_code")
	right := text(phone.OpenID(appID), a.Code, "1001")
	_, first := m.push(right)
	if content(first) == "" || a.state() != "scanned" {
		t.Fatalf("%q; the attempt is %s", first, a.State)
	}
	link := regexp.MustCompile(`http://[^"]+`).FindString(first)
	for _, act := range []func(){func() {}, func() { m.choose(phone, link, a.Number) }, a.consume} {
		act()
		if _, again := m.push(right); content(again) != content(first) {
			t.Errorf("delivered again it is answered %q, then %q", content(first), content(again))
		}
	}
	if !b.signedIn() || a.state() != "consumed" {
		t.Errorf("the attempt is %s", a.State)
	}
	for range 10 {
		if _, reply := m.push(text("oBob000000000000000000000000", "000000", "1002")); !strings.Contains(reply, "过期") {
			t.Errorf("a wrong code, delivered again: %q", reply)
		}
	}
	next := m.browser().beginBy("chat_code")
	if _, reply := m.push(text("oBob000000000000000000000000", next.Code, "1003")); !strings.Contains(reply, "/confirm/") {
		t.Errorf("one wrong code, delivered ten times, counts as ten: %q", reply)
	}
}

// text is the body of a message that a person writes.
func text(openID, content, id string) []byte {
	return wechattest.Message{
		ToUserName: "gh_0123456789ab", FromUserName: openID, CreateTime: time.Now().Unix(), MsgType: "text", Content: content, MsgID: id,
	}.XML()
}

// TestQ8ForgedChat: the attacker has a code on his own screen, and sends the message
// that would say that the victim has sent it. Without the token and the key there
// is no way to say it so that it counts.
func TestQ8ForgedChat(t *testing.T) {
	t.Parallel()
	old := wechattest.WithTimestamp(time.Now().Add(-6 * time.Minute))
	for _, mode := range []struct {
		name        string
		mode, other wechattest.Mode
	}{{"plaintext", wechattest.Plain, wechattest.Secure}, {"compatible", wechattest.Compatible, wechattest.Plain}, {"secure", wechattest.Secure, wechattest.Plain}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			o := personal
			o.mode, o.account = mode.mode, "confirm tap"
			m := newMethods(t, methodOptions{options: o})
			a := m.browser().beginBy("chat_code")
			victim := text(m.wechat.Phone("victim").OpenID(appID), a.Code, "7")
			forgeries := map[string][]wechattest.PushOption{
				"no signature": {wechattest.WithoutSignature()}, "bad signature": {wechattest.WithBadSignature()}, "other token": {wechattest.WithToken("othertoken123456")},
				"stale": {old}, "other mode": {wechattest.WithMode(mode.other)}, "other mode, stale": {wechattest.WithMode(mode.other), old},
				"other mode, bad": {wechattest.WithMode(mode.other), wechattest.WithBadSignature()},
			}
			if mode.mode != wechattest.Plain {
				forgeries["other app id"] = []wechattest.PushOption{wechattest.WithAppID(websiteAppID)}
				forgeries["bad padding"] = []wechattest.PushOption{wechattest.WithBadPadding()}
			}
			for name, opts := range forgeries {
				if status, body := m.push(victim, opts...); status < 400 || status > 499 || body != "" {
					t.Errorf("%s: answered %d %q, want 4xx and nothing", name, status, body)
				}
			}
			for _, id := range []string{miniAppID, websiteAppID} { // which have no push URL here
				if status, _, err := m.wechat.Send(t.Context(), m.pushURL(id), m.wechat.SignedPush(appID, victim)); err != nil || status != http.StatusNotFound {
					t.Errorf("to %s: %d (%v)", id, status, err)
				}
			}
			a.stays("pending", "forged messages")
			m.checkNonce(a.attempt, victim, "scanned")
		})
	}
}

// TestChatOff: where the operator does not want codes in the chat, six digits are
// small talk.
func TestChatOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	if status, reply := w.push(text("oAlice0000000000000000000000", "123456", "1")); status != http.StatusOK || strings.Contains(reply, "<Content>") {
		t.Errorf("%d %q", status, reply)
	}
	if got := w.browser().do(http.MethodPost, "/_wechat/attempts", map[string]string{"method": "chat_code"}); got.Status != http.StatusBadRequest {
		t.Errorf("POST attempts: %d %s", got.Status, got.Body)
	}
}

// TestMethodsExpire: a code in the chat, a mini program's and a ticket come too late.
// Who is late is told so, and the attempt stays as it is.
func TestMethodsExpire(t *testing.T) {
	t.Parallel()
	m := newMethods(t, methodOptions{mini: "qr_ttl 30s", options: options{account: "qr_ttl 30s"}})
	phone := m.wechat.Phone("alice")
	chat, mini := m.browser().beginBy("chat_code"), m.browser().beginBy("mini_qr")
	page := m.openMini(phone, mini)
	streams := []*stream{chat.stream(), mini.stream()} // both, before either is late
	for _, s := range streams {
		s.expect("pending")
	}
	for _, s := range streams {
		for e := range s.events { // the server's own timer ends this
			if e.State == "expired" {
				break
			}
		}
	}
	if got := m.say(phone, chat.Code); !aboutCode(got.Text) || !strings.Contains(got.Text, "过期") || len(got.Links()) > 0 {
		t.Errorf("the late message is answered %q", got.Text)
	}
	got := m.request(page, miniAppID, "scan", map[string]string{"scene": page.Scene(), "code": page.Login()})
	if got.Status != http.StatusGone || got.json(t)["error"] != "expired" || strings.Contains(got.Body, "ticket") {
		t.Errorf("the late scan: %d %s", got.Status, got.Body)
	}
	for _, a := range []*shown{chat, mini} {
		a.stays("expired", "being late")
	}
}
