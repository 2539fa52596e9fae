// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestLanguage(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		want   string
	}{
		{"absent", nil, "zh"},
		{"blank", []string{" "}, "zh"},
		{"Chinese", []string{"zh-CN,zh;q=0.9,en;q=0.8"}, "zh"},
		{"traditional", []string{"zh-Hant-TW"}, "zh"},
		{"Cantonese", []string{"yue-HK"}, "zh"},
		{"English first", []string{"en-US,en;q=0.9,zh-CN;q=0.8"}, "en"},
		{"weights, not order", []string{"en;q=0.1, zh;q=0.9"}, "zh"},
		{"neither", []string{"de-DE,fr;q=0.5"}, "en"},
		{"Chinese after a stranger", []string{"de,zh;q=0.5"}, "zh"},
		{"any", []string{"*"}, "en"},
		{"Chinese unwanted", []string{"zh;q=0, en"}, "en"},
		{"two lines", []string{"de", "zh"}, "zh"},
		{"garbage", []string{"\x00;;q=,,"}, "en"},
		{"too long", []string{strings.Repeat("zh,", 1000)}, "en"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Accept-Language": tt.header}}
			if got := Language(r); got != tt.want {
				t.Errorf("Language(%q) = %q, want %q", tt.header, got, tt.want)
			}
		})
	}
}

func FuzzLanguage(f *testing.F) {
	for _, seed := range []string{"", "zh-CN,zh;q=0.9", "en", "*", "x-y-z;q=2", "a-" + strings.Repeat("b-", 99)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := &http.Request{Header: http.Header{"Accept-Language": {header}}}
		if got := Language(r); got != "zh" && got != "en" {
			t.Errorf("Language(%q) = %q", header, got)
		}
	})
}

func FuzzAcceptsGzip(f *testing.F) {
	f.Add("gzip;q=0, br")
	f.Fuzz(func(t *testing.T, header string) {
		if acceptsGzip(header) && !strings.Contains(strings.ToLower(header), "gzip") {
			t.Errorf("acceptsGzip(%q) = true", header)
		}
	})
}

// Both languages say everything: no field, notice, view or reason is left out of one.
func TestTexts_Complete(t *testing.T) {
	zh, en := leaves("", reflect.ValueOf(chinese)), leaves("", reflect.ValueOf(english))
	for name, value := range zh {
		if value == "" {
			t.Errorf("%s is empty in Chinese", name)
		}
		if _, ok := en[name]; !ok {
			t.Errorf("%s is missing in English", name)
		}
	}
	for name, value := range en {
		if value == "" {
			t.Errorf("%s is empty in English", name)
		}
		if _, ok := zh[name]; !ok {
			t.Errorf("%s is missing in Chinese", name)
		}
		for _, slot := range []string{"{time}", "{minutes}", "{number}"} {
			if strings.Contains(value, slot) != strings.Contains(zh[name], slot) {
				t.Errorf("%s has %s in one language only", name, slot)
			}
		}
	}
}

// leaves returns every string below a value, by its path.
func leaves(name string, v reflect.Value) map[string]string {
	found := make(map[string]string)
	add := func(key string, child reflect.Value) {
		maps.Copy(found, leaves(name+"."+key, child))
	}
	switch kind := v.Kind().String(); kind {
	case "string":
		found[name] = v.String()
	case "struct":
		for i := range v.NumField() {
			add(v.Type().Field(i).Name, v.Field(i))
		}
	case "array":
		for i := range v.Len() {
			add(strconv.Itoa(i), v.Index(i))
		}
	case "map":
		for _, k := range v.MapKeys() {
			add(k.String(), v.MapIndex(k))
		}
	default:
		panic("leaves: no case for " + kind)
	}
	return found
}

// The script names views and reasons by strings; each it shows must have a text.
func TestTexts_CoverScript(t *testing.T) {
	script, err := assetFiles.ReadFile("assets/stage.js")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(script), "const VIEWS = {")
	block, _, _ := strings.Cut(rest, "};")
	var views int
	for line := range strings.Lines(block) {
		name, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		views++
		if name == "denied" {
			continue // its text is the reason's
		}
		if _, ok := chinese.Script.Views[name]; !ok {
			t.Errorf("the script's view %q has no text", name)
		}
	}
	if views != len(chinese.Script.Views)+1 {
		t.Errorf("the script has %d views, the texts %d and denied", views, len(chinese.Script.Views))
	}
}
