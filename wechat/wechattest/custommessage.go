// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"encoding/json"
	"time"
)

// maxMessage bounds, in bytes, the text of a message.
const maxMessage = 2048

// byMessage is the kind of grant that a message of the person's brings; the others
// are named by their event.
const byMessage = "message"

// messageGrants is what an account may still write to a person, by what the person
// has done. https://developers.weixin.qq.com/doc/service/guide/product/kf/intro.html
type messageGrants map[string]*messageGrant

type messageGrant struct {
	left    int
	expires time.Time
}

// grant lets the account write to the person, who has just done something in the
// chat. Each event of a kind begins its grant anew; who leaves takes all back.
func (p *Phone) grant(appID, did string) {
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opts.Now()
	if p.grants[appID] == nil {
		p.grants[appID] = messageGrants{}
	}
	switch did {
	case byMessage:
		p.grants[appID][did] = &messageGrant{5, now.Add(48 * time.Hour)}
	case "subscribe", "SCAN":
		p.grants[appID][did] = &messageGrant{3, now.Add(time.Minute)}
	case "unsubscribe":
		delete(p.grants, appID)
	}
}

// take uses up one message, of the grant that ends first, or returns the errcode.
// Which one WeChat takes is not documented.
func (g messageGrants) take(now time.Time) (errcode int) {
	var first *messageGrant
	live := false
	for _, grant := range g {
		if !now.Before(grant.expires) {
			continue
		}
		live = true
		if grant.left > 0 && (first == nil || grant.expires.Before(first.expires)) {
			first = grant
		}
	}
	switch {
	case !live:
		return 45015
	case first == nil:
		return 45047
	}
	first.left--
	return 0
}

type messageRequest struct {
	ToUser  string `json:"touser"`
	MsgType string `json:"msgtype"`
	Text    struct {
		Content string `json:"content"`
	} `json:"text"`
}

// sendMessage is cgi-bin/message/custom/send, for accounts that people follow; the
// other rules of mini programs are not simulated.
// https://developers.weixin.qq.com/doc/service/api/customer/message/api_sendcustommessage.html
func (s *Server) sendMessage(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, e := s.authorizeLocked(c)
	if e.ErrCode != 0 {
		return e
	}
	if !app.mayWrite() {
		return apiError{48001, "api unauthorized"}
	}
	var req messageRequest
	if json.Unmarshal(c.body, &req) != nil {
		return apiError{47001, "data format error"}
	}
	if e := req.check(); e.ErrCode != 0 {
		return e
	}
	p := s.personLocked(app.AppID, req.ToUser)
	if p == nil {
		return apiError{40003, "invalid openid"}
	}
	switch p.grants[app.AppID].take(c.now) {
	case 45015:
		return apiError{45015, "response out of time limit or subscription is canceled"}
	case 45047:
		return apiError{45047, "out of response count limit"}
	}
	p.showLocked(app.AppID, ChatMessage{FromAccount: true, Text: req.Text.Content, At: c.now})
	return apiError{0, "ok"}
}

func (r messageRequest) check() apiError {
	switch {
	case r.MsgType != "text":
		return apiError{40008, "invalid message type"} // nothing else is simulated
	case r.Text.Content == "":
		return apiError{44004, "empty content"}
	case len(r.Text.Content) > maxMessage:
		return apiError{45002, "content size out of limit"}
	default:
		return apiError{}
	}
}

// mayWrite follows the permission table: verified accounts and test accounts.
func (a Account) mayWrite() bool {
	return a.Kind == VerifiedService || a.Kind == TestAccount || a.Kind == VerifiedSubscription
}

// personLocked returns whose openid that is under an account, or nil.
func (s *Server) personLocked(appID, openid string) *Phone {
	for _, p := range s.people {
		if p.OpenID(appID) == openid {
			return p
		}
	}
	return nil
}
