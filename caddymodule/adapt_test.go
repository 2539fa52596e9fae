// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	stdflag "flag" // flag reads a subdirective
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
)

var update = stdflag.Bool("update", false, "write the golden files anew")

const separator = "----------\n"

// TestAdapt adapts the Caddyfile of each golden file, and provisions what comes
// of it. The file says what must come of it: JSON, or the error of either step
// where its name begins with "error".
func TestAdapt(t *testing.T) {
	dir, err := filepath.Abs("testdata/adapt")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.caddyfiletest"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	t.Chdir(goldenFiles(t))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(raw), separator)
			got := adaptAndProvision(t, input, strings.HasPrefix(name, "error"))
			if *update {
				if err := os.WriteFile(file, []byte(input+separator+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			wantPools(t, "after provisioning", 0, 0, 0)
		})
	}
}

// adaptAndProvision returns the JSON that a Caddyfile becomes or, of one that
// has a mistake, the error.
func adaptAndProvision(t *testing.T, input string, wantErr bool) string {
	t.Helper()
	raw, err := adapt(input)
	if err == nil {
		err = located(caddy.Validate(parseConfig(t, raw)))
	}
	if (err != nil) != wantErr {
		t.Fatalf("error %v; want one: %v", err, wantErr)
	}
	if err != nil {
		for _, secret := range []string{"WECHAT_SECRET", "WECHAT_TOKEN", "WECHAT_AES_KEY", "SIGNING_KEY", "REDIS_PASSWORD", "SENTINEL_PASSWORD", "SMTP_PASSWORD", "SMS_KEY"} {
			if strings.Contains(err.Error(), os.Getenv(secret)) {
				t.Errorf("the error shows the secret %s", secret)
			}
		}
		if !strings.Contains(err.Error(), "Caddyfile:") {
			t.Errorf("the error does not say where the mistake is: %v", err)
		}
		return err.Error() + "\n"
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return pretty.String() + "\n"
}

// goldenFiles makes a directory with the files that the golden Caddyfiles name.
func goldenFiles(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("redis-password", []byte(os.Getenv("REDIS_PASSWORD")+"\n"))
	_, ca := selfSigned(t)
	key, certificate := selfSigned(t)
	write("redis-ca.pem", ca)
	write("redis.pem", certificate)
	write("redis.key", key)
	image := []byte("\x89PNG\r\n\x1a\n")
	write("account-qr.png", image)
	write("large.png", append(image, make([]byte, maxQRImage)...))
	write("no-image.png", []byte("<svg xmlns=\"http://www.w3.org/2000/svg\"/>"))
	return dir
}

// selfSigned makes a key and a certificate of it, both as PEM.
func selfSigned(t *testing.T) (key, certificate []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
}

// located leaves out what Caddy says of an error before we do: it depends on
// which app Caddy happens to provision first.
func located(err error) error {
	if err == nil {
		return nil
	}
	if i := strings.Index(err.Error(), "Caddyfile:"); i >= 0 {
		return errors.New(err.Error()[i:])
	}
	return err
}

// goldenConfigs returns the JSON of all golden files that adapt.
func goldenConfigs(t *testing.T) (inputs []string, configs []map[string]any) {
	t.Helper()
	files, _ := filepath.Glob("testdata/adapt/*.caddyfiletest")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input, output, _ := strings.Cut(string(raw), separator)
		var config map[string]any
		if json.Unmarshal([]byte(output), &config) == nil {
			inputs, configs = append(inputs, input), append(configs, config)
		}
	}
	return inputs, configs
}

// What can be written in JSON can be written in a Caddyfile: every field of the
// config appears in what some golden Caddyfile becomes.
func TestCaddyfile_ReachesEveryField(t *testing.T) {
	_, configs := goldenConfigs(t)
	var seen []string
	for _, config := range configs {
		for _, module := range modulesIn(config) {
			seen = append(seen, module...)
		}
	}
	for _, root := range []struct {
		name string
		typ  reflect.Type
	}{
		{"wechat", reflect.TypeFor[App]()},
		{"wechat_auth", reflect.TypeFor[Handler]()},
		{"embedded", reflect.TypeFor[Embedded]()},
		{"redis", reflect.TypeFor[Redis]()},
		{"smtp", reflect.TypeFor[SMTP]()},
		{"webhook", reflect.TypeFor[Webhook]()},
	} {
		for _, field := range jsonFields(root.name, root.typ) {
			if !slices.Contains(seen, field) {
				t.Errorf("no golden Caddyfile sets %s", field)
			}
		}
	}
}

// modulesIn returns the paths of the fields that are set in each module of ours.
func modulesIn(v any) (all [][]string) {
	switch v := v.(type) {
	case map[string]any:
		if app, ok := v["wechat"].(map[string]any); ok && app["users"] != nil {
			all = append(all, fieldsIn("wechat", app))
		}
		if v["handler"] == "wechat_auth" {
			all = append(all, fieldsIn("wechat_auth", v))
		}
		for _, key := range []string{"backend", "type"} { // of stores and senders
			if name, ok := v[key].(string); ok {
				all = append(all, fieldsIn(name, v))
			}
		}
		for _, inner := range v {
			all = append(all, modulesIn(inner)...)
		}
	case []any:
		for _, inner := range v {
			all = append(all, modulesIn(inner)...)
		}
	}
	return all
}

func fieldsIn(path string, v any) (fields []string) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			fields = append(append(fields, path+"."+name), fieldsIn(path+"."+name, inner)...)
		}
	case []any:
		for _, inner := range v {
			fields = append(fields, fieldsIn(path, inner)...)
		}
	}
	return fields
}

// jsonFields returns the paths of the fields that a config struct takes.
func jsonFields(path string, typ reflect.Type) (fields []string) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return nil
	}
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if f.Anonymous && name == "" { // its fields are those of the struct around it
			fields = append(fields, jsonFields(path, f.Type)...)
			continue
		}
		fields = append(append(fields, path+"."+name), jsonFields(path+"."+name, f.Type)...)
	}
	return fields
}

// The reverse: each subdirective that the parser knows is used by some golden
// Caddyfile, whose JSON Caddy accepts field by field.
func TestCaddyfile_GoldenFilesUseEverySubdirective(t *testing.T) {
	inputs, _ := goldenConfigs(t)
	all := strings.Join(inputs, "\n")
	for _, block := range []string{
		"wechat {\n?\n}", "wechat {\nofficial_account wx1 {\n?\n}\n}", "wechat {\nofficial_account wx1 {\nreplies {\n?\n}\n}\n}",
		"wechat {\nsession {\n?\n}\n}", "wechat {\nusers {\n?\n}\n}", "wechat {\nusers {\nbind email {\n?\n}\n}\n}",
		"wechat {\nusers {\nbind email {\nsender smtp {\n?\n}\n}\n}\n}", "wechat {\nusers {\nbind phone {\nsender webhook {\n?\n}\n}\n}\n}",
		"wechat {\nstore redis {\n?\n}\n}", "wechat {\nstore redis {\ntls {\n?\n}\n}\n}",
	} {
		checkSubdirectives(t, all, new(App).UnmarshalCaddyfile(caddyfile.NewTestDispenser(block)))
	}
	checkSubdirectives(t, all, new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser("wechat_auth {\n?\n}")))
}

func checkSubdirectives(t *testing.T, golden string, err error) {
	t.Helper()
	if err == nil {
		t.Error("an unknown subdirective is accepted")
		return
	}
	_, names, ok := strings.Cut(err.Error(), "use one of ")
	names, _, _ = strings.Cut(names, ", at ")
	if !ok || names == "" {
		t.Errorf("error %q names no subdirectives", err)
	}
	for name := range strings.SplitSeq(names, ", ") {
		if !slices.ContainsFunc(strings.Split(golden, "\n"), func(line string) bool {
			return strings.HasPrefix(strings.TrimSpace(line)+" ", name+" ")
		}) {
			t.Errorf("no golden Caddyfile uses %s", name)
		}
	}
}
