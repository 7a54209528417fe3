# minikv: everything needs only Go. `make check` is what CI runs first.
SHELL    := /bin/sh
GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT   ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X minikv/internal/buildinfo.Version=$(VERSION) -X minikv/internal/buildinfo.Commit=$(COMMIT)
DATA     ?= ./data
FUZZTIME ?= 5s
BENCH    ?= .
PKGS     := ./...
# The race detector needs a C compiler; without one the tests run without it.
RACE     := $(if $(shell command -v gcc || command -v clang),-race)

.PHONY: run build test check fmt vet staticcheck arch bench microbench enginebench fuzz e2e proto clean

build: ## one static binary, bin/minikv
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/minikv ./cmd/minikv

run: build ## one process with everything in it, data in ./data
	./bin/minikv serve --data $(DATA)

test: build ## unit, race, golden and end-to-end tests
	$(GO) test $(RACE) -timeout 20m $(PKGS)

check: fmt vet staticcheck arch ## what must hold before anything is tested

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go' | grep -v '^proto/metapb/')); \
	if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet $(PKGS)
	$(GO) vet -tags faults ./internal/vfs

staticcheck:
	$(GO) tool staticcheck $(PKGS)

arch: ## who may import whom
	$(GO) test -run '^TestArchitecture' ./e2e

bench: build ## PUT, GET, HEAD, LIST beside the limits of the same run; docs/benchmarks.md tells how to read it
	$(GO) run ./e2e/bench -bin bin/minikv -cluster 3,3

microbench: ## Benchmark* of the packages
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKGS)

enginebench: ## the volume engine beside its limits, about 5 minutes; MINIKV_BENCH_DIR says on which disk
	$(GO) test ./volume/store -run '^$$' -bench 'Put|Sequential|Get|CompactionUnderLoad' -benchtime 0.3s -timeout 20m
	$(GO) test ./volume/store -run '^$$' -bench Reopen -benchtime 20x
	$(GO) test ./volume/store -run '^$$' -bench Reopen -benchtime 20x -blobs 10000000 -timeout 20m
	$(GO) test ./volume/index -run '^$$' -bench Index/1M -benchtime 0.5s

fuzz: ## every fuzz target for FUZZTIME
	@GO=$(GO) .ci/fuzz $(FUZZTIME)

e2e: build ## the suites that run the real binary
	MINIKV_BIN=$(CURDIR)/bin/minikv $(GO) test -timeout 30m -count 1 ./e2e/...

proto: ## regenerate proto/metapb from proto/*.proto
	$(GO) run ./internal/tools/protogen

clean:
	rm -rf bin
