// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	siteApp   = "wxfedcba9876543210"
	site      = "https://gateway.example"
	siteBack  = site + "/_wechat/oauth/callback"
	siteState = "S0mEsTaTe"
)

// world is WeChat and one site in memory, for a person's browser.
type world struct {
	*Server
	t     *testing.T
	clock *clock
}

// newWorld has a service account and a website, bound to one open platform account.
func newWorld(t *testing.T, opts Options) *world {
	t.Helper()
	w := &world{t: t, clock: newClock()}
	opts.Now = w.clock.Now
	opts.HTTPClient = &http.Client{Transport: roundTripper(w.roundTrip)}
	w.Server = newTestServer(t, opts)
	addAccount(t, w.Server, func(a *Account) { a.CallbackDomain, a.OpenPlatform = "gateway.example", "ours" })
	addAccount(t, w.Server, func(a *Account) {
		a.AppID, a.Kind, a.CallbackDomain, a.OpenPlatform, a.Name = siteApp, Website, "gateway.example", "ours", "我的网站"
	})
	return w
}

func (w *world) roundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	if r.URL.Host == "open.weixin.qq.com" {
		got := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), r.Body)
		got.Header, got.Host = r.Header, r.URL.Host
		w.ServeHTTP(rec, got)
	} else {
		_, _ = rec.WriteString("the site")
	}
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// authorizeLink has WeChat's order.
func authorizeLink(appID, scope, extra string) string {
	return openBase + EndpointAuthorize + "?appid=" + appID + "&redirect_uri=" + url.QueryEscape(siteBack) +
		"&response_type=code&scope=" + scope + "&state=" + siteState + extra + "#wechat_redirect"
}

// authorizeTarget is what a browser sends of the link.
func authorizeTarget(scope string) string {
	link := strings.TrimPrefix(authorizeLink(testApp, scope, ""), openBase)
	return strings.TrimSuffix(link, "#wechat_redirect")
}

func (w *world) browse(person, link string, opts ...BrowseOption) *Visit {
	w.t.Helper()
	v, err := w.Phone(person).Browse(w.t.Context(), link, opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// codeOf is the code with which a visit ended at the site.
func (w *world) codeOf(v *Visit) string {
	w.t.Helper()
	u, err := url.Parse(v.Callback)
	if err != nil || u.Query().Get("code") == "" || u.Query().Get("state") != siteState || v.URL != v.Callback || string(v.Body) != "the site" {
		w.t.Fatalf("the visit ended at %s (%s), %v", v.URL, v.Callback, err)
	}
	return u.Query().Get("code")
}

func exchangeQuery(appID, code string) string {
	return EndpointOAuthToken + "?appid=" + appID + "&secret=" + testSecret + "&code=" + code + "&grant_type=authorization_code"
}

func (w *world) exchange(appID, code string) (a oauthTokenAnswer, errcode int) {
	w.t.Helper()
	return getJSON[oauthTokenAnswer](w.t, w.Server, exchangeQuery(appID, code))
}

func (w *world) profile(token, openid string) (userInfoAnswer, int) {
	w.t.Helper()
	return getJSON[userInfoAnswer](w.t, w.Server, EndpointUserInfo+"?access_token="+token+"&openid="+openid+"&lang=zh_CN")
}

// pageText is what a page shows, or why it is blank.
func pageText(body []byte) string { return html.UnescapeString(string(body)) }

func TestAuthorize_Links(t *testing.T) {
	back := url.QueryEscape(siteBack)
	good := "appid=" + testApp + "&redirect_uri=" + back + "&response_type=code&scope=snsapi_base&state=abc"
	replace := func(old, by string) string { return strings.Replace(good, old, by, 1) }
	tests := []struct{ name, query, want string }{
		{"good", good, ""},
		{"all options", good + "&connect_redirect=1&forcePopup=true", ""},
		{"scope before redirect_uri", "appid=" + testApp + "&scope=snsapi_base&redirect_uri=" + back + "&response_type=code&state=abc", "WeChat's order"},
		{"option in between", replace("&redirect_uri", "&connect_redirect=1&redirect_uri"), "WeChat's order"},
		{"unknown option", good + "&foo=1", "WeChat's order"},
		{"no response_type", replace("&response_type=code", ""), "WeChat's order"},
		{"other response_type", replace("=code", "=token"), "response_type"},
		{"plain redirect_uri", replace(back, siteBack), "not URL-encoded"},
		{"repeated", good + "&state=def", "repeated"},
		{"bad escape", replace("=abc", "=%zz"), "badly encoded"},
		{"state with a dash", replace("=abc", "=a-b"), "state"},
		{"state too long", replace("=abc", "="+strings.Repeat("a", 129)), "state"},
		{"no appid", replace(testApp, ""), "10012"},
		{"no redirect_uri", replace(back, ""), "10011"},
		{"no scope", replace("snsapi_base", ""), "10010"},
		{"no state", replace("&state=abc", ""), "10013"},
		{"unknown app", replace(testApp, "wx0000000000000000"), "AppID"},
		{"website application", replace(testApp, siteApp), "10016"},
		{"login scope", replace("snsapi_base", "snsapi_login"), "10005"},
		{"subdomain", replace("gateway.example", "a.gateway.example"), "10003"},
		{"suffix", replace("gateway.example", "gateway.example.evil.example"), "10003"},
		{"user info", replace("gateway.example", "gateway.example%40evil.example"), "10003"},
		{"javascript", replace("https%3A", "javascript%3A"), "10003"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			v := w.browse("alice", openBase+EndpointAuthorize+"?"+tt.query+"#wechat_redirect")
			if tt.want == "" {
				if !strings.HasPrefix(v.Callback, siteBack+"?code=") || !strings.HasSuffix(v.Callback, "&state=abc") {
					t.Errorf("callback %q: %s", v.Callback, v.Body)
				}
				return
			}
			if v.Callback != "" || v.Status != http.StatusOK || !strings.Contains(pageText(v.Body), tt.want) {
				t.Errorf("status %d, callback %q, page %s", v.Status, v.Callback, v.Body)
			}
		})
	}
}

func TestAuthorize_WithoutFragmentIsBlank(t *testing.T) {
	w := newWorld(t, Options{})
	link, _, _ := strings.Cut(authorizeLink(testApp, "snsapi_base", ""), "#")
	if v := w.browse("alice", link); v.Callback != "" || !strings.Contains(string(v.Body), "#wechat_redirect") {
		t.Errorf("callback %q: %s", v.Callback, v.Body)
	}
}

func TestAuthorize_UserAgents(t *testing.T) {
	tests := []struct {
		name, agent string
		any, want   bool
	}{
		{"phone", webviewAgent, false, true},
		{"computer", "Mozilla/5.0 (Windows NT 10.0) Chrome/116.0 Safari/537.36 MicroMessenger/7.0.20.1781(0x6700143B) NetType/WIFI MiniProgramEnv/Windows WindowsWechat/WMPF", false, true},
		{"WeCom", "Mozilla/5.0 (iPhone) MicroMessenger/7.0.1 wxwork/4.1.0", false, false},
		{"Chrome", "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0 Safari/537.36", false, false},
		{"Chrome as the demo's phone", "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0 Safari/537.36", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{AnyBrowser: tt.any})
			r := httptest.NewRequestWithContext(t.Context(), "GET", authorizeTarget("snsapi_base"), nil)
			r.Header.Set("User-Agent", tt.agent)
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, r)
			if (rec.Code == http.StatusFound) != tt.want {
				t.Errorf("status %d: %s", rec.Code, rec.Body)
			}
			if !tt.want && !strings.Contains(rec.Body.String(), "请在微信客户端打开链接") {
				t.Error(rec.Body)
			}
		})
	}
}

func TestAuthorize_Base(t *testing.T) {
	w := newWorld(t, Options{})
	code := w.codeOf(w.browse("alice", authorizeLink(testApp, "snsapi_base", "")))
	got, errcode := w.exchange(testApp, code)
	if errcode != 0 || got.OpenID != w.Phone("alice").OpenID(testApp) || got.Scope != "snsapi_base" || got.UnionID != "" || got.IsSnapshotUser != 0 {
		t.Errorf("errcode %d, %+v", errcode, got)
	}
	if _, errcode := w.profile(got.AccessToken, got.OpenID); errcode != 48001 {
		t.Errorf("profile with snsapi_base: errcode %d", errcode)
	}
	if _, errcode := w.exchange(testApp, code); errcode != 40163 {
		t.Errorf("second exchange: errcode %d", errcode)
	}
}

func TestAuthorize_UserInfoAsksAndRemembers(t *testing.T) {
	w := newWorld(t, Options{})
	link := authorizeLink(testApp, "snsapi_userinfo", "")
	asks := func(link string) bool {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", link, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.Phone("alice").Browser().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.Header.Get(consentHeader) != ""
	}
	if !asks(link) {
		t.Fatal("did not ask the first time")
	}
	got, errcode := w.exchange(testApp, w.codeOf(w.browse("alice", link)))
	if errcode != 0 || got.Scope != "snsapi_userinfo" || got.UnionID != w.Phone("alice").UnionID(testApp) || got.UnionID == "" {
		t.Errorf("errcode %d, %+v", errcode, got)
	}
	if asks(link) {
		t.Error("asked again")
	}
	if !asks(authorizeLink(testApp, "snsapi_userinfo", "&forcePopup=true")) {
		t.Error("did not ask in spite of forcePopup")
	}
	w.clock.Advance(consentLifetime)
	if !asks(link) {
		t.Error("did not ask after 30 days")
	}
	if _, errcode := w.profile(got.AccessToken, got.OpenID); errcode != 42001 {
		t.Errorf("a token of last month: errcode %d", errcode)
	}
}

func TestAuthorize_Refusal(t *testing.T) {
	for refusal, want := range map[Refusal]string{
		RefusalStays: "", RefusalStateOnly: siteBack + "?state=" + siteState, RefusalAuthDeny: siteBack + "?code=authdeny&state=" + siteState,
	} {
		w := newWorld(t, Options{Refusal: refusal})
		v := w.browse("alice", authorizeLink(testApp, "snsapi_userinfo", ""), RefuseConsent())
		if v.Callback != want {
			t.Errorf("refusal %d: callback %q, want %q", refusal, v.Callback, want)
		}
		if want == "" && !strings.Contains(string(v.Body), "已拒绝") {
			t.Errorf("refusal %d: %s", refusal, v.Body)
		}
		if len(w.oauth.codes) != 0 {
			t.Error("a code was issued")
		}
	}
}

// Another site's page must not be able to answer for the person.
func TestAuthorize_ForeignPageCannotConsent(t *testing.T) {
	w := newWorld(t, Options{})
	r := httptest.NewRequestWithContext(t.Context(), "POST", authorizeTarget("snsapi_userinfo"), strings.NewReader("decision=allow"))
	r.Header.Set("User-Agent", webviewAgent)
	r.Header.Set("Origin", "https://evil.example")
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	if rec.Code != http.StatusForbidden || len(w.oauth.codes) != 0 {
		t.Errorf("status %d", rec.Code)
	}
}

func TestAuthorize_SnapshotGivesVirtualUser(t *testing.T) {
	w := newWorld(t, Options{})
	alice := w.Phone("alice")
	for _, scope := range []string{"snsapi_base", "snsapi_userinfo"} {
		alice.SetSnapshot(true)
		one, errcode := w.exchange(testApp, w.codeOf(w.browse("alice", authorizeLink(testApp, scope, ""))))
		if errcode != 0 || one.IsSnapshotUser != 1 || one.OpenID == alice.OpenID(testApp) || one.UnionID != "" {
			t.Errorf("%s: errcode %d, %+v", scope, errcode, one)
		}
		if _, errcode := w.profile(one.AccessToken, one.OpenID); errcode != 48001 {
			t.Errorf("%s: profile of a virtual user: errcode %d", scope, errcode)
		}
		alice.SetSnapshot(false)
		two, _ := w.exchange(testApp, w.codeOf(w.browse("alice", authorizeLink(testApp, scope, "&forceSnapShot=true"))))
		if two.IsSnapshotUser != 1 {
			t.Errorf("%s with forceSnapShot: %+v", scope, two)
		}
	}
	if real, _ := w.exchange(testApp, w.codeOf(w.browse("alice", authorizeLink(testApp, "snsapi_base", "")))); real.OpenID != alice.OpenID(testApp) {
		t.Errorf("the full service: %+v", real)
	}
}

func TestAuthorize_Permissions(t *testing.T) {
	tests := []struct {
		name    string
		kind    Kind
		follows bool
		want    string // "": a callback
	}{
		{"verified service account", VerifiedService, false, ""},
		{"test account, stranger", TestAccount, false, "10006"},
		{"test account, follower", TestAccount, true, ""},
		{"unverified service account", UnverifiedService, true, "10005"},
		{"personal subscription", PersonalSubscription, true, "10005"},
		{"verified subscription", VerifiedSubscription, true, "10005"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			addAccount(t, w.Server, func(a *Account) { a.AppID, a.Kind, a.CallbackDomain = "wx1", tt.kind, "gateway.example" })
			if tt.follows {
				if err := w.Phone("alice").Follow(t.Context(), "wx1"); err != nil {
					t.Fatal(err)
				}
			}
			v := w.browse("alice", authorizeLink("wx1", "snsapi_base", ""))
			if (tt.want == "") != (v.Callback != "") || !strings.Contains(string(v.Body), tt.want) {
				t.Errorf("callback %q: %s", v.Callback, v.Body)
			}
		})
	}
}

func TestAccount_OAuthConfiguration(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Account)
		ok     bool
	}{
		{"host", func(a *Account) { a.CallbackDomain = "gateway.example" }, true},
		{"host and port", func(a *Account) { a.CallbackDomain = "127.0.0.1:8080" }, true},
		{"URL", func(a *Account) { a.CallbackDomain = "https://gateway.example" }, false},
		{"path", func(a *Account) { a.CallbackDomain = "gateway.example/login" }, false},
		{"port alone", func(a *Account) { a.CallbackDomain = ":80" }, false},
		{"test account on the open platform", func(a *Account) { a.Kind, a.OpenPlatform = TestAccount, "ours" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := Account{AppID: testApp, Secret: testSecret}
			tt.change(&a)
			if _, err := newTestServer(t, Options{}).AddAccount(a); (err == nil) != tt.ok {
				t.Error(err)
			}
		})
	}
}

func TestAllowsCallback_PortOnlyWhereSet(t *testing.T) {
	for _, tt := range []struct {
		domain, redirectURI string
		want                bool
	}{
		{"localhost", "http://localhost:8080/back", true},
		{"localhost:8080", "http://localhost:8080/back", true},
		{"localhost:8080", "http://localhost:8081/back", false},
		{"localhost:8080", "http://localhost/back", false},
		{"", "http:///back", false},
	} {
		if got := (Account{CallbackDomain: tt.domain}).allowsCallback(tt.redirectURI); got != tt.want {
			t.Errorf("%q allows %q: %t", tt.domain, tt.redirectURI, got)
		}
	}
}

func TestUnionID(t *testing.T) {
	w := newWorld(t, Options{})
	addAccount(t, w.Server, func(a *Account) { a.AppID, a.Kind = "wxother", Website })
	addAccount(t, w.Server, func(a *Account) { a.AppID = "wxunbound" })
	alice, bob := w.Phone("alice"), w.Phone("bob")
	if id := alice.UnionID(testApp); len(id) != 28 || id != alice.UnionID(siteApp) || id == bob.UnionID(testApp) || id == alice.UnionID("wxother") {
		t.Errorf("unionids %q %q %q %q", id, alice.UnionID(siteApp), bob.UnionID(testApp), alice.UnionID("wxother"))
	}
	if alice.UnionID("wxother") == "" || alice.UnionID("wxunbound") != "" || alice.UnionID("wxnone") != "" {
		t.Error("a website has a unionid always, an unbound account never")
	}
	if alice.OpenID(testApp) == alice.OpenID(siteApp) {
		t.Error("the openids of two apps are the same")
	}
}

func TestOAuthToken_Errors(t *testing.T) {
	w := newWorld(t, Options{})
	code := w.codeOf(w.browse("alice", authorizeLink(testApp, "snsapi_base", "")))
	good := exchangeQuery(testApp, code)
	tests := []struct {
		name, old, by string
		want          int
	}{
		{"grant type", "authorization_code", "client_credential", 40002},
		{"no app id", "appid=" + testApp, "appid=", 41002},
		{"no secret", "secret=" + testSecret, "secret=", 41004},
		{"no code", "code=" + code + "&", "code=&", 41008},
		{"unknown app", testApp, "wx0000000000000000", 40013},
		{"wrong secret", testSecret, "x" + testSecret, 40125},
		{"unknown code", code, "x" + code, 40029},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, errcode := getJSON[oauthTokenAnswer](t, w.Server, strings.Replace(good, tt.old, tt.by, 1)); errcode != tt.want {
				t.Errorf("errcode %d, want %d", errcode, tt.want)
			}
		})
	}
	if a := callAPI(t, w.Server, "POST", good, ""); a.ErrCode != 43001 {
		t.Errorf("POST: errcode %d", a.ErrCode)
	}
	// None of these has used the code up.
	if _, errcode := w.exchange(testApp, code); errcode != 0 {
		t.Errorf("errcode %d", errcode)
	}
}

// A code that is tried with another app is lost.
func TestOAuthToken_OtherAppUsesCodeUp(t *testing.T) {
	w := newWorld(t, Options{})
	code := w.codeOf(w.browse("alice", authorizeLink(testApp, "snsapi_base", "")))
	if _, errcode := w.exchange(siteApp, code); errcode != 40029 {
		t.Errorf("other app: errcode %d", errcode)
	}
	if _, errcode := w.exchange(testApp, code); errcode != 40163 {
		t.Errorf("then: errcode %d", errcode)
	}
}

func TestOAuthToken_CodesExpire(t *testing.T) {
	w := newWorld(t, Options{})
	for _, tt := range []struct {
		appID string
		life  time.Duration
	}{{testApp, 5 * time.Minute}, {siteApp, 10 * time.Minute}} {
		for _, late := range []bool{false, true} {
			code := w.newCode(tt.appID)
			w.clock.Advance(tt.life - time.Second)
			if late {
				w.clock.Advance(time.Second)
			}
			if _, errcode := w.exchange(tt.appID, code); (errcode == 40029) != late {
				t.Errorf("%s, late %t: errcode %d", tt.appID, late, errcode)
			}
		}
	}
}

// newCode lets alice sign in to either app.
func (w *world) newCode(appID string) string {
	w.t.Helper()
	if appID == testApp {
		return w.codeOf(w.browse("alice", authorizeLink(testApp, "snsapi_base", "")))
	}
	back, err := w.scan("alice", w.openQRConnect("")).Confirm()
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil {
		w.t.Fatal(err)
	}
	return u.Query().Get("code")
}

func TestUserInfo(t *testing.T) {
	w := newWorld(t, Options{})
	w.Phone("alice").SetProfile("小红 🌸", "http://thirdwx.qlogo.cn/mmopen/x/132")
	a, _ := w.exchange(siteApp, w.newCode(siteApp))
	got, errcode := w.profile(a.AccessToken, a.OpenID)
	if errcode != 0 || got.Nickname != "小红 🌸" || got.HeadImgURL != "http://thirdwx.qlogo.cn/mmopen/x/132" ||
		got.OpenID != w.Phone("alice").OpenID(siteApp) || got.UnionID != a.UnionID || a.UnionID == "" || got.Sex != 0 {
		t.Errorf("errcode %d, %+v", errcode, got)
	}
	for _, tt := range []struct {
		name, token, openid string
		want                int
	}{
		{"no token", "", a.OpenID, 41001},
		{"unknown token", "x" + a.AccessToken, a.OpenID, 40001},
		{"app token", stableToken(t, w.Server, false).AccessToken, a.OpenID, 40001},
		{"other person", a.AccessToken, w.Phone("bob").OpenID(siteApp), 40003},
		{"other app", a.AccessToken, w.Phone("alice").OpenID(testApp), 40003},
	} {
		if _, errcode := w.profile(tt.token, tt.openid); errcode != tt.want {
			t.Errorf("%s: errcode %d, want %d", tt.name, errcode, tt.want)
		}
	}
	rec := serve(t, w.Server, "GET", EndpointUserInfo+"?access_token="+a.AccessToken+"&openid="+a.OpenID, "")
	if got := rec.Header().Get("Content-Type"); got != "text/plain" || !strings.Contains(rec.Body.String(), "小红 🌸") {
		t.Errorf("content type %q: %s", got, rec.Body)
	}
	if a := callAPI(t, w.Server, "POST", EndpointUserInfo+"?access_token="+a.AccessToken+"&openid="+a.OpenID, ""); a.ErrCode != 43001 {
		t.Errorf("POST: errcode %d", a.ErrCode)
	}
}

// WeChat sends a nickname as the person has entered it, so that an answer may be
// no JSON.
func TestUserInfo_RawControlCharacters(t *testing.T) {
	w := newWorld(t, Options{})
	w.Phone("alice").SetProfile("a\x14\x07\x00\n\tb\\n\"\\", "")
	a, _ := w.exchange(siteApp, w.newCode(siteApp))
	body := serve(t, w.Server, "GET", EndpointUserInfo+"?access_token="+a.AccessToken+"&openid="+a.OpenID, "").Body.String()
	if want := "\"nickname\":\"a\x14\x07\x00\n\tb\\\\n\\\"\\\\\","; !strings.Contains(body, want) || json.Valid([]byte(body)) {
		t.Errorf("body %q, want %q in it", body, want)
	}
}

func TestOAuth_FailuresAndCalls(t *testing.T) {
	w := newWorld(t, Options{})
	w.Fail(EndpointAuthorize, 1, Failure{HTTPStatus: 502, HTML: true})
	if v := w.browse("alice", authorizeLink(testApp, "snsapi_base", "")); v.Status != 502 || v.Callback != "" {
		t.Errorf("status %d", v.Status)
	}
	code := w.newCode(testApp)
	w.Fail(EndpointOAuthToken, 1, Failure{ErrCode: -1, ErrMsg: "system error"})
	if _, errcode := w.exchange(testApp, code); errcode != -1 {
		t.Errorf("errcode %d", errcode)
	}
	if _, errcode := w.exchange(testApp, code); errcode != 0 {
		t.Errorf("an injected failure has used the code up: errcode %d", errcode)
	}
	if n := w.Calls(EndpointOAuthToken); n != 2 {
		t.Errorf("%d calls", n)
	}
	app := &AccountHandle{w.Server, testApp}
	secrets := app.PersonSecrets()
	if len(secrets) != 2 || !slices.Contains(secrets, code) || len((&AccountHandle{w.Server, siteApp}).PersonSecrets()) != 0 {
		t.Errorf("%d secrets", len(secrets))
	}
	for _, token := range secrets {
		w.profile(token, "")
	}
	if n := app.Calls(EndpointUserInfo); n != 1 { // a code is no token
		t.Errorf("%d calls of the account for the profile", n)
	}
}

func TestOAuth_ForgetsWhatEnded(t *testing.T) {
	w := newWorld(t, Options{})
	for range 3 {
		w.exchange(siteApp, w.newCode(siteApp))
	}
	w.clock.Advance(3 * 24 * time.Hour)
	w.newCode(siteApp)
	if len(w.oauth.codes) != 1 || len(w.oauth.tokens) != 0 || len(w.oauth.logins) != 1 {
		t.Errorf("%d codes, %d tokens, %d logins", len(w.oauth.codes), len(w.oauth.tokens), len(w.oauth.logins))
	}
}

func TestCallback_Forms(t *testing.T) {
	for redirectURI, want := range map[string]string{
		"https://a.example/b":     "https://a.example/b?code=C&state=S",
		"https://a.example/b?c=d": "https://a.example/b?c=d&code=C&state=S",
		"https://a.example/b#/c":  "https://a.example/b?code=C&state=S#/c",
	} {
		if got := callback(redirectURI, "C", "S"); got != want {
			t.Errorf("callback(%q) = %q", redirectURI, got)
		}
	}
}

func TestBrowse_Errors(t *testing.T) {
	w := newWorld(t, Options{})
	if _, err := w.Phone("alice").Browse(t.Context(), "http://[bad"); err == nil {
		t.Error("opened no URL")
	}
	down := errors.New("down")
	w.transport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, down })
	if _, err := w.Phone("new").Browse(t.Context(), site); !errors.Is(err, down) {
		t.Error(err)
	}
}

func FuzzReadLink(f *testing.F) {
	f.Add("appid=a&redirect_uri=https%3A%2F%2Fa&response_type=code&scope=snsapi_base&state=abc")
	f.Add("appid=a&scope=snsapi_login&redirect_uri=b&state=c&login_type=jssdk&self_redirect=true")
	f.Add("&=&%zz=%zz")
	f.Fuzz(func(t *testing.T, query string) {
		if l, e := readAuthorizeLink(query); !e.occurred() && (!statePattern.MatchString(l.values["state"]) || l.values["appid"] == "") {
			t.Errorf("accepted %q", query)
		}
		if l, e := readQRConnectLink(query); !e.occurred() && l.values["scope"] != scopeLogin {
			t.Errorf("accepted %q", query)
		}
	})
}
