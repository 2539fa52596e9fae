// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"
)

const messageEndpoint = "cgi-bin/message/custom/send"

// MaxMessageLen is the longest text of a message, in bytes. Beyond it WeChat
// answers 45002 (content size out of limit).
const MaxMessageLen = 2048

// ErrUnreachable says that WeChat passes no message on to this person now. An
// account may write only to a follower who has lately been in the chat with it:
// up to 3 messages within a minute of a scan or a follow, up to 5 within 48 hours
// of a message of the person's. Nothing is wrong with the account.
//
// See https://developers.weixin.qq.com/doc/service/guide/product/kf/intro.html
var ErrUnreachable = errors.New("WeChat passes no message on to this person now")

type customMessage struct {
	ToUser  string      `json:"touser"`
	MsgType string      `json:"msgtype"`
	Text    messageText `json:"text"`
}

type messageText struct {
	Content string `json:"content"`
}

// SendCustomMessage writes a text (客服消息) of at most [MaxMessageLen] bytes to a
// person in the chat with the account; it may contain links, as <a href="…">…</a>.
// Where WeChat does not pass it on to that person the error is [ErrUnreachable];
// an account that may not write at all gets the [Error] 48001.
//
// See https://developers.weixin.qq.com/doc/service/api/customer/message/api_sendcustommessage.html
func (c *Client) SendCustomMessage(ctx context.Context, openID, text string) error {
	if !openIDPattern.MatchString(openID) {
		return errors.New("sending a message: the openid is none")
	}
	if text == "" || len(text) > MaxMessageLen || !utf8.ValidString(text) {
		return fmt.Errorf("sending a message: its text has %d bytes: write UTF-8 text of 1 to %d bytes", len(text), MaxMessageLen)
	}
	err := c.callWithToken(ctx, messageEndpoint, customMessage{openID, "text", messageText{text}}, new(struct{}))
	if err != nil {
		return fmt.Errorf("sending a message: %w", err)
	}
	return nil
}

// unreachable says whether a refusal is about one person, and not the account.
func (e *Error) unreachable() bool {
	if e.Endpoint != messageEndpoint {
		return false
	}
	switch e.Code {
	case 40003, 43004, 45015, 45047, 48002:
		return true
	default:
		return false
	}
}

const waitForPerson = "nothing: the person may write to the account, or scan again"

// messageCodes is what errcodes mean where a message is sent, if that differs from codes.
// See https://developers.weixin.qq.com/doc/service/api/customer/message/api_sendcustommessage.html
var messageCodes = map[int]codeEntry{
	40003: {"nobody has this openid under this account", "see that no other account's app id and secret are configured for it", transient},
	43004: {"the person does not follow the account", waitForPerson, transient},
	45002: {"the text of the message is too long", "shorten the reply new_sign_in", permanent},
	45015: {"the person has not been in the chat for too long, or has unfollowed", waitForPerson, transient},
	45047: {"the account has written all that it may since the person was last in the chat", waitForPerson, transient},
	48001: {"the account may not write to people", "use a verified account (已认证的服务号 or 公众号; its yearly 年审 must not have lapsed) or a test account (测试号), or write notify off for this account", permanent},
	48002: {"the person accepts no messages of this account", waitForPerson, transient},
}
