// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// secrets are all that a stranger must not learn, with what they are.
type secrets map[string]string

// TestR3NothingLeaks runs whole logins at debug level, in both push modes, with
// all that can go wrong on the way, and then reads everything that the process
// has printed, all metrics, and every page and error that anybody was shown.
func TestR3NothingLeaks(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name string
		mode wechattest.Mode
	}{{"plaintext", wechattest.Plain}, {"secure", wechattest.Secure}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			box := newMailbox(t)
			w := newWorld(t, options{mode: mode.mode, users: box.users("registration open")})
			found := make(secrets)
			shown := w.eventfulLogin(found, box)
			w.noSecrets(w.output.String())
			w.noSecrets(w.allMetrics())
			w.noSecrets(shown)
			for what, s := range found {
				if tooShort(what, s) {
					t.Fatalf("the %s is %q: the test looks for nothing", what, s)
				}
				if metrics := w.allMetrics(); holds(metrics, what, s) {
					t.Errorf("the %s is in the metrics: %s", what, lineWith(metrics, s))
				}
				if holds(shown, what, s) {
					t.Errorf("the %s is in what strangers are shown: %s", what, lineWith(shown, s))
				}
				for line := range strings.SplitSeq(w.output.String(), "\n") {
					if holds(line, what, s) && !mayHold(line, what) {
						t.Errorf("the %s is in the output: %s", what, line)
					}
				}
			}
			if !strings.Contains(w.output.String(), `"msg":"signed in"`) || !strings.Contains(w.output.String(), `"level":"debug"`) || !strings.Contains(w.output.String(), `"msg":"handled request"`) {
				t.Error("the output lacks the gateway's lines, debug lines or access lines: the test reads nothing")
			}
		})
	}
}

// eventfulLogin signs in and out with mistakes, forgeries and outages in between.
// It notes the secrets it comes across, and returns what strangers were shown.
func (w *world) eventfulLogin(found secrets, box *mailbox) (shown string) {
	w.t.Helper()
	var seen strings.Builder
	show := func(a answer) {
		seen.WriteString(a.Body + "\n")
		for name, values := range a.Header {
			seen.WriteString(name + ": " + strings.Join(values, " ") + "\n")
		}
	}
	stranger, phone := w.browser(), w.wechat.Phone("alice")
	w.wechat.Fail(wechattest.EndpointStableToken, 1, wechattest.Failure{ErrCode: 40001, ErrMsg: "invalid credential " + secret})
	show(stranger.do(http.MethodPost, "/_wechat/attempts", map[string]string{}))
	w.awaitWeChat()
	w.wechat.RevokeTokens(appID)

	wrong := w.browser().begin()
	link := w.scan(phone, wrong)
	found["confirm token of a denied attempt"] = link[strings.LastIndex(link, "/")+1:]
	w.choose(phone, link, w.wrongNumber(phone, link, wrong))
	wrong.session()

	a := w.browser().begin()
	scene, ticket, err := w.wechat.Scene(a.QR.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	found["scene"], found["ticket"], found["openid"] = scene, ticket, phone.OpenID(appID)
	link = w.scan(phone, a)
	found["confirm token"] = link[strings.LastIndex(link, "/")+1:]
	found["binding cookie"] = cookieValueOf(a.browser, "wechat_browser")
	log := w.wechat.Log()
	w.replayAndForge(log[len(log)-1].Push, event(phone.OpenID(appID), "SCAN", scene, ticket))
	w.openLink(phone, link)
	show(stranger.do(http.MethodPost, strings.TrimPrefix(link, w.origin()), url.Values{"choice": {a.Number}}, header("Origin", "https://evil.example")))
	show(stranger.get("/_wechat/confirm/" + found["confirm token"] + "/x"))
	show(stranger.get("/_wechat/confirm/UNKNOWN"))
	w.choose(phone, link, a.Number)
	a.consume()
	found["session cookie"] = cookieValueOf(a.browser, "wechat_session")
	w.eventfulBind(a.browser, stranger, box, found, show)
	w.eventfulMessages(phone, found)
	a.browser.get("/with/session?x=1")
	a.browser.get("/_wechat/logout")
	w.choose(phone, link, a.Number)
	for _, path := range []string{"/", "/_wechat/login", "/_wechat/me", "/_wechat/attempts/" + a.ID, "/_wechat/attempts/" + a.ID + "/events", "/_wechat/healthz", "/_wechat/nothing"} {
		show(stranger.get(path))
		show(stranger.do(http.MethodPost, path, nil))
		show(stranger.get(path, header("Cookie", "wechat_session="+found["session cookie"][:60]+"; wechat_browser=GARBAGE")))
	}
	a.browser.do(http.MethodPost, "/_wechat/logout", url.Values{"everywhere": {"true"}})
	a.browser.get("/") // with the cookie gone
	stranger.get("/", header("Cookie", "wechat_session="+found["session cookie"]))
	w.eventfulOperator(phone, found)
	w.confirmed("alice").session() // disabled
	if err := w.reload(); err != nil {
		w.t.Fatal(err)
	}
	return seen.String()
}

// awaitWeChat begins attempts until one is begun: after a failure the gateway
// leaves WeChat alone for a while.
func (w *world) awaitWeChat() {
	w.t.Helper()
	w.wechat.ClearFailures(wechattest.EndpointStableToken)
	// A restart is the quickest end of the pause.
	w.stop()
	w.start()
}

func (w *world) replayAndForge(raw wechattest.RawPush, body []byte) {
	w.t.Helper()
	if _, _, err := w.wechat.Send(w.t.Context(), w.pushURL(appID), raw); err != nil {
		w.t.Fatal(err)
	}
	for _, opt := range []wechattest.PushOption{
		wechattest.WithBadSignature(), wechattest.WithoutSignature(), wechattest.WithToken("othertoken123456"), wechattest.WithMode(wechattest.Plain),
		wechattest.WithAppID("wx0000000000000000"), wechattest.WithBadPadding(),
	} {
		w.push(body, opt)
	}
	w.push([]byte("<xml>" + strings.Repeat("<a>", 1000)))
}

// cookieValueOf returns the value of one of the browser's cookies.
func cookieValueOf(b *browser, name string) string {
	b.t.Helper()
	m := regexp.MustCompile(name + `=([^;]+)`).FindStringSubmatch(b.cookieValue())
	if m == nil {
		b.t.Fatalf("the browser has no cookie %s: %s", name, b.cookieValue())
	}
	return m[1]
}

// TestR3ConfirmLinksStayOutOfTheAccessLog: the link in the chat is the one address
// whose path is a secret, so requests of it leave no access line, of whatever
// spelling and outcome; all others do.
func TestR3ConfirmLinksStayOutOfTheAccessLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	b := w.browser()
	for _, path := range []string{"/_wechat/confirm/SECRET", "/_wechat/confirm/SECRET/", "/_wechat/confirm/SECRET?x=1", "/_wechat/confirm/SECRET%2e", "/_wechat/confirm//SECRET"} {
		b.get(path)
		b.do(http.MethodPost, path, url.Values{"choice": {"yes"}})
		b.do(http.MethodPut, path, nil)
	}
	b.get("/_wechat/confirm")
	b.get("/_wechat/login")
	b.get("/site")
	w.stop()
	if out := w.output.String(); strings.Contains(out, "SECRET") {
		t.Errorf("a confirm link is in the output: %s", lineWith(out, "SECRET"))
	}
	for _, path := range []string{"/_wechat/confirm", "/_wechat/login", "/site"} {
		if !strings.Contains(w.output.String(), `"uri":"`+path+`"`) {
			t.Errorf("%s has no access line", path)
		}
	}
}
