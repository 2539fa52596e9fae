#!/usr/bin/env bash
# Runs every fuzz target for a while, one after the other.
set -euo pipefail
fuzztime=${FUZZTIME:-10000x}
for package in $(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do
	for target in $(grep -rhoE --include='*_test.go' '^func (Fuzz[A-Za-z0-9_]*)' "$package"/*_test.go | awk '{print $2}' | sort -u); do
		echo "fuzz $package $target"
		go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -parallel 2
	done
done
