# Sanitizers and fuzzers. They need a clang with its runtimes, which the Swift toolchain has.

SANITIZE_CC ?= $(TOOLCHAIN_CLANG)

# gold, the default of the Swift toolchain's clang, warns of each symbol of the runtimes.
SANITIZE_LINK := -fuse-ld=lld
ASAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all
# The Swift toolchain's runtime for threads knows Dispatch and wants it linked.
DISPATCH_DIR := $(patsubst %/,%,$(dir $(wildcard \
  $(dir $(realpath $(TOOLCHAIN_CLANG)))../lib/swift/linux/libdispatch.so)))
TSAN_FLAGS := -fsanitize=thread
ifneq ($(DISPATCH_DIR),)
  TSAN_LINK := -L$(DISPATCH_DIR) -Wl,-rpath,$(DISPATCH_DIR) -ldispatch -lBlocksRuntime
endif

$(eval $(call c_test_rules,asan,$(SANITIZE_CC),$(ASAN_FLAGS),$(SANITIZE_LINK)))
$(eval $(call c_test_rules,tsan,$(SANITIZE_CC),$(TSAN_FLAGS),$(SANITIZE_LINK) $(TSAN_LINK)))

# The C tests mostly wait, and the Swift compiler does not.
.PHONY: sanitize sanitize-c sanitize-swift
sanitize: ## C and Swift tests under ASan+UBSan and TSan
	@Scripts/sections --together sanitize-c sanitize-swift
sanitize-c:
	@Scripts/sections sanitize-c-address sanitize-c-thread
sanitize-swift:
	@Scripts/sections sanitize-swift-address sanitize-swift-thread

.PHONY: sanitize-c-address sanitize-c-thread sanitize-swift-address sanitize-swift-thread
# A fork takes many times as long here, for the memory that a sanitizer keeps beside the program's.
SANITIZED_FORKS := 40
sanitize-c-address: $(C_TESTS_asan)
	@FORKS=$(SANITIZED_FORKS) Scripts/run-programs $^
# The poller's test starts a thread in a forked child, which ThreadSanitizer refuses unless told.
sanitize-c-thread: $(C_TESTS_tsan)
	@FORKS=$(SANITIZED_FORKS) TSAN_OPTIONS=die_after_fork=0 Scripts/run-programs $^
# A kill is a new worker, whose start takes many times as long here.
SANITIZED_KILLS := 50
# UBSan does not exist for Swift on Linux; the C core has it in its own tests. Suppressions of
# leaks match frames, and a task is decoded deeper than the 30 that are kept unasked.
sanitize-swift-address: require-swift require-python
	@POOL_KILLS=$(SANITIZED_KILLS) ASAN_OPTIONS=malloc_context_size=100 \
	  LSAN_OPTIONS=suppressions=$(CURDIR)/Tests/leaks.supp:print_suppressions=0 \
	  Scripts/swift-tests --sanitize=address --scratch-path .build-asan
# A child that is forked while descriptors of a peer wait to be closed starts the thread that closes
# them; ThreadSanitizer would end it, and a test that waits for it would hang.
sanitize-swift-thread: require-swift require-python
	@POOL_KILLS=$(SANITIZED_KILLS) \
	  TSAN_OPTIONS=die_after_fork=0:suppressions=$(CURDIR)/Tests/races.supp \
	  Scripts/swift-tests --sanitize=thread --scratch-path .build-tsan

# libFuzzer. `make fuzz SECONDS=n` gives each fuzzer n seconds, from Tests/Fuzz/corpus/NAME and what
# earlier runs found (build/fuzz/NAME.corpus). An input that fails is left in build/fuzz.
SECONDS ?= 60
FUZZ := $(BUILD)/fuzz
FUZZ_C_OBJECTS := $(C_SOURCES:Sources/CIPC/%.c=$(FUZZ)/core/%.o)
SWIFT_SOURCES := $(shell find Sources/SwiftIPC -name '*.swift')

$(FUZZ)/core/%.o: Sources/CIPC/%.c $(C_HEADERS)
	@mkdir -p $(@D)
	$(Q)$(SANITIZE_CC) $(C_TEST_FLAGS) $(ASAN_FLAGS) -fsanitize=fuzzer-no-link -O2 -c $< -o $@

$(FUZZ)/frame: Tests/Fuzz/frame_fuzz.c $(C_HEADERS) $(FUZZ_C_OBJECTS)
	$(Q)$(SANITIZE_CC) $(C_TEST_FLAGS) $(ASAN_FLAGS) -fsanitize=fuzzer -O2 $(SANITIZE_LINK) \
	  $(filter %.c %.o,$^) -pthread -o $@

# The modules below SwiftIPC are built as in the package; the fuzzers in Swift and the rest of the
# library are one more, so that all is instrumented, once: the name of the program says which fuzzer
# it is.
FUZZERS_IN_SWIFT := $(FUZZ)/message $(FUZZ)/handshake
SWIFT_FEATURES := $(shell sed -nE 's/.*enableUpcomingFeature\("(.*)"\).*/-enable-upcoming-feature \1/p' Package.swift)
FUZZ_SWIFTC = swiftc -O -g -j $(shell nproc) -sanitize=fuzzer,address -parse-as-library -swift-version 6 \
  -package-name swift_ipc -strict-memory-safety $(SWIFT_FEATURES) -I Sources/CIPC/include -I $(FUZZ)

# $(1): the module's name; $(2): the objects of those that it imports.
define fuzz_module
$(FUZZ)/$(1).o: $(shell find Sources/$(1) -name '*.swift') $(2) $(C_HEADERS) | require-swift
	@mkdir -p $$(@D)
	$$(Q)$$(FUZZ_SWIFTC) -wmo -module-name $(1) -emit-object -emit-module \
	  -emit-module-path $(FUZZ)/$(1).swiftmodule $$(filter %.swift,$$^) -o $$@
endef
$(eval $(call fuzz_module,IPCLibc))
$(eval $(call fuzz_module,MessageCoding,$(FUZZ)/IPCLibc.o))
$(FUZZ)/swift: $(wildcard Tests/Fuzz/*.swift) $(SWIFT_SOURCES) \
    $(FUZZ)/IPCLibc.o $(FUZZ)/MessageCoding.o $(C_HEADERS) $(FUZZ_C_OBJECTS)
	$(Q)$(FUZZ_SWIFTC) -module-name Fuzzers -use-ld=lld $(filter %.swift %.o,$^) -o $@
$(FUZZERS_IN_SWIFT): $(FUZZ)/swift
	$(Q)ln -f $< $@

.PHONY: fuzz fuzz-frame fuzz-message fuzz-handshake
# Built first, since they have objects in common.
fuzz: require-swift $(FUZZ)/frame $(FUZZ)/swift ## feed the frame and message decoders and the handshake arbitrary bytes, SECONDS=n each
	@Scripts/sections --together fuzz-frame fuzz-message fuzz-handshake
fuzz-frame: $(FUZZ)/frame
	@Scripts/run-fuzzer $< "$(SECONDS)"
fuzz-message: require-swift $(FUZZ)/message
	@Scripts/run-fuzzer $(FUZZ)/message "$(SECONDS)"
fuzz-handshake: require-swift $(FUZZ)/handshake
	@Scripts/run-fuzzer $(FUZZ)/handshake "$(SECONDS)"
