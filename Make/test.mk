# Each target here ends with a line "N passed, N failed[, N skipped]"; Scripts/sections adds them up.

.PHONY: require-swift require-cc require-python require-tests
require-swift:
	@CC="$(CC)" Scripts/require swift
require-cc:
	@CC="$(CC)" Scripts/require cc
require-python:
	@Scripts/require python3
# All in one, so that one line names all that is missing.
require-tests:
	@CC="$(CC)" Scripts/require swift cc python3

.PHONY: test
test: require-tests ## all tests: C, Swift, Python ends, consumers
	@Scripts/sections test-scripts test-version test-c test-exports test-headers test-consumers test-python test-tools test-swift \
	  test-authentication

.PHONY: test-scripts
test-scripts: ## the scripts that count tests, name what is missing and check the floors of the core
	@Tests/Scripts/run

.PHONY: test-version
test-version: ## one version in VERSION, the headers, CHANGELOG and README
	@Scripts/check-version

.PHONY: test-swift
test-swift: require-swift require-python ## the Swift tests
	@Scripts/swift-tests

.PHONY: test-authentication
test-authentication: require-swift require-python ## the tests of the trait Authentication, with swift-crypto
	@Scripts/authentication-tests

# C tests are compiled together with the sources, with the fault points in them.
C_TESTS := $(wildcard Tests/C/*_test.c)
C_TEST_FLAGS := -std=c11 -D_GNU_SOURCE -DCIPC_FAULTS -ISources/CIPC/include -ISources/CIPC \
  -ITests/C $(C_WARNINGS) -Werror -O1 -g

# $(call c_test_rules,FLAVOUR,COMPILER,FLAGS,LINK FLAGS): programs build/FLAVOUR/NAME_test, and their list.
define c_test_rules
C_TESTS_$(1) := $$(C_TESTS:Tests/C/%.c=$$(BUILD)/$(1)/%)

$$(BUILD)/$(1)/core/%.o: Sources/CIPC/%.c $$(C_HEADERS) | require-cc
	@mkdir -p $$(@D)
	$$(Q)$(2) $$(C_TEST_FLAGS) $(3) -c $$< -o $$@

$$(BUILD)/$(1)/%_test: Tests/C/%_test.c $$(wildcard Tests/C/*.h) $$(C_HEADERS) \
    $$(C_SOURCES:Sources/CIPC/%.c=$$(BUILD)/$(1)/core/%.o)
	$$(Q)$(2) $$(C_TEST_FLAGS) $(3) $$(filter %.c %.o,$$^) $(4) -pthread -o $$@
endef

$(eval $(call c_test_rules,test-c,$(CC),))

.PHONY: test-c
test-c: $(C_TESTS_test-c) ## the C tests
	@Scripts/run-programs $^

SOAKS := start_test soak_test ring_soak_test fork_test

.PHONY: soak
soak: $(SOAKS:%=$(BUILD)/test-c/%) ## ten thousand starts; minutes of kills; two thousand forks in each call
	STARTS=10000 SOAK_SECONDS=60 FORKS=2000 PROGRAMS_AT_ONCE=1 TEST_PROGRAM_SECONDS=900 Scripts/run-programs $^

.PHONY: test-exports
test-exports: lib require-python ## the shared library exports the public API and nothing else
	@Scripts/check-exports $(LIB_SHARED) $(LIB_STATIC) $(SOVERSION)

.PHONY: test-headers
test-headers: require-cc ## every public header compiles alone, as C and C++
	@CC="$(CC)" CXX="$(CXX)" CLANG="$(TOOLCHAIN_CLANG)" Scripts/check-headers

.PHONY: test-consumers
test-consumers: lib require-swift ## programs that use an installed libcipc, and a package that uses this one
	@# Its makes have no part in the jobs of this one.
	@MAKEFLAGS= CC="$(CC)" CXX="$(CXX)" VERSION=$(VERSION) SOVERSION=$(SOVERSION) Tests/Consumers/run

.PHONY: test-python
test-python: lib require-swift require-python ## libcipc from Python's ctypes, and with Swift beside it
	@swift build -q --product ForeignPeer
	@Scripts/run-programs --with python3 $(wildcard Tests/Python/*_test.py)

.PHONY: test-tools ipctool
ipctool: require-swift ## build ipctool, which shows the segments on this machine (Tools/ipctool)
	@# SwiftPM (6.3.1) looks for new files in a dependency by path only when the manifest is newer.
	@touch Tools/ipctool/Package.swift
	@swift build -q --package-path Tools/ipctool
test-tools: lib ipctool require-python ## ipctool against real processes
	@Scripts/run-programs --with python3 Tools/ipctool/ipctool_test.py

MUSL_CC ?= musl-gcc
# musl-gcc sees no kernel headers. These directories alone, not /usr/include: a glibc header that
# musl lacks must stay missing.
MUSL_KERNEL := $(BUILD)/musl-kernel
MUSL_FLAGS := -static -isystem $(MUSL_KERNEL)

$(MUSL_KERNEL):
	@mkdir -p $@.part
	@ln -sfn /usr/include/linux $@.part/linux
	@ln -sfn /usr/include/asm-generic $@.part/asm-generic
	@ln -sfn "$$(dirname "$$(find /usr/include -path '*/asm/unistd.h' | head -1)")" $@.part/asm
	@mv $@.part $@

# Processes tell images apart by build id, which the specs of musl-gcc leave out.
MUSL_LINK := -Wl,--build-id

$(eval $(call c_test_rules,musl,$(MUSL_CC),$(MUSL_FLAGS),$$(MUSL_LINK)))
$(C_TESTS_musl) $(C_SOURCES:Sources/CIPC/%.c=$(BUILD)/musl/core/%.o): | $(MUSL_KERNEL) require-musl

.PHONY: require-musl
require-musl:
	@Scripts/require musl

.PHONY: musl
musl: require-musl $(C_TESTS_musl) ## the C core and its tests, statically, against musl
	@Scripts/run-programs $(C_TESTS_musl)

.PHONY: crash crash-sample crash-self-test
crash: ## kill a victim at every instruction of every operation (long)
	@$(MAKE) --no-print-directory -C Tests/Crash CC="$(CC)" sweep
crash-sample: ## the same at some instructions, within two minutes
	@$(MAKE) --no-print-directory -C Tests/Crash CC="$(CC)" sample
crash-self-test: ## the sweep must find the faults of broken operations
	@$(MAKE) --no-print-directory -C Tests/Crash CC="$(CC)" self-test
