# Copyright 2026 the caddy-wechat authors
# SPDX-License-Identifier: Apache-2.0
"""An app behind caddy-wechat: it greets people from the identity headers.

Run it with `python3 examples/upstream/python/app.py`.
"""

import os
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class App(BaseHTTPRequestHandler):
    def do_GET(self):
        user_id = self.headers.get("X-User-Id", "")  # the key of a person: stable, unique
        name = unquote(self.headers.get("X-User-Name", "")) or user_id or "stranger"
        body = f"<p>Hello, {escape(name)} (id {escape(user_id)}).</p>\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    # On the loopback interface only: whoever reaches this port past the gateway
    # can claim to be anybody.
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), App)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
