// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	linkEndpoint = "wxa/generate_urllink"

	// minLinkTTL is above WeChat's minute, which is counted from its own clock.
	minLinkTTL = 2 * time.Minute
	maxLinkTTL = 30 * 24 * time.Hour

	maxLinkQuery = 1024
)

// linkQueryPattern is WeChat's rule.
var linkQueryPattern = regexp.MustCompile("^[A-Za-z0-9!#$&'()*+,/:;=?@._~%-]*$")

// linkBases are where WeChat's links lead to, and ticketPattern is what may follow.
var (
	linkBases     = []string{"https://wxaurl.cn/", "https://wxmpurl.cn/"}
	ticketPattern = regexp.MustCompile(`^([A-Za-z0-9._~*/?=&-]|%[0-9A-Fa-f]{2}){1,256}$`)
)

// URLLink says what a link from a phone's browser into the mini program opens.
type URLLink struct {
	// Path is a page of the released version as app.json names it, without a
	// leading slash and without a query. Default: the home page.
	Path string
	// Query is what the page gets, as "scene=…": at most 1024 characters, values
	// URL-encoded by the caller.
	Query string
	// EnvVersion is the version that the link opens from outside WeChat. Default: EnvRelease.
	EnvVersion EnvVersion
	// TTL is how long the link works, cut to whole seconds: 2 minutes (WeChat
	// wants more than one, by its own clock) to 30 days.
	TTL time.Duration
}

// CreateURLLink makes a link that opens the mini program from a browser on a
// phone. Like a QR code it is no secret. A link that breaks WeChat's rules is an
// error before any call. Only the released mini program of a company or another
// body may do this, 500,000 times a day.
//
// The link is https and leads to WeChat, or else is an [ErrUnavailable]. Where
// [Config.APIURL] names another server, a simulated WeChat, it may lead there, too.
//
// See https://developers.weixin.qq.com/miniprogram/dev/server/API/qrcode-link/url-link/api_generateurllink.html
func (c *Client) CreateURLLink(ctx context.Context, link URLLink) (string, error) {
	if err := link.check(); err != nil {
		return "", err
	}
	var answer struct {
		Link string `json:"url_link"`
	}
	err := c.unlessHeld(&c.mini.link, func() error {
		return c.callWithToken(ctx, linkEndpoint, newLinkRequest(link, c.now()), &answer)
	}, linkEndpoint, worthHolding)
	if err != nil {
		return "", err
	}
	if !trustedLink(answer.Link, c.apiURL) {
		return "", unavailable(linkEndpoint, "the answer names no link that leads to WeChat")
	}
	return answer.Link, nil
}

func (l URLLink) check() error {
	const doing = "creating a link into the mini program: "
	switch {
	case !validPage(l.Path):
		return errors.New(doing + "the path must be as in app.json, without a leading slash and without a query")
	case len(l.Query) > maxLinkQuery || !linkQueryPattern.MatchString(l.Query):
		return errors.New(doing + "the query must be at most 1024 of the characters that a URL-encoded query has")
	case !l.EnvVersion.valid():
		return errors.New(doing + "the version must be release, trial or develop")
	case l.TTL < minLinkTTL || l.TTL > maxLinkTTL:
		return errors.New(doing + "the lifetime must be from 2 minutes to 30 days")
	}
	return nil
}

// linkRequest names the second at which the link ends (expire_type 0): the other
// type counts in days, and a link into a login should not outlive it.
type linkRequest struct {
	Path       string     `json:"path,omitempty"`
	Query      string     `json:"query,omitempty"`
	EnvVersion EnvVersion `json:"env_version,omitempty"`
	ExpireType int        `json:"expire_type"`
	ExpireTime int64      `json:"expire_time"`
}

func newLinkRequest(l URLLink, now time.Time) linkRequest {
	return linkRequest{l.Path, l.Query, l.EnvVersion, 0, now.Add(l.TTL).Unix()}
}

// trustedLink keeps a browser from being sent elsewhere by whoever answers in
// WeChat's place. The slash ends the host, so a prefix decides.
func trustedLink(link, apiURL string) bool {
	bases := linkBases
	if apiURL != DefaultAPIURL {
		bases = append(slices.Clone(bases), apiURL+"/")
	}
	return slices.ContainsFunc(bases, func(base string) bool {
		ticket, ok := strings.CutPrefix(link, base)
		return ok && ticketPattern.MatchString(ticket)
	})
}
