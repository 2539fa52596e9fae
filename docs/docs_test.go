// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package docs_test holds the documentation to what the program does.
package docs_test

import (
	"bytes"
	"image"
	"image/png"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-wechat/caddy-wechat"
	"github.com/caddy-wechat/caddy-wechat/caddymodule"
	"github.com/caddy-wechat/caddy-wechat/login"
)

// root is the top of the repository.
const root = ".."

// secrets are what the examples read from the environment, of the right form.
var secrets = map[string]string{
	"WECHAT_OA_SECRET":   "0123456789abcdef0123456789abcdef",
	"WECHAT_OA_TOKEN":    "pushtoken1234567",
	"WECHAT_OA2_SECRET":  "fedcba9876543210fedcba9876543210",
	"WECHAT_OA2_TOKEN":   "pushtoken7654321",
	"WECHAT_OA_AES_KEY":  "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
	"WECHAT_SIGNING_KEY": "0123456789abcdef0123456789abcdef",
	"WECHAT_MP_SECRET":   "00112233445566778899aabbccddeeff",
	"WECHAT_WEB_SECRET":  "ffeeddccbbaa99887766554433221100",
	"REDIS_PASSWORD":     "redispassword1234567",
	"SMTP_PASSWORD":      "smtppassword1234567",
	"SMS_KEY":            "smskey1234567",
}

// snippet is one Caddyfile that a reader may copy.
type snippet struct{ name, text string }

// TestCaddyfiles validates every Caddyfile in the repository and in its pages as
// `caddy validate` does.
func TestCaddyfiles(t *testing.T) {
	for name, value := range secrets {
		t.Setenv(name, value)
	}
	t.Setenv("WECHAT_QR_IMAGE", pictureFile(t))
	for _, s := range append(exampleFiles(t), fencedCaddyfiles(t)...) {
		t.Run(s.name, func(t *testing.T) {
			if formatted := string(caddyfile.Format([]byte(s.text))); formatted != s.text {
				t.Errorf("not formatted as `caddy fmt` does:\n%s\nwant:\n%s", s.text, formatted)
			}
			validate(t, s.text)
		})
	}
}

// pictureFile makes a picture, as the QR code of an account.
func pictureFile(t *testing.T) (name string) {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8))); err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), "qr.png")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func validate(t *testing.T, text string) {
	t.Helper()
	raw, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatalf("adapting: %v", err)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	var config caddy.Config
	if err := caddy.StrictUnmarshalJSON(raw, &config); err != nil {
		t.Fatalf("decoding the adapted config: %v", err)
	}
	if strings.Contains(text, "wechat_auth") && config.AppsRaw["wechat"] == nil { // not that of a balancer
		t.Error("the config has no wechat app")
	}
	if err := caddy.Validate(&config); err != nil {
		t.Errorf("validating: %v", err)
	}
}

func exampleFiles(t *testing.T) []snippet {
	t.Helper()
	all := []snippet{{"Caddyfile.example", read(t, "Caddyfile.example")}}
	for _, dir := range []string{"examples", "examples/cluster"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.Caddyfile"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no examples in %s: %v", dir, err)
		}
		for _, file := range files {
			name := path.Join(dir, filepath.Base(file))
			all = append(all, snippet{name, read(t, name)})
		}
	}
	return all
}

var fence = regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$")

func fencedCaddyfiles(t *testing.T) (all []snippet) {
	t.Helper()
	for _, page := range pages(t) {
		for _, match := range fence.FindAllStringSubmatch(read(t, page), -1) {
			all = append(all, snippet{page, match[1]})
		}
	}
	if len(all) == 0 {
		t.Fatal("no page shows a Caddyfile")
	}
	return all
}

// TestJSONExamples validates the JSON configs in the pages.
func TestJSONExamples(t *testing.T) {
	for name, value := range secrets {
		t.Setenv(name, value)
	}
	found := false
	for _, match := range regexp.MustCompile("(?ms)^```json\n(.*?)^```$").FindAllStringSubmatch(read(t, "docs/configuration.md"), -1) {
		var config caddy.Config
		if err := caddy.StrictUnmarshalJSON([]byte(match[1]), &config); err != nil {
			t.Errorf("decoding: %v\n%s", err, match[1])
			continue
		}
		found = true
		if err := caddy.Validate(&config); err != nil {
			t.Errorf("validating: %v\n%s", err, match[1])
		}
	}
	if !found {
		t.Error("docs/configuration.md shows no JSON config")
	}
}

// blocks are the blocks of the Caddyfile, each with the section of
// docs/configuration.md that describes it and a config whose block holds a word
// that no parser knows.
var blocks = []struct {
	section, text string
	config        any // the struct with the same options in JSON
}{
	{"wechat", "{\n\twechat {\n\t\tbogus\n\t}\n}", caddymodule.App{}},
	{"official_account", "{\n\twechat {\n\t\tofficial_account wx1 {\n\t\t\tbogus\n\t\t}\n\t}\n}", caddymodule.OfficialAccount{}},
	{"mini_program", "{\n\twechat {\n\t\tmini_program wx1 {\n\t\t\tbogus\n\t\t}\n\t}\n}", caddymodule.MiniProgram{}},
	{"website", "{\n\twechat {\n\t\twebsite wx1 {\n\t\t\tbogus\n\t\t}\n\t}\n}", caddymodule.Website{}},
	{"replies", "{\n\twechat {\n\t\tofficial_account wx1 {\n\t\t\treplies {\n\t\t\t\tbogus\n\t\t\t}\n\t\t}\n\t}\n}", login.Replies{}},
	{"session", "{\n\twechat {\n\t\tsession {\n\t\t\tbogus\n\t\t}\n\t}\n}", caddymodule.SessionConfig{}},
	{"redis", "{\n\twechat {\n\t\tstore redis {\n\t\t\tbogus\n\t\t}\n\t}\n}", caddymodule.Redis{}},
	{"redis", "{\n\twechat {\n\t\tstore redis {\n\t\t\ttls {\n\t\t\t\tbogus\n\t\t\t}\n\t\t}\n\t}\n}", caddymodule.RedisTLS{}},
	{"users", "{\n\twechat {\n\t\tusers {\n\t\t\tbogus\n\t\t}\n\t}\n}", caddymodule.UsersConfig{}},
	{"wechat_auth", "example.com {\n\twechat_auth {\n\t\tbogus\n\t}\n}", caddymodule.Handler{}},
}

var knownWords = regexp.MustCompile(`unrecognized subdirective "bogus": use one of ((?:[a-z_]+, )*[a-z_]+), at `)

// TestEveryOptionIsDocumented asks the parser which subdirectives it knows, and
// the config structs which fields they have.
func TestEveryOptionIsDocumented(t *testing.T) {
	text, example := read(t, "docs/configuration.md"), read(t, "Caddyfile.example")
	for _, block := range blocks {
		t.Run(block.section, func(t *testing.T) {
			_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(block.text), nil)
			if err == nil {
				t.Fatal("the parser knows the word bogus")
			}
			known := knownWords.FindStringSubmatch(err.Error())
			if known == nil {
				t.Fatalf("the parser does not list its words: %v", err)
			}
			body := section(t, text, block.section)
			for word := range strings.SplitSeq(known[1], ", ") {
				if !strings.Contains(body, "| `"+word) {
					t.Errorf("subdirective %s is not in the table of section %s", word, block.section)
				}
				if !regexp.MustCompile(`(?m)^[\t #]*` + word + `\b`).MatchString(example) {
					t.Errorf("subdirective %s is not in Caddyfile.example", word)
				}
			}
			for _, name := range jsonNames(reflect.TypeOf(block.config)) {
				if !strings.Contains(body, "`"+name+"`") {
					t.Errorf("JSON field %s is not in section %s", name, block.section)
				}
			}
		})
	}
}

func jsonNames(config reflect.Type) (names []string) {
	for field := range config.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "source" { // set by the adapter, nobody writes it
			names = append(names, name)
		}
	}
	return names
}

// section is the part of a page from the heading of that name to the next
// heading that is as high.
func section(t *testing.T, page, name string) string {
	t.Helper()
	_, body, found := strings.Cut(page, "\n## `"+name+"`\n")
	if !found {
		t.Fatalf("there is no section %s", name)
	}
	body, _, _ = strings.Cut(body, "\n## ")
	return body
}

// TestReadmesAreTwins compares the structure of the two READMEs: the headings'
// depths, the code, the pictures and the tables.
func TestReadmesAreTwins(t *testing.T) {
	english, chinese := outline(read(t, "README.md")), outline(read(t, "README.zh-CN.md"))
	if !slices.Equal(english, chinese) {
		t.Errorf("the READMEs differ in structure:\nen %q\nzh %q", english, chinese)
	}
}

var (
	comment = regexp.MustCompile(`(?m)\s*#.*$`)
	quoted  = regexp.MustCompile(`"[^"]*"`)
)

func outline(page string) (parts []string) {
	code := false
	for line := range strings.SplitSeq(page, "\n") {
		marks, _, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "```"):
			code = !code
			parts = append(parts, line)
		case code:
			parts = append(parts, quoted.ReplaceAllString(comment.ReplaceAllString(line, ""), `""`))
		case strings.HasPrefix(line, "#"):
			parts = append(parts, marks)
		case strings.HasPrefix(line, "|"):
			parts = append(parts, "row")
		}
	}
	return parts
}

// code is what is no link, however it looks.
var code = regexp.MustCompile("(?ms)^ *```.*?^ *```$|`[^`\n]+`")

var link = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)

// TestLinks follows every relative link, its anchor included.
func TestLinks(t *testing.T) {
	for _, page := range pages(t) {
		text := code.ReplaceAllString(read(t, page), "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target := match[1] + match[2]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			if file = path.Join(path.Dir(page), file); strings.HasPrefix(target, "#") {
				file = page
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s: %s leads nowhere", page, target)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, file)), anchor) {
				t.Errorf("%s: %s has no such heading", page, target)
			}
		}
	}
}

var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)

// anchors are the headings of a page as GitHub names them.
func anchors(page string) (all []string) {
	for line := range strings.SplitSeq(page, "\n") {
		if marks, text, ok := strings.Cut(line, " "); ok && marks != "" && strings.Trim(marks, "#") == "" {
			name := notInAnchor.ReplaceAllString(strings.ToLower(text), "")
			all = append(all, strings.ReplaceAll(name, " ", "-"))
		}
	}
	return all
}

// maxImage keeps pages quick to load.
const maxImage = 150 << 10

func TestImagesAreSmallAndUsed(t *testing.T) {
	images, err := filepath.Glob("images/*")
	if err != nil || len(images) == 0 {
		t.Fatalf("no images: %v", err)
	}
	pages := read(t, "README.md") + read(t, "README.zh-CN.md") + strings.ReplaceAll(read(t, "docs/people.md"), `src="images/`, `src="docs/images/`)
	for _, image := range images {
		info, err := os.Stat(image)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > maxImage {
			t.Errorf("%s has %d bytes, more than %d", image, info.Size(), maxImage)
		}
		if !strings.Contains(pages, filepath.ToSlash(filepath.Join("docs", image))) {
			t.Errorf("no page shows %s", image)
		}
	}
}

// TestOperationsNameWhatTheProgramSays compares the page with the sources: each
// metric is on the page, and each log message and errcode of the page is real.
func TestOperationsNameWhatTheProgramSays(t *testing.T) {
	text := read(t, "docs/operations.md")
	for _, match := range regexp.MustCompile(`newCounter\("([a-z_]+)"`).FindAllStringSubmatch(read(t, "caddymodule/metrics.go"), -1) {
		if name := "caddy_wechat_" + match[1]; !strings.Contains(text, "| `"+name+"` |") {
			t.Errorf("metric %s is not on the page", name)
		}
	}
	sources := sourcesOf(t, "portal")
	for _, row := range regexp.MustCompile(`(?m)^\| (?:info|warn|error|warn, error) \| (.*?) \|`).FindAllStringSubmatch(text, -1) {
		for _, message := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			if !strings.Contains(sources, `"`+message[1]) {
				t.Errorf("nothing logs %q", message[1])
			}
		}
	}
	codes := read(t, "wechat/codes.go")
	for _, code := range regexp.MustCompile(`\b[458]\d{4}\b`).FindAllString(text, -1) {
		if !strings.Contains(codes, "\t"+code+":") && !regexp.MustCompile(`(?m)= `+code+`(?: //.*)?$`).MatchString(codes) {
			t.Errorf("errcode %s has no cure in the program", code)
		}
	}
}

func sourcesOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources in %s: %v", dir, err)
	}
	var all strings.Builder
	for _, file := range files {
		all.WriteString(read(t, path.Join(dir, filepath.Base(file))))
	}
	return all.String()
}

// pages are all Markdown files, by their path in the repository.
func pages(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && file != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		if filepath.Ext(file) == ".md" {
			name, err := filepath.Rel(root, file)
			all = append(all, filepath.ToSlash(name))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
