// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	miniApp  = "wx00000000000000a1"
	miniPath = "pages/login/login"
)

func addMini(tb testing.TB, s *Server, change func(*MiniProgram)) *MiniProgramHandle {
	tb.Helper()
	m := MiniProgram{
		Account: Account{AppID: miniApp, Secret: testSecret},
		Pages:   []string{"pages/index/index", miniPath}, TrialPages: []string{"pages/new/new"}, Members: []string{"alice"},
	}
	if change != nil {
		change(&m)
	}
	h, err := s.AddMiniProgram(m)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func tokenFor(tb testing.TB, s *Server, appID string) string {
	tb.Helper()
	body := encodeJSON(credentials{"client_credential", appID, testSecret, false})
	return callAPI(tb, s, "POST", EndpointStableToken, string(body)).AccessToken
}

// makeMini returns the picture of a code, or the errcode.
func makeMini(tb testing.TB, s *Server, token, body string) (*httptest.ResponseRecorder, int) {
	tb.Helper()
	w := serve(tb, s, "POST", EndpointMiniCode+"?access_token="+token, body)
	if w.Code != http.StatusOK {
		tb.Fatalf("status %d", w.Code)
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "image/") {
		return w, 0
	}
	return w, decodeAnswer(tb, w).ErrCode
}

func decodeAnswer(tb testing.TB, w *httptest.ResponseRecorder) (a answer) {
	tb.Helper()
	a.raw = w.Body.String()
	if err := decodeJSON(w.Body.Bytes(), &a); err != nil {
		tb.Fatalf("answer %q: %v", a.raw, err)
	}
	return a
}

func TestMiniCode_Bodies(t *testing.T) {
	tests := []struct {
		name, body string
		want       int
		code       MiniCode // of a success; AppID is filled in
	}{
		{name: "least", body: `{"scene":"a"}`, code: MiniCode{Scene: "a", EnvVersion: "release"}},
		{name: "page", body: `{"scene":"a","page":"pages/login/login"}`, code: MiniCode{Scene: "a", Page: miniPath, EnvVersion: "release"}},
		{name: "32 of every kind", body: `{"scene":"!#$&'()*+,/:;=?@-._~abcXYZ01234"}`, code: MiniCode{Scene: "!#$&'()*+,/:;=?@-._~abcXYZ01234", EnvVersion: "release"}},
		{name: "trial, unchecked", body: `{"scene":"a","page":"pages/new/new","check_path":false,"env_version":"trial"}`, code: MiniCode{Scene: "a", Page: "pages/new/new", EnvVersion: "trial"}},
		{name: "narrow PNG", body: `{"scene":"a","width":280,"is_hyaline":true}`, code: MiniCode{Scene: "a", EnvVersion: "release"}},
		{name: "wide", body: `{"scene":"a","width":1280}`, code: MiniCode{Scene: "a", EnvVersion: "release"}},
		{name: "trial, checked against the released version", body: `{"scene":"a","page":"pages/new/new","env_version":"trial"}`, want: 41030},
		{name: "no scene", body: `{"page":"pages/login/login"}`, want: 40169},
		{name: "33 characters", body: `{"scene":"` + strings.Repeat("a", 33) + `"}`, want: 40169},
		{name: "form", body: `scene=a`, want: 40169},
		{name: "percent", body: `{"scene":"a%20b"}`, want: 40129},
		{name: "space", body: `{"scene":"a b"}`, want: 40129},
		{name: "Chinese", body: `{"scene":"场"}`, want: 40129},
		{name: "unknown page", body: `{"scene":"a","page":"pages/none/none"}`, want: 41030},
		{name: "leading slash", body: `{"scene":"a","page":"/pages/login/login"}`, want: 41030},
		{name: "query in the page", body: `{"scene":"a","page":"pages/login/login?a=b","check_path":false}`, want: 41030},
		{name: "scancode_time", body: `{"scene":"a","page":"pages/scancode_time"}`, want: 85096},
		{name: "version", body: `{"scene":"a","env_version":"beta"}`, want: 40097},
		{name: "too narrow", body: `{"scene":"a","width":279}`, want: 40097},
		{name: "too wide", body: `{"scene":"a","width":1281}`, want: 40097},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, Options{})
			h := addMini(t, s, nil)
			w, code := makeMini(t, s, tokenFor(t, s, miniApp), tt.body)
			if code != tt.want {
				t.Fatalf("answer %.200q, want errcode %d", w.Body, tt.want)
			}
			if tt.want != 0 {
				if a := decodeAnswer(t, w); !strings.Contains(a.ErrMsg, " rid: ") {
					t.Errorf("errmsg %q", a.ErrMsg)
				}
				return
			}
			content, err := ReadCode(w.Body.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.MiniCode(content)
			tt.code.AppID = miniApp
			if diff := cmp.Diff(tt.code, got); diff != "" || err != nil {
				t.Errorf("code (-want +got):\n%s%v", diff, err)
			}
			if diff := cmp.Diff([]string{content}, h.MiniCodes()); diff != "" {
				t.Errorf("MiniCodes (-want +got):\n%s", diff)
			}
		})
	}
}

// WeChat sends JPEG; without a background it is PNG.
func TestMiniCode_ContentType(t *testing.T) {
	s := newTestServer(t, Options{})
	addMini(t, s, nil)
	token := tokenFor(t, s, miniApp)
	for body, want := range map[string]string{`{"scene":"a"}`: "image/jpeg", `{"scene":"a","is_hyaline":true}`: "image/png"} {
		w, _ := makeMini(t, s, token, body)
		if got := w.Header().Get("Content-Type"); got != want || http.DetectContentType(w.Body.Bytes()) != want {
			t.Errorf("%s: %s (%s), want %s", body, got, http.DetectContentType(w.Body.Bytes()), want)
		}
	}
}

func TestMiniCode_WhoMay(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addMini(t, s, nil)
	addAccount(t, s, nil)
	token := tokenFor(t, s, miniApp)
	if a := callAPI(t, s, "GET", EndpointMiniCode+"?access_token="+token, ""); a.ErrCode != 43002 {
		t.Errorf("GET: %s", a.raw)
	}
	for name, tt := range map[string]struct {
		token string
		want  int
	}{
		"no token": {"", 41001}, "malformed": {"x", 40014}, "a service account's": {tokenFor(t, s, testApp), 48001}, "its own": {token, 0},
	} {
		if _, got := makeMini(t, s, tt.token, `{"scene":"a"}`); got != tt.want {
			t.Errorf("%s token: %d, want %d", name, got, tt.want)
		}
	}
	h.Release() // nothing
	if _, got := makeMini(t, s, token, `{"scene":"a"}`); got != 41030 {
		t.Errorf("nothing is released: %d, want 41030", got)
	}
	h.Release("pages/other/other")
	if _, got := makeMini(t, s, token, `{"scene":"a","page":"pages/other/other"}`); got != 0 {
		t.Errorf("a page of the new release: %d", got)
	}
	s.RevokeTokens(miniApp)
	if _, got := makeMini(t, s, token, `{"scene":"a"}`); got != 40001 {
		t.Errorf("superseded token: %d, want 40001", got)
	}
}

// 5,000 codes a minute; the next one gets the errcode of the daily quota.
func TestMiniCode_Quota(t *testing.T) {
	c := newClock()
	s := newTestServer(t, Options{Now: c.Now})
	addMini(t, s, nil)
	token := tokenFor(t, s, miniApp)
	s.mu.Lock()
	for range miniCodesPerMin - 1 {
		s.accounts[miniApp].quota.take(EndpointMiniCode, c.Now(), 1<<40, 0)
	}
	s.mu.Unlock()
	for i, want := range []int{0, 45009} {
		if _, got := makeMini(t, s, token, `{"scene":"a"}`); got != want {
			t.Errorf("code %d: %d, want %d", miniCodesPerMin+i, got, want)
		}
	}
	c.Advance(time.Minute)
	if _, got := makeMini(t, s, token, `{"scene":"a"}`); got != 0 {
		t.Errorf("in the next minute: %d", got)
	}
}

func TestMiniCode_Failures(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addMini(t, s, nil)
	token := tokenFor(t, s, miniApp)
	s.Fail(EndpointMiniCode, 1, Failure{ErrCode: 45009, ErrMsg: "reach max api daily quota limit"})
	if _, got := makeMini(t, s, token, `{"scene":"a"}`); got != 45009 {
		t.Errorf("errcode %d", got)
	}
	s.Fail(EndpointMiniCode, 1, Failure{ContentType: "text/plain"})
	w := serve(t, s, "POST", EndpointMiniCode+"?access_token="+token, `{"scene":"a"}`)
	if w.Header().Get("Content-Type") != "text/plain" || !strings.HasPrefix(w.Body.String(), "\xff\xd8") {
		t.Errorf("answer %s %.20q", w.Header(), w.Body)
	}
	if n := h.Calls(EndpointMiniCode); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

// Nobody but WeChat can make a code: a changed scene, a code of another WeChat
// and an official account's code are unknown.
func TestMiniCode_CannotBeForged(t *testing.T) {
	s, other := newTestServer(t, Options{}), newTestServer(t, Options{})
	h, foreign := addMini(t, s, nil), addMini(t, other, nil)
	makeMini(t, s, tokenFor(t, s, miniApp), `{"scene":"mine"}`)
	makeMini(t, other, tokenFor(t, other, miniApp), `{"scene":"mine"}`)
	content := h.MiniCodes()[0]
	for name, forged := range map[string]string{
		"scene": strings.Replace(content, "mine", "them", 1), "cut": content[:len(content)-1], "no seal": strings.Split(content, "&sig=")[0],
		"elsewhere": foreign.MiniCodes()[0], "host": strings.Replace(content, "weixin.qq.com", "evil.example", 1), "empty": "",
	} {
		if _, err := s.Phone("bob").ScanMiniCode(forged); !errors.Is(err, ErrUnknownCode) {
			t.Errorf("%s: %v, want ErrUnknownCode", name, err)
		}
	}
	if _, err := s.Phone("bob").Scan(t.Context(), content); !errors.Is(err, ErrUnknownCode) {
		t.Errorf("scanned as an official account's: %v", err)
	}
}

// The pictures must be readable whatever is in them.
func TestReadCode(t *testing.T) {
	s := newTestServer(t, Options{QRBase: "http://192.168.100.100:65535"})
	h := addMini(t, s, nil)
	token := tokenFor(t, s, miniApp)
	for i := range 20 {
		width := []string{"280", "430"}[i%2]
		w, _ := makeMini(t, s, token, `{"scene":"`+randomString(32)+`","page":"pages/login/login","width":`+width+`}`)
		got, err := ReadCode(w.Body.Bytes())
		if codes := h.MiniCodes(); err != nil || got != codes[len(codes)-1] {
			t.Errorf("width %s: %q, %v", width, got, err)
		}
	}
	for _, bad := range [][]byte{nil, []byte("GIF89a"), mustPicture(t)} {
		if got, err := ReadCode(bad); err == nil {
			t.Errorf("read %q out of a picture without a code", got)
		}
	}
}

// mustPicture is a code with its middle wiped out.
func mustPicture(t *testing.T) []byte {
	t.Helper()
	data, _, err := drawMiniCode("x", 280, true)
	if err != nil {
		t.Fatal(err)
	}
	return data[:len(data)/2]
}

func TestPhone_ScanMiniCode(t *testing.T) {
	s := newTestServer(t, Options{})
	h := addMini(t, s, nil)
	token := tokenFor(t, s, miniApp)
	scan := func(person, body string) (*MiniPage, error) {
		t.Helper()
		if _, code := makeMini(t, s, token, body); code != 0 {
			t.Fatalf("errcode %d", code)
		}
		codes := h.MiniCodes()
		return s.Phone(person).ScanMiniCode(codes[len(codes)-1])
	}
	page, err := scan("bob", `{"scene":"a=1&b/c!","page":"pages/login/login"}`)
	if err != nil {
		t.Fatal(err)
	}
	if page.AppID != miniApp || page.Path != miniPath || page.EnvVersion != "release" || page.Enter != EnterByCode {
		t.Errorf("page %+v", page)
	}
	// WeChat encodes the scene; the page has to decode it.
	if got := page.Query["scene"]; got != "a%3D1%26b%2Fc!" || page.Scene() != "a=1&b/c!" {
		t.Errorf("query.scene %q, decoded %q", got, page.Scene())
	}
	if page, err = scan("bob", `{"scene":"a"}`); err != nil || page.Path != "pages/index/index" {
		t.Errorf("without a page: %+v, %v, want the home page", page, err)
	}
	trial := `{"scene":"a","page":"pages/new/new","check_path":false,"env_version":"trial"}`
	if _, err := scan("bob", trial); !errors.Is(err, ErrNotMember) {
		t.Errorf("a stranger opens the trial version: %v", err)
	}
	if page, err = scan("alice", trial); err != nil || page.EnvVersion != "trial" {
		t.Errorf("a member opens the trial version: %+v, %v", page, err)
	}
	if _, err := scan("alice", `{"scene":"a","page":"pages/gone/gone","check_path":false}`); !errors.Is(err, ErrNoPage) {
		t.Errorf("a page that is not there: %v", err)
	}
	if _, err := scan("alice", `{"scene":"a","check_path":false,"env_version":"develop"}`); !errors.Is(err, ErrNoPage) {
		t.Errorf("a version that is not there: %v", err)
	}
}

func TestPhone_ScanPicture(t *testing.T) {
	s := newTestServer(t, Options{})
	addMini(t, s, nil)
	w, _ := makeMini(t, s, tokenFor(t, s, miniApp), `{"scene":"saved"}`)
	page, err := s.Phone("bob").ScanPicture(w.Body.Bytes())
	if err != nil || page.Scene() != "saved" || page.Enter != EnterByAlbum {
		t.Errorf("page %+v, %v", page, err)
	}
}

func TestEncodeURIComponent(t *testing.T) {
	for in, want := range map[string]string{
		"AZaz09-_.!~*'()": "AZaz09-_.!~*'()", "a b+c": "a%20b%2Bc", "&=/?#@:;,$": "%26%3D%2F%3F%23%40%3A%3B%2C%24", "场": "%E5%9C%BA", "%2A": "%252A",
	} {
		if got := encodeURIComponent(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAddMiniProgram_Refuses(t *testing.T) {
	s := newTestServer(t, Options{})
	for name, m := range map[string]MiniProgram{
		"leading slash": {Account: Account{AppID: "a", Secret: "b"}, Pages: []string{"/pages/a"}},
		"query":         {Account: Account{AppID: "a", Secret: "b"}, TrialPages: []string{"pages/a?b"}},
		"no secret":     {Account: Account{AppID: "a"}},
	} {
		if _, err := s.AddMiniProgram(m); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	addMini(t, s, nil)
	if _, err := s.AddMiniProgram(MiniProgram{Account: Account{AppID: miniApp, Secret: "x"}}); err == nil {
		t.Error("registered twice")
	}
}

// wx.request has the mini program's Referer and WeChat's user agent, but neither
// cookies nor an Origin.
func TestMiniPage_Client(t *testing.T) {
	var seen []http.Header
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Clone())
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
	}))
	defer site.Close()
	s := newTestServer(t, Options{})
	addMini(t, s, nil)
	page, err := s.Phone("bob").OpenMiniProgram(miniApp)
	if err != nil {
		t.Fatal(err)
	}
	client := page.Client()
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), "POST", site.URL, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	h := seen[1]
	if h.Get("Referer") != "https://servicewechat.com/"+miniApp+"/1/page-frame.html" || h.Get("Content-Type") != "application/json" ||
		!strings.Contains(h.Get("User-Agent"), "MicroMessenger") || h.Get("Cookie") != "" || h.Get("Origin") != "" {
		t.Errorf("headers %v", h)
	}
}

func FuzzMiniCode(f *testing.F) {
	f.Add(`{"scene":"a","page":"pages/login/login"}`, "http://weixin.qq.com/wxacode?appid=a&sig=b")
	f.Add(`{"scene":"%","width":1e99}`, "http://weixin.qq.com/wxacode?&sig=")
	f.Fuzz(func(t *testing.T, body, content string) {
		s := newTestServer(t, Options{})
		h := addMini(t, s, nil)
		if _, err := s.Phone("bob").ScanMiniCode(content); err == nil {
			t.Errorf("opened %q, which nobody made", content)
		}
		if _, code := makeMini(t, s, tokenFor(t, s, miniApp), body); code != 0 {
			return
		}
		code, err := s.MiniCode(h.MiniCodes()[0])
		if err != nil || code.Scene == "" || len(code.Scene) > 32 {
			t.Errorf("made %+v, %v", code, err)
		}
	})
}

func FuzzReadCode(f *testing.F) {
	for _, hyaline := range []bool{true, false} {
		data, _, err := drawMiniCode("http://weixin.qq.com/wxacode?a=b", 280, hyaline)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(_ *testing.T, picture []byte) {
		_, _ = ReadCode(picture) // must not panic
	})
}

func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return q.Encode()
}
