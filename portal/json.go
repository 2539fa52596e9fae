// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

const (
	// maxBody bounds, in bytes, what a browser may send to the portal.
	maxBody = 4 << 10
	// bodyTime bounds how long it may take to.
	bodyTime = 10 * time.Second
)

// apiError is how the portal tells a script what went wrong.
type apiError struct {
	Error    string `json:"error"`
	Message  string `json:"message"`
	Reason   string `json:"reason,omitempty"`
	LoginURL string `json:"login_url,omitempty"`
	// BindURL and NameURL are where a person mends what is missing.
	BindURL string `json:"bind_url,omitempty"`
	NameURL string `json:"name_url,omitempty"`
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, apiError{Error: code, Message: message})
}

// writeJSON answers with v, for this request only.
func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	harden(h)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the visitor has gone: nobody is left to tell
}

// harden sets what every answer of the gateway's own carries: it is shown in no
// frame, and runs and loads nothing. Pages allow themselves what they need.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}

// readBody reads a small body that comes in good time: nobody may hold a request
// open by trickling it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTime))
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		// Passing later, the deadline would look like a browser that hangs up.
		_ = rc.SetReadDeadline(time.Time{})
	}
	return raw, err
}

// readJSON decodes a small body into v; an empty body leaves v as it is.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	raw, err := readBody(w, r)
	if err != nil || len(raw) == 0 {
		return err
	}
	return json.Unmarshal(raw, v)
}

// readForm makes a small form ready for r.PostFormValue; what is none is an
// empty one.
func readForm(w http.ResponseWriter, r *http.Request) error {
	raw, err := readBody(w, r)
	r.Body = io.NopCloser(bytes.NewReader(raw))
	return err
}

// setRetryAfter says, in whole seconds, when to try again.
func setRetryAfter(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(d.Seconds())))))
}
