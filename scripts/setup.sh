#!/usr/bin/env bash
# Installs what the tests need and the machine lacks: Chromium, which signs in
# through the real login page.
set -euo pipefail
if command -v chromium >/dev/null; then
	exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "The browser tests need chromium: install it with your package manager and run this again." >&2
	exit 1
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium fonts-noto-cjk
