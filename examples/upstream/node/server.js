// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// An app behind caddy-wechat: it greets people from the identity headers.
// Run it with `node examples/upstream/node/server.js`.
"use strict";
const http = require("node:http");

const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const decode = (raw) => {
  try {
    return decodeURIComponent(raw);
  } catch {
    return raw;
  }
};

const server = http.createServer((req, res) => {
  const id = req.headers["x-user-id"] || ""; // the key of a person: stable, unique
  const name = decode(req.headers["x-user-name"] || "") || id || "stranger";
  res.setHeader("Content-Type", "text/html; charset=utf-8");
  res.end(`<p>Hello, ${escape(name)} (id ${escape(id)}).</p>\n`);
});

// On the loopback interface only: whoever reaches this port past the gateway can
// claim to be anybody.
server.listen(Number(process.env.PORT || 3000), "127.0.0.1", () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
