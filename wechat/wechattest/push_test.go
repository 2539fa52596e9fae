// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// roundTripper answers without a network, so that a synctest bubble's time can move.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// serverAnswering returns a Server whose pushes get the given answers, the last
// one again and again; "hang" never answers, a number is a status.
func serverAnswering(t *testing.T, opts Options, answers ...string) *Server {
	t.Helper()
	n := 0
	opts.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		a := answers[min(n, len(answers)-1)]
		n++
		var status int
		switch _, err := fmt.Sscanf(a, "status %d", &status); {
		case a == "hang":
			<-r.Context().Done()
			return nil, r.Context().Err()
		case err == nil:
			return respond(status, "success")
		default:
			return respond(200, a)
		}
	})}
	s := newTestServer(t, opts)
	addAccount(t, s, func(a *Account) { a.PushURL = "https://gateway.example/push" })
	return s
}

func textReply(openid, content string) string {
	return "<xml><ToUserName><![CDATA[" + openid + "]]></ToUserName><FromUserName><![CDATA[" + testGH +
		"]]></FromUserName><CreateTime>12345678</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[" +
		content + "]]></Content></xml>"
}

func TestPush_Retries(t *testing.T) {
	openid := (&Phone{name: "a"}).OpenID(testApp)
	reply := textReply(openid, "你好")
	const s = time.Second
	tests := []struct {
		name     string
		opts     Options
		answers  []string
		at       []time.Duration // of the deliveries, after the first
		took     time.Duration
		statuses []int
		shown    string
		failed   bool
	}{
		{name: "success", answers: []string{"success"}, at: []time.Duration{0}, statuses: []int{200}},
		{name: "empty", answers: []string{""}, at: []time.Duration{0}, statuses: []int{200}},
		{name: "reply", answers: []string{reply}, at: []time.Duration{0}, statuses: []int{200}, shown: "你好"},
		{name: "silence", answers: []string{"hang"}, at: []time.Duration{0, 5 * s, 10 * s}, took: 15 * s, statuses: []int{0, 0, 0}, shown: ServiceFailure, failed: true},
		{name: "silence, then a reply", answers: []string{"hang", reply}, at: []time.Duration{0, 5 * s}, took: 5 * s, statuses: []int{0, 200}, shown: "你好"},
		{name: "error status", answers: []string{"status 500", "success"}, at: []time.Duration{0, 5 * s}, took: 5 * s, statuses: []int{500, 200}},
		{name: "redirect is not followed", answers: []string{"status 301"}, at: []time.Duration{0, 5 * s, 10 * s}, took: 10 * s, statuses: []int{301, 301, 301}, shown: ServiceFailure, failed: true},
		{name: "JSON", answers: []string{`{"errcode":0}`}, at: []time.Duration{0, 5 * s, 10 * s}, took: 10 * s, statuses: []int{200, 200, 200}, shown: ServiceFailure, failed: true},
		{name: "success with a newline", answers: []string{"success\n", ""}, at: []time.Duration{0, 5 * s}, took: 5 * s, statuses: []int{200, 200}},
		{name: "other settings", opts: Options{PushTimeout: s, PushAttempts: 4, PushSpacing: 2 * s}, answers: []string{"hang"}, at: []time.Duration{0, 2 * s, 4 * s, 6 * s}, took: 7 * s, statuses: []int{0, 0, 0, 0}, shown: ServiceFailure, failed: true},
		{name: "no spacing", opts: Options{PushSpacing: -1}, answers: []string{"status 403"}, at: []time.Duration{0, 0, 0}, statuses: []int{403, 403, 403}, shown: ServiceFailure, failed: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serverAnswering(t, tt.opts, tt.answers...)
				start := time.Now()
				p := s.Phone("a")
				d, err := p.Scan(t.Context(), newCode(t, s, "x").URL)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				var at []time.Duration
				var statuses []int
				for _, a := range d.Attempts {
					at, statuses = append(at, a.At.Sub(start)), append(statuses, a.Status)
				}
				if diff := cmp.Diff(tt.at, at) + cmp.Diff(tt.statuses, statuses); diff != "" {
					t.Error(diff)
				}
				if d.Reply.Text != tt.shown || (d.Err != nil) != tt.failed || d.Reply.System != tt.failed {
					t.Errorf("reply %+v, error %v", d.Reply, d.Err)
				}
				if len(s.Log()) != len(tt.at) {
					t.Errorf("%d entries in the log", len(s.Log()))
				}
				if chat := p.Chat(testApp); len(chat) > 0 != (tt.shown != "") {
					t.Errorf("chat %v", chat)
				}
			})
		})
	}
}

// All deliveries of an event carry the same event, so that it can be
// de-duplicated by FromUserName and CreateTime.
func TestPush_RetriesCarryTheSameEvent(t *testing.T) {
	for _, identical := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := serverAnswering(t, Options{IdenticalRetries: identical}, "hang")
			d, err := s.Phone("a").Scan(t.Context(), newCode(t, s, "x").URL)
			if err != nil || len(d.Attempts) != 3 {
				t.Fatal(d, err)
			}
			first, last := d.Attempts[0].Push, d.Attempts[2].Push
			if string(first.Body) != string(last.Body) {
				t.Errorf("bodies %s and %s", first.Body, last.Body)
			}
			if same := first.Query.Get("nonce") == last.Query.Get("nonce"); same != identical {
				t.Errorf("same nonce: %v, want %v", same, identical)
			}
		})
	}
}

func TestPush_EndsWithContextAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serverAnswering(t, Options{}, "hang")
		code := newCode(t, s, "x").URL
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		d, err := s.Phone("a").Scan(ctx, code)
		if !errors.Is(err, context.DeadlineExceeded) || len(d.Attempts) != 2 {
			t.Errorf("after a cancelled context: %+v, %v", d, err)
		}
		if len(s.Phone("a").Chat(testApp)) != 0 {
			t.Error("an event that was given up by the test shows in the chat")
		}
		time.AfterFunc(8*time.Second, s.Close)
		start := time.Now()
		if _, err = s.Phone("b").Scan(t.Context(), code); !errors.Is(err, ErrClosed) || time.Since(start) != 8*time.Second {
			t.Errorf("after Close: %v after %v", err, time.Since(start))
		}
		if _, err = s.Phone("c").Scan(t.Context(), code); !errors.Is(err, ErrClosed) {
			t.Errorf("a scan after Close: %v", err)
		}
	})
}

// pushed is what a developer's server receives.
type pushed struct {
	query  url.Values
	header http.Header
	body   string
}

func capture(t *testing.T, change func(*Account)) (s *Server, last func() pushed) {
	t.Helper()
	var got atomic.Pointer[pushed]
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got.Store(&pushed{r.URL.Query(), r.Header, string(b)})
	}))
	t.Cleanup(gateway.Close)
	s = newTestServer(t, Options{Now: newClock().Now})
	addAccount(t, s, func(a *Account) {
		a.PushURL = gateway.URL + "/push?keep=1"
		change(a)
	})
	return s, func() pushed { return *got.Load() }
}

func TestPush_PlainForm(t *testing.T) {
	s, last := capture(t, func(*Account) {})
	p := s.Phone("a")
	code := newCode(t, s, "x")
	if _, err := p.Scan(t.Context(), code.URL); err != nil {
		t.Fatal(err)
	}
	got := last()
	q := got.query
	if q.Get("signature") != signature(testToken, q.Get("timestamp"), q.Get("nonce")) || q.Get("timestamp") != "1714037059" ||
		q.Get("openid") != p.OpenID(testApp) || q.Get("keep") != "1" || q.Has("encrypt_type") || q.Has("msg_signature") {
		t.Errorf("query %v", q)
	}
	if got.header.Get("Content-Type") != "text/xml" {
		t.Errorf("headers %v", got.header)
	}
	want := "<xml><ToUserName><![CDATA[" + testGH + "]]></ToUserName>\n<FromUserName><![CDATA[" + p.OpenID(testApp) +
		"]]></FromUserName>\n<CreateTime>1714037059</CreateTime>\n<MsgType><![CDATA[event]]></MsgType>\n" +
		"<Event><![CDATA[subscribe]]></Event>\n<EventKey><![CDATA[qrscene_x]]></EventKey>\n<Ticket><![CDATA[" + code.Ticket + "]]></Ticket>\n</xml>"
	if got.body != want {
		t.Errorf("body %s, want %s", got.body, want)
	}
}

func TestPush_EncryptedForms(t *testing.T) {
	tests := []struct {
		name      string
		mode      Mode
		json      bool
		plainToo  bool
		unmarshal func([]byte, any) error
	}{
		{"secure XML", Secure, false, false, xml.Unmarshal},
		{"compatible XML", Compatible, false, true, xml.Unmarshal},
		{"secure JSON", Secure, true, false, json.Unmarshal},
		{"compatible JSON", Compatible, true, true, json.Unmarshal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, last := capture(t, func(a *Account) {
				a.Mode, a.AESKey, a.JSON = tt.mode, testAESKey, tt.json
				if tt.json {
					a.Kind = VerifiedMiniProgram
				}
			})
			p := s.Phone("a")
			p.follows[testApp] = true
			if _, err := p.SendText(t.Context(), testApp, "验证码 ]]> 1&2"); err != nil {
				t.Fatal(err)
			}
			got := last()
			var outer, inner struct{ ToUserName, FromUserName, Content, Encrypt string }
			if err := tt.unmarshal([]byte(got.body), &outer); err != nil {
				t.Fatal(err)
			}
			if outer.ToUserName != testGH || (outer.Content != "") != tt.plainToo {
				t.Errorf("outer fields %+v", outer)
			}
			checkEncryptedQuery(t, got.query, outer.Encrypt)
			msg, err := decrypt(testAESKey, outer.Encrypt, testApp)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.unmarshal(msg, &inner); err != nil {
				t.Fatal(err)
			}
			if inner.FromUserName != p.OpenID(testApp) || inner.Content != "验证码 ]]> 1&2" || inner.Encrypt != "" {
				t.Errorf("inner fields %+v", inner)
			}
			if want := map[bool]string{true: "application/json", false: "text/xml"}[tt.json]; got.header.Get("Content-Type") != want {
				t.Errorf("content type %s, want %s", got.header.Get("Content-Type"), want)
			}
		})
	}
}

func checkEncryptedQuery(t *testing.T, q url.Values, encrypted string) {
	t.Helper()
	if q.Get("encrypt_type") != "aes" || q.Get("signature") != signature(testToken, q.Get("timestamp"), q.Get("nonce")) ||
		q.Get("msg_signature") != signature(testToken, q.Get("timestamp"), q.Get("nonce"), encrypted) {
		t.Errorf("query %v", q)
	}
}

// The form of Tencent's own vector V2, but for the order of its fields.
func TestMessage_JSON(t *testing.T) {
	m := Message{ToUserName: testGH, FromUserName: "o9AgO5Kd5ggOC-bXrbNODIiE3bGY", CreateTime: 1714037059, MsgType: "text", Content: `a"<&>`, MsgID: "12345678901234567"}
	const want = `{"ToUserName":"gh_97417a04a28d","FromUserName":"o9AgO5Kd5ggOC-bXrbNODIiE3bGY","CreateTime":1714037059,"MsgType":"text","Content":"a\"<&>","MsgId":12345678901234567}`
	if got := string(m.JSON()); got != want {
		t.Errorf("JSON %s, want %s", got, want)
	}
}

// What a person writes goes out as it is, though XML forbids some of it; only the
// end of the section is divided.
func TestMessage_XMLCarriesTextAsItIs(t *testing.T) {
	m := Message{MsgType: "text", Content: "a\x00\x14b\xffc\uFFFEd]]></Content><Event>", MsgID: "1"}
	if want := "<Content><![CDATA[a\x00\x14b\xffc\uFFFEd]]]]><![CDATA[></Content><Event>]]></Content>"; !strings.Contains(string(m.XML()), want) {
		t.Errorf("XML %q, want %q in it", m.XML(), want)
	}
}

func TestPush_UnsplitCDATA(t *testing.T) {
	s, last := capture(t, func(*Account) {})
	p := s.Phone("a")
	p.follows[testApp] = true
	const text = "a\x14]]></Content><MsgType><![CDATA[event]]></MsgType>"
	for unsplit, want := range map[bool]string{false: cdata(text), true: "<![CDATA[" + text + "]]>"} {
		s.opts.UnsplitCDATA = unsplit
		if _, err := p.SendText(t.Context(), testApp, text); err != nil {
			t.Fatal(err)
		}
		if got := last().body; !strings.Contains(got, "<Content>"+want+"</Content>") {
			t.Errorf("unsplit %v: body %q, want %q in it", unsplit, got, want)
		}
	}
}

func TestVerifyURL(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Method != http.MethodGet || q.Get("signature") != signature(testToken, q.Get("timestamp"), q.Get("nonce")) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, q.Get("echostr"))
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		ok      bool
	}{
		{"echo", echo, true},
		{"trailing newline", func(w http.ResponseWriter, r *http.Request) { echo(w, r); _, _ = io.WriteString(w, "\n") }, false},
		{"quoted", func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%q", r.URL.Query().Get("echostr"))
		}, false},
		{"redirect to the echo", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/push/" {
				echo(w, r)
				return
			}
			http.Redirect(w, r, "/push/?"+r.URL.RawQuery, http.StatusMovedPermanently)
		}, false},
		{"wrong token", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, false},
		{"echo with status 201", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); echo(w, r) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gateway := httptest.NewServer(tt.handler)
			defer gateway.Close()
			s := newTestServer(t, Options{PushAttempts: 1})
			addAccount(t, s, func(a *Account) { a.PushURL, a.Unverified = gateway.URL+"/push", true })
			p := s.Phone("a")
			if err := p.Follow(t.Context(), testApp); err != nil || len(s.Log()) != 0 {
				t.Errorf("an unverified URL was pushed to: %v, %v", s.Log(), err)
			}
			if err := s.VerifyURL(t.Context(), testApp); (err == nil) != tt.ok {
				t.Errorf("VerifyURL: %v", err)
			}
			if _, err := p.SendText(t.Context(), testApp, "hi"); err != nil || (len(s.Log()) == 1) != tt.ok {
				t.Errorf("after the check: log %v, %v", s.Log(), err)
			}
		})
	}
	s := newTestServer(t, Options{})
	addAccount(t, s, nil)
	if s.VerifyURL(t.Context(), testApp) == nil || s.VerifyURL(t.Context(), "wx-unknown") == nil {
		t.Error("an account without a push URL, or an unknown one, was verified")
	}
}

// An unreachable server: the error says where, and holds no signature.
func TestSend_ErrorHasNoQuery(t *testing.T) {
	s := newTestServer(t, Options{})
	addAccount(t, s, nil)
	gone := httptest.NewServer(nil)
	gone.Close()
	push := s.SignedPush(testApp, []byte("<xml></xml>"))
	_, _, err := s.Send(t.Context(), gone.URL+"/push", push)
	if err == nil || strings.Contains(err.Error(), "signature") || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("error %v", err)
	}
	if _, _, err := s.Send(t.Context(), "http://a b/", push); err == nil {
		t.Error("a bad URL was accepted")
	}
}

func TestSignedPush_Options(t *testing.T) {
	s := newTestServer(t, Options{Now: newClock().Now})
	addAccount(t, s, func(a *Account) { a.Mode, a.AESKey = Secure, testAESKey })
	body := Message{ToUserName: testGH, FromUserName: "o1", CreateTime: 1, MsgType: "event", Event: "SCAN"}.XML()
	get := func(p RawPush) (signed, msgSigned bool, msg []byte, err error) {
		var x struct{ Encrypt string }
		if err := xml.Unmarshal(p.Body, &x); err != nil {
			t.Fatal(err)
		}
		ts, nonce := p.Query.Get("timestamp"), p.Query.Get("nonce")
		msg, err = decrypt(testAESKey, x.Encrypt, testApp)
		return p.Query.Get("signature") == signature(testToken, ts, nonce),
			p.Query.Get("msg_signature") == signature(testToken, ts, nonce, x.Encrypt), msg, err
	}
	tests := []struct {
		name              string
		opts              []PushOption
		signed, msgSigned bool
		decrypts          bool
	}{
		{"genuine", nil, true, true, true},
		{"bad signature", []PushOption{WithBadSignature()}, false, false, true},
		{"no signature", []PushOption{WithoutSignature()}, false, false, true},
		{"another token", []PushOption{WithToken("other")}, false, false, true},
		{"downgrade", []PushOption{WithMode(Plain)}, true, false, false},
		{"compatible", []PushOption{WithMode(Compatible)}, true, true, true},
		{"another app", []PushOption{WithAppID("wx0")}, true, true, false},
		{"bad padding", []PushOption{WithBadPadding()}, true, true, false},
		{"bad ciphertext", []PushOption{WithBadCiphertext()}, true, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signed, msgSigned, msg, err := get(s.SignedPush(testApp, body, tt.opts...))
			if signed != tt.signed || msgSigned != tt.msgSigned || (err == nil) != tt.decrypts {
				t.Errorf("signature %v, msg_signature %v, decrypted %v", signed, msgSigned, err)
			}
			if tt.decrypts && string(msg) != string(body) {
				t.Errorf("message %s", msg)
			}
		})
	}
	p := s.SignedPush(testApp, body, WithTimestamp(time.Unix(42, 0)), WithNonce("n"), WithOpenID("o1"))
	if q := p.Query; q.Get("timestamp") != "42" || q.Get("nonce") != "n" || q.Get("openid") != "o1" {
		t.Errorf("query %v", q)
	}
	if p := s.SignedPush("wx-unknown", body); p.Query.Get("signature") != signature("", p.Query.Get("timestamp"), p.Query.Get("nonce")) {
		t.Errorf("unknown app: query %v", p.Query)
	}
}

func FuzzMessageXML(f *testing.F) {
	f.Add("qrscene_1", "hello ]]> &amp; \x00")
	f.Add("]]]]>>", "<![CDATA[x]]>")
	f.Fuzz(func(t *testing.T, name, content string) {
		m := Message{FromUserName: name, MsgType: "text", Content: content, MsgID: "1"}
		var got struct {
			FromUserName, Content string
			MsgID                 string `xml:"MsgId"`
		}
		legal := strings.Map(func(r rune) rune {
			if r < ' ' || r == '\uFFFE' || r == '\uFFFF' {
				return ' '
			}
			return r
		}, string(m.XML()))
		if err := xml.Unmarshal([]byte(legal), &got); err != nil || got.MsgID != "1" {
			t.Errorf("%q: %+v, %v", m.XML(), got, err)
		}
		if !json.Valid(m.JSON()) {
			t.Errorf("JSON %q", m.JSON())
		}
	})
}
