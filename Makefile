# make test: everything that must pass on a fresh machine. make check: that and the gates (what CI runs).
GO ?= go
TOOLS = $(GO) tool -modfile=.ci/tools/go.mod
PKGS = ./...
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: build test check gates fmt lint tidy cross fuzz bench-once bench bench-operate failover soak engines model mutants deps dist clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o ebb ./cmd/ebb

# The real servers and clients that integration/ drives. Without them the tests that need them say so and are skipped;
# with CI=true that is a failure.
deps:
	./.ci/deps

# One package at a time: most tests are of sockets and deadlines, and would share two cores with those of another package.
# Compiling may have all cores, before. What has the race detector sleeps before it exits, for a second if nobody says otherwise.
test: deps
	$(GO) list -race -test -export $(PKGS) >/dev/null
	GORACE=atexit_sleep_ms=50 $(GO) test -race -shuffle=on -p 1 -timeout 30m $(PKGS)

# What is fetched from Debian comes while compilers and linters have the cores.
check:
	$(MAKE) -j2 -Otarget deps gates
	$(MAKE) test fuzz bench-once mutants model

gates: fmt tidy cross lint

fmt:
	@out="$$(gofmt -l $$(git ls-files '*.go'))"; test -z "$$out" || { echo "gofmt: $$out"; exit 1; }

lint:
	$(TOOLS) golangci-lint run $(PKGS)

tidy:
	$(GO) mod tidy -diff
	$(GO) mod verify

cross:
	GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 $(GO) build ./...

FUZZTIME ?= 10s
fuzz:
	./.ci/fuzz $(FUZZTIME)

bench-once:
	$(GO) test -vet=off -run '^$$' -bench . -benchtime 1x $(PKGS)

# ebb beside haproxy, nginx and a direct connection, with the figures under docs/bench/. Takes about half an hour.
bench:
	$(GO) run ./integration/bench -out docs/bench

# What it costs to start ebb, to look at it, to bother its API and to reload it, and what sessions notice of that. Takes two minutes.
bench-operate:
	$(GO) run ./integration/bench -operate

# Where ebb's CPU goes under small messages, the kernel's part included, as flame.svg. Needs perf.
flame:
	$(GO) run ./integration/bench -flame flame.svg

# What clients of a PostgreSQL pair see of a failover, behind ebb and behind haproxy. Takes about five minutes; docs/failover.md.
failover: deps
	$(GO) run ./integration/failover

# What takes long, with the race detector: names that move under load, three of them every 100 ms with 500 connections a
# second and 100 long sessions; a real authoritative server with dynamic updates; 64 MiB each way 20 times over a bad network; flows that
# come and go, and 100,000 numbered datagrams; 5,000 sessions destroyed at once, ten times on each engine.
# Then without the detector: 100 reloads at 1000 connections a second with 500 long sessions, and so many GiB on each engine, verified
# by hash: SOAKGIB=1024 is a TiB.
SOAKTIME ?= 10m
SOAKGIB ?= 64
soak: deps
	$(GO) test -race -count=1 -v -timeout 3h -run 'TestDNS42Soak|TestDNSAuthority|TestTD5$$|TestUD1[017]$$|TestSE7$$' ./integration -soak $(SOAKTIME) -authority 2m -td5 20
	$(GO) test -count=1 -v -timeout 1h -run 'TestRU1Soak$$' ./integration -soak 2m
	$(GO) test -count=1 -v -timeout 48h -run 'TestHashedMix$$' ./integration -hashed $(SOAKGIB)

# The scenarios of streams, ends, limits and datagrams, and all of lb, on one engine after another. make test runs on the best that
# works here, and relay, engine and flow on all.
engines: deps
	for engine in uring epoll portable; do \
		EBB_TEST_ENGINE=$$engine $(GO) test -race -count=1 -p 1 -timeout 1h ./lb || exit; \
		EBB_TEST_ENGINE=$$engine $(GO) test -race -count=1 -timeout 1h -run 'Test(TD|HC|BP|TO|LI|DR|RH|SE[78]|UD)[0-9]' ./integration || exit; \
	done

# Each mutant of a package (testdata/mutants) must be killed by its tests.
mutants:
	$(GO) run .ci/mutants/main.go pool lb

# The spin models of the epoch table and of the uring engine, and their seeded bugs.
model:
	.ci/model $(shell git ls-files "*.pml")

# What a release consists of, in dist/.
dist:
	GO="$(GO)" VERSION="$(VERSION)" ./deploy/dist

clean:
	rm -rf ebb dist
