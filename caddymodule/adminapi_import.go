// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/user"
	"github.com/caddy-wechat/caddy-wechat/userfile"
)

// maxImport and maxImportBody bound one request, in users and bytes.
const (
	maxImport     = 1000
	maxImportBody = 8 << 20
)

// importRequest is some users to import.
type importRequest struct {
	Users  []people.Entry `json:"users"`
	DryRun bool           `json:"dry_run"`

	lines  []int          // of the users; nil where each is a line
	failed []importResult // lines that are no user
}

// importResult is what came of one user, who stood on that line, or is so many-th.
type importResult struct {
	Line    int          `json:"line"`
	Outcome user.Outcome `json:"outcome"` // empty where there is an error
	ID      string       `json:"id"`      // empty for a new user of a dry run, who has none of the file
	Error   string       `json:"error,omitempty"`
}

// importResults is what came of all. The results are in no order of lines.
type importResults struct {
	Results []importResult `json:"results"`
}

// adminImportUsers takes {"users":[…],"dry_run"}, or a user on each line with
// ?dry_run=true.
func adminImportUsers(r adminRequest) (any, error) {
	request, err := readImport(r)
	if err != nil {
		return nil, err
	}
	if len(request.Users) > maxImport {
		return nil, &adminError{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("%d users are too many: send up to %d at a time", len(request.Users), maxImport)}
	}
	// The endpoint's time-out is for reading; without it gone, the work of a slow
	// store would be cancelled half-way.
	if err := http.NewResponseController(r.w).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	imported, err := r.app.people.Import(r.Context(), r.actor(), request.Users, request.DryRun)
	if err != nil {
		return nil, err
	}
	answer := importResults{Results: append([]importResult{}, request.failed...)}
	for i, one := range imported {
		result := importResult{Line: i + 1, Outcome: one.Outcome, ID: one.ID}
		if request.DryRun && one.Outcome == user.Created {
			result.ID = request.Users[i].ID // one that was made up will be another the next time
		}
		if request.lines != nil {
			result.Line = request.lines[i]
		}
		if one.Err != nil {
			result.Error = one.Err.Error()
		}
		answer.Results = append(answer.Results, result)
	}
	return answer, nil
}

func readImport(r adminRequest) (request importRequest, err error) {
	switch contentType(r) {
	case "application/json":
		err = decodeBody(r, maxImportBody, &request)
		return request, err
	case "application/x-ndjson":
		request.DryRun = r.URL.Query().Get("dry_run") == "true"
		err = request.readLines(http.MaxBytesReader(r.w, r.Body, maxImportBody))
		return request, err
	default:
		return request, unsupportedType("application/json or application/x-ndjson")
	}
}

// readLines reads a user on each line.
func (q *importRequest) readLines(body io.Reader) error {
	q.lines = []int{}
	in, err := userfile.NewReader(body, userfile.JSON)
	for err == nil && len(q.Users) <= maxImport {
		var e people.Entry
		var line int
		e, line, err = in.Next()
		if wrong, ok := errors.AsType[*userfile.LineError](err); ok {
			q.failed, err = append(q.failed, importResult{Line: line, Error: wrong.Err.Error()}), nil
			continue
		}
		if err == nil {
			q.Users, q.lines = append(q.Users, e), append(q.lines, line)
		}
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return badRequest("bad_json", err.Error())
	}
	return nil
}
