// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-wechat/caddy-wechat/audit"
	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/sender"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// mailbox is a sender that brings each message to everybody.
type mailbox struct {
	mu   sync.Mutex
	got  []sender.Message
	fail error
}

// Send implements sender.Sender.
func (m *mailbox) Send(_ context.Context, msg sender.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.got = append(m.got, msg)
	return nil
}

func (m *mailbox) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.got)
}

// code is that of the last message to an address.
func (m *mailbox) code(t *testing.T, address string) string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range slices.Backward(m.got) {
		if msg.To == address {
			return msg.Code
		}
	}
	t.Fatalf("%s has got nothing: %+v", address, m.got)
	return ""
}

// desk is a portal that asks people for addresses, and what they and the operator see.
type desk struct {
	*outage
	box    *mailbox
	logs   *observer.ObservedLogs
	events []audit.Event
}

func newDesk(t *testing.T, p user.Policy) *desk {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	d := &desk{outage: newOutage(t, login.ConfirmOff), box: &mailbox{}}
	d.Users = user.NewDirectory(d.Users.Records, p, time.Minute)
	d.Senders = map[user.Channel]sender.Sender{user.ByEmail: d.box}
	core, logs := observer.New(zapcore.DebugLevel)
	d.Log, d.logs = zap.New(core), logs
	d.Audit = func(_ context.Context, e audit.Event) { d.events = append(d.events, e) }
	return d
}

func byEmail(r user.Registration) user.Policy {
	return user.Policy{Registration: r, Bind: []user.Channel{user.ByEmail}}
}

// visitor is somebody with a session.
type visitor struct {
	d      *desk
	userID string
	cookie string
}

// enter signs a person in.
func (d *desk) enter(openID string) *visitor {
	d.t.Helper()
	u, _, err := d.Users.SignIn(d.t.Context(), user.Identity{AppID: outageApp, OpenID: openID})
	if err != nil {
		d.t.Fatalf("signing %s in: %v", openID, err)
	}
	_, cookie, err := d.Sessions.Issue(d.t.Context(), session.Session{
		ID: session.NewID(), UserID: u.ID, Method: login.OfficialQR, AppID: outageApp, OpenID: openID,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return &visitor{d: d, userID: u.ID, cookie: "__Host-wechat_session=" + cookie}
}

const (
	asForm = "application/x-www-form-urlencoded"
	asJSON = "application/json"
)

// send sends a request, and keeps the session cookie of the answer.
func (v *visitor) send(method, path, contentType, body string) *httptest.ResponseRecorder {
	v.d.t.Helper()
	h := http.Header{"Cookie": {v.cookie}, "Accept-Language": {"en"}}
	if method == http.MethodGet {
		h.Set("Accept", contentType)
	} else {
		h.Set("Content-Type", contentType)
	}
	w := v.d.send(method, path, body, h)
	for _, c := range w.Result().Cookies() {
		if c.Name == "__Host-wechat_session" {
			v.cookie = c.Name + "=" + c.Value
		}
	}
	return w
}

// post sends a form, or the same as JSON.
func (v *visitor) post(path, contentType string, fields ...string) *httptest.ResponseRecorder {
	v.d.t.Helper()
	form, object := url.Values{}, map[string]string{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
		object[fields[i]] = fields[i+1]
	}
	if contentType == asForm {
		return v.send(http.MethodPost, path, asForm, form.Encode())
	}
	raw, err := json.Marshal(object)
	if err != nil {
		v.d.t.Fatal(err)
	}
	return v.send(http.MethodPost, path, asJSON, string(raw))
}

func (v *visitor) askCode(address string) *httptest.ResponseRecorder {
	v.d.t.Helper()
	return v.post("/_wechat/bind/code", asJSON, "channel", "email", "address", address)
}

func (v *visitor) give(address, code string) *httptest.ResponseRecorder {
	v.d.t.Helper()
	return v.post("/_wechat/bind", asJSON, "channel", "email", "address", address, "code", code, "return_to", "/after?x=1")
}

// prove goes all the way.
func (v *visitor) prove(address string) *httptest.ResponseRecorder {
	v.d.t.Helper()
	if w := v.askCode(address); w.Code != http.StatusOK {
		v.d.t.Fatalf("POST bind/code: %d %s", w.Code, w.Body)
	}
	return v.give(address, v.d.box.code(v.d.t, address))
}

// inside says whether the gate lets the person through.
func (v *visitor) inside() bool {
	v.d.t.Helper()
	return v.send(http.MethodGet, "/", "text/html", "").Code == http.StatusTeapot
}

func (d *desk) wantEvents(want ...audit.Event) {
	d.t.Helper()
	ignore := cmpopts.IgnoreFields(audit.Event{}, "Actor", "Site", "SessionID", "Detail")
	if diff := cmp.Diff(want, d.events, ignore); diff != "" {
		d.t.Errorf("audit events (-want +got):\n%s", diff)
	}
	d.events = nil
}

// quiet fails the test where a log holds a code or a whole address.
func (d *desk) quiet(addresses ...string) {
	d.t.Helper()
	for _, entry := range d.logs.All() {
		line := fmt.Sprint(entry.Message, entry.ContextMap())
		for _, msg := range d.box.got {
			addresses = append(addresses, msg.Code, msg.To)
		}
		for _, secret := range addresses {
			if strings.Contains(line, secret) {
				d.t.Errorf("the log holds %q: %s", secret, line)
			}
		}
	}
}

// TestBind: a person who owes an address is asked for it in place of any page, by
// forms without a script, and comes to where he wanted to go.
func TestBind(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	alice := d.enter("oAlice")
	w := alice.send(http.MethodGet, "/deep?q=1&b=2", "text/html", "")
	for _, part := range []string{`action="/_wechat/bind/code"`, `name="return_to" value="/deep?q=1&b=2"`, `autocomplete="email"`} {
		if w.Code != http.StatusForbidden || !strings.Contains(html.UnescapeString(w.Body.String()), part) {
			t.Fatalf("GET /deep: %d without %s: %s", w.Code, part, w.Body)
		}
	}
	w = alice.send(http.MethodGet, "/api", "*/*", "")
	want := `{"error":"not_admitted","message":"this user has to prove an address first, at bind_url","reason":"email_missing","bind_url":"https://site.example/_wechat/bind"}`
	if w.Code != http.StatusForbidden || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("GET /api: %d %s", w.Code, w.Body)
	}
	w = alice.post("/_wechat/bind/code", asForm, "channel", "email", "address", " Alice@Example.COM ", "return_to", "/deep?q=1")
	for _, part := range []string{"alice@example.com", `autocomplete="one-time-code"`, `inputmode="numeric"`, `value="/deep?q=1"`} {
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), part) {
			t.Fatalf("POST bind/code: %d without %s: %s", w.Code, part, w.Body)
		}
	}
	sent := sender.Message{To: "alice@example.com", Site: "site", TTL: 10 * time.Minute, Language: "en"}
	if diff := cmp.Diff(sent, d.box.got[0], cmpopts.IgnoreFields(sender.Message{}, "Code")); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	code := d.box.code(t, "alice@example.com")
	if alice.inside() {
		t.Error("in before the code is given")
	}
	w = alice.post("/_wechat/bind", asForm, "channel", "email", "address", "alice@example.com", "return_to", "/deep?q=1", "code", "99999x")
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `role="alert"`) || !strings.Contains(w.Body.String(), "one-time-code") {
		t.Errorf("wrong code: %d %s", w.Code, w.Body)
	}
	typed := code[:3] + " " + string([]rune{rune(code[3]) - '0' + '０'}) + code[4:] // as people and Chinese keyboards do
	w = alice.post("/_wechat/bind", asForm, "channel", "email", "address", "ALICE@example.com", "return_to", "/deep?q=1", "code", typed)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/deep?q=1" || w.Header().Get("Set-Cookie") != "" {
		t.Fatalf("POST bind: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if !alice.inside() {
		t.Error("not in after all")
	}
	of := func(e audit.Event) audit.Event {
		e.UserID, e.Channel, e.Address = alice.userID, "email", "alice@example.com"
		return e
	}
	d.wantEvents(
		of(audit.Event{Action: audit.SendCode, Result: audit.OK}),
		of(audit.Event{Action: audit.Bind, Result: audit.Refused, Reason: "wrong_code"}),
		of(audit.Event{Action: audit.Bind, Result: audit.OK}),
	)
	d.quiet()
	w = alice.send(http.MethodGet, "/_wechat/bind", "text/html", "")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "a…@example.com") || strings.Contains(w.Body.String(), "alice@example.com") {
		t.Errorf("GET bind, later: %d %s", w.Code, w.Body)
	}
	if w := alice.prove("alice@example.com"); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"redirect":"/after?x=1"}` {
		t.Errorf("the same address again: %d %s", w.Code, w.Body)
	}
}

// TestBindRefusals: what does not do is said to a person on the page and to a script
// in JSON, and binds nothing.
func TestBindRefusals(t *testing.T) {
	t.Parallel()
	const a = "alice@example.com"
	for _, tt := range []struct {
		name   string
		policy user.Policy
		before func(d *desk, v *visitor)
		path   string
		fields []string
		status int
		reason string
	}{
		{"no address", byEmail(user.Open), nil, "/bind/code", []string{"channel", "email"}, 400, "bad_address"},
		{"two addresses", byEmail(user.Open), nil, "/bind/code", []string{"channel", "email", "address", a + ",b@example.com"}, 400, "bad_address"},
		{"header injection", byEmail(user.Open), nil, "/bind/code", []string{"channel", "email", "address", a + "\r\nBcc: b@example.com"}, 400, "bad_address"},
		{"look-alike", byEmail(user.Open), nil, "/bind/code", []string{"channel", "email", "address", "аlice@example.com"}, 400, "bad_address"},
		{"channel not asked for", byEmail(user.Open), nil, "/bind/code", []string{"channel", "phone", "address", "13800138000"}, 400, "bad_request"},
		{"no such channel", byEmail(user.Open), nil, "/bind/code", []string{"channel", "fax", "address", a}, 400, "bad_request"},
		{"nothing asked for", user.Policy{Registration: user.Open}, nil, "/bind/code", []string{"channel", "email", "address", a}, 400, "bad_request"},
		{"nothing asked for, code", user.Policy{Registration: user.Open}, nil, "/bind", []string{"channel", "email", "address", a, "code", "123456"}, 400, "bad_request"},
		{"no sender", user.Policy{Registration: user.Open, Bind: []user.Channel{user.ByPhone}}, nil, "/bind/code", []string{"channel", "phone", "address", "13800138000"}, 400, "sender_unavailable"},
		{"no code sent", byEmail(user.Open), nil, "/bind", []string{"channel", "email", "address", a, "code", "123456"}, 410, "code_used_up"},
		{"no code", byEmail(user.Open), nil, "/bind", []string{"channel", "email", "address", a}, 400, "wrong_code"},
		{
			"the code of another address", byEmail(user.Open), func(_ *desk, v *visitor) { v.askCode("mallory@example.com") },
			"/bind",
			[]string{"channel", "email", "address", a, "code", "123456"},
			400, "wrong_code",
		},
		{"too many codes", byEmail(user.Open), func(_ *desk, v *visitor) {
			for range 5 {
				v.askCode(a)
			}
		}, "/bind/code", []string{"channel", "email", "address", a}, 429, "too_many_codes"},
		{"too many from this client", byEmail(user.Open), func(d *desk, _ *visitor) {
			d.limits.codes = newWideLimiter(Rate{Count: 1, Per: time.Hour})
			d.enter("oBob").askCode("bob@example.com")
		}, "/bind/code", []string{"channel", "email", "address", a}, 429, "too_many_codes"},
		{"too many wrong ones from this client", byEmail(user.Open), func(d *desk, v *visitor) {
			d.limits.wrongCodes = newWideLimiter(Rate{Count: 2, Per: time.Hour})
			v.give(a, "123456")
			v.give(a, "123456")
		}, "/bind", []string{"channel", "email", "address", a, "code", "123456"}, 429, "too_many_wrong_codes"},
		{
			"the mail server is down", byEmail(user.Open), func(d *desk, _ *visitor) { d.box.fail = fmt.Errorf("dialling: %w", sender.ErrUnavailable) },
			"/bind/code",
			[]string{"channel", "email", "address", a},
			503, "sender_unavailable",
		},
		{
			"the mail server wants another password", byEmail(user.Open), func(d *desk, _ *visitor) { d.box.fail = errors.New("535 set the password") },
			"/bind/code",
			[]string{"channel", "email", "address", a},
			503, "sender_unavailable",
		},
		{
			"no such mailbox", byEmail(user.Open), func(d *desk, _ *visitor) { d.box.fail = fmt.Errorf("550: %w", sender.ErrAddress) },
			"/bind/code",
			[]string{"channel", "email", "address", a},
			400, "bad_address",
		},
	} {
		for _, contentType := range []string{asForm, asJSON} {
			t.Run(tt.name+", "+contentType, func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, tt.policy)
				v := d.enter("oAlice")
				if tt.before != nil {
					tt.before(d, v)
				}
				sent := d.box.count()
				w := v.post("/_wechat"+tt.path, contentType, tt.fields...)
				if w.Code != tt.status {
					t.Fatalf("answered %d, want %d: %s", w.Code, tt.status, w.Body)
				}
				if (tt.status == 429 || tt.status == 503) != (w.Header().Get("Retry-After") != "") {
					t.Errorf("%d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
				}
				if contentType == asJSON || tt.reason == "bad_request" {
					var got apiError
					if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Error != tt.reason || got.Message == "" {
						t.Errorf("answered %s", w.Body)
					}
				} else if tt.name != "no sender" && !strings.Contains(w.Body.String(), `role="alert"`) {
					t.Errorf("the page says nothing of it: %s", w.Body)
				}
				if u, err := d.Users.Find(t.Context(), v.userID); err != nil || u.Email+u.Phone != "" {
					t.Errorf("bound all the same: %+v %v", u, err)
				}
				if d.box.count() != sent {
					t.Error("a code was sent all the same")
				}
				d.quiet(a)
			})
		}
	}
}

// TestSenderTrouble: a sender that is down costs people nothing, and what only the
// operator can mend is recorded once in a while.
func TestSenderTrouble(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	alice := d.enter("oAlice")
	d.box.fail = errors.New("535 the password is wrong: set another")
	for range 20 {
		if w := alice.askCode("alice@example.com"); w.Code != http.StatusServiceUnavailable {
			t.Fatalf("answered %d", w.Code)
		}
	}
	troubles := 0
	for _, e := range d.events {
		if e.Action == audit.Trouble {
			troubles++
		} else if e.Action != audit.SendCode || e.Result != audit.Failed || e.Reason != "sender_unavailable" {
			t.Errorf("event %+v", e)
		}
	}
	if troubles != 1 || len(d.events) != 21 {
		t.Errorf("%d troubles in %d events", troubles, len(d.events))
	}
	d.box.fail = nil
	if w := alice.prove("alice@example.com"); w.Code != http.StatusOK {
		t.Errorf("once it works: %d %s", w.Code, w.Body)
	}
}

// TestBindWho: only a session may bind. Whoever awaits approval may, for an address
// may be what lets him in; whoever is disabled may not.
func TestBindWho(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{
		Registration: user.Closed, Bind: []user.Channel{user.ByEmail},
		Allow: []user.Rule{{Field: user.Email, Value: "Alice@example.com"}},
	})
	stranger := &visitor{d: d}
	for _, path := range []string{"/_wechat/bind/code", "/_wechat/bind", "/_wechat/name"} {
		if w := stranger.post(path, asJSON, "channel", "email", "address", "a@example.com", "name", "x"); w.Code != http.StatusUnauthorized {
			t.Errorf("POST %s by a stranger: %d", path, w.Code)
		}
		if w := stranger.post(path, asForm, "channel", "email"); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "<html") {
			t.Errorf("the form %s by a stranger: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/_wechat/bind", "/_wechat/name"} {
		if w := stranger.send(http.MethodGet, path, "text/html", ""); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "page-data") {
			t.Errorf("GET %s by a stranger: %d", path, w.Code)
		}
	}
	// G7: an address that only looks like one of the list lets nobody in.
	mallory := d.enter("oMallory")
	if w := mallory.prove("alice@example.com.evil.example"); w.Code != http.StatusOK || mallory.inside() {
		t.Errorf("a look-alike: %d, inside", w.Code)
	}
	alice := d.enter("oAlice")
	if w := alice.prove("alice@example.com"); w.Code != http.StatusOK || !alice.inside() {
		t.Errorf("the address that is allowed: %d %s", w.Code, w.Body)
	}
	// G5: an old session of somebody who is disabled.
	disabled := user.Disabled
	if _, _, err := d.Users.Change(t.Context(), alice.userID, user.Change{Status: &disabled}); err != nil {
		t.Fatal(err)
	}
	sent := d.box.count()
	for _, w := range []*httptest.ResponseRecorder{
		alice.askCode("other@example.com"), alice.give("other@example.com", "123456"),
		alice.post("/_wechat/name", asForm, "name", "x"),
		alice.send(http.MethodGet, "/_wechat/bind", "text/html", ""), alice.send(http.MethodGet, "/_wechat/name", "text/html", ""),
	} {
		if w.Code != http.StatusForbidden {
			t.Errorf("a disabled user gets %d %s", w.Code, w.Body)
		}
	}
	if d.box.count() != sent {
		t.Error("a disabled user has codes sent")
	}
}

// TestBindNothing: a site that asks for no address has no such page.
func TestBindNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{Registration: user.Open})
	if w := d.enter("oAlice").send(http.MethodGet, "/_wechat/bind", "text/html", ""); w.Code != http.StatusNotFound {
		t.Errorf("GET bind: %d", w.Code)
	}
}

// TestBindChannels: the page is for what is missing, or for what is asked for.
func TestBindChannels(t *testing.T) {
	t.Parallel()
	d := newDesk(t, user.Policy{Registration: user.Open, Bind: []user.Channel{user.ByPhone, user.ByEmail}})
	d.Senders[user.ByPhone] = d.box
	v := d.enter("oAlice")
	page := func(query string) string {
		w := v.send(http.MethodGet, "/_wechat/bind"+query, "text/html", "")
		if w.Code != http.StatusOK {
			t.Fatalf("GET bind%s: %d", query, w.Code)
		}
		_, rest, _ := strings.Cut(w.Body.String(), `name="channel" value="`)
		channel, _, _ := strings.Cut(rest, `"`)
		return channel
	}
	for query, want := range map[string]string{"": "phone", "?channel=email": "email", "?channel=phone": "phone", "?channel=fax": "phone"} {
		if got := page(query); got != want {
			t.Errorf("GET bind%s is for %s, want %s", query, got, want)
		}
	}
	v.post("/_wechat/bind/code", asForm, "channel", "phone", "address", "138 0013 8000")
	w := v.post("/_wechat/bind", asForm, "channel", "phone", "address", "+86 138-0013-8000", "code", d.box.code(t, "+8613800138000"), "return_to", "//evil.example")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
		t.Errorf("POST bind: %d to %q", w.Code, w.Header().Get("Location"))
	}
	if got := page(""); got != "email" {
		t.Errorf("after the phone, GET bind is for %s", got)
	}
}

// TestBindSameAnswer: Mallory asks for codes to find out who has an account. Whether
// an address is somebody's makes no difference to what is answered, sent and kept.
func TestBindSameAnswer(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	if w := d.enter("oBob").prove("known@example.com"); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	var asked []string
	for _, address := range []string{"known@example.com", "nobody@example.com"} {
		var touched []string
		seen := func(key string) {
			kind, _, _ := strings.Cut(strings.TrimPrefix(key, "tmp:"), ":")
			touched = append(touched, kind)
		}
		d.store.before.Store(&seen)
		mallory := d.enter("o" + address)
		touched = nil
		sent := mallory.askCode(address)
		wrong := mallory.give(address, "12345x")
		asked = append(asked, fmt.Sprint(sent.Code, sent.Header(), sent.Body, wrong.Code, wrong.Header(), wrong.Body, touched))
	}
	if asked[0] != asked[1] {
		t.Errorf("known:   %s\nunknown: %s", asked[0], asked[1])
	}
}

// TestBindLeaves: Mallory closes the connection as soon as a mail is on its way. It
// counts all the same: else he could send Alice any number.
func TestBindLeaves(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	mallory := d.enter("oMallory")
	for range 50 {
		ctx, leave := context.WithCancel(t.Context())
		d.Senders[user.ByEmail] = leaving{d.box, leave}
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, outageOrigin+"/_wechat/bind/code", strings.NewReader(`{"channel":"email","address":"alice@example.com"}`))
		r.Header = http.Header{"Cookie": {mallory.cookie}, "Origin": {outageOrigin}, "Content-Type": {asJSON}}
		if err := d.Serve(httptest.NewRecorder(), r, nil); err != nil {
			t.Fatal(err)
		}
		leave()
	}
	if n := d.box.count(); n != 3 {
		t.Errorf("Alice got %d mails, want 3", n)
	}
}

// leaving is a sender in the middle of which the visitor leaves.
type leaving struct {
	sender.Sender
	leave func()
}

// Send implements sender.Sender.
func (l leaving) Send(ctx context.Context, m sender.Message) error {
	l.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.Sender.Send(ctx, m)
}

// TestBindManyClients: one address sends no more than its share, whoever is behind it,
// and nobody elsewhere is locked out by that.
func TestBindManyClients(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	d.limits.codes = newWideLimiter(Rate{Count: 10, Per: 10 * time.Minute})
	client := netip.MustParseAddr("198.51.100.7")
	d.ClientAddr = func(*http.Request) netip.Addr { return client }
	for i := range 30 {
		d.enter(fmt.Sprint("oBot", i)).askCode(fmt.Sprintf("a%d@example.com", i))
	}
	if n := d.box.count(); n != 10 {
		t.Errorf("%d codes went out, want 10", n)
	}
	client = netip.MustParseAddr("198.51.100.8")
	if w := d.enter("oAlice").prove("alice@example.com"); w.Code != http.StatusOK {
		t.Errorf("an honest visitor elsewhere: %d", w.Code)
	}
}

// TestG11Bind: Alice is signed in and looks at Mallory's page, which has her browser
// send forms to the gateway. No code goes to his address, nor does his code bind it.
func TestG11Bind(t *testing.T) {
	t.Parallel()
	d := newDesk(t, byEmail(user.Open))
	alice := d.enter("oAlice")
	alice.askCode("alice@example.com")
	code := d.box.code(t, "alice@example.com")
	for _, from := range []http.Header{
		{},
		{"Origin": {"https://evil.example"}},
		{"Origin": {"null"}},
		{"Origin": {"http://site.example"}},
		{"Sec-Fetch-Site": {"cross-site"}},
		{"Sec-Fetch-Site": {"same-site"}},
		{"Origin": {outageOrigin}, "Sec-Fetch-Site": {"cross-site"}},
	} {
		for path, body := range map[string]string{
			"/_wechat/bind/code": "channel=email&address=mallory@example.com",
			"/_wechat/bind":      "channel=email&address=alice@example.com&code=" + code,
			"/_wechat/name":      "name=Mallory",
		} {
			for _, contentType := range []string{asForm, asJSON, "text/plain"} {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, outageOrigin+path, strings.NewReader(body))
				r.Header = from.Clone()
				r.Header.Set("Cookie", alice.cookie)
				r.Header.Set("Content-Type", contentType)
				w := httptest.NewRecorder()
				if err := d.Serve(w, r, nil); err != nil || w.Code != http.StatusForbidden || w.Header().Get("Set-Cookie") != "" {
					t.Errorf("POST %s from %v: %d %v", path, from, w.Code, err)
				}
			}
		}
	}
	u, err := d.Users.Find(t.Context(), alice.userID)
	if err != nil || u.Email != "" || u.Name != "" || d.box.count() != 1 {
		t.Errorf("Alice is %+v, %d codes went out (%v)", u, d.box.count(), err)
	}
	if w := alice.give("alice@example.com", code); w.Code != http.StatusOK {
		t.Errorf("from the site's own page: %d", w.Code)
	}
}
