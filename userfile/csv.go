// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package userfile

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// Columns are the columns of a CSV file, in the order in which they are written.
var Columns = []string{"id", "name", "status", "roles", "email", "phone", "app_id", "openid", "unionid", "created_at"}

// separator stands between the values of one cell; alternative does, too.
const separator, alternative = ";", "|"

// csvReader reads a CSV file.
type csvReader struct {
	csv     *csv.Reader
	source  *bounded
	columns []string
}

func newCSVReader(in io.Reader, source *bounded) (*csvReader, error) {
	r := &csvReader{csv: csv.NewReader(in), source: source}
	r.csv.FieldsPerRecord = -1
	r.csv.ReuseRecord = true
	header, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: its first line names the columns, such as id,name,email")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the header line: %w", err)
	}
	return r, r.setColumns(header)
}

func (r *csvReader) setColumns(header []string) error {
	for _, cell := range header {
		if !utf8.ValidString(cell) {
			return errNotUTF8
		}
		name := strings.ToLower(strings.TrimSpace(cell))
		if !slices.Contains(Columns, name) {
			return fmt.Errorf("the header line has a column %q: name only %s, separated by commas", cell, strings.Join(Columns, ", "))
		}
		if slices.Contains(r.columns, name) {
			return fmt.Errorf("the header line names the column %s twice: keep one", name)
		}
		r.columns = append(r.columns, name)
	}
	return nil
}

// Next implements Reader.
func (r *csvReader) Next() (people.Entry, int, error) {
	for {
		r.source.left = maxRecord
		cells, err := r.csv.Read()
		if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
			return people.Entry{}, wrong.StartLine, &LineError{wrong.StartLine, wrong.Err}
		}
		if err != nil {
			return people.Entry{}, 0, err
		}
		line, _ := r.csv.FieldPos(0)
		if slices.ContainsFunc(cells, func(cell string) bool { return !utf8.ValidString(cell) }) {
			return people.Entry{}, line, fmt.Errorf("line %d: %w", line, errNotUTF8)
		}
		if strings.TrimSpace(strings.Join(cells, "")) == "" { // spreadsheets leave such lines
			continue
		}
		e, err := r.entry(cells)
		if err != nil {
			err = &LineError{line, err}
		}
		return e, line, err
	}
}

// entry makes a user of the cells of a line.
func (r *csvReader) entry(cells []string) (e people.Entry, err error) {
	if len(cells) != len(r.columns) {
		return e, fmt.Errorf("it has %d cells, and the header line has %d: put cells with a comma in quotation marks", len(cells), len(r.columns))
	}
	var appIDs, openIDs, unionIDs []string
	for i, name := range r.columns {
		cell := strings.TrimSpace(bare(strings.TrimSpace(cells[i])))
		switch name {
		case "id":
			e.ID = cell
		case "name":
			e.Name = cell
		case "status":
			e.Status = user.Status(strings.ToLower(cell))
		case "roles":
			e.Roles = slices.DeleteFunc(values(cell), func(role string) bool { return role == "" })
		case "email":
			e.Email = cell
		case "phone":
			e.Phone = cell
		case "app_id":
			appIDs = values(cell)
		case "openid":
			openIDs = values(cell)
		case "unionid":
			unionIDs = values(cell)
		case "created_at":
			if e.CreatedAt, err = parseTime(cell); err != nil {
				return e, err
			}
		}
	}
	return e, setIdentities(&e, appIDs, openIDs, unionIDs)
}

// parseTime reads a time, zero of an empty cell.
func parseTime(cell string) (t time.Time, err error) {
	if cell == "" {
		return t, nil
	}
	if t, err = time.Parse(time.RFC3339, cell); err != nil {
		return t, fmt.Errorf("created_at %q is no time: write it like 2026-11-21T09:36:00Z or 2026-11-21T17:36:00+08:00", cell)
	}
	return t, nil
}

// setIdentities puts identities together of the cells that hold their parts.
func setIdentities(e *people.Entry, appIDs, openIDs, unionIDs []string) error {
	switch {
	case len(openIDs) <= 1 && len(appIDs) <= 1 && len(unionIDs) <= 1:
		e.AppID, e.OpenID, e.UnionID = strings.Join(appIDs, ""), strings.Join(openIDs, ""), strings.Join(unionIDs, "")
		return nil
	case len(appIDs) != len(openIDs) || len(unionIDs) != 0 && len(unionIDs) != len(openIDs):
		return fmt.Errorf("it has %d app_ids, %d openids and %d unionids: each openid has its own app_id and, if any, unionid at the same place", len(appIDs), len(openIDs), len(unionIDs))
	}
	for i, openID := range openIDs {
		id := people.Identity{AppID: appIDs[i], OpenID: openID}
		if len(unionIDs) > 0 {
			id.UnionID = unionIDs[i]
		}
		e.Identities = append(e.Identities, id)
	}
	return nil
}

// values are the values of one cell.
func values(cell string) []string {
	if cell == "" {
		return nil
	}
	all := strings.Split(strings.ReplaceAll(cell, alternative, separator), separator)
	for i, value := range all {
		all[i] = strings.TrimSpace(value)
	}
	return all
}

// formula are the characters with which a cell begins that a spreadsheet computes, and
// splitters those at which one may split: in countries with a decimal comma it splits
// at semicolons, and takes no notice of quotation marks then, because they do not
// stand at the beginning of what it takes for a cell.
const (
	formula   = "=+-@\t\r＝＋－＠"
	splitters = ";,\t\r\n"
)

// guarded is a cell with an apostrophe before whatever a spreadsheet would compute: a
// stranger chooses a nickname, and the operator opens the file. See
// https://owasp.org/www-community/attacks/CSV_Injection
func guarded(cell string) string {
	var b strings.Builder
	for piece := range pieces(cell) {
		if begins(piece) {
			b.WriteByte('\'')
		}
		b.WriteString(piece)
	}
	return b.String()
}

// bare undoes guarded.
func bare(cell string) string {
	var b strings.Builder
	for piece := range pieces(cell) {
		if begins(piece) {
			piece = strings.TrimPrefix(piece, "'")
		}
		b.WriteString(piece)
	}
	return b.String()
}

// pieces are the parts of a cell that a spreadsheet may take for cells, each with the
// character that ends it.
func pieces(cell string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for cell != "" {
			end := strings.IndexAny(cell, splitters) + 1
			if end == 0 {
				end = len(cell)
			}
			if !yield(cell[:end]) {
				return
			}
			cell = cell[end:]
		}
	}
}

// begins says whether a text begins like a formula, after apostrophes, and after the
// spaces and quotation marks that some spreadsheets take away.
func begins(text string) bool {
	for _, c := range text {
		switch {
		case strings.ContainsRune(formula, c):
			return true
		case c != '\'' && c != '"' && !unicode.IsSpace(c):
			return false
		}
	}
	return false
}

// csvWriter writes a CSV file.
type csvWriter struct{ csv *csv.Writer }

func newCSVWriter(out io.Writer) *csvWriter {
	w := csv.NewWriter(out)
	_ = w.Write(Columns) // Close tells
	return &csvWriter{w}
}

// Write implements Writer.
func (w *csvWriter) Write(e people.Entry) error {
	ids := e.Identities
	if e.OpenID != "" {
		ids = []people.Identity{{AppID: e.AppID, OpenID: e.OpenID, UnionID: e.UnionID}}
	}
	parts := make([][]string, 3)
	for _, id := range ids {
		for i, part := range []string{id.AppID, id.OpenID, id.UnionID} {
			if strings.ContainsAny(part, separator+alternative) {
				return fmt.Errorf("an identity of user %s holds a %s or %s, which a CSV file cannot: export with --format json", e.ID, separator, alternative)
			}
			parts[i] = append(parts[i], part)
		}
	}
	unionIDs := strings.Join(parts[2], separator)
	if strings.Trim(unionIDs, separator) == "" {
		unionIDs = ""
	}
	cells := []string{
		e.ID, e.Name, string(e.Status), strings.Join(e.Roles, separator), e.Email, e.Phone,
		strings.Join(parts[0], separator), strings.Join(parts[1], separator), unionIDs, "",
	}
	if !e.CreatedAt.IsZero() {
		cells[len(cells)-1] = e.CreatedAt.Format(time.RFC3339Nano)
	}
	for i := range cells {
		cells[i] = guarded(cells[i])
	}
	return w.csv.Write(cells)
}

// Close implements Writer.
func (w *csvWriter) Close() error {
	w.csv.Flush()
	return w.csv.Error()
}
