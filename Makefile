# SwiftIPC. `make help` says what there is; .ci/run is what a change has to pass.
#
# `make tour` and `make test` need a Swift 6.2+ toolchain, libc6-dev, make and python3.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
# Objects that only pattern rules name would be removed again.
.SECONDARY:
.DEFAULT_GOAL := help

BUILD := build
# `make V=1` shows the commands.
Q := $(if $(V),,@)
# Swift children crash on purpose in tests; their backtraces cost seconds each and say nothing.
export SWIFT_BACKTRACE ?= enable=no

# make's own default is "cc" whether there is one or not; the Swift toolchain brings a clang.
TOOLCHAIN_CLANG := $(shell command -v clang || \
  { swift=$$(command -v swift) && clang=$$(dirname "$$(readlink -f "$$swift")")/clang && \
    test -x "$$clang" && echo "$$clang"; } || true)
ifeq ($(origin CC),default)
  CC := $(shell command -v cc || echo "$(TOOLCHAIN_CLANG)")
endif
ifeq ($(origin AR),default)
  AR := $(shell command -v ar || echo "$(dir $(TOOLCHAIN_CLANG))llvm-ar")
endif
ifeq ($(origin CXX),default)
  CXX := $(shell command -v g++ || command -v c++ || command -v clang++ || true)
endif

# SwiftPM would build with a CC from the environment, which need not be a clang.
unexport CC CXX AR

include Make/library.mk
include Make/install.mk
include Make/test.mk
include Make/sanitize.mk
include Make/quality.mk
include Make/model.mk

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | \
	  awk -F ':.*## ' '{ printf "  make %-20s %s\n", $$1, $$2 }'

.PHONY: tour
tour: require-swift ## build and run the tour (Examples/Tour)
	@# SwiftPM (6.3.1) looks for new files in a dependency by path only when the manifest is newer.
	@touch Examples/Tour/Package.swift
	@swift run -c release --package-path Examples/Tour Tour

.PHONY: bench
bench: require-swift ## our figures beside the raw-C floor and CPython
	@$(MAKE) --no-print-directory -C Benchmarks

.PHONY: bench-build
bench-build: require-swift ## whether the benchmarks build
	@touch Benchmarks/Package.swift
	@swift build -q --package-path Benchmarks

.PHONY: clean
clean: ## remove everything that was built
	rm -rf $(BUILD) .build .build-asan .build-tsan
	rm -rf Examples/*/.build Tools/*/.build Benchmarks/.build Tests/Consumers/*/.build Tests/Authentication/.build
	@if [ -e Tests/Crash/Makefile ]; then $(MAKE) -C Tests/Crash clean; fi
