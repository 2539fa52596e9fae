#!/usr/bin/env bash
# Measures one Caddy and then three on a shared Redis. Loopback only; ends by
# itself after a few minutes. Arguments go to bench/cluster, such as -short.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/caddy" ./cmd/caddy
go run ./bench/cluster -caddy "$dir/caddy" "$@"
