// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

// EndpointSubscriber tells an account of the people who follow it.
const EndpointSubscriber = "/cgi-bin/user/info"

const subscribersPerDay = 500_000 // one of two tables; the other one says 5,000,000

// subscriberAnswer is of somebody who follows the account. What people showed of
// themselves is empty since the end of 2021, and the keys remain.
type subscriberAnswer struct {
	Subscribe      int      `json:"subscribe"`
	OpenID         string   `json:"openid"`
	Nickname       string   `json:"nickname"`
	Sex            int      `json:"sex"`
	Language       string   `json:"language"`
	City           string   `json:"city"`
	Province       string   `json:"province"`
	Country        string   `json:"country"`
	HeadImgURL     string   `json:"headimgurl"`
	SubscribeTime  int64    `json:"subscribe_time"`
	UnionID        string   `json:"unionid,omitempty"`
	Remark         string   `json:"remark"`
	GroupID        int      `json:"groupid"`
	TagIDs         []string `json:"tagid_list"`
	SubscribeScene string   `json:"subscribe_scene"`
	QRScene        int      `json:"qr_scene"`
	QRSceneStr     string   `json:"qr_scene_str"`
}

type strangerAnswer struct {
	Subscribe int    `json:"subscribe"`
	OpenID    string `json:"openid"`
}

// subscriber is cgi-bin/user/info. Whether somebody who does not follow has a unionid
// here is not documented; none is sent.
// https://developers.weixin.qq.com/doc/service/api/usermanage/userinfo/api_userinfo.html
func (s *Server) subscriber(c call) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, e := s.authorizeLocked(c)
	if e.ErrCode != 0 {
		return e
	}
	if !app.mayWrite() { // the same accounts may
		return apiError{48001, "api unauthorized"}
	}
	if code := app.quota.take(EndpointSubscriber, c.now, subscribersPerDay, 0); code != 0 {
		return quotaError(code)
	}
	p := s.personLocked(app.AppID, c.query("openid"))
	if p == nil {
		return apiError{40003, "invalid openid"}
	}
	if !p.follows[app.AppID] {
		return strangerAnswer{OpenID: p.OpenID(app.AppID)}
	}
	return subscriberAnswer{
		Subscribe: 1, OpenID: p.OpenID(app.AppID), Language: "zh_CN", SubscribeTime: c.now.Unix(),
		UnionID: p.unionIDLocked(app.AppID), TagIDs: []string{}, SubscribeScene: "ADD_SCENE_QR_CODE",
	}
}
