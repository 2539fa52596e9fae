// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// subdirectives maps the names allowed in a block to what reads them. A reader
// starts on the name.
type subdirectives map[string]func(*caddyfile.Dispenser) error

// parseBlock reads the block that begins on the current line, if one does. Each
// subdirective may stand once, those named in repeatable any number of times.
func parseBlock(d *caddyfile.Dispenser, known subdirectives, repeatable ...string) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		read := known[name]
		if read == nil {
			return d.Errf("unrecognized subdirective %q%s", name, oneOf(slices.Sorted(maps.Keys(known))))
		}
		if seen[name] && !slices.Contains(repeatable, name) {
			return d.Errf("%s stands twice in this block: keep one", name)
		}
		seen[name] = true
		if err := read(d); err != nil {
			return err
		}
	}
	return nil
}

func oneOf(names []string) string {
	if len(names) == 0 {
		return ": no block is expected here"
	}
	return ": use one of " + strings.Join(names, ", ")
}

// text reads exactly one argument.
func text[T ~string](to *T) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		var s string
		name := d.Val()
		if !d.AllArgs(&s) {
			return d.Errf("%s takes exactly one value", name)
		}
		if s == "" { // most likely a {$VARIABLE} that is not set
			return d.Errf("%s is empty: give it a value, or remove the line", name)
		}
		*to = T(s)
		return nil
	}
}

// oneWord is text for a value that must be one of a few.
func oneWord[T ~string](to *T, allowed ...T) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if err := text(to)(d); err != nil {
			return err
		}
		if !slices.Contains(allowed, *to) {
			return d.Errf("%s %q is unknown: use %s", name, *to, joined(allowed))
		}
		return nil
	}
}

func joined[T ~string](words []T) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = string(w)
	}
	return strings.Join(all, ", ")
}

// words reads one argument or more.
func words(to *[]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		*to = d.RemainingArgs()
		if len(*to) == 0 {
			return d.Errf("%s takes at least one value", name)
		}
		return nil
	}
}

// span reads a positive duration, such as 90s, 24h or 7d.
func span(to *caddy.Duration) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name, raw := d.Val(), ""
		if err := text(&raw)(d); err != nil {
			return err
		}
		dur, err := caddy.ParseDuration(raw)
		if err != nil || dur <= 0 {
			return d.Errf("%s %q is no duration: write it like 90s, 24h or 7d", name, raw)
		}
		*to = caddy.Duration(dur)
		return nil
	}
}

// flag reads a subdirective that has no argument.
func flag(to *bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if d.NextArg() {
			return d.Errf("%s takes no value: remove %q", name, d.Val())
		}
		*to = true
		return nil
	}
}

// onOff reads on or off.
func onOff(to *bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		var word string
		err := oneWord(&word, "on", off)(d)
		*to = word == "on"
		return err
	}
}

// parseLimit reads a rate, such as 30/1m, or off.
func parseLimit(d *caddyfile.Dispenser, raw string) (*Limit, error) {
	if raw == "off" {
		return new(Limit), nil
	}
	times, per, _ := strings.Cut(raw, "/")
	n, err := strconv.Atoi(times)
	dur, durErr := caddy.ParseDuration(per)
	if err != nil || durErr != nil || n <= 0 || dur <= 0 {
		return nil, d.Errf("%q is no rate: write it like 30/1m, or off", raw)
	}
	return &Limit{Count: n, Per: caddy.Duration(dur)}, nil
}

// source says where the current token stands.
func source(d *caddyfile.Dispenser) string {
	return fmt.Sprintf("%s:%d", d.File(), d.Line())
}
