// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal"
	"github.com/caddy-wechat/caddy-wechat/session"
	"github.com/caddy-wechat/caddy-wechat/store"
	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// The defaults of design and documentation.
const (
	defaultTTL   = 7 * 24 * time.Hour
	defaultIdle  = 24 * time.Hour
	defaultGrace = 5 * time.Minute
	defaultQRTTL = 5 * time.Minute
	minQRTTL     = 30 * time.Second
	maxQRTTL     = 30 * time.Minute
)

// OfficialAccount is a verified service account (已认证的服务号) or a test account (测试号).
type OfficialAccount struct {
	// The AppID, such as `wx0123456789abcdef`.
	AppID string `json:"app_id"`

	// The AppSecret. Write it as a placeholder, `{env.…}` or `{file.…}`.
	Secret string `json:"secret"`

	// The Token of WeChat's message push settings (消息与事件推送). A placeholder, too.
	Token string `json:"token"`

	// The EncodingAESKey of those settings. Where it is set, pushes that are not
	// encrypted are refused. Default: none, for test accounts.
	AESKey string `json:"aes_key,omitempty"`

	// How long a QR code can be scanned, from `30s` to `30m`. Default: `5m`.
	QRTTL caddy.Duration `json:"qr_ttl,omitempty"`

	// What the person who scans must do: `number` (choose the number that the
	// browser shows), `tap` (tap yes) or `off` (nothing: the scan signs in), which
	// cannot be had with ChatCode. Default: `number`.
	Confirm login.Confirm `json:"confirm,omitempty"`

	// Whether pages open inside WeChat sign in by its own authorization
	// (网页授权), and by which scope: `snsapi_base` (silently, the openid only)
	// or `snsapi_userinfo` (asks, and brings name and avatar). Default: `off`.
	WebOAuth string `json:"web_oauth,omitempty"`

	// Whether visitors may sign in by sending a code from the page to the
	// account. Default: false.
	ChatCode bool `json:"chat_code,omitempty"`

	// An image file of the account's own QR code, shown beside that code.
	QRImage string `json:"qr_image,omitempty"`

	// Whether nobody is told in the chat of a new sign-in. Default: false.
	NotifyOff bool `json:"notify_off,omitempty"`

	// Messages to use in place of the Chinese ones that people get in the chat.
	Replies login.Replies `json:"replies,omitzero"`

	// Where this block stands in the Caddyfile. Set by the Caddyfile adapter.
	Source string `json:"source,omitempty"`
}

// check says what is wrong with the account's settings and applies the defaults.
func (o *OfficialAccount) check() error {
	o.QRTTL = cmp.Or(o.QRTTL, caddy.Duration(defaultQRTTL))
	o.Confirm = cmp.Or(o.Confirm, login.ConfirmNumber)
	o.WebOAuth = cmp.Or(o.WebOAuth, off)
	if err := checkQRTTL(o.QRTTL); err != nil {
		return err
	}
	if !slices.Contains(webOAuths, o.WebOAuth) {
		return fmt.Errorf("web_oauth %q is unknown: use %s", o.WebOAuth, strings.Join(webOAuths, ", "))
	}
	if o.QRImage != "" && !o.ChatCode {
		return errors.New("qr_image is shown beside the code of chat_code: write chat_code on, or remove it")
	}
	if o.ChatCode && o.Confirm == login.ConfirmOff {
		// Whoever mistypes a digit, or is talked into sending six, would be signed in
		// at once, in whatever browser shows them.
		return errors.New("chat_code on with confirm off would sign strangers in by one mistyped digit: write confirm number or confirm tap, or chat_code off")
	}
	switch o.Confirm {
	case login.ConfirmNumber, login.ConfirmTap, login.ConfirmOff:
		return o.checkReplies()
	default:
		return fmt.Errorf("confirm %q is unknown: use number, tap or off", o.Confirm)
	}
}

const off = "off"

// webOAuths are the values of web_oauth.
var webOAuths = []string{off, string(wechat.ScopeBase), string(wechat.ScopeUserInfo)}

func checkQRTTL(d caddy.Duration) error {
	if ttl := time.Duration(d); ttl < minQRTTL || ttl > maxQRTTL {
		return fmt.Errorf("qr_ttl %v is out of range: use %v to %v", ttl, minQRTTL, maxQRTTL)
	}
	return nil
}

// maxQRImage bounds, in bytes, an image that goes into every login page.
const maxQRImage = 200 << 10

// image reads the account's QR code.
func (o *OfficialAccount) image() (string, error) {
	if o.QRImage == "" {
		return "", errors.New("chat_code needs the account's own QR code: set qr_image to its file; WeChat's console offers it (设置与开发 → 账号设置 → 二维码)")
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(o.QRImage, true, true)
	if err != nil {
		return "", fmt.Errorf("qr_image: %w", err)
	}
	file, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", fmt.Errorf("qr_image: %w", err)
	}
	defer file.Close()
	image, err := io.ReadAll(io.LimitReader(file, maxQRImage+1))
	if err != nil {
		return "", fmt.Errorf("qr_image: %w", err)
	}
	kind := http.DetectContentType(image)
	if !slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp"}, kind) {
		return "", fmt.Errorf("qr_image: %s is no PNG, JPEG, GIF or WebP image", path)
	}
	if len(image) > maxQRImage {
		return "", fmt.Errorf("qr_image: %s is larger than %d KiB: make the image smaller", path, maxQRImage>>10)
	}
	return login.NewImage(image), nil
}

// MiniProgram is a mini program (小程序) with a login page.
type MiniProgram struct {
	// The AppID, such as `wx0123456789abcdef`.
	AppID string `json:"app_id"`

	// The AppSecret, as a placeholder.
	Secret string `json:"secret"`

	// The login page of the mini program. Default: `pages/login/login`.
	Page string `json:"page,omitempty"`

	// Which version of the mini program opens: `release`, `trial` or `develop`.
	// Default: `release`.
	EnvVersion string `json:"env_version,omitempty"`

	// How long a code can be scanned, from `30s` to `30m`. Default: `5m`.
	QRTTL caddy.Duration `json:"qr_ttl,omitempty"`

	// What the person who scans must do: `number` or `tap`. Default: `number`.
	Confirm login.Confirm `json:"confirm,omitempty"`

	// Whether the browser of a phone is offered no link that opens the mini
	// program, which an individual's mini program cannot have. Default: false.
	LinksOff bool `json:"links_off,omitempty"`

	// Where this block stands in the Caddyfile. Set by the Caddyfile adapter.
	Source string `json:"source,omitempty"`
}

func (m *MiniProgram) check() error {
	m.Page = cmp.Or(m.Page, "pages/login/login")
	m.EnvVersion = cmp.Or(m.EnvVersion, string(wechat.EnvRelease))
	m.QRTTL = cmp.Or(m.QRTTL, caddy.Duration(defaultQRTTL))
	m.Confirm = cmp.Or(m.Confirm, login.ConfirmNumber)
	if m.Confirm != login.ConfirmNumber && m.Confirm != login.ConfirmTap {
		return fmt.Errorf("confirm %q is unknown: use number or tap", m.Confirm)
	}
	if strings.HasPrefix(m.Page, "/") || strings.ContainsAny(m.Page, "? #") {
		return fmt.Errorf("page %q cannot be used: write it as app.json does, like pages/login/login, without a leading slash or a query", m.Page)
	}
	if !slices.Contains(envVersions, m.EnvVersion) {
		return fmt.Errorf("env_version %q is unknown: use %s", m.EnvVersion, strings.Join(envVersions, ", "))
	}
	return checkQRTTL(m.QRTTL)
}

// envVersions are the values of env_version.
var envVersions = []string{string(wechat.EnvRelease), string(wechat.EnvTrial), string(wechat.EnvDevelop)}

// Website is a website application (网站应用) of WeChat's open platform.
type Website struct {
	// The AppID, such as `wx0123456789abcdef`.
	AppID string `json:"app_id"`

	// The AppSecret, as a placeholder.
	Secret string `json:"secret"`

	// Where this block stands in the Caddyfile. Set by the Caddyfile adapter.
	Source string `json:"source,omitempty"`
}

// checkReplies refuses messages with which nobody could sign in.
func (o *OfficialAccount) checkReplies() error {
	if text := o.Replies.Confirm; text != "" && o.Confirm != login.ConfirmOff && !strings.Contains(text, "{link}") {
		return errors.New("replies: confirm has no {link}, without which nobody can confirm: put it in, like <a href=\"{link}\">…</a>")
	}
	return nil
}

// resolve replaces the placeholders of the account's secrets.
func (o *OfficialAccount) resolve() error {
	for _, secret := range []struct {
		name     string
		value    *string
		required bool
	}{
		{"secret", &o.Secret, true},
		{"token", &o.Token, true},
		{"aes_key", &o.AESKey, false},
	} {
		if *secret.value == "" && !secret.required {
			continue
		}
		var err error
		if *secret.value, err = resolveSecret(*secret.value); err != nil {
			return fmt.Errorf("%s: %w", secret.name, err)
		}
	}
	return nil
}

// resolveSecret replaces the placeholders in a secret. One that comes out empty
// is an error: an empty key verifies whatever an attacker signs with it.
func resolveSecret(raw string) (string, error) {
	if raw == "" {
		return "", errors.New("it is missing: write it as {env.NAME} or {file./path}")
	}
	value, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
	value = strings.TrimSpace(value)
	if err != nil || value == "" {
		return "", fmt.Errorf("%s resolves to nothing: set that environment variable, or make that file readable and not empty", placeholderOf(raw))
	}
	return value, nil
}

// placeholderOf is the part of a secret that may be shown.
func placeholderOf(raw string) string {
	if strings.HasPrefix(raw, "{") && strings.IndexByte(raw, '}') == len(raw)-1 {
		return raw
	}
	return "the value"
}

// SessionConfig says how long sessions live.
type SessionConfig struct {
	// How long a session lives, however busy it is. Default: `7d`.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// After how long without a request a session ends. Default: `24h`.
	Idle caddy.Duration `json:"idle,omitempty"`

	// How long signed-in visitors pass while the store cannot be asked. Default: `5m`.
	Grace caddy.Duration `json:"grace,omitempty"`

	// The name of the session cookie, to which `__Host-` or `__Secure-` is
	// added over TLS. Default: `wechat_session`.
	Cookie string `json:"cookie,omitempty"`

	// A domain whose subdomains share one login. Default: none, the login is
	// for one host.
	Domain string `json:"domain,omitempty"`

	// The secrets that sign cookies, of at least 32 bytes, newest first: the
	// first signs, all verify. Default: one that is made once and kept in the store.
	SigningKeys []string `json:"signing_keys,omitempty"`
}

// manager returns the settings for sessions kept in s.
func (c *SessionConfig) manager(s store.Store) (session.Config, error) {
	c.TTL = cmp.Or(c.TTL, caddy.Duration(defaultTTL))
	c.Idle = cmp.Or(c.Idle, min(caddy.Duration(defaultIdle), c.TTL))
	c.Grace = cmp.Or(c.Grace, caddy.Duration(defaultGrace))
	c.Cookie = cmp.Or(c.Cookie, portal.DefaultCookie)
	settings := session.Config{TTL: time.Duration(c.TTL), Idle: time.Duration(c.Idle), Grace: time.Duration(c.Grace), Keys: session.StoredKeys(s)}
	if c.TTL < 0 || c.Idle < 0 || c.Grace < 0 || c.Idle > c.TTL {
		return settings, fmt.Errorf("ttl %v and idle %v do not fit: both must be positive, and idle not longer than ttl", settings.TTL, settings.Idle)
	}
	if err := checkCookie(c.Cookie, c.Domain); err != nil {
		return settings, err
	}
	if len(c.SigningKeys) == 0 {
		return settings, nil
	}
	keys := make([]string, len(c.SigningKeys))
	for i, raw := range c.SigningKeys {
		var err error
		if keys[i], err = resolveSecret(raw); err != nil {
			return settings, fmt.Errorf("signing_key %d: %w", i+1, err)
		}
	}
	var err error
	settings.Keys, err = session.FixedKeys(keys...)
	return settings, err
}

func checkCookie(name, domain string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	if strings.Trim(name, letters) != "" || strings.HasPrefix(name, "__") || len(name) > 64 || name == portal.BrowserCookie {
		return fmt.Errorf("cookie %q cannot be used: write up to 64 letters, digits, _ and -, without the prefix __Host-, which is added over TLS, and not %s, which is taken", name, portal.BrowserCookie)
	}
	if domain != "" && (!strings.Contains(domain, ".") || strings.HasPrefix(domain, ".") || strings.ContainsAny(domain, "/:;, *\"")) {
		return fmt.Errorf("domain %q cannot be used: write it like example.com", domain)
	}
	return nil
}

// checkURLs says which of WeChat's base URLs cannot be one.
func (a *App) checkURLs() error {
	for name, raw := range map[string]string{"api_url": a.APIURL, "mp_url": a.MPURL, "open_url": a.OpenURL} {
		if raw == "" {
			continue
		}
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%s %q cannot be used: write it like https://api.weixin.qq.com", name, raw)
		}
	}
	return nil
}

// mistake is an error in the Caddyfile and where it was made.
type mistake struct {
	source string
	err    error
}

func (m *mistake) Error() string { return m.source + ": " + m.err.Error() }

func (m *mistake) Unwrap() error { return m.err }

// at says where in the Caddyfile an error was made, unless a smaller block has.
func at(source string, err error) error {
	if _, placed := errors.AsType[*mistake](err); placed || source == "" {
		return err
	}
	return &mistake{source, err}
}
