// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"fmt"
	"image/color"
	"strconv"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// quietZone is the white margin, in modules, that a reader needs around the code.
const quietZone = 4

// QR is a code for WeChat to scan.
type QR struct {
	SVG string `json:"svg,omitempty"`
	URL string `json:"url,omitempty"` // what the code says
	// Image is a data URI, for a code that only WeChat can draw.
	Image string `json:"image,omitempty"`
}

// NewQR draws the code of url. It is drawn here rather than loaded from
// WeChat's servers, so that these do not learn who visits the site.
func NewQR(url string) (*QR, error) {
	code, err := qr.Encode(url, qr.M, qr.Auto)
	if err != nil {
		return nil, fmt.Errorf("drawing the QR code: %w", err)
	}
	n := code.Bounds().Dx()
	var path strings.Builder
	for y := range n {
		for x := 0; x < n; x++ {
			run := 0
			for x+run < n && isDark(code.At(x+run, y)) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quietZone, y+quietZone, run, run)
				x += run // the module after a run is light
			}
		}
	}
	size := strconv.Itoa(n + 2*quietZone)
	return &QR{
		URL: url,
		SVG: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ` + size + " " + size + `" shape-rendering="crispEdges">` +
			`<path fill="#fff" d="M0 0h` + size + "v" + size + `H0z"/><path d="` + path.String() + `"/></svg>`,
	}, nil
}

func isDark(c color.Color) bool {
	return color.GrayModel.Convert(c) == color.Gray{}
}
