// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// oversize is what [Failure.Oversize] adds to an answer, in bytes.
const oversize = 4 << 20

// Failure is a disturbance of the API's answers, for [Server.Fail]. The fields
// combine: {HTTPStatus: 503, HTML: true} is the error page of a proxy.
type Failure struct {
	// ErrCode and ErrMsg make the answer {"errcode":…,"errmsg":…}, with a rid tail.
	ErrCode int
	ErrMsg  string
	// HTML answers with an HTML page.
	HTML bool
	// HTTPStatus is the status of the answer. Default: 200. If it is the only
	// field, the body is empty.
	HTTPStatus int
	// ContentType replaces the answer's content type.
	ContentType string
	// Hang answers nothing until the client gives up or the Server is closed.
	Hang bool
	// Slow delays the answer.
	Slow time.Duration
	// Oversize pads the answer, still valid JSON, to more than 4 MiB.
	Oversize bool
	// Redirect answers 302 to this URL.
	Redirect string
	// Truncated announces the whole answer and breaks off half way.
	Truncated bool
}

type injected struct {
	Failure
	left int // 0: for ever
}

// Fail disturbs the next n answers of an endpoint, such as
// "/cgi-bin/stable_token"; with n of 0 or less, all until [Server.ClearFailures].
// Several failures of one endpoint happen one after the other.
func (s *Server) Fail(endpoint string, n int, f Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[endpoint] = append(s.failures[endpoint], &injected{Failure: f, left: max(n, 0)})
}

// ClearFailures ends all failures of an endpoint, those not yet begun included.
func (s *Server) ClearFailures(endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failures, endpoint)
}

func (s *Server) takeFailure(endpoint string) (Failure, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.failures[endpoint]
	if len(queue) == 0 {
		return Failure{}, false
	}
	first := queue[0]
	if first.left == 1 {
		s.failures[endpoint] = queue[1:]
	}
	first.left--
	first.left = max(first.left, 0)
	return first.Failure, true
}

func (s *Server) inject(w http.ResponseWriter, c call, f Failure, answer func(http.ResponseWriter)) {
	if f.Hang {
		s.wait(c.Request, nil)
		return
	}
	if f.Slow > 0 {
		timer := time.NewTimer(f.Slow)
		defer timer.Stop()
		if !s.wait(c.Request, timer.C) {
			return
		}
	}
	if f.Redirect != "" {
		http.Redirect(w, c.Request, f.Redirect, http.StatusFound)
		return
	}
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	f.answer(rec, c, answer)
	f.write(w, rec)
}

// wait reports whether ready came before the client or the Server went away.
func (s *Server) wait(r *http.Request, ready <-chan time.Time) bool {
	select {
	case <-ready:
		return true
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
	return false
}

// answer leaves the endpoint's own work undone when the failure replaces it.
func (f Failure) answer(rec *recorder, c call, answer func(http.ResponseWriter)) {
	switch {
	case f.ErrCode != 0:
		writeJSON(rec, apiError{f.ErrCode, f.ErrMsg + ridTail(c.now)})
	case f.HTML:
		rec.header.Set("Content-Type", "text/html; charset=utf-8")
		_, _ = rec.Write([]byte("<!DOCTYPE html><html><body><h1>系统繁忙 Bad Gateway</h1></body></html>"))
	case f.HTTPStatus != 0 && !f.Oversize && !f.Truncated && f.ContentType == "":
	default:
		answer(rec)
	}
}

func (f Failure) write(w http.ResponseWriter, rec *recorder) {
	body := rec.body.Bytes()
	if f.Oversize && len(body) > 0 {
		last := len(body) - 1
		body = append(append(bytes.Clone(body[:last]), bytes.Repeat([]byte(" "), oversize)...), body[last])
	}
	maps.Copy(w.Header(), rec.header)
	if f.ContentType != "" {
		w.Header().Set("Content-Type", f.ContentType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if f.HTTPStatus != 0 {
		rec.status = f.HTTPStatus
	}
	if f.Truncated {
		body = body[:len(body)/2]
	}
	w.WriteHeader(rec.status)
	_, _ = w.Write(body) // the client is gone if this fails
}

// recorder holds an answer so that it can be distorted.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
