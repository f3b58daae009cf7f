# Every command that a person or CI runs. Nothing here needs more than Go, make and git, but `race` (a C compiler) and the
# PostgreSQL tests, which find, start or install a server by themselves (store/storetest/pgtest).

export CGO_ENABLED ?= 0
BUF  := go tool -modfile=tools/buf/go.mod buf
LINT := go tool -modfile=tools/lint/go.mod golangci-lint
PG   := go run ./store/storetest/pgtest/pgcluster --
FUZZTIME  ?= 30s
BENCHTIME ?= 1s
.DEFAULT_GOAL := help

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build obo, obo-sts and obo-executor into bin/
	go build -trimpath -o bin/ ./cmd/obo ./cmd/obo-sts ./cmd/obo-executor

demo: build ## Run the whole story on this machine and print it
	bin/obo demo

dev: build ## Start everything on loopback and wait for Ctrl-C
	bin/obo dev

test: build ## Run all tests, the store's on SQLite and PostgreSQL, and hold docs/conformance.md against them
	$(PG) go run ./tools/conformance ./...

conformance: build ## Write docs/CONFIG.md, docs/ERRORS.md and docs/WYCHEPROOF.md, run all tests, and write docs/conformance.md
	go test ./config -run TestConfigPage -update
	go test ./wire/oauthhttp -run TestErrorsPage -update
	go test ./jose -run TestWycheproof -update
	$(PG) go run ./tools/conformance -update ./...

rolling: ## Restart two replicas under load, one after the other: no exchange may fail
	$(PG) go test -count=1 -tags slow ./e2e -run '^TestRolling' -v

upgrade: ## Upgrade two replicas of the version before under load, and go back (needs the git history)
	$(PG) go test -count=1 -tags slow ./e2e -run '^TestUpgrade' -v

chaos: ## Cut followers off, hang PostgreSQL and replicas, in a random order; CHAOS='-chaos.seed N -chaos.for 5m'
	go test -count=1 -tags slow ./e2e -run '^TestChaos' -v $(CHAOS)

kill: ## Kill executors while they refresh tokens that are good for one use: none is lost or spent twice; KILL='-kill.seed N'
	$(PG) go test -count=1 -tags slow ./e2e -run '^TestKillRefreshing' -v $(KILL)

runbooks: ## Run the commands of docs/runbooks in the situations that they are for
	go test -count=1 -tags slow ./e2e -run '^TestRunbooks' -v

interop: build ## Run clients, servers and a browser of others against obo dev (needs node and npm; installs Chromium)
	bash interop/run
	$(PG) bash interop/accounts/run

pkcs11: ## Sign, and encrypt key files, with keys in a software token (SoftHSM, installed when missing; needs a C compiler)
	@command -v softhsm2-util >/dev/null || { apt-get update && apt-get install -y softhsm2; }
	CGO_ENABLED=1 go vet -tags pkcs11 ./keys/pkcs11 ./seal/pkcs11 ./cmd/obo-sts ./cmd/obo-executor
	CGO_ENABLED=1 OBO_TEST_PKCS11_MODULE=$(or $(PKCS11_MODULE),/usr/lib/softhsm/libsofthsm2.so) go test -count=1 -tags pkcs11 ./keys/pkcs11 ./seal/pkcs11

awskms: ## Sign, and encrypt key files, with keys in a service that speaks the protocol of AWS KMS (on loopback: not the cloud)
	go vet -tags awskms ./keys/awskms ./seal/awskms ./cmd/internal/daemon ./cmd/obo-sts ./cmd/obo-executor
	go test -count=1 -tags awskms ./keys/awskms ./seal/awskms ./cmd/internal/daemon
	go test -count=1 -tags awskms ./cmd/obo-executor -run KeyService

race: ## Run the tests under the race detector, but e2e and examples: the binaries that they start would not be under it
	CGO_ENABLED=1 $(PG) go test -race $$(go list ./... | grep -vE '/(e2e|examples)$$')

# A target that fails is run once more: Go 1.26 fails now and then when the time is over, with nothing found (golang/go#75804, mended in
# 1.27). What was found is in testdata by then, and fails again.
fuzz: ## Run every fuzz target for FUZZTIME (30s)
	@set -e; grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
	  for f in $$(go test -list '^Fuzz' $$dir | grep ^Fuzz); do \
	    run() { echo "$$dir $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$dir; }; \
	    run || { echo "once more:"; run; }; \
	  done; done

bench: build ## Run the Go benchmarks, then the load generator against its floor
	$(PG) go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./delegation/... ./jose/... ./policy/... ./keys/... ./audit/... ./revocation/... ./store/... ./exchange/... ./executor
	$(PG) bin/obo bench --postgres env

lint: ## Run buf lint and golangci-lint
	$(BUF) lint
	$(LINT) run ./...

gen: ## Generate gen/ from proto/, and format everything
	$(BUF) format -w
	$(BUF) generate
	gofmt -w $$(git ls-files '*.go')
	go mod tidy

verify: ## Fail when gen, go.mod or formatting differ from what gen makes
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(BUF) generate -o "$$tmp" && diff -r gen "$$tmp/gen"
	$(BUF) format -d --exit-code
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not gofmt'ed: $$out"; exit 1; }
	go mod tidy -diff
	go vet ./...
	go vet -tags slow ./e2e

ci: ## What CI runs
	bash .ci/run

.PHONY: help build demo dev test conformance rolling upgrade chaos kill runbooks interop pkcs11 awskms race fuzz bench lint gen verify ci
