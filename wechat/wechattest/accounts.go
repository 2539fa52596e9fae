// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Kind is the type of an account; it decides what the account may call.
type Kind int

// The kinds of account. WeChat renamed 订阅号 to 公众号 in 2025.
const (
	VerifiedService      Kind = iota // 已认证服务号: may create QR codes
	TestAccount                      // 测试号: QR codes, plaintext pushes only, about a tenth of the quotas
	UnverifiedService                // 未认证服务号, or one whose yearly re-verification lapsed
	PersonalSubscription             // 个人公众号 (原订阅号)
	VerifiedSubscription             // 企业认证公众号
	VerifiedMiniProgram              // 认证小程序
	Website                          // 网站应用
)

// Mode is how pushes to an account are protected.
type Mode int

// The modes of message push.
const (
	Plain      Mode = iota // 明文模式
	Compatible             // 兼容模式: the plain fields and Encrypt together
	Secure                 // 安全模式: Encrypt only
)

// Account is one WeChat app as its owner configured it in WeChat's console.
type Account struct {
	AppID  string
	Secret string
	// OriginalID is the gh_… name in pushes. Default: a random one.
	OriginalID string
	// Name is what a phone shows. Default: AppID.
	Name string
	Kind Kind
	// Token (3-32 letters and digits) signs pushes. It must be set if PushURL is.
	Token string
	// AESKey is the EncodingAESKey, 43 letters and digits, for Compatible and Secure.
	AESKey string
	Mode   Mode
	// PushURL receives messages and events. Any port is allowed here; WeChat
	// allows 80 and 443 only. Empty: nothing is pushed.
	PushURL string
	// Unverified says that PushURL has not passed [Server.VerifyURL] yet: WeChat
	// then pushes nothing. By default the URL counts as verified unseen.
	Unverified bool
	// IPWhitelist holds addresses and CIDR ranges that may ask for tokens.
	// Empty: any may.
	IPWhitelist []string
	// SecretFrozen makes the token endpoints answer 40243.
	SecretFrozen bool
	// JSON pushes JSON instead of XML. For mini programs and websites only.
	JSON bool
	// CallbackDomain is the host to which people may be led back from an
	// authorisation: 授权回调域 of a website, 网页授权域名 of a service account.
	// Any host is allowed here, and one with a port must be met with the port;
	// WeChat allows neither IP addresses nor ports. Empty: none.
	CallbackDomain string
	// OpenPlatform names the account of the open platform (开放平台) that the app
	// is bound to: apps that share it see the same unionid of a person. Empty:
	// none, but for a website, which cannot do without and gets one of its own.
	OpenPlatform string
}

// account is an Account with its state; all of it is guarded by Server.mu.
type account struct {
	Account
	cardID         string // names the account's own QR code
	plain          tokenLine
	stable         stableLine
	issued         []*issuedToken
	quota          quota
	calls          map[string]int
	permanentCodes int
}

// AccountHandle is a registered account.
type AccountHandle struct {
	server *Server
	appID  string
}

var (
	tokenPattern  = regexp.MustCompile(`^[A-Za-z0-9]{3,32}$`)
	aesKeyPattern = regexp.MustCompile(`^[A-Za-z0-9]{43}$`)
)

// AddAccount registers an account. It refuses a configuration that WeChat's
// console refuses, and an app id that is registered already.
func (s *Server) AddAccount(a Account) (*AccountHandle, error) {
	a = a.withDefaults()
	if err := a.validate(); err != nil {
		return nil, fmt.Errorf("adding account %s: %w", a.AppID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[a.AppID] != nil {
		return nil, fmt.Errorf("adding account %s: the app id is registered already", a.AppID)
	}
	s.accounts[a.AppID] = &account{Account: a, cardID: randomString(28), calls: map[string]int{}}
	s.version++
	return &AccountHandle{server: s, appID: a.AppID}, nil
}

// Configure changes the account at once, as WeChat's console does. The app id stays.
func (h *AccountHandle) Configure(change func(*Account)) error {
	s := h.server
	s.mu.Lock()
	defer s.mu.Unlock()
	app := s.accounts[h.appID]
	a := app.Account
	a.IPWhitelist = slices.Clone(a.IPWhitelist)
	change(&a)
	a.AppID = h.appID
	a = a.withDefaults()
	if err := a.validate(); err != nil {
		return fmt.Errorf("configuring account %s: %w", h.appID, err)
	}
	app.Account = a
	s.version++
	return nil
}

// Calls returns how many requests of this account an endpoint has had.
func (h *AccountHandle) Calls(endpoint string) int {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	return h.server.accounts[h.appID].calls[endpoint]
}

// CardURL returns the content of the account's own QR code, which carries no
// scene: a person who scans it follows the account plainly.
func (h *AccountHandle) CardURL() string {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	return h.server.opts.QRBase + "/r/" + h.server.accounts[h.appID].cardID
}

func (a Account) withDefaults() Account {
	if a.OriginalID == "" {
		a.OriginalID = "gh_" + randomHex(6)
	}
	if a.Name == "" {
		a.Name = a.AppID
	}
	if a.Kind == Website && a.OpenPlatform == "" {
		a.OpenPlatform = "of " + a.AppID
	}
	return a
}

func (a Account) validate() error {
	switch {
	case a.AppID == "" || a.Secret == "":
		return errors.New("app id and secret must be set")
	case !strings.HasPrefix(a.OriginalID, "gh_"):
		return errors.New("the original id must start with gh_")
	case a.JSON && a.followable():
		return errors.New("official accounts are pushed XML only")
	case a.Kind == TestAccount && a.Mode != Plain:
		return errors.New("a test account is pushed plaintext only")
	case a.Mode != Plain && !aesKeyPattern.MatchString(a.AESKey):
		return errors.New("the AES key must be 43 letters and digits in this mode")
	case a.PushURL != "" && !tokenPattern.MatchString(a.Token):
		return errors.New("the token must be 3 to 32 letters and digits")
	}
	if err := a.validateOAuth(); err != nil {
		return err
	}
	for _, allowed := range a.IPWhitelist {
		if _, err := parsePrefix(allowed); err != nil {
			return fmt.Errorf("reading IP whitelist entry %q: %w", allowed, err)
		}
	}
	return validatePushURL(a.PushURL)
}

func validatePushURL(raw string) error {
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("the push URL must start with http:// or https:// and name a host")
	}
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return addr.Prefix(addr.BitLen())
}

func (a Account) allowsIP(ip netip.Addr) bool {
	return len(a.IPWhitelist) == 0 || slices.ContainsFunc(a.IPWhitelist, func(s string) bool {
		p, err := parsePrefix(s)
		return err == nil && p.Contains(ip)
	})
}

// followable reports whether a person can follow the account and chat with it.
func (a Account) followable() bool { return a.Kind != VerifiedMiniProgram && a.Kind != Website }

// mayCreateQRCodes follows the permission table: verified service accounts and
// test accounts only.
func (a Account) mayCreateQRCodes() bool { return a.Kind == VerifiedService || a.Kind == TestAccount }

// beijing is where WeChat's day begins (the documents do not name the zone).
var beijing = time.FixedZone("UTC+8", 8*60*60)

// quota counts calls for a day and for a minute.
type quota struct {
	day, month string
	minute     int64
	daily      map[string]int
	inMinute   map[string]int
	clears     int
}

// take counts one call, unless that would exceed a limit: then it returns the
// errcode. perMinute of 0 means no such limit.
func (q *quota) take(what string, now time.Time, perDay, perMinute int) (errcode int) {
	q.roll(now)
	switch {
	case q.daily[what] >= perDay:
		return 45009
	case perMinute > 0 && q.inMinute[what] >= perMinute:
		return 45011
	}
	q.daily[what]++
	q.inMinute[what]++
	return 0
}

func (q *quota) roll(now time.Time) {
	if day := now.In(beijing).Format(time.DateOnly); day != q.day {
		q.day, q.daily = day, map[string]int{}
	}
	if month := now.In(beijing).Format("2006-01"); month != q.month {
		q.month, q.clears = month, 0
	}
	if minute := now.Unix() / 60; minute != q.minute {
		q.minute, q.inMinute = minute, map[string]int{}
	}
}

// clear resets the daily counters, ten times a month.
func (q *quota) clear(now time.Time) bool {
	q.roll(now)
	if q.clears >= 10 {
		return false
	}
	q.clears++
	q.daily = map[string]int{}
	return true
}
