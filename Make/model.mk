# Models of what the tests cannot order at will, checked in full by spin (Debian package spin).

.PHONY: model
model: ## spin checks the model of how users of a ring wait for each other
	@CC="$(CC)" Scripts/require cc spin
	@CC="$(CC)" Tests/Model/run
