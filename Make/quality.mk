# Warnings as errors, and the formatters.

.PHONY: strict
strict: require-cc require-python ## every C source under every compiler here, warnings as errors; no arrow between floors goes up
	@CC="$(CC)" CXX="$(CXX)" CLANG="$(TOOLCHAIN_CLANG)" Scripts/check-strict
	@Scripts/check-layers

.PHONY: lint
lint: require-swift ## swift-format, and clang-format where it is installed
	@Scripts/format --lint

.PHONY: format
format: require-swift ## format all Swift and C files in place
	@Scripts/format
