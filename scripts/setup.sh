#!/usr/bin/env bash
# Installs what the tests need and the machine lacks: Chromium, which signs in
# through the real login page, Node, which runs an example app, and Redis.
set -euo pipefail
need=()
command -v chromium >/dev/null || need+=(chromium fonts-noto-cjk)
command -v node >/dev/null || need+=(nodejs)
command -v npm >/dev/null || need+=(npm)
command -v redis-server >/dev/null || need+=(redis-server)
if [ ${#need[@]} = 0 ]; then
	exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "The tests need ${need[*]}: install that with your package manager and run this again." >&2
	exit 1
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${need[@]}"
