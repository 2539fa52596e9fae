// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What a mini program's page is told when it asks the person or WeChat.
var (
	// ErrUserDenied is "getPhoneNumber:fail user deny".
	ErrUserDenied = errors.New("the person declined")
	// ErrNoPhoneNumbers is errno 1400001: the mini program has used up the phone
	// numbers that it has paid for.
	ErrNoPhoneNumbers = errors.New("the mini program may read no more phone numbers")
	// ErrNoPermission says that the kind of mini program may not do this.
	ErrNoPermission = errors.New("the mini program may not do this")
)

// The scene values (场景值) that tell a mini program how it was opened.
const (
	EnterByHand    = 1089 // from the list of recent ones
	EnterByCode    = 1047 // by scanning a mini program code
	EnterByAlbum   = 1049 // by a mini program code in a picture of the album
	EnterByURLLink = 1194 // from outside WeChat
)

// Number is a phone number.
type Number struct {
	CountryCode string // as "86"
	National    string // without the country code
}

// PhoneNumber returns the number of the person's phone: one in China, always the
// same for a name, unless SetPhoneNumber has set another.
func (p *Phone) PhoneNumber() Number {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	return p.numberLocked()
}

// SetPhoneNumber sets the number of the person's phone.
func (p *Phone) SetPhoneNumber(n Number) {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.server.mini.numbers[p.name] = n
}

func (p *Phone) numberLocked() Number {
	if n, ok := p.server.mini.numbers[p.name]; ok {
		return n
	}
	sum := sha256.Sum256([]byte("number " + p.name))
	return Number{"86", fmt.Sprintf("138%08d", binary.BigEndian.Uint64(sum[:])%100_000_000)}
}

// MiniPage is a page of a mini program that is open on a person's phone, and
// what WeChat lets the page's script do. It is safe for concurrent use.
type MiniPage struct {
	AppID      string
	Path       string
	EnvVersion string
	// Query is what onLoad gets. As WeChat does, it holds the scene of a code
	// URL-encoded, and the values of a link as the link has them.
	Query map[string]string
	// Enter is the scene value that wx.getEnterOptionsSync reports.
	Enter int

	phone *Phone
}

// ScanMiniCode scans a mini program code, whose content [ReadCode] reads from
// its picture, and opens its page. The errors are [ErrUnknownCode], [ErrNoPage]
// and [ErrNotMember].
func (p *Phone) ScanMiniCode(content string) (*MiniPage, error) {
	return p.scanMini(content, EnterByCode)
}

// ScanPicture reads a mini program code out of a picture that the person saved,
// and opens its page, as ScanMiniCode does.
func (p *Phone) ScanPicture(picture []byte) (*MiniPage, error) {
	content, err := ReadCode(picture)
	if err != nil {
		return nil, err
	}
	return p.scanMini(content, EnterByAlbum)
}

func (p *Phone) scanMini(content string, enter int) (*MiniPage, error) {
	code, err := p.server.MiniCode(content)
	if err != nil {
		return nil, err
	}
	query := map[string]string{"scene": encodeURIComponent(code.Scene)}
	return p.openMini(code.AppID, code.Page, code.EnvVersion, query, enter)
}

// OpenURLLink opens a link of generate_urllink in the browser of the phone and
// agrees to go on in WeChat. The errors are those of ScanMiniCode, and
// [ErrExpiredCode].
func (p *Phone) OpenURLLink(link string) (*MiniPage, error) {
	l, err := p.server.findLink(link)
	if err != nil {
		return nil, err
	}
	return p.openMini(l.appID, l.path, l.env, parseLinkQuery(l.query), EnterByURLLink)
}

// OpenMiniProgram opens the home page of the released version.
func (p *Phone) OpenMiniProgram(appID string) (*MiniPage, error) {
	return p.openMini(appID, "", envRelease, map[string]string{}, EnterByHand)
}

func (p *Phone) openMini(appID, path, env string, query map[string]string, enter int) (*MiniPage, error) {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	m := p.server.mini.programs[appID]
	switch {
	case m == nil:
		return nil, fmt.Errorf("opening mini program %s: %w", appID, ErrUnknownCode)
	case env != envRelease && !slices.Contains(m.Members, p.name):
		return nil, fmt.Errorf("opening mini program %s: %w", appID, ErrNotMember)
	case !m.opens(env, path):
		return nil, fmt.Errorf("opening page %q of mini program %s: %w", path, appID, ErrNoPage)
	}
	return &MiniPage{AppID: appID, Path: cmp.Or(path, m.pages(env)[0]), EnvVersion: env, Query: query, Enter: enter, phone: p}, nil
}

// Scene is what a well-written page makes of its query: decodeURIComponent(query.scene).
func (m *MiniPage) Scene() string {
	scene, _ := url.PathUnescape(m.Query["scene"]) // a bad one is no scene
	return scene
}

// Login is wx.login: it returns a code that tells jscode2session, once and
// within 5 minutes, who the person is. The person is not asked.
func (m *MiniPage) Login() string {
	s := m.phone.server
	s.mu.Lock()
	defer s.mu.Unlock()
	code, _ := s.newPersonCodeLocked(forLogin, m.AppID, m.phone)
	return code
}

// GetPhoneNumber is a tap on the button of that name: it returns the code for
// getuserphonenumber if the person agrees. Errors are [ErrNoPermission],
// [ErrNoPhoneNumbers] and [ErrUserDenied].
func (m *MiniPage) GetPhoneNumber(agree bool) (code string, err error) {
	s := m.phone.server
	s.mu.Lock()
	defer s.mu.Unlock()
	switch program := s.mini.programs[m.AppID]; {
	case program.Individual:
		return "", fmt.Errorf("getting a phone number: %w", ErrNoPermission)
	case program.phoneNumbers <= 0:
		return "", fmt.Errorf("getting a phone number: %w", ErrNoPhoneNumbers)
	case !agree:
		return "", fmt.Errorf("getting a phone number: %w", ErrUserDenied)
	}
	code, made := s.newPersonCodeLocked(forPhone, m.AppID, m.phone)
	made.number = m.phone.numberLocked()
	return code, nil
}

// Client is wx.request: it sends WeChat's user agent and the mini program's fixed
// Referer, and has neither cookies nor an Origin.
func (m *MiniPage) Client() *http.Client {
	return &http.Client{Transport: miniRequest{m.phone.server.transport, m.referer()}, Timeout: time.Minute}
}

// referer names the version 0 for all that is not released.
func (m *MiniPage) referer() string {
	version := "1"
	if m.EnvVersion != envRelease {
		version = "0"
	}
	return "https://servicewechat.com/" + m.AppID + "/" + version + "/page-frame.html"
}

type miniRequest struct {
	next    http.RoundTripper
	referer string
}

func (m miniRequest) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	setDefault(r.Header, "User-Agent", webviewAgent+" MiniProgramEnv/android")
	setDefault(r.Header, "Content-Type", "application/json")
	r.Header.Set("Referer", m.referer) // a page cannot set it
	return m.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections do what it says.
func (m miniRequest) CloseIdleConnections() {
	if next, ok := m.next.(interface{ CloseIdleConnections() }); ok {
		next.CloseIdleConnections()
	}
}

// parseLinkQuery leaves the values encoded.
func parseLinkQuery(query string) map[string]string {
	values := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(pair, "="); name != "" {
			values[name] = value
		}
	}
	return values
}

var encodedByGo = regexp.MustCompile(`\+|%2[1789A]`)

// encodeURIComponent leaves A-Z a-z 0-9 - _ . ! ~ * ' ( ) alone, as JavaScript's does.
func encodeURIComponent(text string) string {
	return encodedByGo.ReplaceAllStringFunc(url.QueryEscape(text), func(s string) string {
		if s == "+" {
			return "%20"
		}
		plain, _ := url.QueryUnescape(s) // one of the five that the pattern names
		return plain
	})
}
