// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"

	"github.com/caddy-wechat/caddy-wechat/wechat/wechattest"
)

// The accounts of the demo. All are bound to one account of the open platform
// (微信开放平台), so that a person is one user by whichever method.
const (
	appID     = "wxdemo0123456789ab" // the service account (服务号)
	miniAppID = "wxdemomini01234567" // the mini program (小程序)
	webAppID  = "wxdemoweb012345678" // the website application (网站应用)

	accountName = "演示服务号 Demo"
	miniName    = "演示小程序 Demo"
	siteTitle   = "演示站点 Demo"

	openPlatform = "demo"
	// adminName is the person whose the phone is at first, and the admin of a team.
	adminName = "小明"
	// The size of the service account's own QR code, with the margin around it.
	pixels, margin = 430, 40
)

// accounts are what the Caddyfile says of the accounts.
type accounts struct {
	Official, Mini, Website wechattest.Account
	QRImage                 string // the file of the service account's own QR code
}

// register registers the accounts with the simulated WeChat, as their owner does
// in WeChat's console.
func (d *demo) register(qrImage string) (accounts, error) {
	a := accounts{
		Official: wechattest.Account{
			AppID: appID, Name: accountName, Mode: wechattest.Secure, OpenPlatform: openPlatform,
			Secret: rand.Text(), Token: rand.Text(), AESKey: (rand.Text() + rand.Text())[:43],
			PushURL: d.siteURL + "_wechat/push/" + appID, CallbackDomain: hostname(d.inWeChatURL),
		},
		Mini: wechattest.Account{AppID: miniAppID, Name: miniName, Secret: rand.Text(), OpenPlatform: openPlatform},
		Website: wechattest.Account{
			AppID: webAppID, Name: siteTitle, Kind: wechattest.Website, Secret: rand.Text(), OpenPlatform: openPlatform,
			CallbackDomain: hostname(d.siteURL),
		},
		QRImage: qrImage,
	}
	official, err := d.wechat.AddAccount(a.Official)
	if err != nil {
		return a, err
	}
	if _, err := d.wechat.AddMiniProgram(wechattest.MiniProgram{
		Account: a.Mini, Pages: []string{"pages/login/login"}, Portal: d.siteURL + "_wechat",
	}); err != nil {
		return a, err
	}
	if _, err := d.wechat.AddAccount(a.Website); err != nil {
		return a, err
	}
	return a, drawQR(official.CardURL(), qrImage)
}

// drawQR writes a QR code with its quiet zone, as WeChat's console offers it for
// download.
func drawQR(content, file string) error {
	code, err := qr.Encode(content, qr.M, qr.Auto)
	if err == nil {
		code, err = barcode.Scale(code, pixels-2*margin, pixels-2*margin)
	}
	if err != nil {
		return fmt.Errorf("drawing the account's QR code: %w", err)
	}
	picture := image.NewGray(image.Rect(0, 0, pixels, pixels))
	draw.Draw(picture, picture.Bounds(), image.White, image.Point{}, draw.Src)
	draw.Draw(picture, picture.Bounds().Inset(margin), code, image.Point{}, draw.Src)
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, picture); err != nil {
		return fmt.Errorf("drawing the account's QR code: %w", err)
	}
	return os.WriteFile(file, encoded.Bytes(), 0o600)
}
