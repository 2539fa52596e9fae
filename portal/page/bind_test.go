// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/caddy-wechat/caddy-wechat/internal/chrometest"
)

func bindRendering(name string, status int, d Bind) rendering {
	return rendering{name, status, originOnly, "", func(p *Pages, w http.ResponseWriter, r *http.Request) { p.Bind(w, r, status, d) }}
}

// bindRenderings are the pages for addresses and names.
func bindRenderings(text string) []rendering {
	name := func(name string, status int, problem Problem) rendering {
		return rendering{name, status, originOnly, "", func(p *Pages, w http.ResponseWriter, r *http.Request) {
			p.Name(w, r, status, Name{Name: text, ReturnTo: "/" + text, Problem: problem})
		}}
	}
	mail := Bind{Channel: "email", BySender: true, ReturnTo: "/" + text}
	bad, sent, wrong, phone, mini, set := mail, mail, mail, mail, mail, mail
	bad.Address, bad.Problem = text, BadAddress
	sent.Address, sent.Sent = text, true
	wrong.Address, wrong.Sent, wrong.Problem = text, true, WrongCode
	phone.Channel, phone.Others = "phone", []string{"email"}
	mini.Channel, mini.BySender = "phone", false
	set.Bound, set.Others = text, []string{"phone"}
	return []rendering{
		bindRendering("bind in place", http.StatusForbidden, mail),
		bindRendering("bind, bad address", http.StatusBadRequest, bad),
		bindRendering("bind, code sent", http.StatusOK, sent),
		bindRendering("bind, wrong code", http.StatusBadRequest, wrong),
		bindRendering("bind, phone", http.StatusOK, phone),
		bindRendering("bind, phone by the mini program", http.StatusOK, mini),
		bindRendering("bind, the address that is set", http.StatusOK, set),
		name("name in place", http.StatusForbidden, ""),
		name("name, bad", http.StatusBadRequest, BadName),
	}
}

// Each problem is said in both languages, where a screen reader announces it, and as
// what the field is about.
func TestBind_Problems(t *testing.T) {
	for _, problem := range []Problem{BadAddress, WrongCode, CodeUsedUp, TooManyBad, TooManyOut, NotSent} {
		for language, texts := range map[string]*texts{"en": &english, "zh": &chinese} {
			for _, sent := range []bool{false, true} {
				d := Bind{Channel: "email", BySender: true, Sent: sent, Problem: problem}
				_, doc := parse(t, plainSite, bindRendering("", http.StatusOK, d), language)
				alert := withID(t, doc, "alert")
				if want := texts.Bind.problem(problem); want == "" || text(alert) != want || attribute(alert, "role") != "alert" {
					t.Errorf("%s, %s: %q", problem, language, text(alert))
				}
				field := withID(t, doc, map[bool]string{false: "address", true: "code"}[sent])
				if attribute(field, "aria-describedby") != "alert about" || attribute(field, "aria-invalid") != "true" {
					t.Errorf("%s: the field is described by %q", problem, attribute(field, "aria-describedby"))
				}
			}
		}
	}
	_, doc := parse(t, plainSite, bindRendering("", http.StatusOK, Bind{Channel: "email", BySender: true}), "en")
	if attribute(withID(t, doc, "address"), "aria-describedby") != "about" || strings.Contains(text(doc), english.Bind.problem(BadAddress)) {
		t.Error("a problem is shown where there is none")
	}
}

func withID(t *testing.T, doc *html.Node, id string) *html.Node {
	t.Helper()
	for n := range doc.Descendants() {
		if attribute(n, "id") == id {
			return n
		}
	}
	t.Fatalf("nothing has the id %s", id)
	return nil
}

// Each field has a label.
func TestBind_Labels(t *testing.T) {
	for _, page := range bindRenderings("x") {
		_, doc := parse(t, plainSite, page, "en")
		labels := make(map[string]bool)
		for _, label := range elements(doc, "label") {
			labels[attribute(label, "for")] = text(label) != ""
		}
		for _, input := range elements(doc, "input") {
			if attribute(input, "type") != "hidden" && !labels[attribute(input, "id")] {
				t.Errorf("%s: the field %s has no label", page.name, attribute(input, "name"))
			}
		}
	}
}

// People fill the forms in by the keyboard alone, without a script: the field has the
// focus, Enter sends the form, Tab leads to the other button.
func TestBindPages_ByKeyboard(t *testing.T) {
	list := bindRenderings("/x?a=1&b=2")
	base, forms := gallery(t, list)
	for _, tt := range []struct {
		name, path string
		page       int
		keys       string
		want       url.Values
	}{
		{"address", "/_wechat/bind/code", 0, "a@example.com" + kb.Enter, url.Values{"channel": {"email"}, "address": {"a@example.com"}}},
		{"code", "/_wechat/bind", 2, "123456" + kb.Enter, url.Values{"channel": {"email"}, "address": {"/x?a=1&b=2"}, "code": {"123456"}}},
		{"another code", "/_wechat/bind/code", 2, kb.Tab + kb.Tab + kb.Enter, url.Values{"channel": {"email"}, "address": {"/x?a=1&b=2"}, "code": {""}, "again": {"true"}}},
		// The field has the name already; keys that move the cursor may come too early.
		{"name", "/_wechat/name", 7, "!" + kb.Enter, url.Values{"name": {"!/x?a=1&b=2"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab := chrometest.Open(t)
			tab.Run(
				chrometest.Command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}),
				chromedp.Navigate(fmt.Sprintf("%s/%d", base, tt.page)),
				chromedp.Focus(chromedp.CSS("[autofocus]")), // which may take a moment by itself
				chromedp.KeyEvent(tt.keys),
			)
			form := posted(t, forms)
			tt.want.Set("return_to", "//x?a=1&b=2")
			if diff := cmp.Diff(tt.want, form.PostForm); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
			if got := form.Header.Get("Origin"); got != base || form.URL.Path != tt.path {
				t.Errorf("posted to %s from %q, want %s from %q", form.URL.Path, got, tt.path, base)
			}
		})
	}
}
