// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package userfile reads and writes files of users, one user at a time: CSV, as
// spreadsheets make it, and JSON. docs/people.md describes both formats.
package userfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/caddy-wechat/caddy-wechat/people"
)

// maxRecord bounds, in bytes, what one user may take in a file: a file of any size
// is read in little memory.
const maxRecord = 64 << 10

// Format is how a file is written.
type Format string

// The formats. JSON is one array, or an object on each line.
const (
	CSV  Format = "csv"
	JSON Format = "json"
)

// Formats are the names of all formats.
var Formats = []string{string(CSV), string(JSON)}

// FormatOf returns the format that a name asks for, or else that of a file's name.
func FormatOf(name, file string) (Format, error) {
	if name == "" {
		name = strings.ToLower(strings.TrimPrefix(filepath.Ext(file), "."))
	}
	switch name {
	case "csv":
		return CSV, nil
	case "json", "jsonl", "ndjson":
		return JSON, nil
	case "":
		return "", errors.New("the format is not known: give --format csv or --format json")
	default:
		return "", fmt.Errorf("the format %q is unknown: give --format csv or --format json", name)
	}
}

// LineError is what is wrong with one user of a file. The next one can be read.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

var (
	errTooLong = fmt.Errorf("a user takes more than %d bytes: is a quotation mark or a bracket missing?", maxRecord)
	errNotUTF8 = errors.New("the file is not UTF-8 (perhaps it is GBK): convert it, as with `iconv -f GBK -t UTF-8`, or save it from the spreadsheet as \"CSV UTF-8\"")
)

// Reader reads users from a file.
type Reader interface {
	// Next returns a user and the line at which he begins. The error is io.EOF at
	// the end, or a *LineError where the next user can still be read, or what makes
	// the rest unreadable.
	Next() (people.Entry, int, error)
}

// NewReader returns a Reader of a file, or says why it cannot be read as one.
func NewReader(file io.Reader, format Format) (Reader, error) {
	source := &bounded{r: file, left: maxRecord}
	in := bufio.NewReader(source)
	if mark, _ := in.Peek(3); bytes.Equal(mark, []byte("\ufeff")) {
		_, _ = in.Discard(len(mark))
	}
	if format == CSV {
		return newCSVReader(in, source)
	}
	return newJSONReader(in, source)
}

// bounded fails once more was read than left says.
type bounded struct {
	r    io.Reader
	left int
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Writer writes users to a file. Close completes it, and leaves the file open.
type Writer interface {
	Write(e people.Entry) error
	Close() error
}

// NewWriter returns a Writer.
func NewWriter(file io.Writer, format Format) Writer {
	if format == CSV {
		return newCSVWriter(file)
	}
	return &jsonWriter{out: bufio.NewWriter(file)}
}
