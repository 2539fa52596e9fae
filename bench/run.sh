#!/usr/bin/env bash
# Measures what the gateway costs. Loopback only; ends by itself after a few minutes.
# Arguments go to bench/proxy, such as -rounds 200.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo "== the gate alone"
go test -run '^$' -bench . -benchtime 1s -count 3 ./bench ./session ./store/embedded | grep -E '^(Benchmark|pkg:)'
echo "== in a real Caddy"
go build -o "$dir/caddy" ./cmd/caddy
go run ./bench/proxy -caddy "$dir/caddy" "$@"
