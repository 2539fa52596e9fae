// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"
)

// Message is a message or event as WeChat pushes it to a developer's server.
// https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_event_pushes.html
type Message struct {
	ToUserName   string // the account's original id, gh_…
	FromUserName string // the person's openid
	CreateTime   int64  // Unix seconds
	MsgType      string // "event" or "text"
	Event        string // "subscribe", "SCAN", "unsubscribe"
	EventKey     string
	Ticket       string
	Content      string
	MsgID        string
}

type field struct {
	name, value string
	number      bool
}

func (m Message) fields() []field {
	fields := []field{
		{name: "ToUserName", value: m.ToUserName},
		{name: "FromUserName", value: m.FromUserName},
		{name: "CreateTime", value: strconv.FormatInt(m.CreateTime, 10), number: true},
		{name: "MsgType", value: m.MsgType},
	}
	if m.MsgType != "event" {
		return append(fields, field{name: "Content", value: m.Content}, field{name: "MsgId", value: m.MsgID, number: true})
	}
	fields = append(fields, field{name: "Event", value: m.Event}, field{name: "EventKey", value: m.EventKey})
	if m.Ticket != "" {
		fields = append(fields, field{name: "Ticket", value: m.Ticket})
	}
	return fields
}

// XML returns the message as official accounts receive it. It is no good XML
// where a field has characters that XML forbids, as a person's text may.
func (m Message) XML() []byte { return m.xml(cdata) }

func (m Message) xml(quote func(string) string) []byte {
	var b bytes.Buffer
	b.WriteString("<xml>")
	for _, f := range m.fields() {
		value := f.value
		if !f.number {
			value = quote(value)
		}
		b.WriteString("<" + f.name + ">" + value + "</" + f.name + ">\n")
	}
	b.WriteString("</xml>")
	return b.Bytes()
}

// JSON returns the message as mini programs may receive it.
func (m Message) JSON() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range m.fields() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encodeJSON(f.name))
		b.WriteByte(':')
		if f.number && f.value != "" {
			b.WriteString(f.value)
			continue
		}
		b.Write(encodeJSON(f.value))
	}
	b.WriteByte('}')
	return b.Bytes()
}

// cdata quotes a text. It leaves the characters in it that XML forbids: WeChat
// copies what a person has written.
func cdata(s string) string { return unsplitCDATA(strings.ReplaceAll(s, "]]>", "]]]]><![CDATA[>")) }

func unsplitCDATA(s string) string { return "<![CDATA[" + s + "]]>" }

// seal wraps a pushed body as the mode prescribes.
func seal(body []byte, mode Mode, originalID, encrypted string) []byte {
	if mode == Plain {
		return body
	}
	asJSON := bytes.HasPrefix(bytes.TrimSpace(body), []byte("{"))
	switch {
	case mode == Secure && asJSON:
		return encodeJSON(struct{ ToUserName, Encrypt string }{originalID, encrypted})
	case mode == Secure:
		return []byte("<xml><ToUserName>" + cdata(originalID) + "</ToUserName>\n<Encrypt>" + cdata(encrypted) + "</Encrypt>\n</xml>")
	case asJSON:
		return insertBefore(body, "}", `,"Encrypt":`+string(encodeJSON(encrypted)))
	default:
		return insertBefore(body, "</xml>", "<Encrypt>"+cdata(encrypted)+"</Encrypt>\n")
	}
}

// insertBefore puts text before the last end in body, or at its very end.
func insertBefore(body []byte, end, text string) []byte {
	at := bytes.LastIndex(body, []byte(end))
	if at < 0 {
		at = len(body)
	}
	return append(append(bytes.Clone(body[:at]), text...), body[at:]...)
}

// sealedReply is the encrypted answer of a developer's server. In JSON the
// timestamp is a number and the nonce a string.
type sealedReply struct {
	XMLName      xml.Name `xml:"xml" json:"-"`
	Encrypt      string   `xml:"Encrypt"`
	MsgSignature string   `xml:"MsgSignature"`
	TimeStamp    number   `xml:"TimeStamp"`
	Nonce        string   `xml:"Nonce"`
}

// plainReply is a passive reply.
type plainReply struct {
	XMLName      xml.Name `xml:"xml" json:"-"`
	ToUserName   string   `xml:"ToUserName"`
	FromUserName string   `xml:"FromUserName"`
	CreateTime   number   `xml:"CreateTime"`
	MsgType      string   `xml:"MsgType"`
	Content      string   `xml:"Content"`
	Encrypt      string   `xml:"Encrypt"`
}

// number keeps the digits as they came, quoted or not.
type number string

func (n *number) UnmarshalJSON(b []byte) error {
	*n = number(strings.Trim(string(b), `"`))
	return nil
}
