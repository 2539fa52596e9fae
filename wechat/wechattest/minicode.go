// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	miniCodePath      = "/wxacode"
	miniCodesPerMin   = 5000
	maxMiniScene      = 32
	maxRecentCodes    = 20
	defaultCodeWidth  = 430
	smallestCodeWidth = 280
	largestCodeWidth  = 1280
)

// sceneCharacters are allowed besides letters and digits. There is no %: a scene
// is never URL-encoded by the developer.
const sceneCharacters = "!#$&'()*+,/:;=?@-._~"

type miniCodeRequest struct {
	Scene      string `json:"scene"`
	Page       string `json:"page"`
	CheckPath  *bool  `json:"check_path"`
	EnvVersion string `json:"env_version"`
	Width      *int   `json:"width"`
	Hyaline    bool   `json:"is_hyaline"`
}

// MiniCode is what a mini program code carries. Whoever sees the code knows it.
type MiniCode struct {
	AppID      string
	Page       string // "" for the home page
	Scene      string
	EnvVersion string // "release", "trial" or "develop"
}

// miniCode is wxa/getwxacodeunlimit: it answers with a picture, and with JSON
// where it refuses. WeChat draws a round code (小程序码) that only WeChat can
// read. This one draws a square QR code with app id, page, scene and version in
// it, in a form of its own, with a seal: like a real one, nobody else can make it.
// https://developers.weixin.qq.com/miniprogram/dev/server/API/qrcode-link/qr-code/api_getunlimitedqrcode
func (s *Server) miniCode(w http.ResponseWriter, c call) {
	code, req, e := s.newMiniCode(c)
	if e.ErrCode != 0 {
		e.ErrMsg += ridTail(c.now)
		writeJSON(w, e)
		return
	}
	width := defaultCodeWidth
	if req.Width != nil {
		width = *req.Width
	}
	data, contentType, err := drawMiniCode(code, width, req.Hyaline)
	if err != nil {
		writeJSON(w, apiError{-1, "system error" + ridTail(c.now)})
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // the client is gone if this fails
}

// newMiniCode returns the content of the code that the call asks for.
func (s *Server) newMiniCode(c call) (content string, req miniCodeRequest, e apiError) {
	if c.Method != http.MethodPost {
		return "", req, apiError{43002, "require POST method"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	app, m, e := s.authorizeMiniLocked(c)
	if e.ErrCode != 0 {
		return "", req, e
	}
	if app.quota.take(EndpointMiniCode, c.now, math.MaxInt, miniCodesPerMin) != 0 {
		return "", req, quotaError(45009) // sic: the code of the daily quota
	}
	if json.Unmarshal(c.body, &req) != nil {
		return "", req, apiError{40169, "invalid length for scene, or the data is not json string"}
	}
	if e := req.check(m); e.ErrCode != 0 {
		return "", req, e
	}
	content = s.sealLocked(MiniCode{app.AppID, req.Page, req.Scene, cmp.Or(req.EnvVersion, envRelease)})
	m.recent = append(m.recent, madeCode{content, c.now})
	m.recent = m.recent[max(0, len(m.recent)-maxRecentCodes):]
	s.version++
	return content, req, apiError{}
}

// check refuses what the documents exclude. Which errcode a width out of bounds
// gets is not documented. With check_path the page must be in the released
// version, whichever version the code opens.
func (r miniCodeRequest) check(m *miniProgram) apiError {
	switch n := utf8.RuneCountInString(r.Scene); {
	case n < 1 || n > maxMiniScene:
		return apiError{40169, "invalid length for scene, or the data is not json string"}
	case strings.ContainsFunc(r.Scene, notInScene):
		return apiError{40129, "invalid scene"}
	case strings.Contains(r.Page, "scancode_time"):
		return apiError{85096, "page or path not allow include scancode_time field"}
	case r.EnvVersion != "" && !knownEnv(r.EnvVersion):
		return apiError{40097, "invalid args"}
	case r.Width != nil && (*r.Width < smallestCodeWidth || *r.Width > largestCodeWidth):
		return apiError{40097, "invalid args"}
	case r.Page != "" && !miniPagePattern.MatchString(r.Page):
		return apiError{41030, "invalid page"}
	case (r.CheckPath == nil || *r.CheckPath) && !m.opens(envRelease, r.Page):
		return apiError{41030, "invalid page"}
	}
	return apiError{}
}

func notInScene(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !letter && !strings.ContainsRune(sceneCharacters, r)
}

// sealLocked writes a code's content. Codes are for ever and without number, so
// a seal takes the place of a record.
func (s *Server) sealLocked(code MiniCode) string {
	query := url.Values{"appid": {code.AppID}, "env_version": {code.EnvVersion}, "scene": {code.Scene}}
	if code.Page != "" {
		query.Set("page", code.Page)
	}
	text := query.Encode()
	return s.opts.QRBase + miniCodePath + "?" + text + "&sig=" + s.sealOf(text)
}

func (s *Server) sealOf(text string) string {
	mac := hmac.New(sha256.New, s.mini.sealKey)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])
}

// MiniCode reads the content of a mini program code. The error is
// [ErrUnknownCode] where this WeChat has not made it.
func (s *Server) MiniCode(content string) (MiniCode, error) {
	text, ok := strings.CutPrefix(content, s.opts.QRBase+miniCodePath+"?")
	text, seal, found := strings.Cut(text, "&sig=")
	if !ok || !found || !hmac.Equal([]byte(seal), []byte(s.sealOf(text))) {
		return MiniCode{}, fmt.Errorf("reading a mini program code: %w", ErrUnknownCode)
	}
	query, err := url.ParseQuery(text)
	if err != nil {
		return MiniCode{}, fmt.Errorf("reading a mini program code: %w", ErrUnknownCode)
	}
	return MiniCode{query.Get("appid"), query.Get("page"), query.Get("scene"), query.Get("env_version")}, nil
}
