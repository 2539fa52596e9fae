// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Package wechattest simulates WeChat's servers and the phone of a person, for
// tests and for demos: access tokens, parametric QR codes, mini programs, the
// pages on which a person signs in to a site, the pushes to a developer's server
// and the chat in which the answers appear.
//
// It follows WeChat's documented wire behaviour, the awkward parts included,
// and refuses what WeChat refuses. Its cryptography, signatures and limits are
// written from the documents and share no code with any client, so a client's
// mistake cannot hide in them. Where the documents are silent or contradict one
// another, a comment says which behaviour was chosen.
//
// A test serves a [Server] with net/http/httptest, registers an [Account], and
// lets a [Phone] scan the code that the program under test has created.
package wechattest
