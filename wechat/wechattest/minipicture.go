// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"

	"github.com/boombuler/barcode/qr"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// drawMiniCode renders content as a JPEG, or as a PNG without background.
func drawMiniCode(content string, width int, hyaline bool) (data []byte, contentType string, err error) {
	picture, err := drawQR(content, width)
	if err != nil {
		return nil, "", err
	}
	var b bytes.Buffer
	if hyaline {
		err = png.Encode(&b, withoutBackground(picture))
		return b.Bytes(), "image/png", err
	}
	err = jpeg.Encode(&b, picture, &jpeg.Options{Quality: 90})
	return b.Bytes(), "image/jpeg", err
}

// drawQR makes the modules as large as fits beside a quiet zone.
func drawQR(content string, width int) (*image.Gray, error) {
	const quietZone = 4 // modules, on each side
	code, err := qr.Encode(content, qr.M, qr.Auto)
	if err != nil {
		return nil, err
	}
	modules := code.Bounds().Dx()
	size := width / (modules + 2*quietZone)
	margin := (width - modules*size) / 2
	picture := image.NewGray(image.Rect(0, 0, width, width))
	for i := range picture.Pix {
		picture.Pix[i] = 0xff
	}
	for y := range modules * size {
		row := picture.Pix[picture.PixOffset(margin, margin+y):]
		for x := range modules {
			if code.At(x, y/size) == color.Black {
				clear(row[x*size : (x+1)*size])
			}
		}
	}
	return picture, nil
}

func withoutBackground(picture *image.Gray) image.Image {
	p := image.NewPaletted(picture.Rect, color.Palette{color.Black, color.Transparent})
	for i, gray := range picture.Pix {
		p.Pix[i] = gray & 1
	}
	return p
}

const maxPicture = 4096 // pixels, each way

// ReadCode is a phone's camera: it returns the content of the one QR code in a
// picture, a JPEG or a PNG.
func ReadCode(picture []byte) (content string, err error) {
	size, _, err := image.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return "", fmt.Errorf("reading a code: %w", err)
	}
	if size.Width > maxPicture || size.Height > maxPicture {
		return "", fmt.Errorf("reading a code: the picture has %d × %d pixels, more than %d", size.Width, size.Height, maxPicture)
	}
	decoded, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		return "", fmt.Errorf("reading a code: %w", err)
	}
	onPaper := image.NewRGBA(decoded.Bounds()) // for pictures without background
	draw.Draw(onPaper, onPaper.Bounds(), image.White, image.Point{}, draw.Src)
	draw.Draw(onPaper, onPaper.Bounds(), decoded, decoded.Bounds().Min, draw.Over)
	// That for pictures of nothing but the code is fast, and reads those of this
	// package; the other finds a code in a photograph.
	var errs []error
	for _, hint := range []gozxing.DecodeHintType{gozxing.DecodeHintType_PURE_BARCODE, gozxing.DecodeHintType_TRY_HARDER} {
		bitmap, err := gozxing.NewBinaryBitmapFromImage(onPaper)
		if err != nil {
			return "", fmt.Errorf("reading a code: %w", err)
		}
		result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{hint: true})
		if err == nil {
			return result.GetText(), nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("reading a code: %w", errors.Join(errs...))
}
