# Everything a person runs here. `make test` needs Go, git and a C compiler (the
# race detector wants it); what is missing is said, and what did not run with it.

GO          ?= go
FUZZTIME    ?= 10s
CRASHES     ?= 200
SIMS        ?= 20
LAWS        ?= Laws|ForksOver|WritesRead|DraftIsApply|FeedOnDisk|EveryCommitOpens|ATimeIs|CoverIs|SameEntries|Undo|CutsAre|Diff|Join|RangeIs|AuditKnows|Stalled
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

sim: ## the laws of merging 100 times over; worlds replayed from a seed; whole nodes on a simulated network; the chain against its model
	$(GO) test -count=1 -timeout 120m ./crdt ./crdt/tree ./internal/replicate -run '$(LAWS)' -rapid.checks=10000
	$(GO) test -count=1 -timeout 60m -v ./internal/sim -sim.seeds=100000
	$(GO) test -count=1 -timeout 60m -v -run 'TestSimulatedTeam$$' ./e2e -sim.seeds=$(SIMS)
	$(GO) test -count=1 -timeout 180m -v -run 'TestSimulatedCluster$$' ./e2e -sim.nodes=6 -sim.time=2h -sim.clusters=100
	$(GO) test -count=1 -timeout 120m -v -run 'TestSimulatedCluster$$' ./e2e -sim.nodes=20 -sim.time=1h -sim.clusters=2
	$(GO) test -race -count=1 -timeout 120m -v -run 'TestSimulatedParty$$' ./e2e -party.peers=50
	TOFT_TEAM_LINKS=4 TOFT_TEAM_SOUPS=1000000 $(GO) test -count=1 -timeout 120m -run 'TestModel$$|TestExhaustive' -v ./team

fuzz: ## every decoder of outside bytes for FUZZTIME each
	@.ci/fuzz $(FUZZTIME)

crash: ## power loss at every operation of CRASHES workloads, and kill -9 of a real process
	$(GO) test -count=1 -run 'Crash|Failing|Rotten' -timeout 60m ./internal/store -crash.rounds=$(CRASHES)
	$(GO) test -count=1 -run 'Killed' -timeout 120m -v ./e2e -crash.docs=100000

bugs: ## plant every listed bug and prove that a test catches it
	$(GO) test -count=1 -run TestPlantedBugs -timeout 60m -v ./internal/planted -bugs

demo: ## two peers share a database, a third is shut out
	$(GO) run ./cmd/toft demo
