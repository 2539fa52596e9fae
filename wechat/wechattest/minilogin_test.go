// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func decodeJSON(data []byte, v any) error { return json.Unmarshal(data, v) }

func openMini(tb testing.TB, s *Server, person, appID string) *MiniPage {
	tb.Helper()
	page, err := s.Phone(person).OpenMiniProgram(appID)
	if err != nil {
		tb.Fatal(err)
	}
	return page
}

type session struct {
	ErrCode    int    `json:"errcode"`
	OpenID     string `json:"openid"`
	UnionID    string `json:"unionid"`
	SessionKey string `json:"session_key"`
}

func code2Session(tb testing.TB, s *Server, appID, secret, code string) (got session) {
	tb.Helper()
	target := EndpointCode2Session + "?" + query("appid", appID, "secret", secret, "js_code", code, "grant_type", "authorization_code")
	if err := decodeJSON([]byte(callAPI(tb, s, "GET", target, "").raw), &got); err != nil {
		tb.Fatal(err)
	}
	return got
}

func TestCode2Session(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addMini(t, s, nil)
	page := openMini(t, s, "bob", miniApp)
	got := code2Session(t, s, miniApp, testSecret, page.Login())
	if got.OpenID != s.Phone("bob").OpenID(miniApp) || len(got.OpenID) != 28 || got.UnionID != "" || len(got.SessionKey) != 24 {
		t.Errorf("session %+v", got)
	}
	if diff := cmp.Diff([]string{got.SessionKey}, h.SessionKeys()); diff != "" {
		t.Errorf("SessionKeys (-want +got):\n%s", diff)
	}
	again := code2Session(t, s, miniApp, testSecret, page.Login())
	if again.OpenID != got.OpenID || again.SessionKey == got.SessionKey {
		t.Errorf("the second login: %+v", again)
	}
}

func TestCode2Session_Codes(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addMini(t, s, nil)
	addMini(t, s, func(m *MiniProgram) { m.AppID = "wx00000000000000b2" })
	page := openMini(t, s, "bob", miniApp)
	want := func(name, appID, code string, want int) {
		t.Helper()
		if got := code2Session(t, s, appID, testSecret, code); got.ErrCode != want || (want != 0 && got.OpenID != "") {
			t.Errorf("%s: %+v, want errcode %d", name, got, want)
		}
	}
	code := page.Login()
	want("first use", miniApp, code, 0)
	want("second use", miniApp, code, 40163)
	want("made up", miniApp, "0123", 40029)

	// The wrong app uses a code up: its own app hears that it was used.
	code = page.Login()
	want("another app", "wx00000000000000b2", code, 40029)
	want("its own app, later", miniApp, code, 40163)

	code = page.Login()
	c.Advance(5*time.Minute - time.Second)
	want("nearly 5 minutes", miniApp, code, 0)
	code = page.Login()
	c.Advance(5 * time.Minute)
	want("5 minutes", miniApp, code, 40029)

	phoneCode, err := page.GetPhoneNumber(true)
	if err != nil {
		t.Fatal(err)
	}
	want("the code of the phone button", miniApp, phoneCode, 40029)
}

func TestCode2Session_Arguments(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addMini(t, s, nil)
	addAccount(t, s, nil)
	tests := []struct {
		name, method, query string
		want                int
	}{
		{"POST", "POST", "", 43001},
		{"grant type", "GET", query("appid", miniApp, "secret", testSecret, "js_code", "a", "grant_type", "client_credential"), 40002},
		{"no app id", "GET", query("secret", testSecret, "js_code", "a", "grant_type", "authorization_code"), 41002},
		{"no secret", "GET", query("appid", miniApp, "js_code", "a", "grant_type", "authorization_code"), 41004},
		{"no code", "GET", query("appid", miniApp, "secret", testSecret, "grant_type", "authorization_code"), 41008},
		{"unknown app", "GET", query("appid", "wx1", "secret", testSecret, "js_code", "a", "grant_type", "authorization_code"), 40013},
		{"a service account", "GET", query("appid", testApp, "secret", testSecret, "js_code", "a", "grant_type", "authorization_code"), 40013},
		{"wrong secret", "GET", query("appid", miniApp, "secret", "x", "js_code", "a", "grant_type", "authorization_code"), 40125},
	}
	for _, tt := range tests {
		if got := callAPI(t, s, tt.method, EndpointCode2Session+"?"+tt.query, ""); got.ErrCode != tt.want {
			t.Errorf("%s: %s, want %d", tt.name, got.raw, tt.want)
		}
	}
	if err := h.Configure(func(a *Account) { a.SecretFrozen = true }); err != nil {
		t.Fatal(err)
	}
	if got := code2Session(t, s, miniApp, testSecret, "a"); got.ErrCode != 40243 {
		t.Errorf("frozen secret: %+v", got)
	}
}

// One person may sign in 100 times a minute; others are not held back.
func TestCode2Session_Quota(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addMini(t, s, nil)
	bob, alice := openMini(t, s, "bob", miniApp), openMini(t, s, "alice", miniApp)
	for range sessionsPerMin {
		if got := code2Session(t, s, miniApp, testSecret, bob.Login()); got.ErrCode != 0 {
			t.Fatalf("%+v", got)
		}
	}
	if got := code2Session(t, s, miniApp, testSecret, bob.Login()); got.ErrCode != 45011 {
		t.Errorf("login 101: %+v", got)
	}
	if got := code2Session(t, s, miniApp, testSecret, alice.Login()); got.ErrCode != 0 {
		t.Errorf("another person: %+v", got)
	}
	c.Advance(time.Minute)
	if got := code2Session(t, s, miniApp, testSecret, bob.Login()); got.ErrCode != 0 {
		t.Errorf("a minute later: %+v", got)
	}
}

// An openid is of one app; a unionid is of all apps of one open platform account.
func TestCode2Session_OpenIDAndUnionID(t *testing.T) {
	s := newTestServer(t, Options{})
	for appID, platform := range map[string]string{miniApp: "one", "wx00000000000000b2": "one", "wx00000000000000c3": "two", "wx00000000000000d4": ""} {
		addMini(t, s, func(m *MiniProgram) { m.AppID, m.OpenPlatform = appID, platform })
	}
	addAccount(t, s, func(a *Account) { a.OpenPlatform = "one" })
	login := func(person, appID string) session {
		t.Helper()
		return code2Session(t, s, appID, testSecret, openMini(t, s, person, appID).Login())
	}
	a, b, c, d := login("bob", miniApp), login("bob", "wx00000000000000b2"), login("bob", "wx00000000000000c3"), login("bob", "wx00000000000000d4")
	if a.OpenID == b.OpenID || a.OpenID == c.OpenID || a.OpenID == s.Phone("bob").OpenID(testApp) {
		t.Error("two apps share an openid")
	}
	if a.UnionID == "" || a.UnionID != b.UnionID || a.UnionID != s.Phone("bob").UnionID(testApp) {
		t.Errorf("apps of one platform: %+v, %+v", a, b)
	}
	if c.UnionID == "" || c.UnionID == a.UnionID || d.UnionID != "" {
		t.Errorf("another platform %+v, none %+v", c, d)
	}
	if alice := login("alice", miniApp); alice.UnionID == a.UnionID || alice.OpenID == a.OpenID {
		t.Error("two persons are one")
	}
}

func TestPhoneNumber(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	h := addMini(t, s, nil)
	token := tokenFor(t, s, miniApp)
	ask := func(code string) string {
		t.Helper()
		return callAPI(t, s, "POST", EndpointPhoneNumber+"?access_token="+token, `{"code":"`+code+`"}`).raw
	}
	page := openMini(t, s, "bob", miniApp)
	tap := func() string {
		t.Helper()
		code, err := page.GetPhoneNumber(true)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	code := tap()
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(code) {
		t.Errorf("code %q", code)
	}
	c.Advance(time.Minute)
	number := s.Phone("bob").PhoneNumber().National
	want := `{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"` + number + `","purePhoneNumber":"` + number +
		`","countryCode":"86","watermark":{"timestamp":1714037059,"appid":"` + miniApp + `"}}}`
	if got := ask(code); got != want {
		t.Errorf("answer %s\nwant   %s", got, want)
	}
	for name, bad := range map[string]string{"used": code, "of wx.login": page.Login(), "made up": "abc", "empty": ""} {
		if got := ask(bad); !strings.Contains(got, `"errcode":40029,`) || strings.Contains(got, "phone_info") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := callAPI(t, s, "POST", EndpointPhoneNumber+"?access_token="+token+"&code="+tap(), `{}`); got.ErrCode != 40029 {
		t.Errorf("code in the query: %s", got.raw)
	}
	late := tap()
	c.Advance(5 * time.Minute)
	if got := ask(late); !strings.Contains(got, "40029") {
		t.Errorf("too late: %s", got)
	}
	s.Phone("bob").SetPhoneNumber(Number{"852", "51234567"})
	if got := ask(tap()); !strings.Contains(got, `"phoneNumber":"85251234567","purePhoneNumber":"51234567","countryCode":"852"`) {
		t.Errorf("foreign number: %s", got)
	}
	if _, err := page.GetPhoneNumber(false); !errors.Is(err, ErrUserDenied) {
		t.Errorf("declined: %v", err)
	}
	h.SetPhoneNumbers(1)
	ask(tap())
	if _, err := page.GetPhoneNumber(true); !errors.Is(err, ErrNoPhoneNumbers) {
		t.Errorf("used up: %v", err)
	}
}

func TestPhoneNumber_WhoMay(t *testing.T) {
	s := newTestServer(t, Options{})
	addMini(t, s, func(m *MiniProgram) { m.Individual = true })
	addAccount(t, s, nil)
	for name, appID := range map[string]string{"an individual's mini program": miniApp, "a service account": testApp} {
		if got := callAPI(t, s, "POST", EndpointPhoneNumber+"?access_token="+tokenFor(t, s, appID), `{"code":"a"}`); got.ErrCode != 48001 {
			t.Errorf("%s: %s", name, got.raw)
		}
	}
	if _, err := openMini(t, s, "bob", miniApp).GetPhoneNumber(true); !errors.Is(err, ErrNoPermission) {
		t.Errorf("the button: %v", err)
	}
	if got := callAPI(t, s, "GET", EndpointPhoneNumber, ""); got.ErrCode != 43002 {
		t.Errorf("GET: %s", got.raw)
	}
}

func TestURLLink_Bodies(t *testing.T) {
	const now, day = 1_714_037_059, 86_400
	tests := []struct {
		name, body string
		want       int
	}{
		{"at a time", `{"path":"pages/login/login","query":"scene=a","expire_type":0,"expire_time":1714037120}`, 0},
		{"30 days ahead", `{"expire_type":0,"expire_time":1716629059}`, 0},
		{"after days", `{"expire_type":1,"expire_interval":30,"env_version":"trial"}`, 0},
		{"a minute ahead", `{"expire_type":0,"expire_time":1714037119}`, 85401},
		{"over 30 days ahead", `{"expire_type":0,"expire_time":1716629060}`, 85401},
		{"milliseconds", `{"expire_type":0,"expire_time":1714037120000}`, 85401},
		{"no time", `{}`, 85401},
		{"31 days", `{"expire_type":1,"expire_interval":31}`, 85400},
		{"no days", `{"expire_type":1}`, 40097},
		{"type", `{"expire_type":2}`, 40097},
		{"page", `{"path":"pages/none","expire_type":1,"expire_interval":1}`, 40165},
		{"leading slash", `{"path":"/pages/login/login","expire_type":1,"expire_interval":1}`, 40165},
		{"query", `{"query":"a b","expire_type":1,"expire_interval":1}`, 40212},
		{"long query", `{"query":"` + strings.Repeat("a", 1025) + `","expire_type":1,"expire_interval":1}`, 40212},
		{"version", `{"env_version":"beta","expire_type":1,"expire_interval":1}`, 85402},
		{"form", `path=a`, 47001},
	}
	if got := time.Unix(now+30*day, 0).Unix(); got != 1716629059 {
		t.Fatal(got)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, Options{Now: newClock().Now})
			addMini(t, s, nil)
			got := callAPI(t, s, "POST", EndpointURLLink+"?access_token="+tokenFor(t, s, miniApp), tt.body)
			if got.ErrCode != tt.want || (tt.want == 0) != strings.Contains(got.raw, `"url_link":"https://wxaurl.cn/`) {
				t.Errorf("answer %s, want %d", got.raw, tt.want)
			}
		})
	}
}

func TestURLLink_Open(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now, QRBase: "http://192.168.1.5:8080"})
	addMini(t, s, nil)
	var made struct {
		Link string `json:"url_link"`
	}
	body := `{"path":"pages/login/login","query":"scene=a%3D1&b","expire_type":0,"expire_time":1714037259}`
	if err := decodeJSON([]byte(callAPI(t, s, "POST", EndpointURLLink+"?access_token="+tokenFor(t, s, miniApp), body).raw), &made); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(made.Link, "http://192.168.1.5:8080/wxaurl/") {
		t.Errorf("link %q does not lead to this Server", made.Link)
	}
	for _, person := range []string{"bob", "alice"} { // one link serves many
		page, err := s.Phone(person).OpenURLLink(made.Link)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"scene": "a%3D1", "b": ""}, page.Query); diff != "" || page.Scene() != "a=1" ||
			page.Path != miniPath || page.Enter != EnterByURLLink {
			t.Errorf("page %+v (-want +got):\n%s", page, diff)
		}
	}
	if _, err := s.Phone("bob").OpenURLLink("https://wxaurl.cn/abc"); !errors.Is(err, ErrUnknownCode) {
		t.Errorf("unknown link: %v", err)
	}
	c.Advance(200 * time.Second)
	if _, err := s.Phone("bob").OpenURLLink(made.Link); !errors.Is(err, ErrExpiredCode) {
		t.Errorf("expired link: %v", err)
	}
}

func TestURLLink_WhoMay(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addMini(t, s, func(m *MiniProgram) { m.Individual = true })
	token := tokenFor(t, s, miniApp)
	if got := callAPI(t, s, "POST", EndpointURLLink+"?access_token="+token, `{}`); got.ErrCode != 40002 || !strings.Contains(got.raw, "invalid grant_type") {
		t.Errorf("an individual's: %s", got.raw)
	}
	if got := callAPI(t, s, "GET", EndpointURLLink+"?access_token="+token, ``); got.ErrCode != 43002 {
		t.Errorf("GET: %s", got.raw)
	}
	if n := h.Calls(EndpointURLLink); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

func TestURLLink_NeedsARelease(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addMini(t, s, nil)
	target := EndpointURLLink + "?access_token=" + tokenFor(t, s, miniApp)
	h.Release()
	for _, body := range []string{`{"expire_type":1,"expire_interval":1}`, `{"expire_type":1,"expire_interval":1,"env_version":"trial"}`} {
		if got := callAPI(t, s, "POST", target, body); got.ErrCode != 85079 || !strings.Contains(got.raw, "miniprogram has no online release") {
			t.Errorf("before the release: %s", got.raw)
		}
	}
	h.Release(miniPath)
	if got := callAPI(t, s, "POST", target, `{"expire_type":1,"expire_interval":1}`); got.ErrCode != 0 {
		t.Errorf("after the release: %s", got.raw)
	}
}

// A server that runs for long forgets codes and links that are over.
func TestMini_ForgetsWhatIsOver(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addMini(t, s, nil)
	page := openMini(t, s, "bob", miniApp)
	callAPI(t, s, "POST", EndpointURLLink+"?access_token="+tokenFor(t, s, miniApp), `{"expire_type":1,"expire_interval":1}`)
	for range 10 {
		page.Login()
	}
	c.Advance(26 * time.Hour)
	page.Login()
	if len(s.mini.codes) != 1 || len(s.mini.links) != 0 {
		t.Errorf("%d codes and %d links are kept", len(s.mini.codes), len(s.mini.links))
	}
}
