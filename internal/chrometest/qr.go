// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package chrometest

import (
	"bytes"
	"errors"
	"image/png"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// ReadQR reads the QR code in one of several PNGs of it, as a phone's camera
// would: that, too, looks more than once, and from more than one distance.
func ReadQR(t testing.TB, pictures ...[]byte) string {
	t.Helper()
	var errs []error
	for _, picture := range pictures {
		// The reader's own detector misses some flawless codes; that for pictures
		// of nothing but the code finds those.
		for _, hint := range []gozxing.DecodeHintType{gozxing.DecodeHintType_TRY_HARDER, gozxing.DecodeHintType_PURE_BARCODE} {
			text, err := readQR(picture, hint)
			if err == nil {
				return text
			}
			errs = append(errs, err)
		}
	}
	t.Fatalf("reading the code: %v", errors.Join(errs...))
	return ""
}

func readQR(picture []byte, hint gozxing.DecodeHintType) (string, error) {
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return "", err
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		return "", err
	}
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{hint: true})
	if err != nil {
		return "", err
	}
	return result.GetText(), nil
}
