# Sanitizers and fuzzers. They need a clang with its runtimes, which the Swift toolchain has.

SANITIZE_CC ?= $(TOOLCHAIN_CLANG)

$(eval $(call c_test_rules,asan,$(SANITIZE_CC),-fsanitize=address,undefined -fno-sanitize-recover=all))
$(eval $(call c_test_rules,tsan,$(SANITIZE_CC),-fsanitize=thread))

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
