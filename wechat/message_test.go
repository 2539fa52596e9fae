// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"strings"
	"testing"
	"time"
)

func TestMessage_Scene(t *testing.T) {
	tests := []struct {
		name, event, key, ticket string
		want                     string
	}{
		{"follower scans", "SCAN", "login-1", "t", "login-1"},
		{"follower scans, other case", "scan", "login-1", "t", "login-1"},
		{"follower scans, without ticket", "SCAN", "login-1", "", "login-1"},
		{"first-time follower", "subscribe", "qrscene_login-1", "t", "login-1"},
		{"first-time follower, other case", "SUBSCRIBE", "qrscene_login-1", "t", "login-1"},
		// The prefix goes once: scenes may begin with it themselves.
		{"scene that begins with the prefix, follower", "SCAN", "qrscene_a", "t", "qrscene_a"},
		{"scene that begins with the prefix, first-time", "subscribe", "qrscene_qrscene_a", "t", "qrscene_a"},
		{"scene level missing", "SCAN", "0", "t", "0"},
		{"plain follow", "subscribe", "", "", ""},
		{"follow after a payment", "subscribe", "last_trade_no_4009012001", "", ""},
		{"prefix in another case", "subscribe", "QRSCENE_a", "t", ""},
		{"prefix alone", "subscribe", "qrscene_", "t", ""},
		{"scan of nothing", "SCAN", "", "t", ""},
		{"unfollow by a platform bug", "unsubscribe", "last_trade_no_4009012001", "", ""},
		{"unfollow with a scene", "unsubscribe", "qrscene_a", "", ""},
		{"menu", "CLICK", "login-1", "", ""},
		{"menu that scans", "scancode_push", "login-1", "", ""},
		{"foreign characters", "SCAN", "../login", "t", ""},
		{"too long", "SCAN", strings.Repeat("a", 65), "t", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &Message{MsgType: "event", Event: tt.event, EventKey: tt.key, Ticket: tt.ticket}
			got, ok := m.Scene()
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("Scene = %q, %v, want %q", got, ok, tt.want)
			}
		})
	}
	// A text message is no event, whatever else it carries.
	if scene, ok := (&Message{MsgType: "text", Event: "SCAN", EventKey: "a"}).Scene(); ok {
		t.Errorf("Scene of a text = %q", scene)
	}
}

func TestMessage_Is(t *testing.T) {
	m := &Message{MsgType: "event", Event: "unsubscribe"}
	if !m.Is("UNSUBSCRIBE") || m.Is("subscribe") || (&Message{MsgType: "text", Event: "SCAN"}).Is("SCAN") {
		t.Error("Is does not compare the event regardless of case, or takes a text for an event")
	}
}

func TestMessage_DedupKey(t *testing.T) {
	at := time.Unix(1648535359, 0)
	event := Message{MsgType: "event", FromUserName: "o1", CreateTime: at, Event: "SCAN", EventKey: "a"}
	text := Message{MsgType: "text", FromUserName: "o1", CreateTime: at, Content: "hi", MsgID: "6054768590064713728"}
	seen := map[string]string{}
	for name, m := range map[string]Message{
		"event": event, "text": text,
		"other person":   {MsgType: "event", FromUserName: "o2", CreateTime: at, Event: "SCAN", EventKey: "a"},
		"other time":     {MsgType: "event", FromUserName: "o1", CreateTime: at.Add(time.Second), Event: "SCAN", EventKey: "a"},
		"other event":    {MsgType: "event", FromUserName: "o1", CreateTime: at, Event: "CLICK", EventKey: "a"},
		"other key":      {MsgType: "event", FromUserName: "o1", CreateTime: at, Event: "SCAN", EventKey: "b"},
		"moved border":   {MsgType: "event", FromUserName: "o1", CreateTime: at, Event: "SCANa"},
		"other message":  {MsgType: "text", FromUserName: "o1", CreateTime: at, Content: "hi", MsgID: "2"},
		"without id":     {MsgType: "text", FromUserName: "o1", CreateTime: at, Content: "hi"},
		"without id, ho": {MsgType: "text", FromUserName: "o1", CreateTime: at, Content: "ho"},
	} {
		key := m.DedupKey()
		if len(key) != 64 {
			t.Errorf("%s: key %q, want 64 digits", name, key)
		}
		if other, found := seen[key]; found {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[key] = name
	}
	again := event
	again.Event, again.Ticket = "scan", "t"
	if again.DedupKey() != event.DedupKey() {
		t.Error("the repeat of an event has another key")
	}
	again = text
	again.Content = "changed"
	if again.DedupKey() != text.DedupKey() {
		t.Error("the repeat of a message has another key")
	}
}
