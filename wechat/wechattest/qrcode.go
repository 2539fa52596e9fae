// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"image"
	"image/draw"
	"image/jpeg"
	"math"
	"math/big"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"
)

const (
	defaultExpire    = 60        // seconds; older documents say 30
	maxExpire        = 2_592_000 // seconds: 30 days
	maxPermanent     = 100_000   // also the highest id of a permanent code
	keepExpiredCodes = time.Hour // so that a scan can say "expired"
	purgeEvery       = time.Minute
	codePixels       = 430
)

// qrCode is one parametric QR code. It is immutable.
type qrCode struct {
	id, ticket, appID, scene string
	created                  time.Time
	expires                  time.Time // zero: permanent
}

func (q *qrCode) expired(now time.Time) bool { return !q.expires.IsZero() && !now.Before(q.expires) }

type qrRequest struct {
	ExpireSeconds *int64     `json:"expire_seconds"`
	ActionName    string     `json:"action_name"`
	ActionInfo    *qrPayload `json:"action_info"`
}

type qrPayload struct {
	Scene *struct {
		ID  json.RawMessage `json:"scene_id"`
		Str json.RawMessage `json:"scene_str"`
	} `json:"scene"`
}

type qrAnswer struct {
	Ticket        string `json:"ticket"`
	ExpireSeconds int64  `json:"expire_seconds,omitempty"`
	URL           string `json:"url"`
}

// createQRCode is cgi-bin/qrcode/create.
// https://developers.weixin.qq.com/doc/service/api/qrcode/qrcodes/api_createqrcode.md
func (s *Server) createQRCode(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, e := s.authorizeLocked(c)
	if e.ErrCode != 0 {
		return e
	}
	if !app.mayCreateQRCodes() {
		return apiError{48001, "api unauthorized"}
	}
	if code := app.quota.take(EndpointQRCode, c.now, app.codesPerDay(), 0); code != 0 {
		return quotaError(code)
	}
	var req qrRequest
	if json.Unmarshal(c.body, &req) != nil {
		return apiError{47001, "data format error"}
	}
	scene, lifetime, e := req.check()
	if e.ErrCode != 0 {
		return e
	}
	return s.newCodeLocked(app, scene, lifetime, c.now)
}

func (a *account) codesPerDay() int {
	if a.Kind == TestAccount {
		return 10_000
	}
	return 100_000
}

// check returns the scene as the event will carry it, and the lifetime in
// seconds, 0 for a permanent code.
func (r qrRequest) check() (scene string, lifetime int64, e apiError) {
	permanent := r.ActionName == "QR_LIMIT_SCENE" || r.ActionName == "QR_LIMIT_STR_SCENE"
	if !permanent && r.ActionName != "QR_SCENE" && r.ActionName != "QR_STR_SCENE" {
		return "", 0, apiError{40052, "invalid action name"}
	}
	if r.ActionInfo == nil {
		return "", 0, apiError{40053, "invalid action info"}
	}
	scene, ok := r.scene(permanent)
	if !ok {
		return "", 0, apiError{40053, "invalid action info"}
	}
	if permanent {
		return scene, 0, apiError{}
	}
	lifetime, ok = r.lifetime()
	if !ok {
		return "", 0, apiError{40053, "invalid action info"}
	}
	return scene, lifetime, apiError{}
}

// lifetime refuses what the documents exclude; which errcode WeChat then
// answers is not documented, nor is a minimum.
func (r qrRequest) lifetime() (seconds int64, ok bool) {
	if r.ExpireSeconds == nil {
		return defaultExpire, true
	}
	return *r.ExpireSeconds, *r.ExpireSeconds >= 1 && *r.ExpireSeconds <= maxExpire
}

// scene reads the scene value. A request without the level "scene" makes a code
// with the scene 0 rather than an error: WeChat does so.
func (r qrRequest) scene(permanent bool) (string, bool) {
	switch info := r.ActionInfo; {
	case info.Scene == nil:
		return "0", true
	case r.ActionName == "QR_STR_SCENE" || r.ActionName == "QR_LIMIT_STR_SCENE":
		return sceneString(info.Scene.Str)
	default:
		return sceneNumber(info.Scene.ID, permanent)
	}
}

func sceneString(raw json.RawMessage) (string, bool) {
	var v string
	if json.Unmarshal(raw, &v) != nil {
		return "", false
	}
	n := utf8.RuneCountInString(v)
	return v, n >= 1 && n <= 64
}

// sceneNumber turns a temporary id that exceeds 32 bits into 4294967295: WeChat does so.
func sceneNumber(raw json.RawMessage, permanent bool) (string, bool) {
	n, ok := new(big.Int).SetString(string(raw), 10)
	highest := big.NewInt(math.MaxUint32)
	switch {
	case !ok || n.Sign() <= 0:
		return "", false
	case permanent:
		return n.String(), n.Cmp(big.NewInt(maxPermanent)) <= 0
	case n.Cmp(highest) > 0:
		return highest.String(), true
	}
	return n.String(), true
}

func (s *Server) newCodeLocked(app *account, scene string, lifetime int64, now time.Time) any {
	s.purgeCodesLocked(now)
	code := &qrCode{id: "02" + randomString(20), appID: app.AppID, scene: scene, created: now}
	if lifetime > 0 {
		code.expires = now.Add(time.Duration(lifetime) * time.Second)
	} else {
		if app.permanentCodes >= maxPermanent {
			return apiError{45029, "qrcode count out of limit"}
		}
		app.permanentCodes++
	}
	code.ticket = newTicket(code.id, now, lifetime)
	s.codes[code.id], s.tickets[code.ticket] = code, code
	s.version++
	return qrAnswer{code.ticket, lifetime, s.opts.QRBase + "/q/" + code.id}
}

func (s *Server) purgeCodesLocked(now time.Time) {
	if now.Sub(s.purgedAt) < purgeEvery {
		return
	}
	s.purgedAt = now
	for id, code := range s.codes {
		if code.expired(now.Add(-keepExpiredCodes)) {
			delete(s.codes, id)
			delete(s.tickets, code.ticket)
		}
	}
}

// newTicket builds a ticket as WeChat does: the url of the code, its creation
// time and its lifetime in tagged fields, behind a header of which two bytes
// vary. It holds weixin.qq.com whatever [Options.QRBase] says.
func newTicket(id string, now time.Time, lifetime int64) string {
	link := weixinBase + "/q/" + id + "\x00"
	payload := append([]byte{0x01, byte(len(link))}, link...)                                //nolint:gosec // 46 bytes
	payload = binary.LittleEndian.AppendUint32(append(payload, 0x02, 4), uint32(now.Unix())) //nolint:gosec // the field has 32 bits
	payload = binary.LittleEndian.AppendUint32(append(payload, 0x03, 4), uint32(lifetime))   //nolint:gosec // at most 30 days
	ticket := append([]byte{0x81, 0x01}, randomBytes(2)...)
	ticket = binary.LittleEndian.AppendUint64(ticket, uint64(len(payload)))
	return base64.URLEncoding.EncodeToString(append(ticket, payload...))
}

// showQRCode is mp.weixin.qq.com/cgi-bin/showqrcode: the one endpoint with a
// true HTTP status, and without a login.
func (s *Server) showQRCode(w http.ResponseWriter, c call) {
	if c.Method != http.MethodGet && c.Method != http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	s.mu.Lock()
	code := s.tickets[c.query("ticket")]
	s.mu.Unlock()
	if code == nil || code.expired(c.now) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	picture, err := drawCode(s.opts.QRBase + "/q/" + code.id)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "image/jpg") // sic
	w.Header().Set("Cache-Control", "max-age=604800")
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("Content-Length", strconv.Itoa(len(picture)))
	_, _ = w.Write(picture) // the client is gone if this fails
}

// drawCode renders a QR code with its quiet zone as JPEG.
func drawCode(content string) ([]byte, error) {
	code, err := qr.Encode(content, qr.M, qr.Auto)
	if err != nil {
		return nil, err
	}
	const margin = 40 // at least the four modules of a quiet zone
	code, err = barcode.Scale(code, codePixels-2*margin, codePixels-2*margin)
	if err != nil {
		return nil, err
	}
	picture := image.NewGray(image.Rect(0, 0, codePixels, codePixels))
	draw.Draw(picture, picture.Bounds(), image.White, image.Point{}, draw.Src)
	draw.Draw(picture, picture.Bounds().Inset(margin), code, image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: 90}); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
