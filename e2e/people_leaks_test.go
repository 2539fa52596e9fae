// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// eventfulAddress is one that no log but the audit log may name.
const eventfulAddress = "alice-never-to-be-logged@mail.example.com"

// mayHold says whether a line of the output may name a person by a value of that
// kind. The audit log is there to say who did what, and Caddy writes the same events
// to its own log `events`; its lines about a request have the headers that the site
// gets, and the address at which WeChat tells of a person. All else that is looked for
// is a secret, which no line may hold.
func mayHold(line, what string) bool {
	var l struct{ Logger string }
	if json.Unmarshal([]byte(line), &l) != nil {
		return false
	}
	switch l.Logger {
	case "wechat.audit", "events":
		return what == "openid" || what == "e-mail address" || what == "phone number"
	case "http.handlers.reverse_proxy":
		return what == "openid" || what == "e-mail address" || what == "phone number" || what == "unionid" || what == "name" || what == "avatar"
	default:
		return what == "openid" && strings.HasPrefix(l.Logger, "http.log.access")
	}
}

// holds says whether a line has the value. The six digits of a code may also stand
// in a longer number, such as a time.
func holds(line, what, value string) bool {
	if !strings.Contains(line, value) {
		return false
	}
	if !strings.HasPrefix(what, "e-mailed code") {
		return true
	}
	return regexp.MustCompile(`(^|[^0-9.])` + value + `($|[^0-9])`).MatchString(line)
}

// tooShort says whether looking for a value means nothing.
func tooShort(what, value string) bool {
	if strings.HasPrefix(what, "e-mailed code") {
		return len(value) != 6
	}
	return len(value) < 10
}

// eventfulBind proves an address, after a second mail, a wrong code, and a stranger's
// try with the right one.
func (w *world) eventfulBind(b, stranger *browser, box *mailbox, found secrets, show func(answer)) {
	w.t.Helper()
	found["e-mail address"] = eventfulAddress
	form := url.Values{"channel": {"email"}, "address": {eventfulAddress}, "return_to": {"/"}}
	for _, name := range []string{"e-mailed code that is replaced", "e-mailed code"} {
		if got := b.do(http.MethodPost, "/_wechat/bind/code", form); got.Status != http.StatusOK {
			w.t.Fatalf("POST bind/code: %d %s", got.Status, got.Body)
		}
		found[name] = box.code(eventfulAddress)
	}
	form.Set("code", wrong(found["e-mailed code"]))
	b.do(http.MethodPost, "/_wechat/bind", form)
	form.Set("code", found["e-mailed code"])
	show(stranger.do(http.MethodPost, "/_wechat/bind", form, header("Origin", "https://evil.example")))
	show(stranger.do(http.MethodPost, "/_wechat/bind", map[string]string{"channel": "email", "address": "mallory@example.com"}))
	if got := b.do(http.MethodPost, "/_wechat/bind", form); got.Status != http.StatusSeeOther {
		w.t.Fatalf("POST bind: %d %s", got.Status, got.Body)
	}
	b.do(http.MethodPost, "/_wechat/bind", form)
	found["session cookie after the bind"] = cookieValueOf(b, "wechat_session")
}

// adminAPI sends a request to Caddy's admin endpoint.
func (w *world) adminAPI(method, path string, body any) answer {
	w.t.Helper()
	b := w.browser()
	b.origin = "http://" + w.admin
	return b.do(method, "/wechat/"+path, body)
}

// eventfulOperator looks a person up by all that is known, and does to the person
// whatever an operator can do, rightly and wrongly. The person is signed out then.
func (w *world) eventfulOperator(phone *wechattest.Phone, found secrets) {
	w.t.Helper()
	var id string
	for _, query := range []string{phone.OpenID(appID), eventfulAddress} {
		var page struct{ Users []struct{ ID string } }
		got := w.adminAPI(http.MethodPost, "users/search", map[string]string{"query": query})
		if err := json.Unmarshal([]byte(got.Body), &page); err != nil || got.Status != http.StatusOK {
			w.t.Fatalf("searching: %d %s", got.Status, got.Body)
		}
		for _, u := range page.Users {
			id = u.ID
		}
	}
	for _, call := range []struct {
		method, path string
		body         any
		status       int
	}{
		{http.MethodGet, "users/" + id, nil, 200},
		{http.MethodGet, "users/" + id + "/sessions", nil, 200},
		{http.MethodPatch, "users/" + id, map[string]any{"roles": []string{"editor"}}, 200},
		{http.MethodPatch, "users/" + id, map[string]any{"status": eventfulAddress, "roles": []string{found["session cookie"]}}, 400},
		{http.MethodPost, "users/import", map[string]any{"users": []map[string]string{{"id": "old-1", "email": eventfulAddress}, {"email": "nonsense"}}}, 200},
		{http.MethodDelete, "sessions/" + found["session cookie"][:40], nil, 404},
		{http.MethodPatch, "users/" + id, map[string]any{"status": "disabled"}, 200},
		{http.MethodDelete, "users/" + id + "/sessions", nil, 200},
	} {
		if got := w.adminAPI(call.method, call.path, call.body); got.Status != call.status && (got.Status != http.StatusNoContent || call.status != http.StatusOK) {
			w.t.Errorf("the admin API, %s: %d %s; want %d", call.method, got.Status, got.Body, call.status)
		}
	}
}

// eventfulMessages has a person told of a sign-in, after WeChat has refused to: it
// repeats secrets in its refusal.
func (w *world) eventfulMessages(phone *wechattest.Phone, found secrets) {
	w.t.Helper()
	poll(w.t, "the message of the new sign-in", func() bool { return strings.Contains(lastReply(w.t, phone), "有新的登录") })
	link := phone.Links(appID)[0]
	found["confirm token of the message"] = link[strings.LastIndex(link, "/")+1:]
	w.openLink(phone, link)
	told := w.output.expect("people are not told of new sign-ins in the chat")
	w.wechat.Fail(wechattest.EndpointMessage, 1, wechattest.Failure{ErrCode: 48001, ErrMsg: "api unauthorized " + secret})
	w.signIn("bob")
	await(w.t, told, "the refusal of the message")
}
