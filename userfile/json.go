// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package userfile

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/caddy-wechat/caddy-wechat/people"
)

// newJSONReader returns the Reader of an array, or of an object on each line.
func newJSONReader(in *bufio.Reader, source *bounded) (Reader, error) {
	line := 1
	for {
		first, err := in.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return &linesReader{in: in, source: source}, nil // of no users
		case err != nil:
			return nil, err
		case first == '\n':
			line++
		case first == '[':
			return newArrayReader(in, source, line)
		case first != ' ' && first != '\t' && first != '\r':
			return &linesReader{in: in, source: source, line: line - 1}, in.UnreadByte()
		}
	}
}

// decode reads one user, and takes nothing for granted: a misspelt name would lose
// what it stands for.
func decode(raw []byte) (e people.Entry, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if bytes.HasPrefix(raw, []byte("null")) {
		return e, errors.New("null is no user")
	}
	err = decoder.Decode(&e)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return e, fmt.Errorf("%s cannot be of type %s", cmp.Or(wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:], "a user"), wrong.Value)
	}
	if err != nil {
		return e, fmt.Errorf("it is not the JSON of a user: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return e, errors.New("something follows the user: write each on a line of its own, or all as one array")
	}
	return e, nil
}

// linesReader reads an object on each line.
type linesReader struct {
	in     *bufio.Reader
	source *bounded
	line   int
}

// Next implements Reader.
func (r *linesReader) Next() (people.Entry, int, error) {
	for {
		r.source.left = maxRecord
		raw, err := r.in.ReadBytes('\n')
		r.line++
		if len(raw) == 0 && err != nil || err != nil && !errors.Is(err, io.EOF) {
			return people.Entry{}, r.line, err
		}
		if !utf8.Valid(raw) {
			return people.Entry{}, r.line, fmt.Errorf("line %d: %w", r.line, errNotUTF8)
		}
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			continue
		}
		e, err := decode(raw)
		if err != nil {
			err = &LineError{r.line, err}
		}
		return e, r.line, err
	}
}

// arrayReader reads an array.
type arrayReader struct {
	decoder *json.Decoder
	source  *bounded
	lines   *lineCounter
}

func newArrayReader(in io.Reader, source *bounded, line int) (*arrayReader, error) {
	lines := &lineCounter{r: io.MultiReader(bytes.NewReader([]byte("[")), in), line: line}
	r := &arrayReader{decoder: json.NewDecoder(lines), source: source, lines: lines}
	_, err := r.decoder.Token()
	return r, err
}

// Next implements Reader.
func (r *arrayReader) Next() (people.Entry, int, error) {
	r.source.left = maxRecord
	if !r.decoder.More() {
		if _, err := r.decoder.Token(); err != nil {
			return people.Entry{}, 0, r.broken(err)
		}
		return people.Entry{}, 0, io.EOF
	}
	var raw json.RawMessage
	if err := r.decoder.Decode(&raw); err != nil {
		return people.Entry{}, 0, r.broken(err)
	}
	line := r.lines.at(r.decoder.InputOffset() - int64(len(raw)))
	if !utf8.Valid(raw) {
		return people.Entry{}, line, fmt.Errorf("line %d: %w", line, errNotUTF8)
	}
	e, err := decode(raw)
	if err != nil {
		err = &LineError{line, err}
	}
	return e, line, err
}

// broken says where an array cannot be read any further.
func (r *arrayReader) broken(err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("the array has no end: a ] is missing")
	}
	return fmt.Errorf("after line %d: %w", r.lines.at(r.decoder.InputOffset()), err)
}

// lineCounter knows the lines of what is read through it.
type lineCounter struct {
	r      io.Reader
	offset int64
	ends   []int64 // of lines that at was not asked about yet
	line   int     // at the last answer of at
}

// Read implements io.Reader.
func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.ends = append(c.ends, c.offset+int64(i))
		}
	}
	c.offset += int64(n)
	return n, err
}

// at returns the line of an offset, which is not before that of the last call.
func (c *lineCounter) at(offset int64) int {
	passed := 0
	for passed < len(c.ends) && c.ends[passed] < offset {
		passed++
	}
	c.ends = append(c.ends[:0], c.ends[passed:]...)
	c.line += passed
	return c.line
}

// jsonWriter writes an array with a user on each line.
type jsonWriter struct {
	out  *bufio.Writer
	some bool
}

// Write implements Writer.
func (w *jsonWriter) Write(e people.Entry) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	before := ",\n"
	if !w.some {
		before = "[\n"
	}
	w.some = true
	_, _ = w.out.WriteString(before) // Flush tells
	_, err = w.out.Write(raw)
	return err
}

// Close implements Writer.
func (w *jsonWriter) Close() error {
	if !w.some {
		_, _ = w.out.WriteString("[")
	}
	_, _ = w.out.WriteString("\n]\n")
	return w.out.Flush()
}
