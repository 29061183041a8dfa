# Everything a person runs here. `make test` needs Go, git and a C compiler (the
# race detector wants it); what is missing is said, and what did not run with it.

GO          ?= go
FUZZTIME    ?= 10s
CRASHES     ?= 200
SIMS        ?= 20
BENCH       ?= .
BENCHFLAGS  ?= -run .

.PHONY: help run test check bench sim fuzz crash bugs demo

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

run: ## a node in the foreground
	$(GO) run ./cmd/toft daemon

test: ## all tests, with the race detector where a C compiler is
	@.ci/test

check: ## gofmt, go vet, staticcheck, the house rules
	@.ci/check

bench: ## benchmarks; BENCH=regexp chooses, then the workload of bench/ beside go-ds-crdt
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...
	$(GO) -C bench run . $(BENCHFLAGS)

sim: ## whole nodes on a simulated network, SIMS seeds
	$(GO) test -count=1 -run 'Simulated' -timeout 60m -v ./e2e -sim.seeds=$(SIMS)

fuzz: ## every decoder of outside bytes for FUZZTIME each
	@.ci/fuzz $(FUZZTIME)

crash: ## power loss at every operation of CRASHES workloads, and kill -9 of a real process
	$(GO) test -count=1 -run 'Crash|Failing|Rotten' -timeout 60m ./internal/store -crash.rounds=$(CRASHES)
	$(GO) test -count=1 -run 'Killed' -timeout 60m -v ./e2e

bugs: ## plant every listed bug and prove that a test catches it
	$(GO) test -count=1 -run TestPlantedBugs -timeout 60m -v ./internal/planted -bugs

demo: ## two peers share a database, a third is shut out
	$(GO) run ./cmd/toft demo
