# `make test` is the one command: it installs what the machine lacks and runs everything.
.PHONY: test setup fmt vet lint unit miniprogram fuzz bench demo build clean

TOOL := go tool -modfile=tools/go.mod
# How long each fuzz target runs in `make fuzz`: a number of inputs, because Go's
# fuzzer may report a time that is up as a failure.
FUZZTIME ?= 10000x

test: setup fmt vet lint unit miniprogram fuzz

setup:
	@scripts/setup.sh

fmt:
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }

vet:
	go vet ./...

lint:
	$(TOOL) golangci-lint run ./...

unit:
	$(TOOL) gotestsum --format pkgname-and-test-fails -- -race -timeout 25m ./...

# The login page of the mini program, in the simulator of its framework.
miniprogram:
	cd examples/miniprogram && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && npm test

fuzz:
	@FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

bench:
	@bench/run.sh
	@bench/cluster.sh

demo:
	go run ./cmd/demo

build:
	go build -trimpath -o bin/caddy ./cmd/caddy

clean:
	rm -rf bin
