// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const testAvatar = "https://thirdwx.qlogo.cn/mmopen/vi_32/1vZvI39NWFQ9XM4LtQpFrQJ1xlgZxx3w7bQxKARol6503Iuswjjn6nIGBiaycAjAtpujxyzYsrztuuICqIM5ibXQ/132"

func userInfoBody(nickname, avatar, extra string) string {
	n, _ := json.Marshal(nickname)
	a, _ := json.Marshal(avatar)
	return `{"openid":"` + testOpenID + `","nickname":` + string(n) + `,"sex":0,"province":"","city":"","country":"","headimgurl":` + string(a) + `,"privilege":["chinaunicom"]` + extra + `}`
}

// rawNickname is an answer with the nickname as it is, as WeChat sends it.
func rawNickname(nickname string) string {
	return strings.Replace(userInfoBody("NICKNAME", "", ""), "NICKNAME", nickname, 1)
}

func TestUserInfo(t *testing.T) {
	union := `,"unionid":"` + testUnion + `"`
	tests := []struct {
		name, body, union string // union is of the grant
		want              UserInfo
		err               error
	}{
		{"all", userInfoBody("小红 🌸", testAvatar, union), testUnion, UserInfo{testUnion, "小红 🌸", testAvatar}, nil},
		{"unionid here alone", userInfoBody("a", "", union), "", UserInfo{testUnion, "a", ""}, nil},
		{"unionid in the grant alone", userInfoBody("a", "", ""), testUnion, UserInfo{testUnion, "a", ""}, nil},
		{"neither", userInfoBody("", "", ""), "", UserInfo{}, nil},
		{"hostile nickname", userInfoBody("a\r\nX-User-Id: 1\x00\u202e\u200b", "", ""), "", UserInfo{"", "a  X-User-Id: 1", ""}, nil},
		{"raw \\x14 in the nickname", rawNickname("a\x14b"), "", UserInfo{"", "a b", ""}, nil},
		{"raw \\x07 at the end of the nickname", rawNickname("小红\x07"), "", UserInfo{"", "小红", ""}, nil},
		{"raw line break in the nickname", rawNickname("a\r\nb\tc"), "", UserInfo{"", "a  b c", ""}, nil},
		{"nickname of nothing else", rawNickname("\x00\x1f"), "", UserInfo{}, nil},
		{"raw control characters between the fields", strings.ReplaceAll(userInfoBody("a", "", ""), ",", "\x00,\x14"), "", UserInfo{"", "a", ""}, nil},
		// Were it removed, the backslash and the quote would join.
		{"raw control character after a backslash", rawNickname(`a\` + "\x14" + `","unionid":"` + testUnion), "", UserInfo{}, ErrUnavailable},
		{"raw control character in the openid", strings.Replace(userInfoBody("a", "", ""), testOpenID, testOpenID+"\x14", 1), "", UserInfo{}, ErrUnavailable},
		{"http avatar", userInfoBody("a", "http"+strings.TrimPrefix(testAvatar, "https"), ""), "", UserInfo{"", "a", testAvatar}, nil},
		{"another person", strings.Replace(userInfoBody("a", "", ""), testOpenID, "oOther", 1), "", UserInfo{}, ErrUnavailable},
		{"another unionid", userInfoBody("a", "", union), "oOther", UserInfo{}, ErrUnavailable},
		{"hostile unionid", userInfoBody("a", "", `,"unionid":"<b>"`), "", UserInfo{}, ErrUnavailable},
		{"not JSON", "<html>", "", UserInfo{}, ErrUnavailable},
		{"nickname of another type", strings.Replace(userInfoBody("a", "", ""), `"a"`, `{}`, 1), "", UserInfo{}, ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var seen []*http.Request
			c := snsClient(t, &seen, tt.body)
			got, err := c.UserInfo(t.Context(), testGrant(tt.union))
			if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(err, tt.err) {
				t.Errorf("error %v, UserInfo (-want +got):\n%s", err, diff)
			}
			want := url.Values{"access_token": {userToken}, "openid": {testOpenID}, "lang": {"zh_CN"}}
			if r := seen[0]; r.Method != http.MethodGet || r.URL.Path != "/sns/userinfo" || !cmp.Equal(r.URL.Query(), want) {
				t.Errorf("%s %s", r.Method, r.URL)
			}
		})
	}
}

func TestUserInfo_NotAskedFor(t *testing.T) {
	var seen []*http.Request
	c := snsClient(t, &seen, "{}")
	silent := testGrant("")
	silent.Scope = string(ScopeBase)
	for _, g := range []Grant{{}, silent, {OpenID: testOpenID, Scope: string(ScopeUserInfo)}} {
		if _, err := c.UserInfo(t.Context(), g); err == nil {
			t.Errorf("%+v: no error", g)
		}
	}
	if len(seen) != 0 {
		t.Errorf("%d calls", len(seen))
	}
}

func TestCleanNickname(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"Chinese", "小明", "小明"},
		{"family emoji", "👩‍👩‍👧", "👩‍👩‍👧"},
		{"emoji with a variation selector", "❤️", "❤️"},
		{"spaces", "　\t a \n b\u2028c ", "a   b c"},
		{"control characters", "a\x00\x1b[31m\u0085b", "a[31m b"},
		{"direction marks", "\u202eabc\u2066d\u200f", "abcd"},
		{"invisible", "\u200b\u2060\ufeff", ""},
		{"joiners alone", "\u200d\u200d", ""},
		{"private use", "a\ue13c", "a"},
		{"bad UTF-8", "a\xffb", "ab"},
		{"too long", strings.Repeat("明", 65), strings.Repeat("明", 64)},
		{"placeholder and markup stay text", "{env.SECRET}<b>", "{env.SECRET}<b>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := CleanNickname(tt.in); got != tt.want {
				t.Errorf("CleanNickname(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestCleanAvatar(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"real", testAvatar, testAvatar},
		{"older host", "http://wx.qlogo.cn/mmopen/x/0", "https://wx.qlogo.cn/mmopen/x/0"},
		{"upper case", "HTTPS://WX.QLOGO.CN/mmopen/X/0", "https://wx.qlogo.cn/mmopen/X/0"},
		{"none", "", ""},
		{"other host", "https://evil.example/a.png", ""},
		{"host as a suffix", "https://evilqlogo.cn/a", ""},
		{"host as a prefix", "https://wx.qlogo.cn.evil.example/a", ""},
		{"host as a user", "https://wx.qlogo.cn@evil.example/a", ""},
		{"user", "https://a@wx.qlogo.cn/a", ""},
		{"port", "https://wx.qlogo.cn:8443/a", ""},
		{"domain alone", "https://qlogo.cn/a", ""},
		{"empty label", "https://.qlogo.cn/a", ""},
		{"javascript", "javascript:alert(1)//wx.qlogo.cn", ""},
		{"data", "data:image/png;base64,AAAA", ""},
		{"no scheme", "//wx.qlogo.cn/a", ""},
		{"quote", `https://wx.qlogo.cn/a"onload=x`, "https://wx.qlogo.cn/a%22onload=x"},
		{"quote in the query", `https://wx.qlogo.cn/a?b"c`, ""},
		{"line break", "https://wx.qlogo.cn/a\r\nb", ""},
		{"fragment", "https://wx.qlogo.cn/a#b", "https://wx.qlogo.cn/a"},
		{"too long", "https://wx.qlogo.cn/" + strings.Repeat("a", 1024), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := cleanAvatar(tt.in); got != tt.want {
				t.Errorf("cleanAvatar(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

// FuzzUserInfo holds what is accepted to what pages and headers rely on.
func FuzzUserInfo(f *testing.F) {
	f.Add(userInfoBody("小红", testAvatar, ""))
	f.Add(userInfoBody("a\r\n\x00", "javascript:alert(1)", `,"unionid":"x"`))
	f.Add(`{"openid":"` + testOpenID + `","nickname":"\ud800","headimgurl":"https://wx.qlogo.cn/%zz"}`)
	f.Add(`{"errcode":"40003","errmsg":1}`)
	f.Add(rawNickname("a\x14\n\x00\x07" + `\` + "\x1f"))
	f.Fuzz(func(t *testing.T, body string) {
		var seen []*http.Request
		got, err := snsClient(t, &seen, body).UserInfo(t.Context(), testGrant(testUnion))
		if err != nil {
			if got != (UserInfo{}) {
				t.Errorf("%+v beside %v", got, err)
			}
			return
		}
		if got.UnionID != testUnion || !utf8.ValidString(got.Nickname) || utf8.RuneCountInString(got.Nickname) > maxNickname ||
			strings.ContainsAny(got.Nickname, "\r\n\t\x00\x7f\u202e") || CleanNickname(got.Nickname) != got.Nickname {
			t.Errorf("%+v", got)
		}
		checkAvatar(t, got.AvatarURL)
	})
}

func checkAvatar(t *testing.T, avatar string) {
	t.Helper()
	if avatar == "" {
		return
	}
	u, err := url.Parse(avatar)
	if err != nil || u.Scheme != "https" || !strings.HasSuffix(u.Host, avatarDomain) || u.User != nil ||
		strings.ContainsAny(avatar, "\"'<> \r\n") || cleanAvatar(avatar) != avatar {
		t.Errorf("avatar %q, %v", avatar, err)
	}
}

// FuzzExchange holds an accepted answer to what an identity must be.
func FuzzExchange(f *testing.F) {
	f.Add(exchangeBody(""))
	f.Add(exchangeBody(`,"is_snapshotuser":1`))
	f.Add(`{"openid":"a\u0000","access_token":1,"is_snapshotuser":"x"}`)
	f.Fuzz(func(t *testing.T, body string) {
		var answer exchangeAnswer
		if json.Unmarshal([]byte(body), &answer) != nil {
			return
		}
		g, err := answer.grant()
		if err == nil && (!openIDPattern.MatchString(g.OpenID) || answer.Snapshot != 0 || *g.token == "") {
			t.Errorf("accepted %+v", answer)
		}
		if err != nil && g != (Grant{}) {
			t.Errorf("%+v beside %v", g, err)
		}
	})
}
