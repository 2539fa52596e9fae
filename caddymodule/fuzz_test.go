// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-wechat/caddy-wechat/store/embedded"
)

// FuzzCaddyfile reads any text as our two blocks and provisions what comes of it.
// There may be an error, and there may be no panic, nothing left in the pools, and
// no file made.
func FuzzCaddyfile(f *testing.F) {
	account := "official_account wx1 {\nsecret {env.WECHAT_SECRET}\ntoken {env.WECHAT_TOKEN}\n}\n"
	users := "users {\nregistration open\nallow email a@b\n}\n"
	for _, seed := range [][2]string{
		{"wechat {\n" + account + users + "}", "wechat_auth"},
		{"wechat {\n" + account + users + "store embedded /x\nlimit attempts 30/1m\nsession {\nttl 1h\nidle 30m\n}\n}", "wechat_auth {\nprefix /x\nheaders {\nX-User-Id id\n}\n}"},
		{"wechat {\n" + account + users + "limit attempts 1/1ns\n}", "wechat_auth {\nheaders off\noptional\npublic_url https://example.com\n}"},
		{"wechat {\nofficial_account", "wechat_auth {\nmethods"},
		{"wechat {\nstore", "wechat_auth {\nheaders {\nX"},
		{"wechat {\n" + account + users + "session {\nsigning_key {env.SIGNING_KEY}\ncookie a\ndomain a.b\n}\n}", "wechat_auth {\naccounts wx1\nmethods official_qr\n}"},
		{"wechat {\n" + account + users + "store redis {\naddress 127.0.0.1:1\nusername u\npassword {env.REDIS_PASSWORD}\ndb 3\nkey_prefix a:\ntls {\nserver_name a.b\n}\n}\n}", "wechat_auth"},
		{"wechat {\n" + account + users + "store redis {\naddress 127.0.0.1:1 [::1]:2\nmaster m\nsentinel_username u\nsentinel_password p\ntls\n}\n}", "wechat_auth"},
		{"wechat {\n" + account + users + "store redis {\naddress 127.0.0.1:1 127.0.0.1:2\ncluster\n}\n}", "wechat_auth"},
		{"wechat {\n" + account + users + "store redis {\naddress {env.REDIS_URL}\ntls {\nca /no/such\ncertificate a b\n}\n}\n}", "wechat_auth"},
		{"wechat {\nstore redis {\ntls {\ncertificate", "wechat_auth"},
		{"wechat {\n" + account + "users {\nregistration approval\nrole a email a@b.c\nbind email {\nsender smtp {\nhost h\nport 465\nusername u\npassword {env.SMTP_PASSWORD}\nfrom a@b.c\nsubject {code}\nbody {code}\ntimeout 5s\n}\n}\nask_name\nunfollow revoke\n}\nlimit codes 1/1s\n}", "wechat_auth {\nrequire role a b\nadmin role c\n}"},
		{"wechat {\n" + account + "users {\nregistration open\nbind phone {\nsender webhook {\nurl http://127.0.0.1/\nbearer {env.SMS_KEY}\nheader X-A b\nbody `{\"a\":\"{to}{code}\"}`\nsuccess a.0 b\n}\n}\n}\n}", "wechat_auth"},
		{"wechat {\nusers {\nbind email {\nsender", "wechat_auth {\nrequire role"},
		{"wechat {\nusers {\nbind phone {\nsender webhook {\nheader a", "wechat_auth {\nadmin"},
		{"", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, appText, handlerText string) {
		app, handler := new(App), new(Handler)
		if app.UnmarshalCaddyfile(caddyfile.NewTestDispenser(appText)) != nil || handler.UnmarshalCaddyfile(caddyfile.NewTestDispenser(handlerText)) != nil {
			return
		}
		config := new(caddy.Config)
		quieten(config)
		config.AppsRaw = caddy.ModuleMap{"wechat": caddyconfig.JSON(app, nil), "http": httpApp(t, handler)}
		_ = caddy.Validate(config)
		wantPools(t, "after provisioning", 0, 0, 0)
		if _, err := os.Stat(filepath.Join(caddy.AppDataDir(), "wechat", embedded.FileName)); err == nil {
			t.Error("provisioning opens the store")
		}
	})
}

// httpApp is the http app with one site that has the handler.
func httpApp(t testing.TB, handler *Handler) json.RawMessage {
	t.Helper()
	return caddyconfig.JSON(map[string]any{"servers": map[string]any{"s": map[string]any{
		"listen":          []string{"127.0.0.1:8080"},
		"automatic_https": map[string]any{"disable": true},
		"routes": []any{map[string]any{
			"match":  []any{map[string]any{"host": []string{"example.com"}}},
			"handle": []any{caddyconfig.JSONModuleObject(handler, "handler", "wechat_auth", nil)},
		}},
	}}}, nil)
}
