// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Message is a message or an event that WeChat pushed and [Receiver.Receive] verified.
//
// See https://developers.weixin.qq.com/doc/service/en/guide/product/message/Passive_user_reply_message.html
type Message struct {
	ToUserName   string    // the account, by its original id (gh_…)
	FromUserName string    // the person, by the openid under this account
	CreateTime   time.Time // whole seconds
	MsgType      string    // text, event, image, …
	Event        string    // of an event; its case varies, compare with Is
	EventKey     string
	Ticket       string // of the QR code that was scanned
	Content      string // of a text message
	MsgID        string // of a message; events have none

	encrypted bool // the reply must be, too
	json      bool // the reply must be, too
}

// Is says whether m is the event of that name. WeChat writes SCAN and CLICK, but
// subscribe and unsubscribe: case does not count.
func (m *Message) Is(event string) bool {
	return m.MsgType == "event" && strings.EqualFold(m.Event, event)
}

// followedPrefix begins the EventKey of a person who followed by scanning.
const followedPrefix = "qrscene_"

// Scene returns the scene of the QR code that the person scanned. ok is false
// for every other message, also for a scene that [Client.CreateQRCode] cannot
// have made.
//
// Only SCAN and a subscribe with the prefix count. A subscribe after a payment
// has a last_trade_no_… in the same place, and one after a search has nothing.
// The ticket is not asked for: WeChat sends one with every scan, but it is
// printed in the QR code and so proves nothing that the scene does not.
func (m *Message) Scene() (scene string, ok bool) {
	switch {
	case m.Is("SCAN"):
		scene = m.EventKey
	case m.Is("subscribe"):
		scene, ok = strings.CutPrefix(m.EventKey, followedPrefix)
		if !ok {
			return "", false
		}
	}
	if !scenePattern.MatchString(scene) {
		return "", false
	}
	return scene, true
}

// DedupKey is the same for each delivery of one message: WeChat sends a message
// again when it got no answer within 5 s. It is 64 hex digits. Messages are told
// apart by MsgID, events by person, time, name and key.
func (m *Message) DedupKey() string {
	parts := []string{"event", m.FromUserName, strconv.FormatInt(m.CreateTime.Unix(), 10), strings.ToLower(m.Event), m.EventKey}
	if m.MsgType != "event" {
		parts = []string{"message", m.MsgID}
		if m.MsgID == "" {
			parts = append(parts, m.FromUserName, strconv.FormatInt(m.CreateTime.Unix(), 10), m.MsgType, m.Content)
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// openIDPattern is what openids look like; the bound is far above their 28
// characters. It keeps an empty or hostile name from becoming an identity.
var openIDPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// lastCreateTime is the end of the year 9999: later times have no JSON or RFC 3339 form.
const lastCreateTime = 253402300799

func newMessage(f fields, encrypted, isJSON bool) (*Message, error) {
	seconds, err := strconv.ParseInt(f["CreateTime"], 10, 64)
	if err != nil || seconds <= 0 || seconds > lastCreateTime {
		return nil, malformed("the message has no CreateTime")
	}
	if !openIDPattern.MatchString(f["FromUserName"]) {
		return nil, malformed("the message has no FromUserName that is an openid")
	}
	if f["MsgType"] == "" {
		return nil, malformed("the message has no MsgType")
	}
	return &Message{
		ToUserName:   f["ToUserName"],
		FromUserName: f["FromUserName"],
		CreateTime:   time.Unix(seconds, 0),
		MsgType:      f["MsgType"],
		Event:        f["Event"],
		EventKey:     f["EventKey"],
		Ticket:       f["Ticket"],
		Content:      f["Content"],
		MsgID:        f["MsgId"],
		encrypted:    encrypted,
		json:         isJSON,
	}, nil
}
