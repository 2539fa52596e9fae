// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package userfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-wechat/caddy-wechat/people"
	"github.com/caddy-wechat/caddy-wechat/user"
)

// readAll reads a file, and returns one line for each user or mistake, and the error
// that made the rest unreadable.
func readAll(in io.Reader, format Format) (users []people.Entry, lines []string, err error) {
	r, err := NewReader(in, format)
	if err != nil {
		return nil, nil, err
	}
	for {
		e, line, err := r.Next()
		wrong, bad := errors.AsType[*LineError](err)
		switch {
		case errors.Is(err, io.EOF):
			return users, lines, nil
		case bad:
			lines = append(lines, wrong.Error())
		case err != nil:
			return users, lines, err
		default:
			users, lines = append(users, e), append(lines, fmt.Sprintf("%d: %s", line, e.ID+e.Name))
		}
	}
}

var family = []people.Entry{
	{Entry: user.Entry{ID: "a1", Name: "张三", Status: user.Active, Roles: []string{"admin", "editor"}, Email: "a@example.com", Phone: "+8613800138000", AppID: "wx1", OpenID: "o1", UnionID: "u1"}},
	{Entry: user.Entry{ID: "b2", Name: `=HYPERLINK("http://evil","x")`, Status: user.Pending}, Identities: []people.Identity{{AppID: "wx1", OpenID: "-o2"}, {AppID: "wx2", OpenID: "o3", UnionID: "u3"}}},
	{Entry: user.Entry{ID: "c3", Name: `''+1, "quoted"`, Status: user.Disabled}, Identities: []people.Identity{{AppID: "wx1", OpenID: "o4"}, {AppID: "wx2", OpenID: "o5"}}},
	{Entry: user.Entry{ID: "d4", Name: "'tis"}},
	{Entry: user.Entry{ID: "e5", Name: "＝1"}},
	{Entry: user.Entry{ID: "f6", Name: `a;=HYPERLINK("http://evil","x");'-1;b, +2`, Roles: []string{"a", "-b"}, CreatedAt: time.Date(2019, 3, 4, 5, 6, 7, 89, time.UTC)}},
	{Entry: user.Entry{ID: "g7", Name: `;"=1+1";` + "\t@x\n\n -2;'tis; c"}},
}

// What is exported is imported as the same.
func TestRoundTrip(t *testing.T) {
	for _, format := range []Format{CSV, JSON} {
		for n := range len(family) + 1 {
			var file bytes.Buffer
			w := NewWriter(&file, format)
			for _, e := range family[:n] {
				if err := w.Write(e); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, lines, err := readAll(&file, format)
			if diff := cmp.Diff(family[:n], append([]people.Entry{}, got...)); diff != "" || err != nil {
				t.Errorf("%s of %d users: %v, %v (-want +got):\n%s", format, n, err, lines, diff)
			}
		}
	}
}

// A stranger has chosen a nickname that a spreadsheet would compute when the
// operator opens the export. Every such cell begins with an apostrophe.
func TestCSVWriter_NoFormula(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, CSV)
	for _, e := range family {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := `id,name,status,roles,email,phone,app_id,openid,unionid,created_at
a1,张三,active,admin;editor,a@example.com,'+8613800138000,wx1,o1,u1,
b2,"'=HYPERLINK(""http://evil"",""x"")",pending,,,,wx1;wx2,'-o2;o3,;u3,
c3,"'''+1, ""quoted""",disabled,,,,wx1;wx2,o4;o5,,
d4,'tis,,,,,,,,
e5,'＝1,,,,,,,,
f6,"a;'=HYPERLINK(""http://evil"",""x"");''-1;b,' +2",,a;'-b,,,,,,2019-03-04T05:06:07.000000089Z
g7,";'""=1+1"";'	'@x

' -2;'tis; c",,,,,,,,
`
	if diff := cmp.Diff(want, file.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	wantNoFormula(t, file.String())
	if err := NewWriter(io.Discard, CSV).Write(people.Entry{Entry: user.Entry{ID: "x", AppID: "wx1", OpenID: "a;b"}}); err == nil {
		t.Error("an openid that looks like two is written")
	}
}

// wantNoFormula fails the test where a spreadsheet that splits a file at any of these
// characters, and takes no notice of quotation marks, finds something to compute.
func wantNoFormula(t *testing.T, file string) {
	t.Helper()
	for piece := range strings.FieldsFuncSeq(file, func(c rune) bool { return strings.ContainsRune(";,\t\r\n", c) }) {
		cell := strings.TrimLeftFunc(piece, func(c rune) bool { return c == '"' || unicode.IsSpace(c) })
		if first := strings.TrimLeft(cell, "=+-@＝＋－＠"); first != cell {
			t.Errorf("%q is computed, of %q", piece, file)
		}
	}
}

// A line with a mistake is named by its number, and the next one is read.
func TestReader_Mistakes(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		file   string
		want   []string
	}{
		{"csv", CSV, "\ufeffName,EMAIL,roles\r\n\"Li, Si\",l@example.com,a|b; c\r\n\r\n,,\r\na,b\r\n\"x\ny\",z,\r\nbare\"quote,z,\r\nlast,z,", []string{
			"2: Li, Si", "line 5: it has 2 cells, and the header line has 3: put cells with a comma in quotation marks",
			"6: x\ny", `line 8: bare " in non-quoted-field`, "9: last",
		}},
		{"identities", CSV, "id,app_id,openid,unionid\na,wx1,o1,\nb,wx1,o1;o2,\nc,wx1;wx2,o1;o2,u1\n", []string{
			"2: a", "line 3: it has 1 app_ids, 2 openids and 0 unionids: each openid has its own app_id and, if any, unionid at the same place",
			"line 4: it has 2 app_ids, 2 openids and 1 unionids: each openid has its own app_id and, if any, unionid at the same place",
		}},
		{"times", CSV, "id,created_at\na,2026-11-21T17:36:00+08:00\nb,\nc,2026-11-21\nd,21/11/2026 9:36\n", []string{
			"2: a", "3: b", `line 4: created_at "2026-11-21" is no time: write it like 2026-11-21T09:36:00Z or 2026-11-21T17:36:00+08:00`,
			`line 5: created_at "21/11/2026 9:36" is no time: write it like 2026-11-21T09:36:00Z or 2026-11-21T17:36:00+08:00`,
		}},
		{"lines", JSON, "\n{\"id\":\"a\"}\n{\"id\":\n\n{\"id\":\"b\",\"e-mail\":\"x\"}\nnull\n[]\n{\"id\":\"c\"} {\"id\":\"d\"}\n{\"id\":\"e\"}", []string{
			"2: a", "line 3: it is not the JSON of a user: unexpected EOF", `line 5: it is not the JSON of a user: unknown field "e-mail"`, "line 6: null is no user",
			"line 7: a user cannot be of type array", "line 8: something follows the user: write each on a line of its own, or all as one array", "9: e",
		}},
		{"array", JSON, " \n[\n {\"id\":\"a\"},\n {\"id\": 7},\n\n {\n  \"id\":\"b\"\n }, 1,\n {\"id\":\"c\"}\n]\n", []string{
			"3: a", "line 4: id cannot be of type number", "6: b",
			"line 8: a user cannot be of type number", "9: c",
		}},
		{"an empty array", JSON, "[]", nil},
		{"no users", JSON, " \n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, lines, err := readAll(strings.NewReader(c.file), c.format)
			if diff := cmp.Diff(c.want, lines); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// What cannot be read at all is refused with the cure, before much of it is read.
func TestReader_Refuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		file   string
		want   string
	}{
		{"empty", CSV, "", "the file is empty"},
		{"unknown column", CSV, "id,password\n", `a column "password": name only id, name,`},
		{"another separator", CSV, "id;name\n", "separated by commas"},
		{"a column twice", CSV, "id,ID\n", "names the column id twice"},
		{"GBK header", CSV, "id,\xd0\xd5\xc3\xfb\n", "iconv -f GBK"},
		{"GBK", CSV, "id,name\na,\xd5\xc5\xc8\xfd\n", "line 2: the file is not UTF-8 (perhaps it is GBK)"},
		{"UTF-16", CSV, "\xff\xfei\x00d\x00", "not UTF-8"},
		{"GBK JSON", JSON, "{\"id\":\"a\"}\n{\"name\":\"\xd5\xc5\"}\n", "line 2: the file is not UTF-8"},
		{"GBK array", JSON, "[{\"id\":\"a\"},\n{\"name\":\"\xd5\xc5\"}]\n", "line 2: the file is not UTF-8"},
		{"an open quote", CSV, "id,name\na,\"b\n" + strings.Repeat("c,d\n", 50_000), "a quotation mark or a bracket missing"},
		{"an endless line", JSON, strings.Repeat(" {", 100_000), "a quotation mark or a bracket missing"},
		{"an open object", JSON, "[{\"id\":\"" + strings.Repeat("x", 200_000), "a quotation mark or a bracket missing"},
		{"an array without end", JSON, "[{\"id\":\"a\"}\n", "after line 1: the array has no end"},
		{"a broken array", JSON, "[{\"id\":\"a\"},\n}", "after line 1: invalid character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readAll(strings.NewReader(c.file), c.format)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want it to say %q", err, c.want)
			}
		})
	}
}

func TestFormatOf(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       Format
		wrong      bool
	}{
		{"", "a.csv", CSV, false},
		{"", "a.JSON", JSON, false},
		{"", "a.ndjson", JSON, false},
		{"json", "a.csv", JSON, false},
		{"", "-", "", true},
		{"", "a.xlsx", "", true},
		{"xml", "a.csv", "", true},
	} {
		if got, err := FormatOf(c.name, c.file); got != c.want || (err != nil) != c.wrong {
			t.Errorf("%q, %q: %q, %v", c.name, c.file, got, err)
		}
	}
}

// endless repeats a text, so many bytes in all.
type endless struct {
	text string
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p, strings.Repeat(e.text, len(p)/len(e.text)))
	e.left -= n
	return n, nil
}

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A file of any size takes no more memory than a small one.
func TestReader_Memory(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		file   io.Reader
	}{
		{"csv", CSV, io.MultiReader(strings.NewReader("id,email\n"), &endless{"a,a@b\n", 2 << 20})},
		{"lines", JSON, &endless{"{\"id\":\"abc\"}\n", 2 << 20}},
		{"array", JSON, io.MultiReader(strings.NewReader("[{}"), &endless{",\n{\"id\":\"abc\"}", 2 << 20}, strings.NewReader("]"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := NewReader(c.file, c.format)
			if err != nil {
				t.Fatal(err)
			}
			before, n, most := heap(), 0, uint64(0)
			for ; err == nil; n++ {
				if _, _, err = r.Next(); n%25_000 == 0 {
					most = max(most, heap())
				}
			}
			if !errors.Is(err, io.EOF) || n < 140_000 || most > before+1<<20 {
				t.Errorf("%d users, %v, %d bytes that become %d", n, err, before, most)
			}
		})
	}
}

// FuzzReader reads any file: there is no panic and no end without end, lines are
// counted upwards, and what was read can be written and read as the same.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"id,name,email,phone,roles,app_id,openid,unionid,status\na,'=b,c@d,+86,x;y,wx1;wx2,o1;o2,u1;u2,active\n",
		"id,name,created_at\na,\"b;=1+1;'-2\t\"\"@x\n =3\",2026-11-21T17:36:00.5+08:00\n",
		"\ufeffid\r\n\"a\nb\"\r\n'+1\n", "[{\"id\":\"a\"},{\"identities\":[{\"app_id\":\"a\",\"openid\":\"b\"}]}]", "{\"id\":\"a\"}\n{}\n", "[", "\"", "id\n\"",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, file string, isCSV bool) {
		format := JSON
		if isCSV {
			format = CSV
		}
		r, err := NewReader(strings.NewReader(file), format)
		if err != nil {
			return
		}
		for last := 0; ; {
			e, line, err := r.Next()
			if _, bad := errors.AsType[*LineError](err); err != nil && !bad {
				return
			}
			if line < last || line > strings.Count(file, "\n")+1 {
				t.Fatalf("line %d follows %d", line, last)
			}
			if last = line; err == nil && isCSV {
				wantSame(t, e)
			}
		}
	})
}

// wantSame fails the test unless an entry of a CSV file can be written and read.
func wantSame(t *testing.T, e people.Entry) {
	t.Helper()
	if e.ID+e.Name == "" || e.OpenID == "" && e.AppID+e.UnionID != "" { // no user, see user.Entry.Canonical
		return
	}
	var file bytes.Buffer
	w := NewWriter(&file, CSV)
	if err := errors.Join(w.Write(e), w.Close()); err != nil {
		t.Fatal(err)
	}
	text := file.String()
	wantNoFormula(t, text)
	got, lines, err := readAll(&file, CSV)
	if diff := cmp.Diff([]people.Entry{e}, got); diff != "" || err != nil {
		t.Errorf("%v %q\n%s (-want +got):\n%s", err, lines, text, diff)
	}
}
