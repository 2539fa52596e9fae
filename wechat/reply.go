// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	typeText = "text/plain; charset=utf-8"
	typeXML  = "text/xml; charset=utf-8"
	typeJSON = "application/json; charset=utf-8"
)

// TextReply returns the HTTP answer that shows text to the person who sent m. It
// is encrypted, and XML or JSON, as the push was. An empty text, which in a
// message would make WeChat show a failure, gives "success": the answer that
// shows nothing and ends WeChat's repeats.
//
// See https://developers.weixin.qq.com/doc/service/en/guide/product/message/Passive_user_reply_message.html
func (r *Receiver) TextReply(m *Message, text string) (body []byte, contentType string, err error) {
	text = printable(text)
	if strings.TrimSpace(text) == "" {
		return []byte("success"), typeText, nil
	}
	if m.ToUserName == "" || m.FromUserName == "" {
		return nil, "", errors.New("replying to a message: it does not name both sides; pass a message that Receive returned")
	}
	now := r.now().Unix()
	reply := textReply{
		To: m.FromUserName, From: m.ToUserName, CreateTime: now, MsgType: "text", Content: text,
	}
	body, contentType, err = encodeReply(reply, m.json)
	if err != nil || !m.encrypted {
		return body, contentType, err
	}
	return r.sealReply(body, strconv.FormatInt(now, 10), rand.Text(), m.json)
}

// sealReply puts a reply into the encrypted envelope. WeChat leaves time and
// nonce to the one who replies.
func (r *Receiver) sealReply(reply []byte, timestamp, nonce string, isJSON bool) ([]byte, string, error) {
	if r.cipher == nil {
		return nil, "", fmt.Errorf("replying to a message: %w", ErrNoAESKey)
	}
	encrypted, err := r.cipher.encrypt(reply)
	if err != nil {
		return nil, "", err
	}
	return encodeReply(sealedReply{
		Encrypt: encrypted, Signature: signature(r.token, timestamp, nonce, encrypted), Timestamp: json.Number(timestamp), Nonce: nonce,
	}, isJSON)
}

type xmlWriter interface{ writeXML(w io.Writer) }

func encodeReply(reply xmlWriter, isJSON bool) ([]byte, string, error) {
	if isJSON {
		b, err := encodeJSON(reply)
		if err != nil {
			return nil, "", fmt.Errorf("encoding a reply: %w", err)
		}
		return b.Bytes(), typeJSON, nil
	}
	var b strings.Builder
	reply.writeXML(&b)
	return []byte(b.String()), typeXML, nil
}

type textReply struct {
	To         string `json:"ToUserName"`
	From       string `json:"FromUserName"`
	CreateTime int64  `json:"CreateTime"`
	MsgType    string `json:"MsgType"`
	Content    string `json:"Content"`
}

func (t textReply) writeXML(w io.Writer) {
	_, _ = fmt.Fprintf(w, "<xml><ToUserName>%s</ToUserName><FromUserName>%s</FromUserName><CreateTime>%d</CreateTime>"+
		"<MsgType>%s</MsgType><Content>%s</Content></xml>", cdata(t.To), cdata(t.From), t.CreateTime, cdata(t.MsgType), cdata(t.Content))
}

type sealedReply struct {
	Encrypt   string      `json:"Encrypt"`
	Signature string      `json:"MsgSignature"`
	Timestamp json.Number `json:"TimeStamp"`
	Nonce     string      `json:"Nonce"`
}

func (s sealedReply) writeXML(w io.Writer) {
	_, _ = fmt.Fprintf(w, "<xml><Encrypt>%s</Encrypt><MsgSignature>%s</MsgSignature><TimeStamp>%s</TimeStamp><Nonce>%s</Nonce></xml>",
		cdata(s.Encrypt), cdata(s.Signature), s.Timestamp, cdata(s.Nonce))
}

// cdata wraps text, and splits the end mark, so that text cannot leave the section.
func cdata(text string) string {
	return "<![CDATA[" + strings.ReplaceAll(printable(text), "]]>", "]]]]><![CDATA[>") + "]]>"
}

// printable removes what XML 1.0 has no way to write, invalid UTF-8 included.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if xmlCharacter(r) && r != utf8.RuneError {
			return r
		}
		return -1
	}, text)
}
