// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What a phone refuses to do.
var (
	ErrUnknownCode = errors.New("the QR code is none of this WeChat's")
	ErrExpiredCode = errors.New("the QR code has expired")
	ErrNotFollower = errors.New("the person does not follow the account")
)

// maxChat is how many messages a chat keeps.
const maxChat = 500

// Phone is a person with WeChat on a phone. Get it from [Server.Phone]. It is
// safe for concurrent use.
type Phone struct {
	server  *Server
	name    string
	browser *http.Client
	follows map[string]bool          // guarded by server.mu
	chats   map[string][]ChatMessage // guarded by server.mu
	grants  map[string]messageGrants // guarded by server.mu; by account
	oauth   personOAuth              // guarded by server.mu
}

// ChatMessage is one line of a chat.
type ChatMessage struct {
	FromAccount bool   // else the person wrote it
	System      bool   // WeChat's own notice, not a message
	Text        string // may hold <a href="…">, which WeChat renders as a link
	At          time.Time
}

// Phone returns the person of that name; the same name is the same person.
func (s *Server) Phone(name string) *Phone {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.people[name]
	if p == nil {
		p = &Phone{server: s, name: name, follows: map[string]bool{}, chats: map[string][]ChatMessage{}, grants: map[string]messageGrants{}, oauth: newPersonOAuth(name)}
		p.browser = s.newWebview(p)
		s.people[name] = p
	}
	return p
}

// Name returns the person's name.
func (p *Phone) Name() string { return p.name }

// OpenID returns the person's openid for an account: 28 characters, always the
// same, and different for each account.
func (p *Phone) OpenID(appID string) string { return openID(appID, p.name) }

func openID(appID, name string) string {
	app := sha256.Sum256([]byte("app " + appID))
	person := sha256.Sum256([]byte("person " + appID + "\x00" + name))
	enc := base64.RawURLEncoding
	return "o" + enc.EncodeToString(app[:])[:5] + enc.EncodeToString(person[:])[:22]
}

// Follow makes the person follow an account without a QR code, by search for
// instance: the account gets a plain "subscribe". A follower's Follow does nothing.
func (p *Phone) Follow(ctx context.Context, appID string) error {
	if changed, err := p.setFollow(appID, true); err != nil || !changed {
		return err
	}
	_, err := p.event(ctx, appID, "subscribe", "", "")
	return err
}

// Unfollow makes the person leave the account, which gets an "unsubscribe".
func (p *Phone) Unfollow(ctx context.Context, appID string) error {
	changed, err := p.setFollow(appID, false)
	if err != nil {
		return err
	}
	if !changed {
		return fmt.Errorf("unfollowing %s: %w", appID, ErrNotFollower)
	}
	_, err = p.event(ctx, appID, "unsubscribe", "", "")
	return err
}

// Follows reports whether the person follows the account.
func (p *Phone) Follows(appID string) bool {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	return p.follows[appID]
}

func (p *Phone) setFollow(appID string, follow bool) (changed bool, err error) {
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	app := s.accounts[appID]
	if app == nil || !app.followable() {
		return false, fmt.Errorf("following %s: no official account of that app id is registered", appID)
	}
	changed = p.follows[appID] != follow
	p.follows[appID] = follow
	s.version++
	return changed, nil
}

// ScanOption changes what a person who is not yet a follower does after a scan.
type ScanOption func(*scan)

type scan struct{ noFollow, bySearch bool }

// NoFollow makes the person look at the account but not follow it. There is no event.
func NoFollow() ScanOption { return func(s *scan) { s.noFollow = true } }

// FollowBySearch makes the person follow by another way than the page that the
// scan opened; the "subscribe" then carries neither scene nor ticket.
func FollowBySearch() ScanOption { return func(s *scan) { s.bySearch = true } }

// Scan scans a QR code with WeChat; qrURL is the code's content. A follower's
// scan is a "SCAN" event; others become followers, a "subscribe" event.
//
// It returns when WeChat is done with the event: it was answered, or given up
// after [Options.PushAttempts]. That the account's server failed is no error
// of Scan; see Delivery. Errors are [ErrUnknownCode], [ErrExpiredCode],
// [ErrClosed], and the end of ctx, which also ends the attempts.
func (p *Phone) Scan(ctx context.Context, qrURL string, opts ...ScanOption) (*Delivery, error) {
	var how scan
	for _, opt := range opts {
		opt(&how)
	}
	code, err := p.server.findCode(qrURL)
	if err != nil {
		return nil, fmt.Errorf("scanning a QR code: %w", err)
	}
	if how.noFollow && !p.Follows(code.appID) {
		return &Delivery{}, nil
	}
	followed, err := p.setFollow(code.appID, true)
	switch {
	case err != nil:
		return nil, fmt.Errorf("scanning a QR code: %w", err)
	case followed && (how.bySearch || code.ticket == ""):
		return p.event(ctx, code.appID, "subscribe", "", "")
	case followed:
		return p.event(ctx, code.appID, "subscribe", "qrscene_"+code.scene, code.ticket)
	case code.ticket == "":
		return &Delivery{}, nil
	}
	return p.event(ctx, code.appID, "SCAN", code.scene, code.ticket)
}

// findCode finds a parametric code (/q/) or an account's own (/r/), which has
// neither ticket nor scene.
func (s *Server) findCode(qrURL string) (*qrCode, error) {
	path, ok := strings.CutPrefix(qrURL, s.opts.QRBase)
	if !ok {
		path, ok = strings.CutPrefix(qrURL, weixinBase)
	}
	if !ok {
		return nil, ErrUnknownCode
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if card, ok := strings.CutPrefix(path, "/r/"); ok {
		return s.cardLocked(card)
	}
	id, _ := strings.CutPrefix(path, "/q/")
	code := s.codes[id]
	switch {
	case code == nil:
		return nil, ErrUnknownCode
	case code.expired(s.opts.Now()):
		return nil, ErrExpiredCode
	}
	return code, nil
}

func (s *Server) cardLocked(id string) (*qrCode, error) {
	for _, app := range s.accounts {
		if app.cardID == id {
			return &qrCode{appID: app.AppID}, nil
		}
	}
	return nil, ErrUnknownCode
}

// SendText sends a text message to an account that the person follows (or to a
// mini program), and returns as [Phone.Scan] does.
func (p *Phone) SendText(ctx context.Context, appID, text string) (*Delivery, error) {
	app, err := p.server.account(appID)
	if err != nil {
		return nil, err
	}
	switch {
	case text == "":
		return nil, errors.New("sending a text message: it is empty")
	case app.Kind == Website, app.followable() && !p.Follows(appID):
		return nil, fmt.Errorf("sending a text message to %s: %w", appID, ErrNotFollower)
	}
	p.show(appID, ChatMessage{Text: text, At: p.server.opts.Now()})
	p.grant(appID, byMessage)
	m := p.message(app, "text")
	m.Content, m.MsgID = text, randomDigits(17)
	return p.server.deliver(ctx, p, appID, m)
}

func (p *Phone) event(ctx context.Context, appID, event, key, ticket string) (*Delivery, error) {
	app, err := p.server.account(appID)
	if err != nil {
		return nil, err
	}
	p.grant(appID, event)
	m := p.message(app, "event")
	m.Event, m.EventKey, m.Ticket = event, key, ticket
	return p.server.deliver(ctx, p, appID, m)
}

func (p *Phone) message(app Account, msgType string) Message {
	return Message{
		ToUserName: app.OriginalID, FromUserName: p.OpenID(app.AppID),
		CreateTime: p.server.opts.Now().Unix(), MsgType: msgType,
	}
}

// Chat returns the chat with an account, oldest first. If the account's server
// answered nothing that WeChat understands it holds [ServiceFailure].
func (p *Phone) Chat(appID string) []ChatMessage {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	return slices.Clone(p.chats[appID])
}

func (p *Phone) show(appID string, m ChatMessage) {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.showLocked(appID, m)
}

func (p *Phone) showLocked(appID string, m ChatMessage) {
	chat := append(p.chats[appID], m)
	p.chats[appID] = chat[max(0, len(chat)-maxChat):]
	p.server.version++
}

// Links returns what can be tapped in the account's last message, in order.
func (p *Phone) Links(appID string) []string {
	for _, m := range slices.Backward(p.Chat(appID)) {
		if m.FromAccount {
			return m.Links()
		}
	}
	return nil
}

// linkPattern finds <a href="…">label</a> and bare URLs.
var linkPattern = regexp.MustCompile(`(?s)<a\s[^>]*?href="([^"]*)"[^>]*>(.*?)</a>|https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*[A-Za-z0-9\-_~/#&=%]`)

// Links returns the targets of the links in the message, in order.
func (m ChatMessage) Links() []string {
	var links []string
	for _, part := range m.parts() {
		if part.Link != "" {
			links = append(links, part.Link)
		}
	}
	return links
}

// textPart is a piece of a message as the chat shows it.
type textPart struct{ Text, Link string }

func (m ChatMessage) parts() []textPart {
	if m.System || !m.FromAccount {
		return []textPart{{Text: m.Text}}
	}
	var parts []textPart
	rest := 0
	for _, at := range linkPattern.FindAllStringSubmatchIndex(m.Text, -1) {
		parts = append(parts, textPart{Text: m.Text[rest:at[0]]})
		rest = at[1]
		if at[2] >= 0 {
			parts = append(parts, textPart{Text: m.Text[at[4]:at[5]], Link: m.Text[at[2]:at[3]]})
			continue
		}
		parts = append(parts, textPart{Text: m.Text[at[0]:at[1]], Link: m.Text[at[0]:at[1]]})
	}
	return append(parts, textPart{Text: m.Text[rest:]})
}
