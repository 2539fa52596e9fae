// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseBody(t *testing.T) {
	tests := []struct {
		name, body string
		want       fields
	}{
		{"empty XML", "<xml></xml>", fields{}},
		{"self-closed", "<xml><EventKey/></xml>", fields{"EventKey": ""}},
		{"CDATA and text", "<xml><A><![CDATA[<b>&]]></A><B>c</B></xml>", fields{"A": "<b>&", "B": "c"}},
		{"split CDATA", "<xml><A><![CDATA[a]]]]><![CDATA[>b]]></A></xml>", fields{"A": "a]]>b"}},
		{"predefined entities", "<xml><A>&lt;&amp;&#20013;</A></xml>", fields{"A": "<&中"}},
		{"declaration, comment and white space", "<?xml version='1.0'?>\n<!-- c --><xml> <A> a </A>\n</xml>\n", fields{"A": " a "}},
		{"list, passed over", "<xml><L><item><A>1</A></item></L><A>2</A></xml>", fields{"L": "", "A": "2"}},
		{"other namespace", "<xml><x:A>1</x:A><A>2</A></xml>", fields{"x:A": "1", "A": "2"}},
		{"depth 8", "<xml>" + strings.Repeat("<A>", 7) + strings.Repeat("</A>", 7) + "</xml>", fields{"A": ""}},
		{"control characters", "<xml><A><![CDATA[a\x14b]]></A><B>\x00\x08\x0b\x1f</B></xml>", fields{"A": "a b", "B": "    "}},
		{"what XML allows stays", "<xml><A>\t\n\u007f\ufffd\U0010ffff</A></xml>", fields{"A": "\t\n\u007f\ufffd\U0010ffff"}},
		{"noncharacters", "<xml><A>a\ufffeb\uffffc</A></xml>", fields{"A": "a b c"}},
		{"invalid UTF-8", "<xml><A><![CDATA[a\xff\xc3b\xed\xa0\x80]]></A></xml>", fields{"A": "a  b   "}},
		// Were it removed, the section would end there, and B be a field.
		{"control character in what would end CDATA", "<xml><A><![CDATA[]]\x14></A><B><![CDATA[1]]></A></xml>", fields{"A": "]] ></A><B><![CDATA[1"}},
		{"invalid UTF-8 in what would end CDATA", "<xml><A><![CDATA[]\xff]\xff></A><B>]]></A></xml>", fields{"A": "] ] ></A><B>"}},
		{"JSON with control characters", "{\x00\"A\":\"a\x14\x07\nb\x1f\",\"B\":1\x01}", fields{"A": "a   b ", "B": "1"}},
		{"empty JSON", "{}", fields{}},
		{"JSON scalars", `{"A":"中","B":1714112445,"C":12345678901234567890,"D":null,"E":true}`, fields{"A": "中", "B": "1714112445", "C": "12345678901234567890", "D": "", "E": "true"}},
		{"JSON list, passed over", `{"L":[{"A":1},[2]],"O":{"A":{}},"A":"2"}`, fields{"L": "", "O": "", "A": "2"}},
		{"JSON in white space", " \n{\"A\":\"1\"}\n", fields{"A": "1"}},
		{"JSON depth 8", `{"A":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + `}`, fields{"A": ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, isJSON, err := parseBody([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if want := strings.Contains(tt.body, "{") && !strings.Contains(tt.body, "<"); isJSON != want {
				t.Errorf("isJSON = %v", isJSON)
			}
		})
	}
}

// Threat R1: bodies that attack the parser, or read differently in two parsers.
func TestParseBody_Hostile(t *testing.T) {
	var many strings.Builder
	for i := range maxFields + 1 {
		_, _ = fmt.Fprintf(&many, "<a%d/>", i)
	}
	tests := []struct{ name, body string }{
		{"empty", ""},
		{"text", "success"},
		{"HTML", "<!DOCTYPE html><html></html>"},
		{"external entity", `<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]><xml><A>&x;</A></xml>`},
		{"billion laughs", `<!DOCTYPE xml [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><xml><A>&b;</A></xml>`},
		{"DTD inside", `<xml><!DOCTYPE x><A>1</A></xml>`},
		{"unknown entity", "<xml><A>&x;</A></xml>"},
		{"processing instruction", "<?php system('id') ?><xml></xml>"},
		{"declaration inside", "<xml><?xml version='1.0'?></xml>"},
		{"other charset", `<?xml version="1.0" encoding="gbk"?><xml></xml>`},
		{"XML 1.1", `<?xml version="1.1"?><xml></xml>`},
		{"control character as a reference", "<xml><A>&#x14;</A></xml>"},
		{"control character in a name", "<xml><A\x14B>1</A\x14B></xml>"},
		{"control character in the end of CDATA", "<xml><A><![CDATA[a]]\x14></A></xml>"},
		{"depth 9", "<xml>" + strings.Repeat("<A>", 8) + strings.Repeat("</A>", 8) + "</xml>"},
		{"endless depth", strings.Repeat("<xml>", maxBody/5)},
		{"many fields", "<xml>" + many.String() + "</xml>"},
		{"field twice", "<xml><FromUserName>a</FromUserName><FromUserName>b</FromUserName></xml>"},
		{"other root", "<html></html>"},
		{"two roots", "<xml></xml><xml></xml>"},
		{"text after", "<xml></xml>a"},
		{"element after", "<xml></xml><A/>"},
		{"not closed", "<xml><A>1</A>"},
		{"closed twice", "<xml></xml></xml>"},
		{"crossed", "<xml><A><B></A></B></xml>"},
		{"truncated", "<xml><A"},
		{"JSON list", "[]"},
		{"JSON twice", "{}{}"},
		{"JSON and text", "{} a"},
		{"JSON field twice", `{"FromUserName":"a","FromUserName":"b"}`},
		{"JSON truncated", `{"A":`},
		{"JSON without end", `{"A":1`},
		// Were it removed, the backslash and the quote would join.
		{"JSON with a control character after a backslash", "{\"A\":\"a\\\x14\",\"B\":\"1\"}"},
		{"JSON with a control character in a number", "{\"A\":1\x142}"},
		{"JSON without comma", `{"A":1 "B":2}`},
		{"JSON key no string", `{1:2}`},
		{"JSON depth 9", `{"A":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`},
		{"JSON endless depth", `{"A":` + strings.Repeat("[", maxBody-5)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if f, _, err := parseBody([]byte(tt.body)); !errors.Is(err, ErrMalformed) || f != nil {
				t.Errorf("parseBody = %v, %v, want ErrMalformed", f, err)
			}
		})
	}
}

func TestNewMessage_RefusesWhatCannotBeJudged(t *testing.T) {
	good := fields{"FromUserName": "o1", "CreateTime": "1648535359", "MsgType": "event"}
	if _, err := newMessage(good, false, false); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, field, value string }{
		{"no person", "FromUserName", ""},
		{"person with a slash", "FromUserName", "o1/../o2"},
		{"person with a line break", "FromUserName", "o1\n"},
		{"endless person", "FromUserName", strings.Repeat("o", 129)},
		{"no time", "CreateTime", ""},
		{"time of letters", "CreateTime", "now"},
		{"time zero", "CreateTime", "0"},
		{"time below zero", "CreateTime", "-1"},
		{"time beyond int64", "CreateTime", "99999999999999999999"},
		{"time beyond the year 9999", "CreateTime", "253402300800"},
		{"no type", "MsgType", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fields{}
			maps.Copy(f, good)
			f[tt.field] = tt.value
			if m, err := newMessage(f, false, false); !errors.Is(err, ErrMalformed) {
				t.Errorf("newMessage = %v, %v, want ErrMalformed", m, err)
			}
		})
	}
}
