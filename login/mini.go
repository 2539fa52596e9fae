// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddy-wechat/caddy-wechat/wechat"
)

// Mini begins attempts of the method MiniQR.
type Mini struct {
	// Codes makes the codes, such as a *wechat.Client.
	Codes MiniCoder
	// Page is the login page of the mini program, such as pages/login/login,
	// and Env the version of it that opens: release, trial or develop.
	Page, Env string
	// TTL is how long a code can be scanned.
	TTL time.Duration
	// Confirm is what the person who scans must do.
	Confirm Confirm
	// Links says whether the mini program may be opened by a link, too, from
	// the browser of a phone.
	Links bool

	// noLinks is until when WeChat is not asked for one, in seconds since 1970.
	noLinks atomic.Int64
}

// noLinksFor is for how long WeChat's refusal of links is believed, where it lasts
// until the operator does something: soon enough for a cure to be seen.
const noLinksFor = 10 * time.Minute

// MiniCoder makes codes of, and links to, a mini program.
type MiniCoder interface {
	// MiniCode returns the image of a code that opens page with the scene.
	MiniCode(ctx context.Context, scene, page, env string) ([]byte, error)
	// MiniLink returns a link that opens page with the query, for ttl.
	MiniLink(ctx context.Context, page, query, env string, ttl time.Duration) (string, error)
}

// Start implements Starter. On a phone it makes a link in place of the code:
// nobody can scan his own screen.
func (m *Mini) Start(ctx context.Context, a *Attempt) (Shown, error) {
	a.ExpiresAt = a.CreatedAt.Add(m.TTL)
	a.ask(m.Confirm)
	link, trouble := m.link(ctx, a)
	if link != "" {
		return Shown{Link: link}, nil
	}
	// The code can still be saved to the album and be scanned from there.
	image, err := m.Codes.MiniCode(ctx, a.Scene, m.Page, m.Env)
	if err != nil {
		return Shown{}, fmt.Errorf("creating the mini program code: %w", err)
	}
	if refusal, ok := errors.AsType[*wechat.Error](trouble); ok && refusal.Permanent() {
		m.noLinks.Store(a.CreatedAt.Add(noLinksFor).Unix())
	}
	return Shown{QR: &QR{Image: dataURI(image)}, Trouble: trouble}, nil
}

// link returns a link where there is to be one, or why WeChat makes none: an
// individual's mini program cannot have any.
func (m *Mini) link(ctx context.Context, a *Attempt) (string, error) {
	if !a.OnPhone || !m.Links || a.CreatedAt.Unix() < m.noLinks.Load() {
		return "", nil
	}
	link, err := m.Codes.MiniLink(ctx, m.Page, "scene="+a.Scene, m.Env, m.TTL)
	if err != nil {
		return "", fmt.Errorf("creating the link to the mini program: %w", err)
	}
	return link, nil
}

// dataURI puts an image into the page: visitors load nothing from elsewhere.
func dataURI(image []byte) string {
	return "data:" + http.DetectContentType(image) + ";base64," + base64.StdEncoding.EncodeToString(image)
}
