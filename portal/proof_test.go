// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-wechat/caddy-wechat/login"
)

const weChatAgent = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36 MicroMessenger/8.0.50"

// newProofs is an outage where WeChat says who opens the link in the chat, and an
// attempt that nobody has scanned.
func newProofs(t *testing.T) (*outage, login.Attempt) {
	t.Helper()
	o := newOutage(t, login.ConfirmTap)
	account := o.Accounts[outageApp]
	account.Proof = func(callback, state string) string {
		return "https://wechat.example/?to=" + callback + "&state=" + state
	}
	o.Accounts[outageApp] = account
	a, _, err := o.Login.Begin(t.Context(), login.Request{
		Method: login.OfficialQR, AppID: outageApp, Site: "site", Portal: outageOrigin + DefaultPrefix, ReturnTo: "/", Browser: o.cookie,
	})
	if err != nil {
		t.Fatal(err)
	}
	return o, a
}

// tap sends an answer from a browser inside WeChat, and returns status and target.
func (o *outage) tap(a login.Attempt, choice string) (status int, location string) {
	o.t.Helper()
	w := o.send(http.MethodPost, DefaultPrefix+"/confirm/"+a.Token, "choice="+choice, http.Header{
		"User-Agent": {weChatAgent}, "Content-Type": {"application/x-www-form-urlencoded"}, "Cookie": {"__Host-wechat_browser=" + strings.Repeat("B", 26)},
	})
	return w.Code, w.Header().Get("Location")
}

// TestQ1AnswerOvertakesTheScan: somebody who has got hold of the link, and is not who
// scans, sends the answer so that it is looked at before the scan, when there is
// nothing to prove yet, and counts after it. It does not count.
func TestQ1AnswerOvertakesTheScan(t *testing.T) {
	o, a := newProofs(t)
	scanned := false
	scan := func(key string) {
		if strings.HasPrefix(key, "tmp:attempt:") && !scanned {
			scanned = true
			o.push(a.Scene)
		}
	}
	o.store.before.Store(&scan)
	status, location := o.tap(a, login.ChoiceYes)
	o.store.before.Store(nil)
	if !scanned || status != http.StatusSeeOther || !strings.HasPrefix(location, "https://wechat.example/") {
		t.Errorf("scanned %v; answered %d to %q", scanned, status, location)
	}
	if now, err := o.Login.Get(t.Context(), a.ID, o.cookie); err != nil || now.State != login.Scanned {
		t.Errorf("the attempt is %s (%v)", now.State, err)
	}
}

// TestAnswerOvertakenByTheEnd: the attempt is given up while a browser is about to be
// sent to WeChat. It is told so, and not sent.
func TestAnswerOvertakenByTheEnd(t *testing.T) {
	o, a := newProofs(t)
	o.push(a.Scene)
	writes := 0
	cancel := func(key string) {
		if !strings.HasPrefix(key, "tmp:attempt:") {
			return
		}
		if writes++; writes != 2 { // the answer is the first, the count the second
			return
		}
		if err := o.Login.Cancel(t.Context(), a.ID, o.cookie); err != nil {
			t.Error(err)
		}
	}
	o.store.before.Store(&cancel)
	status, location := o.tap(a, login.ChoiceYes)
	o.store.before.Store(nil)
	if want := DefaultPrefix + "/confirm/" + a.Token; status != http.StatusSeeOther || location != want {
		t.Errorf("answered %d to %q, want %q", status, location, want)
	}
	if w := o.serve(http.MethodGet, location, ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "<form") {
		t.Errorf("which shows %d %s", w.Code, w.Body)
	}
}
