# Warnings as errors, what the tree says of itself, and the formatters.

.PHONY: strict strict-c strict-layers strict-documents strict-api
strict: require-cc require-swift require-python ## every C source under every compiler here, warnings as errors; no arrow between floors goes up; the documents; the listing of the API
	@Scripts/sections strict-c strict-layers strict-documents strict-api
strict-c: require-cc
	@CC="$(CC)" CXX="$(CXX)" CLANG="$(TOOLCHAIN_CLANG)" Scripts/check-strict
strict-layers: require-python
	@Scripts/check-layers
strict-documents: require-python
	@Scripts/check-documents
strict-api: require-swift require-python
	@Scripts/list-api --check

.PHONY: api
api: require-swift require-python ## write the listing of the public Swift API, Documentation/API.txt
	@Scripts/list-api

.PHONY: lint
lint: require-swift ## swift-format, and clang-format where it is installed
	@Scripts/format --lint

.PHONY: format
format: require-swift ## format all Swift and C files in place
	@Scripts/format
