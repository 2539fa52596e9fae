// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// ServiceFailure is what WeChat shows in the chat when the developer's server
// gave no answer that it understands.
const ServiceFailure = "该公众号提供的服务出现故障，请稍后再试"

// readReply turns the answer to a push into what the person sees. The zero
// ChatMessage without an error means that WeChat shows nothing. final says that
// WeChat will not deliver the event again.
func (a Account) readReply(status int, body []byte, openid string, now time.Time) (reply ChatMessage, final bool, err error) {
	if status != http.StatusOK {
		return ChatMessage{}, false, fmt.Errorf("the push was answered with status %d instead of 200", status)
	}
	if len(body) == 0 || string(body) == "success" {
		return ChatMessage{}, true, nil
	}
	p, err := a.openReply(body)
	if err != nil {
		return ChatMessage{}, !errors.Is(err, errNotAReply), err
	}
	if err := a.checkReply(p, openid); err != nil {
		return ChatMessage{}, true, err
	}
	switch p.MsgType {
	case "text":
		return ChatMessage{FromAccount: true, Text: p.Content, At: now}, true, nil
	case "transfer_customer_service":
		return ChatMessage{}, true, nil
	default:
		return ChatMessage{FromAccount: true, Text: "[" + p.MsgType + "]", At: now}, true, nil
	}
}

// errNotAReply marks an answer that is no message at all: WeChat takes it for
// no answer and delivers the event again.
var errNotAReply = errors.New("the answer to the push is neither \"success\", empty, nor a reply message")

// openReply decodes a reply, encrypted or not as the mode allows.
func (a Account) openReply(body []byte) (plainReply, error) {
	var p plainReply
	if err := a.unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("%w: %w", errNotAReply, err)
	}
	switch {
	case p.Encrypt == "" && a.Mode == Secure:
		return p, errors.New("the reply is plaintext, but the account is in secure mode")
	case p.Encrypt == "":
		return p, nil
	case a.Mode == Plain:
		return p, errors.New("the reply is encrypted, but the account is in plaintext mode")
	}
	inner, err := a.unseal(body)
	if err != nil {
		return p, err
	}
	p = plainReply{}
	if err := a.unmarshal(inner, &p); err != nil {
		return p, fmt.Errorf("reading the decrypted reply: %w", err)
	}
	return p, nil
}

func (a Account) unseal(body []byte) ([]byte, error) {
	var sealed sealedReply
	if err := a.unmarshal(body, &sealed); err != nil {
		return nil, fmt.Errorf("reading the encrypted reply: %w", err)
	}
	want := signature(a.Token, string(sealed.TimeStamp), sealed.Nonce, sealed.Encrypt)
	if subtle.ConstantTimeCompare([]byte(want), []byte(sealed.MsgSignature)) != 1 {
		return nil, errors.New("checking the encrypted reply: MsgSignature does not match")
	}
	return decrypt(a.AESKey, sealed.Encrypt, a.AppID)
}

// unmarshal reads XML, or JSON if the account receives JSON.
func (a Account) unmarshal(body []byte, v any) error {
	if a.JSON {
		return json.Unmarshal(body, v)
	}
	body = bytes.TrimSpace(body)
	if !bytes.HasPrefix(body, []byte("<")) {
		return errors.New("it does not begin as XML does")
	}
	dec := xml.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the XML document")
	}
	return nil
}

// checkReply refuses what WeChat answers with its failure text. The names have
// to be swapped, and the sender is the original id, not the app id.
func (a Account) checkReply(p plainReply, openid string) error {
	_, err := strconv.ParseInt(string(p.CreateTime), 10, 64)
	switch {
	case p.ToUserName != openid:
		return errors.New("the reply's ToUserName is not the person's openid")
	case p.FromUserName != a.OriginalID:
		return errors.New("the reply's FromUserName is not the account's original id")
	case err != nil:
		return errors.New("the reply's CreateTime is not a whole number")
	case p.MsgType == "text" && p.Content == "":
		return errors.New("the reply's Content is empty")
	}
	switch p.MsgType {
	case "text", "image", "voice", "video", "music", "news", "transfer_customer_service":
		return nil
	}
	return fmt.Errorf("the reply's MsgType %q is unknown", p.MsgType)
}
