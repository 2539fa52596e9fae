// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

const (
	linkBase        = "https://wxaurl.cn"
	linkPath        = "/wxaurl/"
	linksPerDay     = 500_000
	shortestLink    = time.Minute
	longestLink     = 30 * 24 * time.Hour
	longestLinkDays = 30

	longestLinkQuery = 1024
)

// urlLink is one link into a mini program.
type urlLink struct {
	appID, path, query, env string
	expires                 time.Time
}

type linkRequest struct {
	Path           string `json:"path"`
	Query          string `json:"query"`
	EnvVersion     string `json:"env_version"`
	ExpireType     int    `json:"expire_type"`
	ExpireTime     int64  `json:"expire_time"`
	ExpireInterval int    `json:"expire_interval"`
}

type linkAnswer struct {
	apiError
	URLLink string `json:"url_link"`
}

var linkQueryPattern = regexp.MustCompile("^[A-Za-z0-9!#$&'()*+,/:;=?@._~%-]*$")

// generateURLLink is wxa/generate_urllink. Its errcodes are from both editions of
// the documents, and from reports: an individual gets 40002, not 48001.
// https://developers.weixin.qq.com/miniprogram/dev/server/API/qrcode-link/url-link/api_generateurllink.html
func (s *Server) generateURLLink(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, m, e := s.authorizeMiniLocked(c)
	if e.ErrCode != 0 {
		return e
	}
	if m.Individual {
		return apiError{40002, "invalid grant_type"} // sic: 暂无生成权限
	}
	if code := app.quota.take(EndpointURLLink, c.now, linksPerDay, 0); code != 0 {
		return quotaError(code)
	}
	var req linkRequest
	if json.Unmarshal(c.body, &req) != nil {
		return apiError{47001, "data format error"}
	}
	expires, e := req.check(m, c.now)
	if e.ErrCode != 0 {
		return e
	}
	s.purgeMiniLocked(c.now)
	id := randomString(11)
	s.mini.links[id] = &urlLink{app.AppID, req.Path, req.Query, cmp.Or(req.EnvVersion, envRelease), expires}
	return linkAnswer{apiError{0, "ok"}, s.linkBase() + id}
}

// linkBase is where links lead: to WeChat, or to this Server where its QR codes
// do, too.
func (s *Server) linkBase() string {
	if s.opts.QRBase == weixinBase {
		return linkBase + "/"
	}
	return s.opts.QRBase + linkPath
}

// check returns when the link ends.
func (r linkRequest) check(m *miniProgram, now time.Time) (time.Time, apiError) {
	switch {
	case len(m.pages(envRelease)) == 0: // whatever version is asked for
		return time.Time{}, apiError{85079, "miniprogram has no online release"}
	case !m.opens(envRelease, r.Path):
		return time.Time{}, apiError{40165, "invalid weapp pagepath"}
	case len(r.Query) > longestLinkQuery || !linkQueryPattern.MatchString(r.Query):
		return time.Time{}, apiError{40212, "invalid query"}
	case r.EnvVersion != "" && !knownEnv(r.EnvVersion):
		return time.Time{}, apiError{85402, "invalid env_version"}
	case r.ExpireType == 0:
		return r.untilTime(now)
	case r.ExpireType == 1 && r.ExpireInterval >= 1 && r.ExpireInterval <= longestLinkDays:
		return now.AddDate(0, 0, r.ExpireInterval), apiError{}
	case r.ExpireType == 1 && r.ExpireInterval > longestLinkDays:
		return time.Time{}, apiError{85400, "reach max long time quota limit"}
	}
	return time.Time{}, apiError{40097, "invalid args"}
}

func (r linkRequest) untilTime(now time.Time) (time.Time, apiError) {
	expires := time.Unix(r.ExpireTime, 0)
	if life := expires.Sub(now); life <= shortestLink || life > longestLink {
		return time.Time{}, apiError{85401, "time limit between 1min and 1year"} // sic: it is a month
	}
	return expires, apiError{}
}

// findLink finds a link that a phone's browser opens.
func (s *Server) findLink(link string) (*urlLink, error) {
	id, ok := strings.CutPrefix(link, s.linkBase())
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.mini.links[id]
	switch {
	case !ok || found == nil:
		return nil, fmt.Errorf("opening a link: %w", ErrUnknownCode)
	case !s.opts.Now().Before(found.expires):
		return nil, fmt.Errorf("opening a link: %w", ErrExpiredCode)
	}
	return found, nil
}
