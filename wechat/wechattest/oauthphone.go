// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ErrTaken says that another person has scanned the QR code of a website, or
// that it is decided already.
var ErrTaken = errors.New("the QR code was scanned by another person, or is decided already")

// personOAuth is what the authorisation of a person depends on.
type personOAuth struct {
	nickname, avatar string
	snapshot         bool
	consents         map[string]time.Time // by app id
}

func newPersonOAuth(name string) personOAuth {
	return personOAuth{
		nickname: name, avatar: "https://thirdwx.qlogo.cn/mmopen/vi_32/" + digest("avatar " + name)[:22] + "/132",
		consents: map[string]time.Time{},
	}
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// SetProfile sets what apps read of the person when the person agrees. By
// default the nickname is the name, and the avatar is an address of WeChat's; a
// person who has no avatar has an empty one.
func (p *Phone) SetProfile(nickname, avatarURL string) {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.oauth.nickname, p.oauth.avatar = nickname, avatarURL
}

// SetSnapshot makes WeChat open sites as snapshots (快照页) for the person, who
// is then a virtual user to them: the token answer says is_snapshotuser.
func (p *Phone) SetSnapshot(on bool) {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.oauth.snapshot = on
}

// UnionID returns the person's unionid for an account: 28 characters, the same
// for all accounts with the same [Account.OpenPlatform], and "" without one.
func (p *Phone) UnionID(appID string) string {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	return p.unionIDLocked(appID)
}

func (p *Phone) unionIDLocked(appID string) string {
	app := p.server.accounts[appID]
	if app == nil || app.OpenPlatform == "" {
		return ""
	}
	return "o" + digest("union " + app.OpenPlatform + "\x00" + p.name)[:27]
}

// Visit is what came of opening a link inside WeChat.
type Visit struct {
	URL    string // of the last page
	Status int
	Header http.Header
	Body   []byte
	// Callback is the redirect URI with code and state to which WeChat led the
	// browser, if it did. WeChat has been seen to open it twice; a test can.
	Callback string
}

// BrowseOption changes what a person does with the pages that open.
type BrowseOption func(*browsing)

type browsing struct{ decision string }

// RefuseConsent makes the person refuse when WeChat asks whether the site may
// see the profile; see [Options.Refusal]. By default they allow it.
func RefuseConsent() BrowseOption { return func(b *browsing) { b.decision = "refuse" } }

// Browse opens a link inside WeChat, as a tap in a chat does, follows redirects,
// and answers WeChat's question for consent. It has the cookies of [Phone.Browser].
func (p *Phone) Browse(ctx context.Context, link string, opts ...BrowseOption) (*Visit, error) {
	how := browsing{decision: "allow"}
	for _, opt := range opts {
		opt(&how)
	}
	var visit Visit
	client := *p.browser
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if via[len(via)-1].URL.Path == EndpointAuthorize {
			visit.Callback = r.URL.String()
		}
		if len(via) >= 10 {
			return errors.New("more than ten redirects")
		}
		return nil
	}
	if err := visit.open(ctx, &client, http.MethodGet, link, nil); err != nil {
		return nil, err
	}
	if visit.Header.Get(consentHeader) == "" {
		return &visit, nil
	}
	if err := visit.open(ctx, &client, http.MethodPost, visit.URL, url.Values{"decision": {how.decision}}); err != nil {
		return nil, err
	}
	return &visit, nil
}

func (v *Visit) open(ctx context.Context, client *http.Client, method, link string, form url.Values) error {
	r, err := http.NewRequestWithContext(ctx, method, link, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("opening a link inside WeChat: %w", err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("opening a link inside WeChat: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	v.URL, v.Status, v.Header = resp.Request.URL.String(), resp.StatusCode, resp.Header
	v.Body, err = io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading a page inside WeChat: %w", err)
	}
	return nil
}

// WebLogin is a website's QR code that a person has scanned and not yet decided on.
type WebLogin struct {
	AppID, AppName string // what the phone shows
	server         *Server
	uuid           string
}

// UUID names the code; it is no secret.
func (l *WebLogin) UUID() string { return l.uuid }

// WebLoginQR is a website's QR code in view, as [Server.WebLogins] lists them.
type WebLoginQR struct {
	URL   string // content of the picture
	AppID string
	State string
}

// WebLogins lists the QR codes of connect/qrconnect that can be scanned, newest first.
func (s *Server) WebLogins() []WebLoginQR {
	now := s.opts.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []*webLogin
	for _, login := range s.oauth.logins {
		if login.statusAt(now) == loginWaiting {
			live = append(live, login)
		}
	}
	slices.SortFunc(live, func(a, b *webLogin) int {
		return cmp.Or(b.created.Compare(a.created), strings.Compare(a.uuid, b.uuid))
	})
	codes := make([]WebLoginQR, 0, len(live))
	for _, login := range live {
		codes = append(codes, WebLoginQR{s.confirmURL(login.uuid), login.appID, login.state})
	}
	return codes
}

// ScanLogin scans the QR code of connect/qrconnect; qrURL is the code's content,
// or the address of its picture. The page learns that it was scanned. It fails
// with [ErrUnknownCode], [ErrExpiredCode] or [ErrTaken].
func (p *Phone) ScanLogin(qrURL string) (*WebLogin, error) {
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	login := s.findLoginLocked(qrURL)
	if login == nil {
		return nil, fmt.Errorf("scanning a QR code: %w", ErrUnknownCode)
	}
	switch status := login.statusAt(s.opts.Now()); {
	case status == loginExpired:
		return nil, fmt.Errorf("scanning a QR code: %w", ErrExpiredCode)
	case status == loginWaiting:
		login.person = p
		login.change(loginScanned)
		s.version++
	case status != loginScanned || login.person != p: // that the first scan wins is a guess
		return nil, fmt.Errorf("scanning a QR code: %w", ErrTaken)
	}
	return &WebLogin{login.appID, s.accounts[login.appID].Name, s, login.uuid}, nil
}

// Confirm signs the person in. It returns the address to which the page now
// leads the browser. The errors are those of [Phone.ScanLogin].
func (l *WebLogin) Confirm() (callbackURL string, err error) { return l.decide(true) }

// Refuse refuses. It returns the address to which the page now leads the
// browser, "" for none: see [Options.Refusal].
func (l *WebLogin) Refuse() (callbackURL string, err error) { return l.decide(false) }

func (l *WebLogin) decide(confirm bool) (string, error) {
	s := l.server
	now := s.opts.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	login := s.oauth.logins[l.uuid]
	switch {
	case login == nil || login.statusAt(now) == loginExpired:
		return "", fmt.Errorf("deciding on a sign-in: %w", ErrExpiredCode)
	case login.status != loginScanned:
		return "", fmt.Errorf("deciding on a sign-in: %w", ErrTaken)
	}
	s.version++
	if !confirm {
		login.change(loginRefused)
		return s.opts.Refusal.refusedCallback(login.redirectURI, login.state), nil
	}
	login.code = s.newOAuthCodeLocked(s.accounts[login.appID], login.person, scopeLogin, false, now)
	login.change(loginConfirmed)
	return callback(login.redirectURI, login.code, login.state), nil
}
