// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package wechat speaks WeChat's protocol as a server has to: it keeps the
// access token of an account, makes parametric QR codes and mini program codes,
// sends people to WeChat's own sign-in pages and learns who came back, and
// receives and answers the messages and events that WeChat pushes.
//
// A [Client] calls WeChat. One Client serves one account; any number of them, in
// any number of processes, share one access token through a [Cache].
//
// A [Receiver] is called by WeChat. It believes a push only after checking
// signature, time, app id and that its nonce was not used for anything else.
//
// The package writes no log. What failed, and what the operator can do about
// it, is in the errors: see [Error] and [ErrUnavailable]. No error holds a
// secret, an access token or a URL.
package wechat
