// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-wechat/caddy-wechat/caddymodule"
)

// TestAuditIsDocumented: each action, result, actor and field that the sources have
// is on the page, and no other.
func TestAuditIsDocumented(t *testing.T) {
	text := read(t, "docs/audit.md")
	_, fields, _ := strings.Cut(text, "\n## Fields\n")
	fields, actions, _ := strings.Cut(fields, "\n## Actions\n")
	actions, _, _ = strings.Cut(actions, "\n## ")
	source, module := read(t, "audit/audit.go"), read(t, "caddymodule/audit.go")
	same := func(what string, pattern, in, table string) {
		t.Helper()
		known := make(map[string]bool)
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(in, -1) {
			known[match[1]] = true
			if !strings.Contains(table, "\n| `"+match[1]+"` |") {
				t.Errorf("%s %s is not on the page", what, match[1])
			}
		}
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
			if !known[row[1]] {
				t.Errorf("the page has %s %s, which the program does not know", what, row[1])
			}
		}
	}
	same("action", `Action = "([a-z_]+)"`, source, actions)
	same("field", `(?:add\(|field\{|\[\]field\{\{|, \{)"([a-z_]+)", `, module, fields)
	for _, word := range regexp.MustCompile(`(?:Result|ActorKind) = "([a-z_]+)"`).FindAllStringSubmatch(source, -1) {
		if !strings.Contains(fields, "`"+word[1]+"`") {
			t.Errorf("%s is not on the page", word[1])
		}
	}
}

// TestSendersAreDocumented does for the senders' page what TestEveryOptionIsDocumented
// does for the configuration.
func TestSendersAreDocumented(t *testing.T) {
	text := read(t, "docs/senders.md")
	for name, config := range map[string]any{"smtp": caddymodule.SMTP{}, "webhook": caddymodule.Webhook{}} {
		_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n\twechat {\n\t\tusers {\n\t\t\tbind email {\n\t\t\t\tsender "+name+" {\n\t\t\t\t\tbogus\n\t\t\t\t}\n\t\t\t}\n\t\t}\n\t}\n}"), nil)
		if err == nil {
			t.Fatal("the parser knows the word bogus")
		}
		known := knownWords.FindStringSubmatch(err.Error())
		if known == nil {
			t.Fatalf("the parser does not list its words: %v", err)
		}
		table := section(t, text, name)
		for word := range strings.SplitSeq(known[1], ", ") {
			if !regexp.MustCompile("(?m)^\\| [^|]*`" + word + "`").MatchString(table) {
				t.Errorf("subdirective %s is not in the table of section %s", word, name)
			}
		}
		for _, field := range jsonNames(reflect.TypeOf(config)) {
			if !strings.Contains(table, "`"+field+"`") {
				t.Errorf("JSON field %s is not in section %s", field, name)
			}
		}
	}
}
