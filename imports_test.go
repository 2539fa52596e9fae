// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddywechat

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/caddy-wechat/caddy-wechat"

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath   string
	Imports      []string // of files that are not tests
	TestImports  []string
	XTestImports []string
}

// packages returns the packages of this module.
func packages(t *testing.T) (all []goPackage) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list finds %d packages only", len(all))
	}
	return all
}

// within says whether a path is one of dirs, relative to the module, or below one.
func within(path string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		full := module + "/" + dir
		return path == full || strings.HasPrefix(path, full+"/")
	})
}

// allowed is which packages of ours each one may import, "…/" meaning those
// below, too. It is design.md's picture of the layers as a table: what is missing
// here is not allowed.
var allowed = map[string][]string{
	"":                      {"caddymodule"},
	"caddymodule":           {"portal", "people", "userfile", "audit", "sender", "login", "session", "user", "store", "store/embedded", "store/redis", "wechat", "internal/bucket"},
	"portal":                {"portal/page", "people", "audit", "sender", "login", "session", "user", "store", "wechat", "internal/bucket"},
	"userfile":              {"people", "user"},
	"people":                {"audit", "session", "user", "store"},
	"audit":                 {},
	"sender":                {},
	"portal/page":           {},
	"login":                 {"store", "store/watch", "wechat", "internal/bucket"},
	"session":               {"store", "store/record"},
	"user":                  {"store", "store/record", "store/watch", "wechat"},
	"store":                 {},
	"store/record":          {"store"},
	"store/watch":           {},
	"store/embedded":        {"store", "store/internal/topics"},
	"store/redis":           {"store", "store/internal/topics"},
	"store/internal/topics": {"store"},
	"store/storetest":       {"store"},
	"wechat":                {},
	"wechat/wechattest":     {},
	"cmd/caddy":             {"", "caddymodule"},
	"e2e":                   {},
	"internal/bucket":       {},
	"internal/chrometest":   {},
	"internal/redistest":    {},
}

// forTests are the packages that only tests import.
var forTests = []string{"store/storetest", "wechat/wechattest", "internal/chrometest", "internal/redistest"}

// anything are the programs at the top, which may import whatever they need.
var anything = []string{"cmd/demo", "bench", "examples", "docs", "tools"}

func TestImports_RunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if within(p.ImportPath, anything...) {
			continue
		}
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s is new: say in this test what it may import", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			if of := strings.TrimPrefix(strings.TrimPrefix(path, module), "/"); !slices.Contains(may, of) {
				t.Errorf("%s imports %s: imports run caddymodule → portal → login, session, user → store, wechat", p.ImportPath, path)
			}
		}
	}
}

// A library that one package is there to hide is imported by no other.
func TestImports_LibrariesStayInTheirPackage(t *testing.T) {
	for _, rule := range []struct {
		library string
		dirs    []string
	}{
		{"github.com/caddyserver/", []string{"caddymodule", "cmd", "e2e", "examples", "bench", "docs"}},
		{"go.etcd.io/bbolt", []string{"store/embedded"}},
		{"github.com/redis/go-redis", []string{"store/redis"}},
		{"github.com/golang-jwt/jwt", []string{"session"}},
		{"github.com/prometheus/", []string{"caddymodule"}},
		{"github.com/wneessen/go-mail", []string{"sender"}},
	} {
		for _, p := range packages(t) {
			if within(p.ImportPath, rule.dirs...) {
				continue
			}
			for _, path := range p.Imports {
				if strings.HasPrefix(path, rule.library) {
					t.Errorf("%s imports %s; only %v may", p.ImportPath, path, rule.dirs)
				}
			}
		}
	}
}

// The simulator shares no code with the client, tests included, so that a mistake
// of one cannot hide in the other.
func TestImports_SimulatorIsIndependent(t *testing.T) {
	for _, p := range packages(t) {
		if !within(p.ImportPath, "wechat/wechattest") {
			continue
		}
		for _, path := range slices.Concat(p.Imports, p.TestImports) {
			if path == module+"/wechat" {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
		}
	}
}

// Random values are secrets here, or might become some (R5).
func TestImports_NoMathRand(t *testing.T) {
	for _, p := range packages(t) {
		for _, path := range p.Imports {
			if path == "math/rand" || path == "math/rand/v2" {
				t.Errorf("%s imports %s; use crypto/rand", p.ImportPath, path)
			}
		}
	}
}

// What ships must not contain what tests.
func TestImports_NoTestCodeShips(t *testing.T) {
	for _, p := range packages(t) {
		if within(p.ImportPath, forTests...) || within(p.ImportPath, anything...) || within(p.ImportPath, "e2e") {
			continue
		}
		for _, path := range p.Imports {
			if within(path, forTests...) || path == "testing" || strings.HasPrefix(path, "net/http/httptest") {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
		}
	}
}
