# Warnings as errors, and the formatters.

.PHONY: strict
strict: require-cc ## every C source under every compiler here, warnings as errors
	@CC="$(CC)" CXX="$(CXX)" CLANG="$(TOOLCHAIN_CLANG)" Scripts/check-strict

.PHONY: lint
lint: require-swift ## swift-format, and clang-format where it is installed
	@Scripts/format --lint

.PHONY: format
format: require-swift ## format all Swift and C files in place
	@Scripts/format
