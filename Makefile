# Targets that people and CI use; `make` alone builds.
#
#   build      bin/sluice, static, version stamped
#   run        build, then a broker on 127.0.0.1:9092 with its data in ./sluice-data
#   tools      install what the tests need: kcat, versitygw, MinIO, Apache Kafka's jars (a JDK must be there), Python clients
#   check      gofmt, vet, staticcheck, house tests, in every module
#   test       everything once with -race, and a short fuzz; ends with one line of counts
#   test-long  the long evidence (SLUICE_LONG=1), by hand
#   bench      Sluice beside Apache Kafka and the machine's limits, over an hour and a half; results in bench/results.
#              ARGS='--only throughput-4' for a part, ARGS=--help for the rest
#   bench-micro  Go benchmarks of every module
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: build run tools check fmt-check vet staticcheck house test test-long bench bench-micro clean

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
MODULES := . storage/bucket/s3/faketest compat-tests
FUZZTIME ?= 3s

export SLUICE_TOOLS ?= $(HOME)/.cache/sluice-tools
export SLUICE_BIN := $(CURDIR)/bin/sluice

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sluice ./cmd/sluice

run: build
	exec bin/sluice dev

tools:
	scripts/tools.sh

check: fmt-check vet staticcheck house

fmt-check:
	@files=$$(git ls-files -co --exclude-standard '*.go' | while read -r f; do [ ! -f "$$f" ] || echo "$$f"; done | xargs -r gofmt -l); \
	if [ -n "$$files" ]; then echo "gofmt: these files are not formatted:"; echo "$$files"; exit 1; fi

vet:
	for m in $(MODULES); do (cd $$m && $(GO) vet ./...); done

staticcheck:
	for m in $(MODULES); do (cd $$m && $(GO) run $(STATICCHECK) ./...); done

house:
	$(GO) test ./internal/house

# As root or in CI the tools are installed; anyone else is told what is missing.
test: build
	if [ "$$(id -u)" = 0 ] || [ "$${CI:-}" = true ]; then scripts/tools.sh; else scripts/tools.sh --check || true; fi
	$(GO) run ./scripts/gotest -race -timeout 15m -fuzz $(FUZZTIME) $(MODULES)

test-long: build
	SLUICE_LONG=1 $(GO) run ./scripts/gotest -race -timeout 6h -fuzz 60s $(MODULES)

bench: build
	if [ "$$(id -u)" = 0 ]; then scripts/tools.sh; else scripts/tools.sh --check || true; fi
	$(GO) build -trimpath -o bin/bench ./bench
	bin/bench compare $(or $(ARGS),--within 110m)

bench-micro: build
	for m in $(MODULES); do (cd $$m && $(GO) test -run '^$$' -bench . -benchmem ./...); done

clean:
	rm -rf bin
