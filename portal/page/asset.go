// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed assets/*
var assetFiles embed.FS

// asset is one embedded file, ready to be sent.
type asset struct {
	name        string // "login.js"
	hashed      string // "login.<hash>.js": a changed file has a new URL
	contentType string
	hash        string
	plain       []byte
	gzipped     []byte
}

// contentTypes is a closed list, for the table of the operating system may differ.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// loadAssets reads, hashes and compresses the embedded files once per process.
var loadAssets = sync.OnceValue(func() []*asset {
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic("page: reading the embedded assets: " + err.Error())
	}
	assets := make([]*asset, 0, len(entries))
	for _, e := range entries {
		content, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			panic("page: reading the embedded assets: " + err.Error())
		}
		assets = append(assets, newAsset(e.Name(), content))
	}
	return assets
})

func newAsset(name string, content []byte) *asset {
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:8])
	ext := path.Ext(name)
	return &asset{
		name:        name,
		hashed:      strings.TrimSuffix(name, ext) + "." + hash + ext,
		contentType: contentTypes[ext],
		hash:        hash,
		plain:       content,
		gzipped:     compress(content),
	}
}

func compress(content []byte) []byte {
	var out bytes.Buffer
	zw, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
	_, _ = zw.Write(content)                                 // a buffer takes all
	_ = zw.Close()
	return out.Bytes()
}

// Asset serves the asset with the given name, the last element of
// <prefix>/assets/<name>.<contenthash>.<ext>, for GET and HEAD. It reports false,
// and writes nothing, where there is none of that name.
func (p *Pages) Asset(w http.ResponseWriter, r *http.Request, name string) bool {
	a, ok := p.assets[name]
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Add("Vary", "Accept-Encoding")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // for a picture opened by itself

	content, etag := a.plain, a.hash
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		content, etag = a.gzipped, a.hash+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+etag+`"`)
	h.Set("Content-Length", strconv.Itoa(len(content))) // ServeContent leaves it out of encoded answers
	http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(content))
	return true
}

// acceptsGzip reports whether an Accept-Encoding header names gzip, and not with q=0.
// https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
func acceptsGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		_, q, weighted := strings.Cut(strings.ToLower(params), "q=")
		weight, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
		return !weighted || (err == nil && weight > 0)
	}
	return false
}
