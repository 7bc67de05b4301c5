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

.PHONY: sanitize
sanitize: ## C and Swift tests under ASan+UBSan and TSan
	@Scripts/sections sanitize-c-address sanitize-c-thread sanitize-swift-address \
	  sanitize-swift-thread

.PHONY: sanitize-c-address sanitize-c-thread sanitize-swift-address sanitize-swift-thread
sanitize-c-address: $(C_TESTS_asan)
	@Scripts/run-programs $^
sanitize-c-thread: $(C_TESTS_tsan)
	@Scripts/run-programs $^
sanitize-swift-address: require-swift
	@Scripts/swift-tests --sanitize=address --sanitize=undefined --scratch-path .build-asan
sanitize-swift-thread: require-swift
	@Scripts/swift-tests --sanitize=thread --scratch-path .build-tsan

SECONDS ?= 60
