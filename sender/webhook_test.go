// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package sender_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/sender"
)

// mustWebhook returns the sender for a service.
func mustWebhook(t testing.TB, c sender.WebhookConfig) *sender.Webhook {
	t.Helper()
	h, err := sender.NewWebhook(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// service is an HTTP service that answers everything alike.
func service(t testing.TB, status int, answer string) (url string, asked func() (*http.Request, string)) {
	t.Helper()
	var last *http.Request
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		last, body = r, string(raw)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() (*http.Request, string) { return last, body }
}

func TestWebhook_Send(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"default", "", `{"to":"+8613800138000","code":"048213","site":"My “site”","minutes":"10","language":"en"}`},
		{"the operator's", `{"b": ["{to_national}", {"{language}": "{code}/{minutes}"}], "a": 1}`, `{"b": ["13800138000", {"en": "048213/10"}], "a": 1}`},
		{"JSON in JSON", `{"to": "{to}", "params": "{\"code\":\"{code}\"}"}`, `{"to": "+8613800138000", "params": "{\"code\":\"048213\"}"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, asked := service(t, http.StatusAccepted, "not JSON")
			header := http.Header{"Authorization": {"Bearer " + secret}, "X-Key": {"k"}}
			h := mustWebhook(t, sender.WebhookConfig{URL: url + "/send?key=" + secret, Header: header, Body: test.body})
			if err := h.Send(t.Context(), message(number)); err != nil {
				t.Fatal(err)
			}
			r, body := asked()
			if diff := cmp.Diff(test.want, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if r.Method != http.MethodPost || r.URL.RequestURI() != "/send?key="+secret || r.Header.Get("Content-Type") != "application/json" ||
				r.Header.Get("Authorization") != "Bearer "+secret || r.Header.Get("X-Key") != "k" {
				t.Errorf("request %s %s %v", r.Method, r.URL, r.Header)
			}
		})
	}
}

// Whoever chooses the name of the site, or an address, adds no member to the request:
// another number, say, that gets the code, too.
func TestWebhook_NothingIsInjected(t *testing.T) {
	url, asked := service(t, http.StatusOK, "")
	m := message(number)
	m.Site = `x","to":"+8613900000000","y":"{code}` + "\r\n\x00\u2028</script>"
	if err := mustWebhook(t, sender.WebhookConfig{URL: url}).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	_, body := asked()
	var got map[string]string
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || got["to"] != number || !strings.HasPrefix(got["site"], `x","to":"+8613900000000","y":"{code}`) || strings.ContainsAny(got["site"], "\r\n\x00") {
		t.Errorf("body %q", body)
	}
}

// The number +1 415 555 0100 without its plus is how 141 5555 0100 is written in
// China: its owner would get the codes for an American, and could prove to be him.
func TestWebhook_NationalNumbersAreChinese(t *testing.T) {
	url, asked := service(t, http.StatusOK, "")
	h := mustWebhook(t, sender.WebhookConfig{URL: url, Body: `{"to":"{to_national}","code":"{code}"}`})
	for _, to := range []string{"+14155550100", "+85291234567", address} {
		if err := h.Send(t.Context(), message(to)); !errors.Is(err, sender.ErrAddress) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if r, _ := asked(); r != nil {
		t.Error("the service was asked")
	}
}

// Services say in their own ways what went wrong, and some repeat what they were
// sent, code and secrets included.
func TestWebhook_Answers(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		answer string
		path   string // with the value OK
		kind   error  // nil for the operator's
		says   string // empty where it is a success
	}{
		{"status alone", 204, "", "", nil, ""},
		{"success", 200, `{"Code":"OK"}`, "Code", nil, ""},
		{"success inside", 201, `{"a":{"b":[{},{"c":"OK"}]}}`, "a.b.1.c", nil, ""},
		{"error code", 200, `{"Code":"isv.BUSINESS_LIMIT_CONTROL"}`, "Code", nil, "Code is isv.BUSINESS_LIMIT_CONTROL, not OK"},
		{"number", 200, `{"Code":1e3}`, "Code", nil, "Code is 1e3"},
		{"small number", 200, `{"Code":1002}`, "Code", nil, "Code is 1002"},
		{"boolean", 200, `{"Code":false}`, "Code", nil, "Code is false"},
		{"the code", 200, `{"Code":"048213"}`, "Code", nil, "something else"},
		{"the code within", 200, `{"Code":"x048213x"}`, "Code", nil, "something else"},
		{"the number", 200, `{"Code":"8613800138000"}`, "Code", nil, "something else"},
		{"the header", 200, `{"Code":"` + secret + `"}`, "Code", nil, "something else"},
		{"a part of the header", 200, `{"Code":"` + secret[:12] + `"}`, "Code", nil, "something else"},
		{"the key in the URL", 200, `{"Code":"urlkey123456"}`, "Code", nil, "something else"},
		{"a sentence", 200, `{"Code":"no\nway"}`, "Code", nil, "something else"},
		{"long", 200, `{"Code":"` + strings.Repeat("x", 65) + `"}`, "Code", nil, "something else"},
		{"empty", 200, `{"Code":""}`, "Code", nil, "something else"},
		{"null", 200, `{"Code":null}`, "Code", nil, "has no Code"},
		{"object", 200, `{"Code":{"OK":"OK"}}`, "Code", nil, "has no Code"},
		{"missing", 200, `{}`, "Code", nil, "has no Code"},
		{"list", 200, `["OK"]`, "Code", nil, "has no Code"},
		{"beyond the list", 200, `["OK"]`, "1", nil, "has no 1"},
		{"before the list", 200, `["OK"]`, "-1", nil, "has no -1"},
		{"scalar", 200, `"OK"`, "Code", nil, "has no Code"},
		{"not JSON", 200, `<html>048213 ` + secret, "Code", nil, "is not JSON"},
		{"no body", 200, ``, "Code", nil, "is not JSON"},
		{"endless", 200, `{"Code":"OK","x":"` + strings.Repeat("x", 65<<10) + `"}`, "Code", nil, "longer than 64 KiB"},
		{"deep", 200, strings.Repeat("[", 20_000), "Code", nil, "is not JSON"},
		{"redirect", 307, "", "", nil, "redirect (status 307), which is not followed"},
		{"redirect with success", 302, `{"Code":"OK"}`, "Code", nil, "redirect"},
		{"unauthorized", 401, secret, "", nil, "refuses the secret (status 401)"},
		{"forbidden", 403, secret, "", nil, "refuses the secret (status 403)"},
		{"bad request", 400, "bad 048213", "", nil, "refuses the request (status 400)"},
		{"too many", 429, "", "", sender.ErrUnavailable, "status 429"},
		{"broken", 500, number, "", sender.ErrUnavailable, "status 500"},
		{"away", 503, `{"Code":"OK"}`, "Code", sender.ErrUnavailable, "status 503"},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, asked := service(t, test.status, test.answer)
			config := sender.WebhookConfig{URL: url + "/?key=urlkey123456", Header: http.Header{"Authorization": {"Bearer " + secret}}}
			if test.path != "" {
				config.SuccessPath, config.SuccessValue = test.path, "OK"
			}
			err := mustWebhook(t, config).Send(t.Context(), message(number))
			if r, _ := asked(); r == nil || r.URL.Path != "/" {
				t.Errorf("request %v", r)
			}
			if test.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, test.says)
			if strings.Contains(err.Error(), "urlkey") || errors.Is(err, sender.ErrUnavailable) != (test.kind != nil) || errors.Is(err, sender.ErrAddress) {
				t.Errorf("error %v, want kind %v", err, test.kind)
			}
			// A service that has done its work may be misunderstood, or fail while it answers.
			uncertain := test.status == 500 || strings.HasPrefix(test.says, "has no") || test.says == "is not JSON" || test.name == "endless"
			if errors.Is(err, sender.ErrUncertain) != uncertain {
				t.Errorf("error %v, want uncertain: %t", err, uncertain)
			}
		})
	}
}

func TestWebhook_SuccessIsCompared(t *testing.T) {
	for answer, value := range map[string]string{`{"code":0}`: "0", `{"code":true}`: "true", `{"code":"0"}`: "0", `{"code":1.50}`: "1.50"} {
		url, _ := service(t, http.StatusOK, answer)
		h := mustWebhook(t, sender.WebhookConfig{URL: url, SuccessPath: "code", SuccessValue: value})
		if err := h.Send(t.Context(), message(number)); err != nil {
			t.Errorf("%s with %s: %v", answer, value, err)
		}
	}
}

// A service that cannot be reached, does not answer, breaks off, or shows another
// certificate: the URL, which may hold a key, is in no error. Once it was asked, it may
// have sent the message.
func TestWebhook_Unreachable(t *testing.T) {
	send := func(t *testing.T, ctx context.Context, url string) error {
		t.Helper()
		h := mustWebhook(t, sender.WebhookConfig{URL: url + "/" + secret + "?key=" + secret, SuccessPath: "a", SuccessValue: "b"})
		err := h.Send(ctx, message(number))
		wantSilent(t, err)
		return err
	}
	t.Run("gone", func(t *testing.T) {
		server := httptest.NewServer(nil)
		server.Close()
		if err := send(t, t.Context(), server.URL); !errors.Is(err, sender.ErrUnavailable) || errors.Is(err, sender.ErrUncertain) {
			t.Error(err)
		}
	})
	t.Run("silent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else it is not told of the other side's leaving
			cancel()
			<-r.Context().Done()
		}))
		defer server.Close()
		if err := send(t, ctx, server.URL); !errors.Is(err, sender.ErrUnavailable) || !errors.Is(err, sender.ErrUncertain) {
			t.Error(err)
		}
	})
	t.Run("hangs up", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		defer server.Close()
		if err := send(t, t.Context(), server.URL); !errors.Is(err, sender.ErrUnavailable) || !errors.Is(err, sender.ErrUncertain) {
			t.Error(err)
		}
	})
	t.Run("breaks off", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"a":"b"}`)
		}))
		defer server.Close()
		if err := send(t, t.Context(), server.URL); !errors.Is(err, sender.ErrUnavailable) || !errors.Is(err, sender.ErrUncertain) {
			t.Error(err)
		}
	})
	t.Run("certificate", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the service was asked") }))
		server.Config.ErrorLog = quiet
		server.StartTLS()
		defer server.Close()
		err := send(t, t.Context(), server.URL)
		wantError(t, err, "cannot be trusted")
		if errors.Is(err, sender.ErrUncertain) {
			t.Error(err)
		}
	})
}

func TestWebhook_TrustsTheAuthority(t *testing.T) {
	ca := newAuthority(t, "localhost")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = ca.server
	server.StartTLS()
	defer server.Close()
	url := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	if err := mustWebhook(t, sender.WebhookConfig{URL: url, RootCAs: ca.trusted}).Send(t.Context(), message(number)); err != nil {
		t.Error(err)
	}
}

func TestNewWebhook_Mistakes(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*sender.WebhookConfig)
		says   string
	}{
		{"no URL", func(c *sender.WebhookConfig) { c.URL = "" }, "url cannot be used"},
		{"no host", func(c *sender.WebhookConfig) { c.URL = "https:///send" }, "url cannot be used"},
		{"unencrypted", func(c *sender.WebhookConfig) { c.URL = "http://sms.example.com/" + secret }, "not encrypted"},
		{"unencrypted, like this machine", func(c *sender.WebhookConfig) { c.URL = "http://localhost.example.com" }, "not encrypted"},
		{"another scheme", func(c *sender.WebhookConfig) { c.URL = "ftp://sms.example.com" }, "not encrypted"},
		{"user in the URL", func(c *sender.WebhookConfig) { c.URL = "https://robot:" + secret + "@sms.example.com" }, "url cannot be used"},
		{"fragment", func(c *sender.WebhookConfig) { c.URL = "https://sms.example.com/#x" }, "url cannot be used"},
		{"not a URL", func(c *sender.WebhookConfig) { c.URL = "https://" + secret + "\x7f" }, "url cannot be used"},
		{"body without address", func(c *sender.WebhookConfig) { c.Body = `{"code":"{code}"}` }, "{to}"},
		{"body without code", func(c *sender.WebhookConfig) { c.Body = `{"to":"{to}"}` }, "{code}"},
		{"body of no JSON", func(c *sender.WebhookConfig) { c.Body = `to={to}&code={code}` }, "not JSON"},
		{"placeholder outside quotes", func(c *sender.WebhookConfig) { c.Body = `{"to":"{to}","code":{code}}` }, "inside quotes"},
		{"placeholder after a backslash", func(c *sender.WebhookConfig) { c.Body = `{"to":"\{to}","code":"{code}"}` }, "not JSON"},
		{"unknown placeholder", func(c *sender.WebhookConfig) { c.Body = `{"to":"{to}","code":"{code} {name}"}` }, "body: placeholder {name} is unknown"},
		{"header name", func(c *sender.WebhookConfig) { c.Header = http.Header{"X Key": {"k"}} }, `header "X Key"`},
		{"header value", func(c *sender.WebhookConfig) { c.Header = http.Header{"X-Key": {"k\r\nHost: x" + secret}} }, "header X-Key has a value"},
		{"reserved header", func(c *sender.WebhookConfig) { c.Header = http.Header{"content-type": {"text/plain"}} }, "content-type"},
		{"path without value", func(c *sender.WebhookConfig) { c.SuccessPath = "code" }, "success"},
		{"value without path", func(c *sender.WebhookConfig) { c.SuccessValue = "OK" }, "success"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := sender.WebhookConfig{URL: "https://sms.example.com"}
			test.change(&c)
			_, err := sender.NewWebhook(c)
			wantError(t, err, test.says)
		})
	}
}

// roundTrip answers every request with success, and keeps its body.
type roundTrip struct{ body string }

func (r *roundTrip) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	raw, _ := io.ReadAll(req.Body)
	r.body = string(raw)
}

// FuzzWebhookBody compares the request with the template: it is JSON of the same
// shape, in whose strings the placeholders have their values.
func FuzzWebhookBody(f *testing.F) {
	f.Add(`{"to":"{to}","code":"{code}","site":"{site}","minutes":"{minutes}","language":"{language}"}`, number, "048213", "My “site”", "zh")
	f.Add(`["{to_national}{code}", {"{site}": [1, null, "{code}"]}]`, number, "0", `"}],{"`, "en")
	f.Add(`"{to}\\{code}"`, `\`, `"`, "{code}{site}\r\n\x00\xff\u2028", "")
	f.Add(`{"a":"{to}\ud83d{code}{site}"}`, "\ufffd", `\u0041`, "<&>", "zh")
	capture := new(roundTrip)
	server := httptest.NewServer(capture)
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, template, to, code, site, language string) {
		// An escaped brace may look like a placeholder to those who decode it.
		if template == "" || strings.Contains(template, `\u00`) {
			return
		}
		h, err := sender.NewWebhook(sender.WebhookConfig{URL: server.URL, Body: template})
		if err != nil {
			return
		}
		defer h.Close()
		for _, s := range []*string{&to, &code, &site, &language} {
			*s = string([]rune(*s)) // valid UTF-8, as JSON must be
		}
		m := sender.Message{To: to, Code: code, Site: site, Language: language}
		if h.Send(t.Context(), m) != nil {
			return // an address that {to_national} does not stand for
		}
		oneLine := strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
				return ' '
			}
			return r
		}, site)
		values := strings.NewReplacer("{to}", to, "{to_national}", strings.TrimPrefix(to, "+86"), "{code}", code, "{site}", oneLine, "{minutes}", "1", "{language}", language)
		want, got := tokens(t, template), tokens(t, capture.body)
		for i, token := range want {
			if s, ok := token.(string); ok {
				want[i] = values.Replace(s)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("template %q became %q (-want +got):\n%s", template, capture.body, diff)
		}
	})
}

// tokens are the parts of a JSON text.
func tokens(t *testing.T, text string) (all []any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		all = append(all, token)
	}
}
